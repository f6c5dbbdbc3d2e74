//! A file of records, each bound to all before it, that tells a torn end from damage.
//!
//! The file begins with eight fixed bytes and the seed it belongs to, so that a log of another zone is not taken for a torn
//! one. A frame is `length (u32, big-endian) | check (32 bytes) | payload`, the check being a hash of the frame before it and the
//! payload. Records collected by [`RecordLog::push`] are written as one frame by [`RecordLog::sync`], which returns when
//! they are durable.
//!
//! A crash can leave only the last frame unfinished: it was never acknowledged, and is cut off. A bad frame with more
//! behind it is damage: the log refuses to open rather than forget what was acknowledged.

use crate::disk::Disk;
use ohmesh_units::{Domain, Hash};
use std::io;

/// Why a log cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk failed. What was not yet acknowledged may be lost; the agent stops.
    #[error("{file}: {error}")]
    Disk {
        /// The file.
        file: &'static str,
        /// What the operating system says.
        error: io::Error,
    },
    /// The log belongs to another zone.
    #[error("{file} belongs to another zone")]
    OtherZone {
        /// The file.
        file: &'static str,
    },
    /// A frame that was once durable no longer reads as it was written.
    #[error("{file} is damaged at byte {offset}")]
    Damaged {
        /// The file.
        file: &'static str,
        /// Where the bad frame begins.
        offset: u64,
    },
}

/// An open log.
pub struct RecordLog {
    file: &'static str,
    seed: Hash,
    check: Hash,
    length: u64,
    waiting: Vec<u8>,
}

/// A frame's payload and its place in the file.
pub type Frame = (Extent, Vec<u8>);

/// Where a frame's payload lies in the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Extent {
    /// Bytes from the start of the file.
    pub offset: u64,
    /// Bytes of the payload.
    pub length: usize,
}

impl RecordLog {
    /// Opens a log and gives every frame's payload with its place. `seed` is hashed into the first frame, so that a log
    /// of another zone does not open. An unfinished last frame is cut off.
    pub fn open(disk: &mut dyn Disk, file: &'static str, seed: Hash) -> Result<(Self, Vec<Frame>), LogError> {
        let failed = |error| LogError::Disk { file, error };
        let bytes = disk.read(file).map_err(failed)?;
        let mut log = Self { file, seed, check: seed, length: HEADER as u64, waiting: Vec::new() };
        let mut frames = Vec::new();
        if bytes.len() < HEADER {
            // A new file, or one that a crash left before anything in it was acknowledged.
            disk.truncate(file, 0).map_err(failed)?;
            disk.append(file, &[&MAGIC[..], &seed.0].concat()).map_err(failed)?;
            disk.sync(file).map_err(failed)?;
            return Ok((log, frames));
        }
        if bytes[..MAGIC.len()] != MAGIC[..] {
            return Err(LogError::Damaged { file, offset: 0 });
        }
        if bytes[MAGIC.len()..HEADER] != seed.0 {
            return Err(LogError::OtherZone { file });
        }
        let mut at = HEADER;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let Some((payload, check)) = log.frame(rest) else {
                if is_torn(rest) {
                    disk.truncate(file, log.length).map_err(failed)?;
                    break;
                }
                return Err(LogError::Damaged { file, offset: log.length });
            };
            frames
                .push((Extent { offset: log.length + HEAD as u64, length: payload.len() }, payload.to_vec()));
            log.check = check;
            at += HEAD + payload.len();
            log.length = at as u64;
        }
        Ok((log, frames))
    }

    /// Collects one record for the next frame.
    pub fn push(&mut self, record: &[u8]) {
        let length = u32::try_from(record.len()).expect("records are bounded far below 4 GiB");
        self.waiting.extend_from_slice(&length.to_be_bytes());
        self.waiting.extend_from_slice(record);
    }

    /// Writes what was collected as one frame and returns when it is durable; where its payload lies, if there was any.
    pub fn sync(&mut self, disk: &mut dyn Disk) -> Result<Option<Extent>, LogError> {
        if self.waiting.is_empty() {
            return Ok(None);
        }
        let payload = std::mem::take(&mut self.waiting);
        let check = self.next_check(&payload);
        let length = u32::try_from(payload.len()).expect("frames are bounded far below 4 GiB");
        let frame = [&length.to_be_bytes()[..], &check.0, &payload].concat();
        let failed = |error| LogError::Disk { file: self.file, error };
        disk.append(self.file, &frame).map_err(failed)?;
        disk.sync(self.file).map_err(failed)?;
        let extent = Extent { offset: self.length + HEAD as u64, length: payload.len() };
        self.check = check;
        self.length += frame.len() as u64;
        Ok(Some(extent))
    }

    /// Forgets everything, durably.
    pub fn reset(&mut self, disk: &mut dyn Disk) -> Result<(), LogError> {
        let failed = |error| LogError::Disk { file: self.file, error };
        disk.truncate(self.file, HEADER as u64).map_err(failed)?;
        self.waiting.clear();
        self.check = self.seed;
        self.length = HEADER as u64;
        Ok(())
    }

    /// The whole frame at the front of `bytes`, if there is one.
    fn frame<'b>(&self, bytes: &'b [u8]) -> Option<(&'b [u8], Hash)> {
        let (length, rest) = bytes.split_first_chunk::<4>()?;
        let (check, rest) = rest.split_first_chunk::<32>()?;
        let payload = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        let expected = self.next_check(payload);
        (expected.0 == *check && !payload.is_empty()).then_some((payload, expected))
    }

    fn next_check(&self, payload: &[u8]) -> Hash {
        const FRAME: Domain = Domain::new("ohmesh/1 log frame");
        FRAME.hash(&[&self.check.0, payload])
    }
}

/// Whether a bad frame is what a crash leaves: it reaches to the end of the file or past it, or was never written over
/// the zeros that the file system had put there.
fn is_torn(rest: &[u8]) -> bool {
    let Some((length, _)) = rest.split_first_chunk::<4>() else { return true };
    let claimed = u32::from_be_bytes(*length) as usize;
    HEAD.saturating_add(claimed) >= rest.len() || rest.iter().take(HEAD).all(|byte| *byte == 0)
}

/// Length and check of a frame.
const HEAD: usize = 4 + 32;
/// What every log begins with, before its seed.
const MAGIC: &[u8; 8] = b"ohmlog 1";
const HEADER: usize = MAGIC.len() + 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::Memory;
    use ohmesh_units::Reader;

    const FILE: &str = "test.log";

    fn written() -> Memory {
        let mut disk = Memory::default();
        let (mut log, frames) = RecordLog::open(&mut disk, FILE, Hash::ZERO).unwrap();
        assert!(frames.is_empty());
        for record in [&b"one"[..], b"two", b"three"] {
            log.push(record);
            log.sync(&mut disk).unwrap();
        }
        disk
    }

    fn records(disk: &mut Memory) -> Result<Vec<Vec<u8>>, LogError> {
        let (_, frames) = RecordLog::open(disk, FILE, Hash::ZERO)?;
        Ok(frames.into_iter().map(|(_, payload)| Reader::new(&payload).record().unwrap().to_vec()).collect())
    }

    #[test]
    fn whatever_a_crash_leaves_of_the_last_frame_is_cut_off() {
        let whole = written().read(FILE).unwrap();
        let last = whole.len() - (HEAD + 4 + 5);
        for kept in last..whole.len() {
            let mut disk = written();
            disk.edit(FILE, |bytes| bytes.truncate(kept));
            assert_eq!(records(&mut disk).unwrap(), [&b"one"[..], b"two"], "{kept} bytes kept");
            assert_eq!(disk.read(FILE).unwrap().len(), last, "and the next frame goes where it was");
        }
        let mut disk = written();
        disk.edit(FILE, |bytes| bytes[last..].fill(0));
        assert_eq!(records(&mut disk).unwrap().len(), 2, "zeros of a file that grew before it was written");
    }

    #[test]
    fn damage_before_the_end_is_not_forgotten() {
        let whole = written().read(FILE).unwrap();
        let last = whole.len() - (HEAD + 4 + 5);
        for at in 0..last {
            let mut disk = written();
            disk.edit(FILE, |bytes| bytes[at] ^= 0x40);
            let found = records(&mut disk);
            match at {
                0..8 => assert!(matches!(found, Err(LogError::Damaged { offset: 0, .. })), "byte {at}"),
                8..HEADER => assert!(matches!(found, Err(LogError::OtherZone { .. })), "byte {at}"),
                // A length that reaches past the end looks torn; it is the one kind of damage that is not told apart.
                _ if (at - HEADER) % (HEAD + 7) < 4 => {
                    let cut = found.as_ref().is_ok_and(|records| records.len() < 2);
                    assert!(cut || matches!(found, Err(LogError::Damaged { .. })), "byte {at}");
                }
                _ => assert!(matches!(found, Err(LogError::Damaged { .. })), "byte {at}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_log_of_another_zone_does_not_open() {
        for kept in [HEADER, HEADER + HEAD + 7, usize::MAX] {
            let mut disk = written();
            disk.edit(FILE, |bytes| bytes.truncate(kept));
            let before = disk.read(FILE).unwrap();
            let other = RecordLog::open(&mut disk, FILE, Hash([1; 32]));
            assert!(matches!(other, Err(LogError::OtherZone { .. })), "{kept} bytes of another zone's");
            assert_eq!(disk.read(FILE).unwrap(), before, "and nothing is cut off");
        }
    }
}
