//! Why the ledger refuses something. Variants name the cause and carry the ids.

use crate::{Amount, Asset, Journal};
use ohmesh_auction::{
    award::AwardError, bid::BidError, intent::IntentError, key::generation::GenerationError,
    outcome::OutcomeError, release::ReleaseError,
};
use ohmesh_contract::Refused;
use ohmesh_units::{
    AccountId, Area, AuctionId, ContractId, DecodeError, Energy, EvseId, Hash, KeyError, PublicKey,
    StationId, Timestamp, TransactionId, ZoneId,
};

/// Why a block, a certificate, a proof or a zone is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// The bytes are not what they should be.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// The zone file does not hold together.
    #[error("zone: {reason}")]
    Zone {
        /// What is wrong.
        reason: String,
    },
    /// The list of validators does not hold together.
    #[error("validators: {reason}")]
    Validators {
        /// What is wrong.
        reason: String,
    },
    /// Rules that this program cannot execute.
    #[error("rules: {reason}")]
    Rules {
        /// What is wrong with them.
        reason: String,
    },
    /// A hand-over does not pass the zone on.
    #[error("hand-over of epoch {epoch}: {reason}")]
    HandOver {
        /// The epoch that should end.
        epoch: u64,
        /// What is wrong.
        reason: String,
    },
    /// A certificate does not make its block final.
    #[error("certificate of height {height}: {reason}")]
    Certificate {
        /// The height it claims.
        height: u64,
        /// What is wrong.
        reason: String,
    },
    /// The block does not follow the head, or its header does not state what executing it gives.
    #[error("block of height {height}: {reason}")]
    Block {
        /// The height it claims.
        height: u64,
        /// What is wrong.
        reason: String,
    },
    /// The header does not bind the transactions that came with it.
    #[error("block of height {height}: the header binds other transactions")]
    Transactions {
        /// The height it claims.
        height: u64,
    },
    /// A transaction in a block cannot apply.
    #[error("transaction {id}: {reason}")]
    Transaction {
        /// The transaction.
        id: TransactionId,
        /// Why not.
        reason: TransactionError,
    },
    /// A proof is for another root, slot or leaf.
    #[error("the proof of {what} at slot {slot} does not lead to the root of height {height}")]
    Proof {
        /// Which tree.
        what: &'static str,
        /// The slot it claims.
        slot: u32,
        /// The height of the header it was checked against.
        height: u64,
    },
    /// A proof is right, but proves another object than was asked for.
    #[error("asked for {asked}, the proof is of {found}")]
    OtherObject {
        /// The id asked for.
        asked: Hash,
        /// The id proven.
        found: Hash,
    },
}

/// Why a transaction cannot apply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// It is signed for another zone.
    #[error("it is for zone {0}")]
    OtherZone(ZoneId),
    /// More signatures than any transaction needs.
    #[error("{0} signatures")]
    TooManySignatures(usize),
    /// A signature does not verify.
    #[error("the signature of key {0} is wrong")]
    WrongSignature(PublicKey),
    /// Somebody who must sign did not.
    #[error("key {0} did not sign")]
    NotSigned(PublicKey),
    /// Fewer treasurers than needed signed.
    #[error("{found} of {needed} treasurers signed")]
    Treasurers {
        /// Distinct treasurers that signed.
        found: usize,
        /// Treasurers that must sign.
        needed: u8,
    },
    /// It has applied before.
    #[error("it has been applied already")]
    AlreadyApplied,
    /// Its id was used for something else.
    #[error("its id was used for another content, {0}")]
    OtherContent(Hash),
    /// Its time is over.
    #[error("it was valid until {valid_until}, it is {now}")]
    Expired {
        /// The end of its validity.
        valid_until: Timestamp,
        /// Block time.
        now: Timestamp,
    },
    /// It is valid for longer than ids are remembered.
    #[error("it is valid until {valid_until}, more than 24 h after {now}")]
    ValidTooLong {
        /// The end of its validity.
        valid_until: Timestamp,
        /// Block time.
        now: Timestamp,
    },
    /// There is no such account.
    #[error("there is no account {0}")]
    NoAccount(AccountId),
    /// The account is open already.
    #[error("account {0} is open already")]
    AccountExists(AccountId),
    /// The sender is not the account of the key that opens it.
    #[error("the sender is not the account of key {0}")]
    NotOwnAccount(PublicKey),
    /// A key is not fit to be registered.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// An amount is zero or negative.
    #[error("amount {0} is not positive")]
    NotPositive(Amount),
    /// A sum leaves the range of an amount.
    #[error("the balance of {0} would overflow")]
    Overflow(AccountId),
    /// The account has less than that to spend.
    #[error(
        "account {account} has {available} of {asset:?} available in the {journal:?} journal, {needed} needed"
    )]
    Insufficient {
        /// The account.
        account: AccountId,
        /// The book.
        journal: Journal,
        /// The asset.
        asset: Asset,
        /// Posted less held.
        available: Amount,
        /// What it takes.
        needed: Amount,
    },
    /// Payer and payee are the same.
    #[error("account {0} would pay itself")]
    ToItself(AccountId),
    /// A leg is paid by somebody who is not the sender.
    #[error("account {0} pays a leg, but is not the sender")]
    NotThePayer(AccountId),
    /// Too few or too many legs.
    #[error("{0} legs, 1 to 16 are allowed")]
    Legs(usize),
    /// A text is empty or too long.
    #[error("{what} has {length} bytes, 1 to 64 are allowed")]
    Text {
        /// Which text.
        what: &'static str,
        /// Its length.
        length: usize,
    },
    /// There is no such open hold.
    #[error("there is no open hold {0}")]
    NoPending(Hash),
    /// A hold of that id is there already.
    #[error("hold {0} exists already")]
    PendingExists(Hash),
    /// The sender is not who the hold is for.
    #[error("hold {0} is for another account")]
    NotThePayee(Hash),
    /// A plain hold is posted as a sale, or a sale as a plain hold.
    #[error("hold {0} is of the other kind")]
    OtherKind(Hash),
    /// More is posted than was held or agreed.
    #[error("hold {pending}: {asked} asked, {held} held")]
    MoreThanHeld {
        /// The hold.
        pending: Hash,
        /// What was asked, micro-units or Wh.
        asked: u64,
        /// What may be had, in the same unit.
        held: u64,
    },
    /// A timeout is not after now or more than 30 days ahead.
    #[error("timeout {timeout} is not within 30 days after {now}")]
    Timeout {
        /// The timeout.
        timeout: Timestamp,
        /// Block time.
        now: Timestamp,
    },
    /// More energy than one sale may have.
    #[error("{asked} asked, {most} is the most of one sale")]
    TooMuchEnergy {
        /// What was asked.
        asked: Energy,
        /// The most.
        most: Energy,
    },
    /// The price would not cover the grid fee.
    #[error("price {price} micro-units/kWh is below the grid tariff of {tariff}")]
    BelowTariff {
        /// The price offered.
        price: i64,
        /// The tariff in force.
        tariff: i64,
    },
    /// There is no such station.
    #[error("there is no station {0}")]
    NoStation(StationId),
    /// There is no such outlet.
    #[error("there is no EVSE {0}")]
    NoEvse(EvseId),
    /// The station belongs to somebody else.
    #[error("station {0} belongs to another account")]
    NotTheOwner(StationId),
    /// The meter has not signed that it serves at this outlet of this owner.
    #[error("meter {meter} has not signed that it serves at EVSE {evse}")]
    MeterNotInstalled {
        /// The outlet.
        evse: EvseId,
        /// The meter's key.
        meter: PublicKey,
    },
    /// A meter was or is registered at another outlet, or was replaced at this one.
    #[error("meter {0} has been registered before; a meter serves one outlet")]
    MeterBound(PublicKey),
    /// An outlet with no power or no connector.
    #[error("EVSE {0} has no power or no connector")]
    EmptyEvse(EvseId),
    /// There is no more room in a tree of the state.
    #[error("the state is full")]
    Full,
    /// The sender is not the validator that the message names.
    #[error("the sender is not validator {0}")]
    NotTheValidator(u16),
    /// There is no key of that epoch, or it is being made.
    #[error("epoch {0} has no auction key")]
    NoEpochKey(u64),
    /// The key of that epoch no longer opens auctions: a newer one has been there for [`crate::Governance::KEY_GRACE`].
    #[error("the auction key of epoch {epoch} opened auctions until {until}, and it is {now}")]
    OldEpochKey {
        /// Its epoch.
        epoch: u64,
        /// Until when it served.
        until: Timestamp,
        /// The block's time.
        now: Timestamp,
    },
    /// No key is being made for that epoch.
    #[error("no auction key is being made for epoch {0}")]
    NoGeneration(u64),
    /// A key that is not the one the zone's only validator may make.
    #[error("only a validator that is alone makes the key of epoch {0} by itself")]
    NotAlone(u64),
    /// A message of the key generation is refused.
    #[error(transparent)]
    Generation(#[from] GenerationError),
    /// There is no such running auction.
    #[error("there is no running auction {0}")]
    NoAuction(AuctionId),
    /// The auction is there already.
    #[error("auction {0} exists already")]
    AuctionExists(AuctionId),
    /// The zone holds no auctions in that area.
    #[error("the zone holds no auctions in area {0}")]
    NoArea(Area),
    /// The deadline leaves too little time or too few blocks, or lies too far ahead.
    #[error(
        "the deadline is {deadline} and {blocks} blocks; after {now}, within an hour and at least {blocks_needed} blocks are allowed"
    )]
    Deadline {
        /// The deadline asked for.
        deadline: Timestamp,
        /// The blocks asked for.
        blocks: u16,
        /// Block time.
        now: Timestamp,
        /// Blocks in which proposers with more than a third of the stake have their turn.
        blocks_needed: u16,
    },
    /// A buyer's one-time key was used in another auction.
    #[error("the buyer's key of auction {0} has been used before")]
    BuyerKeyUsed(AuctionId),
    /// A renewable share is asked for, which nothing can certify yet.
    #[error("auction {0} asks for a renewable share, which no certificate backs yet")]
    NoRenewableCertificates(AuctionId),
    /// Bidding is over, or not over yet.
    #[error("auction {0} is not at the step for this")]
    AuctionStep(AuctionId),
    /// The station has bid already.
    #[error("station {0} has bid already")]
    BidTwice(StationId),
    /// The outlet is not the station's, or does not meet the intent's filters.
    #[error("EVSE {0} is not what the intent asks for")]
    UnfitEvse(EvseId),
    /// An intent is refused.
    #[error(transparent)]
    Intent(#[from] IntentError),
    /// A bid is refused.
    #[error(transparent)]
    Bid(#[from] BidError),
    /// A release is refused.
    #[error(transparent)]
    Release(#[from] ReleaseError),
    /// An outcome is refused.
    #[error(transparent)]
    Outcome(#[from] OutcomeError),
    /// The sender is not the buyer of the auction.
    #[error("the sender is not the buyer of auction {0}")]
    NotTheBuyer(AuctionId),
    /// What the winner says is not of the award, or not by the winner.
    #[error("this is not of the award of auction {0}, or not by its winner")]
    NotTheAward(AuctionId),
    /// What should show that an award cannot be read does not.
    #[error(transparent)]
    Award(#[from] AwardError),
    /// A station's key for awards to which nothing can be sealed.
    #[error("nothing can be sealed to the award key of station {0}")]
    AwardKey(StationId),
    /// There is no such open contract.
    #[error("there is no open contract {0}")]
    NoContract(ContractId),
    /// The contract is there already.
    #[error("contract {0} exists already")]
    ContractExists(ContractId),
    /// The contract says something else than the registry, the auction or the zone.
    #[error("contract {contract}: its {what} is not the ledger's")]
    ContractTerms {
        /// The contract.
        contract: ContractId,
        /// Which of its terms.
        what: &'static str,
    },
    /// The same energy would be sold twice.
    #[error(
        "EVSE {evse}: the meter's register from {from} to {to} is claimed, {sold_from} to {sold_to} was sold"
    )]
    MeterRegister {
        /// The outlet.
        evse: EvseId,
        /// The register at the contract's start.
        from: Energy,
        /// The register at its end.
        to: Energy,
        /// Where the first part of that begins that was sold before, or is too old to be sold.
        sold_from: Energy,
        /// Where that part ends.
        sold_to: Energy,
    },
    /// The outlet has changed its meter more than once since the contract was made: nothing is known of its register.
    #[error("EVSE {evse}: meter {meter} is neither the outlet's nor the one before it")]
    MeterGone {
        /// The outlet.
        evse: EvseId,
        /// The contract's meter.
        meter: PublicKey,
    },
    /// A word of the contract is refused.
    #[error(transparent)]
    Contract(#[from] Refused),
    /// The paid weight costs more than the sender has.
    #[error("account {account} has {available} available, the fee is {fee}")]
    Fee {
        /// Who would have to pay.
        account: AccountId,
        /// What it may spend, in micro-units.
        available: Amount,
        /// What it would cost, in micro-units.
        fee: Amount,
    },
    /// Free accounts are bounded where transactions cost something.
    #[error(
        "this block has opened as many accounts for nothing as it may; somebody can open it for the owner"
    )]
    FreeAccounts,
    /// Together, the block's transactions would cost too much to check.
    #[error("it weighs {weight}, the block has room for {left}")]
    Weight {
        /// Its weight.
        weight: u32,
        /// What is left.
        left: u32,
    },
    /// Fewer regulators than the zone demands, or the zone has none.
    #[error("{found} of {needed} regulators signed")]
    Regulators {
        /// How many did.
        found: usize,
        /// How many must; none: the zone has no regulators.
        needed: u8,
    },
    /// The signers do not have more than two thirds of the stake.
    #[error("validators with stake {found} of {whole} signed, more than two thirds are needed")]
    Stake {
        /// The stake of those that signed.
        found: u64,
        /// All stake.
        whole: u64,
    },
    /// A decision for another epoch.
    #[error("it is for epoch {named}, this is epoch {running}")]
    OtherEpoch {
        /// The epoch it names.
        named: u64,
        /// The epoch that the ledger wants there.
        running: u64,
    },
    /// The next validators cannot be.
    #[error("the next validators: {0}")]
    Validators(String),
    /// The next rules cannot be.
    #[error("the next rules: {0}")]
    Rules(String),
    /// More stake than its bond is worth.
    #[error("validator {account} has a bond of {bonded}, its stake needs {needed}")]
    BondTooSmall {
        /// Whose.
        account: AccountId,
        /// What is bonded and does not leave.
        bonded: Amount,
        /// What is needed.
        needed: Amount,
    },
    /// There is no such bond, or not as much.
    #[error("account {account} has {bonded} bonded, {asked} asked")]
    NoBond {
        /// Whose.
        account: AccountId,
        /// What is bonded and does not leave.
        bonded: Amount,
        /// What was asked back.
        asked: Amount,
    },
    /// The sender is no validator of the next epoch.
    #[error("account {0} is no validator of the next epoch")]
    NoValidator(AccountId),
    /// A validator has made as many keys for the next epoch known as it may.
    #[error("validator {account} has made {most} vote keys for the next epoch known, and may make no more")]
    VoteKeys {
        /// Whose.
        account: AccountId,
        /// How many it may.
        most: u8,
    },
    /// A vote key that somebody votes with, has voted with, or will vote with.
    #[error("key {0} is or was somebody's vote key")]
    VoteKeyUsed(PublicKey),
    /// Statements that do not convict anybody.
    #[error("this does not prove that validator {validator} of epoch {epoch} contradicted itself")]
    NoContradiction {
        /// The validator.
        validator: u16,
        /// The epoch.
        epoch: u64,
    },
    /// It has been convicted before.
    #[error("validator {validator} of epoch {epoch} has been convicted already")]
    ConvictedAlready {
        /// The validator.
        validator: u16,
        /// The epoch.
        epoch: u64,
    },
    /// The epoch is running no longer, and too long ago.
    #[error("the ledger does not know epoch {0}, or no longer")]
    NoEpoch(u64),
    /// Only the distributor may.
    #[error("account {0} is not the distributor's")]
    NotTheDistributor(AccountId),
    /// Too short a notice, or something is to come already.
    #[error("it would hold from {from}; {earliest} is the earliest, and only one may be to come")]
    Notice {
        /// From when.
        from: Timestamp,
        /// The earliest time allowed.
        earliest: Timestamp,
    },
    /// A price above what the regulators allow.
    #[error("price {price} micro-units/kWh is above the cap of {cap}")]
    AboveCap {
        /// The price.
        price: i64,
        /// The cap.
        cap: i64,
    },
    /// Neither both parties signed, nor did the regulators of a dispute.
    #[error("contract {0}: both parties sign its resolution, or the regulators do if the buyer disputed it")]
    NotResolved(ContractId),
}
