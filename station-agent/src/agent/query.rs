//! What phones ask.

use super::{Agent, AgentError, Asker, Effect};
use crate::{disk::Disk, seller, wire::Wire};
use ohmesh_ledger::{
    Answer, Block, LedgerError, Proof, Query, SignedTransaction, TransactionError, Verified, epoch_key_id,
};
use ohmesh_units::{Hash, Timestamp};

impl<D: Disk> Agent<D> {
    /// Answers a question at `now`. Only the disk can fail here; a question that makes no sense is refused in the answer.
    pub fn answer(
        &mut self,
        now: Timestamp,
        asker: Asker,
        query: Query,
    ) -> Result<(Answer, Vec<Effect>), AgentError> {
        let answer = match query {
            Query::Head => Answer::Head(self.head.clone().map(Box::new)),
            Query::Account(id) => self.proofs(self.state.prove_account(&id).unwrap_or_default()),
            Query::Object(id) => self.proofs(self.state.prove_object(&id).into_iter().collect()),
            Query::Submit(signed) => self.submit(now, *signed),
            Query::Transaction(id) => match (self.state.applied(&id), self.mempool.refusal(&id)) {
                (Some(content), _) => Answer::Applied(content),
                (None, _) if self.mempool.holds_id(&id) => Answer::Waiting,
                (None, Some(reason)) => Answer::Refused(reason.to_string()),
                (None, None) => Answer::Unknown,
            },
            Query::EpochKey(epoch) => {
                self.proofs(self.state.prove_object(&epoch_key_id(epoch)).into_iter().collect())
            }
            Query::Sale { auction, messages } => {
                let Asker { key: from, exporter } = asker;
                let input = seller::Input::Sale { auction, from, exporter, messages };
                match self.tell_seller(now, input)? {
                    Some(messages) => Answer::Sale(messages),
                    None => Answer::Refused("this agent sells nothing".into()),
                }
            }
            Query::HandOvers { from } => Answer::HandOvers(self.hand_overs.from(from)),
            Query::Several { account, objects } => {
                let mut proofs = self.state.prove_account(&account).unwrap_or_default();
                let objects = objects.iter().take(Query::SEVERAL_MAX);
                proofs.extend(objects.filter_map(|id| self.state.prove_object(id)));
                self.proofs(proofs)
            }
            Query::Snapshot => self.snapshot_manifest(),
            Query::SnapshotChunk { height, part, from } => self.snapshot_chunk(height, part, from),
            Query::Blocks { from } => Answer::Blocks(self.blocks_from(from)?),
        };
        Ok((answer, std::mem::take(&mut self.effects)))
    }

    fn proofs(&self, proofs: Vec<Proof>) -> Answer {
        match &self.head {
            Some(head) => Answer::Proofs(Box::new(head.clone()), proofs),
            None => Answer::Refused("there is no block yet".into()),
        }
    }

    /// Takes a transaction for a block, passes it on, and says where it stands.
    fn submit(&mut self, now: Timestamp, signed: SignedTransaction) -> Answer {
        let verified = match Verified::one(self.state.zone_id(), signed) {
            Ok(verified) => verified,
            Err(LedgerError::Transaction { reason, .. }) => return Answer::Refused(reason.to_string()),
            Err(error) => return Answer::Refused(error.to_string()),
        };
        if self.mempool.holds(&verified) {
            return Answer::Waiting;
        }
        match self.state.try_transaction(now, &verified) {
            Ok(()) => {}
            Err(TransactionError::AlreadyApplied) => return Answer::Applied(verified.content()),
            Err(reason) => return Answer::Refused(reason.to_string()),
        }
        let signed = verified.signed().clone();
        if !self.admit(now, verified) {
            return Answer::Refused("too many transactions wait; try again".into());
        }
        self.effects.push(Effect::Publish(Wire::Transactions(vec![signed])));
        Answer::Waiting
    }

    /// Decided blocks from a height on, at least one if there is one, and no more than fit an answer.
    fn blocks_from(&mut self, from: u64) -> Result<Vec<(Vec<u8>, ohmesh_ledger::Certificate)>, AgentError> {
        let mut blocks = Vec::new();
        let mut bytes = 0;
        let mut height = from;
        while blocks.len() < BLOCKS_MAX {
            let Some(block) = self.blocks.block(&mut self.disk, &self.kept, height)? else { break };
            bytes += block.0.len();
            if !blocks.is_empty() && bytes > BLOCKS_BYTES_MAX {
                break;
            }
            blocks.push(block);
            height += 1;
        }
        Ok(blocks)
    }

    /// The newest state root, for people who compare.
    pub fn root(&self) -> Hash {
        self.state.roots().objects.hash
    }
}

/// Blocks in one answer at most.
const BLOCKS_MAX: usize = 256;
/// Bytes of all blocks but the first in one answer at most; the first may be as long as a block may be.
const BLOCKS_BYTES_MAX: usize = Block::MAX_BYTES / 4;

use ohmesh_units::Canonical as _;
