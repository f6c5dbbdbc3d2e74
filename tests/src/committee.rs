//! A zone of simulated agents.

use crate::zone::{DISTRIBUTOR, TREASURER, account, address, key, lay_vote_key, zone_file};
use ohmesh_committee::{Pace, Timeouts};
use ohmesh_ledger::{Answer, Asset, Body, Header, Query, Rules, SignedTransaction, Transaction, ZoneFile};
use ohmesh_mesh::{
    Clock, Endpoint, Peer,
    sim::{Faults, SimClock, SimNet},
};
use ohmesh_units::{Canonical, SigningKey, Timestamp};
use station_agent::{
    agent::{Keep, Settings},
    daemon::{Daemon, limits},
    disk::Memory,
};
use std::{collections::BTreeMap, future::Future, net::SocketAddr, sync::Arc, time::Duration};

/// Runs a simulation on virtual time.
pub fn simulate<T>(run: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
        .block_on(run)
}

/// Agents of one zone on one simulated network.
pub struct Committee {
    /// The network.
    pub net: SimNet,
    /// The agents' common clock.
    pub clock: Arc<SimClock>,
    /// The zone.
    pub file: ZoneFile,
    disks: BTreeMap<u8, Memory>,
    running: BTreeMap<u8, Daemon>,
    starts: u64,
    seed: u64,
}

impl Committee {
    /// The key of the treasurer.
    pub const TREASURER: u8 = TREASURER;
    /// The key of the distributor.
    pub const DISTRIBUTOR: u8 = DISTRIBUTOR;

    /// A zone of `size` agents of equal stake, none of them running. Made inside [`simulate`].
    pub fn new(seed: u64, size: u8, faults: Faults) -> Self {
        let clock = SimClock::new(Timestamp::from_millis(1_800_000_000_000));
        let file = zone_file(&vec![10; usize::from(size)], Rules::default(), clock.now());
        let mut disks: BTreeMap<u8, Memory> = (1..=size).map(|n| (n, Memory::default())).collect();
        disks.iter_mut().for_each(|(n, disk)| lay_vote_key(*n, disk));
        Self { net: SimNet::new(seed, faults), clock, file, disks, running: BTreeMap::new(), starts: 0, seed }
    }

    /// Where agent or client `n` is.
    pub fn address(n: u8) -> SocketAddr {
        address(n)
    }

    /// The disk of agent `n`.
    pub fn disk(&self, n: u8) -> &Memory {
        &self.disks[&n]
    }

    /// Starts agent `n` on its disk.
    pub fn start(&mut self, n: u8) {
        let endpoint = self.endpoint(n);
        let seed = self.seed_of(n);
        let settings = Settings {
            key: key(n),
            pace: Pace::default(),
            timeouts: Timeouts::default(),
            seed,
            seller: None,
            keep: Keep::default(),
        };
        let daemon = Daemon::start(&self.file, settings, self.disks[&n].clone(), endpoint, None).unwrap();
        self.running.insert(n, daemon);
    }

    /// Ends agent `n` as a power cut does: at once, and what was not synced is lost.
    pub fn kill(&mut self, n: u8) {
        let daemon = self.running.remove(&n).expect("only a running agent can be killed");
        daemon.endpoint().close("");
        drop(daemon);
        self.disks[&n].lose_unsynced();
    }

    /// The newest block of agent `n`, if it has one.
    pub fn head(&self, n: u8) -> Option<Header> {
        self.running[&n].status().borrow().head.as_ref().map(|(header, _)| header.clone())
    }

    /// The height of agent `n`.
    pub fn height(&self, n: u8) -> u64 {
        self.head(n).map_or(0, |header| header.height)
    }

    /// Lets virtual time pass until agent `n` has a block of `height`; panics after `limit`.
    pub async fn reach(&self, n: u8, height: u64, limit: Duration) {
        let mut status = self.running[&n].status();
        let reached = status.wait_for(|status| status.head.as_ref().is_some_and(|(h, _)| h.height >= height));
        let waited = tokio::time::timeout(limit, reached).await;
        assert!(waited.is_ok(), "agent {n} is at {} and not at {height} after {limit:?}", self.height(n));
    }

    /// A phone with the key of `n` that talks to agent `agent`.
    pub async fn client(&mut self, n: u8, agent: u8) -> Client {
        let endpoint = self.endpoint(n);
        let peer = endpoint.connect(Self::address(agent), key(agent).public()).await.unwrap();
        Client {
            n,
            peer,
            _endpoint: endpoint,
            zone: self.file.zone.id(),
            clock: self.clock.clone(),
            numbers: 0,
        }
    }

    /// A fresh seed for each start of each participant.
    fn seed_of(&mut self, n: u8) -> [u8; 32] {
        self.starts += 1;
        let domain = ohmesh_units::Domain::new("ohmesh/1 simulation");
        domain.hash(&[&self.seed.to_be_bytes(), &self.starts.to_be_bytes(), &[n]]).0
    }

    /// The endpoint of participant `n`, for those who bring their own node.
    pub fn endpoint(&mut self, n: u8) -> Endpoint {
        let seed = self.seed_of(n);
        let socket = self.net.bind(Self::address(n));
        let builder = Endpoint::builder(key(n)).socket(socket).seed(seed).clock(self.clock.clone());
        builder.limits(limits()).start().unwrap()
    }
}

/// Somebody who sends transactions and asks questions.
pub struct Client {
    n: u8,
    peer: Peer,
    _endpoint: Endpoint,
    zone: ohmesh_units::ZoneId,
    clock: Arc<SimClock>,
    numbers: u128,
}

impl Client {
    /// Asks the agent.
    pub async fn ask(&self, query: &Query) -> Answer {
        Answer::decode(&self.peer.request(&query.encode()).await.unwrap()).unwrap()
    }

    /// A transaction of this client, signed by it and by `also`.
    pub fn sign(&mut self, body: Body, also: &[u8]) -> SignedTransaction {
        self.numbers += 1;
        let transaction = Transaction {
            zone: self.zone,
            sender: account(self.n),
            number: self.numbers,
            valid_until: self.clock.now().checked_add(Duration::from_secs(3600)).unwrap(),
            body,
        };
        let keys: Vec<SigningKey> = std::iter::once(self.n).chain(also.iter().copied()).map(key).collect();
        transaction.sign(&keys.iter().collect::<Vec<_>>())
    }

    /// Sends a transaction and waits until the agent says that it has been applied; panics after `limit`.
    pub async fn apply(&mut self, body: Body, also: &[u8], limit: Duration) -> Answer {
        let signed = self.sign(body, also);
        let id = signed.transaction.id();
        let mut answer = self.ask(&Query::Submit(Box::new(signed))).await;
        let applied = async {
            while matches!(answer, Answer::Waiting | Answer::Unknown) {
                tokio::time::sleep(Duration::from_millis(200)).await;
                answer = self.ask(&Query::Transaction(id)).await;
            }
        };
        let waited = tokio::time::timeout(limit, applied).await;
        assert!(waited.is_ok(), "transaction {id} is not applied after {limit:?}");
        answer
    }

    /// Money for `to`, issued by this client, who is the treasurer.
    pub fn issue(to: u8, amount: i64) -> Body {
        Body::Issue { asset: Asset::Currency, to: account(to), amount, reference: "simulated".into() }
    }
}
