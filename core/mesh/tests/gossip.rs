//! Gossip over whole endpoints on a failing network.
#![allow(clippy::unwrap_used)]

mod common;

use common::{address, endpoint, key, simulate};
use ohmesh_mesh::{
    Endpoint,
    gossip::{Delivery, Topic, driver::Driver},
    sim::{Faults, SimNet},
};
use ohmesh_units::Hash;
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

const TOPIC: Topic = Topic::Id(Hash([7; 32]));

type Heard = Arc<Mutex<Vec<Vec<u8>>>>;

/// An endpoint whose every peer only gossips.
struct Node {
    endpoint: Endpoint,
    driver: Driver,
    heard: Heard,
}

impl Node {
    fn new(net: &SimNet, n: u8) -> Self {
        let endpoint = endpoint(net, n);
        let driver = Driver::new(&endpoint);
        let heard = Heard::default();
        let (door, runs, hears) = (endpoint.clone(), driver.clone(), heard.clone());
        tokio::spawn(async move {
            while let Some(peer) = door.accept().await {
                let Ok(peer) = peer else { continue };
                let (runs, hears) = (runs.clone(), hears.clone());
                tokio::spawn(
                    async move { runs.run(peer, |news| hears.lock().unwrap().push(news.payload)).await },
                );
            }
        });
        Self { endpoint, driver, heard }
    }

    async fn call(&self, n: u8) {
        let peer = self.endpoint.connect(address(n), key(n).public()).await.unwrap();
        let (driver, heard) = (self.driver.clone(), self.heard.clone());
        tokio::spawn(async move { driver.run(peer, |news| heard.lock().unwrap().push(news.payload)).await });
    }

    fn heard(&self) -> Vec<Vec<u8>> {
        let mut heard = self.heard.lock().unwrap().clone();
        heard.sort();
        heard
    }
}

#[test]
fn news_goes_around_a_lossy_ring_and_everybody_hears_it_once() {
    let run = || {
        simulate(async {
            let net = SimNet::new(3, Faults::harsh());
            let nodes: Vec<Node> = (1..=6).map(|n| Node::new(&net, n)).collect();
            nodes.iter().for_each(|node| node.driver.join(TOPIC).unwrap());
            for n in 1..=6u8 {
                nodes[usize::from(n) - 1].call(n % 6 + 1).await;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
            let mut all = Vec::new();
            for (at, node) in nodes.iter().enumerate() {
                let news = at.to_le_bytes().repeat(125);
                node.driver.publish(TOPIC, &news).unwrap();
                all.push(news);
            }
            tokio::time::sleep(Duration::from_secs(20)).await;
            for (at, node) in nodes.iter().enumerate() {
                let mut expected = all.clone();
                expected.remove(at);
                assert_eq!(node.heard(), expected, "node {at}");
                assert_eq!(node.driver.dropped(), 0);
            }
            net.trace_hash()
        })
    };
    assert_eq!(run(), run());
}

#[test]
fn who_left_a_topic_hears_no_more_of_it() {
    simulate(async {
        let net = SimNet::new(3, Faults::default());
        let nodes: Vec<Node> = (1..=2).map(|n| Node::new(&net, n)).collect();
        nodes[0].call(2).await;
        nodes[1].driver.join(TOPIC).unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        nodes[0].driver.publish(TOPIC, b"one").unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        nodes[1].driver.leave(TOPIC);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let sent = net.stats().sent;
        nodes[0].driver.publish(TOPIC, b"two").unwrap();
        assert_eq!(net.stats().sent, sent, "nobody wants it, so nothing is sent");
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(nodes[1].heard(), [b"one".to_vec()]);
    });
}

/// A second connection to the same key takes over; the end of the first does not end the gossip.
#[test]
fn a_second_connection_takes_over() {
    simulate(async {
        let net = SimNet::new(3, Faults::default());
        let nodes: Vec<Node> = (1..=2).map(|n| Node::new(&net, n)).collect();
        nodes[1].driver.join(TOPIC).unwrap();
        let first = nodes[0].endpoint.connect(address(2), key(2).public()).await.unwrap();
        let (driver, peer) = (nodes[0].driver.clone(), first.clone());
        tokio::spawn(async move { driver.run(peer, |_: Delivery| {}).await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        nodes[0].call(2).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        first.close("old");
        tokio::time::sleep(Duration::from_secs(1)).await;
        nodes[0].driver.publish(TOPIC, b"still here").unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(nodes[1].heard(), [b"still here".to_vec()]);
    });
}

/// A peer that takes nothing loses frames; the others get theirs, and memory stays bounded.
#[test]
fn a_peer_that_takes_nothing_holds_up_nobody() {
    simulate(async {
        let net = SimNet::new(3, Faults::default());
        let nodes: Vec<Node> = (1..=3).map(|n| Node::new(&net, n)).collect();
        nodes[1].driver.join(TOPIC).unwrap();
        nodes[2].driver.join(TOPIC).unwrap();
        nodes[0].call(2).await;
        nodes[0].call(3).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        net.partition(&[address(1)], &[address(3)]);
        for n in 0..1000u32 {
            nodes[0].driver.publish(TOPIC, &[&n.to_be_bytes()[..], &[0; 8000]].concat()).unwrap();
            tokio::time::sleep(Duration::from_millis(30)).await;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert_eq!(nodes[1].heard().len(), 1000);
        assert!(nodes[0].driver.dropped() > 0, "{}", nodes[0].driver.dropped());
    });
}
