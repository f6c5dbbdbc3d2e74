//! The log of decided blocks, and where each lies. It is cut into segments, one for each snapshot, so that old ones can go.
//!
//! Where the blocks of the segment that grows lie is in memory. A segment that is closed has an index beside it, twelve bytes
//! for each block, so that whoever asks for an old block makes the agent read that block and nothing else. An index needs no
//! check of its own: a frame proves that it lies where it should, and its certificate names its height.

use super::{
    AgentError,
    hand_overs::HandOvers,
    kept::{Keep, Kept, Segment},
    perform::execute,
};
use crate::{
    disk::Disk,
    record_log::{Extent, LogError, RecordLog},
};
use ohmesh_ledger::{Block, Certificate, Header, State};
use ohmesh_units::{Canonical, Hash, Reader, Timestamp};
use std::io::ErrorKind;

/// Decided blocks with their certificates, by height.
pub struct BlockLog {
    seed: Hash,
    /// The segment that grows.
    open: Open,
}

struct Open {
    log: RecordLog,
    extents: Vec<Extent>,
}

/// The newest header with its certificate.
pub(super) type Certified = (Header, Certificate);

impl BlockLog {
    /// Opens the log and executes every block in it that comes after `state`. Each block's certificate is
    /// checked again: what is on disk is trusted no more than what comes from a peer. Hand-overs that a crash kept from
    /// their own log are kept now. A log that does not reach up to `state`, or begins after the block that follows it, is
    /// begun anew; whether that was so.
    pub(super) fn open(
        disk: &mut dyn Disk,
        kept: &mut Kept,
        state: &mut State,
        hand_overs: &mut HandOvers,
    ) -> Result<(Self, Option<Certified>, bool), AgentError> {
        let seed = Hash::from(*state.zone_id());
        let mut head = None;
        for segment in kept.closed.clone() {
            if segment.first > state.head().height + 1 {
                break;
            }
            if segment.last > state.head().height {
                let read = replay(disk, segment.first, (state, hand_overs), &mut head)?;
                if state.head().height != segment.last {
                    return Err(damaged(read.extents.last()));
                }
            }
        }
        for segment in &kept.closed {
            index(disk, seed, segment)?;
        }
        let is_joined = kept.open <= state.head().height + 1;
        if is_joined {
            let open = replay(disk, kept.open, (state, hand_overs), &mut head)?;
            if kept.open + open.extents.len() as u64 > state.head().height {
                return Ok((Self { seed, open }, head, false));
            }
        }
        let log = Self::begin_anew(disk, kept, seed, state.head().height + 1)?;
        Ok((log, head, true))
    }

    /// A log that begins at `first`, in place of all there was.
    pub(super) fn begin_anew(
        disk: &mut dyn Disk,
        kept: &mut Kept,
        seed: Hash,
        first: u64,
    ) -> Result<Self, AgentError> {
        let old: Vec<u64> = kept.closed.iter().map(|segment| segment.first).chain([kept.open]).collect();
        kept.closed.clear();
        kept.open = first;
        kept.write(disk)?;
        for gone in old {
            remove(disk, gone)?;
        }
        Ok(Self { seed, open: Open::new(disk, seed, first)? })
    }

    /// Appends the next block; durable when this returns.
    pub(super) fn append(
        &mut self,
        disk: &mut dyn Disk,
        bytes: &[u8],
        certificate: &Certificate,
    ) -> Result<(), AgentError> {
        self.open.log.push(bytes);
        self.open.log.push(&certificate.encode());
        let extent = self.open.log.sync(disk)?.expect("two records were pushed");
        self.open.extents.push(extent);
        Ok(())
    }

    /// Closes the segment that grows with the block of height `last`, and begins the next one. `kept` is the caller's to
    /// make durable, before anything is appended.
    pub(super) fn cut(&mut self, kept: &mut Kept, last: u64, time: Timestamp) {
        if kept.open <= last {
            kept.closed.push(Segment { first: kept.open, last, time });
            kept.open = last + 1;
        }
    }

    /// Goes on in the segment that [`BlockLog::cut`] began.
    pub(super) fn go_on(&mut self, disk: &mut dyn Disk, kept: &Kept) -> Result<(), AgentError> {
        if let Some(segment) = kept.closed.last() {
            write_index(disk, segment.first, &self.open.extents)?;
        }
        self.open = Open::new(disk, self.seed, kept.open)?;
        Ok(())
    }

    /// Removes segments that are covered by both snapshots and old enough.
    pub(super) fn forget(
        &mut self,
        disk: &mut dyn Disk,
        kept: &mut Kept,
        now: Timestamp,
        keep: &Keep,
    ) -> Result<(), AgentError> {
        let is_old = |segment: &&Segment| {
            let until = segment.time.checked_add(keep.blocks_for);
            segment.last <= kept.covered() && until.is_some_and(|until| until <= now)
        };
        let gone: Vec<u64> = kept.closed.iter().take_while(is_old).map(|segment| segment.first).collect();
        if gone.is_empty() {
            return Ok(());
        }
        kept.closed.drain(..gone.len());
        kept.write(disk)?;
        for first in gone {
            remove(disk, first)?;
        }
        Ok(())
    }

    /// The decided block of `height` with its certificate, if it is here and reads. No more than it is read.
    pub(super) fn block(
        &self,
        disk: &dyn Disk,
        kept: &Kept,
        height: u64,
    ) -> Result<Option<(Vec<u8>, Certificate)>, AgentError> {
        let (first, extent) = match height.checked_sub(kept.open) {
            Some(at) => {
                let at = usize::try_from(at).ok();
                (kept.open, at.and_then(|at| self.open.extents.get(at)).copied())
            }
            None => {
                let Some(segment) = kept.closed.iter().find(|one| (one.first..=one.last).contains(&height))
                else {
                    return Ok(None);
                };
                (segment.first, extent(disk, segment, height)?)
            }
        };
        let Some(extent) = extent.filter(|extent| extent.length <= FRAME_BYTES_MAX) else { return Ok(None) };
        match RecordLog::read_frame(disk, BLOCKS, &name(first), self.seed, extent) {
            Ok(payload) => Ok(parse(&payload).and_then(|(bytes, certificate)| {
                let certificate = certificate.ok().filter(|certificate| certificate.height == height)?;
                Some((bytes.to_vec(), certificate))
            })),
            // A block that does not read any more is one that is not here: whoever asked asks another agent.
            Err(LogError::Damaged { .. }) => Ok(None),
            Err(LogError::Disk { error, .. }) if is_missing(&error) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

impl Open {
    /// A segment that begins empty.
    fn new(disk: &mut dyn Disk, seed: Hash, first: u64) -> Result<Self, AgentError> {
        remove(disk, first)?;
        Self::read(disk, seed, first)
    }

    fn read(disk: &mut dyn Disk, seed: Hash, first: u64) -> Result<Self, AgentError> {
        let mut extents = Vec::new();
        let log = RecordLog::open_each(disk, BLOCKS, &name(first), seed, |_, extent, _| {
            extents.push(extent);
            Ok::<(), AgentError>(())
        })?;
        Ok(Self { log, extents })
    }
}

/// Makes the index of a closed segment if it is not whole. One whose segment does not read is done without.
fn index(disk: &mut dyn Disk, seed: Hash, segment: &Segment) -> Result<(), AgentError> {
    let blocks = segment.last - segment.first + 1;
    let length = disk.length(&index_name(segment.first)).map_err(index_failed)?;
    if length == blocks * ENTRY as u64 {
        return Ok(());
    }
    match Open::read(disk, seed, segment.first) {
        Ok(open) if open.extents.len() as u64 == blocks => write_index(disk, segment.first, &open.extents),
        Ok(_) | Err(AgentError::Log(LogError::Damaged { .. })) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Durable when this returns.
fn write_index(disk: &mut dyn Disk, first: u64, extents: &[Extent]) -> Result<(), AgentError> {
    let mut bytes = Vec::with_capacity(extents.len() * ENTRY);
    for extent in extents {
        bytes.extend_from_slice(&extent.offset.to_be_bytes());
        let length = u32::try_from(extent.length).expect("frames are bounded far below 4 GiB");
        bytes.extend_from_slice(&length.to_be_bytes());
    }
    disk.replace(&index_name(first), &bytes).map_err(index_failed)
}

/// Where the index says that a block of a closed segment lies.
fn extent(disk: &dyn Disk, segment: &Segment, height: u64) -> Result<Option<Extent>, AgentError> {
    let at = (height - segment.first) * ENTRY as u64;
    let entry = match disk.read_at(&index_name(segment.first), at, ENTRY) {
        Ok(entry) => entry,
        Err(error) if is_missing(&error) => return Ok(None),
        Err(error) => return Err(index_failed(error)),
    };
    let parsed = entry.split_first_chunk::<8>().and_then(|(offset, rest)| {
        let length = usize::try_from(u32::from_be_bytes(*rest.first_chunk::<4>()?)).ok()?;
        Some(Extent { offset: u64::from_be_bytes(*offset), length })
    });
    Ok(parsed)
}

/// The file is not there, or ends early: not what a disk that fails says.
fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::UnexpectedEof)
}

fn index_failed(error: std::io::Error) -> AgentError {
    LogError::Disk { file: INDEX, error }.into()
}

/// Executes the blocks of a segment that come after `state`.
fn replay(
    disk: &mut dyn Disk,
    first: u64,
    (state, hand_overs): (&mut State, &mut HandOvers),
    head: &mut Option<Certified>,
) -> Result<Open, AgentError> {
    let mut extents = Vec::new();
    let seed = Hash::from(*state.zone_id());
    let log = RecordLog::open_each(disk, BLOCKS, &name(first), seed, |disk, extent, payload| {
        let (bytes, certificate) = parse(payload).ok_or_else(|| damaged(Some(&extent)))?;
        let certificate = certificate.map_err(|error| AgentError::Stored { file: BLOCKS, error })?;
        if certificate.height != first + extents.len() as u64 {
            return Err(damaged(Some(&extent)));
        }
        extents.push(extent);
        if certificate.height <= state.head().height {
            return Ok(());
        }
        let (block, applied) = execute(state, bytes).map_err(AgentError::Diverged)?;
        certificate
            .verify_header(&block.header, state.zone_id(), state.validators().voters())
            .map_err(AgentError::Diverged)?;
        state.apply(applied);
        hand_overs.keep(disk, &block.header, &certificate, state.validators().voters())?;
        *head = Some((block.header, certificate));
        Ok(())
    })?;
    Ok(Open { log, extents })
}

type Parsed<'p> = (&'p [u8], Result<Certificate, ohmesh_units::DecodeError>);

fn parse(payload: &[u8]) -> Option<Parsed<'_>> {
    let mut reader = Reader::new(payload);
    let bytes = reader.record()?;
    let certificate = reader.record()?;
    Some((bytes, Certificate::decode(certificate)))
}

fn damaged(extent: Option<&Extent>) -> AgentError {
    LogError::Damaged { file: BLOCKS, offset: extent.map_or(0, |extent| extent.offset) }.into()
}

fn remove(disk: &mut dyn Disk, first: u64) -> Result<(), AgentError> {
    disk.remove(&index_name(first)).map_err(index_failed)?;
    disk.remove(&name(first)).map_err(|error| LogError::Disk { file: BLOCKS, error }.into())
}

/// The file of the segment that begins at a height.
fn name(first: u64) -> String {
    if first == 1 { BLOCKS.to_owned() } else { format!("blocks-{first}.log") }
}

/// The file of the first segment, and what errors call all of them.
const BLOCKS: &str = "blocks.log";

/// The file of the index of the closed segment that begins at a height.
fn index_name(first: u64) -> String {
    format!("heights-{first}.index")
}

/// What errors call the index of a segment.
const INDEX: &str = "heights.index";
/// Bytes of a block's entry in an index: the offset (u64) and length (u32) of its payload, big-endian.
const ENTRY: usize = 8 + 4;
/// Bytes of a block's payload at most: two records, each with its length.
const FRAME_BYTES_MAX: usize = Block::MAX_BYTES + Certificate::MAX_BYTES + 8;
