//! Following the zone from epoch to epoch: who votes now, and who can be asked.

use super::{
    Node,
    sync::{Trouble, trouble},
};
use crate::{AgentFault, NodeError, ReplicaError};
use ohmesh_ledger::{Anchor, Answer, Certificate, Epoch, HandOver, Header, Object, Query};
use ohmesh_units::{Hash, Timestamp};
use std::time::Duration;

impl Node {
    /// What two operators say together of where the zone is, for a node that has to be anchored again
    /// ([`ReplicaError::AnchorTooOld`]): each is asked over a connection that only its own key can answer, and they have
    /// to name the same voters. Whoever calls this has to know that the two are independent of each other: two names
    /// behind which one operator stands are one word. The node trusts the result from then on.
    ///
    /// Errors: [`NodeError::Operators`] if one is unknown, cannot be asked, or they do not agree;
    /// what [`Replica::anchor`](crate::Replica::anchor) says.
    pub async fn anchor_by(&self, operators: [&str; 2]) -> Result<Anchor, NodeError> {
        let bad = |reason: String| NodeError::Operators { reason };
        let [one, other] = operators;
        if one == other {
            return Err(bad(format!("{one} and {other} are one operator")));
        }
        let mut words = Vec::with_capacity(operators.len());
        for name in operators {
            let agent = self.agents().named(name).ok_or_else(|| bad(format!("nobody is called {name}")))?;
            let word = self.word_of(agent).await.map_err(|fault| bad(format!("{name}: {fault}")))?;
            words.push(word);
        }
        let agreed = Anchor::agreed(&words[0], &words[1]);
        let agreed = agreed.ok_or_else(|| bad(format!("{one} and {other} name other voters")))?;
        self.replica().anchor(&agreed, self.now())?;
        Ok(agreed)
    }

    /// Where the zone is, by one operator's word: its head, and the voters that it says have certified that.
    async fn word_of(&self, agent: usize) -> Result<Anchor, AgentFault> {
        let head: (Header, Certificate) = match self.agents().ask(agent, &Query::Head).await? {
            Answer::Head(Some(head)) => *head,
            Answer::Head(None) => return Err(AgentFault::NoBlock),
            _ => return Err(AgentFault::OtherAnswer),
        };
        let Some(before) = head.0.epoch.checked_sub(1) else {
            let voters = self.store().zone().validators.voters();
            return Anchor::at(&head, voters).map_err(|error| AgentFault::Answer(error.into()));
        };
        match self.agents().ask(agent, &Query::HandOvers { from: before }).await? {
            Answer::HandOvers(hand_overs) => {
                let hand_over = hand_overs.first().filter(|first| first.epoch() == head.0.epoch);
                let voters = &hand_over.ok_or(AgentFault::OtherAnswer)?.voters;
                Anchor::at(&head, voters).map_err(|error| AgentFault::Answer(error.into()))
            }
            _ => Err(AgentFault::OtherAnswer),
        }
    }

    /// Follows the zone to `epoch` by hand-overs of `agent`; what holds of them is kept even if it does not get there.
    pub(crate) async fn reach(&self, agent: usize, epoch: u64) -> Result<(), Trouble> {
        for _ in 0..ANSWERS_MAX {
            let have = self.replica().epoch().map_err(trouble)?.epoch;
            if have >= epoch {
                return Ok(());
            }
            if self.follow(agent, have).await? == 0 {
                break;
            }
        }
        let have = self.replica().epoch().map_err(trouble)?.epoch;
        if have >= epoch {
            return Ok(());
        }
        Err(Trouble::Agent(AgentFault::Answer(ReplicaError::Epoch { have, offered: epoch })))
    }

    /// Asks for hand-overs before anything else if the newest epoch known is likely over: who votes now is then known
    /// before the first header comes, and its proofs can be asked for in the same question as all others.
    pub(super) async fn reach_if_over(&self, agent: usize) -> Result<(), Trouble> {
        let epoch_for = Duration::from_millis(self.store().zone().rules.epoch_ms);
        for _ in 0..ANSWERS_MAX {
            let Anchor { epoch, time, .. } = self.replica().epoch().map_err(trouble)?;
            let is_over = self.now().since(time).is_some_and(|age| age >= epoch_for);
            if !is_over || self.follow(agent, epoch).await? < HandOver::ANSWER_MAX {
                break;
            }
        }
        Ok(())
    }

    /// Takes one answer of hand-overs from the end of `from` on; gives how many there were.
    async fn follow(&self, agent: usize, from: u64) -> Result<usize, Trouble> {
        match self.agents().ask(agent, &Query::HandOvers { from }).await.map_err(Trouble::Agent)? {
            Answer::HandOvers(hand_overs) if hand_overs.len() <= HandOver::ANSWER_MAX => {
                if !hand_overs.is_empty() {
                    self.replica().store_hand_overs(&hand_overs).map_err(|error| self.told(error))?;
                }
                Ok(hand_overs.len())
            }
            Answer::Refused(reason) => Err(Trouble::Agent(AgentFault::Refused(super::presentable(&reason)))),
            _ => Err(Trouble::Agent(AgentFault::OtherAnswer)),
        }
    }

    /// The object to be proven in order to know who can be asked in `epoch`; none if that is known.
    pub(super) fn epoch_wanted(&self, epoch: u64) -> Option<Hash> {
        (self.agents().epoch() < epoch).then(|| Epoch::id(epoch))
    }

    /// Takes an object that was proven: who can be asked, if it is an epoch.
    pub(super) fn learn_agents(&self, object: &Object) {
        if let Object::Epoch(epoch) = object {
            self.agents().learn(epoch.number, &epoch.validators);
        }
    }

    /// Refuses to go on when what this node trusts is older than may be trusted at `now`.
    pub(crate) fn check_anchor(&self, now: Timestamp) -> Result<(), NodeError> {
        Ok(self.replica().check_anchor(now)?)
    }
}

/// Answers of hand-overs that are asked for in one go: more than a thousand epochs. What is left is asked for next time.
const ANSWERS_MAX: usize = 32;
