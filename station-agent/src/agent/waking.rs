//! After a restart a validator does not vote before it knows how far the others are: its folder may be an old copy, and
//! what was voted after the copy was made is in it no more.
//!
//! It follows as an observer until validators that make up more than two thirds of the stake with it have told their
//! heights, and it has reached every one of them. No decision could be had without them anyway, so nothing is lost by
//! waiting; not even for one that is a quorum by itself, which hears at least one other. On the way it sees the certificates of what it has missed; one that holds its own vote for a height of which
//! it has no record ends its key ([`Agent::check_memory`]).

use super::{Agent, AgentError, AgentTimer, Effect, Event};
use crate::disk::Disk;
use ohmesh_committee::{BlockBytes, Committee, WalRecord};
use ohmesh_ledger::{Answer, Query};
use ohmesh_units::{PublicKey, Timestamp};
use std::time::Duration;

/// What waits for the agent to wake.
pub(super) struct Waking {
    /// The height of the write-ahead log, its records, and the blocks in it.
    pub(super) replay: Option<(u64, Vec<WalRecord>, Vec<BlockBytes>)>,
}

impl<D: Disk> Agent<D> {
    /// Asks every other validator how far it is.
    pub(super) fn ask_heads(&mut self) {
        let others: Vec<PublicKey> = self.others().collect();
        for from in others {
            self.ask_head(from);
        }
        if self.waking.is_some() {
            self.effects.push(Effect::SetTimer(AgentTimer::Heads, AGAIN));
        }
    }

    pub(super) fn ask_head(&mut self, from: PublicKey) {
        self.effects.push(Effect::Ask { from, query: Box::new(Query::Head) });
    }

    /// The timer of [`Agent::ask_heads`].
    pub(super) fn on_heads_late(&mut self) {
        if self.waking.is_some() {
            self.ask_heads();
        }
    }

    /// A validator told its height. What it says is not checked: the agent waits for it to be true, or for others.
    pub(super) fn on_head(
        &mut self,
        now: Timestamp,
        from: PublicKey,
        answer: Option<Answer>,
    ) -> Result<(), AgentError> {
        let Some(Answer::Head(head)) = answer else { return Ok(()) };
        if self.state.validators().index_of(&from).is_none() {
            return Ok(());
        }
        let (height, own) = (head.map_or(0, |head| head.0.height), self.state.head().height);
        self.told.insert(from, height);
        if height > own + super::snapshots::BLOCKS_RATHER {
            self.begin_rebuild(now, from)?;
        } else if height > own {
            self.effects.push(Effect::Fetch { from, height: own + 1 });
        }
        self.wake_if_heard(now)
    }

    /// A peer has no block after this agent's newest. If it said that it is further, it no longer keeps blocks that old.
    pub(super) fn on_nothing_fetched(&mut self, now: Timestamp, from: PublicKey) -> Result<(), AgentError> {
        let own = self.state.head().height;
        match self.told.get(&from) {
            Some(told) if *told > own => self.begin_rebuild(now, from),
            _ if self.state.validators().index_of(&from).is_some() => {
                self.ask_head(from);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Votes again, if enough others have told their heights and none of those is ahead.
    pub(super) fn wake_if_heard(&mut self, now: Timestamp) -> Result<(), AgentError> {
        if self.waking.is_none() {
            return Ok(());
        }
        let (own, validators) = (self.state.head().height, self.state.validators());
        let is_heard =
            |key: &PublicKey| *key == self.identity || self.told.get(key).is_some_and(|told| *told <= own);
        let heard = validators.all().iter().filter(|one| is_heard(&one.key)).map(|one| one.stake).sum();
        // One that is a quorum by itself could go on alone from an old copy, and make a second history: it hears somebody too.
        let is_told = self.others().any(|key| is_heard(&key));
        if !validators.is_quorum(heard) || !is_told {
            return Ok(());
        }
        self.wake(now)
    }

    fn wake(&mut self, now: Timestamp) -> Result<(), AgentError> {
        let Some(Waking { replay }) = self.waking.take() else { return Ok(()) };
        let height = self.state.head().height + 1;
        self.effects.push(Effect::CancelTimer(AgentTimer::Heads));
        self.effects.push(Effect::CancelCommitteeTimers);
        let replay = replay.filter(|(logged, ..)| *logged == height);
        let key = self.votes.signer(self.state.validators(), &self.identity);
        let (Some((_, records, undecided)), Some(key)) = (replay, key) else {
            self.begin_epoch()?;
            self.next = Some(height);
            self.wait_for_next(now);
            return Ok(());
        };
        let config = super::epochs::config(&self.state, Some(key), self.timeouts);
        let (committee, actions) =
            Committee::replay(config, height, records, undecided.clone()).map_err(AgentError::Committee)?;
        self.me = committee.validator();
        self.committee = committee;
        self.next = None;
        self.effects.push(Effect::CancelTimer(AgentTimer::NextHeight(height)));
        for bytes in undecided {
            self.judge(now, &bytes);
        }
        self.perform(now, actions)
    }

    /// What came of [`Effect::Ask`].
    pub(super) fn on_answered(
        &mut self,
        now: Timestamp,
        from: PublicKey,
        asked: super::Asked,
    ) -> Result<(), AgentError> {
        match asked.query {
            Query::Head => self.on_head(now, from, asked.answer),
            _ => self.on_rebuild(now, from, asked),
        }
    }

    /// Handles the events by which an agent finds out where the others are, and gets there.
    pub(super) fn on_recovery(&mut self, now: Timestamp, event: Event) -> Result<(), AgentError> {
        match event {
            Event::Connected(from) => {
                let height = self.state.head().height + 1;
                self.effects.push(Effect::Fetch { from, height });
                self.ask_head(from);
                Ok(())
            }
            Event::Answered { from, query, answer } => {
                let asked = super::Asked { query: *query, answer: answer.map(|answer| *answer) };
                self.on_answered(now, from, asked)
            }
            Event::Elapsed(AgentTimer::Heads) => {
                self.on_heads_late();
                Ok(())
            }
            Event::Elapsed(AgentTimer::Rebuild(super::snapshots::FINISH)) => self.finish_rebuild(now),
            Event::Elapsed(AgentTimer::Rebuild(asked)) => self.on_rebuild_late(asked),
            _ => Ok(()),
        }
    }
}

/// How often those who have not told their height are asked again.
const AGAIN: Duration = Duration::from_secs(1);
