//! Why a node refuses something. Variants name the cause and carry the ids.

use ohmesh_ledger::{HandOverError, LedgerError, TreeName};
use ohmesh_mesh::MeshError;
use ohmesh_units::{DecodeError, Hash, TransactionId, ZoneId};
use rusqlite::ErrorCode;
use std::time::Duration;

/// Why the store cannot be opened, read or written. A write that failed has changed nothing.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StoreError {
    /// The zone file is not whole, or not signed by every validator.
    #[error(transparent)]
    Zone(LedgerError),
    /// The store belongs to another zone.
    #[error("the store is of zone {store}, it was opened for zone {asked}")]
    OtherZone {
        /// The zone it was made for.
        store: ZoneId,
        /// The zone of the zone file given.
        asked: ZoneId,
    },
    /// A newer version of this program has written the store.
    #[error("the store has schema version {found}, this program knows up to {known}")]
    NewerSchema {
        /// What the file says.
        found: i64,
        /// The newest known.
        known: i64,
    },
    /// A database, but of another program.
    #[error("the file is another program's database")]
    NotOurs,
    /// No database at all.
    #[error("the file is not a database")]
    NotADatabase,
    /// The database's own structure is broken.
    #[error("the database is corrupt: {reason}")]
    Corrupt {
        /// What SQLite says.
        reason: String,
    },
    /// There is no room for the change.
    #[error("the disk is full")]
    DiskFull,
    /// The file or its folder may not be written.
    #[error("the store is read-only")]
    ReadOnly,
    /// Another node has the file open.
    #[error("the store is in use by another node")]
    Locked,
    /// The file cannot be opened: no such folder, or no permission.
    #[error("the store cannot be opened: {reason}")]
    CannotOpen {
        /// What SQLite says.
        reason: String,
    },
    /// Anything else SQLite says, input and output errors among it.
    #[error("the store failed: {reason}")]
    Failed {
        /// What SQLite says.
        reason: String,
    },
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let reason = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::DiskFull) => Self::DiskFull,
            Some(ErrorCode::ReadOnly) => Self::ReadOnly,
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Locked,
            Some(ErrorCode::NotADatabase) => Self::NotADatabase,
            Some(ErrorCode::DatabaseCorrupt) => Self::Corrupt { reason },
            Some(ErrorCode::CannotOpen) => Self::CannotOpen { reason },
            _ => Self::Failed { reason },
        }
    }
}

/// Which stored thing no longer verifies.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Part {
    /// A header.
    #[error("the header of height {height}")]
    Header {
        /// The height under which it is kept.
        height: u64,
    },
    /// A certificate.
    #[error("the certificate of height {height}")]
    Certificate {
        /// The height under which it is kept.
        height: u64,
    },
    /// The voters of an epoch, or the hand-over to them.
    #[error("the voters of epoch {number}")]
    Epoch {
        /// The epoch.
        number: i64,
    },
    /// The content of one leaf or its path.
    #[error("the proof in tree {tree:?} for {id}")]
    Proof {
        /// Which tree.
        tree: TreeName,
        /// The account or object it is kept for.
        id: Hash,
    },
    /// An account whose parts are right one by one, but not together.
    #[error("account {id}")]
    Account {
        /// The account.
        id: Hash,
    },
    /// A row whose keys are none that this program writes.
    #[error("a row of table {table}")]
    Row {
        /// The table.
        table: &'static str,
    },
    /// A transaction of the wallet, by its place in the order of signing.
    #[error("the wallet's transaction number {sequence}")]
    Transaction {
        /// Its place.
        sequence: i64,
    },
}

/// A stored thing that no longer verifies, and why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the store is damaged: {part}: {reason}")]
pub struct Damage {
    /// What.
    pub part: Part,
    /// Why.
    pub reason: String,
}

impl Damage {
    pub(crate) fn new(part: Part, reason: impl ToString) -> Self {
        Self { part, reason: reason.to_string() }
    }
}

/// Why the replica does not take or give something.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something stored no longer verifies.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The certificate or a proof does not hold.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Heights never go back.
    #[error("height {offered} is older than {have}")]
    Older {
        /// The newest height here.
        have: u64,
        /// The height offered.
        offered: u64,
    },
    /// Validators of an epoch that is over certified what comes after its end: a history made up with old keys.
    #[error(
        "height {height} is certified by epoch {epoch}, which was over when epoch {anchor} began below it"
    )]
    OldKeys {
        /// The epoch of the certificate.
        epoch: u64,
        /// The height it certifies.
        height: u64,
        /// The epoch that this replica trusts.
        anchor: u64,
    },
    /// Two certified headers that cannot both be: more than a third of the stake has signed both. Kept as evidence.
    #[error(
        "the ledger has forked: two certified headers at heights {one} and {other} contradict each other"
    )]
    Fork {
        /// The height of the one known.
        one: u64,
        /// The height of the one offered.
        other: u64,
    },
    /// Nobody whom this node trusts votes in the header's epoch: it is ahead of every hand-over that was shown, or so long
    /// past that its voters count no more.
    #[error("the header is of epoch {offered}, the newest whose voters are known is {have}")]
    Epoch {
        /// The newest epoch whose voters are known here.
        have: u64,
        /// The epoch of the header.
        offered: u64,
    },
    /// A hand-over does not lead on from the newest epoch known.
    #[error("hand-over: {0}")]
    HandOver(Box<HandOverError>),
    /// What is trusted is so old that whoever signed then loses nothing by signing something else now: the node needs a
    /// younger anchor.
    #[error(
        "what this node trusts is {} days old, {} are allowed: anchor it again",
        .age.as_secs() / 86_400,
        .limit.as_secs() / 86_400
    )]
    AnchorTooOld {
        /// How old.
        age: Duration,
        /// The limit: [`Anchor::AGE_MAX`](ohmesh_ledger::Anchor::AGE_MAX).
        limit: Duration,
    },
    /// The anchor is of another zone.
    #[error("the anchor is of zone {found}, this node's is {expected}")]
    AnchorOfOtherZone {
        /// This node's zone.
        expected: ZoneId,
        /// The anchor's.
        found: ZoneId,
    },
    /// The anchor and what this node has seen certified cannot both be: one of them is a lie.
    #[error("the anchor in epoch {epoch} contradicts what this node has seen certified")]
    AnchorContradicts {
        /// The anchor's epoch.
        epoch: u64,
    },
    /// More proofs than the account has parts.
    #[error("{found} proofs, account {id} has {expected} parts")]
    Parts {
        /// The account.
        id: Hash,
        /// Its parts.
        expected: usize,
        /// Proofs given.
        found: usize,
    },
    /// A height that no ledger reaches.
    #[error("height {0} is out of range")]
    Height(u64),
}

impl From<HandOverError> for ReplicaError {
    fn from(error: HandOverError) -> Self {
        Self::HandOver(Box::new(error))
    }
}

impl From<rusqlite::Error> for ReplicaError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// Why the wallet does not sign or note something.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum WalletError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A stored transaction no longer verifies.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// Too many transactions wait already.
    #[error("{0} transactions wait already")]
    TooManyOpen(usize),
    /// The transaction is longer than the ledger takes.
    #[error("the transaction has {found} bytes, at most {max} are allowed")]
    TooLong {
        /// Its length.
        found: usize,
        /// The most.
        max: usize,
    },
    /// The clock shows a time from which nothing can be valid for ten minutes.
    #[error("the clock is at the end of time")]
    Clock,
    /// This wallet has signed no such transaction.
    #[error("transaction {0} is not this wallet's")]
    Unknown(TransactionId),
}

impl From<rusqlite::Error> for WalletError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Store(error.into())
    }
}

/// What an agent did wrong. Nothing of such an answer is kept, but the evidence of a fork.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum AgentFault {
    /// The zone file has no address for it.
    #[error("it has no address")]
    NoAddress,
    /// Its address cannot be resolved.
    #[error("address {address}: {reason}")]
    Address {
        /// As the zone file has it.
        address: String,
        /// What is wrong.
        reason: String,
    },
    /// It could not be reached, or the connection failed.
    #[error(transparent)]
    Mesh(#[from] MeshError),
    /// It did not answer in time.
    #[error("no answer within {0:?}")]
    Silent(Duration),
    /// The answer is not in the ledger's language.
    #[error(transparent)]
    Malformed(#[from] DecodeError),
    /// The answer is to another question.
    #[error("it answered another question")]
    OtherAnswer,
    /// It has no block yet.
    #[error("it has no block yet")]
    NoBlock,
    /// It refuses; the reason is its own, cut to 200 characters.
    #[error("it refuses: {0}")]
    Refused(String),
    /// Certificate or proofs do not hold, or are too old.
    #[error(transparent)]
    Answer(ReplicaError),
    /// It proves nothing about an account that this node has seen proven.
    #[error("it withholds the account")]
    Withheld,
    /// What it says as the seller of a contract does not hold.
    #[error(transparent)]
    Sale(Box<ohmesh_contract::Refused>),
    /// It says that another transaction was applied under this id.
    #[error("it says that content {0} was applied under this id")]
    OtherContent(Hash),
}

/// Why a node cannot do what it was asked for.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NodeError {
    /// The replica failed.
    #[error(transparent)]
    Replica(Box<ReplicaError>),
    /// The wallet failed.
    #[error(transparent)]
    Wallet(#[from] WalletError),
    /// The builder was given no endpoint.
    #[error("a node needs an endpoint")]
    NoEndpoint,
    /// The operating system gave no randomness.
    #[error("no randomness from the system: {0}")]
    Random(String),
    /// Two operators whose word was to be an anchor gave none together.
    #[error("no anchor: {reason}")]
    Operators {
        /// Why not.
        reason: String,
    },
    /// No agent gave an answer that holds; events name each.
    #[error("none of {asked} agents gave an answer that holds")]
    NoAgent {
        /// How many were asked.
        asked: usize,
    },
}

impl From<ReplicaError> for NodeError {
    fn from(error: ReplicaError) -> Self {
        Self::Replica(Box::new(error))
    }
}

impl From<StoreError> for NodeError {
    fn from(error: StoreError) -> Self {
        ReplicaError::from(error).into()
    }
}
