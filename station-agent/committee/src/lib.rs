//! The committee: how the station agents of a zone agree on the next block.
//!
//! What it is: a host for Malachite's consensus core (Tendermint: Buchman, Kwon, Milosevic, "The latest gossip on BFT
//! consensus", arXiv 1807.04938) as one function, [`Committee::handle`]: an [`Input`] goes in, [`Action`]s come out.
//! The votes, proposals and certificates are `ohmesh-ledger`'s, signed with `ohmesh-units`' one signature rule.
//!
//! What it never does: I/O. It has no socket, clock, timer, file or random source, and it does not know what is in a
//! block: the host builds blocks, executes them and says whether they are valid.
//!
//! How data moves:
//!
//! ```text
//!  peers -- Message --> Committee::handle -- Publish(Message) --> peers
//!  timers -- Elapsed -->      |           -- SetTimer, Cancel --> timers
//!                             |           -- Append, Sync ------> write-ahead log --+ after a crash
//!                             |           -- Build, Judge ------> ledger            |
//!  ledger -- Built, Judged ---^           -- Commit ------------> block log         |
//!  another's block log -- Certified ------^                                         |
//!  Committee::replay <--------------------------------------------------------------+
//! ```
//!
//! What the host owes:
//! 1. It performs actions one after the other, in order. `Sync` means: what was appended is on disk before anything that a
//!    later action sends leaves. So a vote leaves only after its record is durable. If the log fails, nothing leaves, and
//!    the host stops. A host that hands out what it sends after all actions are done may do several `Sync`s as one.
//! 2. Before it answers `Built`, or `Judged` for a valid block, it writes the block where the next `Sync` makes it durable.
//!    So a vote leaves only after its block is durable.
//! 3. `Commit` is durable before anything of it or after it is sent, and before [`Input::Start`] of the next height. The
//!    log's records of the height may go then, and those that are not on disk yet need not get there: of a decided height
//!    there is nothing left to remember. [`Pace`] says when the next height may start.
//! 4. At start it calls [`Committee::replay`] with the records and undecided blocks of the height after its last
//!    committed block, all of them. A host that may have lost any of them passes no key.
//!
//! What it costs: 137 bytes or so to each peer for each of the two votes of a height; a block is sent once, by its
//! proposer, and once more if its round takes long. One signature check for each vote and proposal received, one batch for
//! each certificate. Memory: at most [`BLOCKS_HELD`] undecided blocks and those of [`FUTURE_ROUNDS`] proposals ahead.
//!
//! ```
//! use ohmesh_committee::{Action, BlockBytes, Committee, Config, Input, Timeouts};
//! use ohmesh_ledger::{Validator, ValidatorSet};
//! use ohmesh_units::{Domain, SigningKey, ZoneId};
//!
//! let key = SigningKey::from_seed([7; 32]);
//! let alone = Validator { name: "alone".into(), key: key.public(), vote: key.public(), stake: 1, address: String::new() };
//! let config = Config {
//!     zone: ZoneId([1; 32]),
//!     epoch: 0,
//!     validators: ValidatorSet::new(vec![alone]).unwrap(),
//!     key: Some(key),
//!     timeouts: Timeouts::default(),
//!     identify: |bytes| Some(Domain::new("example block").hash(&[bytes]).into()),
//! };
//! let (mut committee, actions) = Committee::replay(config, 1, Vec::new(), Vec::new()).unwrap();
//! assert!(actions.iter().any(|action| matches!(action, Action::Build { height: 1, round: 0, .. })));
//! let bytes = BlockBytes::from(b"the first block".to_vec());
//! let block = Domain::new("example block").hash(&[&bytes]).into();
//! let actions = committee.handle(Input::Built { height: 1, round: 0, block, bytes });
//! assert!(actions.iter().any(|action| matches!(action, Action::Commit { height: 1, .. })), "one validator decides");
//! ```

#![deny(missing_docs)]
#![cfg_attr(not(test), deny(clippy::float_arithmetic))]

mod action;
mod committee;
mod config;
mod context;
mod message;
mod pace;
mod wal;

pub use action::{Action, CommitteeError, Input, Rejected, Timer, TimerKind};
pub use committee::{BLOCKS_HELD, Committee, FUTURE_ROUNDS, ROUNDS_AHEAD};
pub use config::{Config, Timeouts, identify_block};
pub use message::{BlockBytes, Body, Message, PolkaCertificate, RoundCertificate, RoundKind, RoundVote};
pub use ohmesh_ledger::Evidence;
pub use pace::Pace;
pub use wal::WalRecord;
