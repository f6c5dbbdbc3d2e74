//! What can be asked of the ledger: see the table in the crate's front page for who may send what.

use crate::{Evidence, LedgerError, Rules, TransactionError, ValidatorSet};
use ohmesh_auction::{
    award::{Accept, Unreadable},
    bid::Bid,
    intent::Intent,
    key::{
        Blinding, EpochKey,
        generation::{Complaint, Deal, Handout},
    },
    outcome::Outcome,
    release::Release,
};
use ohmesh_contract::{Agreement, Checkpoint, MeterRecord, Offer, Release as Waiver, Signed, Start, Terms};
use ohmesh_units::{
    AccountId, Canonical, ContractId, Domain, Energy, EvseId, Hash, Position, Power, Price, PublicKey,
    Signature, SignatureCheck, SigningKey, StationId, Timestamp, TransactionId, ZoneId, append_postcard,
    verify_batch,
};
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

/// The two double-entry books.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Journal {
    /// Buyers and sellers.
    Energy,
    /// Sellers and distributors.
    Grid,
}

impl Journal {
    /// Both, in the order of their roots.
    pub const ALL: [Self; 2] = [Self::Energy, Self::Grid];
}

/// What a journal counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub enum Asset {
    /// The zone's currency, in micro-units.
    Currency,
    /// The zone's energy coin, in Wh.
    EnergyCoin,
}

impl Asset {
    /// Both, in the order of a balance's amounts.
    pub const ALL: [Self; 2] = [Self::Currency, Self::EnergyCoin];
}

/// An amount of an [`Asset`] in its smallest unit (micro-units or Wh): 1 or more in every transaction.
pub type Amount = i64;

/// One step of a linked group: all of a group's legs are posted, or none.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Leg {
    /// From one account to another in one journal.
    Move {
        /// The book.
        journal: Journal,
        /// What moves.
        asset: Asset,
        /// Who pays.
        from: AccountId,
        /// Who is paid.
        to: AccountId,
        /// How much.
        amount: Amount,
    },
    /// The same account's money from one journal to the other: it leaves one book and enters the other at once.
    Cross {
        /// What crosses.
        asset: Asset,
        /// Whose it is, before and after.
        account: AccountId,
        /// The book it leaves; it enters the other.
        from: Journal,
        /// How much.
        amount: Amount,
    },
}

/// The content of a transaction. Tags are never reused: append only.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Body {
    /// Opens the account of `owner`, who signs.
    OpenAccount {
        /// The key of the new account; the sender is the account itself.
        owner: PublicKey,
    },
    /// Brings money into the zone, against a reference outside (a bank transfer).
    Issue {
        /// What is issued.
        asset: Asset,
        /// Who receives it.
        to: AccountId,
        /// How much.
        amount: Amount,
        /// The reference outside, 1 to 64 bytes.
        reference: String,
    },
    /// Takes the sender's money out of the zone, against a reference outside.
    Burn {
        /// What is burned.
        asset: Asset,
        /// How much.
        amount: Amount,
        /// The reference outside, 1 to 64 bytes.
        reference: String,
    },
    /// Posts 1 to 16 legs as one group; the sender is the payer of each.
    Transfer {
        /// The legs, posted in order.
        legs: Vec<Leg>,
    },
    /// Holds the sender's money in the energy journal for `to` until it is posted, voided, or the time is over.
    Pend {
        /// Who may post it.
        to: AccountId,
        /// What is held.
        asset: Asset,
        /// How much.
        amount: Amount,
        /// When it is released by itself, in block time.
        timeout: Timestamp,
    },
    /// Holds the price of a sale at an EVSE: `price` x `energy` in the energy journal, of which the seller owes the
    /// grid fee to the distributor.
    PendSale {
        /// The outlet, whose owner is the seller.
        evse: EvseId,
        /// The price agreed; at least the grid tariff.
        price: Price,
        /// The most energy that may be sold.
        energy: Energy,
        /// When it is released by itself, in block time.
        timeout: Timestamp,
    },
    /// Ends a hold by paying up to what it holds.
    Post {
        /// The hold.
        pending: Hash,
        /// How much is paid; the rest is released.
        amount: Amount,
    },
    /// Ends a sale by its meter's reading: energy legs and grid legs are posted as one group.
    PostSale {
        /// The sale's hold.
        pending: Hash,
        /// What the registered meter counted; its key signs this transaction too.
        energy: Energy,
        /// The meter's lifetime register when the sale began.
        register_start: Energy,
    },
    /// Ends a hold by releasing all of it; sent by who would have been paid.
    Void {
        /// The hold.
        pending: Hash,
    },
    /// Registers the sender's station, or changes it.
    RegisterStation {
        /// The sender's own number for it.
        number: u32,
        /// What people call it, 1 to 64 bytes.
        name: String,
        /// Where it stands; the auction's winner proof relies on it.
        position: Position,
        /// The X25519 key to which awards are encrypted.
        award_key: Hash,
    },
    /// Registers an outlet of the sender's station, or changes it.
    RegisterEvse {
        /// The station.
        station: StationId,
        /// Its number there.
        number: u16,
        /// Its plugs, one bit each, as `Connectors` of `ohmesh-geo`.
        connectors: u16,
        /// Rated power; at least 1 W.
        power: Power,
        /// The key with which its meter signs.
        meter: PublicKey,
        /// The meter's signature of its [`Installation`](crate::Installation) at this outlet.
        installed: Signature,
    },
    /// Key generation: a validator's commitments.
    KeyDeal(Box<Deal>),
    /// Key generation: a validator's sealed shares for the others.
    KeyHandout(Box<Handout>),
    /// Key generation: a validator's blinding shares.
    KeyBlinding(Box<Blinding>),
    /// Key generation: a validator shows that a dealer cheated.
    KeyComplaint(Box<Complaint>),
    /// The key that the only validator of a zone has made by itself.
    KeySolo(Box<EpochKey>),
    /// Opens an auction; the sender answers for the buyer.
    AuctionOpen(Box<Intent>),
    /// A sealed bid of the sender's station.
    AuctionBid {
        /// The bid.
        bid: Box<Bid>,
        /// The outlet that meets the intent's filters.
        evse: EvseId,
    },
    /// A validator's release of the bids, after the deadline.
    AuctionRelease(Box<Release>),
    /// The buyer's decision, with its proof.
    AuctionOutcome(Box<Outcome>),
    /// The winner takes the award.
    AuctionAccept(Accept),
    /// Opens the contract that an auction awarded, and holds its escrow; sent by the buyer.
    ContractOpen(Box<Agreement>),
    /// The buyer's order to start, which the seller may bring to the ledger at once.
    ContractStart(Box<Signed<Start>>),
    /// The meter's record settles a contract.
    ContractSettle {
        /// The record.
        record: Box<Signed<MeterRecord>>,
        /// The buyer's start, if it is not on the ledger yet.
        start: Option<Box<Signed<Start>>>,
        /// The newest record that the buyer signed too, if there is one.
        checkpoint: Option<Box<Checkpoint>>,
    },
    /// The seller waives a contract before anything was charged.
    ContractWaive(Box<Signed<Waiver>>),
    /// Opens the account of `owner`, who signs too, at the sender's cost.
    OpenAccountFor {
        /// The key of the new account.
        owner: PublicKey,
    },
    /// The buyer contests the seller's claim.
    ContractDispute {
        /// The contract.
        contract: ContractId,
    },
    /// Ends a claim with the energy that is to be paid: both parties sign, or the regulators do once it is disputed.
    ContractResolve {
        /// The contract.
        contract: ContractId,
        /// What was delivered; at most what the seller claims.
        energy: Energy,
    },
    /// The validators from the next block on; validators with more than two thirds of this epoch's stake sign.
    SetValidators {
        /// The running epoch: a decision for another one does not count.
        epoch: u64,
        /// All of them.
        validators: Box<ValidatorSet>,
    },
    /// The rules of the next epoch; signed as [`Body::SetValidators`].
    Upgrade {
        /// The running epoch.
        epoch: u64,
        /// The rules.
        rules: Rules,
    },
    /// The key with which the sender will vote in the next epoch.
    VoteKey {
        /// The next epoch.
        epoch: u64,
        /// The key; it signs this transaction too.
        key: PublicKey,
    },
    /// Puts the sender's money behind its votes.
    Bond {
        /// How much, in micro-units of the currency.
        amount: Amount,
    },
    /// Asks a part of the sender's bond back; it is free after [`Rules::UNBONDING`].
    Unbond {
        /// How much.
        amount: Amount,
    },
    /// Shows that a validator contradicted itself: its bond is burned, and it is a validator no longer.
    Convict {
        /// The epoch in which it did.
        epoch: u64,
        /// The proof.
        evidence: Box<Evidence>,
    },
    /// The grid fee from some time on; sent by the distributor.
    SetTariff {
        /// The fee a kWh; not negative.
        price: Price,
        /// From when it holds; at least [`Governance::NOTICE`](crate::Governance::NOTICE) ahead.
        from: Timestamp,
    },
    /// The highest price from some time on; the regulators sign.
    SetPriceCap {
        /// The cap a kWh, positive; none: anything goes.
        cap: Option<Price>,
        /// From when it holds; at least [`Governance::NOTICE`](crate::Governance::NOTICE) ahead.
        from: Timestamp,
    },
    /// The key whose word lets totals be exported; the regulators sign.
    SetAuditKey {
        /// The key; none: nothing may be exported.
        key: Option<PublicKey>,
    },
    /// The circuit that feeds a station; sent by the distributor.
    SetCircuit {
        /// The station.
        station: StationId,
        /// The distributor's number for it; none: unknown.
        circuit: Option<u32>,
    },
    /// The seller takes something off its claim.
    ContractLower {
        /// The contract.
        contract: ContractId,
        /// What it claims from now on: less than before.
        energy: Energy,
    },
    /// In place of the acceptance: the winner shows that the award cannot be read.
    AuctionUnreadable(Unreadable),
    /// The buyer got no offer from the winner, which has accepted: it shall answer on the ledger.
    AuctionDemand(Box<Terms>),
    /// The winner's answer to a demand: the terms, signed; of another of its outlets if need be.
    AuctionOffer(Box<Offer>),
}

impl Body {
    /// What checking and executing this costs beside its signatures, in units of one signature check (about 45
    /// microseconds of one core): measured by the benches of the crates that own the proofs, rounded up.
    pub fn weight(&self) -> u32 {
        let points = |count: usize, each: u32| u32::try_from(count).unwrap_or(u32::MAX).saturating_mul(each);
        match self {
            Self::AuctionOpen(intent) => 50 + points(intent.encode().len() / 32, 1),
            Self::AuctionBid { .. } => 60,
            Self::AuctionRelease(release) => 20 + points(release.encode().len() / 32, 2),
            Self::AuctionOutcome(outcome) => 100 + points(outcome.encode().len() / 32, 6),
            Self::AuctionAccept(_) => 2,
            Self::AuctionUnreadable(_) => 10,
            Self::AuctionDemand(_) | Self::AuctionOffer(_) => 6,
            Self::KeyDeal(deal) => 40 + points(deal.encode().len() / 32, 2),
            Self::KeyHandout(handout) => 40 + points(handout.encode().len() / 32, 2),
            Self::KeyBlinding(_) | Self::KeyComplaint(_) | Self::KeySolo(_) => 80,
            Self::ContractOpen(_) | Self::ContractSettle { .. } => 6,
            Self::Convict { .. } | Self::ContractStart(_) | Self::ContractWaive(_) => 4,
            Self::Transfer { legs } => points(legs.len(), 1),
            Self::SetValidators { .. } => 20,
            Self::RegisterEvse { .. } => 3,
            _ => 2,
        }
    }

    /// Whether it is of a kind that validators owe to the ledger, which cannot go on as it should without it: shares of
    /// auction keys, releases of bids, keys for the next epoch's votes, and proof against one of them.
    pub fn is_duty(&self) -> bool {
        matches!(
            self,
            Self::KeyDeal(_)
                | Self::KeyHandout(_)
                | Self::KeyBlinding(_)
                | Self::KeyComplaint(_)
                | Self::KeySolo(_)
                | Self::AuctionRelease(_)
                | Self::VoteKey { .. }
                | Self::Convict { .. }
        )
    }

    /// The weight that the sender pays for: what opens something pays for all of its later steps, so that nobody who is
    /// owed money has to have some; what the ledger itself needs of its validators is free, and so is the issue that
    /// brings the first money. What can be repeated at will is always paid for.
    pub fn paid_weight(&self, signatures: usize) -> u32 {
        let signatures = u32::try_from(signatures).unwrap_or(u32::MAX);
        match self {
            Self::OpenAccount { .. }
            | Self::Issue { .. }
            | Self::Post { .. }
            | Self::PostSale { .. }
            | Self::Void { .. }
            | Self::KeyDeal(_)
            | Self::KeyHandout(_)
            | Self::KeyBlinding(_)
            | Self::KeyComplaint(_)
            | Self::KeySolo(_)
            | Self::AuctionRelease(_)
            | Self::AuctionOutcome(_)
            | Self::AuctionAccept(_)
            | Self::AuctionUnreadable(_)
            | Self::AuctionDemand(_)
            | Self::AuctionOffer(_)
            | Self::ContractStart(_)
            | Self::ContractSettle { .. }
            | Self::ContractWaive(_)
            | Self::ContractDispute { .. }
            | Self::ContractResolve { .. }
            | Self::VoteKey { .. }
            | Self::Convict { .. } => 0,
            Self::Pend { .. } | Self::PendSale { .. } => {
                signatures.saturating_add(self.weight()).saturating_add(LATER_OF_HOLD)
            }
            Self::AuctionOpen(_) => signatures.saturating_add(self.weight()).saturating_add(LATER_OF_AUCTION),
            Self::ContractOpen(_) => {
                signatures.saturating_add(self.weight()).saturating_add(LATER_OF_CONTRACT)
            }
            _ => signatures.saturating_add(self.weight()),
        }
    }
}

/// What the end of a hold weighs, with two signatures.
const LATER_OF_HOLD: u32 = 4;
/// What an auction's outcome and acceptance weigh, for a usual number of bids.
const LATER_OF_AUCTION: u32 = 400;
/// What a contract's start, two settlements and a dispute weigh.
const LATER_OF_CONTRACT: u32 = 30;

/// A transaction before it is signed.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Transaction {
    /// The zone, so that it cannot be replayed in another.
    pub zone: ZoneId,
    /// Who sends it.
    pub sender: AccountId,
    /// The sender's number for it, not used twice within [`Transaction::VALID_MAX`].
    pub number: u128,
    /// The block time from which on it can no longer apply; at most [`Transaction::VALID_MAX`] ahead.
    pub valid_until: Timestamp,
    /// What it does.
    pub body: Body,
}

impl Transaction {
    /// The domain of transactions' signatures.
    pub const DOMAIN: Domain = Domain::new("ohmesh/1 transaction");
    /// How far ahead a transaction may be valid; after that its id is forgotten.
    pub const VALID_MAX: Duration = Duration::from_secs(24 * 3600);

    /// The id: sender and number.
    pub fn id(&self) -> TransactionId {
        TransactionId { sender: self.sender, number: self.number }
    }

    /// The hash of the content, signatures excluded: two contents under one id are told apart by it.
    pub fn content(&self) -> Hash {
        content(&self.encode())
    }

    /// The id of the hold that this transaction opens if it is a [`Body::Pend`] or [`Body::PendSale`].
    pub fn pending_id(&self) -> Hash {
        const PENDING: Domain = Domain::new("ohmesh/1 pending");
        let (number, until) = (self.number.to_be_bytes(), self.valid_until.as_millis().to_be_bytes());
        PENDING.hash(&[&self.sender.0, &number, &until])
    }

    /// Signs with each of `keys`.
    pub fn sign(self, keys: &[&SigningKey]) -> SignedTransaction {
        let message = self.encode();
        let signatures = keys
            .iter()
            .map(|key| KeySignature { key: key.public(), signature: key.sign(Self::DOMAIN, &message) })
            .collect();
        SignedTransaction { transaction: self, signatures }
    }
}

impl Canonical for Transaction {
    const NAME: &'static str = "transaction";
    /// The longest is a release of 256 bids by a validator with all but one of 32 shares.
    const MAX_BYTES: usize = Release::MAX_BYTES + 256;
}

/// A signature and the key that made it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeySignature {
    /// The key.
    pub key: PublicKey,
    /// Its signature.
    pub signature: Signature,
}

/// A transaction with its signatures, not yet checked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SignedTransaction {
    /// The transaction.
    pub transaction: Transaction,
    /// At most [`SignedTransaction::SIGNATURES_MAX`].
    pub signatures: Vec<KeySignature>,
}

impl SignedTransaction {
    /// Signatures at most: every validator and the sender.
    pub const SIGNATURES_MAX: usize = ValidatorSet::MAX + 1;

    /// What checking and executing it costs, in units of one signature check.
    pub fn weight(&self) -> u32 {
        let signatures = u32::try_from(self.signatures.len()).unwrap_or(u32::MAX);
        self.transaction.body.weight().saturating_add(signatures)
    }
}

impl Canonical for SignedTransaction {
    const NAME: &'static str = "signed transaction";
    const MAX_BYTES: usize = Transaction::MAX_BYTES + 4096;
}

/// A transaction of this zone whose every signature has been checked. What its signers *may* do is for execution to say.
/// Clones share it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verified(Arc<Checked>);

#[derive(PartialEq, Eq, Debug)]
struct Checked {
    encoded: Encoded,
    content: Hash,
}

impl Verified {
    /// Checks the signatures of many transactions as one batch; the first bad one names itself.
    pub fn all(zone: &ZoneId, signed: Vec<SignedTransaction>) -> Result<Vec<Self>, LedgerError> {
        Self::check(zone, signed.into_iter().map(Encoded::new).collect())
    }

    /// Checks the signatures of many transactions as one batch, and tells the bad ones from the good, in their order.
    pub fn each(zone: &ZoneId, signed: Vec<SignedTransaction>) -> Vec<Result<Self, LedgerError>> {
        Self::check_each(zone, signed.into_iter().map(Encoded::new).collect())
    }

    /// Checks the signatures of one transaction.
    pub fn one(zone: &ZoneId, signed: SignedTransaction) -> Result<Self, LedgerError> {
        Self::all(zone, vec![signed]).map(|mut one| one.remove(0))
    }

    /// As [`Verified::all`], of transactions that are encoded already.
    pub(crate) fn check(zone: &ZoneId, encoded: Vec<Encoded>) -> Result<Vec<Self>, LedgerError> {
        // Before the signatures, which are what weighs.
        for one in &encoded {
            one.check_form(zone).map_err(|reason| one.refused(reason))?;
        }
        Self::check_each(zone, encoded).into_iter().collect()
    }

    fn check_each(zone: &ZoneId, encoded: Vec<Encoded>) -> Vec<Result<Self, LedgerError>> {
        let mut bad: Vec<Option<TransactionError>> =
            encoded.iter().map(|one| one.check_form(zone).err()).collect();
        let mut owners = Vec::with_capacity(encoded.len());
        let mut checks = Vec::with_capacity(encoded.len());
        for (at, one) in encoded.iter().enumerate().filter(|(at, _)| bad[*at].is_none()) {
            for KeySignature { key, signature } in &one.signed.signatures {
                owners.push((at, *key));
                checks.push(SignatureCheck {
                    key: *key,
                    domain: Transaction::DOMAIN,
                    message: one.message(),
                    signature: *signature,
                });
            }
        }
        for wrong in verify_batch(&checks).err().unwrap_or_default() {
            let (at, key) = owners[wrong];
            bad[at].get_or_insert(TransactionError::WrongSignature(key));
        }
        let verdicts = encoded.into_iter().zip(bad);
        verdicts
            .map(|(encoded, bad)| match bad {
                Some(reason) => Err(encoded.refused(reason)),
                None => {
                    let content = content(encoded.message());
                    Ok(Self(Arc::new(Checked { encoded, content })))
                }
            })
            .collect()
    }

    /// The transaction.
    pub fn transaction(&self) -> &Transaction {
        &self.signed().transaction
    }

    /// The hash of its content.
    pub fn content(&self) -> Hash {
        self.0.content
    }

    /// The transaction with its signatures.
    pub fn signed(&self) -> &SignedTransaction {
        &self.0.encoded.signed
    }

    /// The encoding of [`Verified::signed`].
    pub fn encoded(&self) -> &[u8] {
        &self.0.encoded.bytes
    }

    /// Its leaf below the root over a block's transactions.
    pub(crate) fn leaf(&self) -> Hash {
        self.0.encoded.leaf
    }

    /// Whether `key` signed.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.signed().signatures.iter().any(|one| one.key == *key)
    }
}

/// A signed transaction, encoded once for all that is checked, hashed, stored and sent of it. Its signatures may be wrong.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Encoded {
    signed: SignedTransaction,
    bytes: Vec<u8>,
    /// How many of the bytes are the encoding of the transaction without its signatures.
    message: usize,
    leaf: Hash,
}

impl Encoded {
    pub(crate) fn new(signed: SignedTransaction) -> Self {
        // The encodings of a transaction with and without its signatures begin alike.
        const { assert!(SignedTransaction::VERSION == Transaction::VERSION) };
        let message = signed.transaction.encode();
        let length = message.len();
        let bytes = append_postcard(message, &signed.signatures);
        Self { leaf: Self::leaf_of(&bytes), signed, bytes, message: length }
    }

    /// The leaf of a signed transaction, by its encoding: it binds every byte, signatures included.
    pub(crate) fn leaf_of(bytes: &[u8]) -> Hash {
        const TRANSACTION: Domain = Domain::new("ohmesh/1 signed transaction");
        TRANSACTION.hash(&[bytes])
    }

    pub(crate) fn leaf(&self) -> Hash {
        self.leaf
    }

    /// What its signatures sign.
    fn message(&self) -> &[u8] {
        &self.bytes[..self.message]
    }

    /// What can be told without checking a signature.
    fn check_form(&self, zone: &ZoneId) -> Result<(), TransactionError> {
        if self.signed.transaction.zone != *zone {
            return Err(TransactionError::OtherZone(self.signed.transaction.zone));
        }
        if self.signed.signatures.len() > SignedTransaction::SIGNATURES_MAX {
            return Err(TransactionError::TooManySignatures(self.signed.signatures.len()));
        }
        Ok(())
    }

    fn refused(&self, reason: TransactionError) -> LedgerError {
        LedgerError::Transaction { id: self.signed.transaction.id(), reason }
    }
}

fn content(encoded: &[u8]) -> Hash {
    const CONTENT: Domain = Domain::new("ohmesh/1 transaction content");
    CONTENT.hash(&[encoded])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONE: ZoneId = ZoneId([1; 32]);

    fn signed(number: u128, body: Body, keys: &[&SigningKey]) -> SignedTransaction {
        let sender = AccountId::of(&keys[0].public());
        Transaction { zone: ZONE, sender, number, valid_until: Timestamp::from_millis(1_000), body }
            .sign(keys)
    }

    #[test]
    fn each_is_told_from_the_others_and_all_or_none_are_taken() {
        let keys = [1, 2, 3].map(|n| SigningKey::from_seed([n; 32]));
        let open = |n: usize| Body::OpenAccount { owner: keys[n].public() };
        let mut all: Vec<SignedTransaction> = (0..8).map(|n| signed(n, open(0), &[&keys[0]])).collect();
        assert_eq!(Verified::all(&ZONE, all.clone()).unwrap().len(), 8);
        all[2].transaction.zone = ZoneId([2; 32]);
        all[3].signatures[0].signature = all[4].signatures[0].signature;
        all[5].transaction.number = 50;
        all[6].signatures = vec![all[6].signatures[0]; SignedTransaction::SIGNATURES_MAX + 1];
        all[7] = signed(7, open(1), &[&keys[1], &keys[2]]);
        all[7].signatures[1].signature = all[7].signatures[0].signature;
        let reasons: Vec<Option<TransactionError>> = Verified::each(&ZONE, all.clone())
            .into_iter()
            .zip(&all)
            .map(|(verdict, asked)| match verdict {
                Ok(verified) => {
                    assert_eq!(verified.signed(), asked);
                    None
                }
                Err(LedgerError::Transaction { id, reason }) => {
                    assert_eq!(id, asked.transaction.id());
                    Some(reason)
                }
                Err(error) => panic!("{error}"),
            })
            .collect();
        let wrong = |n: usize| Some(TransactionError::WrongSignature(keys[n].public()));
        let (zone, many) = (ZoneId([2; 32]), SignedTransaction::SIGNATURES_MAX + 1);
        let (zone, many) = (TransactionError::OtherZone(zone), TransactionError::TooManySignatures(many));
        let expected = [None, None, Some(zone.clone()), wrong(0), None, wrong(0), Some(many), wrong(2)];
        assert_eq!(reasons, expected);
        let Err(LedgerError::Transaction { reason, .. }) = Verified::all(&ZONE, all) else { panic!() };
        assert_eq!(reason, zone, "the first");
    }

    #[test]
    fn what_is_encoded_once_is_the_encoding() {
        let keys = [1, 2].map(|n| SigningKey::from_seed([n; 32]));
        let bodies = [
            Body::OpenAccount { owner: keys[0].public() },
            Body::Issue {
                asset: Asset::Currency,
                to: AccountId([3; 32]),
                amount: 1 << 40,
                reference: "x".repeat(500),
            },
            Body::Transfer { legs: Vec::new() },
        ];
        for (number, body) in [1, 1 << 60, 1 << 120].into_iter().zip(bodies) {
            for keys in [&[&keys[0]][..], &[&keys[0], &keys[1]]] {
                let signed = signed(number, body.clone(), keys);
                let verified = Verified::one(&ZONE, signed.clone()).unwrap();
                assert_eq!(verified.encoded(), signed.encode());
                assert_eq!(verified.content(), signed.transaction.content());
                assert_eq!(
                    crate::tree::root_of(&[verified.leaf()]),
                    crate::transactions_root(&[signed]),
                    "and the block binds it"
                );
            }
        }
    }
}
