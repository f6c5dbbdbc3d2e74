//! Headers and blocks. A block's id is the hash of its header; the header binds the transactions and, after executing
//! them, the whole state.

use crate::{LedgerError, SignedTransaction, StateRoots, Verified, transaction::Encoded, tree};
use ohmesh_units::{BlockId, Canonical, Domain, Hash, Timestamp, ZoneId, append_postcard};
use serde::{Deserialize, Serialize};

/// What a certificate makes final, and all that a phone needs to check proofs against.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// The zone, so that no header serves two ledgers.
    pub zone: ZoneId,
    /// 1 for the first block; genesis has no block.
    pub height: u64,
    /// The epoch of the validators that certify it.
    pub epoch: u64,
    /// Ledger time: after the parent's.
    pub time: Timestamp,
    /// The block before; [`Hash::ZERO`] at height 1.
    pub parent: Hash,
    /// Who built it, by index in the validator set.
    pub proposer: u16,
    /// Root over the signed transactions, in order.
    pub transactions: Hash,
    /// How many transactions that root covers.
    pub transaction_count: u32,
    /// The state after this block.
    pub state: StateRoots,
    /// Hash of this epoch's [`Voters`](crate::Voters).
    pub voters: Hash,
    /// The rules by which it was executed.
    pub rules: u32,
    /// Hash of the next epoch's voters, if this is the last block of its epoch; a certificate for such a header hands
    /// the zone over to them.
    pub next_voters: Option<Hash>,
}

impl Header {
    /// The block's id.
    pub fn id(&self) -> BlockId {
        const BLOCK: Domain = Domain::new("ohmesh/1 block");
        BLOCK.hash(&[&self.encode()]).into()
    }
}

impl Canonical for Header {
    const NAME: &'static str = "header";
    const MAX_BYTES: usize = 640;
}

/// A header and the transactions it binds.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Block {
    /// The header.
    pub header: Header,
    /// The transactions, in order; at most [`Block::TRANSACTIONS_MAX`].
    pub transactions: Vec<SignedTransaction>,
}

impl Block {
    /// Transactions in a block at most: past it, latency grows and throughput does not (measured at 1,000 and 5,000).
    pub const TRANSACTIONS_MAX: usize = 5_000;

    /// The most that the transactions of a block may weigh together, in signature checks: about a second of one core.
    pub const WEIGHT_MAX: u32 = 20_000;
    /// Accounts that one block opens for nothing at most, where transactions cost something.
    pub const FREE_ACCOUNTS_MAX: u32 = 64;

    /// The block's id.
    pub fn id(&self) -> BlockId {
        self.header.id()
    }

    /// Checks that the header binds exactly these transactions.
    pub fn verify_transactions(&self) -> Result<(), LedgerError> {
        self.verify_leaves(&leaves_of(&self.transactions))
    }

    /// Checks that the header binds exactly the transactions of these leaves.
    pub(crate) fn verify_leaves(&self, leaves: &[Hash]) -> Result<(), LedgerError> {
        let count = u32::try_from(leaves.len()).ok();
        if leaves.len() > Self::TRANSACTIONS_MAX
            || count != Some(self.header.transaction_count)
            || tree::root_of(leaves) != self.header.transactions
        {
            return Err(LedgerError::Transactions { height: self.header.height });
        }
        Ok(())
    }

    /// The encoding of the block of this header and these transactions, which are not encoded again.
    pub(crate) fn encode_with(header: &Header, transactions: &[&Verified]) -> Vec<u8> {
        let length: usize = transactions.iter().map(|one| one.encoded().len()).sum();
        let mut bytes = Vec::with_capacity(Header::MAX_BYTES + 8 + length);
        bytes.push(Self::VERSION);
        // A sequence is its length and its items; an item within it has no version byte of its own.
        bytes = append_postcard(bytes, &(header, transactions.len()));
        for transaction in transactions {
            bytes.extend_from_slice(&transaction.encoded()[1..]);
        }
        bytes
    }
}

impl Canonical for Block {
    const NAME: &'static str = "block";
    const MAX_BYTES: usize = 4 << 20;
}

/// Root over signed transactions: signatures included, so that a block's id binds every byte of it.
pub fn transactions_root(transactions: &[SignedTransaction]) -> Hash {
    tree::root_of(&leaves_of(transactions))
}

fn leaves_of(transactions: &[SignedTransaction]) -> Vec<Hash> {
    transactions.iter().map(|signed| Encoded::leaf_of(&signed.encode())).collect()
}
