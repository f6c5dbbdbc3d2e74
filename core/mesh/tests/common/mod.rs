//! A simulated network and endpoints on it.

#![allow(dead_code, unreachable_pub, clippy::unwrap_used, reason = "each test file uses its part")]

use ohmesh_mesh::{
    Builder, Endpoint, Limits, Peer,
    sim::{Faults, SimClock, SimNet},
};
use ohmesh_units::{SigningKey, Timestamp};
use std::{future::Future, net::SocketAddr};

/// Runs `test` on virtual time: a sleep of a minute takes no time at all.
pub fn simulate<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(test)
}

pub fn key(n: u8) -> SigningKey {
    SigningKey::from_seed([n; 32])
}

pub fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 4433))
}

pub fn builder(net: &SimNet, n: u8) -> Builder {
    let wall_start = Timestamp::from_millis(1_800_000_000_000);
    Endpoint::builder(key(n)).socket(net.bind(address(n))).seed([n; 32]).clock(SimClock::new(wall_start))
}

pub fn endpoint(net: &SimNet, n: u8) -> Endpoint {
    builder(net, n).start().unwrap()
}

pub fn net() -> SimNet {
    SimNet::new(1, Faults::default())
}

/// Endpoints 1 and 2, and the two ends of the connection 1 opened to 2.
pub struct Pair {
    pub net: SimNet,
    pub one: Endpoint,
    pub two: Endpoint,
    pub to_two: Peer,
    pub to_one: Peer,
}

pub async fn pair(one: Limits, two: Limits) -> Pair {
    let net = net();
    let one = builder(&net, 1).limits(one).start().unwrap();
    let two = builder(&net, 2).limits(two).start().unwrap();
    let (to_two, to_one) = tokio::join!(one.connect(address(2), key(2).public()), two.accept());
    Pair { net, one, two, to_two: to_two.unwrap(), to_one: to_one.unwrap().unwrap() }
}
