//! Proof that a validator signed two things that exclude each other.

use crate::{
    Rejected,
    context::{SignedProposal, SignedVote, from_core_proposal, from_core_vote},
};
use ohmesh_ledger::{Proposal, ValidatorSet, Vote};
use ohmesh_units::{Canonical, Signature, ZoneId};
use serde::{Deserialize, Serialize};

/// Two signed messages of one validator that exclude each other; the first that arrived comes first. Anybody with
/// the validator set can check it. Tags are postcard's variant order: variants are only ever appended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Evidence {
    /// Two votes of one kind in one round.
    Votes([(Vote, Signature); 2]),
    /// Two proposals in one round.
    Proposals([(Proposal, Signature); 2]),
}

impl Canonical for Evidence {
    const NAME: &'static str = "equivocation evidence";
    const MAX_BYTES: usize = 512;
}

impl Evidence {
    /// Who signed twice, by index in the validator set.
    pub fn validator(&self) -> u16 {
        match self {
            Self::Votes([(vote, _), _]) => vote.validator,
            Self::Proposals([(proposal, _), _]) => proposal.validator,
        }
    }

    /// Checks that it proves what it says: `Ok(false)` if the two do not exclude each other.
    ///
    /// # Errors
    /// [`Rejected::UnknownValidator`], [`Rejected::WrongSignature`].
    pub fn verify(&self, zone: &ZoneId, epoch: u64, set: &ValidatorSet) -> Result<bool, Rejected> {
        let validator = self.validator();
        let key = set.at(validator).ok_or(Rejected::UnknownValidator { validator })?.key;
        let (excluding, signed) = match self {
            Self::Votes([(a, a_signature), (b, b_signature)]) => (
                a.block != b.block && Vote { block: a.block, ..*b } == *a,
                key.verify(Vote::DOMAIN, &a.message(zone, epoch), a_signature)
                    && key.verify(Vote::DOMAIN, &b.message(zone, epoch), b_signature),
            ),
            Self::Proposals([(a, a_signature), (b, b_signature)]) => (
                a != b && (a.height, a.round, a.validator) == (b.height, b.round, b.validator),
                key.verify(Proposal::DOMAIN, &a.message(zone, epoch), a_signature)
                    && key.verify(Proposal::DOMAIN, &b.message(zone, epoch), b_signature),
            ),
        };
        if signed { Ok(excluding) } else { Err(Rejected::WrongSignature { validator }) }
    }

    pub(crate) fn of_votes(first: &SignedVote, second: &SignedVote) -> Self {
        let ours = |vote: &SignedVote| (from_core_vote(&vote.message), vote.signature);
        Self::Votes([ours(first), ours(second)])
    }

    pub(crate) fn of_proposals(first: &SignedProposal, second: &SignedProposal) -> Self {
        let ours = |proposal: &SignedProposal| (from_core_proposal(&proposal.message), proposal.signature);
        Self::Proposals([ours(first), ours(second)])
    }
}
