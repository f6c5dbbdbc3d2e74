//! What this agent does about epochs: a committee for each, a vote key for the next, and no vote when it cannot know what
//! it has signed before.

use super::{Agent, AgentError, Effect};
use crate::disk::Disk;
use ohmesh_committee::{Committee, Config, Evidence, Timeouts, identify_block};
use ohmesh_ledger::{Body, Certificate, State};
use ohmesh_units::{SigningKey, Timestamp};
use rand_core::Rng;

impl<D: Disk> Agent<D> {
    /// Begins the epoch of the next height: its validators, this agent's key among them, and no key of the one before.
    pub(super) fn begin_epoch(&mut self) -> Result<(), AgentError> {
        self.state.known_rules().map_err(AgentError::Rules)?;
        let key = self.votes.signer(self.state.validators(), &self.identity);
        let vote = key.as_ref().map(SigningKey::public);
        self.votes.begin(&mut self.disk, self.state.epoch().number, vote)?;
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
        let known = governance.next_votes.iter().find(|(who, _)| *who == self.signer.account());
        let (known, epoch) = (known.map(|(_, key)| *key), epoch.number + 1);
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
        let Some(me) = self.me else { return Ok(()) };
        let has_signed = certificate.signatures.iter().any(|(validator, _)| *validator == me);
        if !has_signed || self.voted == Some(certificate.height) {
            return Ok(());
        }
        self.forget_votes(certificate.height)?;
        self.is_forgetful = true;
        Ok(())
    }

    /// A vote with this agent's key that it did not cast came in: as [`Agent::check_memory`], but the height goes on, with
    /// an observer's committee.
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

    /// Brings proof that a validator contradicted itself to the ledger.
    pub(super) fn convict(&mut self, now: Timestamp, evidence: &Evidence) {
        let epoch = self.state.epoch().number;
        self.submit_own(now, vec![Body::Convict { epoch, evidence: Box::new(evidence.clone()) }]);
    }
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

/// After how many blocks a vote key that is not on the ledger yet is sent again.
const RESEND_BLOCKS: u64 = 10;
