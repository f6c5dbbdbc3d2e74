//! What the write-ahead log holds, so that a validator that was killed votes as it had voted.
//!
//! A record is what the core was told, in order: telling it the same again brings it to the same state, round
//! included, and makes it cast the same votes. A round certificate is logged as the votes it brought. Tags are
//! postcard's variant order: variants are only ever appended.

use crate::{
    PolkaCertificate, Timer, TimerKind,
    context::{
        Address, Candidate, Ctx, Height, from_core_proposal, from_core_round, from_core_vote,
        to_core_proposal, to_core_vote,
    },
};
use arc_malachitebft_core_consensus as core;
use arc_malachitebft_core_types as malachite;
use core::ProposedValue;
use malachite::{Round, Timeout, TimeoutKind, Validity, ValueOrigin};
use ohmesh_ledger::{Proposal, Vote};
use ohmesh_units::{BlockId, Canonical, Signature};
use serde::{Deserialize, Serialize};

/// One record of the write-ahead log. The blocks themselves are the host's to keep.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum WalRecord {
    /// A vote, this validator's own or another's.
    Vote(Vote, Signature),
    /// A proposal, this validator's own or another's.
    Proposal(Proposal, Signature),
    /// Proof of a quorum of prevotes.
    Polka(PolkaCertificate),
    /// A step waited in vain.
    Elapsed(Timer),
    /// A block was built, or judged.
    Block {
        /// The height it is for.
        height: u64,
        /// The round it was proposed in.
        round: u32,
        /// Who proposed it, by index in the validator set.
        proposer: u16,
        /// The block.
        block: BlockId,
        /// The host's verdict.
        valid: bool,
    },
}

impl Canonical for WalRecord {
    const NAME: &'static str = "write-ahead record";
    /// The longest is a polka certificate of all validators.
    const MAX_BYTES: usize = 64 + ohmesh_ledger::ValidatorSet::MAX * 67;
}

impl WalRecord {
    /// The height it belongs to; records of committed heights may be dropped.
    pub fn height(&self) -> u64 {
        match self {
            Self::Vote(vote, _) => vote.height,
            Self::Proposal(proposal, _) => proposal.height,
            Self::Polka(certificate) => certificate.height,
            Self::Elapsed(timer) => timer.height,
            Self::Block { height, .. } => *height,
        }
    }

    /// The record of what the core asks to log at `height`; `None` for what it never logs.
    pub(crate) fn from_core(height: u64, input: &core::Input<Ctx>) -> Option<Self> {
        Some(match input {
            core::Input::Vote(vote) => Self::Vote(from_core_vote(&vote.message), vote.signature),
            core::Input::Proposal(proposal) => {
                Self::Proposal(from_core_proposal(&proposal.message), proposal.signature)
            }
            core::Input::PolkaCertificate(certificate) => {
                Self::Polka(PolkaCertificate::from_core(certificate))
            }
            core::Input::TimeoutElapsed(timeout) => Self::Elapsed(from_core_timeout(height, *timeout)?),
            core::Input::ProposedValue(value, _) => Self::Block {
                height: value.height.0,
                round: from_core_round(value.round),
                proposer: value.proposer.0,
                block: value.value.0,
                valid: value.validity.is_valid(),
            },
            core::Input::StartHeight(..)
            | core::Input::RoundCertificate(_)
            | core::Input::Propose(_)
            | core::Input::SyncValueResponse(_) => return None,
        })
    }

    /// What to tell the core again.
    pub(crate) fn to_core(&self) -> core::Input<Ctx> {
        match self {
            Self::Vote(vote, signature) => core::Input::Vote(to_core_vote(vote, *signature)),
            Self::Proposal(proposal, signature) => {
                core::Input::Proposal(to_core_proposal(proposal, *signature))
            }
            Self::Polka(certificate) => core::Input::PolkaCertificate(certificate.to_core()),
            Self::Elapsed(timer) => core::Input::TimeoutElapsed(to_core_timeout(*timer)),
            Self::Block { height, round, proposer, block, valid } => {
                proposed_value(*height, *round, *proposer, *block, *valid)
            }
        }
    }
}

/// Tells the core that a block is there and whether it is valid.
pub(crate) fn proposed_value(
    height: u64,
    round: u32,
    proposer: u16,
    block: BlockId,
    valid: bool,
) -> core::Input<Ctx> {
    let value = ProposedValue {
        height: Height(height),
        round: Round::new(round),
        valid_round: Round::Nil,
        proposer: Address(proposer),
        value: Candidate(block),
        validity: Validity::from_bool(valid),
    };
    core::Input::ProposedValue(value, ValueOrigin::Consensus)
}

/// Our timer, from the core's timeout at `height`; `None` for the pause after a decision, which is not used.
pub(crate) fn from_core_timeout(height: u64, timeout: Timeout) -> Option<Timer> {
    let kind = match timeout.kind {
        TimeoutKind::Propose => TimerKind::Propose,
        TimeoutKind::Prevote => TimerKind::Prevote,
        TimeoutKind::Precommit => TimerKind::Precommit,
        TimeoutKind::Rebroadcast => TimerKind::Rebroadcast,
        TimeoutKind::FinalizeHeight(_) => return None,
    };
    Some(Timer { height, round: timeout.round.as_u32()?, kind })
}

/// The core's timeout, from our timer.
pub(crate) fn to_core_timeout(timer: Timer) -> Timeout {
    let round = Round::new(timer.round);
    match timer.kind {
        TimerKind::Propose => Timeout::propose(round),
        TimerKind::Prevote => Timeout::prevote(round),
        TimerKind::Precommit => Timeout::precommit(round),
        TimerKind::Rebroadcast => Timeout::rebroadcast(round),
    }
}
