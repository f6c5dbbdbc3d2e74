//! What an operator of charging stations runs: an agent of the zone's committee, and the commands around it.
//!
//! What it is: a library with a thin binary. The agent executes blocks, votes, keeps its logs, and answers phones and other
//! agents over QUIC. `station-agent demo` shows all of it on one machine.
//!
//! What it never does: decide in a task. [`agent::Agent`] is a machine that takes events and gives effects; [`daemon`] moves
//! bytes and waits. Nothing that was acknowledged depends on memory: a vote leaves after its record is on disk, a block is
//! told after it is on disk.
//!
//! How data moves:
//!
//! ```text
//!  phones --QUIC: Query--> daemon --> Agent::answer --> Answer with proofs
//!  agents --QUIC: Wire---> daemon --> Agent::handle --> committee --> actions --> Disk, effects
//!                                         |                                         |
//!                                      ledger::State  <---- decided blocks ---------+
//!  agent.toml + OHMESH_* + flags --> config      zone.toml --> ZoneFile      agent.key --> SigningKey
//! ```
//!
//! On disk, in `data_dir`: `blocks.log` and `blocks-<height>.log` (decided blocks with certificates), `snapshot-<height>.log`
//! (the whole state after some blocks, the newest two), `chain.index` (which of both there are), `hand-overs.log` (how the
//! zone passed from epoch to epoch, for ever), `wal.log` (what was said at the height that is being decided), `vote.keys`
//! (the keys it votes with), `evidence.log` (proof against validators that the ledger does not have yet),
//! `heights-<height>.index` (where the blocks of a closed part of the log lie), `lock` (one process at a time). A restart
//! takes the newest snapshot that reads and executes the blocks after it; an agent that lost its folder fetches a snapshot
//! from its peers. It has lost its vote key with the folder, and votes again when the next epoch has begun.

#![deny(missing_docs)]

pub mod agent;
pub mod charging;
pub mod command;
pub mod config;
pub mod daemon;
pub mod demo;
pub mod disk;
pub mod export;
pub mod key_file;
pub mod record_log;
pub mod seller;
pub mod stations;
pub mod vote_keys;
pub mod wire;
pub mod zone_file;
