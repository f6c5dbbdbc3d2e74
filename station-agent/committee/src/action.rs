//! What goes into a committee and what comes out.

use crate::{BlockBytes, Evidence, Message, WalRecord};
use ohmesh_ledger::{Certificate, LedgerError, Vote};
use ohmesh_units::{BlockId, PublicKey, ZoneId};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Something happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// The height may start; the block before it is durable.
    Start {
        /// The height, usually one more than the last committed.
        height: u64,
    },
    /// A peer sent a message.
    Message {
        /// The key with which the peer's connection was authenticated.
        from: PublicKey,
        /// What it sent.
        message: Message,
    },
    /// The host has built the block that [`Action::Build`] asked for. It is executed, and durable by the next
    /// [`Action::Sync`] at the latest.
    Built {
        /// As asked.
        height: u64,
        /// As asked.
        round: u32,
        /// The block's id, which binds every byte of it.
        block: BlockId,
        /// The block.
        bytes: BlockBytes,
    },
    /// The host has judged the block that [`Action::Judge`] showed. If it is valid, it is durable by the next
    /// [`Action::Sync`] at the latest.
    Judged {
        /// The block.
        block: BlockId,
        /// Whether it may follow the last committed block, its time included.
        valid: bool,
    },
    /// A timer that [`Action::SetTimer`] set has run out.
    Elapsed(Timer),
    /// A peer sent a block of the chain with its certificate, as [`Action::RequestSync`] asked. Heights in order.
    Certified {
        /// The key with which the peer's connection was authenticated.
        from: PublicKey,
        /// The block.
        bytes: BlockBytes,
        /// Its certificate.
        certificate: Certificate,
    },
}

/// Something to do, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// Append the record to the write-ahead log.
    Append(WalRecord),
    /// Bring the write-ahead log to disk, blocks that were built or judged valid included, before anything that a later
    /// action sends leaves.
    Sync,
    /// Send the message to every peer.
    Publish(Message),
    /// Answer [`Input::Elapsed`] after the duration. Setting a timer again replaces it.
    SetTimer(Timer, Duration),
    /// Forget the timer. One that runs out nevertheless is ignored.
    CancelTimer(Timer),
    /// Forget all timers.
    CancelAllTimers,
    /// It is this validator's turn: build a block, execute it, write it down, answer [`Input::Built`] in time.
    Build {
        /// The height to build.
        height: u64,
        /// The round to build for.
        round: u32,
        /// After this long the others stop waiting.
        within: Duration,
    },
    /// Execute the block on top of the last committed one, write it down if it is valid, answer [`Input::Judged`].
    /// The bytes are the block of that id; nothing else about them has been checked.
    Judge {
        /// The height it is proposed for.
        height: u64,
        /// The round it is proposed for. A block that was found invalid is shown again when it is proposed again:
        /// its time may have come.
        round: u32,
        /// Who proposes it, by index in the validator set.
        proposer: u16,
        /// The block.
        block: BlockId,
        /// Its bytes.
        bytes: BlockBytes,
    },
    /// The block is final: make it and its certificate durable, apply it, then start the next height in good time.
    /// Failing to execute it means that this replica has diverged from its zone: stop.
    Commit {
        /// Its height.
        height: u64,
        /// The block.
        block: BlockId,
        /// Its bytes.
        bytes: BlockBytes,
        /// Verified; the fewest signatures that make a quorum.
        certificate: Certificate,
    },
    /// Others are at work on this height already: start it as soon as [`Pace`](crate::Pace) allows with work pending.
    /// At most once a height.
    Wake {
        /// The height to start.
        height: u64,
    },
    /// Fetch certified blocks from this height on and feed them as [`Input::Certified`], in order, until `from` has no
    /// more. One fetch at a time is enough: while it runs, ignore further requests.
    RequestSync {
        /// A peer that is ahead.
        from: PublicKey,
        /// The first height that is missing here.
        height: u64,
    },
    /// The validator still works on a height that is decided: send it that block and certificate. At most once a height
    /// and validator; one sending at a time to each is enough.
    Offer {
        /// Who is behind, by index in the validator set.
        validator: u16,
        /// The height it works on.
        height: u64,
    },
    /// A validator signed two things that exclude each other. It may come out more than once.
    Equivocation(Evidence),
    /// The peer's message was refused. See [`Rejected::is_fault`].
    Reject {
        /// Who sent it.
        from: PublicKey,
        /// Why.
        reason: Rejected,
    },
    /// Something is wrong on this side. Nothing was signed in consequence.
    Fault(CommitteeError),
}

/// A step that waits, and for what. A height and round has at most one timer of each kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Timer {
    /// The height that waits.
    pub height: u64,
    /// The round that waits.
    pub round: u32,
    /// What it waits for.
    pub kind: TimerKind,
}

/// What a step waits for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum TimerKind {
    /// The proposal.
    Propose,
    /// The remaining prevotes.
    Prevote,
    /// The remaining precommits.
    Precommit,
    /// The time to send votes again.
    Rebroadcast,
}

/// Why a peer's message is refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Rejected {
    /// It belongs to another zone.
    #[error("it is of zone {found}")]
    Zone {
        /// The zone it names.
        found: ZoneId,
    },
    /// It belongs to another epoch.
    #[error("it is of epoch {found}, not {expected}")]
    Epoch {
        /// The epoch it names.
        found: u64,
        /// The epoch of this committee.
        expected: u64,
    },
    /// It names a validator that the epoch does not have.
    #[error("there is no validator {validator}")]
    UnknownValidator {
        /// The index it names.
        validator: u16,
    },
    /// A signature is not that of the validator it names.
    #[error("the signature of validator {validator} is wrong")]
    WrongSignature {
        /// The index it names.
        validator: u16,
    },
    /// The round is somebody else's to propose in.
    #[error("validator {validator} is not the proposer of height {height}, round {round}")]
    NotProposer {
        /// The index it names.
        validator: u16,
        /// The height.
        height: u64,
        /// The round.
        round: u32,
    },
    /// A proposal leans on a round that is not before its own.
    #[error("a proposal of round {round} cannot lean on round {pol_round}")]
    PolRound {
        /// The round proposed in.
        round: u32,
        /// The round it leans on.
        pol_round: u32,
    },
    /// A block has more bytes than any block may have.
    #[error("a block of {bytes} bytes is too long")]
    BlockTooLong {
        /// Its length.
        bytes: usize,
    },
    /// The bytes are not the block they are sent as.
    #[error("the bytes are not block {block}")]
    OtherBlock {
        /// The id they are sent as.
        block: BlockId,
    },
    /// A certificate's signers are not in ascending order, each once.
    #[error("its signers are not in ascending order, each once")]
    Unordered,
    /// A certificate's signers have too little stake.
    #[error("stake {stake} of {total} is too little")]
    NoQuorum {
        /// The stake that signed.
        stake: u64,
        /// All stake.
        total: u64,
    },
    /// A certificate of precommits holds a prevote.
    #[error("the vote of validator {validator} is not a precommit")]
    NotPrecommit {
        /// Who voted.
        validator: u16,
    },
    /// A commit certificate does not make its block final.
    #[error(transparent)]
    Certificate(Box<LedgerError>),
    /// The height is too far ahead to keep the message.
    #[error("height {found} is too far ahead of {height}")]
    FarHeight {
        /// The height it names.
        found: u64,
        /// The height here.
        height: u64,
    },
    /// The round is too far ahead to keep the message.
    #[error("round {found} is too far ahead of {round}")]
    FarRound {
        /// The round it names.
        found: u32,
        /// The round here.
        round: u32,
    },
}

impl Rejected {
    /// Whether only a faulty peer sends this. The others happen to honest ones that are ahead or change epoch.
    pub fn is_fault(&self) -> bool {
        !matches!(self, Self::Epoch { .. } | Self::FarHeight { .. } | Self::FarRound { .. })
    }
}

/// What is wrong on this side.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum CommitteeError {
    /// The log says one thing and replaying it says another.
    #[error("the write-ahead log of height {height} does not replay: {reason}")]
    Replay {
        /// The height.
        height: u64,
        /// What the core says.
        reason: String,
    },
    /// The log names a block as valid that the host does not have.
    #[error("block {block} of the write-ahead log is missing")]
    MissingBlock {
        /// The block.
        block: BlockId,
    },
    /// The host built a block that is too long for anybody to accept.
    #[error("the block built for height {height}, round {round} has {bytes} bytes, which is too long")]
    BuiltTooLong {
        /// The height.
        height: u64,
        /// The round.
        round: u32,
        /// Its length.
        bytes: usize,
    },
    /// The height to start is running or past.
    #[error("height {height} cannot start: height {current} is next or running")]
    Started {
        /// The height to start.
        height: u64,
        /// The height here.
        current: u64,
    },
    /// Somebody else signs with this validator's key, or its log was lost: stop, and replace the key.
    #[error("this validator's key signed a vote at height {} that its log does not have", .0.height)]
    ForeignVote(Vote),
    /// The core asked for a second, different signature for one height, round and kind; it got none.
    #[error("refused to sign twice at height {height}, round {round}")]
    DoubleSign {
        /// The height.
        height: u64,
        /// The round.
        round: u32,
    },
    /// The core failed on an input, which changed nothing further.
    #[error("consensus core at height {height}: {reason}")]
    Core {
        /// The height.
        height: u64,
        /// What the core says.
        reason: String,
    },
}
