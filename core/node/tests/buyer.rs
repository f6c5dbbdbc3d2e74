//! A phone that buys from agents that follow the ledger, on virtual time: from the need to the receipt.

#![allow(clippy::unwrap_used)]
#![allow(clippy::result_large_err, reason = "tests compare errors by value")]

#[path = "buyer/agents.rs"]
mod agents;
#[path = "buyer/market.rs"]
mod market;
#[path = "buyer/purchases.rs"]
mod purchases;
