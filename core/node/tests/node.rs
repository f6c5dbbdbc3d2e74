//! A node from outside: what it believes, what it refuses, and what survives.

#![allow(clippy::unwrap_used)]
#![allow(clippy::result_large_err, reason = "tests compare errors by value")]

#[path = "node/agent.rs"]
mod agent;
#[path = "node/chain.rs"]
mod chain;
#[path = "node/epochs.rs"]
mod epochs;
#[path = "node/files.rs"]
mod files;
#[path = "node/lies.rs"]
mod lies;
#[path = "node/random.rs"]
mod random;
#[path = "node/replica.rs"]
mod replica;
#[path = "node/sync.rs"]
mod sync;
#[path = "node/tamper.rs"]
mod tamper;
#[path = "node/town.rs"]
mod town;
#[path = "node/wallet.rs"]
mod wallet;
