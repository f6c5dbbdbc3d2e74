//! Whole nodes by seed, on virtual time.

#![allow(clippy::unwrap_used)]

mod auction;
mod simulation;
mod whole_node;
