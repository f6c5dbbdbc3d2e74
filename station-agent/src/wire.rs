//! What agents send one another over the mesh.

use ohmesh_committee::Message;
use ohmesh_ledger::{Block, Certificate, SignedTransaction};
use ohmesh_units::Canonical;
use serde::{Deserialize, Serialize};

/// One message from agent to agent. Tags are never reused: append only.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Wire {
    /// For the committee.
    Committee(Message),
    /// Transactions that wait for a block; at most [`Wire::TRANSACTIONS_MAX`].
    Transactions(Vec<SignedTransaction>),
    /// A decided block, for an agent that still works on its height.
    Certified(Vec<u8>, Certificate),
}

impl Wire {
    /// Transactions in one message at most: their signatures are checked as one batch, and more are hardly checked faster.
    pub const TRANSACTIONS_MAX: usize = 1_024;
}

impl Canonical for Wire {
    const NAME: &'static str = "agent message";
    /// A block with its certificate, and what wraps it.
    const MAX_BYTES: usize = Block::MAX_BYTES + Certificate::MAX_BYTES + 4096;
}
