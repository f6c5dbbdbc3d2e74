//! Which snapshots and which parts of the block log are on disk: one small file, replaced as a whole, so that a crash
//! leaves either what was before or what is after, and never a snapshot that is only half there.

use crate::{disk::Disk, record_log::LogError};
use ohmesh_units::{Canonical, Domain, Hash, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What an agent keeps of its past, beside the hand-overs, which it keeps for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Keep {
    /// After how many blocks it writes a snapshot; 0: never, and then every block is kept.
    pub snapshot_blocks: u64,
    /// How long it keeps decided blocks, in block time; those after the older one of its two snapshots it keeps anyway.
    pub blocks_for: Duration,
}

impl Default for Keep {
    /// A snapshot some times a day, and blocks for 30 days.
    fn default() -> Self {
        Self { snapshot_blocks: 10_000, blocks_for: Duration::from_secs(30 * 24 * 3600) }
    }
}

/// What is on disk.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kept {
    /// Heights of whole snapshots, ascending; at most [`SNAPSHOTS_MAX`].
    pub(super) snapshots: Vec<u64>,
    /// The height of a snapshot that is being written, or fetched from peers.
    pub(super) partial: Option<u64>,
    /// The segments of the block log that grow no more, ascending.
    pub(super) closed: Vec<Segment>,
    /// The first height of the one that grows.
    pub(super) open: u64,
}

/// Part of the block log in a file of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Segment {
    pub(super) first: u64,
    pub(super) last: u64,
    /// The time of the last block.
    pub(super) time: Timestamp,
}

impl Kept {
    pub(super) fn open(disk: &dyn Disk) -> Result<Self, LogError> {
        let bytes = disk.read(FILE).map_err(|error| LogError::Disk { file: FILE, error })?;
        if bytes.is_empty() {
            return Ok(Self { snapshots: Vec::new(), partial: None, closed: Vec::new(), open: 1 });
        }
        let damaged = LogError::Damaged { file: FILE, offset: 0 };
        match bytes.split_last_chunk::<32>() {
            Some((encoded, check)) if checked(encoded).0 == *check => {
                Self::decode(encoded).map_err(|_| damaged)
            }
            _ => Err(damaged),
        }
    }

    /// Durable when this returns.
    pub(super) fn write(&self, disk: &mut dyn Disk) -> Result<(), LogError> {
        let encoded = self.encode();
        let bytes = [&encoded[..], &checked(&encoded).0].concat();
        disk.replace(FILE, &bytes).map_err(|error| LogError::Disk { file: FILE, error })
    }

    /// The height below which blocks are needed no more once they are old: that of the older snapshot.
    pub(super) fn covered(&self) -> u64 {
        if self.snapshots.len() < SNAPSHOTS_MAX { 0 } else { self.snapshots[0] }
    }
}

impl Canonical for Kept {
    const NAME: &'static str = "index of snapshots and blocks";
    /// A segment for each snapshot of some decades.
    const MAX_BYTES: usize = 16 << 20;
}

/// What follows the index in its file: files are removed on its word, so a bit of it that has changed must not be believed.
fn checked(encoded: &[u8]) -> Hash {
    const INDEX: Domain = Domain::new("ohmesh/1 chain index");
    INDEX.hash(&[encoded])
}

/// Snapshots that are kept: the newest, and one before it for the day when the newest does not read.
pub(super) const SNAPSHOTS_MAX: usize = 2;
/// The file.
const FILE: &str = "chain.index";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Memory;

    #[test]
    fn an_index_of_which_a_bit_has_changed_is_not_believed() {
        let mut disk = Memory::default();
        let segment = Segment { first: 1, last: 6, time: Timestamp::from_millis(1) };
        let kept = Kept { snapshots: vec![4], partial: None, closed: vec![segment], open: 7 };
        kept.write(&mut disk).unwrap();
        assert_eq!(Kept::open(&disk).unwrap(), kept);
        let bytes = disk.read(FILE).unwrap();
        for bit in 0..bytes.len() * 8 {
            disk.edit(FILE, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            let found = Kept::open(&disk);
            assert!(matches!(found, Err(LogError::Damaged { file: FILE, .. })), "bit {bit}: {found:?}");
            disk.edit(FILE, |changed| changed.clone_from(&bytes));
        }
    }
}
