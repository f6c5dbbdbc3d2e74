//! A committee in virtual time: a seeded heap of events, a network that loses, doubles, delays and parts, disks that
//! keep only what was synced, hosts that die between any two actions, and validators that sign two things at once.

use ohmesh_committee::*;
use ohmesh_ledger::{Certificate, Proposal, Validator, ValidatorSet, Vote, VoteKind};
use ohmesh_units::*;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

const ZONE: ZoneId = ZoneId([9; 32]);
const EPOCH: u64 = 3;
const PACE: Pace = Pace { busy_ms: 100, idle_ms: 700 };

/// What a simulated world is like.
#[derive(Clone)]
pub struct Scenario {
    pub seed: u64,
    pub stakes: Vec<u64>,
    /// Validators that sign two different things for different peers.
    pub liars: Vec<usize>,
    /// Agents without a key that follow.
    pub observers: usize,
    /// Whether hosts die, all of them at once at worst.
    pub crashes: bool,
    /// Messages lost in the troubled phase, per thousand.
    pub loss: u64,
    /// Whether the network parts in the troubled phase.
    pub partitions: bool,
    /// Whether agents pass transactions on, so that work waits at all of them or at none.
    pub shared_work: bool,
    /// How long the trouble lasts, and the calm after it, in milliseconds.
    pub trouble_ms: u64,
    pub calm_ms: u64,
}

/// What came of it.
#[derive(Debug, PartialEq, Eq, Default)]
pub struct Outcome {
    /// Least height of any honest agent when the trouble ended, and at the end.
    pub height_after_trouble: u64,
    pub height: u64,
    pub crashes: u64,
    pub equivocations: u64,
    pub synced: u64,
    pub rounds_max: u32,
    pub trace: Hash,
}

enum Event {
    Deliver { to: usize, from: usize, bytes: Vec<u8> },
    Certified { to: usize, from: usize, blocks: Vec<(BlockBytes, Certificate)> },
    Fetch { to: usize, from: usize, height: u64 },
    Timer { node: usize, life: u64, timer: Timer },
    Build { node: usize, life: u64, height: u64, round: u32 },
    Judge { node: usize, life: u64, block: BlockId, bytes: BlockBytes },
    Start { node: usize, life: u64, height: u64 },
    Crash { node: usize },
    Boot { node: usize },
}

#[derive(Default)]
struct Disk {
    log: Vec<Vec<u8>>,
    undecided: BTreeMap<BlockId, BlockBytes>,
    chain: Vec<(BlockId, BlockBytes, Certificate)>,
}

#[derive(Default)]
struct Node {
    committee: Option<Committee>,
    life: u64,
    disk: Disk,
    /// Appended to the log and not synced.
    tail: Vec<Vec<u8>>,
    timers: BTreeMap<Timer, u64>,
    committed_at_ms: u64,
}

pub struct World {
    scenario: Scenario,
    set: ValidatorSet,
    keys: Vec<SigningKey>,
    nodes: Vec<Node>,
    now_us: u64,
    random: u64,
    queue: BinaryHeap<Reverse<(u64, u64)>>,
    events: BTreeMap<u64, Event>,
    sequence: u64,
    /// From, until, and which nodes are on one side.
    partitions: Vec<(u64, u64, u64)>,
    decided: BTreeMap<u64, BlockId>,
    signed: BTreeMap<(u16, u64, u32, VoteKind), Option<BlockId>>,
    proposed: BTreeMap<(u16, u64, u32), Proposal>,
    trace: Hasher,
    outcome: Outcome,
}

pub fn identify(bytes: &[u8]) -> Option<BlockId> {
    bytes.starts_with(b"block").then(|| Domain::new("simulated block").hash(&[bytes]).into())
}

pub fn run(scenario: Scenario) -> Outcome {
    let mut world = World::new(scenario);
    world.schedule();
    let trouble_us = world.scenario.trouble_ms * 1000;
    let end_us = trouble_us + world.scenario.calm_ms * 1000;
    let mut calm = false;
    while let Some(Reverse((at_us, sequence))) = world.queue.pop() {
        if at_us > end_us {
            break;
        }
        world.now_us = at_us;
        if !calm && at_us >= trouble_us {
            calm = true;
            world.outcome.height_after_trouble = world.least_height();
        }
        let event = world.events.remove(&sequence).unwrap();
        world.happen(event);
    }
    world.outcome.height = world.least_height();
    world.outcome.trace = world.trace.finish();
    world.outcome
}

impl World {
    fn new(scenario: Scenario) -> Self {
        let count = scenario.stakes.len();
        let keys: Vec<SigningKey> =
            (1u8..).take(count + scenario.observers).map(|n| SigningKey::from_seed([n; 32])).collect();
        let validators = scenario.stakes.iter().zip(&keys).enumerate().map(|(n, (stake, key))| Validator {
            name: format!("v{n}"),
            key: key.public(),
            vote: key.public(),
            stake: *stake,
            address: String::new(),
        });
        Self {
            set: ValidatorSet::new(validators.collect()).unwrap(),
            nodes: keys.iter().map(|_| Node::default()).collect(),
            keys,
            now_us: 0,
            random: scenario.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            queue: BinaryHeap::new(),
            events: BTreeMap::new(),
            sequence: 0,
            partitions: Vec::new(),
            decided: BTreeMap::new(),
            signed: BTreeMap::new(),
            proposed: BTreeMap::new(),
            trace: Domain::new("simulation trace").hasher(),
            outcome: Outcome::default(),
            scenario,
        }
    }

    /// A number below `bound` (xorshift64*).
    fn random(&mut self, bound: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        (self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16) % bound
    }

    fn at(&mut self, at_us: u64, event: Event) {
        self.sequence += 1;
        self.events.insert(self.sequence, event);
        self.queue.push(Reverse((at_us, self.sequence)));
    }

    fn after_ms(&mut self, least: u64, spread: u64, event: Event) {
        let at_us = self.now_us + least * 1000 + self.random(spread * 1000);
        self.at(at_us, event);
    }

    fn is_troubled(&self) -> bool {
        self.now_us < self.scenario.trouble_ms * 1000
    }

    fn is_honest(&self, node: usize) -> bool {
        !self.scenario.liars.contains(&node)
    }

    fn least_height(&self) -> u64 {
        let honest = (0..self.nodes.len()).filter(|n| self.is_honest(*n));
        honest.map(|n| self.nodes[n].disk.chain.len() as u64).min().unwrap()
    }

    fn schedule(&mut self) {
        let (count, trouble_ms) = (self.nodes.len(), self.scenario.trouble_ms);
        for node in 0..count {
            self.at(node as u64, Event::Boot { node });
        }
        let mut at_ms = 500 + self.random(500);
        while self.scenario.partitions && at_ms + 1_500 < trouble_ms {
            let until_ms = at_ms + 200 + self.random(1_200);
            let side = self.random(1 << count);
            self.partitions.push((at_ms * 1000, until_ms * 1000, side));
            at_ms = until_ms + self.random(1_500);
        }
        let mut at_ms = 300 + self.random(500);
        while self.scenario.crashes && at_ms + 1_500 < trouble_ms {
            // Now and then the power fails everywhere.
            let everybody = self.random(5) == 0;
            let one = self.random(count as u64) as usize;
            for node in (0..count).filter(|n| everybody || *n == one) {
                let down_us = 20_000 + self.random(1_200_000);
                self.at(at_ms * 1000, Event::Crash { node });
                self.at(at_ms * 1000 + down_us, Event::Boot { node });
            }
            at_ms += 200 + self.random(900);
        }
    }

    fn happen(&mut self, event: Event) {
        let alive = |world: &Self, node: usize, life: u64| world.nodes[node].life == life;
        match event {
            Event::Deliver { to, from, bytes } => {
                let message = Message::decode(&bytes).unwrap();
                self.input(to, Input::Message { from: self.keys[from].public(), message });
            }
            Event::Certified { to, from, blocks } => {
                for (bytes, certificate) in blocks {
                    let from = self.keys[from].public();
                    self.input(to, Input::Certified { from, bytes, certificate });
                }
            }
            Event::Fetch { to, from, height } => {
                let chain = &self.nodes[from].disk.chain;
                let first = usize::try_from(height - 1).unwrap();
                let blocks: Vec<_> =
                    chain.iter().skip(first).take(20).map(|(_, b, c)| (b.clone(), c.clone())).collect();
                if self.nodes[from].committee.is_some() && !blocks.is_empty() && !self.is_lost(from, to) {
                    self.after_ms(2, 30, Event::Certified { to, from, blocks });
                }
            }
            Event::Timer { node, life, timer } => {
                let due = self.nodes[node].timers.get(&timer) == Some(&self.now_us);
                // A timer may run out although it was cancelled: the committee must know.
                if alive(self, node, life) && (due || self.random(4) == 0) {
                    self.input(node, Input::Elapsed(timer));
                }
            }
            Event::Build { node, life, height, round } if alive(self, node, life) => {
                let parent = self.tip(node);
                let bytes = format!("block {height} {round} by {node}.{life} on {parent}").into_bytes();
                let block = identify(&bytes).unwrap();
                self.nodes[node].disk.undecided.insert(block, bytes.clone().into());
                self.input(node, Input::Built { height, round, block, bytes: bytes.into() });
            }
            Event::Judge { node, life, block, bytes } if alive(self, node, life) => {
                let text = String::from_utf8(bytes.to_vec()).unwrap();
                let valid = !text.contains("evil") && text.ends_with(&format!("on {}", self.tip(node)));
                if valid {
                    self.nodes[node].disk.undecided.insert(block, bytes);
                }
                self.input(node, Input::Judged { block, valid });
            }
            Event::Start { node, life, height } => {
                let committee = self.nodes[node].committee.as_ref();
                let due = committee.is_some_and(|c| c.height() == height && c.round().is_none());
                if alive(self, node, life) && due {
                    self.input(node, Input::Start { height });
                }
            }
            Event::Crash { node } => self.crash(node),
            Event::Boot { node } => self.boot(node),
            Event::Build { .. } | Event::Judge { .. } => (),
        }
    }

    fn tip(&self, node: usize) -> BlockId {
        self.nodes[node].disk.chain.last().map_or(BlockId([0; 32]), |(block, _, _)| *block)
    }

    /// The process ends. Of what was not synced, a part may have reached the disk, in order.
    fn crash(&mut self, node: usize) {
        if self.nodes[node].committee.take().is_none() {
            return;
        }
        self.outcome.crashes += 1;
        let kept = self.random(self.nodes[node].tail.len() as u64 + 1) as usize;
        let node = &mut self.nodes[node];
        node.disk.log.extend(node.tail.drain(..).take(kept));
        node.timers.clear();
        node.life += 1;
    }

    fn boot(&mut self, node: usize) {
        if self.nodes[node].committee.is_some() {
            return;
        }
        self.nodes[node].life += 1;
        let key = self.keys[node].clone();
        let config = Config {
            zone: ZONE,
            epoch: EPOCH,
            validators: self.set.clone(),
            key: self.set.index_of(&key.public()).map(|_| key),
            timeouts: Timeouts::default().divided_by(4),
            identify,
        };
        let disk = &self.nodes[node].disk;
        let records = disk.log.iter().map(|bytes| WalRecord::decode(bytes).unwrap()).collect();
        let blocks = disk.undecided.values().cloned().collect();
        let height = disk.chain.len() as u64 + 1;
        let (committee, actions) = Committee::replay(config, height, records, blocks).unwrap();
        self.nodes[node].committee = Some(committee);
        self.perform(node, actions);
    }

    fn input(&mut self, node: usize, input: Input) {
        if let Some(committee) = &mut self.nodes[node].committee {
            let actions = committee.handle(input);
            self.outcome.rounds_max = self.outcome.rounds_max.max(committee.round().unwrap_or(0));
            self.perform(node, actions);
        }
    }

    fn perform(&mut self, node: usize, actions: Vec<Action>) {
        let life = self.nodes[node].life;
        let dies = self.scenario.crashes && self.is_troubled() && self.random(400) == 0;
        let last = if dies { self.random(actions.len() as u64 + 1) as usize } else { actions.len() };
        for action in actions.into_iter().take(last) {
            self.act(node, life, action);
        }
        if dies && self.nodes[node].committee.is_some() {
            self.crash(node);
            self.after_ms(10, 800, Event::Boot { node });
        }
    }

    fn act(&mut self, node: usize, life: u64, action: Action) {
        match action {
            Action::Append(record) => self.nodes[node].tail.push(record.encode()),
            Action::Sync => {
                let node = &mut self.nodes[node];
                node.disk.log.append(&mut node.tail);
            }
            Action::Publish(message) => self.publish(node, message),
            Action::SetTimer(timer, after) => {
                let at_us = self.now_us + u64::try_from(after.as_micros()).unwrap();
                self.nodes[node].timers.insert(timer, at_us);
                self.at(at_us, Event::Timer { node, life, timer });
            }
            Action::CancelTimer(timer) => {
                self.nodes[node].timers.remove(&timer);
            }
            Action::CancelAllTimers => self.nodes[node].timers.clear(),
            Action::Build { height, round, .. } => {
                self.after_ms(1, 10, Event::Build { node, life, height, round });
            }
            Action::Judge { block, bytes, .. } => {
                assert_eq!(identify(&bytes), Some(block));
                self.after_ms(1, 20, Event::Judge { node, life, block, bytes });
            }
            Action::Commit { height, block, bytes, certificate } => {
                self.commit(node, life, height, block, bytes, certificate);
            }
            Action::Wake { height } => {
                let wait_ms = self.wait_ms(node, true);
                self.after_ms(wait_ms, 1, Event::Start { node, life, height });
            }
            Action::RequestSync { from, height } => {
                let from = self.keys.iter().position(|key| key.public() == from).unwrap();
                if !self.is_lost(node, from) {
                    self.after_ms(2, 30, Event::Fetch { to: node, from, height });
                }
            }
            Action::Offer { validator, height } => {
                self.after_ms(2, 30, Event::Fetch { to: usize::from(validator), from: node, height });
            }
            Action::Equivocation(evidence) => {
                assert!(!self.is_honest(usize::from(evidence.validator())), "only liars are convicted");
                assert!(evidence.proves(&ZONE, EPOCH, self.set.voters()));
                self.outcome.equivocations += 1;
            }
            Action::Reject { reason, .. } => {
                assert!(!reason.is_fault(), "node {node} refuses what a correct peer sends: {reason}");
            }
            Action::Fault(error) => assert!(!self.is_honest(node), "node {node}: {error}"),
        }
    }

    fn wait_ms(&self, node: usize, work: bool) -> u64 {
        let (now, last) = (self.now_us / 1000, self.nodes[node].committed_at_ms);
        let wait = PACE.wait(Timestamp::from_millis(now), Timestamp::from_millis(last), work);
        u64::try_from(wait.as_millis()).unwrap()
    }

    fn commit(
        &mut self,
        node: usize,
        life: u64,
        height: u64,
        block: BlockId,
        bytes: BlockBytes,
        certificate: Certificate,
    ) {
        self.check_commit(node, height, block, &bytes, &certificate);
        self.trace.update(&self.now_us.to_be_bytes()).update(&[node as u8]).update(&block.0);
        let now_ms = self.now_us / 1000;
        let mut state = std::mem::take(&mut self.nodes[node]);
        if !state.disk.undecided.contains_key(&block) {
            self.outcome.synced += 1;
        }
        state.disk.chain.push((block, bytes, certificate));
        state.disk.undecided.clear();
        // The log's records of a committed height may go, at once or later.
        if self.random(2) == 0 {
            state.disk.log.clear();
            state.tail.clear();
        }
        state.committed_at_ms = now_ms;
        self.nodes[node] = state;
        let work = if self.scenario.shared_work { block.0[0].is_multiple_of(3) } else { self.random(3) == 0 };
        let wait_ms = self.wait_ms(node, work);
        self.after_ms(wait_ms, 20, Event::Start { node, life, height: height + 1 });
    }

    /// No fork, in order, and the certificate is valid and as small as it can be.
    fn check_commit(
        &mut self,
        node: usize,
        height: u64,
        block: BlockId,
        bytes: &BlockBytes,
        certificate: &Certificate,
    ) {
        assert_eq!(height, self.nodes[node].disk.chain.len() as u64 + 1, "heights come in order");
        assert_eq!((certificate.height, certificate.block), (height, block));
        assert_eq!(identify(bytes), Some(block));
        certificate.verify(&ZONE, EPOCH, self.set.voters()).unwrap();
        for at in 0..certificate.signatures.len() {
            let mut fewer = certificate.clone();
            fewer.signatures.remove(at);
            assert!(fewer.verify(&ZONE, EPOCH, self.set.voters()).is_err(), "no signature is superfluous");
        }
        assert_eq!(*self.decided.entry(height).or_insert(block), block, "fork at {height}");
    }

    fn publish(&mut self, node: usize, message: Message) {
        let bytes = message.encode();
        self.trace.update(&self.now_us.to_be_bytes()).update(&[node as u8]).update(&bytes);
        if self.is_honest(node) {
            self.check_publish(node, &message.body);
        }
        for to in (0..self.nodes.len()).filter(|to| *to != node) {
            let bytes = if !self.is_honest(node) && to % 2 == 0 {
                self.lie(node, message.clone()).encode()
            } else {
                bytes.clone()
            };
            if self.is_lost(node, to) {
                continue;
            }
            if self.is_troubled() && self.random(20) == 0 {
                self.after_ms(1, 400, Event::Deliver { to, from: node, bytes: bytes.clone() });
            }
            self.after_ms(1, 40, Event::Deliver { to, from: node, bytes });
        }
    }

    fn is_lost(&mut self, from: usize, to: usize) -> bool {
        let now_us = self.now_us;
        let parted = self.partitions.iter().any(|(since, until, side)| {
            (*since..*until).contains(&now_us) && side >> from & 1 != side >> to & 1
        });
        parted || self.is_troubled() && self.random(1_000) < self.scenario.loss
    }

    /// An honest validator's word is durable before it leaves, its block too, and it never says two things.
    fn check_publish(&mut self, node: usize, body: &Body) {
        let durable = &self.nodes[node].disk;
        match body {
            Body::Vote(vote, signature) => {
                assert_eq!(usize::from(vote.validator), node);
                let record = WalRecord::Vote(*vote, *signature).encode();
                assert!(durable.log.contains(&record), "a vote is in the log before it leaves");
                if let Some(block) = vote.block {
                    assert!(
                        durable.undecided.contains_key(&block),
                        "a block is durable before its vote leaves"
                    );
                }
                self.check_vote(vote);
            }
            Body::Proposal(proposal, signature, _) => {
                let record = WalRecord::Proposal(*proposal, *signature).encode();
                assert!(durable.log.contains(&record), "a proposal is in the log before it leaves");
                let key = (proposal.validator, proposal.height, proposal.round);
                if self.is_honest(usize::from(proposal.validator)) {
                    assert_eq!(self.proposed.entry(key).or_insert(*proposal), proposal, "two proposals");
                }
            }
            Body::Polka(polka) => {
                polka.verify(&ZONE, EPOCH, &self.set).unwrap();
                for (validator, _) in &polka.signatures {
                    let (height, round, block) = (polka.height, polka.round, Some(polka.block));
                    let kind = VoteKind::Prevote;
                    self.check_vote(&Vote { kind, height, round, block, validator: *validator });
                }
            }
            Body::Round(certificate) => {
                certificate.verify(&ZONE, EPOCH, &self.set).unwrap();
                for RoundVote { validator, kind, block, .. } in certificate.votes.clone() {
                    let (height, round) = (certificate.height, certificate.round);
                    self.check_vote(&Vote { kind, height, round, block, validator });
                }
            }
        }
    }

    fn check_vote(&mut self, vote: &Vote) {
        if self.is_honest(usize::from(vote.validator)) {
            let key = (vote.validator, vote.height, vote.round, vote.kind);
            let first = self.signed.entry(key).or_insert(vote.block);
            assert_eq!(*first, vote.block, "validator {} voted twice: {vote:?}", vote.validator);
        }
    }

    /// What a liar tells the other half.
    fn lie(&mut self, node: usize, mut message: Message) -> Message {
        let key = self.keys[node].clone();
        match &mut message.body {
            Body::Vote(vote, signature) if usize::from(vote.validator) == node => {
                let height = vote.height;
                let other = self.decided.get(&height).copied().unwrap_or(BlockId([height as u8; 32]));
                vote.block = if vote.block.is_some() { None } else { Some(other) };
                *signature = vote.sign(&ZONE, EPOCH, &key);
            }
            Body::Proposal(proposal, signature, bytes) if usize::from(proposal.validator) == node => {
                let kind = if self.random(2) == 0 { "evil" } else { "other" };
                let (height, parent) = (proposal.height, self.tip(node));
                *bytes = format!("block {height} {kind} by {node} on {parent}").into_bytes().into();
                proposal.block = identify(bytes).unwrap();
                *signature = proposal.sign(&ZONE, EPOCH, &key);
            }
            _ => (),
        }
        message
    }
}
