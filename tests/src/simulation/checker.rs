//! The rules that must hold, whatever happens. The checker sees what leaves every honest agent; the first breach ends the run.

use super::{
    Violation,
    books::{Books, Secret},
};
use ohmesh_committee::{Body, Message};
use ohmesh_ledger::{
    Block, Evidence, HandOver, Proposal, State, StateRoots, Transaction, ValidatorSet, Vote, VoteKind, Zone,
};
use ohmesh_units::{BlockId, Canonical, Hash, PublicKey, Timestamp, TransactionId};
use station_agent::agent::Decided;
use std::{
    collections::{BTreeMap, BTreeSet},
    panic::{AssertUnwindSafe, catch_unwind},
    time::Duration,
};

/// What is known of a history so far, and the first rule that it broke.
pub struct Checker {
    zone: Zone,
    /// The validators of each epoch.
    epochs: BTreeMap<u64, ValidatorSet>,
    /// Validators, by their index in the first epoch, whose word does not bind the checker: liars, and those whose disk misdirects writes.
    faulty: BTreeSet<usize>,
    decided: BTreeMap<u64, (BlockId, StateRoots, Timestamp)>,
    /// Transactions in blocks, each with the time of its block.
    ids: BTreeMap<TransactionId, (Hash, Timestamp)>,
    books: Books,
    signed: BTreeMap<(PublicKey, u64, u32, VoteKind), Option<BlockId>>,
    proposed: BTreeMap<(PublicKey, u64, u32), Proposal>,
    /// What honest agents said was applied, and at which height they were.
    acknowledged: BTreeMap<TransactionId, (Hash, u64)>,
    /// Contents that break a rule.
    bad: BTreeSet<Hash>,
    violation: Option<Violation>,
    now_ms: u64,
}

impl Checker {
    /// Nothing has happened yet.
    pub fn new(zone: Zone, faulty: BTreeSet<usize>) -> Self {
        Self {
            epochs: BTreeMap::from([(0, zone.validators.clone())]),
            books: Books::new(zone.clone()),
            zone,
            faulty,
            decided: BTreeMap::new(),
            ids: BTreeMap::new(),
            signed: BTreeMap::new(),
            proposed: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            bad: BTreeSet::new(),
            violation: None,
            now_ms: 0,
        }
    }

    /// Virtual time goes on.
    pub fn at(&mut self, now_ms: u64) {
        self.now_ms = now_ms;
    }

    /// The first rule that was broken.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// The highest decided height.
    pub fn height(&self) -> u64 {
        self.decided.last_key_value().map_or(0, |(height, _)| *height)
    }

    /// How many transactions were said to be applied.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.len() as u64
    }

    /// A rule is broken, unless one was before.
    pub fn breach(&mut self, rule: &str, seen: String) {
        let at_ms = self.now_ms;
        self.violation.get_or_insert_with(|| Violation { rule: rule.to_owned(), at_ms, seen });
    }

    fn must(&mut self, holds: bool, rule: &str, seen: impl FnOnce() -> String) {
        if !holds {
            self.breach(rule, seen());
        }
    }

    /// A transaction that breaks a rule was sent.
    pub fn sent_bad(&mut self, content: Hash) {
        self.bad.insert(content);
    }

    /// An honest agent says that a transaction is applied.
    pub fn told_applied(&mut self, id: TransactionId, content: Hash, height: u64) {
        self.must(!self.bad.contains(&content), "bad transaction", || format!("{id} is applied"));
        let (first, _) = *self.acknowledged.entry(id).or_insert((content, height));
        self.must(first == content, "I3", || format!("{id} is applied with two contents"));
    }

    /// An agent has decided a block, and this is its state. `clock` is the furthest clock of any honest agent.
    pub fn decided(&mut self, agent: &str, decided: &Decided, state: &State, clock: Timestamp) {
        let header = &decided.header;
        let height = header.height;
        match self.epochs.get(&header.epoch) {
            None => self.breach("I9", format!("{agent}: block {height} is of epoch {}", header.epoch)),
            Some(set) => {
                let verified = decided.certificate.verify_header(header, &self.zone.id(), set.voters());
                if let Err(error) = verified {
                    self.breach("certificate", format!("{agent}, height {height}: {error}"));
                }
            }
        }
        // An agent that catches up decides several blocks at once; its state is that of the last.
        let (id, roots) = (header.id(), header.state);
        if state.head().height == height {
            self.must(roots == *state.roots(), "I9", || {
                format!("{agent} states other roots at {height} than it has")
            });
            self.audit(agent, state);
        }
        let parent = height.checked_sub(1).and_then(|before| self.decided.get(&before)).copied();
        if let Some((parent, _, time)) = parent {
            self.must(Hash::from(parent) == header.parent, "I9", || {
                format!("{agent}: block {height} does not follow the block that others have")
            });
            self.must(header.time > time, "block time", || format!("block {height} is not after its parent"));
        }
        if !self.decided.contains_key(&height) {
            let limit = clock.checked_add(AHEAD_MAX).unwrap_or(clock);
            let after_parent = parent.and_then(|(_, _, time)| time.checked_add(Duration::from_millis(1)));
            self.must(header.time <= limit || Some(header.time) == after_parent, "block time", || {
                format!("block {height} of {} is ahead of every clock ({clock})", header.time)
            });
        }
        let first = *self.decided.entry(height).or_insert((id, roots, header.time));
        self.must((first.0, first.1) == (id, roots), "I9", || {
            format!("fork: {agent} decided {id} at {height}, others {}", first.0)
        });
    }

    /// An agent begins an epoch with these validators.
    pub fn begins(&mut self, agent: &str, epoch: u64, validators: &ValidatorSet) {
        let first = self.epochs.entry(epoch).or_insert_with(|| validators.clone());
        let same = first == validators;
        self.must(same, "I9", || format!("{agent} begins epoch {epoch} with other validators"));
    }

    /// An agent has a committee of these validators again: those of an epoch that others know, or of `epoch`, which began
    /// with a block that it had made durable and told nobody of.
    pub fn joins(&mut self, agent: &str, epoch: u64, validators: &ValidatorSet) {
        if !self.epochs.values().any(|set| set == validators) {
            self.begins(agent, epoch, validators);
        }
    }

    /// How many epochs have ended.
    pub fn epochs(&self) -> u64 {
        self.epochs.len() as u64 - 1
    }

    /// What a phone is shown of the epochs leads from the genesis to the newest voters.
    pub fn hand_overs(&mut self, agent: &str, hand_overs: &[HandOver]) {
        let mut voters = self.zone.validators.voters();
        let zone = self.zone.id();
        let mut broken = None;
        for (epoch, hand_over) in (0..).zip(hand_overs) {
            match hand_over.verify(&zone, epoch, voters) {
                Ok(next) => voters = next,
                Err(error) => broken = Some(format!("{agent} shows a broken hand-over: {error}")),
            }
        }
        let epoch = hand_overs.len() as u64;
        let known = self.epochs.get(&epoch).is_some_and(|set| set.voters() == voters);
        self.must(known, "hand-over", || format!("{agent} hands over to other voters of epoch {epoch}"));
        broken.into_iter().for_each(|seen| self.breach("hand-over", seen));
    }

    /// How many of `keys` have been validators.
    pub fn seated(&self, keys: &[PublicKey]) -> u64 {
        let was_seated = |key: &&PublicKey| self.epochs.values().any(|set| set.index_of(key).is_some());
        keys.iter().filter(was_seated).count() as u64
    }

    /// Whether a validator is one whose word does not bind.
    fn is_faulty(&self, key: &PublicKey) -> bool {
        let index = self.zone.validators.index_of(key).map(usize::from);
        index.is_some_and(|index| self.faulty.contains(&index))
    }

    /// What the zone's books are.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// Somebody tells what its transaction hides.
    pub fn learn(&mut self, secret: Secret) {
        self.books.learn(secret);
    }

    /// The next block, when an honest agent first shows it; `state` is the agent's.
    pub fn block(&mut self, bytes: &[u8], state: &State) {
        let Ok(block) = Block::decode(bytes) else {
            return self.breach("I9", "a decided block does not decode".into());
        };
        let (height, time) = (block.header.height, block.header.time);
        if let Some((decided, ..)) = self.decided.get(&height).copied() {
            self.must(decided == block.id(), "I9", || {
                format!("an agent shows another block {height} than was decided")
            });
        }
        for signed in &block.transactions {
            let (id, content) = (signed.transaction.id(), signed.transaction.content());
            self.must(!self.bad.contains(&content), "bad transaction", || {
                format!("{id} is in block {}", block.header.height)
            });
            let before = self.ids.insert(id, (content, time));
            self.must(before.is_none(), "I3", || format!("{id} is applied twice"));
        }
        let read = self.books.read(&block, state).and_then(|()| self.books.compare(state));
        if let Err(breach) = read {
            self.breach(breach.rule, breach.seen);
        }
    }

    /// I1 to I4, I9 and I10 over the whole state.
    fn audit(&mut self, agent: &str, state: &State) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| state.audit())) {
            let text = panic_text(panic.as_ref());
            let rule =
                INVARIANTS.iter().find(|rule| text.contains(&format!("{rule}:")) || text.ends_with(*rule));
            self.breach(rule.unwrap_or(&"audit"), format!("{agent}: {text}"));
        }
    }

    /// An agent opens again at `height` and had told of `told` before.
    pub fn opened(&mut self, agent: &str, height: u64, told: u64, state: &State) {
        self.must(height >= told, "I12", || {
            format!("{agent} told of block {told} and comes back with {height}")
        });
        // It may have made the last block of an epoch durable before the power failed, and have told nobody.
        self.begins(agent, state.epoch().number, state.validators());
        self.replayed(agent, state);
    }

    /// A replay gives what was decided.
    pub fn replayed(&mut self, agent: &str, state: &State) {
        let head = state.head();
        if let Some((id, roots, _)) = self.decided.get(&head.height).copied() {
            let same = Hash::from(id) == head.block && roots == *state.roots();
            self.must(same, "I9", || format!("{agent}: replay gives another state at {}", head.height));
        }
        self.audit(agent, state);
    }

    /// Bytes leave an agent while this many of its own are not durable.
    pub fn leaves(&mut self, agent: &str, unsynced: usize) {
        self.must(unsynced == 0, "I12", || {
            format!("{agent} speaks while {unsynced} bytes of what it wrote are not durable")
        });
    }

    /// The honest agent of `key` sends a message of the committee: it never says two things.
    pub fn says(&mut self, agent: &str, key: PublicKey, message: &Message) {
        match &message.body {
            Body::Vote(vote, _) => {
                let Vote { height, round, kind, block, .. } = *vote;
                let first = *self.signed.entry((key, height, round, kind)).or_insert(block);
                self.must(first == block, "double sign", || format!("{agent} votes twice: {vote:?}"));
            }
            Body::Proposal(proposal, ..) => {
                let at = (key, proposal.height, proposal.round);
                let first = *self.proposed.entry(at).or_insert(*proposal);
                self.must(first == *proposal, "double sign", || {
                    format!("{agent} proposes twice: {proposal:?}")
                });
            }
            Body::Polka(_) | Body::Round(_) => {}
        }
    }

    /// An agent accuses a validator, in its newest epoch or the one before.
    pub fn accuses(&mut self, agent: &str, evidence: &Evidence, epoch: u64) {
        let zone = self.zone.id();
        let proves = |epoch: &u64| {
            let set = self.epochs.get(epoch)?;
            let culprit = set.at(evidence.validator())?.key;
            evidence.proves(&zone, *epoch, set.voters()).then_some(culprit)
        };
        match [Some(epoch), epoch.checked_sub(1)].iter().flatten().find_map(proves) {
            Some(culprit) => self.must(self.is_faulty(&culprit), "false accusation", || {
                format!("{agent} accuses honest {culprit}")
            }),
            None => self.breach("false accusation", format!("{agent}: {evidence:?} proves nothing")),
        }
    }

    /// An agent refuses a message as a fault of `from`.
    pub fn refuses(&mut self, agent: &str, from: &PublicKey, reason: &str) {
        let is_faulty = self.is_faulty(from);
        self.must(is_faulty, "refusal", || format!("{agent} refuses what honest {from} sends: {reason}"));
    }

    /// At the end: nothing that was acknowledged is missing at an agent, as long as the zone remembers it.
    pub fn nothing_lost(&mut self, agent: &str, state: &State) {
        let now = state.head().time;
        let is_old = |id: &TransactionId| {
            let block = self.ids.get(id).and_then(|(_, time)| time.checked_add(Transaction::VALID_MAX));
            block.is_some_and(|forgotten| forgotten <= now)
        };
        let missing = self.acknowledged.iter().find(|(id, (content, height))| {
            *height <= state.head().height && state.applied(id) != Some(*content) && !is_old(id)
        });
        if let Some((id, (_, height))) = missing {
            let seen = format!("{agent} does not have {id}, acknowledged at {height}");
            self.breach("I12", seen);
        }
    }
}

/// The text of a panic.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}

/// The names that the audit's panics bear.
const INVARIANTS: [&str; 12] = ["I1", "I2", "I3", "I4", "I5", "I6", "I7", "I8", "I9", "I10", "I11", "I12"];
/// How far ahead of a voter's clock a block may be.
const AHEAD_MAX: Duration = Duration::from_secs(2);
