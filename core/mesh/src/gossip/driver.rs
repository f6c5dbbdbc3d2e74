//! Runs [`Gossip`] over peers: performs its actions and decides nothing.

use super::{Action, Delivery, Gossip, GossipError, Topic};
use crate::{Clock, Closed, Endpoint, MeshError, Peer, endpoint::Shared};
use ohmesh_units::PublicKey;
use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};
use tokio::sync::mpsc;

/// The gossip of an endpoint. A handle: clones are the same gossip.
///
/// Other things may travel between the same peers, so the application reads [`Peer::next`] itself and gives
/// what is gossip to [`Driver::receive`]; [`Driver::run`] is the loop for peers that only gossip.
#[derive(Clone)]
pub struct Driver(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    shared: Arc<Shared>,
    dropped: Arc<AtomicU64>,
}

struct State {
    gossip: Gossip,
    outboxes: BTreeMap<PublicKey, Outbox>,
}

/// Frames for one connection, which is not another connection of the same key.
struct Outbox {
    connection: usize,
    frames: mpsc::Sender<Vec<u8>>,
}

impl Driver {
    /// Gossip for the peers of `endpoint`, by its clock and on its runtime.
    pub fn new(endpoint: &Endpoint) -> Self {
        Self(Arc::new(Inner {
            state: Mutex::new(State { gossip: Gossip::new(), outboxes: BTreeMap::new() }),
            clock: endpoint.clock().clone(),
            shared: endpoint.shared().clone(),
            dropped: Arc::default(),
        }))
    }

    /// As [`Gossip::join`].
    pub fn join(&self, topic: Topic) -> Result<(), GossipError> {
        self.perform(|gossip, _| gossip.join(topic)).map(drop)
    }

    /// As [`Gossip::leave`].
    pub fn leave(&self, topic: Topic) {
        let left = self.perform(|gossip, _| Ok(gossip.leave(topic)));
        debug_assert!(left.is_ok(), "leaving a topic cannot fail");
    }

    /// As [`Gossip::publish`].
    pub fn publish(&self, topic: Topic, payload: &[u8]) -> Result<(), GossipError> {
        self.perform(|gossip, now| gossip.publish(topic, payload, now)).map(drop)
    }

    /// Gossips with `peer` until it is removed or its connection ends. A second connection to the same key replaces
    /// the first.
    pub fn add(&self, peer: &Peer) -> Result<(), GossipError> {
        let (outbox, mut frames) = mpsc::channel::<Vec<u8>>(OUTBOX_MAX);
        let (key, dropped, sender) = (peer.key(), self.0.dropped.clone(), peer.clone());
        let outbox = Outbox { connection: peer.connection_id(), frames: outbox };
        self.state().outboxes.insert(key, outbox);
        if let Err(error) = self.perform(|gossip, now| gossip.peer_up(key, now)) {
            // Only a key that is new is refused, so no other connection's outbox goes with it.
            self.state().outboxes.remove(&key);
            return Err(error);
        }
        self.0.shared.runtime.spawn(Box::pin(async move {
            while let Some(frame) = frames.recv().await {
                match sender.send(&frame).await {
                    Ok(()) => {}
                    Err(MeshError::Closed(_)) => return,
                    Err(_) => drop(dropped.fetch_add(1, Ordering::Relaxed)),
                }
            }
        }));
        Ok(())
    }

    /// Gossips no more over this connection; another connection of the same key that took over stays.
    pub fn remove(&self, peer: &Peer) {
        let mut state = self.state();
        let outbox = state.outboxes.get(&peer.key());
        if outbox.is_some_and(|outbox| outbox.connection == peer.connection_id()) {
            state.outboxes.remove(&peer.key());
            state.gossip.peer_down(&peer.key());
        }
    }

    /// A gossip frame came from `from`: passes it on and gives what is for this node.
    pub fn receive(&self, from: PublicKey, frame: &[u8]) -> Result<Vec<Delivery>, GossipError> {
        self.perform(|gossip, now| gossip.receive(from, frame, now))
    }

    /// Adds `peer`, takes everything it sends as gossip and hands deliveries to `deliver`, until the connection ends.
    /// Bad frames are dropped, requests are refused.
    pub async fn run(&self, peer: Peer, mut deliver: impl FnMut(Delivery)) -> Result<Closed, GossipError> {
        self.add(&peer)?;
        loop {
            match peer.next().await {
                Ok(crate::Inbound::Message(frame)) => {
                    self.receive(peer.key(), &frame).into_iter().flatten().for_each(&mut deliver);
                }
                Ok(crate::Inbound::Request { .. } | crate::Inbound::Refused(_)) => {}
                Err(_) => {
                    self.remove(&peer);
                    return Ok(peer.closed().await);
                }
            }
        }
    }

    /// Frames that were dropped because a peer took them too slowly.
    pub fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    fn perform(
        &self,
        step: impl FnOnce(&mut Gossip, ohmesh_units::Timestamp) -> Result<Vec<Action>, GossipError>,
    ) -> Result<Vec<Delivery>, GossipError> {
        let now = self.0.clock.now();
        let mut state = self.state();
        let mut deliveries = Vec::new();
        for action in step(&mut state.gossip, now)? {
            match action {
                Action::Deliver(delivery) => deliveries.push(delivery),
                Action::Send { to, bytes } => {
                    let sent = state.outboxes.get(&to).map(|outbox| outbox.frames.try_send(bytes));
                    if !matches!(sent, Some(Ok(()))) {
                        self.0.dropped.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
        Ok(deliveries)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("dropped", &self.dropped()).finish_non_exhaustive()
    }
}

/// Frames that wait for one peer: 128, about 2 MiB of the longest; a flood does not wait for the slowest.
const OUTBOX_MAX: usize = 128;
