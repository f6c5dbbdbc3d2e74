//! Coming back after the process ended, by whatever means.

use super::{Committee, desk::Held, desk::Verdict};
use crate::{Action, BlockBytes, CommitteeError, Config, WalRecord};
use ohmesh_units::{BlockId, Canonical};
use std::collections::BTreeMap;

impl Committee {
    /// A committee at `height`, the one after the last committed block, running, as it was before the process ended.
    ///
    /// `records` is the write-ahead log in order, as far as it can be read; records of other heights are skipped.
    /// `blocks` are the undecided blocks that were made durable, in any order. Both may be empty only if nothing was
    /// signed at this height. The actions send the same votes again, bit for bit, and never another one in their
    /// place; they may include a `Commit`.
    ///
    /// # Errors
    /// [`CommitteeError::Replay`] and [`CommitteeError::MissingBlock`]: the log or the blocks are not what was
    /// written. Go on without the key, and replace it.
    pub fn replay(
        config: Config,
        height: u64,
        records: Vec<WalRecord>,
        blocks: Vec<BlockBytes>,
    ) -> Result<(Self, Vec<Action>), CommitteeError> {
        let mut committee = Self::new(config, height);
        let records: Vec<WalRecord> =
            records.into_iter().filter(|record| record.height() == height).collect();
        committee.begin(height);
        committee.desk.replayed = Some(records.iter().map(Canonical::encode).collect());
        records.iter().for_each(|record| committee.desk.remember(record));
        committee.hold_replayed(&records, blocks)?;

        let inputs: Vec<_> = records.iter().map(WalRecord::to_core).collect();
        committee.core.index_wal_entries(inputs.iter());
        for (record, input) in records.iter().zip(inputs) {
            if let WalRecord::Elapsed(timer) = record {
                committee.desk.cancel(*timer);
            }
            committee.try_tell(input).map_err(|reason| CommitteeError::Replay { height, reason })?;
        }
        committee.core.reset_entries_index();
        committee.desk.replayed = None;
        committee.resume();
        committee.settle();
        let actions = std::mem::take(&mut committee.desk.actions);
        Ok((committee, actions))
    }

    /// Holds the blocks that the log names, with their verdicts.
    fn hold_replayed(
        &mut self,
        records: &[WalRecord],
        blocks: Vec<BlockBytes>,
    ) -> Result<(), CommitteeError> {
        let mut stored: BTreeMap<BlockId, BlockBytes> =
            blocks.into_iter().filter_map(|bytes| Some(((self.identify)(&bytes)?, bytes))).collect();
        for record in records {
            let WalRecord::Block { round, proposer, block, valid, .. } = *record else { continue };
            let verdict = if valid { Verdict::Valid } else { Verdict::Invalid };
            let bytes = stored.remove(&block).or_else(|| Some(self.desk.blocks.get(&block)?.bytes.clone()));
            match bytes {
                Some(bytes) => {
                    self.desk.blocks.insert(block, Held { bytes, round, proposer, verdict });
                }
                None if valid => return Err(CommitteeError::MissingBlock { block }),
                None => (),
            }
        }
        Ok(())
    }

    /// What the core does not do again by itself.
    fn resume(&mut self) {
        // Rounds that are over need no block, and neither does one in which this validator proposed already; but
        // perhaps nobody heard it.
        let current = self.core.round().as_u32();
        let desk = &mut self.desk;
        let mut actions = std::mem::take(&mut desk.actions);
        actions.retain(|action| {
            !matches!(action, Action::Build { round, .. }
                if Some(*round) != current || desk.proposed(*round).is_some())
        });
        desk.actions = actions;
        if let Some((proposal, signature)) = current.and_then(|round| desk.proposed(round)) {
            desk.publish_proposal(proposal, signature);
        }
    }
}
