//! Discovery with real multicast DNS. Where the machine has no multicast, it says so and checks nothing.
#![allow(clippy::unwrap_used)]

use ohmesh_mesh::discovery::{Advert, Discovery};
use ohmesh_units::{Hash, SigningKey};
use std::{net::UdpSocket, time::Duration};

/// Whether a datagram sent to a group comes back to a member of it on this machine.
fn has_multicast() -> Result<(), String> {
    let group = std::net::Ipv4Addr::new(224, 0, 0, 252);
    let step = |what: &'static str| move |error: std::io::Error| format!("{what}: {error}");
    let member = UdpSocket::bind("0.0.0.0:0").map_err(step("bind"))?;
    member.join_multicast_v4(&group, &std::net::Ipv4Addr::UNSPECIFIED).map_err(step("join"))?;
    member.set_read_timeout(Some(Duration::from_secs(2))).map_err(step("timeout"))?;
    member.set_multicast_loop_v4(true).map_err(step("loop"))?;
    let port = member.local_addr().map_err(step("address"))?.port();
    member.send_to(b"echo", (group, port)).map_err(step("send"))?;
    let mut echo = [0; 8];
    member.recv_from(&mut echo).map(drop).map_err(step("nothing came back"))
}

#[test]
fn a_station_is_found_on_the_network() {
    if let Err(reason) = has_multicast() {
        println!("NOT RUN: no multicast on this machine ({reason}); only the TXT record is tested");
        return;
    }
    // A key of this process, so that two runs at a time do not meet.
    let mut seed = [0; 32];
    seed[..4].copy_from_slice(&std::process::id().to_be_bytes());
    let advert = Advert { key: SigningKey::from_seed(seed).public(), zone: Hash([3; 32]).into() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let station = Discovery::browse().unwrap();
        station.advertise(&advert, 40_404).unwrap();
        let mut phone = Discovery::browse().unwrap();
        let found = tokio::time::timeout(Duration::from_secs(30), async {
            loop {
                let found = phone.next().await.unwrap();
                if found.key == advert.key {
                    return found;
                }
            }
        });
        let found = found.await.expect("multicast works here, so the station must be found");
        assert_eq!((found.address.port(), found.zone), (40_404, advert.zone));
    });
}
