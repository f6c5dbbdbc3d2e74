//! Our requests to the charger: one under way, the others wait.

use super::{CommandError, CommandId, MAX_QUEUED};
use crate::frame::Frame;
use crate::json::Json;
use ohmesh_units::Timestamp;
use std::collections::VecDeque;

/// How many timed-out requests are remembered, to tell a late answer from a made-up one.
const MAX_LATE: usize = 8;

/// A request that waits or is under way.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// `None` for the session's own requests.
    pub(super) command: Option<CommandId>,
    pub(super) action: &'static str,
    pub(super) payload: Json,
}

/// What an answer answers.
pub(super) enum Answered {
    Call(Call),
    Late,
    Unknown,
}

/// The queue.
#[derive(Default)]
pub(super) struct Calls {
    waiting: VecDeque<Call>,
    under_way: Option<(String, Call, Option<Timestamp>)>,
    late: VecDeque<String>,
    commands: u64,
}

impl Calls {
    /// Queues a caller's command under a new id.
    pub(super) fn push(&mut self, action: &'static str, payload: Json) -> Result<CommandId, CommandError> {
        if self.waiting.len() >= MAX_QUEUED {
            return Err(CommandError::QueueFull);
        }
        self.commands += 1;
        let command = CommandId(self.commands);
        self.waiting.push_back(Call { command: Some(command), action, payload });
        Ok(command)
    }

    /// Queues one of the session's own requests. They are few (one a transaction, one an outlet), hence their own bound.
    pub(super) fn push_own(&mut self, action: &'static str, payload: Json) {
        let call = Call { command: None, action, payload };
        let known =
            self.waiting.iter().any(|other| other.action == call.action && other.payload == call.payload);
        let own = self.waiting.iter().filter(|other| other.command.is_none()).count();
        if !known && own < super::MAX_OUTLETS {
            self.waiting.push_back(call);
        }
    }

    /// Takes the next request under way, if none is.
    pub(super) fn next(&mut self, deadline: Option<Timestamp>, id: impl FnOnce() -> String) -> Option<Frame> {
        if self.under_way.is_some() {
            return None;
        }
        let call = self.waiting.pop_front()?;
        let id = id();
        let frame =
            Frame::Call { id: id.clone(), action: call.action.to_owned(), payload: call.payload.clone() };
        self.under_way = Some((id, call, deadline));
        Some(frame)
    }

    /// Finds what an answer with this id answers, and ends it.
    pub(super) fn answered(&mut self, id: &str) -> Answered {
        match self.under_way.take_if(|(under_way, ..)| under_way == id) {
            Some((_, call, _)) => Answered::Call(call),
            None if self.late.iter().any(|late| late == id) => Answered::Late,
            None => Answered::Unknown,
        }
    }

    /// Ends the request under way if its time is over.
    pub(super) fn expire(&mut self, now: Timestamp) -> Option<(Option<CommandId>, &'static str)> {
        let (id, call, _) =
            self.under_way.take_if(|(_, _, deadline)| deadline.is_some_and(|deadline| deadline <= now))?;
        if self.late.len() >= MAX_LATE {
            self.late.pop_front();
        }
        self.late.push_back(id);
        Some((call.command, call.action))
    }

    /// The number of the newest command, as the wire's 31-bit integer.
    pub(super) fn newest(&self) -> i64 {
        i64::try_from(self.commands % (1 << 30)).expect("below 2^30")
    }

    /// When the request under way expires.
    pub(super) fn deadline(&self) -> Option<Timestamp> {
        self.under_way.as_ref().and_then(|(_, _, deadline)| *deadline)
    }

    /// Ends all: the connection is gone. An answer on the next one is not an answer to these.
    pub(super) fn clear(&mut self) -> Vec<Option<CommandId>> {
        self.late.clear();
        let under_way = self.under_way.take().map(|(_, call, _)| call);
        under_way.into_iter().chain(self.waiting.drain(..)).map(|call| call.command).collect()
    }
}
