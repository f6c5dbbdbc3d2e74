//! Validators in one process on virtual time: messages are handed over at once, a timer runs out when nothing else is left
//! to do, and what takes real time is the CPU and the disk.

use ohmesh_committee::{Pace, Timeouts};
use ohmesh_ledger::{Answer, Asset, Body, Journal, Leg, Query, Rules, SignedTransaction, Transaction, Zone};
use ohmesh_tests::{
    key,
    zone::{TREASURER, lay_vote_key, zone_file},
};
use ohmesh_units::{AccountId, PublicKey, SigningKey, Timestamp};
use station_agent::{
    agent::{Agent, AgentTimer, Asker, Effect, Event, Keep, Settings},
    disk::Disk,
    wire::Wire,
};
use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

/// All validators of a zone, and what is on its way between them.
pub struct World<D: Disk> {
    /// What the validators are known by.
    keys: Vec<PublicKey>,
    agents: Vec<Agent<D>>,
    timers: Vec<BTreeMap<AgentTimer, u64>>,
    inbox: VecDeque<(usize, Event)>,
    now_ms: u64,
    zone: Zone,
    /// Transactions that the last validator has applied, its own included.
    pub applied: usize,
    /// Blocks that had transactions in them.
    pub blocks: usize,
    /// All blocks.
    pub heights: usize,
}

impl<D: Disk> World<D> {
    /// One validator a disk, each with the same stake.
    pub fn new(disks: Vec<D>) -> Self {
        let now_ms = 1_800_000_000_000;
        let created = Timestamp::from_millis(now_ms);
        let zone = zone_file(&vec![1; disks.len()], Rules::default(), created).zone;
        let mut world = Self {
            keys: (1..).take(disks.len()).map(|n| key(n).public()).collect(),
            agents: Vec::new(),
            timers: vec![BTreeMap::new(); disks.len()],
            inbox: VecDeque::new(),
            now_ms,
            zone,
            applied: 0,
            blocks: 0,
            heights: 0,
        };
        for (n, mut disk) in (1u8..).zip(disks) {
            lay_vote_key(n, &mut disk);
            let settings = Settings {
                key: key(n),
                pace: Pace::default(),
                timeouts: Timeouts::default(),
                seed: [n; 32],
                seller: None,
                keep: Keep::default(),
            };
            let now = Timestamp::from_millis(now_ms);
            let (agent, effects) = Agent::open(world.zone.clone(), settings, disk, now).unwrap();
            world.agents.push(agent);
            world.perform(usize::from(n) - 1, effects);
        }
        world
    }

    /// Opens an account for each of `senders` and gives it a million micro-units.
    pub fn fund(&mut self, senders: &[SigningKey]) {
        let opens = senders.iter().map(|key| self.sign(key, 1, Body::OpenAccount { owner: key.public() }));
        let opens: Vec<SignedTransaction> = opens.collect();
        let issues = (1u128..).zip(senders).map(|(n, to)| {
            let (to, asset, reference) = (AccountId::of(&to.public()), Asset::Currency, "bench".to_owned());
            self.sign(&key(TREASURER), n, Body::Issue { asset, to, amount: 1_000_000, reference })
        });
        let issues: Vec<SignedTransaction> = issues.collect();
        for all in [opens, issues] {
            let due = self.applied + all.len();
            self.gossip(all);
            self.run_until(due);
            // Validators have transactions of their own, which may have taken the place of ours in a full block.
            while self.agents.iter().any(|agent| agent.waiting() > 0) {
                self.run_until(self.applied + 1);
            }
        }
    }

    /// A transaction of `sender`, valid for an hour.
    pub fn sign(&self, sender: &SigningKey, number: u128, body: Body) -> SignedTransaction {
        let transaction = Transaction {
            zone: self.zone.id(),
            sender: AccountId::of(&sender.public()),
            number,
            valid_until: Timestamp::from_millis(self.now_ms + 3_600_000),
            body,
        };
        transaction.sign(&[sender])
    }

    /// The virtual time.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.now_ms)
    }

    /// Hands transactions to every validator in the messages of gossip, and waits until they are taken in: every signature
    /// has been checked, nothing is built yet.
    pub fn gossip(&mut self, mut signed: Vec<SignedTransaction>) {
        while !signed.is_empty() {
            let rest = signed.split_off(signed.len().min(Wire::TRANSACTIONS_MAX));
            let message = std::mem::replace(&mut signed, rest);
            for to in 1..self.agents.len() {
                let (from, wire) = (self.keys[0], Wire::Transactions(message.clone()));
                self.inbox.push_back((to, Event::Wire { from, wire }));
            }
            // An only validator has nobody else to hear from.
            let from = *self.keys.get(1).unwrap_or(&self.keys[0]);
            self.inbox.push_back((0, Event::Wire { from, wire: Wire::Transactions(message) }));
        }
        while let Some((to, event)) = self.inbox.pop_front() {
            self.handle(to, event);
        }
    }

    /// Asks the first validator to take each transaction, as phones do, so many at the same time.
    #[allow(dead_code, reason = "the two benches share this file, and one of them asks")]
    pub fn ask(&mut self, signed: Vec<SignedTransaction>, together: usize) {
        let asker = Asker { key: self.keys[0], exporter: [0; 32] };
        let mut questions = signed.into_iter().map(|one| (asker, Query::Submit(Box::new(one)))).peekable();
        while questions.peek().is_some() {
            let (now, some) = (self.now(), questions.by_ref().take(together).collect());
            let (answers, effects) = self.agents[0].answer_all(now, some).unwrap();
            assert!(answers.iter().all(|answer| *answer == Answer::Waiting), "{answers:?}");
            self.perform(0, effects);
        }
    }

    /// Goes on until so many transactions are final, durable and applied at the last validator.
    pub fn run_until(&mut self, applied: usize) {
        while self.applied < applied {
            let (to, event) = match self.inbox.pop_front() {
                Some(next) => next,
                None => self.next_timer(),
            };
            self.handle(to, event);
        }
    }

    fn handle(&mut self, to: usize, event: Event) {
        let now = self.now();
        let effects = self.agents[to].handle(now, event).unwrap();
        self.perform(to, effects);
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
        let from = self.keys[me];
        for effect in effects {
            match effect {
                Effect::Publish(wire) => {
                    for to in (0..self.timers.len()).filter(|to| *to != me) {
                        self.inbox.push_back((to, Event::Wire { from, wire: wire.clone() }));
                    }
                }
                Effect::Send(to, wire) => {
                    if let Some(to) = self.index(&to) {
                        self.inbox.push_back((to, Event::Wire { from, wire }));
                    }
                }
                Effect::Ask { from: whom, query } => {
                    let answer = self.question(me, &whom, &query).map(Box::new);
                    self.inbox.push_back((me, Event::Answered { from: whom, query, answer }));
                }
                Effect::Fetch { from: whom, height } => {
                    if let Some(Answer::Blocks(blocks)) =
                        self.question(me, &whom, &Query::Blocks { from: height })
                    {
                        self.inbox.push_back((me, Event::Fetched { from: whom, blocks }));
                    }
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
                Effect::Decided(decided) if me + 1 == self.timers.len() => {
                    self.applied += decided.header.transaction_count as usize;
                    self.blocks += usize::from(decided.header.transaction_count > 0);
                    self.heights += 1;
                }
                Effect::Refused { reason, .. } => panic!("a message was refused: {reason:?}"),
                Effect::Warning(warning) => panic!("{warning}"),
                _ => {}
            }
        }
    }
}

impl<D: Disk> World<D> {
    /// What one validator answers another; nothing before it is open.
    fn question(&mut self, me: usize, whom: &PublicKey, query: &Query) -> Option<Answer> {
        let (asker, now, to) =
            (Asker { key: self.keys[me], exporter: [0; 32] }, self.now(), self.index(whom)?);
        let (answer, effects) = self.agents.get_mut(to)?.answer(now, asker, query.clone()).unwrap();
        self.perform(to, effects);
        Some(answer)
    }

    fn index(&self, whom: &PublicKey) -> Option<usize> {
        self.keys.iter().position(|key| key == whom)
    }
}

/// The key of participant `n` of many.
pub fn sender(n: u64) -> SigningKey {
    let mut seed = [9; 32];
    seed[..8].copy_from_slice(&n.to_be_bytes());
    SigningKey::from_seed(seed)
}

/// One micro-unit from one to another.
pub fn pay(from: &SigningKey, to: &SigningKey) -> Body {
    let (journal, asset) = (Journal::Energy, Asset::Currency);
    let [from, to] = [from, to].map(|key| AccountId::of(&key.public()));
    Body::Transfer { legs: vec![Leg::Move { journal, asset, from, to, amount: 1 }] }
}

/// The time that this thread has spent on a CPU: on a machine that others use too, it is what the work itself costs.
#[allow(dead_code, reason = "the two benches share this file, and one of them measures time")]
pub fn cpu_time() -> Duration {
    // The system brings a thread's account up to date when the thread gives way.
    std::thread::yield_now();
    let spent = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(spent.split_whitespace().next().unwrap().parse().unwrap())
}
