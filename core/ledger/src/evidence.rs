//! Proof that a validator contradicted itself.

use crate::{Proposal, Vote, Voters};
use ohmesh_units::{Canonical, Signature, ZoneId};
use serde::{Deserialize, Serialize};

/// Two signed statements of one validator that exclude each other. Honest validators never sign such a pair, restarts
/// included; whoever did loses its bond.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Evidence {
    /// Two votes of one kind, height and round, for different blocks.
    Votes([(Vote, Signature); 2]),
    /// Two proposals for one height and round.
    Proposals([(Proposal, Signature); 2]),
}

impl Canonical for Evidence {
    const NAME: &'static str = "equivocation evidence";
    const MAX_BYTES: usize = 512;
}

impl Evidence {
    /// The validator that both statements are of, by its index in their epoch.
    pub fn validator(&self) -> u16 {
        match self {
            Self::Votes([(vote, _), _]) => vote.validator,
            Self::Proposals([(proposal, _), _]) => proposal.validator,
        }
    }

    /// The height that both statements are about.
    pub fn height(&self) -> u64 {
        match self {
            Self::Votes([(vote, _), _]) => vote.height,
            Self::Proposals([(proposal, _), _]) => proposal.height,
        }
    }

    /// Whether the statements exclude each other.
    pub fn excludes_itself(&self) -> bool {
        match self {
            Self::Votes([(a, _), (b, _)]) => a.block != b.block && Vote { block: a.block, ..*b } == *a,
            Self::Proposals([(a, _), (b, _)]) => {
                a != b && (a.height, a.round, a.validator) == (b.height, b.round, b.validator)
            }
        }
    }

    /// Whether the statements exclude each other and the validator signed both, `voters` being those of `epoch`.
    pub fn proves(&self, zone: &ZoneId, epoch: u64, voters: &Voters) -> bool {
        let Some(voter) = voters.at(self.validator()) else { return false };
        let signed = match self {
            Self::Votes(votes) => votes.iter().all(|(vote, signature)| {
                voter.key.verify(Vote::DOMAIN, &vote.message(zone, epoch), signature)
            }),
            Self::Proposals(proposals) => proposals.iter().all(|(proposal, signature)| {
                voter.key.verify(Proposal::DOMAIN, &proposal.message(zone, epoch), signature)
            }),
        };
        signed && self.excludes_itself()
    }
}
