//! The contract between a buyer and a station: who signs what in which order, what is paid for which watt-hours, and
//! what everybody loses at most when somebody stops answering.
//!
//! What it is: the signed words ([`Terms`], [`Offer`], [`Agreement`], [`Start`], [`MeterRecord`], [`Checkpoint`],
//! [`Stop`], [`Release`]), the bill ([`Bill`]), the one table of states ([`state`]), the contract as the ledger holds
//! it ([`Contract`]) and the two roles as state machines ([`session`]).
//!
//! What it never does: I/O. It holds no clock, no random source and no float; it never trusts a word that has not
//! become a `Verified` one; it never sums money, because pay is computed once from the total.
//!
//! How data moves:
//!
//! ```text
//!   Terms --seller signs--> Offer --buyer signs--> Agreement --Contract::open--> escrow locked      (Agreed)
//!   buyer: code confirmed, car plugged in -------> Start -------Contract::start--> may be billed    (Charging)
//!   Meter --Reading--> SellerSession --MeterRecord, meter signs--> BuyerSession --Checkpoint, buyer signs--+
//!   record + checkpoint of it -------------------------Contract::settle--> Bill: paid + refund = escrow    (Settled)
//!   record without it: at most rated power x time -----Contract::settle--> claim, 24 h --conclude--> Bill  (Submitted)
//!   the buyer disputes the claim ---------------------Contract::dispute--> 7 d, --resolve or conclude--> Bill (Disputed)
//!   no record before the expiry -----------------------Contract::expire--> whole escrow back               (Expired)
//! ```
//!
//! The seller signs first, so that the buyer's signature always completes a contract and is never left waiting for
//! one. The buyer signs the outlet and its own TLS connection in the start, so that nobody who relays messages starts
//! another car's charge. A phone that sleeps does not stop the charge: the registered meter's record settles up to
//! the escrow, which is what the buyer can lose at most at a station.
//!
//! A price is zero or more and at least the grid tariff: the escrow holds the buyer's money only, so nothing would
//! secure what a seller owed under a negative price, and the distributor is paid out of the proceeds.

#![deny(missing_docs)]
#![cfg_attr(not(test), deny(clippy::float_arithmetic))]

mod billing;
mod contract;
mod error;
mod message;
mod meter;
mod offer;
mod receipt;
pub mod session;
mod signed;
pub mod state;
mod statement;
mod terms;

pub use billing::{Bill, METER_TOLERANCE, METER_TOLERANCE_PERCENT};
pub use contract::{Contract, Settlement};
pub use error::{Refused, TermsError};
pub use message::Message;
pub use meter::{Meter, Reading};
pub use offer::{Agreement, EXPORTER_LABEL, Exporter, NO_EXPORTER, Offer, VerifiedAgreement, VerifiedOffer};
pub use receipt::Receipt;
pub use session::{
    AbortReason, Action, BuyerInput, BuyerSession, BuyerSnapshot, CHECKPOINT_ENERGY, CHECKPOINT_INTERVAL,
    OnLedger, Sale, SellerInput, SellerKeys, SellerSession, SellerSnapshot, Timer,
};
pub use signed::{Claim, Signed, Statement};
pub use state::{
    ARRIVAL_TIMEOUT, CHALLENGE_WINDOW, CLOCK_SKEW, CLOSE_TIMEOUT, DISPUTE_WINDOW, DRAFT_TIMEOUT,
    OFFER_VALIDITY, OPEN_AHEAD_MAX, PAUSE_TIMEOUT, State, Trigger,
};
pub use statement::{
    Checkpoint, Evidence, MeterRecord, Release, Start, Stop, StopReason, VerifiedCheckpoint, VerifiedRecord,
    VerifiedRelease, VerifiedStart,
};
pub use terms::{DURATION_MAX, GridTariff, SETTLE_MARGIN, Terms};
