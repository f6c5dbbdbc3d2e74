//! What of a purchase survives a restart.

use super::{Ended, PurchaseReceipt, Timings};
use crate::{Damage, Part};
use ohmesh_auction::{
    intent::{BuyerSecret, Intent},
    key::EpochKey,
    outcome::Outcome,
};
use ohmesh_contract::{Agreement, BuyerSnapshot, Checkpoint, Contract, Signed, Start, Terms};
use ohmesh_ledger::Evse;
use ohmesh_units::{AuctionId, Canonical, Hash, Price, PublicKey, SigningKey, StationId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// A purchase as it is stored. Tags are the order of variants: never reused, only appended.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Saved {
    /// It goes on.
    Open(Box<Open>),
    /// It ended without energy.
    Ended { auction: AuctionId, timings: Timings, end: Ended },
    /// It was paid.
    Settled(Box<PurchaseReceipt>),
}

impl Saved {
    /// The purchase's id: its auction's.
    pub(crate) fn id(&self) -> AuctionId {
        match self {
            Self::Open(open) => open.intent.id(),
            Self::Ended { auction, .. } => *auction,
            Self::Settled(receipt) => receipt.sale.auction,
        }
    }

    /// What of the ledger it waits for while its contract is open: the contract, and the outlet whose meter counts.
    pub(crate) fn follows(&self) -> Option<[Hash; 2]> {
        let Self::Open(open) = self else { return None };
        let Phase::Sale(sale) = &open.phase else { return None };
        let terms = &sale.agreement.as_ref().filter(|_| sale.is_open)?.offer.terms;
        Some([terms.id().into(), terms.evse.into()])
    }

    /// Whether it goes on.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self, Self::Open(_))
    }
}

impl Canonical for Saved {
    const NAME: &'static str = "purchase";
    /// Intent, key, outcome or session, and what [`SavedSale`] bounds.
    const MAX_BYTES: usize = 128 << 10;
}

/// What a purchase that goes on needs.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Open {
    pub(super) intent: Intent,
    pub(super) epoch_key: EpochKey,
    /// The seed of the one-time key that signs for this purchase.
    pub(super) seed: Secret,
    pub(super) timings: Timings,
    pub(super) phase: Phase,
}

impl Open {
    pub(super) fn signing_key(&self) -> Result<SigningKey, Damage> {
        let seed = Zeroizing::new(<[u8; 32]>::try_from(&self.seed.0[..]).map_err(|_| damaged("its seed"))?);
        Ok(SigningKey::from_seed(*seed))
    }
}

/// How far it is. Tags are the order of variants: never reused, only appended.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) enum Phase {
    /// The intent is made.
    Asked {
        /// The buyer's secret of the auction.
        secret: Secret,
    },
    /// The outcome is made.
    Decided {
        outcome: Box<Outcome>,
        /// Whether anybody has bid.
        has_bids: bool,
        /// Whether the app knows that the ledger has it.
        is_told: bool,
        /// The buyer's secret of the auction: should the winner not come, the next best has to be proven.
        secret: Secret,
    },
    /// The winner has accepted.
    Sale(Box<SavedSale>),
}

/// A sale on its way.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct SavedSale {
    pub(super) station: StationId,
    pub(super) seller_key: PublicKey,
    pub(super) price: Price,
    /// The station's outlets that fit, in the order in which they are asked for; at most [`OUTLETS_MAX`].
    pub(super) outlets: Vec<Evse>,
    /// Which of them is asked for.
    pub(super) outlet: usize,
    pub(super) session: Option<BuyerSnapshot>,
    pub(super) agreement: Option<Agreement>,
    /// The newest starts that were signed, one for each connection; at most [`KEPT_MAX`].
    pub(super) starts: Vec<Signed<Start>>,
    /// The newest checkpoints that were signed; at most [`KEPT_MAX`].
    pub(super) checkpoints: Vec<Checkpoint>,
    /// Whether the contract is open on the ledger.
    pub(super) is_open: bool,
    /// The buyer's secret of the auction, until the contract is open.
    pub(super) secret: Option<Secret>,
    /// What was demanded of the winner on the ledger, as it made no offer.
    pub(super) demand: Option<Box<Terms>>,
    /// The contract with the seller's claim, as the ledger has last shown it: disputed and lowered, if it was.
    pub(super) claimed: Option<Contract>,
}

impl SavedSale {
    pub(super) fn new(station: StationId, seller_key: PublicKey, price: Price, secret: Secret) -> Self {
        Self {
            station,
            seller_key,
            price,
            outlets: Vec::new(),
            outlet: 0,
            session: None,
            agreement: None,
            starts: Vec::new(),
            checkpoints: Vec::new(),
            is_open: false,
            secret: Some(secret),
            demand: None,
            claimed: None,
        }
    }
}

/// Adds `one` to what is kept, the oldest dropped past [`KEPT_MAX`].
pub(super) fn keep<T>(kept: &mut Vec<T>, one: T) {
    if kept.len() == KEPT_MAX {
        kept.remove(0);
    }
    kept.push(one);
}

/// Secret bytes: zeroised when dropped.
#[derive(Clone)]
pub(crate) struct Secret(Zeroizing<Vec<u8>>);

impl Secret {
    pub(super) fn new(bytes: &[u8]) -> Self {
        Self(Zeroizing::new(bytes.to_vec()))
    }

    /// The bytes as a buyer's secret of an auction.
    pub(super) fn buyer(&self) -> Result<BuyerSecret, Damage> {
        let bytes = <&[u8; BuyerSecret::BYTES]>::try_from(&self.0[..]).map_err(|_| damaged("its secret"))?;
        BuyerSecret::from_bytes(bytes).map_err(|_| damaged("its secret"))
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Serialize::serialize(&*self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Vec::deserialize(deserializer).map(|bytes| Self(Zeroizing::new(bytes)))
    }
}

fn damaged(what: &str) -> Damage {
    Damage::new(Part::Row { table: "purchases" }, format!("{what} is not one"))
}

/// Outlets of a station that a purchase looks at.
pub(crate) const OUTLETS_MAX: usize = 8;
/// Starts and checkpoints that are kept: the ledger settles by the newest, a lost message may have left the one before.
const KEPT_MAX: usize = 8;
