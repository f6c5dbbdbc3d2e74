//! The two roles of a sale as pure state machines: inputs with the time they come at, actions to perform in order.
//!
//! ```text
//!   BuyerSession                                      SellerSession
//!   draft ------------------- Draft -----------------> checks it against the award
//!   checks it  <------------- Offer ------------------ signs first, for this connection
//!   signs; Open on the ledger - Agreement -----------> waits for the ledger's Opened
//!   user confirms the code <- Armed ------------------ fresh plug-in at the outlet
//!   signs outlet + connection - Start ---------------> StartCharging
//!   checks each  <----------- Record (ticks) --------- meter readings
//!   every 60 s or 1 kWh ----- Checkpoint ------------> keeps the newest
//!   user stops -------------- Stop ------------------> StopCharging
//!   checks, signs  <--------- Record (final) --------- last reading
//!                  ---------- Checkpoint ------------> Settle on the ledger
//!   Done(Receipt)                                      Done(Receipt)
//! ```
//!
//! A session that is asleep or out of reach misses ticks and nothing else: charging goes on, and the newest
//! checkpoint bounds what can be claimed. Messages may be lost, repeated and reordered; on a new connection
//! (`Linked`) each side sends again what the other may have missed. Whoever runs a session makes its snapshot durable
//! before it performs the actions: a seller that starts the flow first could lose the evidence in a crash. A session
//! that is resumed from a snapshot says again what a crash may have left undone, and is told `Linked`.
//!
//! What a session refuses changes nothing and moves no money; the caller logs it and goes on.

mod buyer;
mod sale;
mod seller;

pub use buyer::{
    BuyerInput, BuyerSession, BuyerSnapshot, CHECKPOINT_ENERGY, CHECKPOINT_INTERVAL, CONFIRMATION_VALIDITY,
};
pub use sale::{Sale, SellerKeys};
pub use seller::{SellerInput, SellerSession, SellerSnapshot};

use crate::{
    Agreement, Bill, Evidence, Message, Offer, Receipt, Refused, Release, Settlement, Signed, State, Terms,
    state::after,
};
use ohmesh_units::{Canonical, ContractId, Energy, EvseId, Timestamp};
use serde::{Deserialize, Serialize};

/// What the runner of a session does, in order, after the session's snapshot is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send it over the current connection; if there is none, drop it (`Linked` sends it again).
    Send(Message),
    /// Bring the agreement to the ledger, locking the escrow.
    Open(Box<Agreement>),
    /// Switch the outlet on.
    StartCharging(EvseId),
    /// Switch the outlet off, then hand in the last reading.
    StopCharging(EvseId),
    /// Bring the evidence to the ledger.
    Settle(Box<Evidence>),
    /// Bring the seller's waiver to the ledger.
    Release(Signed<Release>),
    /// Ask the ledger for the refund of an expired contract.
    Expire(ContractId),
    /// Hand in this timer at `at`, instead of the time it was set for before.
    SetTimer {
        /// Which one.
        timer: Timer,
        /// When.
        at: Timestamp,
    },
    /// The sale is over; nothing follows.
    Done(Box<Receipt>),
    /// The sale ended before the ledger locked anything; nothing follows.
    Abort(AbortReason),
}

/// What the ledger has done with the contract, as a verified replica shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnLedger {
    /// The escrow is locked.
    Opened {
        /// The time of the block that opened the contract.
        at: Timestamp,
    },
    /// A block at or after the end of the offer has come, and the contract is not on the ledger: it never will be.
    NotOpened {
        /// The time of that block.
        at: Timestamp,
    },
    /// The evidence was taken; a claim that matures, or a dispute that is decided, comes again as paid.
    Settled(Settlement),
    /// The escrow went back because nothing was settled in time.
    Expired,
    /// The escrow went back because the seller waived the contract.
    Released,
}

/// The timers of a session; each is set at most once at a time. Tags are never reused, only appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Timer {
    /// The seller has not answered the draft.
    Draft,
    /// The contract begins.
    NotBefore,
    /// The car has not come.
    Arrival,
    /// A pause has lasted too long.
    Pause,
    /// Charging stops so that the settlement reaches the ledger in time.
    ChargeUntil,
    /// The last reading, or the buyer's last checkpoint, has not come.
    Close,
    /// The escrow goes back.
    Expiry,
}

/// Why a sale ended with no money locked. Tags are the order of variants: never reused, only appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AbortReason {
    /// The seller did not answer the draft in time.
    NoOffer,
    /// The agreement was not opened on the ledger while the offer was valid.
    NotOpened,
    /// The seller took its offer back.
    Released,
}

/// The timers that are set, at most one of each kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Timers(Vec<(Timer, Timestamp)>);

impl Timers {
    fn set(&mut self, timer: Timer, at: Timestamp) -> Action {
        self.clear(timer);
        self.0.push((timer, at));
        Action::SetTimer { timer, at }
    }

    fn clear(&mut self, timer: Timer) {
        self.0.retain(|(set, _)| *set != timer);
    }

    /// Takes a timer that is due.
    fn fire(&mut self, timer: Timer, contract: ContractId, now: Timestamp) -> Result<(), Refused> {
        if !self.0.iter().any(|(set, at)| *set == timer && *at <= now) {
            return Err(Refused::TimerNotDue(contract));
        }
        self.clear(timer);
        Ok(())
    }

    fn again(&self) -> Vec<Action> {
        self.0.iter().map(|&(timer, at)| Action::SetTimer { timer, at }).collect()
    }
}

/// The end that the ledger made of a contract in `state`, with its bill, or the claim that leads to it.
fn end_of(terms: &Terms, news: OnLedger) -> Result<Option<(State, Bill)>, Refused> {
    let nothing = || {
        let contract = terms.id();
        Bill::of(terms, Energy::ZERO).map_err(|error| Refused::Terms { contract, error })
    };
    Ok(match news {
        OnLedger::Settled(Settlement::Paid(bill)) => Some((State::Settled, bill)),
        OnLedger::Expired => Some((State::Expired, nothing()?)),
        OnLedger::Released => Some((State::Void, nothing()?)),
        OnLedger::Opened { .. } | OnLedger::NotOpened { .. } => None,
        OnLedger::Settled(Settlement::Claimed { .. }) => None,
    })
}

/// Most bytes of a session's snapshot: offer, agreement, evidence, seven timers, readings and flags.
const SNAPSHOT_BYTES_MAX: usize =
    Offer::MAX_BYTES + Agreement::MAX_BYTES + Evidence::MAX_BYTES + 7 * 11 + 2 * 32 + 128;
