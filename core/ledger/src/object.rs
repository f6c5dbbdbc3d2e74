//! What the state holds, one object a slot, and the balances of the two journals.

use crate::{Amount, Asset, Bond, Epoch, Gap, Governance, OldMeter, TransactionError};
use ohmesh_auction::{
    bid::LedgeredBid,
    intent::VerifiedIntent,
    key::{
        Blinding, EpochKey, ValidatorIndex,
        generation::{Board, Deal, Generation, GenerationError, Handout},
    },
    release::{Opening, VerifiedRelease},
    seal::{SealKey, Sealed},
};
use ohmesh_contract::{Contract, Offer, Terms};
use ohmesh_units::{
    AccountId, Canonical, ContractId, Domain, Energy, EvseId, Hash, Money, Position, Power, Price, PublicKey,
    StationId, Timestamp,
};
use serde::{Deserialize, Serialize};

/// An object in a slot of the object tree. Tags are never reused: append only.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Object {
    /// An account.
    Account(Account),
    /// A station.
    Station(Station),
    /// An outlet.
    Evse(Evse),
    /// Money held for somebody.
    Pending(Pending),
    /// What an object shrinks to when it has ended: its id and the hash of its last content.
    Finished(Finished),
    /// The generation of an epoch's auction key.
    Generation(Box<KeyGeneration>),
    /// An epoch's auction key.
    EpochKey(Box<EpochKey>),
    /// An auction.
    Auction(Box<Auction>),
    /// A contract.
    Contract(Box<Contract>),
    /// An epoch and its validators.
    Epoch(Box<Epoch>),
    /// What the zone's people have decided.
    Governance(Box<Governance>),
    /// A validator's bond.
    Bond(Box<Bond>),
}

impl Object {
    /// The id under which the object is found.
    pub fn id(&self) -> Hash {
        match self {
            Self::Account(account) => account.id().into(),
            Self::Station(station) => station.id().into(),
            Self::Evse(evse) => evse.id().into(),
            Self::Pending(pending) => pending.id,
            Self::Finished(finished) => finished.id,
            Self::Generation(generation) => epoch_key_id(generation.generation.epoch),
            Self::EpochKey(key) => epoch_key_id(key.epoch()),
            Self::Auction(auction) => auction.intent.id().into(),
            Self::Contract(contract) => contract.id().into(),
            Self::Epoch(epoch) => Epoch::id(epoch.number),
            Self::Governance(_) => Governance::id(),
            Self::Bond(bond) => Bond::id(&bond.owner),
        }
    }

    /// When something happens to the object by itself, if it does.
    pub fn timeout(&self) -> Option<Timestamp> {
        match self {
            Self::Pending(pending) => Some(pending.timeout),
            Self::Generation(generation) => Some(generation.deadline),
            Self::Auction(auction) => Some(auction.deadline),
            Self::Contract(contract) => Some(contract.deadline()),
            Self::Epoch(epoch) => epoch.forgotten(),
            Self::Bond(bond) => bond.leaving.first().map(|(free, _)| *free),
            _ => None,
        }
    }

    /// Whose money the object holds, and how much of which asset: one entry for each hold that has to end.
    pub fn held(&self) -> Vec<(AccountId, Asset, Amount)> {
        match self {
            Self::Pending(pending) => vec![(pending.from, pending.asset, pending.amount)],
            Self::Contract(contract) => {
                vec![(contract.terms().buyer, Asset::Currency, contract.locked().as_micro())]
            }
            Self::Bond(bond) if bond.held() > 0 => vec![(bond.owner, Asset::Currency, bond.held())],
            Self::Auction(auction) => {
                auction.deposited().map(|(owner, amount)| (owner, Asset::Currency, amount)).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl Canonical for Object {
    const NAME: &'static str = "object";
    /// The longest is an auction of 256 bids that a committee of 32 shares has released.
    const MAX_BYTES: usize = 512 << 10;
}

/// An account: who owns it, where its balances are, and how many things hang on it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Account {
    /// The key that opened it and signs for it.
    pub owner: PublicKey,
    /// Its slots in the energy and the grid journal, once it has been used there.
    pub balances: [Option<u32>; 2],
    /// All holds it has ever paid into or been the payee of.
    pub children: Children,
}

impl Account {
    /// The account's id.
    pub fn id(&self) -> AccountId {
        AccountId::of(&self.owner)
    }
}

/// The number of an object's children and the hash chain over their ids in order, so that nobody can leave one out.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Children {
    /// How many.
    pub count: u32,
    /// Hash of the chain so far; [`Hash::ZERO`] over none.
    pub chain: Hash,
}

impl Children {
    /// The chain with `child` at its end.
    pub fn with(self, child: Hash) -> Result<Self, TransactionError> {
        const CHILD: Domain = Domain::new("ohmesh/1 child");
        let count = self.count.checked_add(1).ok_or(TransactionError::Full)?;
        Ok(Self { count, chain: CHILD.hash(&[&self.chain.0, &child.0]) })
    }

    /// Whether `children`, in order, are all of them.
    pub fn are(self, children: &[Hash]) -> bool {
        children.iter().try_fold(Self::default(), |chain, child| chain.with(*child)) == Ok(self)
    }
}

/// A registered station.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Station {
    /// The operator's account.
    pub owner: AccountId,
    /// The operator's number for it.
    pub number: u32,
    /// What people call it.
    pub name: String,
    /// Where it stands.
    pub position: Position,
    /// The X25519 key to which awards are encrypted.
    pub award_key: Hash,
    /// The circuit of the grid that feeds it, by the distributor's number, once the distributor has said so.
    pub circuit: Option<u32>,
}

impl Station {
    /// The station's id.
    pub fn id(&self) -> StationId {
        StationId::of(&self.owner, self.number)
    }
}

/// A registered outlet.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Evse {
    /// Its station.
    pub station: StationId,
    /// The station's owner, who sells here.
    pub owner: AccountId,
    /// Its number there.
    pub number: u16,
    /// Its plugs, one bit each.
    pub connectors: u16,
    /// Rated power.
    pub power: Power,
    /// The key with which its meter signs.
    pub meter: PublicKey,
    /// The meter's lifetime register after the highest reading that was sold.
    pub register: Energy,
    /// What was not sold below it, ascending; at most [`Evse::GAPS_MAX`].
    pub gaps: Vec<Gap>,
    /// The meter before this one, while contracts of it may be open.
    pub before: Option<Box<OldMeter>>,
}

impl Evse {
    /// The outlet's id.
    pub fn id(&self) -> EvseId {
        EvseId::of(&self.station, self.number)
    }
}

/// Money of `from` in the energy journal that only `to` may post, until `timeout`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Pending {
    /// Its id.
    pub id: Hash,
    /// Whose money it is.
    pub from: AccountId,
    /// Who may post it.
    pub to: AccountId,
    /// What is held.
    pub asset: Asset,
    /// How much.
    pub amount: Amount,
    /// When it is released by itself.
    pub timeout: Timestamp,
    /// The sale it pays for, if it is one.
    pub sale: Option<Sale>,
}

/// The terms of a sale, fixed when its money was held.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Sale {
    /// The outlet.
    pub evse: EvseId,
    /// The meter's key as it was registered then.
    pub meter: PublicKey,
    /// Price a kWh.
    pub price: Price,
    /// Grid fee a kWh, as it was then.
    pub tariff: Price,
    /// The most energy.
    pub energy: Energy,
}

/// How an object ended. Tags are never reused: append only.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum End {
    /// A hold was paid, in whole or in part.
    Posted,
    /// A hold was released by its payee.
    Voided,
    /// A hold was released by its timeout.
    Expired,
    /// An auction led to this contract.
    Contracted(ContractId),
    /// An auction was proven to have no eligible bid.
    NobodyEligible,
    /// An auction ran out of time, and nobody is to blame alone: the bids were never opened.
    TimedOut,
    /// A buyer's one-time key, a meter's key or a validator's vote key has been used.
    Used,
    /// A validator's bond was burned.
    Slashed,
    /// An epoch is so long over that nothing signed in it can be punished any more; or a key's making was overtaken by
    /// another set of validators.
    Past,
    /// An auction's buyer did not decide, or did not open the contract: its deposit is burned.
    BuyerFailed,
    /// An auction's winner has shown that nobody can read its award: the buyer's deposit is burned.
    Unreadable,
    /// An auction's winners did not come, one after the other: their deposits are burned.
    NobodyCame,
}

/// The remains of an object: enough to prove how it ended, not more.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Finished {
    /// Its id.
    pub id: Hash,
    /// How it ended.
    pub end: End,
    /// Hash of the object as it last was.
    pub content: Hash,
}

impl Finished {
    /// What is left of `object` when it ends by `end`.
    pub fn of(object: &Object, end: End) -> Self {
        const FINISHED: Domain = Domain::new("ohmesh/1 finished object");
        Self { id: object.id(), end, content: FINISHED.hash(&[&object.encode()]) }
    }
}

/// The generation of an epoch's auction key: every message that was accepted, so that each replica sees the same board.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KeyGeneration {
    /// The attempt.
    pub generation: Generation,
    /// Validators that were silent or cheated in an earlier attempt, ascending.
    pub excluded: Vec<ValidatorIndex>,
    /// Deals in the order of their arrival.
    pub deals: Vec<Deal>,
    /// Handouts in the order of their arrival.
    pub handouts: Vec<Handout>,
    /// Blinding shares in the order of their arrival.
    pub blindings: Vec<Blinding>,
    /// When the time of the current step is over.
    pub deadline: Timestamp,
}

impl KeyGeneration {
    /// The board as all messages so far make it.
    pub fn board(&self) -> Result<Board, GenerationError> {
        let mut board = Board::new(self.generation.clone());
        self.deals.iter().try_for_each(|deal| board.on_deal(deal.clone()))?;
        self.handouts.iter().try_for_each(|handout| board.on_handout(handout.clone()))?;
        self.blindings.iter().try_for_each(|blinding| board.on_blinding(blinding.clone()))?;
        Ok(board)
    }
}

/// The id under which the generation of an epoch's key, and then the key, is found.
pub fn epoch_key_id(epoch: u64) -> Hash {
    const EPOCH_KEY: Domain = Domain::new("ohmesh/1 epoch key");
    EPOCH_KEY.hash(&[&epoch.to_be_bytes()])
}

/// An auction that is running. Its bids and releases are parts of it, so that nobody can hide one from a phone.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Auction {
    /// What is asked for.
    pub intent: VerifiedIntent,
    /// The account that answers for the buyer.
    pub buyer: AccountId,
    /// The height of the block that opened it.
    pub height: u64,
    /// Bids that count, in ledger order; at most [`ohmesh_auction::BIDS_MAX`].
    pub bids: Vec<LedgeredBid>,
    /// Who answers for each of them, in the same order.
    pub bidders: Vec<Bidder>,
    /// What each of them and the buyer has deposited: as the rules were when it was opened.
    pub deposits: Deposits,
    /// Winners that did not come, in order. Their deposits are burned, and their bids no longer count.
    pub no_shows: Vec<StationId>,
    /// Releases in the order of their arrival.
    pub releases: Vec<(ValidatorIndex, VerifiedRelease)>,
    /// What the releases open, once a threshold of shares is there.
    pub opening: Option<Opening>,
    /// The winner, once the buyer has proven it.
    pub award: Option<Award>,
    /// When the time of the current step is over.
    pub deadline: Timestamp,
    /// How long the chain had stood still, in all its life, when the step began: time in which nobody could do anything
    /// does not count.
    pub halted_ms: u64,
}

impl Auction {
    /// Winners of one auction that may fail to come; after the last of them it is void.
    pub const NO_SHOWS_MAX: usize = 3;

    /// The deposits that the auction holds now, and whose they are: the buyer's first.
    pub fn deposited(&self) -> impl Iterator<Item = (AccountId, Amount)> {
        let Deposits { buyer, bid } = self.deposits;
        let bidders = self.bidders.iter().map(move |bidder| (bidder.account, bid.as_micro()));
        std::iter::once((self.buyer, buyer.as_micro())).chain(bidders).filter(|(_, amount)| *amount > 0)
    }
}

/// Who answers for a bid.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bidder {
    /// The station's owner.
    pub account: AccountId,
    /// The key that the station had for awards when it bid: to this one the buyer seals, whatever the station registers
    /// later.
    pub award_key: SealKey,
}

/// What has to be deposited in auctions. Who fails the others loses it; it is burned.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Deposits {
    /// By the account that answers for the buyer; 0 to [`Deposits::MAX`].
    pub buyer: Money,
    /// By a station's owner, with each bid; 0 to [`Deposits::MAX`].
    pub bid: Money,
}

impl Deposits {
    /// A thousand units of currency: more is a slip of the pen.
    pub const MAX: Money = Money::from_micro(1_000_000_000);
    /// No deposits.
    pub const NONE: Self = Self { buyer: Money::ZERO, bid: Money::ZERO };
}

/// Who won an auction, and whether it took the award.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Award {
    /// Position of the bid in ledger order.
    pub bid: u16,
    /// The winner.
    pub station: StationId,
    /// Its owner.
    pub seller: AccountId,
    /// The price to be paid.
    pub price: Price,
    /// Hash of the outcome.
    pub outcome: Hash,
    /// Whether the price is proven to be the best; otherwise the buyer chose.
    pub is_proven_best: bool,
    /// What the winner alone reads.
    pub sealed: Sealed,
    /// Whether the winner has accepted.
    pub is_accepted: bool,
    /// What the buyer has demanded on the ledger, because it got no offer from the winner.
    pub demand: Option<Demand>,
}

/// The contract's offer, by way of the ledger: so that everybody sees who of the two does not come.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Demand {
    /// The buyer wants these terms signed.
    Asked(Box<Terms>),
    /// The winner has signed; the buyer has all it needs to open the contract.
    Answered(Box<Offer>),
}

/// One account's amounts of one asset in one journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Holding {
    /// What has been posted.
    pub posted: Amount,
    /// How much of it is held for somebody else; never more than is posted (I2).
    pub held: Amount,
}

impl Holding {
    /// What the account may spend.
    pub fn available(&self) -> Amount {
        self.posted - self.held
    }
}

/// One account in one journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Balance {
    /// Whose.
    pub account: AccountId,
    /// By [`Asset`], in the order of [`Asset::ALL`].
    pub holdings: [Holding; 2],
    /// All energy it has ever bought.
    pub bought: Energy,
    /// All energy it has ever sold.
    pub sold: Energy,
}

impl Balance {
    /// An account that has nothing yet.
    pub fn empty(account: AccountId) -> Self {
        Self { account, holdings: Default::default(), bought: Energy::ZERO, sold: Energy::ZERO }
    }

    /// The holding of `asset`.
    pub fn of(&self, asset: Asset) -> &Holding {
        &self.holdings[asset as usize]
    }

    pub(crate) fn of_mut(&mut self, asset: Asset) -> &mut Holding {
        &mut self.holdings[asset as usize]
    }
}

impl Canonical for Balance {
    const NAME: &'static str = "balance";
    const MAX_BYTES: usize = 128;
}
