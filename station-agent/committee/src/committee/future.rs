//! Verified messages of the next height, kept until it starts.

use crate::BlockBytes;
use ohmesh_ledger::{Proposal, Vote, VoteKind};
use ohmesh_units::{PublicKey, Signature};
use std::collections::BTreeMap;

/// Rounds of the next height whose messages are kept: one vote of each kind a validator and one proposal a round.
/// That bounds it to 256 votes and 4 blocks. Votes are sent again until a height is decided, so what is not kept
/// is late, not lost.
pub const FUTURE_ROUNDS: u32 = 4;

/// The messages of one height that has not started.
#[derive(Default)]
pub(super) struct Future {
    votes: BTreeMap<(u32, VoteKind, u16), (Vote, Signature, PublicKey)>,
    proposals: BTreeMap<u32, (Proposal, Signature, BlockBytes, PublicKey)>,
}

impl Future {
    pub(super) fn is_empty(&self) -> bool {
        self.votes.is_empty() && self.proposals.is_empty()
    }

    /// Whether there is room for this vote; asked before its signature is checked.
    pub(super) fn wants_vote(&self, vote: &Vote) -> bool {
        vote.round < FUTURE_ROUNDS && !self.votes.contains_key(&(vote.round, vote.kind, vote.validator))
    }

    /// Whether there is room for a proposal of this round; asked before its signature is checked.
    pub(super) fn wants_proposal(&self, round: u32) -> bool {
        round < FUTURE_ROUNDS && !self.proposals.contains_key(&round)
    }

    pub(super) fn keep_vote(&mut self, vote: Vote, signature: Signature, from: PublicKey) {
        self.votes.insert((vote.round, vote.kind, vote.validator), (vote, signature, from));
    }

    pub(super) fn keep_proposal(
        &mut self,
        proposal: Proposal,
        signature: Signature,
        bytes: BlockBytes,
        from: PublicKey,
    ) {
        self.proposals.insert(proposal.round, (proposal, signature, bytes, from));
    }

    /// The proposals, by round.
    pub(super) fn take_proposals(&mut self) -> Vec<(Proposal, Signature, BlockBytes, PublicKey)> {
        std::mem::take(&mut self.proposals).into_values().collect()
    }

    /// The votes, by round.
    pub(super) fn take_votes(&mut self) -> Vec<(Vote, Signature, PublicKey)> {
        std::mem::take(&mut self.votes).into_values().collect()
    }
}
