//! A file of records, each bound to its place in it, that tells a torn end from damage.
//!
//! The file begins with eight fixed bytes and the seed it belongs to, so that a log of another zone is not taken for a torn
//! one. A frame is `length (u32, big-endian) | check (32 bytes) | payload`, the check being a hash of the seed, the offset and the
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
    /// What errors call it.
    file: &'static str,
    /// What the disk calls it.
    name: String,
    seed: Hash,
    length: u64,
    /// The frame in the making: room for its head, then what was collected. Empty if nothing was.
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
    /// Opens a log and gives every frame's payload with its place. `seed` is hashed into every frame, so that a log
    /// of another zone does not open. An unfinished last frame is cut off.
    pub fn open(disk: &mut dyn Disk, file: &'static str, seed: Hash) -> Result<(Self, Vec<Frame>), LogError> {
        let mut frames = Vec::new();
        let log = Self::open_each(disk, file, file, seed, |_, extent, payload| {
            frames.push((extent, payload.to_vec()));
            Ok::<(), LogError>(())
        })?;
        Ok((log, frames))
    }

    /// As [`RecordLog::open`], for the file `name`; `each` is given one frame after the other, so that no more of a long
    /// log than 1 MiB and one frame is in memory. Its errors end the opening.
    pub fn open_each<E: From<LogError>>(
        disk: &mut dyn Disk,
        file: &'static str,
        name: &str,
        seed: Hash,
        mut each: impl FnMut(&mut dyn Disk, Extent, &[u8]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let failed = |error| LogError::Disk { file, error };
        let whole = disk.length(name).map_err(failed)?;
        let mut log = Self { file, name: name.to_owned(), seed, length: HEADER as u64, waiting: Vec::new() };
        let mut window = Window { name, whole, start: 0, bytes: Vec::new() };
        let is_new = whole < HEADER as u64 || {
            let header = window.part(disk, 0, HEADER).map_err(failed)?;
            whole == HEADER as u64 && header.iter().all(|byte| *byte == 0)
        };
        if is_new {
            // A new file, or one that a crash left before anything in it was acknowledged: too short, or grown and not yet
            // written.
            disk.truncate(name, 0).map_err(failed)?;
            disk.append(name, &[&MAGIC[..], &seed.0].concat()).map_err(failed)?;
            disk.sync(name).map_err(failed)?;
            return Ok(log);
        }
        let header = window.part(disk, 0, HEADER).map_err(failed)?;
        if header[..MAGIC.len()] != MAGIC[..] {
            return Err(LogError::Damaged { file, offset: 0 }.into());
        }
        if header[MAGIC.len()..] != seed.0 {
            return Err(LogError::OtherZone { file }.into());
        }
        while log.length < whole {
            let left = usize::try_from(whole - log.length).unwrap_or(usize::MAX);
            let head = window.part(disk, log.length, left.min(HEAD)).map_err(failed)?;
            let frame = match head.split_first_chunk::<4>() {
                Some((length, _)) => HEAD.saturating_add(u32::from_be_bytes(*length) as usize),
                None => usize::MAX,
            };
            let whole_frame = if frame <= left {
                let bytes = window.part(disk, log.length, frame).map_err(failed)?;
                whole_frame(seed, log.length, bytes)
            } else {
                None
            };
            let Some(payload) = whole_frame else {
                let rest = disk.read_at(name, log.length, left).map_err(failed)?;
                if !log.has_frame_after(&rest) {
                    disk.truncate(name, log.length).map_err(failed)?;
                    break;
                }
                return Err(LogError::Damaged { file, offset: log.length }.into());
            };
            let extent = Extent { offset: log.length + HEAD as u64, length: payload.len() };
            each(disk, extent, payload)?;
            log.length += frame as u64;
        }
        // A process that was killed may have left frames that the disk does not have yet; what is done on their word must
        // not be lost by a power cut.
        disk.sync(name).map_err(failed)?;
        Ok(log)
    }

    /// Collects one record for the next frame.
    pub fn push(&mut self, record: &[u8]) {
        let length = u32::try_from(record.len()).expect("records are bounded far below 4 GiB");
        if self.waiting.is_empty() {
            self.waiting.resize(HEAD, 0);
        }
        self.waiting.extend_from_slice(&length.to_be_bytes());
        self.waiting.extend_from_slice(record);
    }

    /// Writes what was collected as one frame and returns when it is durable; where its payload lies, if there was any.
    pub fn sync(&mut self, disk: &mut dyn Disk) -> Result<Option<Extent>, LogError> {
        let extent = self.write(disk)?;
        if extent.is_some() {
            self.flush(disk)?;
        }
        Ok(extent)
    }

    /// Writes what was collected as one frame that is not durable before the next [`RecordLog::flush`].
    pub fn write(&mut self, disk: &mut dyn Disk) -> Result<Option<Extent>, LogError> {
        if self.waiting.is_empty() {
            return Ok(None);
        }
        let mut frame = std::mem::take(&mut self.waiting);
        let (head, payload) = frame.split_at_mut(HEAD);
        let length = u32::try_from(payload.len()).expect("frames are bounded far below 4 GiB");
        head[..4].copy_from_slice(&length.to_be_bytes());
        head[4..].copy_from_slice(&check(self.seed, self.length, payload).0);
        let extent = Extent { offset: self.length + HEAD as u64, length: payload.len() };
        disk.append(&self.name, &frame).map_err(|error| LogError::Disk { file: self.file, error })?;
        self.length += frame.len() as u64;
        Ok(Some(extent))
    }

    /// Returns when every frame is durable.
    pub fn flush(&mut self, disk: &mut dyn Disk) -> Result<(), LogError> {
        disk.sync(&self.name).map_err(|error| LogError::Disk { file: self.file, error })
    }

    /// The payload of a frame of this log, if it still matches its check.
    pub fn read(&self, disk: &dyn Disk, extent: Extent) -> Result<Vec<u8>, LogError> {
        Self::read_frame(disk, self.file, &self.name, self.seed, extent)
    }

    /// As [`RecordLog::read`], for the log in the file `name`, which is not opened: no more than the frame is read.
    pub fn read_frame(
        disk: &dyn Disk,
        file: &'static str,
        name: &str,
        seed: Hash,
        extent: Extent,
    ) -> Result<Vec<u8>, LogError> {
        let damaged = LogError::Damaged { file, offset: extent.offset };
        let Some(start) = extent.offset.checked_sub(HEAD as u64) else { return Err(damaged) };
        let read = disk.read_at(name, start, HEAD.saturating_add(extent.length));
        let mut bytes = read.map_err(|error| LogError::Disk { file, error })?;
        match whole_frame(seed, start, &bytes) {
            Some(payload) if payload.len() == extent.length => Ok(bytes.split_off(HEAD)),
            _ => Err(damaged),
        }
    }

    /// Bytes of the whole file.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Forgets what was collected and not written.
    pub fn discard(&mut self) {
        self.waiting.clear();
    }

    /// Forgets everything, durably.
    pub fn reset(&mut self, disk: &mut dyn Disk) -> Result<(), LogError> {
        let failed = |error| LogError::Disk { file: self.file, error };
        disk.truncate(&self.name, HEADER as u64).map_err(failed)?;
        self.waiting.clear();
        self.length = HEADER as u64;
        Ok(())
    }

    /// Whether a whole frame lies behind the bad one at the front of `rest`: then the bad one was acknowledged once, as
    /// each is before the next is written. A crash may leave any sectors of the last one, in any order.
    fn has_frame_after(&self, rest: &[u8]) -> bool {
        let mut hashed = 0;
        (1..rest.len()).any(|at| {
            let bytes = &rest[at..];
            let claimed = bytes.split_first_chunk::<4>().map_or(0, |(length, _)| u32::from_be_bytes(*length));
            if (claimed as usize).saturating_add(HEAD) <= bytes.len() {
                hashed += claimed as usize;
            }
            // Somebody may have laid out a block so that all of it looks like the beginnings of frames: rather than search
            // for hours or forget what may have been acknowledged, the log does not open.
            hashed > SEARCH_BYTES_MAX || whole_frame(self.seed, self.length + at as u64, bytes).is_some()
        })
    }
}

/// The payload of the whole frame at the front of `bytes`, which lie at `offset` of a log, if there is one.
fn whole_frame(seed: Hash, offset: u64, bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    let (stated, rest) = rest.split_first_chunk::<32>()?;
    let payload = rest.get(..usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
    (check(seed, offset, payload).0 == *stated && !payload.is_empty()).then_some(payload)
}

/// Binds a payload to its log and its place in it.
fn check(seed: Hash, offset: u64, payload: &[u8]) -> Hash {
    const FRAME: Domain = Domain::new("ohmesh/1 log frame");
    FRAME.hash(&[&seed.0, &offset.to_be_bytes(), payload])
}

/// Part of a file, read ahead.
struct Window<'n> {
    name: &'n str,
    whole: u64,
    start: u64,
    bytes: Vec<u8>,
}

impl Window<'_> {
    /// The `length` bytes at `offset`, which must be within the file.
    fn part(&mut self, disk: &dyn Disk, offset: u64, length: usize) -> io::Result<&[u8]> {
        let held = offset.checked_sub(self.start).and_then(|at| usize::try_from(at).ok());
        let held = held.filter(|at| at.checked_add(length).is_some_and(|past| past <= self.bytes.len()));
        let at = match held {
            Some(at) => at,
            None => {
                let left = usize::try_from(self.whole - offset).unwrap_or(usize::MAX);
                self.bytes = disk.read_at(self.name, offset, length.max(WINDOW).min(left))?;
                self.start = offset;
                0
            }
        };
        self.bytes.get(at..at + length).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

/// Bytes that are hashed in the search for a whole frame behind a bad one at most.
const SEARCH_BYTES_MAX: usize = 1 << 28;
/// Bytes that opening reads at a time.
const WINDOW: usize = 1 << 20;
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
                _ => assert!(matches!(found, Err(LogError::Damaged { .. })), "byte {at}: {found:?}"),
            }
        }
    }

    #[test]
    fn a_last_frame_of_which_the_disk_has_any_sectors_is_cut_off() {
        let long: Vec<u8> = (0..4_000u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        for lead in 470..=512 {
            let mut disk = Memory::default();
            let (mut log, _) = RecordLog::open(&mut disk, FILE, Hash::ZERO).unwrap();
            log.push(&vec![1; lead - HEADER - HEAD - 4]);
            log.sync(&mut disk).unwrap();
            log.push(&long);
            log.sync(&mut disk).unwrap();
            let whole = disk.read(FILE).unwrap();
            for lost in 0..whole.len().div_ceil(512) {
                let from = (lost * 512).max(lead);
                let to = ((lost + 1) * 512).min(whole.len());
                if from >= to || whole[from..to].iter().all(|byte| *byte == 0) {
                    continue;
                }
                disk.edit(FILE, |bytes| {
                    *bytes = whole.clone();
                    bytes[from..to].fill(0);
                });
                let found = records(&mut disk).unwrap();
                assert_eq!(found.len(), 1, "head at {lead}, sector {lost} lost");
            }
        }
    }

    #[test]
    fn zeros_where_a_frame_was_acknowledged_are_damage() {
        let mut disk = written();
        disk.edit(FILE, |bytes| bytes[HEADER..HEADER + HEAD + 7].fill(0));
        assert!(matches!(records(&mut disk), Err(LogError::Damaged { .. })));
        let mut grown = Memory::default();
        grown.edit(FILE, |bytes| bytes.resize(HEADER, 0));
        assert!(records(&mut grown).unwrap().is_empty(), "a header that was never written");
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
