//! The committee as one function: inputs in, actions out.

mod desk;
mod future;
mod on_message;
mod replay;

pub use future::FUTURE_ROUNDS;

use crate::{
    Action, BlockBytes, Body, CommitteeError, Config, Input, PolkaCertificate, Rejected, Timer, TimerKind,
    context::{Address, Candidate, Ctx, Height},
    wal::{proposed_value, to_core_timeout},
};
use arc_malachitebft_core_consensus as core;
use arc_malachitebft_core_types as malachite;
use core::{LocallyProposedValue, MisbehaviorEvidence, Params, State};
use desk::{Desk, Held, Verdict};
use future::Future;
use malachite::{Round, ThresholdParams, ValuePayload, VoteExtensionPolicy};
use ohmesh_ledger::Certificate;
use ohmesh_units::{BlockId, PublicKey};
use std::collections::BTreeMap;

/// Undecided blocks that are held at most. With more, the one proposed longest ago goes that is neither locked nor
/// valid; if it is decided nevertheless, it is fetched from a peer.
pub const BLOCKS_HELD: usize = 16;

/// Rounds ahead of the current one whose votes and proposals are accepted; round certificates reach further.
pub const ROUNDS_AHEAD: u32 = core::MAX_FUTURE_ROUND_LOOKAHEAD;

/// One validator's, or one observer's, part in deciding the blocks of one epoch.
pub struct Committee {
    core: State<Ctx>,
    desk: Desk,
    identify: fn(&[u8]) -> Option<BlockId>,
    /// Whether the desk's height runs. If not, it is the next to start.
    running: bool,
    /// Messages of the height after the running one, or of the one that is to start.
    future: Future,
    /// The greatest height of each validator's verified messages, and who sent it. Any of them may lie about it.
    ahead: BTreeMap<u16, (u64, PublicKey)>,
    /// How often a peer was chosen to ask, so that it is another one each time.
    turns: usize,
    /// The last height for which blocks were requested.
    asked: u64,
    /// Whether [`Action::Wake`] was said for the next height.
    woken: bool,
    /// Height and round of the last decision.
    decided: Option<(u64, u32)>,
    /// Height and round of the last proposal that was sent a second time.
    resent: Option<(u64, u32)>,
    /// The last height at which each validator was found behind.
    offered: BTreeMap<u16, u64>,
}

impl Committee {
    /// A committee that will decide `height` next, with no past at that height: nothing was ever signed there with
    /// this key. After a start of the process, use [`Committee::replay`].
    pub fn new(config: Config, height: u64) -> Self {
        let identify = config.identify;
        let desk = Desk::new(config, height);
        let params = Params {
            address: desk.index().map_or(Address::OBSERVER, Address),
            threshold_params: ThresholdParams::default(),
            value_payload: ValuePayload::ProposalAndParts,
            enabled: desk.index().is_some(),
        };
        // The core's own queue for later heights holds nothing: `Future` has what is verified.
        let core = State::new(Ctx, Height(height), desk.members.clone(), params, 0, 0);
        Self {
            core,
            desk,
            identify,
            running: false,
            future: Future::default(),
            ahead: BTreeMap::new(),
            turns: 0,
            asked: 0,
            woken: false,
            decided: None,
            resent: None,
            offered: BTreeMap::new(),
        }
    }

    /// The height that runs, or is to start next.
    pub fn height(&self) -> u64 {
        self.desk.height
    }

    /// The round that runs; `None` between heights.
    pub fn round(&self) -> Option<u32> {
        if self.running { self.core.round().as_u32() } else { None }
    }

    /// This validator's index in the set; `None` for an observer.
    pub fn validator(&self) -> Option<u16> {
        self.desk.index()
    }

    /// Takes an input and says what to do, in order.
    pub fn handle(&mut self, input: Input) -> Vec<Action> {
        match input {
            Input::Start { height } => self.on_start(height),
            Input::Message { from, message } => self.on_message(from, message),
            Input::Built { height, round, block, bytes } => self.on_built(height, round, block, bytes),
            Input::Judged { block, valid } => self.on_judged(block, valid),
            Input::Elapsed(timer) => self.on_elapsed(timer),
            Input::Certified { from, bytes, certificate } => self.on_certified(from, bytes, certificate),
        }
        self.settle();
        std::mem::take(&mut self.desk.actions)
    }

    fn on_start(&mut self, height: u64) {
        let current = self.desk.height;
        if self.running || height < current {
            return self.desk.fault(CommitteeError::Started { height, current });
        }
        if height > current {
            self.future = Future::default();
        }
        self.begin(height);
        for (proposal, signature, bytes, from) in self.future.take_proposals() {
            self.on_proposal(from, proposal, signature, bytes);
        }
        for (vote, signature, from) in self.future.take_votes() {
            self.on_vote(from, vote, signature);
        }
    }

    fn begin(&mut self, height: u64) {
        self.desk.height = height;
        self.desk.clear();
        self.running = true;
        let members = self.desk.members.clone();
        self.tell(core::Input::StartHeight(
            Height(height),
            members,
            false,
            None,
            VoteExtensionPolicy::Disabled,
        ));
    }

    fn on_built(&mut self, height: u64, round: u32, block: BlockId, bytes: BlockBytes) {
        let current = self.running && height == self.desk.height && self.core.round() == Round::new(round);
        let Some(proposer) = self.desk.index() else { return };
        // Late, or proposed before a restart already.
        if !current || self.desk.proposed(round).is_some() {
            return;
        }
        if bytes.len() > BlockBytes::MAX {
            return self.desk.fault(CommitteeError::BuiltTooLong { height, round, bytes: bytes.len() });
        }
        self.hold(block, Held { bytes, round, proposer, verdict: Verdict::Valid });
        let value = LocallyProposedValue::new(Height(height), Round::new(round), Candidate(block));
        self.tell(core::Input::Propose(value));
    }

    fn on_judged(&mut self, block: BlockId, valid: bool) {
        let height = self.desk.height;
        let Some(held) = self.desk.blocks.get_mut(&block).filter(|held| held.verdict == Verdict::Pending)
        else {
            return;
        };
        held.verdict = if valid { Verdict::Valid } else { Verdict::Invalid };
        let value = proposed_value(height, held.round, held.proposer, block, valid);
        self.tell(value);
    }

    fn on_elapsed(&mut self, timer: Timer) {
        if !self.desk.armed.remove(&timer) || !self.running || timer.height != self.desk.height {
            return;
        }
        self.tell(core::Input::TimeoutElapsed(to_core_timeout(timer)));
        if timer.kind == TimerKind::Rebroadcast {
            self.on_rebroadcast();
        }
    }

    /// The height takes long: perhaps somebody misses the block, perhaps it is decided elsewhere.
    fn on_rebroadcast(&mut self) {
        let at = (self.desk.height, self.core.round().as_u32().unwrap_or(0));
        // The core sends votes and certificates again and again; a block, which is long, goes once more.
        if let Some((proposal, signature)) = self.desk.proposed(at.1).filter(|_| self.resent != Some(at)) {
            self.resent = Some(at);
            self.desk.publish_proposal(proposal, signature);
        }
        self.ask_any();
    }

    fn on_certified(&mut self, from: PublicKey, bytes: BlockBytes, certificate: Certificate) {
        let height = self.desk.height;
        if certificate.height < height {
            return;
        }
        if certificate.height > height {
            return self.desk.reject(from, Rejected::FarHeight { found: certificate.height, height });
        }
        if let Err(reason) = self.verify_certified(&bytes, &certificate) {
            return self.desk.reject(from, reason);
        }
        if self.running {
            let (proposals, votes) =
                (self.core.driver.take_proposal_evidence(), self.core.driver.take_vote_evidence());
            self.desk.report(MisbehaviorEvidence { proposals, votes });
        }
        self.commit(bytes, certificate);
    }

    fn verify_certified(&self, bytes: &BlockBytes, certificate: &Certificate) -> Result<(), Rejected> {
        certificate
            .verify(&self.desk.zone, self.desk.epoch, self.desk.set().voters())
            .map_err(|error| Rejected::Certificate(Box::new(error)))?;
        self.verify_block(certificate.block, bytes)
    }

    fn verify_block(&self, block: BlockId, bytes: &BlockBytes) -> Result<(), Rejected> {
        if bytes.len() > BlockBytes::MAX {
            return Err(Rejected::BlockTooLong { bytes: bytes.len() });
        }
        if (self.identify)(bytes) != Some(block) {
            return Err(Rejected::OtherBlock { block });
        }
        Ok(())
    }

    /// Hands out the decision, if the core has come to one, after all that it wanted sent.
    fn settle(&mut self) {
        let Some(certificate) = self.desk.decision.take() else { return };
        match self.desk.blocks.remove(&certificate.block) {
            Some(held) => self.commit(held.bytes, certificate),
            // Its bytes were dropped for want of room. A peer that decided has them.
            None => self.ask_any(),
        }
    }

    fn commit(&mut self, bytes: BlockBytes, certificate: Certificate) {
        let (height, block) = (certificate.height, certificate.block);
        self.decided = Some((height, certificate.round));
        self.desk.clear();
        self.desk.height = height.saturating_add(1);
        self.desk.actions.push(Action::Commit { height, block, bytes, certificate });
        // What was kept for later is of the next height only if this one ran.
        if !std::mem::replace(&mut self.running, false) {
            self.future = Future::default();
        }
        self.woken = false;
        if !self.future.is_empty() {
            self.wake();
        }
    }

    /// Says that the next height is already under way elsewhere.
    fn wake(&mut self) {
        if !self.running && !self.woken {
            self.woken = true;
            self.desk.actions.push(Action::Wake { height: self.desk.height });
        }
    }

    /// Asks somebody who is ahead for blocks, if there is anybody; in turns, as not all of them need be honest.
    fn ask_any(&mut self) {
        let height = self.desk.height;
        let ahead = self.ahead.values().filter(|(at, _)| *at > height);
        let ahead: Vec<PublicKey> = ahead.map(|(_, from)| *from).collect();
        if !ahead.is_empty() {
            self.turns = self.turns.wrapping_add(1);
            self.ask(ahead[self.turns % ahead.len()]);
        }
    }

    fn ask(&mut self, from: PublicKey) {
        self.asked = self.desk.height;
        self.desk.actions.push(Action::RequestSync { from, height: self.desk.height });
    }

    /// Holds a block, dropping another if there are too many.
    fn hold(&mut self, block: BlockId, held: Held) {
        let state = self.core.driver.round_state();
        let kept = [&state.valid, &state.locked].map(|v| v.as_ref().map(|v| v.value.0));
        while self.desk.blocks.len() >= BLOCKS_HELD {
            let oldest = self.desk.blocks.iter().filter(|(id, _)| !kept.contains(&Some(**id)));
            let Some(oldest) = oldest.min_by_key(|(_, held)| held.round).map(|(id, _)| *id) else { break };
            self.desk.blocks.remove(&oldest);
        }
        self.desk.blocks.insert(block, held);
    }

    /// Tells the core, and reports if it fails.
    fn tell(&mut self, input: core::Input<Ctx>) {
        if let Err(reason) = self.try_tell(input) {
            self.desk.fault(CommitteeError::Core { height: self.desk.height, reason });
        }
        self.show_lock();
    }

    /// Shows the others why this validator is locked, while the round runs in which they can still take it over.
    ///
    /// A liar who prevotes differently to each can lock one of them alone; then rounds fail until that one proposes.
    /// The core shows such locks from round 10 on only. A round that is contested is reason enough: the certificate
    /// costs little, and a round in which all agree sends none.
    fn show_lock(&mut self) {
        let Some(round) = self.desk.contested.take() else { return };
        if self.desk.decision.is_none()
            && let Some(block) = self.desk.lock_contested(round)
            && let Some(polka) = self.core.polka_certificate(Round::new(round), &block)
        {
            let polka = PolkaCertificate::from_core(polka);
            self.desk.publish(Body::Polka(polka));
        }
    }

    fn try_tell(&mut self, input: core::Input<Ctx>) -> Result<(), String> {
        let (core, desk) = (&mut self.core, &mut self.desk);
        let result: Result<(), core::Error<Ctx>> =
            core::process!(input: input, state: core, metrics: &(), with: effect => desk.perform(effect));
        result.map_err(|error| error.to_string())
    }
}
