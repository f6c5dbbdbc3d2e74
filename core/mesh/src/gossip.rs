//! Gossip by topic: a message floods the nodes that joined its topic, once each. No I/O: bytes and the time come in,
//! what is to be sent and delivered goes out; [`driver`] runs it over peers.
//!
//! A node announces the topics it has joined to its peers ([`Frame::Topics`]), forwards a message of a joined topic to
//! every peer that announced it, and drops everything else: a phone that joins nothing shows nobody which areas it
//! cares about, and a flood never leaves its topic.
//!
//! A message's id is the hash of its topic and payload; its hops left are not part of it, because every node lowers
//! them. An attacker could therefore send a message on with no hops left, in front of the honest copy. So a copy with
//! *more* hops left than any before is forwarded again (and never delivered again): at most [`HOPS_MAX`] times a node.
//!
//! Nothing here says who wrote a message; a payload that must be believed is signed by whoever gives it meaning.
//!
//! Cost: a node remembers 48 bytes a message for [`SEEN_FOR`]; a message crosses each edge of the topic about twice.

use ohmesh_units::{Area, Canonical, DecodeError, Domain, Hash, PublicKey, Timestamp};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

pub mod driver;

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Topic {
    /// Tag 0: a place.
    Area(Area),
    /// Tag 1: anything with an id, such as a zone.
    Id(Hash),
}

/// What travels between two nodes. Tags are postcard's variant numbers: never reused, only appended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Frame {
    /// Tag 0: every topic the sender has joined, in ascending order; replaces what it announced before.
    Topics(Vec<Topic>),
    /// Tag 1: one message.
    Message {
        /// How many times it may still be passed on.
        hops: u8,
        /// What it is about.
        topic: Topic,
        /// What it says.
        payload: Vec<u8>,
    },
}

impl Canonical for Frame {
    const NAME: &'static str = "gossip frame";
    // Version, tag, hops, topic, length, payload; 64 topics of at most 34 bytes are less.
    const MAX_BYTES: usize = 1 + 1 + 1 + 34 + 3 + PAYLOAD_BYTES_MAX;
}

/// What a step of the state machine wants done, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send a [`Frame`]'s bytes to a peer.
    Send {
        /// To whom.
        to: PublicKey,
        /// The frame, encoded.
        bytes: Vec<u8>,
    },
    /// Hand a message to the application; each message once.
    Deliver(Delivery),
}

/// A message for the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The peer it came from, who need not have written it.
    pub from: PublicKey,
    /// What it is about.
    pub topic: Topic,
    /// What it says.
    pub payload: Vec<u8>,
}

/// Why a frame or a message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GossipError {
    /// The peer is not known: [`Gossip::peer_up`] comes first.
    #[error("{0} is no peer")]
    NoPeer(PublicKey),
    /// There are [`PEERS_MAX`] peers already.
    #[error("{PEERS_MAX} peers are known already, {0} is not taken")]
    TooManyPeers(PublicKey),
    /// There are [`TOPICS_MAX`] topics already, here or in a peer's announcement.
    #[error("at most {TOPICS_MAX} topics can be joined")]
    TooManyTopics,
    /// The peer sends more than [`RATE_PER_SECOND`]; the frame is dropped and not remembered.
    #[error("{0} sends more than {RATE_PER_SECOND} frames a second")]
    TooFast(PublicKey),
    /// The payload is longer than [`PAYLOAD_BYTES_MAX`].
    #[error("payload of {0} bytes, at most {PAYLOAD_BYTES_MAX} are allowed")]
    TooLarge(usize),
    /// The message claims more hops than anybody may give.
    #[error("{0} hops, at most {HOPS_MAX} are allowed")]
    TooManyHops(u8),
    /// Announced topics are not in ascending order.
    #[error("announced topics are not in ascending order")]
    Unordered,
    /// The bytes are no frame.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

/// The gossip of one node.
#[derive(Debug, Default)]
pub struct Gossip {
    joined: BTreeSet<Topic>,
    peers: BTreeMap<PublicKey, Neighbour>,
    seen: Seen,
}

impl Gossip {
    /// A node without peers that has joined nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Joins a topic: its messages are delivered and passed on from now on.
    pub fn join(&mut self, topic: Topic) -> Result<Vec<Action>, GossipError> {
        if self.joined.contains(&topic) {
            return Ok(Vec::new());
        }
        if self.joined.len() >= TOPICS_MAX {
            return Err(GossipError::TooManyTopics);
        }
        self.joined.insert(topic);
        Ok(self.announce())
    }

    /// Leaves a topic.
    pub fn leave(&mut self, topic: Topic) -> Vec<Action> {
        if self.joined.remove(&topic) { self.announce() } else { Vec::new() }
    }

    /// A peer is there. It is told what this node has joined.
    pub fn peer_up(&mut self, peer: PublicKey, now: Timestamp) -> Result<Vec<Action>, GossipError> {
        if self.peers.len() >= PEERS_MAX && !self.peers.contains_key(&peer) {
            return Err(GossipError::TooManyPeers(peer));
        }
        // A peer that connects again announces anew, but has no new burst.
        let new = || Neighbour { topics: BTreeSet::new(), rate: Bucket::full(now) };
        self.peers.entry(peer).or_insert_with(new).topics.clear();
        if self.joined.is_empty() {
            return Ok(Vec::new());
        }
        Ok(vec![Action::Send { to: peer, bytes: self.topics_frame() }])
    }

    /// A peer is gone.
    pub fn peer_down(&mut self, peer: &PublicKey) {
        self.peers.remove(peer);
    }

    /// Floods a message of this node's own. It need not have joined the topic: a phone only speaks. A message already
    /// seen is not sent again.
    pub fn publish(
        &mut self,
        topic: Topic,
        payload: &[u8],
        now: Timestamp,
    ) -> Result<Vec<Action>, GossipError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(GossipError::TooLarge(payload.len()));
        }
        match self.seen.see(message_id(topic, payload), HOPS_MAX, now) {
            Sight::Known => Ok(Vec::new()),
            Sight::New | Sight::Farther => Ok(self.forward(HOPS_MAX, topic, payload, None)),
        }
    }

    /// A frame came from a peer.
    pub fn receive(
        &mut self,
        from: PublicKey,
        bytes: &[u8],
        now: Timestamp,
    ) -> Result<Vec<Action>, GossipError> {
        let peer = self.peers.get_mut(&from).ok_or(GossipError::NoPeer(from))?;
        // The rate comes first: an attacker pays for garbage as well.
        if !peer.rate.take(now) {
            return Err(GossipError::TooFast(from));
        }
        match Frame::decode(bytes)? {
            Frame::Topics(topics) => {
                peer.topics = announced(topics)?;
                Ok(Vec::new())
            }
            Frame::Message { hops, topic, payload } => self.on_message(from, hops, topic, payload, now),
        }
    }

    fn on_message(
        &mut self,
        from: PublicKey,
        hops: u8,
        topic: Topic,
        payload: Vec<u8>,
        now: Timestamp,
    ) -> Result<Vec<Action>, GossipError> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(GossipError::TooLarge(payload.len()));
        }
        if hops >= HOPS_MAX {
            return Err(GossipError::TooManyHops(hops));
        }
        // What nobody here wants is not remembered either: it cannot push out what is wanted.
        if !self.joined.contains(&topic) {
            return Ok(Vec::new());
        }
        let sight = self.seen.see(message_id(topic, &payload), hops, now);
        let mut actions = match sight {
            Sight::Known => return Ok(Vec::new()),
            Sight::New | Sight::Farther if hops > 0 => self.forward(hops, topic, &payload, Some(from)),
            Sight::New | Sight::Farther => Vec::new(),
        };
        if sight == Sight::New {
            actions.push(Action::Deliver(Delivery { from, topic, payload }));
        }
        Ok(actions)
    }

    /// Sends to every peer that announced the topic, in the order of keys, except back.
    fn forward(&self, hops: u8, topic: Topic, payload: &[u8], back: Option<PublicKey>) -> Vec<Action> {
        let bytes = Frame::Message { hops: hops - 1, topic, payload: payload.to_vec() }.encode();
        let wants =
            |(key, peer): &(&PublicKey, &Neighbour)| Some(**key) != back && peer.topics.contains(&topic);
        let to = self.peers.iter().filter(wants).map(|(key, _)| *key);
        to.map(|to| Action::Send { to, bytes: bytes.clone() }).collect()
    }

    fn announce(&self) -> Vec<Action> {
        let bytes = self.topics_frame();
        self.peers.keys().map(|to| Action::Send { to: *to, bytes: bytes.clone() }).collect()
    }

    fn topics_frame(&self) -> Vec<u8> {
        Frame::Topics(self.joined.iter().copied().collect()).encode()
    }
}

/// What is known of one peer.
#[derive(Debug)]
struct Neighbour {
    topics: BTreeSet<Topic>,
    rate: Bucket,
}

fn announced(topics: Vec<Topic>) -> Result<BTreeSet<Topic>, GossipError> {
    if topics.len() > TOPICS_MAX {
        return Err(GossipError::TooManyTopics);
    }
    if !topics.is_sorted_by(|a, b| a < b) {
        return Err(GossipError::Unordered);
    }
    Ok(topics.into_iter().collect())
}

/// The id by which copies of one message are recognised.
fn message_id(topic: Topic, payload: &[u8]) -> Hash {
    const MESSAGE: Domain = Domain::new("ohmesh/1 gossip message");
    MESSAGE.hash(&[&ohmesh_units::to_postcard(&topic), payload])
}

/// A token bucket in thousandths of a frame, on the time it is given.
#[derive(Debug)]
struct Bucket {
    tokens_milli: u64,
    at: Timestamp,
}

impl Bucket {
    fn full(now: Timestamp) -> Self {
        Self { tokens_milli: RATE_BURST * 1000, at: now }
    }

    fn take(&mut self, now: Timestamp) -> bool {
        // A clock that was set back gives nothing, and counts on from where it is.
        let elapsed_ms = now.as_millis().saturating_sub(self.at.as_millis());
        self.at = now;
        let earned = elapsed_ms.saturating_mul(RATE_PER_SECOND);
        self.tokens_milli = self.tokens_milli.saturating_add(earned).min(RATE_BURST * 1000);
        let Some(left) = self.tokens_milli.checked_sub(1000) else { return false };
        self.tokens_milli = left;
        true
    }
}

/// The messages of the last while, oldest first.
#[derive(Debug, Default)]
struct Seen {
    hops: BTreeMap<Hash, u8>,
    order: VecDeque<(Timestamp, Hash)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sight {
    /// Never seen.
    New,
    /// Seen, but never with so many hops left.
    Farther,
    /// Nothing new.
    Known,
}

impl Seen {
    fn see(&mut self, id: Hash, hops: u8, now: Timestamp) -> Sight {
        self.forget(now);
        if let Some(before) = self.hops.get_mut(&id) {
            if hops <= *before {
                return Sight::Known;
            }
            *before = hops;
            return Sight::Farther;
        }
        if self.order.len() >= SEEN_MAX
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.hops.remove(&oldest);
        }
        self.hops.insert(id, hops);
        self.order.push_back((now, id));
        Sight::New
    }

    fn forget(&mut self, now: Timestamp) {
        while let Some((at, id)) = self.order.front().copied()
            && now.since(at).is_some_and(|age| age > SEEN_FOR)
        {
            self.hops.remove(&id);
            self.order.pop_front();
        }
    }
}

/// The longest payload: 16 KiB, an offer with its proof; what is larger is fetched by a request.
pub const PAYLOAD_BYTES_MAX: usize = 16 << 10;
/// How far a message gets: 6 edges, which reach 4,096 nodes when each has 4 peers of the topic.
pub const HOPS_MAX: u8 = 6;
/// Topics one node joins: 64, a phone's neighbourhood at resolution 7 several times over.
pub const TOPICS_MAX: usize = 64;
/// Peers one node gossips with: 256; a flood costs an upload to each.
pub const PEERS_MAX: usize = 256;
/// Frames a second that one peer may send in the long run.
pub const RATE_PER_SECOND: u64 = 50;
/// Frames that one peer may send at once.
pub const RATE_BURST: u64 = 200;
/// Messages remembered: 32,768, what ten peers can send at their full rate in a minute.
pub const SEEN_MAX: usize = 32 << 10;
/// How long a message is remembered: 10 minutes, far longer than any copy is on its way.
pub const SEEN_FOR: Duration = Duration::from_secs(600);

#[cfg(test)]
mod tests;
