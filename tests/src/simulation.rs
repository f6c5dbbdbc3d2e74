//! Whole committees of agents by seed, on virtual time: real [`Agent`](station_agent::agent::Agent)s on a network, disks,
//! clocks and with neighbours that fail in every way the design has to survive.
//!
//! What it is: [`run`] takes a [`Scenario`] to its end and gives an [`Outcome`]. What leaves an honest agent is
//! checked there and then: each decided block against I1 to I5, I7 to I10 and I12, the money, auctions and contracts
//! of it by books that are kept from the blocks alone; when the faults have ended, every honest agent must gain
//! heights in a stated time. (I6 speaks of purses, which the ledger does not have yet; I11 is what two equal runs of
//! one seed show.) [`Study`] runs many, and compares each fault alone with a calm world of the same seeds.
//!
//! Some zones hold auctions and sell by contract, a night of hours or weeks included, so that claims and contracts run
//! out; to some, agents join with an empty disk and become validators; in some, disks are put back from old copies.
//!
//! What it never does: wait, or read a clock. A history is a function of its scenario, and its trace is a hash of
//! everything that was sent and written.
//!
//! ```text
//!  Scenario --> plan (when which machine fails) --+
//!  Workload, Market (what people want) -----------+--> World: a heap of happenings
//!  Network (lost, late, twice, cut) <---Wire------+      |  Host: Agent + SimDisk + clock + timers
//!  Liar (what a dishonest validator says) <-------+      v
//!                                                      Checker --> Outcome
//!                                                      Books (from blocks alone)
//! ```
//!
//! Messages are those of the daemon, encoded and decoded, but travel without QUIC, which would repeat what is lost: the
//! committee has to do without. `Committee` of this crate runs whole daemons over QUIC.

mod books;
mod checker;
mod dice;
mod disk;
mod host;
mod liar;
mod market;
mod network;
mod outcome;
mod plan;
mod scenario;
mod study;
mod workload;
mod world;

pub use books::BookCounts;
pub use dice::Dice;
pub use disk::{Cut, DiskCounts, SimDisk};
pub use network::NetworkCounts;
pub use outcome::{Outcome, Violation};
pub use scenario::{Fault, Scenario};
pub use study::{Comparison, Study};
pub use world::run;
