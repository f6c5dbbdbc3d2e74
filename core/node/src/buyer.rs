//! Buying energy: find, ask, choose, award, charge, pay.
//!
//! ```text
//!   Need + Catalogue --area_in--> Terms, position committed --Node::buy--> Purchase (durable)
//!   Purchase::run:  trade (pure) --Want--> drive: proven objects, the seller's agent --inputs--> trade --Step--> drive
//! ```
//!
//! The position leaves the phone as a commitment and as an area in which at least 20 stations stand. Bids open to this
//! node alone; the outcome it publishes proves that the best has won without saying what the others asked. What the
//! ledger is said to hold is believed only with a certificate and a proof; the seller's agent is spoken with over one
//! mesh connection, whose keying material every start is signed for.

mod drive;
mod find;
mod news;
mod rows;
mod trade;

pub use find::{Nearby, find};
pub use news::{BuyError, Ended, OpenedBid, PurchaseNews, PurchaseReceipt, Timings};
pub(crate) use rows::followed;

use crate::{Node, NodeError};
use drive::{Absence, Shared};
use ohmesh_auction::{
    intent::{Choice, Connectors, EnergyKwh, Kappa, Percent, Pricing, Reserve, Terms},
    key::EpochKey,
};
use ohmesh_contract::BuyerInput;
use ohmesh_geo::Catalogue;
use ohmesh_ledger::{Asset, Governance, Header, Journal, Object, Query, Tariff, blocks_needed, epoch_key_id};
use ohmesh_units::{
    AuctionId, Energy, EvseId, Money, Position, Power, Price, PriceTick, SigningKey, TickSize, Timestamp,
};
use rand_core::Rng;
use std::{fmt, sync::Arc, time::Duration};
use trade::{Facts, Saved, Trade};
use zeroize::Zeroizing;

/// What a driver wants.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Need {
    /// Where the driver is, or will be. It stays on this node.
    pub position: Position,
    /// How much energy; rounded up to whole kWh.
    pub energy: Energy,
    /// Connectors of which the outlet must have one.
    pub connectors: ohmesh_geo::Connectors,
    /// The least power the outlet must give.
    pub power_min: Power,
    /// The highest price of a kWh; rounded up to whole ticks of the auction, less than a tenth of a percent for prices
    /// from 0.07 on, and lowered to what the regulators' cap allows. All bidders see it.
    pub price_cap: Price,
    /// The most the sale is worth, detour included; nobody sees it. `None`: whatever the cap allows.
    pub reserve: Option<Money>,
}

/// How a purchase is run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// How long stations may bid.
    pub bidding: Duration,
    /// Whether the driver chooses among the opened bids; if not, the best is proven and wins. Bidders see it.
    pub is_own_choice: bool,
    /// What a detour weighs.
    pub kappa: Kappa,
    /// How long the contract may last; its escrow is free again after that at the latest.
    pub contract_for: Duration,
    /// How often the ledger is looked at and the seller's agent asked while something is about to happen.
    pub poll: Duration,
    /// How often the ledger is looked at while nothing is.
    pub poll_calm: Duration,
    /// After how long without any proven answer a run gives up; it may be run again.
    pub silence_max: Duration,
    /// Confirms the outlet's code as soon as a car is plugged in. For simulations: a person must read the code.
    pub auto_confirm: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            bidding: Duration::from_secs(8),
            is_own_choice: false,
            kappa: Kappa::try_from(2).expect("2 is one of the eight steps"),
            contract_for: Duration::from_secs(4 * 3600),
            poll: Duration::from_millis(250),
            poll_calm: Duration::from_secs(5),
            silence_max: Duration::from_secs(180),
            auto_confirm: false,
        }
    }
}

/// One purchase that an app holds. A handle: clones are the same purchase.
#[derive(Clone)]
pub struct Purchase(Arc<Shared>);

impl Node {
    /// Prepares a purchase: chooses the area, makes the intent with a key of its own, and makes it durable. Nothing is
    /// on the ledger before [`Purchase::run`].
    ///
    /// Errors: [`BuyError::Area`], [`BuyError::AreaNotListed`], [`BuyError::OutsideFrame`] about the position; one that
    /// names the field of a need that no auction can meet; [`BuyError::NoAccount`], [`BuyError::NotEnough`],
    /// [`BuyError::NoEpochKey`], [`BuyError::TooManyOpen`], [`BuyError::Node`].
    pub async fn buy(
        &self,
        need: Need,
        catalogue: &Catalogue,
        settings: Settings,
    ) -> Result<Purchase, BuyError> {
        let zone = self.store().zone();
        let (listed, position) = find::area_in(zone, catalogue, need.position)?;
        let kwh = u16::try_from(need.energy.as_wh().div_ceil(1000)).unwrap_or(0);
        let energy = EnergyKwh::try_from(kwh).map_err(|_| BuyError::Energy(need.energy))?;
        let connectors = Connectors::try_from(need.connectors.bits()).map_err(|_| BuyError::NoConnector)?;
        let (governance, head) = self.governance().await?;
        let now = self.now();
        let deadline = now.max(head.time).checked_add(settings.bidding).ok_or(BuyError::Clock)?;
        let cap = cap_until(&governance, head.time, deadline);
        let tick = tick_within(need.price_cap, cap).ok_or(BuyError::PriceCap(need.price_cap))?;
        self.check_account(tick, energy).await?;
        let epoch_key = self.newest_key(&governance).await?;
        let voters = self.replica().epoch().map_err(NodeError::from)?.voters;
        let mut rng = self.draw_rng();
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(&mut *seed);
        let key = SigningKey::from_seed(*seed);
        // The rule is checked at the height the intent gets, which is not known yet: take the strictest near it.
        let heights = (head.height..).take(HEIGHTS_AHEAD);
        let blocks_min = heights.map(|height| blocks_needed(&voters, height)).max().unwrap_or(1);
        let terms = Terms {
            zone: *self.store().zone_id(),
            key_epoch: epoch_key.epoch(),
            area: listed.area,
            energy,
            deadline,
            blocks_min,
            kappa: settings.kappa,
            renewable_min: Percent::default(),
            connectors,
            power_min: need.power_min,
            tick,
            pricing: Pricing::FirstPrice,
            choice: if settings.is_own_choice { Choice::OwnChoice } else { Choice::BestProvable },
            buyer: key.public(),
        };
        let reserve = match need.reserve {
            Some(money) => terms.reserve_of(money).ok_or(BuyError::Reserve(money))?,
            None => Reserve(u32::MAX),
        };
        let trade =
            Trade::ask(terms, (position, reserve), epoch_key, key, self.facts()?, settings, now, &mut rng)?;
        rows::save(self.store(), trade.saved())?;
        Ok(Purchase(Arc::new(Shared::new(self.clone(), trade, settings))))
    }

    /// The purchases that are open: what a restart has interrupted goes on with [`Purchase::run`]. The
    /// endpoint has to show the key that it showed before: by it the winner knows its buyer. Two handles of one purchase
    /// that are not clones must not both be run.
    pub fn purchases(&self, settings: Settings) -> Result<Vec<Purchase>, BuyError> {
        let now = self.now();
        let resume = |saved| {
            let trade = Trade::resume(saved, self.facts()?, settings, now)?;
            Ok(Purchase(Arc::new(Shared::new(self.clone(), trade, settings))))
        };
        rows::list(self.store(), true)?.into_iter().map(resume).collect()
    }

    /// The receipts of purchases that were paid, newest first; at most 256 ended purchases are kept.
    pub fn receipts(&self) -> Result<Vec<PurchaseReceipt>, BuyError> {
        let receipt = |saved| match saved {
            Saved::Settled(receipt) => Some(*receipt),
            _ => None,
        };
        Ok(rows::list(self.store(), false)?.into_iter().filter_map(receipt).collect())
    }

    /// Refuses what the account could not pay at the highest price.
    async fn check_account(&self, tick: TickSize, energy: EnergyKwh) -> Result<(), BuyError> {
        let view = match self.account()?.filter(|view| view.freshness.is_fresh()) {
            Some(view) => view,
            None => self.sync().await?.account.ok_or(BuyError::NoAccount)?,
        };
        let cap = tick.price(PriceTick(u16::MAX));
        let needed = cap.times(energy.energy()).ok_or(BuyError::PriceCap(cap))?;
        let balance = &view.proven.balances[Journal::Energy as usize];
        let available = balance.map_or(0, |balance| balance.of(Asset::Currency).available());
        let available = Money::from_micro(available);
        if available < needed { Err(BuyError::NotEnough { needed, available }) } else { Ok(()) }
    }

    /// What the zone's people have decided, proven now: which tariffs and caps hold, and whose shares make up the key.
    async fn governance(&self) -> Result<(Governance, Header), BuyError> {
        let id = Governance::id();
        let seen = self.look(&Query::Object(id), &id, Absence::Withheld, &mut None).await?;
        let head = self.replica().head().map_err(NodeError::from)?;
        match (seen.object, head) {
            (Some(Object::Governance(governance)), Some(head)) => Ok((*governance, head)),
            // A zone has its governance from the first block on, and nothing else has that id.
            _ => Err(BuyError::NoGovernance),
        }
    }

    /// The newest of the auctions' keys that is made: one that is still in the making serves nobody yet.
    async fn newest_key(&self, governance: &Governance) -> Result<EpochKey, BuyError> {
        for holders in governance.keys.iter().rev() {
            match self.epoch_key(holders.epoch).await {
                Err(BuyError::NoEpochKey(_)) => {}
                key => return key,
            }
        }
        Err(BuyError::NoEpochKey(governance.key_epoch()))
    }

    /// The auctions' key of `epoch`: it never changes once it is there.
    async fn epoch_key(&self, epoch: u64) -> Result<EpochKey, BuyError> {
        let id = epoch_key_id(epoch);
        if let Some((_, Object::EpochKey(key))) = self.replica().object(&id).map_err(NodeError::from)? {
            return Ok(*key);
        }
        match self.look(&Query::EpochKey(epoch), &id, Absence::Doubted, &mut None).await?.object {
            Some(Object::EpochKey(key)) => Ok(*key),
            _ => Err(BuyError::NoEpochKey(epoch)),
        }
    }

    fn facts(&self) -> Result<Facts, BuyError> {
        let genesis = self.store().zone();
        let governance = self.replica().object(&Governance::id()).map_err(NodeError::from)?;
        let tariffs = match governance {
            Some((_, Object::Governance(governance))) => governance.tariffs,
            _ => vec![Tariff { version: 0, price: genesis.distributor.tariff, from: genesis.created }],
        };
        Ok(Facts {
            zone: *self.store().zone_id(),
            buyer: self.id(),
            tariffs,
            agents: self.agents().keys(),
            transport: self.agents().key(),
        })
    }
}

/// The lowest cap that holds at some time from now until the contract of an auction with this deadline is open.
fn cap_until(governance: &Governance, now: Timestamp, deadline: Timestamp) -> Option<Price> {
    let opened = deadline.checked_add(DECIDED_WITHIN).unwrap_or(deadline);
    [now, opened].into_iter().filter_map(|at| governance.cap(at)).min()
}

/// The tick whose highest price is `wanted`, or what the regulators' cap leaves of it: the next tick below the cap, since
/// the ledger counts the highest price that the tick can say.
fn tick_within(wanted: Price, cap: Option<Price>) -> Option<TickSize> {
    let tick = TickSize::for_cap(wanted)?;
    match cap {
        Some(cap) if tick.price(PriceTick(u16::MAX)) > cap => {
            let size = cap.as_micro_per_kwh() / i64::from(u16::MAX);
            TickSize::try_from(u32::try_from(size).ok()?).ok()
        }
        _ => Some(tick),
    }
}

impl Purchase {
    /// Its id: the auction's.
    pub fn id(&self) -> AuctionId {
        self.0.look(Trade::id)
    }

    /// Runs the purchase to its end: asks, decides, signs, charges, and gives the receipt. News come as
    /// [`Event::Purchase`](crate::Event::Purchase). Cancel-safe: it may be dropped and run again.
    ///
    /// Errors: [`BuyError::Ended`] if it ended without energy; [`BuyError::Stalled`] and [`BuyError::Node`] leave it open
    /// for another run.
    pub async fn run(&self) -> Result<PurchaseReceipt, BuyError> {
        self.0.run().await
    }

    /// The opened bids, best first, while the purchase waits for [`Purchase::choose`].
    pub fn choices(&self) -> Option<Vec<OpenedBid>> {
        self.0.look(Trade::choices)
    }

    /// Chooses among the opened bids by [`OpenedBid::bid`].
    ///
    /// Errors: [`BuyError::NoSuchBid`] if the purchase does not wait for a choice or has no such bid.
    pub fn choose(&self, bid: usize) -> Result<(), BuyError> {
        self.0.tell(|trade, now, rng| trade.on_choice(bid, now, rng))
    }

    /// The outlet whose code has to be confirmed, once there is one.
    pub fn evse(&self) -> Option<EvseId> {
        self.0.look(Trade::evse)
    }

    /// The user has read or scanned the code of this outlet. Charging starts when a car is plugged in there within five
    /// minutes.
    ///
    /// Errors: [`BuyError::Contract`] for another outlet than the contract's, [`BuyError::NoContract`].
    pub fn confirm(&self, evse: EvseId) -> Result<(), BuyError> {
        self.0.tell(|trade, now, _| trade.on_user(BuyerInput::Confirmed(evse), now))
    }

    /// What the car's own meter has counted since the start: records that differ too much are not signed.
    ///
    /// Errors: [`BuyError::NoContract`].
    pub fn car_meter(&self, energy: Energy) -> Result<(), BuyError> {
        self.0.tell(|trade, now, _| trade.on_user(BuyerInput::CarMeter { energy, at: now }, now))
    }

    /// Stops charging, or gives up a contract before it starts. An auction cannot be taken back: without a contract this
    /// is [`BuyError::NoContract`].
    pub fn stop(&self) -> Result<(), BuyError> {
        self.0.tell(|trade, now, _| trade.on_user(BuyerInput::Stop, now))
    }

    /// When it came how far.
    pub fn timings(&self) -> Timings {
        self.0.look(Trade::timings)
    }
}

impl fmt::Debug for Purchase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Purchase").field("auction", &self.id()).finish_non_exhaustive()
    }
}

/// How long after its deadline an auction may take to end in an open contract: the times to release, to decide, to accept
/// and to open, and some more. No cap or tariff that is not on the ledger a day before holds within it.
const DECIDED_WITHIN: Duration = Duration::from_secs(3600);
/// Blocks within which an intent is expected on the ledger.
const HEIGHTS_AHEAD: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    fn price(micro: i64) -> Price {
        Price::from_micro_per_kwh(micro)
    }

    #[test]
    fn no_tick_says_more_than_the_cap() {
        let highest = |wanted, cap: Option<i64>| {
            tick_within(price(wanted), cap.map(price)).map(|tick| tick.price(PriceTick(u16::MAX)))
        };
        assert_eq!(highest(650_000, None), Some(price(10 * 65_535)), "the wish rounded up");
        assert_eq!(highest(650_000, Some(700_000)), Some(price(655_350)), "as long as the cap allows that");
        assert_eq!(highest(650_000, Some(655_349)), Some(price(9 * 65_535)), "else rounded down");
        assert_eq!(highest(650_000, Some(300_000)), Some(price(4 * 65_535)));
        assert_eq!(highest(650_000, Some(65_534)), None, "no auction can ask for so little");
        assert_eq!(highest(0, Some(300_000)), None);
    }
}
