//! The log of decided blocks, and where each lies.

use super::{AgentError, hand_overs::HandOvers, perform::execute};
use crate::{
    disk::Disk,
    record_log::{Extent, LogError, RecordLog},
};
use ohmesh_ledger::{Certificate, Header, State};
use ohmesh_units::{Canonical, Hash, Reader};

/// Decided blocks with their certificates, by height from 1.
pub struct BlockLog {
    log: RecordLog,
    extents: Vec<Extent>,
}

impl BlockLog {
    /// Opens the log and executes every block in it on `state`, which must be the genesis. Each block's certificate is
    /// checked again: what is on disk is trusted no more than what comes from a peer. Hand-overs that a crash kept from
    /// their own log are kept now.
    pub(super) fn open(
        disk: &mut dyn Disk,
        state: &mut State,
        hand_overs: &mut HandOvers,
    ) -> Result<(Self, Option<(Header, Certificate)>), AgentError> {
        let (log, frames) = RecordLog::open(disk, BLOCKS, Hash::from(*state.zone_id()))?;
        let mut extents = Vec::with_capacity(frames.len());
        let mut head = None;
        for (extent, payload) in frames {
            let (bytes, certificate) = parse(&payload).ok_or(damaged(extent))?;
            let certificate = certificate.map_err(|error| AgentError::Stored { file: BLOCKS, error })?;
            let (block, applied) = execute(state, bytes).map_err(AgentError::Diverged)?;
            certificate
                .verify_header(&block.header, state.zone_id(), state.validators().voters())
                .map_err(AgentError::Diverged)?;
            state.apply(applied);
            hand_overs.keep(disk, &block.header, &certificate, state.validators().voters())?;
            head = Some((block.header, certificate));
            extents.push(extent);
        }
        Ok((Self { log, extents }, head))
    }

    /// Appends the next block; durable when this returns.
    pub fn append(
        &mut self,
        disk: &mut dyn Disk,
        bytes: &[u8],
        certificate: &Certificate,
    ) -> Result<(), AgentError> {
        self.log.push(bytes);
        self.log.push(&certificate.encode());
        let extent = self.log.sync(disk)?.expect("two records were pushed");
        self.extents.push(extent);
        Ok(())
    }

    /// The decided block of `height` with its certificate, if it is here.
    pub fn block(&self, disk: &dyn Disk, height: u64) -> Result<Option<(Vec<u8>, Certificate)>, AgentError> {
        let index = height.checked_sub(1).and_then(|index| usize::try_from(index).ok());
        let Some(extent) = index.and_then(|index| self.extents.get(index)) else { return Ok(None) };
        let payload = disk
            .read_at(BLOCKS, extent.offset, extent.length)
            .map_err(|error| LogError::Disk { file: BLOCKS, error })?;
        let (bytes, certificate) = parse(&payload).ok_or(damaged(*extent))?;
        let certificate = certificate.map_err(|error| AgentError::Stored { file: BLOCKS, error })?;
        Ok(Some((bytes.to_vec(), certificate)))
    }
}

type Parsed<'p> = (&'p [u8], Result<Certificate, ohmesh_units::DecodeError>);

fn parse(payload: &[u8]) -> Option<Parsed<'_>> {
    let mut reader = Reader::new(payload);
    let bytes = reader.record()?;
    let certificate = reader.record()?;
    Some((bytes, Certificate::decode(certificate)))
}

fn damaged(extent: Extent) -> AgentError {
    LogError::Damaged { file: BLOCKS, offset: extent.offset }.into()
}

/// The file of decided blocks.
const BLOCKS: &str = "blocks.log";
