//! What validators sign, and the certificate that makes a block final.

use crate::{Header, LedgerError, ValidatorSet, Voters};
use ohmesh_units::{
    BlockId, Canonical, Domain, Signature, SignatureCheck, SigningKey, ZoneId, to_postcard, verify_batch,
};
use serde::{Deserialize, Serialize};

/// The two votes of a round (Tendermint).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum VoteKind {
    /// "This block may be decided."
    Prevote,
    /// "I saw that more than two thirds may decide it."
    Precommit,
}

/// One validator's vote.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Vote {
    /// Prevote or precommit.
    pub kind: VoteKind,
    /// The height voted on.
    pub height: u64,
    /// The round of that height.
    pub round: u32,
    /// The block, or none: "not in this round".
    pub block: Option<BlockId>,
    /// Who votes, by index in the validator set.
    pub validator: u16,
}

impl Vote {
    /// The domain of votes' signatures.
    pub const DOMAIN: Domain = Domain::new("ohmesh/1 vote");

    /// The signed bytes: the vote within its zone and epoch, so that it cannot be carried to another.
    pub fn message(&self, zone: &ZoneId, epoch: u64) -> Vec<u8> {
        to_postcard(&(zone, epoch, self))
    }

    /// Signs the vote.
    pub fn sign(&self, zone: &ZoneId, epoch: u64, key: &SigningKey) -> Signature {
        key.sign(Self::DOMAIN, &self.message(zone, epoch))
    }
}

/// A proposer's word that this block is its proposal for a round.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Proposal {
    /// The height proposed for.
    pub height: u64,
    /// The round of that height.
    pub round: u32,
    /// The earlier round in which the block already had a quorum of prevotes, if any.
    pub pol_round: Option<u32>,
    /// The block.
    pub block: BlockId,
    /// Who proposes, by index in the validator set.
    pub validator: u16,
}

impl Proposal {
    /// The domain of proposals' signatures.
    pub const DOMAIN: Domain = Domain::new("ohmesh/1 proposal");

    /// The signed bytes, as [`Vote::message`].
    pub fn message(&self, zone: &ZoneId, epoch: u64) -> Vec<u8> {
        to_postcard(&(zone, epoch, self))
    }

    /// Signs the proposal.
    pub fn sign(&self, zone: &ZoneId, epoch: u64, key: &SigningKey) -> Signature {
        key.sign(Self::DOMAIN, &self.message(zone, epoch))
    }
}

/// More than two thirds of the stake precommitted to one block: it is final.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Certificate {
    /// The height of the block.
    pub height: u64,
    /// The round in which it was decided.
    pub round: u32,
    /// The epoch of the validators.
    pub epoch: u64,
    /// The block.
    pub block: BlockId,
    /// Precommits by validator index, ascending; at most [`ValidatorSet::MAX`].
    pub signatures: Vec<(u16, Signature)>,
}

impl Canonical for Certificate {
    const NAME: &'static str = "certificate";
    const MAX_BYTES: usize = 64 + ValidatorSet::MAX * 67;
}

impl Certificate {
    /// Checks that distinct validators with more than two thirds of the stake signed. This is all that a phone
    /// needs in order to trust a block; cost: one signature check a validator, batched.
    pub fn verify(&self, zone: &ZoneId, epoch: u64, voters: &Voters) -> Result<(), LedgerError> {
        let bad = |reason: String| LedgerError::Certificate { height: self.height, reason };
        if self.epoch != epoch {
            return Err(bad(format!("it is of epoch {}, not {epoch}", self.epoch)));
        }
        if !self.signatures.is_sorted_by(|a, b| a.0 < b.0) {
            return Err(bad("its signers are not in ascending order, each once".into()));
        }
        let mut stake = 0u64;
        let mut messages = Vec::with_capacity(self.signatures.len());
        for (index, _) in &self.signatures {
            let voter = voters
                .at(*index)
                .ok_or_else(|| bad(format!("there is no validator {index} in this epoch")))?;
            stake += voter.stake;
            messages.push((voter.key, self.precommit(*index).message(zone, epoch)));
        }
        if !voters.is_quorum(stake) {
            return Err(bad(format!("stake {stake} of {} is not more than two thirds", voters.stake())));
        }
        let checks: Vec<SignatureCheck<'_>> = messages
            .iter()
            .zip(&self.signatures)
            .map(|((key, message), (_, signature))| SignatureCheck {
                key: *key,
                domain: Vote::DOMAIN,
                message,
                signature: *signature,
            })
            .collect();
        verify_batch(&checks).map_err(|wrong| {
            let names: Vec<String> = wrong.iter().map(|at| self.signatures[*at].0.to_string()).collect();
            bad(format!("the signature of validator {} is wrong", names.join(", ")))
        })
    }

    /// Checks the certificate and that it is for `header`.
    pub fn verify_header(&self, header: &Header, zone: &ZoneId, voters: &Voters) -> Result<(), LedgerError> {
        self.verify(zone, header.epoch, voters)?;
        if self.block != header.id() || self.height != header.height || header.zone != *zone {
            return Err(LedgerError::Certificate {
                height: self.height,
                reason: format!("it is for block {}, not for this header", self.block),
            });
        }
        if header.voters != voters.hash() {
            return Err(LedgerError::Certificate {
                height: self.height,
                reason: "the header names another validator set".into(),
            });
        }
        Ok(())
    }

    /// The vote that validator `index` must have signed.
    fn precommit(&self, index: u16) -> Vote {
        Vote {
            kind: VoteKind::Precommit,
            height: self.height,
            round: self.round,
            block: Some(self.block),
            validator: index,
        }
    }
}
