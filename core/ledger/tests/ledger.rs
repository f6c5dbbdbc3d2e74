//! The ledger from outside: what a committee, a phone and a cheat can do with it.

#![allow(clippy::unwrap_used)]

#[path = "ledger/attacks.rs"]
mod attacks;
#[path = "ledger/auctions.rs"]
mod auctions;
#[path = "ledger/bounds.rs"]
mod bounds;
#[path = "ledger/contracts.rs"]
mod contracts;
#[path = "ledger/failures.rs"]
mod failures;
#[path = "ledger/golden.rs"]
mod golden;
#[path = "ledger/governance.rs"]
mod governance;
#[path = "ledger/hand_overs.rs"]
mod hand_overs;
#[path = "ledger/journals.rs"]
mod journals;
#[path = "ledger/keys.rs"]
mod keys;
#[path = "ledger/machine.rs"]
mod machine;
#[path = "ledger/model.rs"]
mod model;
#[path = "ledger/random.rs"]
mod random;
#[path = "ledger/snapshots.rs"]
mod snapshots;
#[path = "ledger/town.rs"]
mod town;
