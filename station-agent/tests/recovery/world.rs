//! A committee of agents without sockets: messages are handed over at once, time is a number, disks are in memory and fail
//! when they are told to. Everything that an agent publishes is remembered, so that two votes that exclude each other are
//! seen even if no peer sees both.

use ohmesh_committee::{Body as MessageBody, Pace, Timeouts};
use ohmesh_ledger::{
    Answer, Body, Distributor, KeyGroup, Query, Rules, SignedTransaction, Transaction, Validator,
    ValidatorSet, VoteKind, Zone,
};
use ohmesh_units::{AccountId, BlockId, Position, Price, SigningKey, Timestamp};
use station_agent::{
    agent::{Agent, AgentError, AgentTimer, Asker, Effect, Event, Keep, Settings, Warning},
    disk::{Disk, Memory},
    seller::Setup,
    vote_keys::VoteKeys,
    wire::Wire,
};
use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

pub fn key(n: usize) -> SigningKey {
    SigningKey::from_seed([u8::try_from(n).unwrap() + 1; 32])
}

/// A disk that stops working after so many operations, the last of which is done by half.
#[derive(Clone, Default)]
pub struct Faulty {
    pub memory: Memory,
    left: Arc<Mutex<Option<u64>>>,
    /// Bytes that were read.
    pub read: Arc<AtomicU64>,
    /// How often something was made durable.
    pub syncs: Arc<AtomicU64>,
}

impl Faulty {
    pub fn fail_after(&self, operations: u64) {
        *self.left.lock().unwrap() = Some(operations);
    }

    fn works(&self) -> bool {
        match &mut *self.left.lock().unwrap() {
            None => true,
            Some(0) => false,
            Some(left) => {
                *left -= 1;
                true
            }
        }
    }

    fn count(&self, bytes: io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
        bytes.inspect(|bytes| {
            self.read.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        })
    }

    fn check(&self) -> io::Result<()> {
        if self.works() { Ok(()) } else { Err(io::Error::other("the disk has failed")) }
    }
}

impl Disk for Faulty {
    fn read(&self, name: &str) -> io::Result<Vec<u8>> {
        self.count(self.memory.read(name))
    }

    fn read_at(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        self.count(self.memory.read_at(name, offset, length))
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        if let Err(error) = self.check() {
            self.memory.append(name, &bytes[..bytes.len() / 2])?;
            return Err(error);
        }
        self.memory.append(name, bytes)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.check()?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.memory.sync(name)
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.check()?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.memory.truncate(name, length)
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.check()?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.memory.replace(name, bytes)
    }

    fn length(&self, name: &str) -> io::Result<u64> {
        self.memory.length(name)
    }

    fn made(&self, name: &str) -> io::Result<Option<u128>> {
        self.memory.made(name)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.check()?;
        self.memory.remove(name)
    }
}

/// What somebody voted or proposed for: epoch, validator, height, round, and which of the three it was.
type Said = (u64, u16, u64, u32, u8);
/// Changes or swallows what an agent answers.
type Lie = Box<dyn FnMut(usize, &Query, Answer) -> Option<Answer>>;

pub struct World {
    pub zone: Zone,
    pub keep: Keep,
    pub agents: Vec<Option<Agent<Faulty>>>,
    pub disks: Vec<Faulty>,
    timers: Vec<BTreeMap<AgentTimer, u64>>,
    inbox: VecDeque<(usize, Event)>,
    pub now_ms: u64,
    starts: u8,
    numbers: u128,
    said: BTreeMap<Said, Option<BlockId>>,
    /// Pairs of votes or proposals that exclude each other.
    pub contradictions: Vec<Said>,
    /// Heights at which each validator voted.
    pub voted: Vec<BTreeSet<u64>>,
    pub evidence: usize,
    pub warnings: Vec<(usize, Warning)>,
    pub forgetful: Vec<usize>,
    /// How often each agent was asked for a chunk.
    pub chunks_asked: Vec<usize>,
    pub lie: Option<Lie>,
    /// This one sells, when it is started next.
    pub seller: Option<usize>,
    /// Nothing that this one publishes or sends arrives.
    pub mute: Option<usize>,
    /// A power cut leaves what was not synced, half-done writes included.
    pub leaves_torn_writes: bool,
}

impl World {
    /// A zone of `size` validators with epochs of 10 s, all of them running.
    pub fn new(size: usize, keep: Keep) -> Self {
        let mut disks: Vec<Faulty> = Vec::new();
        disks.resize_with(size, Faulty::default);
        let now_ms = 1_800_000_000_000;
        let validators = (0..size)
            .map(|n| Validator {
                name: format!("v{n}"),
                key: key(n).public(),
                vote: VoteKeys::first(&mut disks[n], [u8::try_from(n).unwrap() + 150; 32]).unwrap(),
                stake: 1,
                address: String::new(),
            })
            .collect();
        let corner = |lat, lon| Position::from_e7(lat, lon).unwrap();
        let zone = Zone {
            name: "recovery".into(),
            currency: "EUR".parse().unwrap(),
            created: Timestamp::from_millis(now_ms),
            polygon: vec![corner(0, 0), corner(0, 1), corner(1, 0)],
            regulators: None,
            rules: Rules { epoch_ms: 10_000, ..Rules::default() },
            treasury: KeyGroup { threshold: 1, keys: vec![key(100).public()] },
            distributor: Distributor { key: key(101).public(), tariff: Price::from_micro_per_kwh(0) },
            areas: Vec::new(),
            validators: ValidatorSet::new(validators).unwrap(),
        };
        Self::on(zone, keep, disks, now_ms)
    }

    /// Another world that goes on from what is on the disks of this one.
    pub fn branch(&self) -> Self {
        let copy = |disk: &Faulty| Faulty { memory: disk.memory.image(), ..Faulty::default() };
        let mut branch =
            Self::on(self.zone.clone(), self.keep, self.disks.iter().map(copy).collect(), self.now_ms);
        branch.said = self.said.clone();
        branch
    }

    fn on(zone: Zone, keep: Keep, disks: Vec<Faulty>, now_ms: u64) -> Self {
        let size = disks.len();
        let mut agents = Vec::new();
        agents.resize_with(size, || None);
        let mut world = Self {
            zone,
            keep,
            agents,
            disks,
            timers: vec![BTreeMap::new(); size],
            inbox: VecDeque::new(),
            now_ms,
            starts: 0,
            numbers: 0,
            said: BTreeMap::new(),
            contradictions: Vec::new(),
            voted: vec![BTreeSet::new(); size],
            evidence: 0,
            warnings: Vec::new(),
            forgetful: Vec::new(),
            chunks_asked: vec![0; size],
            lie: None,
            seller: None,
            mute: None,
            leaves_torn_writes: false,
        };
        (0..size).for_each(|n| world.start(n));
        world
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_ms)
    }

    /// Opens agent `n` on its disk.
    pub fn open(&mut self, n: usize) -> Result<(Agent<Faulty>, Vec<Effect>), AgentError> {
        self.starts += 1;
        let settings = Settings {
            key: key(n),
            pace: Pace { busy_ms: 500, idle_ms: 1_000 },
            timeouts: Timeouts::default(),
            seed: [self.starts; 32],
            seller: (self.seller == Some(n)).then(|| Setup {
                key: key(n),
                stations: Vec::new(),
                seed: [self.starts; 32],
            }),
            keep: self.keep,
        };
        Agent::open(self.zone.clone(), settings, self.disks[n].clone(), self.now())
    }

    /// Starts agent `n`; it and the running ones can reach each other.
    pub fn start(&mut self, n: usize) {
        let (agent, effects) = self.open(n).unwrap();
        self.agents[n] = Some(agent);
        self.perform(n, effects);
        for other in (0..self.agents.len()).filter(|other| *other != n) {
            if self.agents[other].is_some() {
                self.inbox.push_back((n, Event::Connected(key(other).public())));
                self.inbox.push_back((other, Event::Connected(key(n).public())));
            }
        }
    }

    /// Ends agent `n` as a power cut does.
    pub fn kill(&mut self, n: usize) {
        self.agents[n] = None;
        self.timers[n].clear();
        self.inbox.retain(|(to, _)| *to != n);
        if !self.leaves_torn_writes {
            self.disks[n].memory.lose_unsynced();
        }
        *self.disks[n].left.lock().unwrap() = None;
    }

    /// Kills agent `n` and gives it another disk.
    pub fn replace_disk(&mut self, n: usize, memory: Memory) {
        self.kill(n);
        self.disks[n] = Faulty { memory, ..Faulty::default() };
    }

    pub fn height(&self, n: usize) -> u64 {
        self.agents[n].as_ref().map_or(0, |agent| agent.state().head().height)
    }

    pub fn epoch(&self, n: usize) -> u64 {
        self.agents[n].as_ref().map_or(0, |agent| agent.state().epoch().number)
    }

    /// Lets things happen until agent `n` is at `height`.
    pub fn reach(&mut self, n: usize, height: u64) {
        let limit = self.now_ms + 600_000;
        self.run(|world| world.height(n) >= height || world.now_ms > limit);
        assert!(self.height(n) >= height, "agent {n} is at {}, not at {height}", self.height(n));
    }

    /// Lets things happen until `is_done`.
    pub fn run(&mut self, is_done: impl Fn(&Self) -> bool) {
        while !is_done(self) {
            let (to, event) = match self.inbox.pop_front() {
                Some(next) => next,
                None => self.next_timer(),
            };
            let now = self.now();
            let Some(agent) = &mut self.agents[to] else { continue };
            match agent.handle(now, event) {
                Ok(effects) => self.perform(to, effects),
                Err(AgentError::Log(_)) => self.kill(to),
                Err(error) => panic!("agent {to}: {error}"),
            }
        }
    }

    fn next_timer(&mut self) -> (usize, Event) {
        let (at, to, timer) = (0..self.timers.len())
            .flat_map(|to| self.timers[to].iter().map(move |(timer, at)| (*at, to, *timer)))
            .min()
            .expect("somebody waits for something");
        self.timers[to].remove(&timer);
        self.now_ms = self.now_ms.max(at);
        (to, Event::Elapsed(timer))
    }

    fn perform(&mut self, me: usize, effects: Vec<Effect>) {
        let from = key(me).public();
        for effect in effects {
            match effect {
                Effect::Publish(wire) | Effect::Send(_, wire) if self.mute == Some(me) => {
                    self.note(me, &wire)
                }
                Effect::Publish(wire) => {
                    self.note(me, &wire);
                    for to in (0..self.agents.len()).filter(|to| *to != me) {
                        self.inbox.push_back((to, Event::Wire { from, wire: wire.clone() }));
                    }
                }
                Effect::Send(to, wire) => {
                    self.note(me, &wire);
                    let to = self.index(&to);
                    self.inbox.push_back((to, Event::Wire { from, wire }));
                }
                Effect::Fetch { from, height } => {
                    if let Some(Answer::Blocks(blocks)) = self.ask(me, &from, &Query::Blocks { from: height })
                    {
                        self.inbox.push_back((me, Event::Fetched { from, blocks }));
                    }
                }
                Effect::Ask { from, query } => {
                    let answer = self.ask(me, &from, &query).map(Box::new);
                    self.inbox.push_back((me, Event::Answered { from, query, answer }));
                }
                Effect::SetTimer(timer, wait) => {
                    let at = self.now_ms + u64::try_from(wait.as_millis()).unwrap();
                    self.timers[me].insert(timer, at);
                }
                Effect::CancelTimer(timer) => {
                    self.timers[me].remove(&timer);
                }
                Effect::CancelCommitteeTimers => {
                    self.timers[me].retain(|timer, _| !matches!(timer, AgentTimer::Committee(_)));
                }
                Effect::Equivocation(_) => self.evidence += 1,
                Effect::Warning(warning) => self.warnings.push((me, warning)),
                Effect::Forgetful { .. } => self.forgetful.push(me),
                Effect::Charger { .. }
                | Effect::Sale(_)
                | Effect::Decided(_)
                | Effect::Refused { .. }
                | Effect::Validators(_) => {}
            }
        }
    }

    fn index(&self, wanted: &ohmesh_units::PublicKey) -> usize {
        (0..self.agents.len()).find(|n| key(*n).public() == *wanted).unwrap()
    }

    fn ask(&mut self, me: usize, from: &ohmesh_units::PublicKey, query: &Query) -> Option<Answer> {
        let (from, now) = (self.index(from), self.now());
        if matches!(query, Query::SnapshotChunk { .. }) {
            self.chunks_asked[me] += 1;
        }
        let asker = Asker { key: key(me).public(), exporter: [0; 32] };
        let agent = self.agents[from].as_mut()?;
        let (answer, effects) = agent.answer(now, asker, query.clone()).ok()?;
        self.perform(from, effects);
        match &mut self.lie {
            Some(lie) => lie(from, query, answer),
            None => Some(answer),
        }
    }

    fn note(&mut self, me: usize, wire: &Wire) {
        let Wire::Committee(message) = wire else { return };
        let (said, block) = match &message.body {
            MessageBody::Vote(vote, _) => {
                self.voted[me].insert(vote.height);
                let kind = if vote.kind == VoteKind::Prevote { 0 } else { 1 };
                ((message.epoch, vote.validator, vote.height, vote.round, kind), vote.block)
            }
            MessageBody::Proposal(proposal, ..) => {
                let Proposed { validator, height, round, block } = proposed(proposal);
                ((message.epoch, validator, height, round, 2), Some(block))
            }
            _ => return,
        };
        if self.said.insert(said, block).is_some_and(|before| before != block) {
            self.contradictions.push(said);
        }
    }

    /// Opens an account with every agent's help.
    pub fn open_account(&mut self, n: usize) {
        self.submit(&[n], Body::OpenAccount { owner: key(n).public() });
    }

    /// Tells every agent of a transaction of the first signer.
    pub fn submit(&mut self, signers: &[usize], body: Body) {
        self.numbers += 1;
        let transaction = Transaction {
            zone: self.zone.id(),
            sender: AccountId::of(&key(signers[0]).public()),
            number: self.numbers,
            valid_until: self.now().checked_add(Duration::from_secs(3600)).unwrap(),
            body,
        };
        let keys: Vec<SigningKey> = signers.iter().map(|n| key(*n)).collect();
        let signed: SignedTransaction = transaction.sign(&keys.iter().collect::<Vec<_>>());
        let validators = self.zone.validators.all().len();
        for to in 0..self.agents.len() {
            let from = key((to + 1) % validators).public();
            let wire = Wire::Transactions(vec![signed.clone()]);
            self.inbox.push_back((to, Event::Wire { from, wire }));
        }
    }

    /// The zone passes to those validators of now that `change` leaves, as it leaves them; all of them sign.
    pub fn pass_to(&mut self, change: impl FnOnce(&mut Vec<Validator>)) {
        let state = self.agents.iter().flatten().next().unwrap().state();
        let (epoch, mut all) = (state.epoch().number, state.validators().all().to_vec());
        let signers: Vec<usize> = all.iter().map(|one| self.index(&one.key)).collect();
        change(&mut all);
        let validators = Box::new(ValidatorSet::new(all).unwrap());
        self.submit(&signers, Body::SetValidators { epoch, validators });
    }

    /// One more agent, which is no validator; gives its number.
    pub fn add_follower(&mut self) -> usize {
        self.agents.push(None);
        self.disks.push(Faulty::default());
        self.timers.push(BTreeMap::new());
        self.voted.push(BTreeSet::new());
        self.chunks_asked.push(0);
        self.start(self.agents.len() - 1);
        self.agents.len() - 1
    }

    /// Damages every snapshot of agent `n`.
    pub fn damage_snapshots(&mut self, n: usize) {
        let memory = &self.disks[n].memory;
        let names = memory.names().into_iter().filter(|name| name.starts_with("snapshot-"));
        names.for_each(|name| memory.edit(&name, |bytes| bytes[90] ^= 1));
    }

    /// Hands a message to an agent.
    pub fn deliver(&mut self, to: usize, from: usize, wire: Wire) {
        self.inbox.push_back((to, Event::Wire { from: key(from).public(), wire }));
    }

    /// Whether all running agents that are at the same height have the same roots.
    pub fn check_roots(&self) {
        let mut roots = BTreeMap::new();
        for agent in self.agents.iter().flatten() {
            let state = agent.state();
            state.audit();
            let same = roots.entry(state.head().height).or_insert(*state.roots());
            assert_eq!(same, state.roots(), "I9 at height {}", state.head().height);
        }
    }

    /// That nobody ever said two things that exclude each other.
    pub fn check_votes(&self) {
        assert_eq!(self.contradictions, [], "votes that exclude each other");
        assert_eq!(self.evidence, 0, "evidence");
    }

    /// Whether agent `n` has voted, or has proposed, at a height; its number is its index.
    pub fn has_said(&self, n: usize, height: u64, what: &str) -> bool {
        let is_it = |kind: u8| if what == "proposal" { kind == 2 } else { kind < 2 };
        self.said.keys().any(|(_, who, at, _, kind)| usize::from(*who) == n && *at == height && is_it(*kind))
    }

    pub fn warned(&self, n: usize, is_it: impl Fn(&Warning) -> bool) -> usize {
        self.warnings.iter().filter(|(who, warning)| *who == n && is_it(warning)).count()
    }
}

struct Proposed {
    validator: u16,
    height: u64,
    round: u32,
    block: BlockId,
}

fn proposed(proposal: &ohmesh_ledger::Proposal) -> Proposed {
    let ohmesh_ledger::Proposal { validator, height, round, block, .. } = *proposal;
    Proposed { validator, height, round, block }
}
