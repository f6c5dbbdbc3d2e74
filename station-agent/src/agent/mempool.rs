//! Transactions that wait for a block.

use ohmesh_ledger::{Block, SignedTransaction, TransactionError, Verified};
use ohmesh_units::{Canonical, Timestamp, TransactionId};
use std::collections::{BTreeMap, VecDeque};

/// Checked transactions in the order of their arrival, bounded in number and bytes.
#[derive(Default)]
pub struct Mempool {
    waiting: BTreeMap<u64, Verified>,
    order: BTreeMap<TransactionId, u64>,
    arrivals: u64,
    bytes: usize,
    /// Why the newest refused ones were refused, so that their senders can be told.
    refused: VecDeque<(TransactionId, TransactionError)>,
}

impl Mempool {
    /// Transactions at most: four full blocks.
    pub const MAX: usize = 4 * Block::TRANSACTIONS_MAX;
    /// Bytes at most.
    pub const BYTES_MAX: usize = 4 * Block::MAX_BYTES;
    /// Refused ones that are remembered.
    pub const REFUSED_MAX: usize = 1_000;

    /// Takes a transaction; whether it is new and there was room.
    pub fn insert(&mut self, verified: Verified) -> bool {
        let id = verified.transaction().id();
        let size = verified.signed().encode().len();
        if self.order.contains_key(&id)
            || self.waiting.len() >= Self::MAX
            || self.bytes + size > Self::BYTES_MAX
        {
            return false;
        }
        self.order.insert(id, self.arrivals);
        self.waiting.insert(self.arrivals, verified);
        self.arrivals += 1;
        self.bytes += size;
        true
    }

    /// Whether this very content waits.
    pub fn holds(&self, verified: &Verified) -> bool {
        let id = verified.transaction().id();
        let waiting = self.order.get(&id).and_then(|at| self.waiting.get(at));
        waiting.is_some_and(|other| other.content() == verified.content())
    }

    /// The waiting transaction with the id of `signed`, whose signatures have been checked.
    pub fn known(&self, signed: &SignedTransaction) -> Option<&Verified> {
        self.order.get(&signed.transaction.id()).and_then(|at| self.waiting.get(at))
    }

    /// Whether a transaction of this id waits.
    pub fn holds_id(&self, id: &TransactionId) -> bool {
        self.order.contains_key(id)
    }

    /// In the order of their arrival.
    pub fn candidates(&self) -> impl Iterator<Item = &Verified> {
        self.waiting.values()
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Drops one that cannot apply, and remembers why.
    pub fn refuse(&mut self, id: &TransactionId, reason: TransactionError) {
        self.remove(id);
        if self.refused.len() == Self::REFUSED_MAX {
            self.refused.pop_front();
        }
        self.refused.push_back((*id, reason));
    }

    /// Why a transaction was refused, if that is still remembered.
    pub fn refusal(&self, id: &TransactionId) -> Option<&TransactionError> {
        self.refused.iter().rev().find(|(refused, _)| refused == id).map(|(_, reason)| reason)
    }

    /// Drops those of a decided block, and those whose time is over.
    pub fn applied(&mut self, block: &Block, now: Timestamp) {
        for signed in &block.transactions {
            self.remove(&signed.transaction.id());
        }
        let over: Vec<(TransactionId, Timestamp)> = self
            .waiting
            .values()
            .map(|waiting| (waiting.transaction().id(), waiting.transaction().valid_until))
            .filter(|(_, valid_until)| *valid_until <= now)
            .collect();
        for (id, valid_until) in over {
            self.refuse(&id, TransactionError::Expired { valid_until, now });
        }
    }

    fn remove(&mut self, id: &TransactionId) {
        if let Some(gone) = self.order.remove(id).and_then(|at| self.waiting.remove(&at)) {
            self.bytes -= gone.signed().encode().len();
        }
    }
}
