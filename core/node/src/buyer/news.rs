//! What a buyer is told: each step of a purchase, and how it ended.

use crate::{Damage, NodeError};
use ohmesh_auction::role::RoleError;
use ohmesh_contract::{Bill, Refused};
use ohmesh_geo::AreaChoiceError;
use ohmesh_units::{
    Area, AuctionId, Canonical, ContractId, Energy, EvseId, Money, Price, StationId, Timestamp,
};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One opened bid, as its buyer sees it; nobody else does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OpenedBid {
    /// Its place in ledger order: what [`Purchase::choose`](crate::Purchase::choose) takes.
    pub bid: usize,
    /// Whose bid it is.
    pub station: StationId,
    /// The price it asks.
    pub price: Price,
    /// Whether it is worth at most the buyer's reserve, detour included.
    pub is_within_reserve: bool,
}

/// A step of a purchase. What it says of the ledger has been proven and is durable.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PurchaseNews {
    /// The auction is on the ledger and takes bids.
    IntentOpen,
    /// The bids are open, best first.
    Offers {
        /// All of them.
        offers: Vec<OpenedBid>,
        /// Whether the purchase waits for [`Purchase::choose`](crate::Purchase::choose); if not, the best has won.
        is_choice: bool,
    },
    /// The ledger has taken the outcome.
    Awarded {
        /// Who won.
        station: StationId,
        /// The price of a kWh.
        price: Price,
    },
    /// The winner did not come, and its deposit is burned: the next best is decided for.
    NoShow {
        /// Who won and stayed away.
        station: StationId,
    },
    /// Both have signed and the escrow is locked: plug in, and confirm the outlet's code.
    ContractOpen {
        /// The contract.
        contract: ContractId,
        /// The outlet.
        evse: EvseId,
        /// What is locked.
        escrow: Money,
    },
    /// Energy flows.
    Charging {
        /// What the station's meter has signed so far.
        energy: Energy,
    },
    /// The seller has claimed this on the ledger without a checkpoint that this node has signed; it is paid at the end of
    /// the time to dispute it.
    Claimed {
        /// What is claimed.
        bill: Bill,
        /// When it is paid.
        until: Timestamp,
    },
    /// The claim is disputed: nothing is paid before it is decided, or before nobody has decided it in time.
    Disputed {
        /// What is claimed.
        bill: Bill,
        /// When it is paid if nobody decides.
        until: Timestamp,
    },
    /// The seller has taken something off the claim.
    ClaimLowered {
        /// What is still claimed.
        bill: Bill,
        /// When it is paid.
        until: Timestamp,
    },
    /// The ledger has settled.
    Receipt(Box<PurchaseReceipt>),
    /// The purchase ended without energy.
    Ended(Ended),
}

/// When a purchase came how far, by this node's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Timings {
    /// The intent was made and handed to an agent.
    pub asked: Timestamp,
    /// The winner's acceptance was proven.
    pub accepted: Option<Timestamp>,
    /// The open contract was proven.
    pub contract_open: Option<Timestamp>,
    /// The end was proven.
    pub ended: Option<Timestamp>,
}

impl Timings {
    /// From the intent to the open contract; `None` until it is open.
    pub fn intent_to_contract(&self) -> Option<Duration> {
        self.contract_open?.since(self.asked)
    }
}

/// What a driver keeps of a purchase.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PurchaseReceipt {
    /// The sale: energy, price and the amounts.
    pub sale: ohmesh_contract::Receipt,
    /// Where.
    pub station: StationId,
    /// When.
    pub timings: Timings,
}

impl Canonical for PurchaseReceipt {
    const NAME: &'static str = "purchase receipt";
    const MAX_BYTES: usize = ohmesh_contract::Receipt::MAX_BYTES + 32 + 4 * 11;
}

/// Why a purchase ended without energy. No money has moved, or all of it came back. Tags are the order of variants:
/// never reused, only appended.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
pub enum Ended {
    /// No agent proves the auction by its deadline.
    #[error("the intent did not reach the ledger in time{}", said(refused))]
    NotOnLedger {
        /// What an agent said when it refused the intent.
        refused: Option<String>,
    },
    /// No station has bid.
    #[error("no station has bid")]
    NobodyBid,
    /// Every bid is above the reserve.
    #[error("no bid is within the reserve")]
    NobodyEligible,
    /// The validators did not open the bids in time.
    #[error("the validators did not open the bids in time")]
    NotReleased,
    /// This side's decision did not reach the ledger in time.
    #[error("the decision did not reach the ledger in time")]
    NotDecided,
    /// The winner did not accept in time.
    #[error("station {0} did not accept in time")]
    NotAccepted(StationId),
    /// The winner's owner is none of the zone's agents, so that nobody can be spoken with.
    #[error("station {0} belongs to none of the zone's agents")]
    NoSellerAgent(StationId),
    /// The winner has no registered outlet with the connector and the power.
    #[error("station {0} has no outlet that fits")]
    NoOutlet(StationId),
    /// The seller's agent did not sign a contract in time.
    #[error("station {station} signed no contract in time{}", said(refused))]
    SellerSilent {
        /// The station.
        station: StationId,
        /// What its agent said when it refused to speak.
        refused: Option<String>,
    },
    /// The signed contract was not opened on the ledger while its offer was valid.
    #[error("contract {0} was not opened on the ledger in time")]
    NotOpened(ContractId),
    /// The seller gave the sale up; the escrow is back.
    #[error("the seller waived contract {0}")]
    Waived(ContractId),
    /// Nothing was settled in time; the escrow is back.
    #[error("contract {0} expired and the escrow went back")]
    Expired(ContractId),
    /// The ledger settled by something that this node has neither signed nor seen: balances tell how much.
    #[error("contract {0} was settled by a claim that this node has not seen")]
    Unexplained(ContractId),
    /// The winner accepted, and this side opened no contract in time: a deposit is burned.
    #[error("no contract with station {0} was opened in time")]
    NotContracted(StationId),
}

impl Canonical for Ended {
    const NAME: &'static str = "end of a purchase";
    const MAX_BYTES: usize = 1 + 1 + 32 + 1 + 3 + 4 * SAID_CHARS_MAX;
}

fn said(refused: &Option<String>) -> String {
    refused.as_ref().map_or(String::new(), |reason| format!(": an agent said {reason:?}"))
}

/// Why a purchase cannot begin or go on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BuyError {
    /// The purchase is over.
    #[error(transparent)]
    Ended(#[from] Ended),
    /// The node's own store or wallet failed, or no agent gave an answer that holds.
    #[error(transparent)]
    Node(#[from] NodeError),
    /// The need names no energy, or more than an auction can sell.
    #[error("{0} cannot be bought in one auction: 1 Wh to 16383 kWh can")]
    Energy(Energy),
    /// The need names no connector.
    #[error("a need names at least one connector")]
    NoConnector,
    /// The price cap is not positive, or too large for an auction.
    #[error("{0} is no price cap")]
    PriceCap(Price),
    /// The reserve is negative or too large for an auction.
    #[error("{0} is no reserve")]
    Reserve(Money),
    /// No area hides the position.
    #[error(transparent)]
    Area(#[from] AreaChoiceError),
    /// The zone holds no auctions in the area, nor in a larger one around the position.
    #[error("the zone holds no auctions in {0} or around it")]
    AreaNotListed(Area),
    /// The position is outside the frame that the zone file gives its area.
    #[error("the position is outside the zone's frame of {0}")]
    OutsideFrame(Area),
    /// No agent proves this node's account: it has to be opened first.
    #[error("this node's account is not open")]
    NoAccount,
    /// The account may not cover the escrow at the highest price.
    #[error("the purchase may lock {needed}, the account has {available}")]
    NotEnough {
        /// Highest price times energy.
        needed: Money,
        /// What the account may spend.
        available: Money,
    },
    /// The validators have not made the auctions' key of this epoch yet.
    #[error("the auctions' key of epoch {0} does not exist yet")]
    NoEpochKey(u64),
    /// The ledger shows no tariffs and caps.
    #[error("the zone's governance is not proven")]
    NoGovernance,
    /// As many purchases are open as may be.
    #[error("{0} purchases are open, which is the most")]
    TooManyOpen(usize),
    /// No purchase waits for this choice.
    #[error("auction {auction} has no bid {bid} to choose, or does not wait for a choice")]
    NoSuchBid {
        /// The auction.
        auction: AuctionId,
        /// The choice.
        bid: usize,
    },
    /// There is no contract yet, or no longer, that this could be about.
    #[error("auction {0} has no contract to speak of")]
    NoContract(AuctionId),
    /// A stored purchase cannot be read.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// The clock is at the end of time.
    #[error("the clock is at the end of time")]
    Clock,
    /// Nothing of the purchase could be seen for so long that the caller is asked to run it again later.
    #[error("no agent showed the purchase for {0:?}; run it again")]
    Stalled(Duration),
    /// The auction's own rules refuse what the ledger shows or what this node would say.
    #[error(transparent)]
    Auction(#[from] RoleError),
    /// The contract's rules refuse what this node would say.
    #[error(transparent)]
    Contract(Box<Refused>),
}

impl From<Refused> for BuyError {
    fn from(refused: Refused) -> Self {
        Self::Contract(Box::new(refused))
    }
}

/// Characters of an agent's words that are kept.
const SAID_CHARS_MAX: usize = 200;
