//! Real sockets on the loopback interface.
#![allow(clippy::unwrap_used)]

use ohmesh_mesh::{Endpoint, Inbound, MeshError};
use ohmesh_units::SigningKey;
use std::net::SocketAddr;

fn run<T>(test: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test)
}

fn endpoint(n: u8, address: &str) -> Endpoint {
    Endpoint::builder(SigningKey::from_seed([n; 32])).bind(address.parse().unwrap()).start().unwrap()
}

async fn talk(from: &Endpoint, to: &Endpoint, address: SocketAddr) {
    let (called, caller) = tokio::join!(from.connect(address, to.key()), to.accept());
    let (called, caller) = (called.unwrap(), caller.unwrap().unwrap());
    assert_eq!(called.address(), address);
    assert_eq!(caller.address().port(), from.address().unwrap().port());
    assert_eq!(caller.address().is_ipv4(), address.is_ipv4());
    let answering = async {
        let Inbound::Request { bytes, reply } = caller.next().await.unwrap() else { panic!() };
        reply.send(&bytes).await.unwrap();
    };
    let question = vec![7; 200_000];
    let (answer, ()) = tokio::join!(called.request(&question), answering);
    assert!(answer.unwrap() == question);
}

#[test]
fn version_4_and_version_6() {
    run(async {
        let (a, b) = (endpoint(1, "127.0.0.1:0"), endpoint(2, "127.0.0.1:0"));
        talk(&a, &b, b.address().unwrap()).await;
        if std::net::UdpSocket::bind("[::1]:0").is_err() {
            println!("NOT RUN: no IPv6 on this machine");
            return;
        }
        let (a, b) = (endpoint(1, "[::1]:0"), endpoint(2, "[::1]:0"));
        talk(&a, &b, b.address().unwrap()).await;
    });
}

#[test]
fn a_taken_address_is_named() {
    run(async {
        let first = endpoint(1, "127.0.0.1:0");
        let address = first.address().unwrap();
        let second = Endpoint::builder(SigningKey::from_seed([2; 32])).bind(address).start();
        assert!(matches!(second.unwrap_err(), MeshError::Socket { address: named, .. } if named == address));
    });
}
