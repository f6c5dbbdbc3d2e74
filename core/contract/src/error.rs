//! Why terms, a signature, a trigger or an input is refused.

use crate::{State, Trigger};
use ohmesh_units::{
    AccountId, AuctionId, ContractId, Energy, EvseId, KeyError, Money, Price, PublicKey, Timestamp,
};

/// Why terms cannot be a contract.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TermsError {
    /// A key that anybody could sign for, or that has two encodings.
    #[error("{role} key: {error}")]
    Key {
        /// Whose key: buyer, seller or meter.
        role: &'static str,
        /// What is wrong with it.
        error: KeyError,
    },
    /// The buyer and the seller are one account.
    #[error("account {0} would sell to itself")]
    SameAccount(AccountId),
    /// The buyer's key is also the seller's or the meter's: one party could sign for both.
    #[error("key {0} would sign for both sides")]
    SameKey(PublicKey),
    /// No energy is sold.
    #[error("the contract sells no energy")]
    NoEnergy,
    /// The outlet has no rated power, so that nothing could be billed without a checkpoint.
    #[error("the outlet has no rated power")]
    NoPower,
    /// The seller would pay the buyer, and the escrow secures only what the buyer pays.
    #[error("price {0} is negative: nothing secures what the seller would owe")]
    NegativePrice(Price),
    /// The distributor would pay the seller; grid tariffs are zero or more.
    #[error("grid tariff {0} is negative")]
    NegativeTariff(Price),
    /// The grid leg is paid out of the proceeds, which would not cover it.
    #[error("price {price} does not cover the grid tariff {tariff}")]
    PriceBelowTariff {
        /// The price of the energy.
        price: Price,
        /// The tariff of the grid.
        tariff: Price,
    },
    /// A total does not fit 64 bits of micro-units.
    #[error("price {price} times {energy} does not fit")]
    Overflow {
        /// The price or tariff.
        price: Price,
        /// The energy.
        energy: Energy,
    },
    /// The escrow is less than the price of the most energy.
    #[error("escrow {found} is below {needed}")]
    EscrowTooSmall {
        /// Price times the most energy.
        needed: Money,
        /// The escrow of the terms.
        found: Money,
    },
    /// The time from `not_before` to `expiry` is too short to charge and settle in, or longer than allowed.
    #[error("a contract from {not_before} to {expiry} is too short or too long")]
    Duration {
        /// First moment at which charging may start.
        not_before: Timestamp,
        /// Moment from which the escrow goes back.
        expiry: Timestamp,
    },
}

/// Why an offer, a statement, a trigger or an input is refused. Whatever refuses has changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The terms themselves cannot be a contract.
    #[error("contract {contract}: {error}")]
    Terms {
        /// The id these terms would have.
        contract: ContractId,
        /// What is wrong with them.
        error: TermsError,
    },
    /// A signature is not of the key that the terms name.
    #[error("contract {contract}: {what} is not signed by {key}")]
    Signature {
        /// The contract the statement speaks of.
        contract: ContractId,
        /// The kind of statement.
        what: &'static str,
        /// The key that should have signed.
        key: PublicKey,
    },
    /// A statement speaks of another contract.
    #[error("this is contract {expected}, the statement speaks of {found}")]
    AnotherContract {
        /// This contract.
        expected: ContractId,
        /// The contract of the statement.
        found: ContractId,
    },
    /// A statement, confirmation or plug-in names another outlet.
    #[error("the contract is for EVSE {expected}, not {found}")]
    AnotherEvse {
        /// The outlet of the contract.
        expected: EvseId,
        /// The outlet that was named.
        found: EvseId,
    },
    /// A statement was signed for another TLS connection: somebody relays.
    #[error("contract {0}: signed for another connection, somebody relays")]
    AnotherConnection(ContractId),
    /// The draft or offer differs from what this side agreed to in the auction.
    #[error("auction {auction}: the {field} differs from what was agreed")]
    AnotherDeal {
        /// The auction whose result binds both.
        auction: AuctionId,
        /// The first field that differs.
        field: &'static str,
    },
    /// The offer is no longer valid.
    #[error("contract {contract}: the offer was valid until {valid_until}, it is {now}")]
    OfferExpired {
        /// The contract.
        contract: ContractId,
        /// The first moment at which the offer is no longer valid.
        valid_until: Timestamp,
        /// The time of the refusal.
        now: Timestamp,
    },
    /// The contract begins too far ahead: the escrow would be locked for too long.
    #[error("contract {contract} begins {not_before}, too far after {now}")]
    TooFarAhead {
        /// The contract.
        contract: ContractId,
        /// First moment at which charging may start.
        not_before: Timestamp,
        /// The time of the refusal.
        now: Timestamp,
    },
    /// Too little time is left to charge and to settle.
    #[error("contract {contract}: expiry {expiry} is too near to charge and settle")]
    TooLate {
        /// The contract.
        contract: ContractId,
        /// Moment from which the escrow goes back.
        expiry: Timestamp,
    },
    /// The state has no row for this trigger.
    #[error("contract {contract}: no {trigger:?} in state {state:?}")]
    Transition {
        /// The contract.
        contract: ContractId,
        /// The state it is in.
        state: State,
        /// What was attempted.
        trigger: Trigger,
    },
    /// The state's deadline has passed: only its timeout may follow.
    #[error("contract {contract}: state {state:?} ended at {deadline}, it is {now}")]
    DeadlinePassed {
        /// The contract.
        contract: ContractId,
        /// The state it is in.
        state: State,
        /// The state's deadline.
        deadline: Timestamp,
        /// The time of the refusal.
        now: Timestamp,
    },
    /// The state's deadline is still to come: its timeout may not be taken.
    #[error("contract {contract}: state {state:?} lasts until {deadline}, it is {now}")]
    DeadlineAhead {
        /// The contract.
        contract: ContractId,
        /// The state it is in.
        state: State,
        /// The state's deadline.
        deadline: Timestamp,
        /// The time of the refusal.
        now: Timestamp,
    },
    /// A start is signed for a time outside the contract or away from the clock.
    #[error("contract {contract}: start signed for {at}, it is {now}")]
    StartTime {
        /// The contract.
        contract: ContractId,
        /// The time in the start.
        at: Timestamp,
        /// The time of the refusal.
        now: Timestamp,
    },
    /// Only a final record that the buyer signed may be brought by anybody; anything else by the seller alone, who
    /// would lose by a record that is not its last.
    #[error(
        "contract {contract}: {sender} is not the seller and record {sequence} is not final and signed by both"
    )]
    SellerOnly {
        /// The contract.
        contract: ContractId,
        /// The record's number.
        sequence: u32,
        /// Who brought it.
        sender: AccountId,
    },
    /// Only the buyer disputes a claim.
    #[error("contract {contract}: {sender} is not the buyer, who alone may dispute the claim")]
    BuyerOnly {
        /// The contract.
        contract: ContractId,
        /// Who disputes it.
        sender: AccountId,
    },
    /// Only the seller lowers its claim.
    #[error("contract {contract}: {sender} is not the seller, who alone may lower its claim")]
    NotTheClaimant {
        /// The contract.
        contract: ContractId,
        /// Who would lower it.
        sender: AccountId,
    },
    /// A decision on more energy than was claimed, or a lower claim that is not lower.
    #[error("contract {contract}: {claimed} is claimed, which {found} does not lower")]
    ClaimRaised {
        /// The contract.
        contract: ContractId,
        /// The energy of the claim.
        claimed: Energy,
        /// The energy that was to take its place.
        found: Energy,
    },
    /// A record is not newer than one already known.
    #[error("contract {contract}: record {found} is not newer than {known}")]
    StaleRecord {
        /// The contract.
        contract: ContractId,
        /// Number of the newest record known.
        known: u32,
        /// Number of the refused record.
        found: u32,
    },
    /// A record contradicts the checkpoint it comes with: less energy, an earlier time, another start register.
    #[error("contract {contract}: record {record} contradicts checkpoint {checkpoint}")]
    Contradiction {
        /// The contract.
        contract: ContractId,
        /// Number of the record.
        record: u32,
        /// Number of the checkpoint's record.
        checkpoint: u32,
    },
    /// The register and the energy since then do not fit a meter.
    #[error("contract {contract}: register {register_start} plus {energy} does not fit")]
    Register {
        /// The contract.
        contract: ContractId,
        /// Register at the start.
        register_start: Energy,
        /// Energy since.
        energy: Energy,
    },
    /// A message that this side never receives, or not now.
    #[error("contract {contract}: {what} is not expected in state {state:?}")]
    Unexpected {
        /// The contract.
        contract: ContractId,
        /// The message or input.
        what: &'static str,
        /// The state of the session.
        state: State,
    },
    /// A timer that is not set, or not due.
    #[error("contract {0}: the timer is not due")]
    TimerNotDue(ContractId),
}
