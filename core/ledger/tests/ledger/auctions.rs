//! From the key of the committee to a settled contract: every message as its role makes it, and what a cheat tries between.

use crate::town::*;
use ohmesh_auction::{
    award::{Accept, Award as Rendezvous},
    bid::Bid,
    intent::{
        Choice, Connectors, EnergyKwh, Intent, Kappa, Percent, Pricing, Reserve, Terms, VerifiedIntent,
    },
    key::{
        EpochKey, KeyShares, Shareholding, ValidatorIndex,
        generation::{Action, Dealer, Generation},
        solo,
    },
    outcome::Outcome,
    release::Release,
    role::{Buyer, BuyerAction, Candidate},
    seal::SealSecret,
};
use ohmesh_contract::{
    Checkpoint, Contract, GridTariff, MeterRecord, Offer, Release as Waiver, Signed, Start,
    State as ContractState, Terms as ContractTerms,
};
use ohmesh_ledger::*;
use ohmesh_units::*;
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;
use std::time::Duration;

const CELL: &str = "861f1d48fffffff";

fn rng(seed: u64) -> ChaCha20Rng {
    ChaCha20Rng::seed_from_u64(seed)
}

/// A zone with one auction area, whose frame spans about 0.1 degree around the station of the town.
fn auction_zone() -> Zone {
    let origin = Position::from_e7(525_000_000, 133_500_000).unwrap();
    let frame = Frame { origin, step_e7: 4_000, cos_q16: 40_000 };
    Zone { areas: vec![ZoneArea { area: CELL.parse().unwrap(), frame }], ..zone() }
}

/// A town whose validators have made their key.
pub struct Market {
    pub town: Town,
    pub shares: Vec<KeyShares>,
    pub rng: ChaCha20Rng,
}

pub fn seal_secret(n: u8) -> SealSecret {
    SealSecret::from_seed(&[n; 32])
}

/// Sellers 80 to 82, each with one station and one outlet.
pub const SELLERS: [u8; 3] = [80, 81, 82];

pub fn station_of(n: u8) -> StationId {
    StationId::of(&account(n), 1)
}

pub fn evse_of(n: u8) -> EvseId {
    EvseId::of(&station_of(n), 1)
}

impl Market {
    fn new(rules: Rules) -> Self {
        let mut town = Town::in_zone(Zone { rules, ..auction_zone() });
        for (at, n) in SELLERS.into_iter().enumerate() {
            if n != SELLER {
                town.ok(n, Body::OpenAccount { owner: key(n).public() }, &[]);
            }
            let lat = 525_200_000 + i32::try_from(at).unwrap() * 200_000;
            let position = Position::from_e7(lat, 134_050_000).unwrap();
            let award_key = Hash(seal_secret(n).public().to_bytes());
            let (number, name) = (1, format!("Station {n}"));
            town.ok(n, Body::RegisterStation { number, name, position, award_key }, &[]);
            let outlet = town.outlet(n, 1, 2, n + 10);
            town.ok(n, outlet, &[]);
        }
        let (shares, rng) = (Vec::new(), rng(1));
        Self { town, shares, rng }
    }

    pub fn with_key() -> Self {
        Self::with_rules(zone().rules)
    }

    /// As [`Market::with_key`], by other rules.
    pub fn with_rules(rules: Rules) -> Self {
        let mut market = Self::new(rules);
        market.make_key();
        market
    }

    fn generation(&self) -> Generation {
        let epoch = self.town.state.governance().key_epoch();
        match self.town.state.object(&epoch_key_id(epoch)) {
            Some((_, Object::Generation(generation))) => generation.generation.clone(),
            other => panic!("{other:?}"),
        }
    }

    /// All four validators run the generation over the ledger.
    fn make_key(&mut self) {
        let generation = self.generation();
        let mut dealers = Vec::new();
        let mut deals = Vec::new();
        for n in 0..4u16 {
            let (dealer, action) =
                Dealer::start(generation.clone(), ValidatorIndex(n), &mut self.rng).unwrap();
            let Action::Deal(deal) = action else { panic!("a dealer deals first") };
            dealers.push(dealer);
            deals.push(deal);
        }
        let mut handouts = Vec::new();
        for deal in deals {
            let n = u8::try_from(deal.validator.0).unwrap() + 1;
            self.town.ok(n, Body::KeyDeal(Box::new(deal.clone())), &[]);
            for dealer in &mut dealers {
                handouts.extend(dealer.on_deal(deal.clone(), &mut self.rng).unwrap());
            }
        }
        let mut last = Vec::new();
        self.shares.clear();
        for action in handouts {
            let Action::Handout(handout) = action else { panic!("{action:?}") };
            let n = u8::try_from(handout.validator.0).unwrap() + 1;
            self.town.ok(n, Body::KeyHandout(Box::new(handout.clone())), &[]);
            for dealer in &mut dealers {
                last.extend(dealer.on_handout(handout.clone(), &mut self.rng).unwrap());
            }
        }
        for action in last {
            let Action::Keep(shares, blinding) = action else { panic!("{action:?}") };
            let n = u8::try_from(shares.validator().0).unwrap() + 1;
            self.town.ok(n, Body::KeyBlinding(Box::new(blinding)), &[]);
            self.shares.push(*shares);
        }
    }

    fn key(&self) -> EpochKey {
        let epoch = self.shares[0].epoch();
        self.town.state.epoch_key(epoch).unwrap().clone()
    }

    pub fn terms(&self) -> Terms {
        Terms {
            zone: *self.town.state.zone_id(),
            key_epoch: self.shares[0].epoch(),
            area: CELL.parse().unwrap(),
            energy: EnergyKwh::try_from(30).unwrap(),
            deadline: self.town.now.checked_add(Duration::from_secs(10)).unwrap(),
            blocks_min: 3,
            kappa: Kappa::try_from(2).unwrap(),
            renewable_min: Percent::try_from(0).unwrap(),
            connectors: Connectors::try_from(2).unwrap(),
            power_min: Power::from_w(11_000),
            tick: TickSize::for_cap(Price::from_micro_per_kwh(650_000)).unwrap(),
            pricing: Pricing::FirstPrice,
            choice: Choice::BestProvable,
            buyer: key(71).public(),
        }
    }

    /// The buyer asks; gives its role and the auction's intent.
    pub fn ask(&mut self, terms: Terms) -> (Buyer, Box<Intent>) {
        let (buyer, action) =
            Buyer::ask(terms, InCell { x: 80, y: 60 }, Reserve(u32::MAX), self.key(), &mut self.rng).unwrap();
        let BuyerAction::PublishIntent(intent) = action else { panic!("{action:?}") };
        (buyer, intent)
    }

    pub fn bid(&mut self, intent: &VerifiedIntent, n: u8, ticks: u16) -> Bid {
        Bid::create(intent, &self.key(), station_of(n), PriceTick(ticks), &mut self.rng).unwrap()
    }

    pub fn auction(&self, id: AuctionId) -> Auction {
        match self.town.state.object(&id.into()) {
            Some((_, Object::Auction(auction))) => (**auction).clone(),
            other => panic!("{other:?}"),
        }
    }

    pub fn release(&mut self, n: usize, id: AuctionId) -> Release {
        let auction = self.auction(id);
        let key = self.key();
        Release::create(&self.shares[n], &key, &auction.intent, &auction.bids, &mut self.rng).unwrap()
    }

    pub fn ended(&self, id: AuctionId) -> End {
        match self.town.state.object(&id.into()) {
            Some((_, Object::Finished(finished))) => finished.end,
            other => panic!("{other:?}"),
        }
    }

    /// An auction that seller 81 wins with the lowest price; accepted, ready for its contract.
    pub fn awarded(&mut self) -> (AuctionId, Price) {
        let terms = self.terms();
        self.awarded_with(terms)
    }

    /// As [`Market::awarded`], on these terms.
    pub fn awarded_with(&mut self, terms: Terms) -> (AuctionId, Price) {
        let (mut buyer, id) = self.opened(terms);
        let outcome = self.decide(&mut buyer);
        self.town.ok(BUYER, Body::AuctionOutcome(outcome.clone()), &[]);
        let price = self.auction(id).award.unwrap().price;
        assert_eq!(price, buyer.intent().terms().tick.price(PriceTick(30_000)));
        self.town.ok(81, Body::AuctionAccept(Accept::of(&outcome, station_of(81))), &[]);
        (id, price)
    }

    /// An auction in which all three sellers have bid and bidding is over: 81 asks least, then 80, then 82.
    pub fn closed(&mut self, terms: Terms) -> (Buyer, AuctionId) {
        let (buyer, intent) = self.ask(terms);
        let id = intent.id();
        self.town.ok(BUYER, Body::AuctionOpen(intent), &[]);
        let verified = self.auction(id).intent;
        for (n, ticks) in [(80, 40_000), (81, 30_000), (82, 50_000)] {
            let bid = Box::new(self.bid(&verified, n, ticks));
            self.town.ok(n, Body::AuctionBid { bid, evse: evse_of(n) }, &[]);
        }
        self.town.block_at(Duration::from_secs(10), Vec::new());
        (buyer, id)
    }

    /// As [`Market::closed`], and three of the four validators have released: the buyer sees the prices.
    pub fn opened(&mut self, terms: Terms) -> (Buyer, AuctionId) {
        let (mut buyer, id) = self.closed(terms);
        assert!(buyer.on_closed(self.candidates(id), &mut self.rng).unwrap().is_empty());
        let mut offers = Vec::new();
        for n in [0, 2, 3] {
            let release = self.release(n, id);
            let sender = u8::try_from(n).unwrap() + 1;
            self.town.ok(sender, Body::AuctionRelease(Box::new(release.clone())), &[]);
            offers.extend(buyer.on_release(&release, &mut self.rng).unwrap());
        }
        assert!(self.auction(id).opening.is_some(), "three of four open the bids");
        assert!(matches!(&offers[..], [BuyerAction::Offers(offers)] if offers[0].station == station_of(81)));
        (buyer, id)
    }

    /// The bids that count, with the keys that awards are sealed to.
    pub fn candidates(&self, id: AuctionId) -> Vec<Candidate> {
        let auction = self.auction(id);
        let seals = auction.bidders.into_iter().map(|bidder| bidder.award_key);
        auction.bids.into_iter().zip(seals).map(|(bid, seal)| Candidate { bid, seal }).collect()
    }

    /// The buyer's decision, for whoever the best of its candidates is.
    pub fn decide(&mut self, buyer: &mut Buyer) -> Box<Outcome> {
        let rendezvous = Rendezvous::new(b"meet", &mut self.rng).unwrap();
        let decided = buyer.on_decide(None, rendezvous, &mut self.rng).unwrap();
        let [BuyerAction::PublishOutcome(outcome)] = &decided[..] else { panic!("{decided:?}") };
        outcome.clone()
    }

    pub fn contract_terms(&self, auction: AuctionId, price: Price) -> ContractTerms {
        let energy_max = Energy::from_wh(30_000);
        ContractTerms {
            zone: *self.town.state.zone_id(),
            auction,
            buyer: account(BUYER),
            buyer_key: key(71).public(),
            seller: account(81),
            seller_key: key(81).public(),
            evse: evse_of(81),
            meter_key: key(91).public(),
            price,
            energy_max,
            power_rated: Power::from_w(22_000),
            grid: GridTariff { version: 0, price: Price::from_micro_per_kwh(TARIFF) },
            escrow: price.times(energy_max).unwrap(),
            not_before: self.town.now,
            expiry: self.town.now.checked_add(Duration::from_secs(4 * 3600)).unwrap(),
            number: 1,
        }
    }

    pub fn agreement(&self, terms: ContractTerms) -> Body {
        let valid_until = self.town.now.checked_add(Duration::from_secs(60)).unwrap();
        let offer = Offer::sign(terms, [5; 32], valid_until, &key(81)).verify().unwrap();
        Body::ContractOpen(Box::new(offer.agree(&key(71))))
    }

    pub fn start(&self, terms: &ContractTerms) -> Signed<Start> {
        let (contract, evse) = (terms.id(), terms.evse);
        Signed::new(Start { contract, evse, exporter: [5; 32], at: self.town.now }, &key(71))
    }

    pub fn record(&self, terms: &ContractTerms, register: u64, wh: u64) -> Signed<MeterRecord> {
        let record = MeterRecord {
            contract: terms.id(),
            evse: terms.evse,
            sequence: 1,
            register_start: Energy::from_wh(register),
            energy: Energy::from_wh(wh),
            at: self.town.now,
            is_final: true,
        };
        Signed::new(record, &key(91))
    }

    pub fn checkpoint(&self, terms: &ContractTerms, record: &Signed<MeterRecord>) -> Box<Checkpoint> {
        Box::new(Checkpoint::sign(&record.clone().verify(terms).unwrap(), &key(71)))
    }

    /// An open contract after an auction.
    pub fn contracted(&mut self) -> ContractTerms {
        let (auction, price) = self.awarded();
        let terms = self.contract_terms(auction, price);
        let body = self.agreement(terms.clone());
        self.town.ok(BUYER, body, &[]);
        terms
    }
}

#[test]
fn from_the_key_to_a_paid_charge() {
    let mut market = Market::with_key();
    let terms = market.contracted();
    assert_eq!(market.ended(terms.auction), End::Contracted(terms.id()));
    let escrow = terms.escrow.as_micro();
    assert_eq!(market.town.holding(Journal::Energy, BUYER).held, escrow);
    let start = market.start(&terms);
    market.town.ok(81, Body::ContractStart(Box::new(start)), &[]);
    market.town.block_at(Duration::from_secs(3600), Vec::new());
    let record = market.record(&terms, 1_000_000, 20_000);
    let checkpoint = Some(market.checkpoint(&terms, &record));
    let before = market.town.holding(Journal::Energy, 81).posted;
    market.town.ok(81, Body::ContractSettle { record: Box::new(record), start: None, checkpoint }, &[]);
    let price = terms.price.times(Energy::from_wh(20_000)).unwrap().as_micro();
    let fee = 20 * TARIFF;
    assert_eq!(market.town.holding(Journal::Energy, BUYER), Holding { posted: 100_000_000 - price, held: 0 });
    assert_eq!(market.town.holding(Journal::Energy, 81).posted, before + price - fee);
    assert_eq!(market.town.holding(Journal::Grid, DISTRIBUTOR).posted, fee);
}

#[test]
fn a_fresh_replica_recomputes_the_winner_from_the_blocks_alone() {
    let mut market = Market::with_key();
    let (id, price) = market.awarded();
    let mut fresh = State::genesis(auction_zone());
    for bytes in &market.town.blocks {
        let (block, transactions) = open_block(&fresh, bytes).unwrap();
        let applied = fresh.execute(&block, &transactions).unwrap();
        fresh.apply(applied);
    }
    let Some((_, Object::Auction(auction))) = fresh.object(&id.into()) else { panic!("it is there") };
    let award = auction.award.as_ref().unwrap();
    assert!(award.is_proven_best && award.price == price && award.seller == account(81), "I8");
    assert_eq!(fresh.roots(), market.town.state.roots(), "I9");
}

#[test]
fn a_charge_without_the_buyers_last_word_waits_a_day() {
    let mut market = Market::with_key();
    let terms = market.contracted();
    let start = Some(Box::new(market.start(&terms)));
    market.town.block_at(Duration::from_secs(1800), Vec::new());
    // The meter says 25 kWh after half an hour at 22 kW: at most 11 can be billed without the buyer.
    let record = Box::new(market.record(&terms, 0, 25_000));
    market.town.ok(81, Body::ContractSettle { record, start, checkpoint: None }, &[]);
    let held = market.town.holding(Journal::Energy, BUYER).held;
    assert_eq!(held, terms.escrow.as_micro(), "nothing moves yet");
    market.town.block_at(Duration::from_secs(24 * 3600), Vec::new());
    let (_, buyer) = market.town.state.balance(Journal::Energy, &account(BUYER)).unwrap();
    assert_eq!(buyer.bought, Energy::from_wh(11_000), "rated power x the time since the start");
    assert_eq!(market.town.holding(Journal::Energy, BUYER).held, 0);
}

#[test]
fn a_contract_nobody_settles_goes_back_to_the_buyer() {
    let mut market = Market::with_key();
    let terms = market.contracted();
    market.town.block_at(Duration::from_secs(4 * 3600), Vec::new());
    assert_eq!(market.town.holding(Journal::Energy, BUYER), Holding { posted: 100_000_000, held: 0 });
    let record = Box::new(market.record(&terms, 0, 1));
    let refused =
        market.town.try_one(81, Body::ContractSettle { record, start: None, checkpoint: None }, &[]);
    assert_eq!(refused, Err(TransactionError::NoContract(terms.id())));

    let mut market = Market::with_key();
    let terms = market.contracted();
    let waiver = |n| {
        Body::ContractWaive(Box::new(Signed::new(
            Waiver { contract: terms.id(), at: terms.not_before },
            &key(n),
        )))
    };
    let (by_seller, by_buyer) = (waiver(81), waiver(71));
    assert!(matches!(market.town.try_one(BUYER, by_buyer, &[]), Err(TransactionError::NotThePayee(_))));
    market.town.ok(81, by_seller, &[]);
    assert_eq!(market.town.holding(Journal::Energy, BUYER), Holding { posted: 100_000_000, held: 0 });
}

#[test]
fn contracts_that_are_not_what_was_awarded() {
    let mut market = Market::with_key();
    let (auction, price) = market.awarded();
    let good = market.contract_terms(auction, price);
    type Edit = fn(&mut ContractTerms);
    let edits: [(&str, Edit); 9] = [
        ("price", |t| t.price = Price::from_micro_per_kwh(100_000)),
        ("energy", |t| t.energy_max = Energy::from_wh(31_000)),
        ("buyer's key", |t| t.buyer_key = key(BUYER).public()),
        ("seller", |t| t.seller = account(80)),
        ("outlet", |t| t.evse = evse_of(80)),
        ("meter key", |t| t.meter_key = key(90).public()),
        ("rated power", |t| t.power_rated = Power::from_w(50_000)),
        ("grid tariff", |t| t.grid.price = Price::from_micro_per_kwh(1)),
        ("zone", |t| t.zone = ZoneId([1; 32])),
    ];
    for (what, edit) in edits {
        let mut terms = good.clone();
        edit(&mut terms);
        terms.escrow = Money::from_micro(50_000_000);
        let valid_until = market.town.now.checked_add(Duration::from_secs(60)).unwrap();
        let offer = Offer::sign(terms.clone(), [5; 32], valid_until, &key(81)).verify().unwrap();
        let buyer = if what == "buyer's key" { key(BUYER) } else { key(71) };
        let refused = market.town.try_one(BUYER, Body::ContractOpen(Box::new(offer.agree(&buyer))), &[]);
        assert_eq!(refused, Err(TransactionError::ContractTerms { contract: terms.id(), what }));
    }
    let body = market.agreement(good.clone());
    market.town.ok(BUYER, body.clone(), &[]);
    let id = good.id();
    assert_eq!(market.town.try_one(BUYER, body, &[]), Err(TransactionError::ContractExists(id)));
    let state = |market: &Market| match market.town.state.object(&id.into()) {
        Some((_, Object::Contract(contract))) => Contract::state(contract),
        other => panic!("{other:?}"),
    };
    assert_eq!(state(&market), ContractState::Agreed);
    // Somebody else's record, or the same meter begun below where it ended.
    let mut forged = market.record(&good, 0, 1_000);
    forged.signature = key(90).sign(Domain::new("ohmesh/1 meter record"), &forged.body.encode());
    let start = Some(Box::new(market.start(&good)));
    let settle = |record: Signed<MeterRecord>, start| Body::ContractSettle {
        record: Box::new(record),
        start,
        checkpoint: None,
    };
    let refused = market.town.try_one(81, settle(forged, start.clone()), &[]);
    assert!(matches!(refused, Err(TransactionError::Contract(_))), "{refused:?}");
    assert_eq!(state(&market), ContractState::Agreed, "and nothing of it was kept");
}

#[test]
fn the_same_energy_is_not_sold_twice() {
    let mut market = Market::with_key();
    for (register, expected) in [(5_000u64, true), (4_000, false), (15_000, true)] {
        let terms = market.contracted();
        let start = Some(Box::new(market.start(&terms)));
        market.town.block_at(Duration::from_secs(3600), Vec::new());
        let record = market.record(&terms, register, 10_000);
        let checkpoint = Some(market.checkpoint(&terms, &record));
        let refused = market.town.try_one(
            81,
            Body::ContractSettle { record: Box::new(record), start, checkpoint },
            &[],
        );
        let (evse, from) = (evse_of(81), Energy::from_wh(register));
        let (to, sold_from) = (Energy::from_wh(register + 10_000), Energy::from_wh(5_000));
        let error = TransactionError::MeterRegister { evse, from, to, sold_from, sold_to: to };
        assert_eq!(refused, if expected { Ok(()) } else { Err(error) });
    }
}

#[test]
fn bids_and_releases_that_do_not_count() {
    let mut market = Market::with_key();
    let terms = market.terms();
    let (_, intent) = market.ask(terms.clone());
    let id = intent.id();
    market.town.ok(BUYER, Body::AuctionOpen(intent.clone()), &[]);
    assert_eq!(
        market.town.try_one(BUYER, Body::AuctionOpen(intent), &[]),
        Err(TransactionError::AuctionExists(id)),
        "a replayed intent"
    );
    let verified = market.auction(id).intent;
    let bid = |market: &mut Market, n, ticks| Box::new(market.bid(&verified, n, ticks));

    let own = bid(&mut market, 80, 100);
    let by_another = Body::AuctionBid { bid: own.clone(), evse: evse_of(80) };
    assert_eq!(
        market.town.try_one(81, by_another, &[]),
        Err(TransactionError::NotTheOwner(station_of(80))),
        "sent by somebody else"
    );
    let mut copied = (*own).clone();
    copied.station = station_of(81);
    let refused = market.town.try_one(81, Body::AuctionBid { bid: Box::new(copied), evse: evse_of(81) }, &[]);
    assert!(matches!(refused, Err(TransactionError::Bid(_))), "a copied bid: {refused:?}");
    let elsewhere = Body::AuctionBid { bid: own.clone(), evse: evse_of(81) };
    assert_eq!(market.town.try_one(80, elsewhere, &[]), Err(TransactionError::UnfitEvse(evse_of(81))));
    let early = Release::create(&market.shares[0], &market.key(), &verified, &[], &mut market.rng);
    assert!(early.is_err(), "an honest validator releases nothing without bids");
    market.town.ok(80, Body::AuctionBid { bid: own.clone(), evse: evse_of(80) }, &[]);
    let again = bid(&mut market, 80, 99);
    assert_eq!(
        market.town.try_one(80, Body::AuctionBid { bid: again, evse: evse_of(80) }, &[]),
        Err(TransactionError::BidTwice(station_of(80)))
    );
    let release = market.release(0, id);
    assert_eq!(
        market.town.try_one(1, Body::AuctionRelease(Box::new(release.clone())), &[]),
        Err(TransactionError::AuctionStep(id)),
        "before the deadline"
    );
    assert_eq!(
        market.town.try_one(2, Body::AuctionRelease(Box::new(release.clone())), &[]),
        Err(TransactionError::NotTheValidator(0)),
        "another validator's release"
    );
    market.town.block_at(Duration::from_secs(10), Vec::new());
    let late = bid(&mut market, 81, 1);
    assert_eq!(
        market.town.try_one(81, Body::AuctionBid { bid: late, evse: evse_of(81) }, &[]),
        Err(TransactionError::AuctionStep(id)),
        "a late bid"
    );
    market.town.ok(1, Body::AuctionRelease(Box::new(release.clone())), &[]);
    assert!(market.auction(id).opening.is_none(), "one of four opens nothing");
    let mut wrong = market.release(1, id);
    wrong.validator = ValidatorIndex(2);
    let refused = market.town.try_one(3, Body::AuctionRelease(Box::new(wrong)), &[]);
    assert!(matches!(refused, Err(TransactionError::Release(_))), "{refused:?}");
    market.town.pass(Duration::from_secs(200));
    assert_eq!(market.ended(id), End::TimedOut, "fewer shares than the quorum: void");
}

#[test]
fn intents_that_are_refused() {
    let mut market = Market::with_key();
    let good = market.terms();
    let try_terms = |market: &mut Market, terms: Terms| {
        let (_, intent) = market.ask(terms);
        market.town.try_one(BUYER, Body::AuctionOpen(intent), &[])
    };
    let far = good.deadline.checked_add(Duration::from_secs(7200)).unwrap();
    for terms in [
        Terms { deadline: far, ..good.clone() },
        Terms { deadline: market.town.now, ..good.clone() },
        Terms { blocks_min: 0, ..good.clone() },
    ] {
        let refused = try_terms(&mut market, terms);
        assert!(matches!(refused, Err(TransactionError::Deadline { .. })), "{refused:?}");
    }
    let elsewhere: Area = "861f1d487ffffff".parse().unwrap();
    let refused = try_terms(&mut market, Terms { area: elsewhere, ..good.clone() });
    assert_eq!(refused, Err(TransactionError::NoArea(elsewhere)));
    let green = Terms { renewable_min: Percent::try_from(50).unwrap(), ..good.clone() };
    assert!(matches!(try_terms(&mut market, green), Err(TransactionError::NoRenewableCertificates(_))));
    // An edited intent: its proofs are bound to every field.
    let (_, mut intent) = market.ask(good.clone());
    intent.terms.kappa = Kappa::try_from(3).unwrap();
    let refused = market.town.try_one(BUYER, Body::AuctionOpen(intent), &[]);
    assert!(matches!(refused, Err(TransactionError::Intent(_))), "{refused:?}");

    let mut keyless = Market::new(zone().rules);
    let (_, intent) = market.ask(good);
    assert_eq!(
        keyless.town.try_one(BUYER, Body::AuctionOpen(intent), &[]),
        Err(TransactionError::NoEpochKey(0)),
        "before the committee has made its key"
    );
}

#[test]
fn nobody_within_the_reserve_is_proven_too() {
    let mut market = Market::with_key();
    let terms = market.terms();
    let key = market.key();
    let (mut buyer, action) =
        Buyer::ask(terms, InCell { x: 80, y: 60 }, Reserve(10), key, &mut market.rng).unwrap();
    let BuyerAction::PublishIntent(intent) = action else { panic!("{action:?}") };
    let id = intent.id();
    market.town.ok(BUYER, Body::AuctionOpen(intent), &[]);
    let verified = market.auction(id).intent;
    let bid = Box::new(market.bid(&verified, 80, 40_000));
    market.town.ok(80, Body::AuctionBid { bid, evse: evse_of(80) }, &[]);
    market.town.block_at(Duration::from_secs(10), Vec::new());
    let seal = seal_secret(80).public();
    let candidates = market.auction(id).bids.into_iter().map(|bid| Candidate { bid, seal }).collect();
    buyer.on_closed(candidates, &mut market.rng).unwrap();
    let mut outcome = None;
    for n in [0usize, 1, 2] {
        let release = market.release(n, id);
        market.town.ok(u8::try_from(n).unwrap() + 1, Body::AuctionRelease(Box::new(release.clone())), &[]);
        for action in buyer.on_release(&release, &mut market.rng).unwrap() {
            if let BuyerAction::PublishOutcome(published) = action {
                outcome = Some(published);
            }
        }
    }
    let outcome = outcome.unwrap();
    assert_eq!(
        market.town.try_one(SELLER, Body::AuctionOutcome(outcome.clone()), &[]),
        Err(TransactionError::NotTheBuyer(id))
    );
    market.town.ok(BUYER, Body::AuctionOutcome(outcome), &[]);
    assert_eq!(market.ended(id), End::NobodyEligible);
}

/// Other stakes, and with them another key. The old one opens auctions for ten minutes more, and those that it has opened
/// are released by its holders.
#[test]
fn an_old_key_opens_auctions_for_ten_minutes_and_serves_those_to_their_end() {
    let mut market = Market::with_key();
    let (_, intent) = market.ask(market.terms());
    let id = intent.id();
    market.town.ok(BUYER, Body::AuctionOpen(intent), &[]);
    let verified = market.auction(id).intent;
    let bid = Box::new(market.bid(&verified, 81, 30_000));
    market.town.ok(81, Body::AuctionBid { bid, evse: evse_of(81) }, &[]);
    let restake = |market: &Market| {
        let mut validators = market.town.state.validators().all().to_vec();
        validators[3].stake -= 1;
        let validators = Box::new(ValidatorSet::new(validators).unwrap());
        Body::SetValidators { epoch: market.town.state.epoch().number, validators }
    };
    let change = restake(&market);
    market.town.ok(1, change, &[1, 2, 3]);
    assert_eq!(market.town.state.governance().key_serves_until(0), None, "no other key is made");
    let old = market.shares.clone();
    market.town.pass(Duration::from_secs(600));
    let old_terms =
        Terms { deadline: market.town.now.checked_add(Duration::from_secs(1800)).unwrap(), ..market.terms() };
    let (_, late) = market.ask(old_terms.clone());
    let (_, too_late) = market.ask(old_terms);

    market.make_key();
    let made = market.town.now;
    let until = made.checked_add(Governance::KEY_GRACE).unwrap();
    assert_eq!(market.town.state.governance().key_serves_until(0), Some(until));
    assert_eq!(market.town.state.governance().key_serves_until(1), None);
    // The time to release is over for the first auction; the second is opened in the last moment.
    assert_eq!(market.ended(id), End::TimedOut);
    let id = late.id();
    let before = Governance::KEY_GRACE.checked_sub(Duration::from_secs(1)).unwrap();
    market.town.block_at(before, Vec::new());
    market.town.ok(BUYER, Body::AuctionOpen(late), &[]);
    assert_eq!(market.town.now, until);
    let now = until.checked_add(Duration::from_secs(1)).unwrap();
    let refused = TransactionError::OldEpochKey { epoch: 0, until, now };
    assert_eq!(market.town.try_one(BUYER, Body::AuctionOpen(too_late), &[]), Err(refused));
    let (_, newer) = market.ask(market.terms());
    market.town.ok(BUYER, Body::AuctionOpen(newer), &[]);

    let auction = market.auction(id);
    let key = market.town.state.epoch_key(0).unwrap().clone();
    let bid = Bid::create(&auction.intent, &key, station_of(80), PriceTick(20_000), &mut market.rng);
    market.town.ok(80, Body::AuctionBid { bid: Box::new(bid.unwrap()), evse: evse_of(80) }, &[]);
    let due = auction.intent.terms().deadline.since(market.town.now).unwrap();
    market.town.block_at(due, Vec::new());
    let bids = market.auction(id).bids;
    for (n, shares) in (1..=3).zip(&old) {
        let release = Release::create(shares, &key, &auction.intent, &bids, &mut market.rng).unwrap();
        market.town.ok(n, Body::AuctionRelease(Box::new(release)), &[]);
    }
    assert!(market.auction(id).opening.is_some(), "by the shares of the old key");
}

/// Whoever changes the validators again and again, so that no key is ever made, leaves the last one that was.
#[test]
fn the_key_that_serves_keeps_its_holders_until_another_is_made() {
    let mut market = Market::with_key();
    for n in 0..6 {
        let mut validators = market.town.state.validators().all().to_vec();
        validators[3].stake = 9 - n;
        let validators = Box::new(ValidatorSet::new(validators).unwrap());
        let epoch = market.town.state.epoch().number;
        market.town.ok(1, Body::SetValidators { epoch, validators }, &[1, 2, 3]);
        market.town.block(Vec::new());
    }
    let governance = market.town.state.governance();
    let epochs: Vec<u64> = governance.keys.iter().map(|holders| holders.epoch).collect();
    assert_eq!(epochs, [0, 4, 5, 6]);
    let (_, intent) = market.ask(market.terms());
    market.town.ok(BUYER, Body::AuctionOpen(intent), &[]);
}

#[test]
fn a_silent_dealer_is_left_out_of_the_next_attempt() {
    let mut market = Market::new(zone().rules);
    let generation = market.generation();
    for n in 0..3u16 {
        let (_, action) = Dealer::start(generation.clone(), ValidatorIndex(n), &mut market.rng).unwrap();
        let Action::Deal(deal) = action else { panic!("{action:?}") };
        let sender = u8::try_from(n).unwrap() + 1;
        let stranger = market.town.try_one(SELLER, Body::KeyDeal(Box::new(deal.clone())), &[]);
        assert_eq!(stranger, Err(TransactionError::NotTheValidator(n)));
        market.town.ok(sender, Body::KeyDeal(Box::new(deal)), &[]);
    }
    market.town.block_at(Duration::from_secs(120), Vec::new());
    let next = market.generation();
    assert_eq!(next.attempt, generation.attempt + 1);
    assert_eq!(next.holding.validators(), [0, 1, 2].map(ValidatorIndex), "without the silent one");

    let (key, _) = solo(*market.town.state.zone_id(), 0, ValidatorIndex(0), &mut market.rng);
    assert_eq!(
        market.town.try_one(1, Body::KeySolo(Box::new(key)), &[]),
        Err(TransactionError::NotAlone(0)),
        "one of four does not make the key alone"
    );
    assert!(Shareholding::by_stake(&[(ValidatorIndex(0), 1)]).is_ok());
}

/// A validator next to which the others' stake is nothing holds the only share; it alone can make the key.
#[test]
fn the_only_shareholder_of_several_validators_makes_the_key() {
    let validator = |n: u8, stake| {
        let (name, address) = (format!("v{n}"), String::new());
        Validator { name, key: key(n).public(), vote: vote_key(n).public(), stake, address }
    };
    let validators = ValidatorSet::new(vec![validator(1, 100), validator(2, 1)]).unwrap();
    let mut town = Town::in_zone(Zone { validators, ..auction_zone() });
    let (made, _) = solo(*town.state.zone_id(), 0, ValidatorIndex(0), &mut rng(1));
    let body = Body::KeySolo(Box::new(made));
    assert_eq!(town.try_one(2, body.clone(), &[]), Err(TransactionError::NotTheValidator(0)));
    town.ok(1, body, &[]);
    assert!(town.state.epoch_key(0).is_some());
}
