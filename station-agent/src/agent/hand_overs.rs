//! The hand-overs of every epoch that has ended, kept for ever: by them whoever trusts the genesis comes to trust the
//! newest voters, when blocks of old have long been cut off.

use super::AgentError;
use crate::{disk::Disk, record_log::RecordLog};
use ohmesh_ledger::{Certificate, HandOver, Header, LedgerError, Voters, Zone};
use ohmesh_units::{Canonical, Hash, Reader};

/// Hand-overs by the epoch that ended, from 0.
pub(super) struct HandOvers {
    log: RecordLog,
    all: Vec<HandOver>,
}

impl HandOvers {
    /// Opens the log; each was checked before it was written.
    pub(super) fn open(disk: &mut dyn Disk, zone: Hash) -> Result<Self, AgentError> {
        let (log, frames) = RecordLog::open(disk, FILE, zone)?;
        let mut all = Vec::with_capacity(frames.len());
        for (_, payload) in frames {
            let mut reader = Reader::new(&payload);
            while let Some(record) = reader.record() {
                let read = HandOver::decode(record);
                all.push(read.map_err(|error| AgentError::Stored { file: FILE, error })?);
            }
        }
        Ok(Self { log, all })
    }

    /// Keeps the hand-over that a decided block made, if it made one that is not here yet: a restart sees some again.
    pub(super) fn keep(
        &mut self,
        disk: &mut dyn Disk,
        header: &Header,
        certificate: &Certificate,
        voters: &Voters,
    ) -> Result<(), AgentError> {
        let is_next = header.next_voters.is_some() && usize::try_from(header.epoch) == Ok(self.all.len());
        if !is_next {
            return Ok(());
        }
        let (header, certificate, voters) = (header.clone(), certificate.clone(), voters.clone());
        let hand_over = HandOver { header, certificate, voters };
        self.log.push(&hand_over.encode());
        self.log.sync(disk)?;
        self.all.push(hand_over);
        Ok(())
    }

    /// The epoch whose end is not here yet.
    pub(super) fn next(&self) -> u64 {
        self.all.len() as u64
    }

    /// The voters of an epoch, if they are known.
    pub(super) fn voters<'v>(&'v self, zone: &'v Zone, epoch: u64) -> Option<&'v Voters> {
        match epoch.checked_sub(1) {
            None => Some(zone.validators.voters()),
            Some(before) => self.all.get(usize::try_from(before).ok()?).map(|hand_over| &hand_over.voters),
        }
    }

    /// Keeps a hand-over from a peer if it follows those that are here; one that is here already is let be.
    pub(super) fn follow(
        &mut self,
        disk: &mut dyn Disk,
        zone: &Zone,
        hand_over: HandOver,
    ) -> Result<Result<(), LedgerError>, AgentError> {
        let epoch = self.next();
        if hand_over.header.epoch < epoch {
            return Ok(Ok(()));
        }
        let voters = self.voters(zone, epoch).expect("those of the newest hand-over's epoch are known");
        if let Err(error) = hand_over.verify(&zone.id(), epoch, voters) {
            return Ok(Err(error));
        }
        self.log.push(&hand_over.encode());
        self.log.sync(disk)?;
        self.all.push(hand_over);
        Ok(Ok(()))
    }

    /// Hand-overs from the end of `epoch` on, as many as fit an answer to a phone.
    pub(super) fn from(&self, epoch: u64) -> Vec<HandOver> {
        let from = usize::try_from(epoch).unwrap_or(usize::MAX).min(self.all.len());
        self.all[from..].iter().take(HandOver::ANSWER_MAX).cloned().collect()
    }
}

/// The file of hand-overs.
const FILE: &str = "hand-overs.log";
