//! What this agent does about epochs: a committee for each, a vote key for the next, and no vote when it cannot know what
//! it has signed before.

use super::{Agent, AgentError, AgentTimer, Effect};
use crate::{disk::Disk, wire::Wire};
use ohmesh_committee::{
    Body as MessageBody, Committee, Config, Input, Message, Timeouts, WalRecord, identify_block,
};
use ohmesh_ledger::{Block, Body, Certificate, State, VoteKind};
use ohmesh_units::{Canonical, PublicKey, SigningKey, Timestamp};
use rand_core::Rng;
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

impl<D: Disk> Agent<D> {
    /// Begins the epoch of the next height: its validators, this agent's key among them, and no key of the one before.
    pub(super) fn begin_epoch(&mut self) -> Result<(), AgentError> {
        self.state.known_rules().map_err(AgentError::Rules)?;
        let key = self.votes.signer(self.state.validators(), &self.identity);
        let vote = key.as_ref().map(SigningKey::public);
        self.votes.begin(&mut self.disk, self.state.epoch().number, vote)?;
        self.early.offered.clear();
        let key = key.filter(|_| self.waking.is_none());
        let config = config(&self.state, key, self.timeouts);
        self.committee = Committee::new(config, self.state.head().height + 1);
        self.me = self.committee.validator();
        self.effects.push(Effect::Validators(self.state.validators().clone()));
        Ok(())
    }

    /// Makes the key for the next epoch known: in the second half of this one, or at once if there is none for this one.
    pub(super) fn owe_vote_key(&mut self, now: Timestamp) -> Result<(), AgentError> {
        let height = self.state.head().height;
        if self.vote_key_sent.is_some_and(|sent| height < sent + RESEND_BLOCKS) {
            return Ok(());
        }
        let (epoch, governance) = (self.state.epoch(), self.state.governance());
        let next = governance.next_validators.as_ref().unwrap_or(&epoch.validators);
        let half = epoch.began.as_millis() + governance.rules.epoch_ms / 2;
        let lost = self.votes.signer(&epoch.validators, &self.identity).is_none();
        if next.index_of(&self.identity).is_none() || (!lost && self.state.head().time.as_millis() < half) {
            return Ok(());
        }
        let known = governance.next_votes.iter().find(|next| next.account == self.signer.account());
        let (known, epoch) = (known.map(|next| next.key), epoch.number + 1);
        if known.is_some() && known == self.votes.made_for(epoch).map(|key| key.public()) {
            return Ok(());
        }
        let mut seed = zeroize::Zeroizing::new([0; 32]);
        self.random.fill_bytes(&mut *seed);
        let key = self.votes.make(&mut self.disk, epoch, *seed)?;
        self.vote_key_sent = Some(height);
        let body = Body::VoteKey { epoch, key: key.public() };
        let signed = self.signer.sign_with(now.max(self.state.head().time), body, &[&key]);
        self.submit_signed(now, signed);
        Ok(())
    }

    /// A certificate from a peer holds a vote with this agent's key for a height at which it has no record of voting: its
    /// folder is an old copy, or somebody else has its key. It votes no more with that key.
    pub(super) fn check_memory(&mut self, certificate: &Certificate) -> Result<(), AgentError> {
        let (zone, epoch, validators) =
            (self.state.zone_id(), self.state.epoch().number, self.state.validators());
        let me = validators.index_of(&self.identity);
        let has_signed = certificate.signatures.iter().any(|(validator, _)| Some(*validator) == me);
        let has_key = self.votes.signer(validators, &self.identity).is_some();
        if !has_signed || !has_key || self.voted == Some(certificate.height) {
            return Ok(());
        }
        // Whoever could make this agent believe a false one could silence it.
        if certificate.verify(zone, epoch, validators.voters()).is_err() {
            return Ok(());
        }
        if self.next.is_none() {
            return self.on_foreign_vote(certificate.height);
        }
        self.forget_votes(certificate.height)?;
        self.is_forgetful = true;
        Ok(())
    }

    /// A vote with this agent's key that it did not cast came in: its key ends at once, and the height that runs goes on
    /// with an observer's committee.
    pub(super) fn on_foreign_vote(&mut self, height: u64) -> Result<(), AgentError> {
        self.forget_votes(height)?;
        self.begin_epoch()?;
        self.wal.reset(&mut self.disk)?;
        self.next = Some(self.state.head().height + 1);
        Ok(())
    }

    fn forget_votes(&mut self, height: u64) -> Result<(), AgentError> {
        self.votes.forget(&mut self.disk)?;
        self.effects.push(Effect::Forgetful { height });
        Ok(())
    }

    /// Takes a committee's message. One of a later epoch says that this agent is behind: whoever sent it has the blocks that
    /// lead there; if the epoch is the next one, the message waits for it.
    pub(super) fn on_committee(
        &mut self,
        now: Timestamp,
        from: PublicKey,
        message: Message,
    ) -> Result<(), AgentError> {
        let running = self.state.epoch().number;
        if message.epoch < running {
            self.offer_old(from, message.body.at())?;
        }
        if message.epoch <= running {
            return self.tell(now, Input::Message { from, message });
        }
        if self.early.asked.insert(from) {
            let height = self.state.head().height + 1;
            self.effects.push(Effect::Fetch { from, height });
        }
        if message.epoch == running + 1 {
            self.early.keep(from, message);
        }
        Ok(())
    }

    /// A validator still works on a height of an epoch that is over, which the committee of this one does not look at: it is
    /// sent that block, once, and fetches what follows. Whoever claims to be behind gets no more than it could ask for.
    fn offer_old(&mut self, to: PublicKey, (height, round): (u64, u32)) -> Result<(), AgentError> {
        let Some((head, certificate)) = &self.head else { return Ok(()) };
        // Of the newest height, stragglers' votes are expected up to the round that decided it.
        let is_behind = height < head.height || height == head.height && round > certificate.round;
        let is_offered = self.early.offered.get(&to).is_some_and(|offered| *offered >= height);
        if is_offered || !is_behind {
            return Ok(());
        }
        if let Some((bytes, certificate)) = self.blocks.block(&self.disk, &self.kept, height)? {
            self.early.offered.insert(to, height);
            self.effects.push(Effect::Send(to, Wire::Certified(bytes, certificate)));
        }
        Ok(())
    }

    /// Gives the committee what came before its epoch began.
    pub(super) fn tell_early(&mut self, now: Timestamp) -> Result<(), AgentError> {
        let running = self.state.epoch().number;
        if self.early.messages.first().is_none_or(|(_, message)| message.epoch > running) {
            return Ok(());
        }
        self.early.bytes = 0;
        let early = std::mem::take(&mut self.early.messages);
        let mut messages = early.into_iter().filter(|(_, message)| message.epoch == running);
        messages.try_for_each(|(from, message)| self.tell(now, Input::Message { from, message }))
    }

    /// Asks the next validator by turns for blocks that nobody told this agent of.
    pub(super) fn follow(&mut self) {
        let others: Vec<PublicKey> = self.others().collect();
        self.early.turn = self.early.turn.wrapping_add(1);
        if let Some(from) = others.get(self.early.turn % others.len().max(1)) {
            let height = self.state.head().height + 1;
            self.effects.push(Effect::Fetch { from: *from, height });
        }
        self.wait_to_follow();
    }

    /// Sets the timer of [`Agent::follow`]: soon for an agent to whom no committee speaks.
    pub(super) fn wait_to_follow(&mut self) {
        let is_told = self.state.validators().index_of(&self.identity).is_some();
        let wait = if is_told { FOLLOW_TOLD } else { FOLLOW_UNTOLD };
        self.effects.push(Effect::SetTimer(AgentTimer::Follow, wait));
    }
}

/// Whether a record is the precommit of validator `me`, as certificates hold it.
pub(super) fn is_precommit_of(record: &WalRecord, me: Option<u16>) -> bool {
    matches!(record, WalRecord::Vote(vote, _) if vote.kind == VoteKind::Precommit && Some(vote.validator) == me)
}

/// The committee's configuration for the epoch of the next height.
pub(super) fn config(state: &State, key: Option<SigningKey>, timeouts: Timeouts) -> Config {
    Config {
        zone: *state.zone_id(),
        epoch: state.epoch().number,
        validators: state.validators().clone(),
        key,
        timeouts,
        identify: identify_block,
    }
}

/// What came of the next epoch before this agent was in it, and whom it has asked for the blocks in between.
#[derive(Default)]
pub(super) struct Early {
    messages: Vec<(PublicKey, Message)>,
    /// Bytes of the blocks in them.
    bytes: usize,
    /// Who has been asked since the newest block.
    pub(super) asked: BTreeSet<PublicKey>,
    /// The last height at which each validator was found in an epoch that is over.
    offered: BTreeMap<PublicKey, u64>,
    /// Whose turn it is to be asked.
    turn: usize,
}

impl Early {
    fn keep(&mut self, from: PublicKey, message: Message) {
        let bytes = match &message.body {
            MessageBody::Proposal(_, _, block) => block.len(),
            _ => 0,
        };
        let own = self.messages.iter().filter(|(sender, _)| *sender == from).count();
        if own < EARLY_EACH && self.bytes + bytes <= EARLY_BYTES_MAX {
            self.bytes += bytes;
            self.messages.push((from, message));
        }
    }
}

/// Messages of the next epoch that wait at most, of each validator: two rounds of its votes and a proposal.
const EARLY_EACH: usize = 6;
/// Bytes of blocks in them at most.
const EARLY_BYTES_MAX: usize = 2 * Block::MAX_BYTES;
/// How often an agent asks for blocks if a committee speaks to it: only when that was not enough, so rarely.
const FOLLOW_TOLD: Duration = Duration::from_secs(20);
/// How often it asks if it is no validator.
const FOLLOW_UNTOLD: Duration = Duration::from_secs(1);
/// After how many blocks a vote key that is not on the ledger yet is sent again.
const RESEND_BLOCKS: u64 = 10;
