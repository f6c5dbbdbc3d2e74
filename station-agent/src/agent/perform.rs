//! What the committee asks of its host, done in order.

use super::{AHEAD_MAX, Actions, Agent, AgentError, AgentTimer, Decided, Effect, WalEntry};
use crate::{disk::Disk, wire::Wire};
use ohmesh_committee::{Action, BlockBytes, CommitteeError, Input};
use ohmesh_ledger::{Block, Certificate, LedgerError, Proposed, open_block, open_block_knowing};
use ohmesh_units::{BlockId, Canonical, Timestamp};
use std::time::Duration;

impl<D: Disk> Agent<D> {
    /// What has come up to be done outside, once everything that it speaks of is durable: whatever was to be synced on the
    /// way is synced here, at once, and nothing has left the agent before.
    pub(super) fn hand_out(&mut self) -> Result<Vec<Effect>, AgentError> {
        if std::mem::take(&mut self.must_sync) {
            self.wal.sync(&mut self.disk)?;
        }
        Ok(std::mem::take(&mut self.effects))
    }

    /// Performs actions one after the other; what they cause comes after them.
    pub(super) fn perform(&mut self, now: Timestamp, actions: Vec<Action>) -> Result<(), AgentError> {
        let mut actions = Actions::from(actions);
        while let Some(action) = actions.pop_front() {
            let caused = self.perform_one(now, action)?;
            actions.extend(caused);
        }
        Ok(())
    }

    fn perform_one(&mut self, now: Timestamp, action: Action) -> Result<Vec<Action>, AgentError> {
        let effect = match action {
            Action::Append(record) => {
                if super::epochs::is_precommit_of(&record, self.me) {
                    self.voted = Some(record.height());
                }
                self.wal.push(&WalEntry::Record(record).encode());
                return Ok(Vec::new());
            }
            Action::Sync => {
                self.must_sync = true;
                return Ok(Vec::new());
            }
            Action::Build { height, round, .. } => return self.build(now, height, round),
            Action::Judge { block, bytes, .. } => {
                let valid = self.judge(now, &bytes);
                if valid {
                    self.keep_undecided(bytes);
                }
                return Ok(self.committee.handle(Input::Judged { block, valid }));
            }
            Action::Commit { block, bytes, certificate, .. } => {
                self.commit(now, block, &bytes, certificate)?;
                return Ok(Vec::new());
            }
            Action::Wake { height } => {
                if self.next == Some(height) {
                    self.start_next(now)?;
                }
                return Ok(Vec::new());
            }
            Action::Offer { validator, height } => {
                let key = self.state.validators().at(validator).map(|validator| validator.key);
                let block = self.blocks.block(&self.disk, &self.kept, height)?;
                let (Some(key), Some((bytes, certificate))) = (key, block) else {
                    return Ok(Vec::new());
                };
                Effect::Send(key, Wire::Certified(bytes, certificate))
            }
            Action::Fault(CommitteeError::ForeignVote(vote)) => {
                self.on_foreign_vote(vote.height)?;
                self.start_next(now)?;
                return Ok(Vec::new());
            }
            Action::Fault(error) => return Err(AgentError::Committee(error)),
            Action::Publish(message) => Effect::Publish(Wire::Committee(message)),
            Action::SetTimer(timer, wait) => Effect::SetTimer(AgentTimer::Committee(timer), wait),
            Action::CancelTimer(timer) => Effect::CancelTimer(AgentTimer::Committee(timer)),
            Action::CancelAllTimers => Effect::CancelCommitteeTimers,
            Action::RequestSync { from, height } => Effect::Fetch { from, height },
            Action::Equivocation(evidence) => {
                self.note_evidence(now, &evidence)?;
                Effect::Equivocation(evidence)
            }
            Action::Reject { from, reason } => Effect::Refused { from, reason },
        };
        self.effects.push(effect);
        Ok(Vec::new())
    }

    /// Builds this validator's block.
    fn build(&mut self, now: Timestamp, height: u64, round: u32) -> Result<Vec<Action>, AgentError> {
        let Some(me) = self.me else { return Ok(Vec::new()) };
        let after_parent = self.state.head().time.checked_add(Duration::from_millis(1));
        let time = now.max(after_parent.unwrap_or(now));
        let Proposed { block, bytes, applied, refused } =
            self.state.propose(time, me, self.mempool.candidates());
        for (id, reason) in refused {
            self.mempool.refuse(&id, reason);
        }
        let (id, bytes) = (block.id(), BlockBytes::from(bytes));
        self.keep_undecided(bytes.clone());
        self.drafts.insert(id, (block, applied));
        Ok(self.committee.handle(Input::Built { height, round, block: id, bytes }))
    }

    /// Whether the block may follow the head: its time, its signatures, every transaction, and the state it states.
    pub(super) fn judge(&mut self, now: Timestamp, bytes: &[u8]) -> bool {
        let opened = open_block_knowing(&self.state, bytes, |signed| self.mempool.known(signed));
        let judged = opened.and_then(|(block, transactions)| {
            let limit = now.checked_add(AHEAD_MAX).unwrap_or(now);
            if block.header.time > limit {
                let (height, time) = (block.header.height, block.header.time);
                return Err(LedgerError::Block {
                    height,
                    reason: format!("its time {time} is ahead of {now}"),
                });
            }
            let applied = self.state.execute(&block, &transactions)?;
            Ok((block, applied))
        });
        match judged {
            Ok((block, applied)) => {
                self.drafts.insert(block.id(), (block, applied));
                true
            }
            Err(_) => false,
        }
    }

    /// Writes an undecided block down ahead of what this validator will say of it, with which it becomes durable.
    fn keep_undecided(&mut self, bytes: BlockBytes) {
        if self.me.is_some() {
            self.wal.push(&WalEntry::Block(bytes).encode());
        }
    }

    /// A height is over, and its decision durable: of what was said at it, nothing needs to be remembered. Records that are
    /// written already are skipped when the log is read, so it is cut only when it is long; cutting costs a sync.
    fn close_wal(&mut self) -> Result<(), AgentError> {
        self.must_sync = false;
        if self.wal.length() > WAL_BYTES_MAX {
            self.wal.reset(&mut self.disk)?;
        } else {
            self.wal.discard();
        }
        Ok(())
    }

    /// Makes a decided block durable, applies it, and lets the next height wait for its time.
    fn commit(
        &mut self,
        now: Timestamp,
        id: BlockId,
        bytes: &[u8],
        certificate: Certificate,
    ) -> Result<(), AgentError> {
        let (block, applied) = match self.drafts.remove(&id) {
            Some(draft) => draft,
            None => execute(&self.state, bytes).map_err(AgentError::Diverged)?,
        };
        self.blocks.append(&mut self.disk, bytes, &certificate)?;
        self.close_wal()?;
        let expired = applied.expired.clone();
        self.state.apply(applied);
        self.drafts.clear();
        let voters = self.state.validators().voters();
        self.hand_overs.keep(&mut self.disk, &block.header, &certificate, voters)?;
        self.mempool.applied(&block, self.state.head().time);
        let header = block.header.clone();
        self.head = Some((header.clone(), certificate.clone()));
        self.effects.push(Effect::Decided(Box::new(Decided { header, certificate, expired })));
        self.duties.note(&block);
        self.early.asked.clear();
        self.next = Some(self.state.head().height + 1);
        if block.header.next_voters.is_some() {
            self.begin_epoch()?;
        }
        self.do_duties(now)?;
        self.bring_evidence(now)?;
        self.owe_vote_key(now)?;
        self.show_block(now, &block)?;
        self.keep_snapshot()?;
        self.wait_for_next(now);
        self.wake_if_heard(now)
    }
}

/// Opens and executes a block on `state`.
pub(super) fn execute(
    state: &ohmesh_ledger::State,
    bytes: &[u8],
) -> Result<(Block, ohmesh_ledger::Applied), LedgerError> {
    let (block, transactions) = open_block(state, bytes)?;
    let applied = state.execute(&block, &transactions)?;
    Ok((block, applied))
}

/// Bytes of the write-ahead log from which on it is cut at the end of a height: some dozens of full blocks, which a restart
/// reads in a tenth of a second.
const WAL_BYTES_MAX: u64 = 16 << 20;
