//! All agents of a zone on virtual time, messages handed over in order, and everything they have said to others.

use super::below;
use crate::{Committee, account, key, simulate};
use ohmesh_committee::{self as committee, Pace, Timeouts};
use ohmesh_ledger::{
    Answer, Asset, Block, Body, Header, Journal, Leg, Query, SignedTransaction, Transaction, Vote, VoteKind,
    ZoneFile,
};
use ohmesh_mesh::sim::Faults;
use ohmesh_units::{BlockId, Canonical, Domain, PublicKey, Timestamp};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use station_agent::{
    agent::{Agent, AgentError, AgentTimer, Asker, Effect, Event, Keep, Settings, Warning},
    disk::Disk,
    vote_keys::VoteKeys,
    wire::Wire,
};
use std::{
    collections::{BTreeMap, VecDeque},
    ops::Range,
    time::Duration,
};

/// Something that left an agent, and that it may never contradict.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Told {
    /// Who said it, from 0.
    pub agent: usize,
    /// What.
    pub word: Word,
}

/// What agents say.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Word {
    /// A vote.
    Vote(Vote),
    /// A proposal for a height and round.
    Proposal(u64, u32, BlockId),
    /// A block is final.
    Decided(Box<Header>),
}

/// The agents of a zone.
pub struct Town<D> {
    zone: ZoneFile,
    agents: Vec<Agent<D>>,
    /// The keys they are known by.
    keys: Vec<PublicKey>,
    now: Timestamp,
    timers: BTreeMap<(usize, AgentTimer), Timestamp>,
    wires: VecDeque<(usize, usize, Parcel)>,
    told: Vec<Told>,
    telling: Box<dyn FnMut(usize)>,
    accusations: Vec<String>,
    warnings: Vec<(usize, Warning)>,
    rng: ChaCha20Rng,
    /// Of 16 messages between agents, so many are lost.
    lost_in_16: usize,
    numbers: u128,
    worked: u64,
}

/// What is under way from one agent to another.
enum Parcel {
    Event(Event),
    /// A question, and whether it came of [`Effect::Fetch`].
    Question(Box<Query>, bool),
}

impl<D: Disk> Town<D> {
    /// Makes a zone with an agent for each disk, and writes to each what its agent has there before the zone begins: the
    /// vote key that the genesis names.
    pub fn found(disks: &mut [D]) -> ZoneFile {
        let founded = simulate(async { Committee::new(1, index(disks.len()), Faults::default()) });
        for (at, disk) in disks.iter_mut().enumerate() {
            let key = founded.disk(index(at) + 1).read(VoteKeys::FILE).expect("memory does not fail");
            disk.replace(VoteKeys::FILE, &key).expect("nothing fails before the zone begins");
        }
        founded.file.clone()
    }

    /// Opens every agent on its disk in the zone's `life`-th life, which begins an hour after `ended` and has randomness of
    /// its own, as after a restart. `telling` is called whenever something has been said, with how many things that
    /// makes.
    ///
    /// Errors: the first agent's that does not open.
    pub fn open(
        zone: &ZoneFile,
        disks: Vec<D>,
        (seed, life, ended): (u64, u64, Timestamp),
        telling: impl FnMut(usize) + 'static,
    ) -> Result<Self, AgentError> {
        let origin = Domain::new("ohmesh/1 power cut").hash(&[&seed.to_be_bytes(), &life.to_be_bytes()]);
        let mut town = Self {
            zone: zone.clone(),
            agents: Vec::new(),
            keys: (0..disks.len()).map(|agent| key(index(agent) + 1).public()).collect(),
            now: ended.checked_add(HOUR).expect("an hour"),
            timers: BTreeMap::new(),
            wires: VecDeque::new(),
            told: Vec::new(),
            telling: Box::new(telling),
            accusations: Vec::new(),
            warnings: Vec::new(),
            rng: ChaCha20Rng::from_seed(origin.0),
            lost_in_16: 0,
            numbers: u128::from(life) << 64,
            worked: 0,
        };
        for (at, disk) in disks.into_iter().enumerate() {
            let randomness = Domain::new("ohmesh/1 power cut agent").hash(&[&origin.0, &[index(at)]]);
            let (agent, effects) =
                Agent::open(zone.zone.clone(), settings(at, randomness.0), disk, town.now)?;
            town.agents.push(agent);
            town.perform(at, effects);
        }
        town.connect();
        town.deliver()?;
        Ok(town)
    }

    /// The same, with messages between agents lost by chance: of 16, so many.
    pub fn losing(mut self, of_16: usize) -> Self {
        self.lost_in_16 = of_16;
        self
    }

    /// What they have said, in order.
    pub fn told(&self) -> &[Told] {
        &self.told
    }

    /// Proofs that an agent has contradicted itself, or believes that it has, in words.
    pub fn accusations(&self) -> &[String] {
        &self.accusations
    }

    /// What agents have told their operators, and which agent.
    pub fn warnings(&self) -> &[(usize, Warning)] {
        &self.warnings
    }

    /// The agents.
    pub fn agents(&self) -> &[Agent<D>] {
        &self.agents
    }

    /// The time they believe it is.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// A zone's business for so many blocks: first accounts, then money, then up to three transfers in each, and an
    /// epoch every eight blocks.
    ///
    /// Errors: those of the first agent that stopped; nothing it wanted to say then has left it.
    pub fn work(&mut self, blocks: u64) -> Result<(), AgentError> {
        for _ in 0..blocks {
            self.worked += 1;
            if self.worked.is_multiple_of(4) {
                let half = Duration::from_millis(self.zone.zone.rules.epoch_ms / 2);
                self.now = self.now.checked_add(half).expect("a few epochs");
            }
            match self.worked {
                1 => CUSTOMERS.clone().try_for_each(|n| self.submit(n, open_account(n)).map(drop))?,
                2 => CUSTOMERS
                    .clone()
                    .try_for_each(|n| self.submit(Committee::TREASURER, issue(n)).map(drop))?,
                _ => self.transfers()?,
            }
            let has_block = self.next_block()?;
            assert!(has_block, "no block after {}", self.height(0));
        }
        Ok(())
    }

    /// Asks an agent; what it answers.
    ///
    /// Errors: the agent's.
    pub fn ask(&mut self, agent: usize, query: Query) -> Result<Answer, AgentError> {
        let asker = Asker { key: key(FRESH - 1).public(), exporter: [0; 32] };
        let (answer, effects) = self.agents[agent].answer(self.now, asker, query)?;
        self.perform(agent, effects);
        self.deliver()?;
        Ok(answer)
    }

    /// Every block that an agent still has, by height.
    ///
    /// Errors: the agent's.
    pub fn blocks(&mut self, agent: usize) -> Result<BTreeMap<u64, Block>, AgentError> {
        let mut blocks = BTreeMap::new();
        let mut height = 1;
        while height <= self.height(agent) {
            let Answer::Blocks(more) = self.ask(agent, Query::Blocks { from: height })? else {
                unreachable!("asked for blocks")
            };
            for (bytes, _) in &more {
                let block = Block::decode(bytes).expect("it was decided");
                blocks.insert(block.header.height, block);
            }
            // Old blocks may have been cut off.
            height = blocks.last_key_value().map_or(height, |(newest, _)| *newest) + 1;
        }
        Ok(blocks)
    }

    /// Whether the ledger goes on: an account that nobody has is opened and given money, and every agent hears of it.
    ///
    /// Errors: those of the first agent that stopped.
    pub fn goes_on(&mut self) -> Result<bool, AgentError> {
        let n = FRESH + u8::try_from(self.numbers >> 64).expect("a few lives");
        if !self.apply(n, open_account(n))? || !self.apply(Committee::TREASURER, issue(n))? {
            return Ok(false);
        }
        let height = self.height(0);
        for _ in 0..STEPS_MAX {
            if (0..self.agents.len()).all(|agent| self.height(agent) >= height) {
                return Ok(true);
            }
            self.step()?;
        }
        Ok(false)
    }

    /// Whether a transaction is applied within a few blocks: the first may have been proposed before it came.
    fn apply(&mut self, n: u8, body: Body) -> Result<bool, AgentError> {
        let query = self.submit(n, body)?;
        for _ in 0..=2 * self.agents.len() {
            if !self.next_block()? {
                return Ok(false);
            }
            if let Answer::Applied(_) = self.ask(0, query.clone())? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Few signatures and many legs: blocks of some sectors that are soon executed again.
    fn transfers(&mut self) -> Result<(), AgentError> {
        for _ in 0..below(&mut self.rng, 4) {
            let (from, to) = if below(&mut self.rng, 2) == 0 { (10, 11) } else { (12, 10) };
            let leg = Leg::Move {
                journal: Journal::Energy,
                asset: Asset::Currency,
                from: account(from),
                to: account(to),
                amount: 1,
            };
            let legs = vec![leg; 1 + below(&mut self.rng, 16)];
            self.submit(from, Body::Transfer { legs })?;
        }
        Ok(())
    }

    /// Sends a transaction of participant `n` to the first agent; the query that tells what became of it.
    fn submit(&mut self, n: u8, body: Body) -> Result<Query, AgentError> {
        let signed = self.sign(n, body);
        let id = signed.transaction.id();
        self.ask(0, Query::Submit(Box::new(signed)))?;
        Ok(Query::Transaction(id))
    }

    fn sign(&mut self, n: u8, body: Body) -> SignedTransaction {
        self.numbers += 1;
        let transaction = Transaction {
            zone: self.zone.zone.id(),
            sender: account(n),
            number: self.numbers,
            valid_until: self.now.checked_add(HOUR).expect("an hour"),
            body,
        };
        transaction.sign(&[&key(n)])
    }

    /// The height of an agent's newest block.
    pub fn height(&self, agent: usize) -> u64 {
        self.agents[agent].state().head().height
    }

    /// Lets time pass until the first agent has another block; false if there is none after [`STEPS_MAX`] timers.
    fn next_block(&mut self) -> Result<bool, AgentError> {
        let height = self.height(0);
        for _ in 0..STEPS_MAX {
            self.step()?;
            if self.height(0) > height {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Lets the next timer run out.
    fn step(&mut self) -> Result<(), AgentError> {
        let due = self.timers.iter().min_by_key(|(_, at)| **at).map(|(timer, at)| (*timer, *at));
        let ((agent, timer), at) = due.expect("every agent always waits for something");
        self.timers.remove(&(agent, timer));
        self.now = self.now.max(at);
        self.handle(agent, Event::Elapsed(timer))?;
        self.deliver()
    }

    fn connect(&mut self) {
        for one in 0..self.agents.len() {
            for other in (0..self.agents.len()).filter(|other| *other != one) {
                let connected = Event::Connected(self.keys[other]);
                self.wires.push_back((other, one, Parcel::Event(connected)));
            }
        }
    }

    /// Hands over what is under way, and what that causes.
    fn deliver(&mut self) -> Result<(), AgentError> {
        while let Some((from, to, parcel)) = self.wires.pop_front() {
            let is_lost = self.lost_in_16 > 0 && below(&mut self.rng, 16) < self.lost_in_16;
            match parcel {
                Parcel::Event(_) if is_lost => {}
                Parcel::Event(event) => self.handle(to, event)?,
                Parcel::Question(query, is_fetch) => self.answer(from, to, *query, is_fetch, is_lost)?,
            }
        }
        Ok(())
    }

    /// Has `asked` answer `asking`, who is told if there is no answer; not so of blocks, as those come in their own time.
    fn answer(
        &mut self,
        asking: usize,
        asked: usize,
        query: Query,
        is_fetch: bool,
        is_lost: bool,
    ) -> Result<(), AgentError> {
        let from = self.keys[asked];
        let asker = Asker { key: self.keys[asking], exporter: [0; 32] };
        let answer = if is_lost {
            None
        } else {
            let (answer, effects) = self.agents[asked].answer(self.now, asker, query.clone())?;
            self.perform(asked, effects);
            Some(answer)
        };
        let event = match answer {
            Some(Answer::Blocks(blocks)) if is_fetch => Event::Fetched { from, blocks },
            _ if is_fetch => return Ok(()),
            answer => Event::Answered { from, query: Box::new(query), answer: answer.map(Box::new) },
        };
        self.wires.push_back((asked, asking, Parcel::Event(event)));
        Ok(())
    }

    fn handle(&mut self, agent: usize, event: Event) -> Result<(), AgentError> {
        let effects = self.agents[agent].handle(self.now, event)?;
        self.perform(agent, effects);
        Ok(())
    }

    fn perform(&mut self, agent: usize, effects: Vec<Effect>) {
        let before = self.told.len();
        for effect in effects {
            match effect {
                Effect::SetTimer(timer, wait) => {
                    let at = self.now.checked_add(wait).expect("waits are short");
                    self.timers.insert((agent, timer), at);
                }
                Effect::CancelTimer(timer) => drop(self.timers.remove(&(agent, timer))),
                Effect::CancelCommitteeTimers => self
                    .timers
                    .retain(|(of, timer), _| *of != agent || !matches!(timer, AgentTimer::Committee(_))),
                Effect::Publish(wire) => self.publish(agent, &wire),
                Effect::Send(to, wire) => {
                    let (from, to) = (self.keys[agent], self.number(&to));
                    self.wires.push_back((agent, to, Parcel::Event(Event::Wire { from, wire })));
                }
                Effect::Fetch { from, height } => {
                    let query = Box::new(Query::Blocks { from: height });
                    self.wires.push_back((agent, self.number(&from), Parcel::Question(query, true)));
                }
                Effect::Ask { from, query } => {
                    self.wires.push_back((agent, self.number(&from), Parcel::Question(query, false)));
                }
                Effect::Decided(decided) => {
                    self.told.push(Told { agent, word: Word::Decided(Box::new(decided.header)) });
                }
                Effect::Equivocation(evidence) => self.accusations.push(format!("{evidence:?}")),
                Effect::Forgetful { height } => {
                    self.accusations.push(format!("{agent} has forgotten {height}"))
                }
                Effect::Warning(warning) => self.warnings.push((agent, warning)),
                // What concerns chargers, connections and who votes.
                _ => {}
            }
        }
        if self.told.len() > before {
            (self.telling)(self.told.len());
        }
    }

    /// The agent that has a key.
    fn number(&self, key: &PublicKey) -> usize {
        self.keys.iter().position(|own| own == key).expect("agents speak to agents")
    }

    fn publish(&mut self, agent: usize, wire: &Wire) {
        if let Wire::Committee(message) = wire {
            let word = match &message.body {
                committee::Body::Vote(vote, _) => Some(Word::Vote(*vote)),
                committee::Body::Proposal(proposal, ..) => {
                    Some(Word::Proposal(proposal.height, proposal.round, proposal.block))
                }
                committee::Body::Polka(_) | committee::Body::Round(_) => None,
            };
            self.told.extend(word.map(|word| Told { agent, word }));
        }
        for to in (0..self.agents.len()).filter(|to| *to != agent) {
            let (from, wire) = (self.keys[agent], wire.clone());
            self.wires.push_back((agent, to, Parcel::Event(Event::Wire { from, wire })));
        }
    }
}

/// Everything that others may hold the agents to.
#[derive(Clone, Default, Debug)]
pub struct Promises {
    votes: BTreeMap<(usize, u64, u32, VoteKind), Option<BlockId>>,
    proposals: BTreeMap<(usize, u64, u32), BlockId>,
    decided: BTreeMap<(usize, u64), Header>,
}

impl Promises {
    /// What agents are held to that have said all this. Panics if they contradict themselves in it.
    pub fn of(told: &[Told]) -> Self {
        let mut promises = Self::default();
        let contradiction = promises.add(told);
        assert_eq!(contradiction, None, "in one life");
        promises
    }

    /// Takes in what was said next; the first thing that contradicts what was said before.
    pub fn add(&mut self, told: &[Told]) -> Option<String> {
        told.iter()
            .find(|told| !self.fits(told))
            .map(|told| format!("contradicts what was said before: {told:?}"))
    }

    /// The time of the newest block that anybody has called final.
    pub fn newest(&self) -> Option<Timestamp> {
        self.decided.values().map(|header| header.time).max()
    }

    /// The blocks that an agent has called final, by height.
    pub fn decided(&self) -> impl Iterator<Item = (usize, &Header)> {
        self.decided.iter().map(|((agent, _), header)| (*agent, header))
    }

    fn fits(&mut self, Told { agent, word }: &Told) -> bool {
        match word {
            Word::Vote(vote) => {
                let slot = (*agent, vote.height, vote.round, vote.kind);
                *self.votes.entry(slot).or_insert(vote.block) == vote.block
            }
            Word::Proposal(height, round, block) => {
                self.proposals.entry((*agent, *height, *round)).or_insert(*block) == block
            }
            Word::Decided(header) => {
                let kept = self.decided.entry((*agent, header.height));
                *kept.or_insert_with(|| Header::clone(header)) == **header
            }
        }
    }
}

fn settings(agent: usize, seed: [u8; 32]) -> Settings {
    let (pace, timeouts) = (Pace::default(), Timeouts::default());
    // A few snapshots and cut-off blocks in each recorded life.
    let keep = Keep { snapshot_blocks: 5, blocks_for: HOUR };
    Settings { key: key(index(agent) + 1), pace, timeouts, seed, keep, seller: None }
}

fn index(agent: usize) -> u8 {
    u8::try_from(agent).expect("there are few agents")
}

fn open_account(n: u8) -> Body {
    Body::OpenAccount { owner: key(n).public() }
}

fn issue(n: u8) -> Body {
    Body::Issue {
        asset: Asset::Currency,
        to: account(n),
        amount: 1_000_000,
        reference: format!("transfer {n}"),
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
/// Timers from one block to the next at most: a round takes each agent a handful, and few rounds fail in a row.
const STEPS_MAX: usize = 1_000;
/// Who has accounts and money in [`Town::work`].
const CUSTOMERS: Range<u8> = 10..13;
/// The first participant whom nobody else plays.
const FRESH: u8 = 200;
