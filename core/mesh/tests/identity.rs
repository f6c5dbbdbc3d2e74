//! Who may talk to whom: keys, protocol names, and what an observer could link.
#![allow(clippy::unwrap_used)]

mod common;

use common::{address, builder, endpoint, key, net, pair, simulate};
use ohmesh_mesh::{Closed, Endpoint, Limits, MeshError, SERVER_NAME};
use std::{net::SocketAddr, time::Duration};

#[test]
fn both_sides_know_each_others_key() {
    simulate(async {
        let pair = pair(Limits::default(), Limits::default()).await;
        assert_eq!(pair.to_two.key(), key(2).public());
        assert_eq!(pair.to_one.key(), key(1).public());
        assert_eq!(pair.to_two.address(), address(2));
        assert_eq!(pair.to_one.address(), address(1));
        assert_eq!(pair.to_two.exporter(), pair.to_one.exporter());
        assert_eq!((pair.one.connections(), pair.two.connections()), (1, 1));
    });
}

#[test]
fn two_connections_export_different_secrets() {
    simulate(async {
        let net = net();
        let (one, two) = (endpoint(&net, 1), endpoint(&net, 2));
        let first = one.connect(address(2), key(2).public()).await.unwrap();
        let second = one.connect(address(2), key(2).public()).await.unwrap();
        assert_ne!(first.exporter(), second.exporter());
        drop(two);
    });
}

#[test]
fn a_wrong_key_is_refused_before_anything_is_said() {
    simulate(async {
        let net = net();
        let (one, two) = (endpoint(&net, 1), endpoint(&net, 2));
        let (called, caller) = tokio::join!(one.connect(address(2), key(3).public()), two.accept());
        let expected = MeshError::WrongKey { expected: key(3).public(), found: key(2).public() };
        assert_eq!(called.unwrap_err(), expected);
        assert!(
            matches!(caller.unwrap(), Err(MeshError::Handshake { address: from, .. }) if from == address(1))
        );
        // The same endpoints still reach each other.
        one.connect(address(2), key(2).public()).await.unwrap();
    });
}

#[test]
fn another_protocol_is_refused() {
    simulate(async {
        let net = net();
        let stranger = builder(&net, 1).alpn(b"h3").start().unwrap();
        let two = endpoint(&net, 2);
        let (called, caller) = tokio::join!(stranger.connect(address(2), key(2).public()), two.accept());
        assert_eq!(called.unwrap_err(), MeshError::WrongProtocol(address(2)));
        assert_eq!(caller.unwrap().unwrap_err(), MeshError::WrongProtocol(address(1)));
    });
}

#[test]
fn the_server_name_is_constant() {
    simulate(async {
        let pair = pair(Limits::default(), Limits::default()).await;
        assert_eq!(pair.to_one.server_name().as_deref(), Some(SERVER_NAME));
    });
}

#[test]
fn nobody_at_the_address_is_a_timeout() {
    simulate(async {
        let net = net();
        let one = endpoint(&net, 1);
        let error = one.connect(address(9), key(9).public()).await.unwrap_err();
        assert_eq!(error, MeshError::Timeout(Limits::default().stall_max));
        let port_0 = SocketAddr::from(([10, 0, 0, 9], 0));
        let error = one.connect(port_0, key(9).public()).await.unwrap_err();
        assert!(matches!(error, MeshError::Address { address, .. } if address == port_0));
    });
}

#[test]
fn callers_beyond_the_bound_are_refused() {
    simulate(async {
        let net = net();
        let limits = Limits { peers_max: 2, ..Limits::default() };
        let _host = builder(&net, 1).limits(limits).start().unwrap();
        let callers: Vec<Endpoint> = (2..=4).map(|n| endpoint(&net, n)).collect();
        let mut open = Vec::new();
        for caller in &callers[..2] {
            open.push(caller.connect(address(1), key(1).public()).await.unwrap());
        }
        let refused = callers[2].connect(address(1), key(1).public()).await.unwrap_err();
        assert!(
            matches!(&refused, MeshError::Handshake { reason, .. } if reason.contains("refused")),
            "{refused}"
        );
        drop(open.pop());
        callers[1].idle().await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        callers[2].connect(address(1), key(1).public()).await.unwrap();
    });
}

/// Many callers at once at a small door: the later ones prove their address first, and all get in.
#[test]
fn a_crowd_of_callers_gets_in() {
    simulate(async {
        let net = net();
        let limits = Limits { handshakes_max: 4, ..Limits::default() };
        let host = builder(&net, 1).limits(limits).start().unwrap();
        let callers: Vec<Endpoint> = (2..=17).map(|n| endpoint(&net, n)).collect();
        let calls = callers.iter().cloned().map(|caller| {
            tokio::spawn(async move {
                caller.connect(address(1), key(1).public()).await.map(|peer| (caller, peer))
            })
        });
        let calls: Vec<_> = calls.collect();
        let mut seen = Vec::new();
        for _ in 0..callers.len() {
            seen.push(host.accept().await.unwrap().unwrap());
        }
        for call in calls {
            call.await.unwrap().unwrap();
        }
        let mut keys: Vec<_> = seen.iter().map(|peer| peer.key()).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), callers.len());
    });
}

#[test]
fn a_peer_that_closes_says_why() {
    simulate(async {
        let pair = pair(Limits::default(), Limits::default()).await;
        pair.to_two.close("enough");
        assert_eq!(pair.to_one.next().await.unwrap_err(), Closed::ByPeer("enough".into()).into());
        assert_eq!(pair.to_two.next().await.unwrap_err(), Closed::Here.into());
    });
}

#[test]
fn a_peer_that_dies_ends_next_by_silence() {
    simulate(async {
        let pair = pair(Limits::default(), Limits::default()).await;
        let start = tokio::time::Instant::now();
        pair.net.partition(&[address(1)], &[address(2)]);
        assert_eq!(pair.to_one.next().await.unwrap_err(), Closed::Silent.into());
        let waited = start.elapsed();
        assert!(waited >= Duration::from_secs(55) && waited <= Duration::from_secs(85), "{waited:?}");
    });
}

#[test]
fn an_idle_connection_lives_by_keep_alives() {
    simulate(async {
        let pair = pair(Limits::default(), Limits::default()).await;
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert_eq!(pair.to_one.close_reason(), None);
        pair.to_two.deliver(b"still here").await.unwrap();
    });
}

#[test]
fn dropping_the_last_handle_closes() {
    simulate(async {
        let pair = pair(Limits::default(), Limits::default()).await;
        let clone = pair.to_two.clone();
        drop(pair.to_two);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(pair.to_one.close_reason(), None, "a clone is still held");
        drop(clone);
        assert!(matches!(pair.to_one.next().await.unwrap_err(), MeshError::Closed(Closed::ByPeer(_))));

        let again = pair.one.connect(address(2), key(2).public()).await.unwrap();
        let seen = pair.two.accept().await.unwrap().unwrap();
        drop(pair.one);
        assert_eq!(again.next().await.unwrap_err(), Closed::Here.into());
        assert_eq!(seen.next().await.unwrap_err(), Closed::ByPeer("endpoint dropped".into()).into());
        pair.two.close("done");
        assert!(pair.two.accept().await.is_none());
    });
}
