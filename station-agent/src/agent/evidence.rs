//! Proof that validators contradicted themselves. It is kept until the ledger has it or can use it no more: the message that
//! brings it there may find no room, be lost, or expire.

use super::{Agent, AgentError};
use crate::{disk::Disk, record_log::RecordLog};
use ohmesh_committee::Evidence;
use ohmesh_ledger::{Body, Epoch, Object, State};
use ohmesh_units::{Canonical, Hash, Reader, Timestamp, TransactionId};
use serde::{Deserialize, Serialize};

/// What has not been brought to the ledger yet: one proof for each validator and epoch.
pub(super) struct EvidenceBox {
    log: RecordLog,
    kept: Vec<Kept>,
}

struct Kept {
    proof: Proof,
    /// The transaction by which this process last brought it.
    sent: Option<TransactionId>,
}

/// Evidence and the epoch in which it counts.
#[derive(Clone, Serialize, Deserialize)]
struct Proof {
    epoch: u64,
    evidence: Evidence,
}

impl EvidenceBox {
    /// Opens what is kept on disk.
    pub(super) fn open(disk: &mut dyn Disk, zone: Hash) -> Result<Self, AgentError> {
        let (log, frames) = RecordLog::open(disk, FILE, zone)?;
        let mut kept = Vec::with_capacity(frames.len());
        for (_, payload) in frames {
            let mut reader = Reader::new(&payload);
            while let Some(record) = reader.record() {
                let proof = Proof::decode(record);
                let proof = proof.map_err(|error| AgentError::Stored { file: FILE, error })?;
                kept.push(Kept { proof, sent: None });
            }
        }
        Ok(Self { log, kept })
    }

    /// Keeps a proof, durably, if it is news of its validator.
    fn keep(&mut self, disk: &mut dyn Disk, proof: Proof) -> Result<(), AgentError> {
        let about = |proof: &Proof| (proof.epoch, proof.evidence.validator());
        if self.kept.iter().any(|kept| about(&kept.proof) == about(&proof)) {
            return Ok(());
        }
        self.log.push(&proof.encode());
        self.log.sync(disk)?;
        self.kept.push(Kept { proof, sent: None });
        Ok(())
    }

    /// Lets go of what the ledger has, or can use no more.
    fn settle(&mut self, disk: &mut dyn Disk, state: &State) -> Result<(), AgentError> {
        if self.kept.is_empty() {
            return Ok(());
        }
        self.kept.retain(|kept| kept.proof.is_wanted(state));
        if self.kept.is_empty() {
            self.log.reset(disk)?;
        }
        Ok(())
    }
}

impl Proof {
    /// Whether the ledger still remembers the epoch, and has not convicted the validator of it.
    fn is_wanted(&self, state: &State) -> bool {
        let epoch = match state.object(&Epoch::id(self.epoch)) {
            Some((_, Object::Epoch(epoch))) => epoch,
            _ => return false,
        };
        epoch.convicted.binary_search(&self.evidence.validator()).is_err()
            && self.evidence.proves(state.zone_id(), self.epoch, epoch.validators.voters())
    }
}

impl Canonical for Proof {
    const NAME: &'static str = "kept evidence";
    const MAX_BYTES: usize = Evidence::MAX_BYTES + 10;
}

impl<D: Disk> Agent<D> {
    /// Keeps proof that a validator contradicted itself, and brings it to the ledger.
    pub(super) fn note_evidence(&mut self, now: Timestamp, evidence: &Evidence) -> Result<(), AgentError> {
        let running = self.state.epoch();
        let epoch = if evidence.height() < running.first_height {
            running.number.checked_sub(1)
        } else {
            Some(running.number)
        };
        let Some(epoch) = epoch else { return Ok(()) };
        let proof = Proof { epoch, evidence: evidence.clone() };
        if proof.is_wanted(&self.state) {
            self.evidence.keep(&mut self.disk, proof)?;
        }
        self.bring_evidence(now)
    }

    /// Brings to the ledger what it still wants and what does not wait for a block already.
    pub(super) fn bring_evidence(&mut self, now: Timestamp) -> Result<(), AgentError> {
        self.evidence.settle(&mut self.disk, &self.state)?;
        for at in 0..self.evidence.kept.len() {
            let Kept { proof, sent } = &self.evidence.kept[at];
            if sent.is_some_and(|id| self.mempool.holds_id(&id)) {
                continue;
            }
            let body = Body::Convict { epoch: proof.epoch, evidence: Box::new(proof.evidence.clone()) };
            let signed = self.signer.sign(now.max(self.state.head().time), body);
            self.evidence.kept[at].sent = Some(signed.transaction.id());
            self.submit_signed(now, signed);
        }
        Ok(())
    }
}

/// The file of evidence.
const FILE: &str = "evidence.log";
