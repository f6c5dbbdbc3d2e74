//! The one table of a contract's life. Both sides' sessions and the ledger's [`crate::Contract`] move only by it.
//!
//! Every state has one deadline. Before it, any trigger but `Timeout` may be taken; from it on, only `Timeout`.
//! *Who* says who may pull the trigger; *kept by* says who knows the state: the two sessions, or the ledger too.
//!
//! | from | trigger | who | to | deadline of `from`, then | kept by |
//! |---|---|---|---|---|---|
//! | Draft | Offer | seller signs the terms | Offered | 60 s after the draft: Void | sessions |
//! | Offered | Agree | buyer signs the offer; the ledger locks the escrow | Agreed | a block at `valid_until` or later without it: Void | sessions |
//! | Offered | Release | seller | Void | | sessions |
//! | Agreed | Arm | plug-in at the outlet, register noted | Armed | `expiry`: Expired (the seller releases 30 min after `not_before`) | ledger |
//! | Agreed, Armed | Release | seller signs a waiver | Void | | ledger |
//! | Armed | Start | buyer signs the outlet and the connection | Charging | `expiry`: Expired | sessions |
//! | Charging | Pause | the car or the station suspends | Paused | | sessions |
//! | Paused | Resume | the same | Charging | `expiry`: Expired (the seller stops after 10 min) | sessions |
//! | Charging, Paused | Stop | either side, unplug, energy or time limit, a meter's fault | Stopped | `expiry`: Expired (the seller stops 15 min before) | ledger |
//! | Stopped | Close | the buyer signs the last record | Closed | `expiry`: Expired (the seller submits after 60 s) | sessions |
//! | Stopped | Submit | the seller brings a record the buyer has not signed | Submitted | | sessions |
//! | Closed | Settle | anyone brings a final record, or the seller its last one, with the buyer's checkpoint | Settled | `expiry`: Expired | sessions |
//! | Submitted | Dispute | buyer, once | Disputed | 24 h after submission: Settled as submitted | ledger |
//! | Disputed | Resolve | both sides or the arbiters, at most what was submitted | Settled | 7 d after the dispute: Settled as submitted | ledger |
//! | Submitted, Disputed | Lower | seller, to less than it has submitted | the same | unmoved; what is submitted is now the lower claim | ledger |
//!
//! Maximum losses, beside the fees of the transactions:
//!
//! | ends from | buyer loses at most | seller loses at most |
//! |---|---|---|
//! | Draft, Offered | nothing | nothing: the outlet was held for at most 60 s, then until `valid_until` |
//! | Agreed, Armed (Void, Expired) | nothing; the escrow was locked until the release or `expiry` | nothing; the outlet was held for 30 min after `not_before` |
//! | Closed, Settled | nothing: it pays what it signed | the energy above `energy_max` or the escrow (one reading); what flowed since its newest record, if its own meter does not answer within 60 s of the stop |
//! | Submitted, Settled | what the meter's owner can forge: rated power x (time since the newest checkpoint, else since the start), never more than the escrow; disputable for 24 h | the same, and the energy above that bound: with a start up to 30 s ahead of the clock, rated power x 30 s |
//! | Disputed, Settled | the same; nobody can decide on more than was submitted | what the decision takes off its claim; undecided, nothing but 7 d of waiting |
//! | Charging to Closed, Expired | nothing | everything delivered: it did not bring its evidence to the ledger in 15 min or more |
//!
//! I5: [`State::rank`] never falls, and Settled, Expired and Void have no way out. Charging and Paused share a rank;
//! Lower keeps the state and takes something off the claim each time, so that it ends too.

use ohmesh_units::{ContractId, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::Refused;

/// Where a contract stands. Tags are the order of variants: never reused, only appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum State {
    /// The buyer has asked for terms.
    Draft,
    /// The seller has signed them.
    Offered,
    /// Both have signed, and the ledger has locked the escrow or is about to.
    Agreed,
    /// A car has been plugged in at the outlet since.
    Armed,
    /// The buyer's start holds; energy may flow.
    Charging,
    /// The car or the station has suspended the flow.
    Paused,
    /// Switched off for good.
    Stopped,
    /// The buyer has signed the last record.
    Closed,
    /// The seller has claimed what the buyer has not signed; the buyer may dispute it.
    Submitted,
    /// The buyer disputes the claim.
    Disputed,
    /// Paid: energy and grid legs posted, the rest refunded. Terminal.
    Settled,
    /// Never settled: the escrow went back whole. Terminal.
    Expired,
    /// Given up before anything was charged: the escrow, if any, went back whole. Terminal.
    Void,
}

/// What moves a contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// The seller signs the terms.
    Offer,
    /// The buyer signs the offer.
    Agree,
    /// A car is plugged in at the outlet.
    Arm,
    /// The buyer orders the start.
    Start,
    /// The flow is suspended.
    Pause,
    /// The flow goes on.
    Resume,
    /// The outlet is switched off for good.
    Stop,
    /// The buyer signs the last record.
    Close,
    /// The seller claims without the buyer's signature under the last record.
    Submit,
    /// The ledger pays what both signed.
    Settle,
    /// The buyer disputes a claim.
    Dispute,
    /// A dispute is decided.
    Resolve,
    /// The seller takes something off its claim.
    Lower,
    /// The seller waives the contract.
    Release,
    /// The state's deadline has come.
    Timeout,
}

impl State {
    /// Every state, for tests that explore.
    pub const ALL: [Self; 13] = [
        Self::Draft,
        Self::Offered,
        Self::Agreed,
        Self::Armed,
        Self::Charging,
        Self::Paused,
        Self::Stopped,
        Self::Closed,
        Self::Submitted,
        Self::Disputed,
        Self::Settled,
        Self::Expired,
        Self::Void,
    ];

    /// The state after `trigger` at `now`, by the table of this module; `deadline` is this state's.
    ///
    /// Refuses a trigger that has no row, one that comes at or after the deadline, and a timeout before it.
    pub fn next(
        self,
        trigger: Trigger,
        contract: ContractId,
        deadline: Timestamp,
        now: Timestamp,
    ) -> Result<Self, Refused> {
        let state = self;
        let to = match (self, trigger) {
            (Self::Draft, Trigger::Offer) => Self::Offered,
            (Self::Draft, Trigger::Timeout) => Self::Void,
            (Self::Offered, Trigger::Agree) => Self::Agreed,
            (Self::Offered, Trigger::Release | Trigger::Timeout) => Self::Void,
            (Self::Agreed, Trigger::Arm) => Self::Armed,
            (Self::Agreed | Self::Armed, Trigger::Release) => Self::Void,
            (Self::Armed, Trigger::Start) => Self::Charging,
            (Self::Charging, Trigger::Pause) => Self::Paused,
            (Self::Paused, Trigger::Resume) => Self::Charging,
            (Self::Charging | Self::Paused, Trigger::Stop) => Self::Stopped,
            (Self::Stopped, Trigger::Close) => Self::Closed,
            (Self::Stopped, Trigger::Submit) => Self::Submitted,
            (Self::Closed, Trigger::Settle) => Self::Settled,
            (
                Self::Agreed | Self::Armed | Self::Charging | Self::Paused | Self::Stopped | Self::Closed,
                Trigger::Timeout,
            ) => Self::Expired,
            (Self::Submitted, Trigger::Dispute) => Self::Disputed,
            (Self::Disputed, Trigger::Resolve) => Self::Settled,
            (Self::Submitted | Self::Disputed, Trigger::Lower) => self,
            (Self::Submitted | Self::Disputed, Trigger::Timeout) => Self::Settled,
            _ => return Err(Refused::Transition { contract, state, trigger }),
        };
        match (trigger == Trigger::Timeout, now < deadline) {
            (true, true) => Err(Refused::DeadlineAhead { contract, state, deadline, now }),
            (false, false) => Err(Refused::DeadlinePassed { contract, state, deadline, now }),
            _ => Ok(to),
        }
    }

    /// How far along the contract is: never falls (I5).
    pub fn rank(self) -> u8 {
        match self {
            Self::Draft => 0,
            Self::Offered => 1,
            Self::Agreed => 2,
            Self::Armed => 3,
            Self::Charging | Self::Paused => 4,
            Self::Stopped => 5,
            Self::Closed | Self::Submitted => 6,
            Self::Disputed => 7,
            Self::Settled | Self::Expired | Self::Void => 8,
        }
    }

    /// Whether nothing follows.
    pub fn is_terminal(self) -> bool {
        matches!(self, Self::Settled | Self::Expired | Self::Void)
    }
}

impl Trigger {
    /// Every trigger, for tests that explore.
    pub const ALL: [Self; 15] = [
        Self::Offer,
        Self::Agree,
        Self::Arm,
        Self::Start,
        Self::Pause,
        Self::Resume,
        Self::Stop,
        Self::Close,
        Self::Submit,
        Self::Settle,
        Self::Dispute,
        Self::Resolve,
        Self::Lower,
        Self::Release,
        Self::Timeout,
    ];
}

/// The time `duration` after `now`, or the end of representable time, which never comes.
pub(crate) fn after(now: Timestamp, duration: Duration) -> Timestamp {
    now.checked_add(duration).unwrap_or(Timestamp::from_millis(u64::MAX))
}

/// How long a buyer waits for the offer to its draft.
pub const DRAFT_TIMEOUT: Duration = Duration::from_secs(60);

/// How long an offer stays valid: for the buyer to sign and for the ledger to open it.
pub const OFFER_VALIDITY: Duration = Duration::from_secs(120);

/// How long after `not_before` (or the opening, if later) a seller keeps the outlet for a car that does not come.
pub const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(30 * 60);

/// How long a pause lasts before the seller stops.
pub const PAUSE_TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// How long after the stop the meter's last reading, and after it the buyer's last checkpoint, is waited for.
pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(60);

/// How long a buyer may dispute a claim that it has not signed.
pub const CHALLENGE_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// How long a dispute waits for a decision; then the claim holds as submitted.
pub const DISPUTE_WINDOW: Duration = Duration::from_secs(7 * 24 * 3600);

/// How far the time in a start may be from the clock of the one that takes it.
pub const CLOCK_SKEW: Duration = Duration::from_secs(30);

/// How far ahead a contract may be opened.
pub const OPEN_AHEAD_MAX: Duration = Duration::from_secs(24 * 3600);

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    const ID: ContractId = ContractId([1; 32]);

    fn steps(state: State) -> Vec<(Trigger, bool, State)> {
        let deadline = Timestamp::from_millis(1_000);
        let mut found = Vec::new();
        for trigger in Trigger::ALL {
            for (late, now) in [(false, 0), (false, 999), (true, 1_000), (true, u64::MAX)] {
                if let Ok(to) = state.next(trigger, ID, deadline, Timestamp::from_millis(now)) {
                    found.push((trigger, late, to));
                }
            }
        }
        found
    }

    /// Breadth first over every state, trigger and side of the deadline.
    #[test]
    fn the_table_is_explored_whole() {
        let mut seen = BTreeSet::from([State::Draft]);
        let mut queue = vec![State::Draft];
        let mut edges = BTreeSet::new();
        while let Some(state) = queue.pop() {
            for (trigger, late, to) in steps(state) {
                assert_eq!(late, trigger == Trigger::Timeout, "{state:?} --{trigger:?}--> {to:?}");
                edges.insert((state, format!("{trigger:?}"), to));
                if seen.insert(to) {
                    queue.push(to);
                }
            }
        }
        assert_eq!(seen, BTreeSet::from(State::ALL), "every state is reachable");
        assert_eq!(edges.len(), 28, "rows of the table: 18 with a trigger, 10 timeouts");
    }

    #[test]
    fn i5_only_forward_and_every_end_is_one() {
        for state in State::ALL {
            let steps = steps(state);
            assert_eq!(steps.is_empty(), state.is_terminal(), "{state:?}");
            for (trigger, _, to) in steps {
                match trigger {
                    Trigger::Pause | Trigger::Resume => assert_eq!(to.rank(), state.rank()),
                    Trigger::Lower => assert_eq!(to, state),
                    _ => assert!(to.rank() > state.rank(), "{state:?} -> {to:?}"),
                }
            }
        }
    }

    /// No money is locked for ever: waiting alone ends every contract.
    #[test]
    fn every_state_ends_by_timeouts_alone() {
        for mut state in State::ALL {
            for _ in 0..2 {
                if !state.is_terminal() {
                    state = state.next(Trigger::Timeout, ID, Timestamp::EPOCH, Timestamp::EPOCH).unwrap();
                }
            }
            assert!(state.is_terminal());
        }
    }

    #[test]
    fn refusals_name_the_cause() {
        let (early, deadline) = (Timestamp::from_millis(1), Timestamp::from_millis(2));
        let state = State::Charging;
        assert_eq!(
            state.next(Trigger::Start, ID, deadline, early),
            Err(Refused::Transition { contract: ID, state, trigger: Trigger::Start })
        );
        assert_eq!(
            state.next(Trigger::Stop, ID, deadline, deadline),
            Err(Refused::DeadlinePassed { contract: ID, state, deadline, now: deadline })
        );
        assert_eq!(
            state.next(Trigger::Timeout, ID, deadline, early),
            Err(Refused::DeadlineAhead { contract: ID, state, deadline, now: early })
        );
    }
}
