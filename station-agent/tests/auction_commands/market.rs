//! A chain whose validators have made their auction key, with sellers who bid.

use crate::chain::{CELL, CREATED_MS, Chain, buyer, key};
use ohmesh_auction::{
    award::{Accept, Award},
    bid::Bid,
    intent::{
        Choice, Connectors, EnergyKwh, Intent, Kappa, Percent, Pricing, Reserve, RoadDetour, Terms,
        VerifiedIntent,
    },
    key::{
        EpochKey, KeyShares, ValidatorIndex,
        generation::{Action, Dealer},
    },
    outcome::Outcome,
    release::Release,
    role::{Buyer, BuyerAction, Candidate},
    seal::SealSecret,
};
use ohmesh_contract::{GridTariff, Offer, Terms as ContractTerms};
use ohmesh_ledger::{Auction, Body, Object, SignedTransaction, epoch_key_id};
use ohmesh_units::{
    AccountId, AuctionId, EvseId, Hash, InCell, Position, Power, Price, PriceTick, SigningKey, StationId,
    TickSize, Timestamp,
};
use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

/// Seller `n` from 0.
fn seller(n: u8) -> SigningKey {
    key(150 + n)
}

/// The one-time key of the buyer of this many auctions before.
fn pseudonym(n: usize) -> SigningKey {
    key(30 + u8::try_from(n).unwrap())
}

fn seal(n: u8) -> SealSecret {
    SealSecret::from_seed(&[n; 32])
}

pub(crate) fn station(n: u8) -> StationId {
    StationId::of(&AccountId::of(&seller(n).public()), 1)
}

fn evse(n: u8) -> EvseId {
    EvseId::of(&station(n), 1)
}

/// An auction that the market has opened.
pub(crate) struct Asked {
    pub(crate) id: AuctionId,
    buyer: Buyer,
    number: usize,
}

pub(crate) struct Market {
    pub(crate) chain: Chain,
    shares: Vec<KeyShares>,
    rng: ChaCha20Rng,
    at_ms: u64,
    auctions: usize,
}

impl Market {
    /// So many sellers, in a row to the north-east.
    pub(crate) fn new(sellers: u8) -> Self {
        let mut chain = Chain::new("Berlin");
        chain.found(false);
        let (shares, rng) = (Vec::new(), ChaCha20Rng::from_seed([1; 32]));
        let mut market = Self { chain, shares, rng, at_ms: 1_000, auctions: 0 };
        market.register(sellers);
        market.make_key();
        market
    }

    fn register(&mut self, sellers: u8) {
        let zone = *self.chain.state.zone_id();
        for n in 0..sellers {
            let (owner, number) = (seller(n), 1);
            let account = AccountId::of(&owner.public());
            let position = Position::from_e7(940_000 + 9_000 * i32::from(n), 950_000).unwrap();
            let (name, award_key) = (format!("Station {n}"), Hash(seal(n).public().to_bytes()));
            let plugs = (2, Power::from_w(22_000));
            let outlet = Body::register_evse(&zone, &account, (station(n), 1), plugs, &key(200 + n));
            let all = [
                Body::OpenAccount { owner: owner.public() },
                Body::RegisterStation { number, name, position, award_key },
                outlet,
            ];
            let all = all.map(|body| self.chain.sign(&[&owner], body));
            self.block(all.into());
        }
    }

    /// Decides a block one second later.
    pub(crate) fn block(&mut self, transactions: Vec<SignedTransaction>) {
        self.at_ms += 1_000;
        self.chain.block(self.at_ms, transactions);
    }

    /// One transaction in a block of its own.
    fn one(&mut self, sender: &SigningKey, body: Body) {
        let signed = self.chain.sign(&[sender], body);
        self.block(vec![signed]);
    }

    fn make_key(&mut self) {
        let state = &self.chain.state;
        let Some((_, Object::Generation(generation))) = state.object(&epoch_key_id(0)) else {
            panic!("a zone begins with the generation of its key")
        };
        let generation = generation.generation.clone();
        let mut dealers: Vec<Dealer> = Vec::new();
        let mut deals = Vec::new();
        for n in 0..4u16 {
            let started = Dealer::start(generation.clone(), ValidatorIndex(n), &mut self.rng).unwrap();
            let (dealer, Action::Deal(deal)) = started else { panic!("a dealer deals first") };
            dealers.push(dealer);
            deals.push(deal);
        }
        let mut handouts = Vec::new();
        for deal in deals {
            self.one(&validator(deal.validator), Body::KeyDeal(Box::new(deal.clone())));
            for dealer in &mut dealers {
                handouts.extend(dealer.on_deal(deal.clone(), &mut self.rng).unwrap());
            }
        }
        let mut last = Vec::new();
        for action in handouts {
            let Action::Handout(handout) = action else { panic!("{action:?}") };
            self.one(&validator(handout.validator), Body::KeyHandout(Box::new(handout.clone())));
            for dealer in &mut dealers {
                last.extend(dealer.on_handout(handout.clone(), &mut self.rng).unwrap());
            }
        }
        for action in last {
            let Action::Keep(shares, blinding) = action else { panic!("{action:?}") };
            self.one(&validator(shares.validator()), Body::KeyBlinding(Box::new(blinding)));
            self.shares.push(*shares);
        }
    }

    pub(crate) fn key(&self) -> EpochKey {
        self.chain.state.epoch_key(0).unwrap().clone()
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(CREATED_MS + self.at_ms)
    }

    /// What a buyer asks for unless a test says otherwise.
    pub(crate) fn terms(&self) -> Terms {
        Terms {
            zone: *self.chain.state.zone_id(),
            key_epoch: 0,
            area: CELL.parse().unwrap(),
            energy: EnergyKwh::try_from(30).unwrap(),
            deadline: Timestamp::from_millis(CREATED_MS + self.at_ms + 10_000),
            blocks_min: 3,
            kappa: Kappa::try_from(2).unwrap(),
            renewable_min: Percent::try_from(0).unwrap(),
            connectors: Connectors::try_from(2).unwrap(),
            power_min: Power::from_w(11_000),
            tick: TickSize::for_cap(Price::from_micro_per_kwh(650_000)).unwrap(),
            pricing: Pricing::FirstPrice,
            choice: Choice::BestProvable,
            buyer: pseudonym(self.auctions).public(),
        }
    }

    /// Opens an auction; a table of roads goes with the choice by road.
    pub(crate) fn ask(&mut self, terms: Terms, reserve: u32, roads: &[(StationId, RoadDetour)]) -> Asked {
        let (at, reserve, key) = (InCell { x: 80, y: 60 }, Reserve(reserve), self.key());
        let asked = match terms.choice {
            Choice::BestByRoad => Buyer::ask_by_road(terms, at, reserve, roads, key, &mut self.rng),
            _ => Buyer::ask(terms, at, reserve, key, &mut self.rng),
        };
        let (role, BuyerAction::PublishIntent(intent)) = asked.unwrap() else { panic!("a buyer asks first") };
        let id = Intent::id(&intent);
        self.one(&buyer(), Body::AuctionOpen(intent));
        self.auctions += 1;
        Asked { id, buyer: role, number: self.auctions - 1 }
    }

    pub(crate) fn auction(&self, id: AuctionId) -> Auction {
        match self.chain.state.object(&id.into()) {
            Some((_, Object::Auction(auction))) => (**auction).clone(),
            other => panic!("{other:?}"),
        }
    }

    fn sealed(&mut self, intent: &VerifiedIntent, n: u8, ticks: u16) -> Bid {
        let key = self.key();
        Bid::create(intent, &key, station(n), PriceTick(ticks), &mut self.rng).unwrap()
    }

    /// The sellers bid so many ticks, four to a block.
    pub(crate) fn bid(&mut self, asked: &Asked, prices: &[(u8, u16)]) {
        let intent = self.auction(asked.id).intent;
        for four in prices.chunks(4) {
            let signed = four.iter().map(|(n, ticks)| {
                let bid = Box::new(self.sealed(&intent, *n, *ticks));
                self.chain.sign(&[&seller(*n)], Body::AuctionBid { bid, evse: evse(*n) })
            });
            let signed = signed.collect();
            self.block(signed);
        }
    }

    /// Bidding is over: the buyer has all bids. Answers its outcome where there is none to open.
    pub(crate) fn close(&mut self, asked: &mut Asked, sellers: &[u8]) -> Option<Box<Outcome>> {
        let deadline = self.auction(asked.id).intent.terms().deadline;
        while self.now() < deadline {
            self.block(Vec::new());
        }
        let bids = self.auction(asked.id).bids.into_iter().zip(sellers);
        let candidates = bids.map(|(bid, n)| Candidate { bid, seal: seal(*n).public() }).collect();
        outcome_of(asked.buyer.on_closed(candidates, &mut self.rng).unwrap())
    }

    /// These validators release, a block each. Answers the buyer's outcome where nobody is eligible.
    pub(crate) fn release(&mut self, asked: &mut Asked, validators: &[usize]) -> Option<Box<Outcome>> {
        let mut actions = Vec::new();
        for n in validators {
            let (auction, key) = (self.auction(asked.id), self.key());
            let shares = &self.shares[*n];
            let release =
                Release::create(shares, &key, &auction.intent, &auction.bids, &mut self.rng).unwrap();
            let sender = validator(release.validator);
            self.one(&sender, Body::AuctionRelease(Box::new(release.clone())));
            actions.extend(asked.buyer.on_release(&release, &mut self.rng).unwrap());
        }
        outcome_of(actions)
    }

    /// The buyer decides: `choice` where it may choose.
    pub(crate) fn decide(&mut self, asked: &mut Asked, choice: Option<usize>) -> Box<Outcome> {
        let rendezvous = Award::new(b"meet", &mut self.rng).unwrap();
        let decided = asked.buyer.on_decide(choice, rendezvous, &mut self.rng).unwrap();
        outcome_of(decided).unwrap()
    }

    pub(crate) fn publish(&mut self, outcome: &Outcome) {
        self.one(&buyer(), Body::AuctionOutcome(Box::new(outcome.clone())));
    }

    /// Seller `n` accepts, and buyer and seller open the contract.
    pub(crate) fn contract(&mut self, asked: &Asked, outcome: &Outcome, n: u8) {
        self.one(&seller(n), Body::AuctionAccept(Accept::of(outcome, station(n))));
        let price = self.auction(asked.id).award.unwrap().price;
        let energy_max = self.auction(asked.id).intent.terms().energy.energy();
        let after = |ms| Timestamp::from_millis(CREATED_MS + self.at_ms + ms);
        let owner = pseudonym(asked.number);
        let terms = ContractTerms {
            zone: *self.chain.state.zone_id(),
            auction: asked.id,
            buyer: AccountId::of(&buyer().public()),
            buyer_key: owner.public(),
            seller: AccountId::of(&seller(n).public()),
            seller_key: seller(n).public(),
            evse: evse(n),
            meter_key: key(200 + n).public(),
            price,
            energy_max,
            power_rated: Power::from_w(22_000),
            grid: GridTariff { version: 0, price: Price::from_micro_per_kwh(80_000) },
            escrow: price.times(energy_max).unwrap(),
            not_before: self.now(),
            expiry: after(4 * 3_600_000),
            number: 1,
        };
        let offer = Offer::sign(terms, [5; 32], after(60_000), &seller(n)).verify().unwrap();
        self.one(&buyer(), Body::ContractOpen(Box::new(offer.agree(&owner))));
    }

    /// A whole auction by the market's terms: sellers from 0 bid these ticks, the best wins. Answers its id.
    pub(crate) fn sold(&mut self, ticks: &[u16]) -> AuctionId {
        let terms = self.terms();
        self.sold_with(terms, ticks, &[])
    }

    /// The same by other terms; the contract follows if they pay the first price.
    pub(crate) fn sold_with(
        &mut self,
        terms: Terms,
        ticks: &[u16],
        roads: &[(StationId, RoadDetour)],
    ) -> AuctionId {
        let (choice, is_first) = (terms.choice, terms.pricing == Pricing::FirstPrice);
        let mut asked = self.ask(terms, 40_000_000, roads);
        let sellers: Vec<u8> = (0u8..).take(ticks.len()).collect();
        let prices: Vec<(u8, u16)> = sellers.iter().copied().zip(ticks.iter().copied()).collect();
        self.bid(&asked, &prices);
        assert!(self.close(&mut asked, &sellers).is_none());
        assert!(self.release(&mut asked, &[0, 2, 3]).is_none());
        let outcome = self.decide(&mut asked, (choice == Choice::OwnChoice).then_some(0));
        self.publish(&outcome);
        if is_first {
            let winner = outcome.decision.win().unwrap().bid;
            self.contract(&asked, &outcome, sellers[usize::from(winner)]);
        }
        asked.id
    }

    /// As [`Market::sold`], but the best does not come, and the next best is proven and does.
    pub(crate) fn sold_to_the_next(&mut self, ticks: &[u16]) -> AuctionId {
        let mut asked = self.ask(self.terms(), 40_000_000, &[]);
        let sellers: Vec<u8> = (0u8..).take(ticks.len()).collect();
        let prices: Vec<(u8, u16)> = sellers.iter().copied().zip(ticks.iter().copied()).collect();
        self.bid(&asked, &prices);
        self.close(&mut asked, &sellers);
        self.release(&mut asked, &[0, 2, 3]);
        let secret = asked.buyer.secret().unwrap().clone();
        let again = Buyer::resume(asked.buyer.intent().clone(), secret, self.key());
        let outcome = self.decide(&mut asked, None);
        self.publish(&outcome);
        self.pass(130);
        let left = self.auction(asked.id);
        let absent = outcome.decision.win().unwrap().station;
        assert_eq!((left.no_shows, left.award), (vec![absent], None));
        asked.buyer = again;
        let seals = left.bidders.into_iter().map(|bidder| bidder.award_key);
        let candidates =
            left.bids.into_iter().zip(seals).map(|(bid, seal)| Candidate { bid, seal }).collect();
        asked.buyer.on_closed(candidates, &mut self.rng).unwrap();
        asked.buyer.on_opening(left.opening.unwrap(), &mut self.rng).unwrap();
        let outcome = self.decide(&mut asked, None);
        self.publish(&outcome);
        let winner = outcome.decision.win().unwrap().station;
        let winner = sellers.into_iter().find(|n| station(*n) == winner).unwrap();
        self.contract(&asked, &outcome, winner);
        asked.id
    }

    /// Time passes, with a block every ten seconds.
    pub(crate) fn pass(&mut self, seconds: u64) {
        for _ in 0..seconds.div_ceil(10) {
            self.at_ms += 9_000;
            self.block(Vec::new());
        }
    }

    /// Until the time of every step is over.
    pub(crate) fn wait(&mut self) {
        self.pass(700);
    }
}

fn validator(index: ValidatorIndex) -> SigningKey {
    key(u8::try_from(index.0).unwrap() + 1)
}

fn outcome_of(actions: Vec<BuyerAction>) -> Option<Box<Outcome>> {
    actions.into_iter().find_map(|action| match action {
        BuyerAction::PublishOutcome(outcome) => Some(outcome),
        _ => None,
    })
}
