//! The bidder: one station that reads intents, bids, and takes awards.

use super::RoleError;
use crate::{
    award::{Accept, Award, AwardError, Unreadable},
    bid::Bid,
    intent::{Pricing, Terms, VerifiedIntent},
    key::EpochKey,
    outcome::{Outcome, Verdict},
    seal::SealSecret,
    strategy::{Ask, Strategy},
};
use ohmesh_units::{AuctionId, Power, PriceTick, StationId, Timestamp};
use rand_core::CryptoRng;
use std::{collections::BTreeMap, fmt};

/// What the station can offer right now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Site {
    /// When charging could start.
    pub start: Timestamp,
    /// The power the outlet would give.
    pub power: Power,
    /// Busy outlets in thousandths of all.
    pub load_permille: u16,
}

/// What a bidder asks its host to do.
#[derive(Debug)]
pub enum BidderAction {
    /// Store [`Bidder::price_of`] durably, then put the bid on the ledger.
    Bid(Box<Bid>),
    /// Do nothing, for this reason.
    Pass(PassReason),
    /// Put the acceptance on the ledger.
    Accept(Accept),
    /// Expect the buyer there, under this key.
    Meet(Award),
    /// Another station won, or nobody. Should that one not come, the bid counts on: [`Bidder::on_outcome`] again, or
    /// [`Bidder::on_void`] at the auction's end, when the deposit comes back.
    Lost,
}

/// Why a station stays out of an auction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PassReason {
    /// The outlet gives less power than is wanted.
    Power,
    /// The strategy asks more than the cap, or nothing.
    Price,
}

/// One station's open bids. At most [`Bidder::OPEN_MAX`] at a time.
pub struct Bidder<S> {
    station: StationId,
    seal: SealSecret,
    strategy: S,
    open: BTreeMap<AuctionId, PriceTick>,
}

impl<S: Strategy> Bidder<S> {
    /// The most bids open at a time; a station has far fewer outlets.
    pub const OPEN_MAX: usize = 1024;

    /// A station that bids by `strategy` and reads awards with `seal`.
    pub fn new(station: StationId, seal: SealSecret, strategy: S) -> Self {
        Self { station, seal, strategy, open: BTreeMap::new() }
    }

    /// How it prices, to be changed for the bids to come.
    pub fn strategy_mut(&mut self) -> &mut S {
        &mut self.strategy
    }

    /// The price bid in an auction that is open.
    pub fn price_of(&self, auction: &AuctionId) -> Option<PriceTick> {
        self.open.get(auction).copied()
    }

    /// Takes up a bid after a restart, at the price that was stored.
    pub fn resume(&mut self, auction: AuctionId, price: PriceTick) -> Result<(), RoleError> {
        if self.open.len() >= Self::OPEN_MAX {
            return Err(RoleError::TooManyOpenBids(Self::OPEN_MAX));
        }
        self.open.insert(auction, price);
        Ok(())
    }

    /// An intent the ledger accepted, whose public filters this station meets.
    pub fn on_intent(
        &mut self,
        intent: &VerifiedIntent,
        key: &EpochKey,
        site: &Site,
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<BidderAction>, RoleError> {
        if self.open.contains_key(&intent.id()) {
            return Err(RoleError::BidTwice(intent.id()));
        }
        let price = match ask_price(&self.strategy, intent.terms(), site) {
            Ok(price) => price,
            Err(reason) => return Ok(vec![BidderAction::Pass(reason)]),
        };
        let bid = Bid::create(intent, key, self.station, price, rng)?;
        self.resume(intent.id(), price)?;
        Ok(vec![BidderAction::Bid(Box::new(bid))])
    }

    /// An outcome the ledger executed, with its verdict. The winner answers [`BidderAction::Accept`] and
    /// [`BidderAction::Meet`]; an award that does not open is an error, and the bid stays open for a dispute.
    pub fn on_outcome(
        &mut self,
        intent: &VerifiedIntent,
        outcome: &Outcome,
        verdict: &Verdict,
    ) -> Result<Vec<BidderAction>, RoleError> {
        let auction = intent.id();
        if outcome.auction != auction {
            return Err(RoleError::OtherAuction { expected: auction, found: outcome.auction });
        }
        let bid = self.open.get(&auction).ok_or(RoleError::NoBid(auction))?;
        let asked = intent.terms().tick.price(*bid);
        let actions = match (verdict, outcome.decision.win()) {
            (Verdict::Won { station, price, .. }, Some(win))
                if *station == self.station && win.station == *station =>
            {
                let is_kept = match intent.terms().pricing {
                    Pricing::FirstPrice => win.price == Some(*bid),
                    Pricing::SecondScore => *price >= asked,
                };
                if !is_kept {
                    return Err(RoleError::OtherPrice(auction));
                }
                let award = Award::open(win.award, intent, self.station, &self.seal)?;
                vec![BidderAction::Accept(Accept::of(outcome, self.station)), BidderAction::Meet(award)]
            }
            (Verdict::Won { .. }, _) => return Ok(vec![BidderAction::Lost]),
            (Verdict::NoEligibleBid, _) => vec![BidderAction::Lost],
        };
        self.open.remove(&auction);
        Ok(actions)
    }

    /// Shows everybody that the award which this station won cannot be read; [`AwardError::Readable`] if it can.
    pub fn unreadable(
        &self,
        intent: &VerifiedIntent,
        outcome: &Outcome,
        rng: &mut impl CryptoRng,
    ) -> Result<Unreadable, AwardError> {
        Unreadable::show(outcome, intent, self.station, &self.seal, rng)
    }

    /// The ledger voided an auction.
    pub fn on_void(&mut self, auction: &AuctionId) -> Result<Vec<BidderAction>, RoleError> {
        self.open.remove(auction).ok_or(RoleError::NoBid(*auction))?;
        Ok(vec![BidderAction::Lost])
    }
}

/// What a strategy asks for at a site, in ticks, or why it stays out.
pub(super) fn ask_price(
    strategy: &impl Strategy,
    terms: &Terms,
    site: &Site,
) -> Result<PriceTick, PassReason> {
    if site.power < terms.power_min {
        return Err(PassReason::Power);
    }
    let ask = Ask {
        energy: terms.energy.energy(),
        start: site.start,
        power: site.power,
        load_permille: site.load_permille,
        price_cap: terms.price_cap(),
    };
    let price = strategy.price(&ask).and_then(|price| terms.tick.ticks_at_least(price));
    price.ok_or(PassReason::Price)
}

impl<S> fmt::Debug for Bidder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bidder({}, {} open, ..)", self.station, self.open.len())
    }
}
