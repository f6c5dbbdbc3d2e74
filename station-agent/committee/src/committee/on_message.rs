//! What peers send. Everything is bounded and verified before it is kept or acted on.

use super::{Committee, ROUNDS_AHEAD, desk::Held, desk::Verdict};
use crate::{
    Action, BlockBytes, Body, CommitteeError, Message, PolkaCertificate, Rejected, RoundCertificate,
    context::{Height, to_core_proposal, to_core_vote},
};
use arc_malachitebft_core_consensus as core;
use arc_malachitebft_core_types::Round;
use ohmesh_ledger::{Proposal, ValidatorSet, Vote};
use ohmesh_units::{PublicKey, Signature};

impl Committee {
    pub(super) fn on_message(&mut self, from: PublicKey, message: Message) {
        if message.zone != self.desk.zone {
            return self.desk.reject(from, Rejected::Zone { found: message.zone });
        }
        if message.epoch != self.desk.epoch {
            let reason = Rejected::Epoch { found: message.epoch, expected: self.desk.epoch };
            return self.desk.reject(from, reason);
        }
        self.desk.from = Some(from);
        match message.body {
            Body::Vote(vote, signature) => self.on_vote(from, vote, signature),
            Body::Proposal(proposal, signature, bytes) => self.on_proposal(from, proposal, signature, bytes),
            Body::Polka(certificate) => self.on_polka(from, &certificate),
            Body::Round(certificate) => self.on_round(from, &certificate),
        }
        self.desk.from = None;
    }

    pub(super) fn on_vote(&mut self, from: PublicKey, vote: Vote, signature: Signature) {
        if self.desk.set().at(vote.validator).is_none() {
            return self.desk.reject(from, Rejected::UnknownValidator { validator: vote.validator });
        }
        if vote.height < self.desk.height {
            return self.on_past_vote(from, &vote, &signature);
        }
        if vote.height > self.desk.height || !self.running {
            return self.on_future_vote(from, vote, signature);
        }
        if Some(vote.validator) == self.desk.index() {
            return self.on_own_vote(from, &vote, &signature);
        }
        if let Err(reason) = self.near(vote.round) {
            return self.desk.reject(from, reason);
        }
        // The core asks for the signature to be verified, unless it knows the vote.
        self.tell(core::Input::Vote(to_core_vote(&vote, signature)));
    }

    /// A peer sent us our own vote. One that we do not know of must not count as ours, and says that something is
    /// wrong with our key or our log.
    fn on_own_vote(&mut self, from: PublicKey, vote: &Vote, signature: &Signature) {
        if self.desk.has_cast(vote) {
            return;
        }
        match self.desk.verify_vote(vote, signature) {
            Ok(()) => self.desk.fault(CommitteeError::ForeignVote(*vote)),
            Err(reason) => self.desk.reject(from, reason),
        }
    }

    /// A vote on a decided height: late, or by a validator that does not know the decision.
    fn on_past_vote(&mut self, from: PublicKey, vote: &Vote, signature: &Signature) {
        // Of the last height, stragglers' votes are expected up to the round that decided it.
        let late = match self.decided {
            Some((height, round)) if height == vote.height => vote.round <= round,
            _ => vote.height.saturating_add(1) == self.desk.height,
        };
        let offered = self.offered.get(&vote.validator).is_some_and(|offered| *offered >= vote.height);
        if late || offered || Some(vote.validator) == self.desk.index() {
            return;
        }
        if let Err(reason) = self.desk.verify_vote(vote, signature) {
            return self.desk.reject(from, reason);
        }
        self.offered.insert(vote.validator, vote.height);
        self.desk.actions.push(Action::Offer { validator: vote.validator, height: vote.height });
    }

    fn on_future_vote(&mut self, from: PublicKey, vote: Vote, signature: Signature) {
        let keep = self.is_next(vote.height) && self.future.wants_vote(&vote);
        if !keep && !self.is_news(vote.validator, vote.height) {
            return;
        }
        if let Err(reason) = self.desk.verify_vote(&vote, &signature) {
            return self.desk.reject(from, reason);
        }
        if keep {
            self.future.keep_vote(vote, signature, from);
        }
        self.note(from, vote.validator, vote.height);
    }

    pub(super) fn on_proposal(
        &mut self,
        from: PublicKey,
        proposal: Proposal,
        signature: Signature,
        bytes: BlockBytes,
    ) {
        if let Err(reason) = self.accept_proposal(from, proposal, signature, bytes) {
            self.desk.reject(from, reason);
        }
    }

    fn accept_proposal(
        &mut self,
        from: PublicKey,
        proposal: Proposal,
        signature: Signature,
        bytes: BlockBytes,
    ) -> Result<(), Rejected> {
        let Proposal { height, round, block, validator, .. } = proposal;
        let future = height > self.desk.height || !self.running;
        // Our own come back from peers that lock on them late.
        if height < self.desk.height || Some(validator) == self.desk.index() {
            return Ok(());
        }
        if future {
            let keep = self.is_next(height) && self.future.wants_proposal(round);
            if !keep && !self.is_news(validator, height) {
                return Ok(());
            }
            self.desk.verify_proposal(&proposal, &signature)?;
            self.verify_block(block, &bytes)?;
            if keep {
                self.future.keep_proposal(proposal, signature, bytes, from);
            }
            self.note(from, validator, height);
            return Ok(());
        }
        self.near(round)?;
        self.desk.verify_proposal(&proposal, &signature)?;
        let held = self.desk.blocks.get(&block).map(|held| (held.bytes.clone(), held.verdict, held.round));
        let bytes = match &held {
            Some((held, _, _)) => held.clone(),
            None => {
                self.verify_block(block, &bytes)?;
                bytes
            }
        };
        // A proposer that signs many blocks for a round is stopped at two: they prove it. Each costs an execution.
        let judge = !self.core.exceeds_per_round_cap(Height(height), Round::new(round), &block)
            && held.is_none_or(|(_, verdict, last)| verdict == Verdict::Invalid && last < round);
        self.tell(core::Input::Proposal(to_core_proposal(&proposal, signature)));
        // A vote may have come before the block it decides on.
        if judge && self.desk.decision.is_none() {
            let held = Held { bytes: bytes.clone(), round, proposer: validator, verdict: Verdict::Pending };
            self.hold(block, held);
            self.desk.actions.push(Action::Judge { height, round, proposer: validator, block, bytes });
        }
        Ok(())
    }

    fn on_polka(&mut self, from: PublicKey, certificate: &PolkaCertificate) {
        if !self.running || certificate.height != self.desk.height {
            return;
        }
        let signers: Vec<u16> = certificate.signatures.iter().map(|(validator, _)| *validator).collect();
        match self.check_signers(&signers) {
            Ok(()) => self.tell(core::Input::PolkaCertificate(certificate.to_core())),
            Err(reason) => self.desk.reject(from, reason),
        }
    }

    fn on_round(&mut self, from: PublicKey, certificate: &RoundCertificate) {
        if !self.running || certificate.height != self.desk.height {
            return;
        }
        let signers: Vec<u16> = certificate.votes.iter().map(|vote| vote.validator).collect();
        match self.check_signers(&signers) {
            Ok(()) => self.tell(core::Input::RoundCertificate(certificate.to_core())),
            Err(reason) => self.desk.reject(from, reason),
        }
    }

    /// Checks the form of a certificate; the core asks for its signatures to be verified when it needs it.
    fn check_signers(&self, signers: &[u16]) -> Result<(), Rejected> {
        if signers.len() > ValidatorSet::MAX || !signers.is_sorted_by(|a, b| a < b) {
            return Err(Rejected::Unordered);
        }
        match signers.iter().find(|signer| self.desk.set().at(**signer).is_none()) {
            Some(signer) => Err(Rejected::UnknownValidator { validator: *signer }),
            None => Ok(()),
        }
    }

    /// Whether `round` is near enough to the current one for its messages to be taken.
    fn near(&self, round: u32) -> Result<(), Rejected> {
        let current = self.core.round().as_u32().unwrap_or(0);
        if round > current.saturating_add(ROUNDS_AHEAD) {
            return Err(Rejected::FarRound { found: round, round: current });
        }
        Ok(())
    }

    /// Whether messages of `height` are kept for when it starts.
    fn is_next(&self, height: u64) -> bool {
        let next = if self.running { self.desk.height.saturating_add(1) } else { self.desk.height };
        height == next
    }

    /// Whether a message of `validator` at `height`, once verified, says that this side should start or ask for blocks.
    fn is_news(&self, validator: u16, height: u64) -> bool {
        if height == self.desk.height {
            return !self.running && !self.woken;
        }
        height > self.desk.height && (self.is_higher(validator, height) || self.is_far(height))
    }

    /// Whether `validator` was not known to be at `height` yet.
    fn is_higher(&self, validator: u16, height: u64) -> bool {
        self.ahead.get(&validator).is_none_or(|(known, _)| height > *known)
    }

    /// Whether this side lags by more than the decision that is about to come, and has not asked.
    fn is_far(&self, height: u64) -> bool {
        height > self.desk.height.saturating_add(1) && self.asked < self.desk.height
    }

    /// Takes note of a verified message of a height that does not run here.
    fn note(&mut self, from: PublicKey, validator: u16, height: u64) {
        let higher = self.is_higher(validator, height);
        if higher {
            self.ahead.insert(validator, (height, from));
        }
        if height > self.desk.height.saturating_add(1) && (higher || self.is_far(height)) {
            self.ask(from);
        }
        if height == self.desk.height {
            self.wake();
        }
    }
}
