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
    /// Reads the index; that of a folder in which there is nothing yet, if there is no file.
    pub(super) fn open(disk: &dyn Disk) -> Result<Self, LogError> {
        let bytes = disk.read(FILE).map_err(|error| LogError::Disk { file: FILE, error })?;
        if bytes.is_empty() {
            return Ok(Self { snapshots: Vec::new(), partial: None, closed: Vec::new(), open: 1 });
        }
        let (encoded, check) = bytes.split_last_chunk::<32>().ok_or(DAMAGED)?;
        if checked(encoded).0 != *check {
            return Err(DAMAGED);
        }
        let kept = Self::decode(encoded).map_err(|_| DAMAGED)?;
        if kept.is_joined() { Ok(kept) } else { Err(DAMAGED) }
    }

    /// Whether each segment begins where the one before it ends, the one that grows included, and snapshots ascend. Files
    /// are removed on the word of this index, and one that says otherwise is not one that an agent has written.
    fn is_joined(&self) -> bool {
        let mut next = self.closed.first().map_or(self.open, |segment| segment.first);
        let is_next = |segment: &Segment| {
            let joins = segment.first == next && segment.first <= segment.last;
            next = segment.last.saturating_add(1);
            joins
        };
        let joins = self.closed.iter().all(is_next);
        joins
            && next == self.open
            && self.closed.is_sorted_by(|one, later| one.time <= later.time)
            && self.snapshots.len() <= SNAPSHOTS_MAX
            && self.snapshots.is_sorted_by(|one, later| one < later)
            && self.partial.is_none_or(|partial| !self.snapshots.contains(&partial))
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

/// What is said of an index that cannot be believed.
const DAMAGED: LogError = LogError::Damaged { file: FILE, offset: 0 };
/// Snapshots that are kept: the newest, and one before it for the day when the newest does not read.
pub(super) const SNAPSHOTS_MAX: usize = 2;
/// The file.
const FILE: &str = "chain.index";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Memory;

    #[test]
    fn an_index_whose_parts_do_not_join_is_not_believed() {
        let segment = |first, last| Segment { first, last, time: Timestamp::from_millis(last) };
        let good = Kept {
            snapshots: vec![8, 12],
            partial: Some(16),
            closed: vec![segment(5, 8), segment(9, 12)],
            open: 13,
        };
        let mut disk = Memory::default();
        let mut opens = |change: &dyn Fn(&mut Kept)| {
            let mut kept = good.clone();
            change(&mut kept);
            kept.write(&mut disk).unwrap();
            match Kept::open(&disk) {
                Ok(found) => {
                    assert_eq!(found, kept);
                    true
                }
                Err(LogError::Damaged { file: FILE, .. }) => false,
                Err(other) => panic!("{other}"),
            }
        };
        assert!(opens(&|_| ()) && opens(&|kept| kept.snapshots.clear()));
        assert!(opens(&|kept| kept.closed = kept.closed.split_off(1)), "the oldest has gone");
        assert!(!opens(&|kept| kept.closed.truncate(1)), "a gap before the open one");
        assert!(!opens(&|kept| kept.closed[0].last = 7), "a gap");
        assert!(!opens(&|kept| kept.closed[1].first = 8), "an overlap");
        assert!(!opens(&|kept| kept.closed[0].first = 9), "an end before the beginning");
        assert!(!opens(&|kept| kept.open = 12) && !opens(&|kept| kept.open = 14));
        assert!(!opens(&|kept| kept.closed.swap(0, 1)));
        assert!(!opens(&|kept| kept.closed[1].last = u64::MAX));
        assert!(!opens(&|kept| kept.closed[0].time = Timestamp::from_millis(99)), "times go back");
        assert!(!opens(&|kept| kept.snapshots = vec![12, 8]) && !opens(&|kept| kept.snapshots = vec![8, 8]));
        assert!(!opens(&|kept| kept.snapshots = vec![4, 8, 12]), "more than are kept");
        assert!(!opens(&|kept| kept.partial = Some(12)), "both whole and in the making");
    }

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
