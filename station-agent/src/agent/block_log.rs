//! The log of decided blocks, and where each lies. It is cut into segments, one for each snapshot, so that old ones can go.

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
use ohmesh_ledger::{Certificate, Header, State};
use ohmesh_units::{Canonical, Hash, Reader, Timestamp};
use std::collections::BTreeMap;

/// Decided blocks with their certificates, by height.
pub struct BlockLog {
    seed: Hash,
    /// The segment that grows.
    open: Open,
    /// Closed segments that somebody has asked for, by first height; none: it does not read.
    closed: BTreeMap<u64, Option<Open>>,
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
        let is_joined = kept.open <= state.head().height + 1;
        if is_joined {
            let open = replay(disk, kept.open, (state, hand_overs), &mut head)?;
            if kept.open + open.extents.len() as u64 > state.head().height {
                return Ok((Self { seed, open, closed: BTreeMap::new() }, head, false));
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
        Ok(Self { seed, open: Open::new(disk, seed, first)?, closed: BTreeMap::new() })
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
        let next = Open::new(disk, self.seed, kept.open)?;
        let before = std::mem::replace(&mut self.open, next);
        if let Some(segment) = kept.closed.last() {
            self.closed.insert(segment.first, Some(before));
        }
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
            self.closed.remove(&first);
            remove(disk, first)?;
        }
        Ok(())
    }

    /// The decided block of `height` with its certificate, if it is here and reads.
    pub(super) fn block(
        &mut self,
        disk: &mut dyn Disk,
        kept: &Kept,
        height: u64,
    ) -> Result<Option<(Vec<u8>, Certificate)>, AgentError> {
        if let Some(index) = height.checked_sub(kept.open) {
            return readable(self.open.block(disk, index));
        }
        let Some(segment) = kept.closed.iter().find(|one| (one.first..=one.last).contains(&height)) else {
            return Ok(None);
        };
        let seed = self.seed;
        let read = self.closed.entry(segment.first).or_insert_with(|| {
            let read = Open::read(disk, seed, segment.first).ok();
            read.filter(|open| open.extents.len() as u64 == segment.last - segment.first + 1)
        });
        match read {
            Some(open) => readable(open.block(disk, height - segment.first)),
            None => Ok(None),
        }
    }
}

/// A block that does not read any more is one that is not here: whoever asked asks another agent, and this one goes on.
fn readable(
    read: Result<Option<(Vec<u8>, Certificate)>, AgentError>,
) -> Result<Option<(Vec<u8>, Certificate)>, AgentError> {
    match read {
        Err(AgentError::Stored { .. } | AgentError::Log(LogError::Damaged { .. })) => Ok(None),
        other => other,
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

    fn block(&self, disk: &dyn Disk, index: u64) -> Result<Option<(Vec<u8>, Certificate)>, AgentError> {
        let index = usize::try_from(index).ok();
        let Some(extent) = index.and_then(|index| self.extents.get(index)) else { return Ok(None) };
        let payload = self.log.read(disk, *extent)?;
        let (bytes, certificate) = parse(&payload).ok_or_else(|| damaged(Some(extent)))?;
        let certificate = certificate.map_err(|error| AgentError::Stored { file: BLOCKS, error })?;
        Ok(Some((bytes.to_vec(), certificate)))
    }
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
    disk.remove(&name(first)).map_err(|error| LogError::Disk { file: BLOCKS, error }.into())
}

/// The file of the segment that begins at a height.
fn name(first: u64) -> String {
    if first == 1 { BLOCKS.to_owned() } else { format!("blocks-{first}.log") }
}

/// The file of the first segment, and what errors call all of them.
const BLOCKS: &str = "blocks.log";
