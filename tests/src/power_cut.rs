//! Power cuts: every state that a store's files may be in after one, built from a record of its writes and syncs.
//!
//! What it is: a [`Trace`] of what a program asked of its files, recorded either at our own [`Disk`](station_agent::disk::Disk)
//! ([`Recorder`]) or below the C library, where SQLite and a real folder can be seen ([`syscalls`]); and from it, for any
//! instant and [`Style`] of damage, the [`Image`] of the files that a disk may come back with. [`Town`] and [`Phone`] are the
//! workloads: agents that decide blocks, a phone that keeps proofs and signs; [`shop`] is a phone that buys, [`Sales`] an
//! agent that sells.
//!
//! What it never does: cut the power of a machine. A disk that acknowledges a flush and forgets it cannot be seen from
//! here; [`Trace::without_syncs`] plays one, to show that the checks would notice.
//!
//! How data moves:
//!
//! ```text
//!  Town, Sales -Disk-> Recorder -+                                   +--> reopen: readable? all acknowledged? goes on?
//!                                +--> Trace --cut, Style, seed--> Image                                        |
//!  Phone --SQLite--> recorder.c -+      ^                                                        Table <-------+
//!                                       '-- Acknowledged(n): n things had been said to somebody by then
//! ```
//!
//! The model of a disk: what was written to a file is durable once that file is synced, its name once the folder is
//! synced; until then each write may be there, not there, or there in part, by bytes or by sectors of 512, in any order,
//! and a file may have grown without what was written into it. Names come and go in order.

mod image;
mod phone;
mod purchases;
mod recorder;
mod sales;
pub mod syscalls;
mod table;
mod town;
mod trace;

pub use image::{Image, Style};
pub use phone::{Op, Phone, Seen, script};
pub use purchases::{Bought, open_purchases, shop};
pub use recorder::{Fault, Recorder};
pub use sales::{Outside, Sales};
pub use table::{Table, Verdict};
pub use town::{Promises, Told, Town, Word};
pub use trace::{FileId, Step, Trace};

use rand_chacha::ChaCha20Rng;
use rand_core::Rng;

/// A number below `end`, which is not zero. The slight bias of the remainder does not matter to a choice of faults.
pub fn below(rng: &mut ChaCha20Rng, end: usize) -> usize {
    let end = u64::try_from(end).expect("a usize has at most 64 bits");
    usize::try_from(rng.next_u64() % end).expect("below a usize")
}
