//! The whole house under test: agents, phones and the network between them in one process, by seed, on virtual time.
//!
//! What it is: [`Committee`], a zone whose agents run the same code as in production on a seeded network and disks in memory;
//! they can be killed, cut off, and started again. Scenarios are in `scenarios/`, benches in `benches/`, programs that others
//! wrote and that must understand ours in `peers/`; `tests/run` runs all of it.
//!
//! What it never does: wait for real time, or depend on it. A run is a function of its seed: the network's trace hash tells
//! two runs apart.
//!
//! How data moves:
//!
//! ```text
//!  seed --> SimNet (loss, delay, cuts)   SimClock (virtual time)   Memory (disks that lose what was not synced)
//!              |                             |                        |
//!              +------ Endpoint -------------+------- Daemon ---------+
//!                                                       |
//!  Client (a phone's questions) --QUIC--> Daemon      status: newest block of each agent
//! ```

#![allow(clippy::unwrap_used, reason = "a simulation that cannot be set up has failed")]

mod committee;
pub mod power_cut;
pub mod simulation;
pub mod zone;

pub use committee::{Client, Committee, simulate};
pub use zone::{account, key};
