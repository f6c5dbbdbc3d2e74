//! What the state holds, one object a slot, and the balances of the two journals.

use crate::{Amount, Asset, TransactionError};
use ohmesh_units::{
    AccountId, Canonical, Domain, Energy, EvseId, Hash, Position, Power, Price, PublicKey, StationId,
    Timestamp,
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
        }
    }

    /// When the object ends by itself, if it does.
    pub fn timeout(&self) -> Option<Timestamp> {
        match self {
            Self::Pending(pending) => Some(pending.timeout),
            _ => None,
        }
    }
}

impl Canonical for Object {
    const NAME: &'static str = "object";
    const MAX_BYTES: usize = 1 << 10;
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
