//! A small auction for tests: a key, an intent, bids, releases.

use crate::{
    award::Award,
    bid::{Bid, LedgeredBid},
    intent::{
        BuyerSecret, Choice, Connectors, EnergyKwh, Intent, Kappa, Percent, Pricing, Reserve, RoadDetour,
        Terms, VerifiedIntent,
    },
    key::{
        EpochKey, KeyShares, Shareholding, ValidatorIndex,
        generation::{Action, Board, Dealer, Generation},
    },
    outcome::{Offer, Outcome},
    release::{Opening, Release, VerifiedRelease},
    seal::{SealSecret, Sealed},
};
use ohmesh_units::{InCell, Power, Price, PriceTick, SigningKey, StationId, TickSize, Timestamp, ZoneId};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
use std::sync::OnceLock;

pub(crate) const ZONE: ZoneId = ZoneId([9; 32]);
pub(crate) const EPOCH: u64 = 3;

pub(crate) fn rng(seed: u8) -> ChaCha20Rng {
    ChaCha20Rng::from_seed([seed; 32])
}

/// A committee of seven, threshold five, made once by the real generation.
pub(crate) fn committee() -> &'static (EpochKey, Vec<KeyShares>) {
    static COMMITTEE: OnceLock<(EpochKey, Vec<KeyShares>)> = OnceLock::new();
    COMMITTEE.get_or_init(|| generate(&[1; 7], &mut rng(1)))
}

pub(crate) fn generate(stakes: &[u64], rng: &mut ChaCha20Rng) -> (EpochKey, Vec<KeyShares>) {
    let stakes: Vec<_> = (0..).map(ValidatorIndex).zip(stakes.iter().copied()).collect();
    let holding = Shareholding::by_stake(&stakes).unwrap();
    let generation = Generation { zone: ZONE, epoch: EPOCH, attempt: 0, holding };
    let mut board = Board::new(generation.clone());
    let (mut dealers, mut deals) = (Vec::new(), Vec::new());
    for validator in generation.holding.validators() {
        let (dealer, action) = Dealer::start(generation.clone(), validator, rng).unwrap();
        let Action::Deal(deal) = action else { panic!("{action:?}") };
        dealers.push(dealer);
        deals.push(deal);
    }
    let mut handouts = Vec::new();
    for deal in deals {
        board.on_deal(deal.clone()).unwrap();
        for dealer in &mut dealers {
            handouts.extend(dealer.on_deal(deal.clone(), rng).unwrap());
        }
    }
    let mut shares = Vec::new();
    let mut blindings = Vec::new();
    for handout in handouts {
        let Action::Handout(handout) = handout else { panic!("{handout:?}") };
        board.on_handout(handout.clone()).unwrap();
        for dealer in &mut dealers {
            for action in dealer.on_handout(handout.clone(), rng).unwrap() {
                let Action::Keep(kept, blinding) = action else { panic!("{action:?}") };
                shares.push(*kept);
                blindings.push(blinding);
            }
        }
    }
    blindings.into_iter().for_each(|blinding| board.on_blinding(blinding).unwrap());
    (board.finish().unwrap(), shares)
}

pub(crate) fn terms() -> Terms {
    Terms {
        zone: ZONE,
        key_epoch: EPOCH,
        area: "85283473fffffff".parse().unwrap(),
        energy: EnergyKwh::try_from(40).unwrap(),
        deadline: Timestamp::from_millis(1_795_300_500_000),
        blocks_min: 3,
        kappa: Kappa::try_from(2).unwrap(),
        renewable_min: Percent::try_from(50).unwrap(),
        connectors: Connectors::try_from(0b101).unwrap(),
        power_min: Power::from_w(50_000),
        tick: TickSize::for_cap(Price::from_micro_per_kwh(790_000)).unwrap(),
        pricing: Pricing::FirstPrice,
        choice: Choice::BestProvable,
        buyer: SigningKey::from_seed([5; 32]).public(),
    }
}

pub(crate) const BUYER_AT: InCell = InCell { x: 120, y: 77 };

pub(crate) fn station(n: u8) -> StationId {
    StationId([n; 32])
}

pub(crate) fn station_secret(n: u8) -> SealSecret {
    SealSecret::from_seed(&[n; 32])
}

/// A whole auction up to its opening.
pub(crate) struct Auction {
    pub(crate) key: EpochKey,
    pub(crate) intent: VerifiedIntent,
    pub(crate) secret: BuyerSecret,
    pub(crate) bids: Vec<LedgeredBid>,
    pub(crate) releases: Vec<VerifiedRelease>,
    pub(crate) opening: Opening,
    pub(crate) rng: ChaCha20Rng,
}

impl Auction {
    /// Station `n` (from 1) bids `prices[n - 1].0` at `prices[n - 1].1`.
    pub(crate) fn run(terms: Terms, reserve: u32, prices: &[(u16, InCell)], seed: u8) -> Self {
        let ((key, _), mut rng) = (committee(), rng(seed));
        let made = Intent::create(terms, BUYER_AT, Reserve(reserve), key, &mut rng).unwrap();
        Self::run_with(made, prices, rng)
    }

    /// The same with detours by road to some stations.
    pub(crate) fn run_by_road(
        reserve: u32,
        prices: &[(u16, InCell)],
        roads: &[(StationId, RoadDetour)],
        terms: Terms,
        seed: u8,
    ) -> Self {
        let ((key, _), mut rng) = (committee(), rng(seed));
        let terms = Terms { choice: Choice::BestByRoad, ..terms };
        let made = Intent::create_by_road(terms, BUYER_AT, Reserve(reserve), roads, key, &mut rng).unwrap();
        Self::run_with(made, prices, rng)
    }

    fn run_with(
        (intent, secret): (Intent, BuyerSecret),
        prices: &[(u16, InCell)],
        mut rng: ChaCha20Rng,
    ) -> Self {
        let (key, shares) = committee();
        let intent = intent.verify(key).unwrap();
        let mut bids = Vec::new();
        for (n, (price, position)) in (1..).zip(prices) {
            let bid = Bid::create(&intent, key, station(n), PriceTick(*price), &mut rng).unwrap();
            bids.push(bid.verify(&intent, key, *position).unwrap());
        }
        let releases: Vec<VerifiedRelease> = if bids.is_empty() {
            Vec::new()
        } else {
            let released =
                shares[..5].iter().map(|shares| Release::create(shares, key, &intent, &bids, &mut rng));
            released.map(|release| release.unwrap().verify(key, &intent, &bids).unwrap()).collect()
        };
        let opening = Opening::combine(key, &intent, &bids, &releases).unwrap();
        Self { key: key.clone(), intent, secret, bids, releases, opening, rng }
    }

    /// Six bids at one place, the best tied between the second and the third.
    pub(crate) fn tied() -> Self {
        let at = InCell { x: 50, y: 60 };
        Self::run(terms(), u32::MAX, &[5000, 3000, 3000, 9000, 7000, 4000].map(|price| (price, at)), 7)
    }

    pub(crate) fn award(&mut self, to: usize) -> Sealed {
        let station = self.bids[to].station;
        let award = Award::new(b"udp 192.0.2.1:4433", &mut self.rng).unwrap();
        let key = station_secret(station.0[0]).public();
        award.seal(&self.intent, station, &key, &mut self.rng).unwrap()
    }

    pub(crate) fn offers(&self) -> Vec<Offer> {
        Offer::open(&self.intent, &self.secret, &self.bids, &self.opening).unwrap()
    }

    /// The honest outcome.
    pub(crate) fn outcome(&mut self) -> Outcome {
        let offers = self.offers();
        let winner = offers.iter().find(|offer| offer.within_reserve);
        let winner = winner.map(|offer| (offer, self.award(offer.bid)));
        let Self { key, intent, secret, bids, opening, rng, .. } = self;
        Outcome::create(key, intent, secret, bids, opening, winner, rng).unwrap()
    }
}
