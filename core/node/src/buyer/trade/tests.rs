//! The pure machine, with what the ledger and the seller say made by hand.

use super::*;
use ohmesh_auction::{
    bid::Bid,
    intent::{Connectors, EnergyKwh, Kappa, Percent, Pricing},
    key::{KeyShares, ValidatorIndex, solo},
    release::Release,
    seal::SealSecret,
};
use ohmesh_contract::{Contract, MeterRecord, Signed, Start};
use ohmesh_ledger::{Award, Bidder, Demand, Deposits, Evse};
use ohmesh_units::{Canonical, Energy, Power, PriceTick, TickSize};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng;

const ZONE: ZoneId = ZoneId([9; 32]);
const DEADLINE: u64 = 1_010_000;

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn key(n: u8) -> SigningKey {
    SigningKey::from_seed([n; 32])
}

fn account(n: u8) -> AccountId {
    AccountId::of(&key(n).public())
}

/// An outlet of agent 1, all of whose register up to here was sold.
fn outlet(number: u16, power: u32, register: u64) -> Evse {
    Evse {
        station: StationId::of(&account(1), 1),
        owner: account(1),
        number,
        connectors: 2,
        power: Power::from_w(power),
        meter: key(91).public(),
        register: Energy::from_wh(register),
        gaps: Vec::new(),
        before: None,
    }
}

/// One purchase, the key that seals its bids, and what the ledger would hold.
struct Desk {
    trade: Trade,
    shares: KeyShares,
    epoch_key: EpochKey,
    rng: ChaCha20Rng,
}

impl Desk {
    /// Bids by stations of the agents 1 and 2; account 3 is no agent's.
    fn new(choice: Choice) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(7);
        let (epoch_key, shares) = solo(ZONE, 0, ValidatorIndex(0), &mut rng);
        let terms = Terms {
            zone: ZONE,
            key_epoch: 0,
            area: "861f1d48fffffff".parse().unwrap(),
            energy: EnergyKwh::try_from(5).unwrap(),
            deadline: at(DEADLINE),
            blocks_min: 3,
            kappa: Kappa::NONE,
            renewable_min: Percent::default(),
            connectors: Connectors::try_from(2).unwrap(),
            power_min: Power::from_w(11_000),
            tick: TickSize::for_cap(Price::from_micro_per_kwh(650_000)).unwrap(),
            pricing: Pricing::FirstPrice,
            choice,
            buyer: key(71).public(),
        };
        let facts = Facts {
            zone: ZONE,
            buyer: account(70),
            tariffs: vec![Tariff { version: 0, price: Price::from_micro_per_kwh(80_000), from: at(0) }],
            agents: vec![key(1).public(), key(2).public()],
            transport: key(99).public(),
        };
        let secret = (InCell { x: 80, y: 60 }, Reserve(u32::MAX));
        let settings = Settings::default();
        let (signing, now) = (key(71), at(1_000_000));
        let trade =
            Trade::ask(terms, secret, epoch_key.clone(), signing, facts, settings, now, &mut rng).unwrap();
        let mut desk = Self { trade, shares, epoch_key, rng };
        desk.trade.start(now);
        assert_eq!(desk.done(), ["save", "submit"], "durable before it is submitted");
        desk
    }

    /// The steps since the last look, by name.
    fn done(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.trade.take_step())
            .map(|step| match step {
                Step::Save => "save".into(),
                Step::Submit(_) => "submit".into(),
                Step::Tell(PurchaseNews::Ended(end)) => format!("{end:?}"),
                Step::Tell(_) => "tell".into(),
                Step::Fault(_) => "fault".into(),
            })
            .collect()
    }

    fn running(&self) -> Auction {
        let Saved::Open(open) = &self.trade.saved else { panic!("it is over") };
        Auction {
            intent: open.intent.verify(&self.epoch_key).unwrap(),
            buyer: account(70),
            height: 5,
            bids: Vec::new(),
            bidders: Vec::new(),
            deposits: Deposits::NONE,
            no_shows: Vec::new(),
            releases: Vec::new(),
            opening: None,
            award: None,
            deadline: at(DEADLINE + 120_000),
            halted_ms: 0,
        }
    }

    /// The auction with bids of the stations of these accounts, the first the cheapest.
    fn with_bids(&mut self, owners: &[u8]) -> Auction {
        let mut auction = self.running();
        for (ticks, n) in (1_000u16..).zip(owners) {
            let (station, price) = (StationId::of(&account(*n), 1), PriceTick(ticks * 10));
            let bid = Bid::create(&auction.intent, &self.epoch_key, station, price, &mut self.rng).unwrap();
            let place = InCell { x: 90, y: 70 };
            auction.bids.push(bid.verify(&auction.intent, &self.epoch_key, place).unwrap());
            let award_key = SealSecret::from_seed(&[*n; 32]).public();
            auction.bidders.push(Bidder { account: account(*n), award_key });
        }
        auction
    }

    fn open(&mut self, auction: &mut Auction) {
        let (key, intent, bids) = (&self.epoch_key, &auction.intent, &auction.bids);
        let release = Release::create(&self.shares, key, intent, bids, &mut self.rng).unwrap();
        let release = release.verify(key, intent, bids).unwrap();
        auction.opening = Some(Opening::combine(key, intent, bids, &[release]).unwrap());
    }

    fn see(&mut self, object: Option<Object>, time: u64) {
        let seen = Seen { height: 20, time: at(time), object };
        self.trade.on_auction(seen, at(time), &mut self.rng).unwrap();
    }

    fn see_running(&mut self, auction: &Auction, time: u64) {
        self.see(Some(Object::Auction(Box::new(auction.clone()))), time);
    }

    fn see_end(&mut self, end: End, time: u64) {
        let finished = Finished { id: self.trade.id().into(), end, content: Hash::ZERO };
        self.see(Some(Object::Finished(finished)), time);
    }

    /// An auction that agent 1 has won and, if so told, accepted.
    fn awarded(&mut self, is_accepted: bool) -> Auction {
        let mut auction = self.with_bids(&[1, 2]);
        self.open(&mut auction);
        self.see_running(&auction, DEADLINE);
        let Saved::Open(open) = &self.trade.saved else { panic!("it goes on") };
        let Phase::Decided { outcome, .. } = &open.phase else { panic!("the best has won") };
        let sealed = outcome.decision.win().unwrap().award.clone();
        auction.award = Some(Award {
            bid: 0,
            station: StationId::of(&account(1), 1),
            seller: account(1),
            price: Price::from_micro_per_kwh(100_000),
            outcome: outcome.hash(),
            is_proven_best: true,
            sealed,
            is_accepted,
            demand: None,
        });
        self.see_running(&auction, DEADLINE + 1_000);
        self.done();
        auction
    }

    /// A sale whose station has this many outlets that fit.
    fn selling(&mut self, outlets: u16) -> Auction {
        let auction = self.awarded(true);
        let mut all: Vec<Evse> = (1..=outlets).map(|number| outlet(number, 22_000, 0)).collect();
        all.insert(0, outlet(9, 3_700, 0));
        self.trade.on_outlets(all, at(DEADLINE + 1_000));
        auction
    }

    fn ended(&self) -> Ended {
        self.trade.result().unwrap().unwrap_err()
    }
}

#[test]
fn an_intent_that_never_arrives() {
    let mut desk = Desk::new(Choice::BestProvable);
    desk.see(None, 1_005_000);
    assert_eq!(desk.done(), Vec::<String>::new(), "it was submitted five seconds ago");
    desk.see(None, 1_010_000 - 1);
    desk.trade.on_refused("mempool full".into());
    desk.see(None, DEADLINE);
    assert_eq!(desk.ended(), Ended::NotOnLedger { refused: Some("mempool full".into()) });
    assert!(!desk.trade.saved().is_open());
}

#[test]
fn nobody_bids() {
    let mut desk = Desk::new(Choice::BestProvable);
    let auction = desk.running();
    desk.see_running(&auction, DEADLINE - 1);
    assert_eq!(desk.done(), ["tell"], "it takes bids");
    desk.see_running(&auction, DEADLINE);
    assert_eq!(desk.done(), ["save", "submit"], "the proof that nobody is eligible");
    desk.see_end(End::NobodyEligible, DEADLINE + 1_000);
    assert_eq!(desk.ended(), Ended::NobodyBid);
    assert_eq!(desk.done(), ["save", "NobodyBid"]);
}

#[test]
fn bids_count_until_enough_blocks_have_passed() {
    let mut desk = Desk::new(Choice::BestProvable);
    let mut auction = desk.with_bids(&[1]);
    auction.height = 18;
    desk.see_running(&auction, DEADLINE + 5_000);
    assert!(matches!(desk.trade.bidding, Bidding::Running), "two blocks of three");
    auction.height = 17;
    desk.see_running(&auction, DEADLINE + 5_000);
    assert!(matches!(desk.trade.bidding, Bidding::Closed));
}

#[test]
fn the_release_never_comes() {
    let mut desk = Desk::new(Choice::BestProvable);
    let auction = desk.with_bids(&[1, 2]);
    desk.see_running(&auction, DEADLINE);
    desk.see_running(&auction, DEADLINE + 60_000);
    assert_eq!(desk.trade.want(), Want::Auction);
    desk.see_end(End::TimedOut, DEADLINE + 120_000);
    assert_eq!(desk.ended(), Ended::NotReleased);
}

#[test]
fn a_winner_nobody_could_speak_with_is_not_awarded() {
    let mut desk = Desk::new(Choice::BestProvable);
    let mut auction = desk.with_bids(&[3, 1]);
    desk.open(&mut auction);
    desk.see_running(&auction, DEADLINE);
    assert_eq!(desk.ended(), Ended::NoSellerAgent(StationId::of(&account(3), 1)));
    assert!(!desk.done().contains(&"submit".to_owned()));
}

#[test]
fn a_choice_that_is_never_made() {
    let mut desk = Desk::new(Choice::OwnChoice);
    let mut auction = desk.with_bids(&[1, 2]);
    desk.open(&mut auction);
    desk.see_running(&auction, DEADLINE);
    assert_eq!(desk.trade.choices().unwrap().len(), 2);
    let (auction, bid) = (desk.trade.id(), 2);
    let wrong = desk.trade.on_choice(bid, at(DEADLINE), &mut desk.rng);
    assert_eq!(wrong, Err(BuyError::NoSuchBid { auction, bid }));
    desk.see_end(End::TimedOut, DEADLINE + 300_000);
    assert_eq!(desk.ended(), Ended::NotDecided);
}

#[test]
fn the_winner_does_not_accept() {
    let mut desk = Desk::new(Choice::BestProvable);
    desk.awarded(false);
    desk.see_end(End::TimedOut, DEADLINE + 121_000);
    assert_eq!(desk.ended(), Ended::NotAccepted(StationId::of(&account(1), 1)));
}

#[test]
fn an_award_that_is_not_this_ones_outcome_is_not_taken() {
    let mut desk = Desk::new(Choice::BestProvable);
    let mut auction = desk.awarded(false);
    let award = auction.award.as_mut().unwrap();
    (award.outcome, award.is_accepted) = (Hash([5; 32]), true);
    desk.see_running(&auction, DEADLINE + 2_000);
    assert_eq!(desk.trade.want(), Want::Auction, "it goes on waiting for its own");
}

#[test]
fn a_station_without_an_outlet_that_fits() {
    let mut desk = Desk::new(Choice::BestProvable);
    desk.selling(0);
    assert_eq!(desk.ended(), Ended::NoOutlet(StationId::of(&account(1), 1)));
}

/// What is submitted next.
fn submitted(desk: &mut Desk) -> Option<Body> {
    let steps = std::iter::from_fn(|| desk.trade.take_step());
    steps.filter_map(|step| if let Step::Submit(body) = step { Some(*body) } else { None }).last()
}

/// The auction of `desk` without its winner, as the ledger leaves it.
fn without_winner(mut auction: Auction) -> Auction {
    let award = auction.award.take().unwrap();
    let at = usize::from(award.bid);
    auction.bids.remove(at);
    auction.bidders.remove(at);
    auction.opening = auction.opening.map(|opening| opening.without(at));
    auction.no_shows.push(award.station);
    auction
}

#[test]
fn when_the_winner_does_not_come_the_next_best_is_proven() {
    let mut desk = Desk::new(Choice::BestProvable);
    let first = desk.awarded(false);
    let left = without_winner(first.clone());
    desk.see_running(&left, DEADLINE + 125_000);
    let Some(Body::AuctionOutcome(outcome)) = submitted(&mut desk) else { panic!("the next outcome") };
    let next = StationId::of(&account(2), 1);
    assert_eq!(outcome.decision.win().unwrap().station, next);
    let verdict =
        outcome.verify(&desk.epoch_key, &left.intent, &left.bids, left.opening.as_ref().unwrap()).unwrap();
    assert!(matches!(verdict, ohmesh_auction::outcome::Verdict::Won { station, .. } if station == next));
    // It is not sent again and again, and the old winner's late word means nothing.
    desk.see_running(&left, DEADLINE + 126_000);
    assert_eq!(desk.done(), Vec::<String>::new());
    desk.see_end(End::NobodyCame, DEADLINE + 250_000);
    assert_eq!(desk.ended(), Ended::NotDecided, "the second outcome was never seen on the ledger");
}

#[test]
fn after_a_restart_the_next_best_is_proven_all_the_same() {
    let mut desk = Desk::new(Choice::BestProvable);
    let left = without_winner(desk.awarded(false));
    let saved = Saved::decode(&desk.trade.saved().encode()).unwrap();
    let (facts, settings) = (desk.trade.facts.clone(), desk.trade.settings);
    desk.trade = Trade::resume(saved, facts, settings, at(DEADLINE + 120_000)).unwrap();
    desk.see_running(&left, DEADLINE + 125_000);
    assert!(matches!(submitted(&mut desk), Some(Body::AuctionOutcome(_))));
}

/// The drafts that the seller of `desk` leaves unanswered, and when the last of them lapsed.
fn unanswered(desk: &mut Desk, outlets: usize) -> (Vec<ohmesh_contract::Terms>, u64) {
    let mut now = DEADLINE + 1_000;
    let mut asked = Vec::new();
    for _ in 0..outlets {
        desk.trade.on_linked([1; 32], at(now), &mut desk.rng).unwrap();
        let [Message::Draft(draft)] = &desk.trade.take_messages(16)[..] else { panic!("a draft first") };
        asked.push((**draft).clone());
        now += 60_000;
        desk.trade.on_time(at(now));
    }
    (asked, now)
}

#[test]
fn a_silent_seller_is_asked_for_each_outlet_and_then_on_the_ledger() {
    let mut desk = Desk::new(Choice::BestProvable);
    let mut auction = desk.selling(2);
    let (asked, now) = unanswered(&mut desk, 2);
    assert_ne!(asked[0].evse, asked[1].evse);
    let Some(Body::AuctionDemand(terms)) = submitted(&mut desk) else { panic!("a demand") };
    assert_eq!((*terms, desk.trade.want()), (asked[1].clone(), Want::Auction));
    let saved = Saved::decode(&desk.trade.saved().encode()).unwrap();

    // No answer: it did not come, and the next best is decided for.
    auction.award.as_mut().unwrap().demand = Some(Demand::Asked(Box::new(asked[1].clone())));
    desk.see_running(&auction, now + 1_000);
    assert_eq!(desk.done(), Vec::<String>::new());
    let left = without_winner(auction.clone());
    desk.see_running(&left, now + 121_000);
    assert!(matches!(submitted(&mut desk), Some(Body::AuctionOutcome(_))));

    // After a restart the demand is said again, and an auction that ends meanwhile is told.
    let (facts, settings) = (desk.trade.facts.clone(), desk.trade.settings);
    desk.trade = Trade::resume(saved, facts, settings, at(now)).unwrap();
    auction.award.as_mut().unwrap().demand = None;
    desk.see_running(&auction, now + 1_000);
    assert!(matches!(submitted(&mut desk), Some(Body::AuctionDemand(_))));
    desk.see_end(End::NobodyCame, now + 121_000);
    let station = StationId::of(&account(1), 1);
    assert_eq!(desk.ended(), Ended::SellerSilent { station, refused: None });
}

#[test]
fn a_station_with_many_outlets_is_not_asked_for_all_of_them_in_vain() {
    let mut desk = Desk::new(Choice::BestProvable);
    desk.selling(6);
    unanswered(&mut desk, 3);
    assert!(matches!(submitted(&mut desk), Some(Body::AuctionDemand(_))), "three minutes are enough");
}

/// The answer on the ledger names another outlet, as the one that was asked for is broken.
#[test]
fn an_answer_on_the_ledger_opens_the_contract() {
    let mut desk = Desk::new(Choice::BestProvable);
    let mut auction = desk.selling(2);
    let (asked, now) = unanswered(&mut desk, 2);
    desk.done();
    let held = outlet(1, 22_000, 0);
    let terms = ohmesh_contract::Terms { evse: held.id(), meter_key: held.meter, ..asked[1].clone() };
    let valid_until = at(now + 700_000);
    let offer =
        ohmesh_contract::Offer::sign(terms.clone(), ohmesh_contract::NO_EXPORTER, valid_until, &key(1));
    auction.award.as_mut().unwrap().demand = Some(Demand::Answered(Box::new(offer)));
    desk.see_running(&auction, now + 1_000);
    let Some(Body::ContractOpen(agreement)) = submitted(&mut desk) else { panic!("the contract") };
    assert_eq!(agreement.verify().unwrap().terms(), &terms);
    desk.see_end(End::Contracted(terms.id()), now + 3_000);
    assert!(desk.done().contains(&"tell".to_owned()), "the contract is open");
    assert_eq!(desk.trade.evse(), Some(held.id()));
}

/// A contract that both have signed for one connection.
fn agreed(desk: &mut Desk) -> (Auction, ohmesh_contract::Terms) {
    let auction = desk.selling(1);
    let now = at(DEADLINE + 2_000);
    desk.trade.on_linked([1; 32], now, &mut desk.rng).unwrap();
    let [Message::Draft(draft)] = &desk.trade.take_messages(16)[..] else { panic!("a draft first") };
    let valid_until = at(DEADLINE + 122_000);
    let offer = ohmesh_contract::Offer::sign((**draft).clone(), [1; 32], valid_until, &key(1));
    let terms = (**draft).clone();
    desk.done();
    desk.trade.on_messages(vec![Message::Offer(Box::new(offer))], now);
    assert_eq!(desk.done(), ["save", "submit"], "the agreement, to be opened");
    (auction, terms)
}

#[test]
fn a_contract_names_the_tariff_in_force() {
    let mut desk = Desk::new(Choice::BestProvable);
    let (price, from) = (Price::from_micro_per_kwh(95_000), at(DEADLINE + 2_000));
    desk.trade.facts.tariffs.push(Tariff { version: 1, price, from });
    let (_, terms) = agreed(&mut desk);
    assert_eq!((terms.grid.version, terms.grid.price), (1, price));
    let mut desk = Desk::new(Choice::BestProvable);
    desk.trade.facts.tariffs.push(Tariff { version: 1, price, from: at(DEADLINE + 2_001) });
    let (_, terms) = agreed(&mut desk);
    assert_eq!(terms.grid.version, 0, "a millisecond too early");
}

#[test]
fn an_offer_for_another_connection_is_refused_and_told() {
    let mut desk = Desk::new(Choice::BestProvable);
    desk.selling(1);
    let now = at(DEADLINE + 2_000);
    desk.trade.on_linked([1; 32], now, &mut desk.rng).unwrap();
    let [Message::Draft(draft)] = &desk.trade.take_messages(16)[..] else { panic!("a draft first") };
    let relayed = ohmesh_contract::Offer::sign((**draft).clone(), [2; 32], at(DEADLINE + 9_000), &key(1));
    desk.done();
    desk.trade.on_messages(vec![Message::Offer(Box::new(relayed))], now);
    assert_eq!(desk.done(), ["fault"]);
}

#[test]
fn a_contract_that_is_not_opened_in_time() {
    let mut desk = Desk::new(Choice::BestProvable);
    let (auction, terms) = agreed(&mut desk);
    desk.see_running(&auction, DEADLINE + 20_000);
    assert_eq!(desk.done(), ["submit"], "once more after ten seconds");
    desk.see_running(&auction, DEADLINE + 122_000);
    assert_eq!(desk.ended(), Ended::NotOpened(terms.id()));
}

#[test]
fn a_contract_that_expires_and_one_nobody_can_explain() {
    let mut desk = Desk::new(Choice::BestProvable);
    let (_, terms) = agreed(&mut desk);
    let bytes = desk.trade.saved().encode();
    for (end, ended) in [
        (End::Expired, Ended::Expired(terms.id())),
        (End::Voided, Ended::Waived(terms.id())),
        (End::Posted, Ended::Unexplained(terms.id())),
    ] {
        let saved = Saved::decode(&bytes).unwrap();
        let (facts, now) = (desk.trade.facts.clone(), at(DEADLINE + 3_000));
        desk.trade = Trade::resume(saved, facts, Settings::default(), now).unwrap();
        desk.see_end(End::Contracted(terms.id()), DEADLINE + 3_000);
        let Want::Sale { contract, .. } = desk.trade.want() else { panic!("the sale goes on") };
        assert_eq!(contract, Some(terms.id().into()));
        let finished = Finished { id: terms.id().into(), end, content: Hash::ZERO };
        let seen = Seen { height: 30, time: now, object: Some(Object::Finished(finished)) };
        desk.trade.on_contract(seen, now);
        if end == End::Posted {
            assert_eq!(desk.trade.want(), Want::Register(terms.evse));
            desk.trade.on_register(&outlet(1, 22_000, 5_000), now);
        }
        assert_eq!(desk.ended(), ended);
    }
}

/// The contract as the ledger would hold it: started, and claimed without the buyer for what the meter says.
fn claimed(desk: &mut Desk, energy: u64) -> Contract {
    let (_, terms) = agreed(desk);
    desk.see_end(End::Contracted(terms.id()), DEADLINE + 3_000);
    let Saved::Open(open) = &desk.trade.saved else { panic!("the sale goes on") };
    let Phase::Sale(sale) = &open.phase else { panic!("the sale goes on") };
    let agreement = sale.agreement.clone().unwrap().verify().unwrap();
    let mut contract = Contract::open(&agreement, at(DEADLINE + 3_000)).unwrap();
    let now = at(DEADLINE + 4_000);
    let start = Start { contract: terms.id(), evse: terms.evse, exporter: [1; 32], at: now };
    let start = Signed::new(start, &key(71)).verify(&terms).unwrap();
    contract.start(&start, now).unwrap();
    let later = at(DEADLINE + 4_000 + 3_600_000);
    let record = MeterRecord {
        contract: terms.id(),
        evse: terms.evse,
        sequence: 1,
        register_start: Energy::from_wh(1_000),
        energy: Energy::from_wh(energy),
        at: later,
        is_final: true,
    };
    let record = Signed::new(record, &key(91)).verify(&terms).unwrap();
    contract.settle(terms.seller, &record, None, later).unwrap();
    desk.done();
    contract
}

/// The desk sees the contract as it stands, and is told so.
fn see_contract(desk: &mut Desk, contract: &Contract) -> Vec<PurchaseNews> {
    let object = Some(Object::Contract(Box::new(contract.clone())));
    let seen = Seen { height: 30, time: at(DEADLINE + 9_000), object };
    desk.trade.on_contract(seen, at(DEADLINE + 9_000));
    let told = |step| match step {
        Step::Tell(news) => Some(news),
        _ => None,
    };
    std::iter::from_fn(|| desk.trade.take_step()).filter_map(told).collect()
}

/// The ledger has paid `contract` as it stands; gives what the receipt says was sold.
fn see_paid(desk: &mut Desk, contract: &Contract) -> Result<Energy, Ended> {
    let finished = Finished::of(&Object::Contract(Box::new(contract.clone())), End::Posted);
    let now = at(DEADLINE + 200_000_000);
    let seen = Seen { height: 40, time: now, object: Some(Object::Finished(finished)) };
    desk.trade.on_contract(seen, now);
    desk.trade.on_register(&outlet(1, 22_000, 9_000), now);
    desk.trade.result().unwrap().map(|receipt| receipt.sale.bill.energy)
}

#[test]
fn a_claim_is_told_and_paid_as_it_stood() {
    let mut desk = Desk::new(Choice::BestProvable);
    let mut contract = claimed(&mut desk, 4_000);
    let told = see_contract(&mut desk, &contract);
    assert!(
        matches!(told[..], [PurchaseNews::Claimed { bill, .. }] if bill.energy == Energy::from_wh(4_000))
    );
    assert_eq!(see_contract(&mut desk, &contract), vec![], "told once");
    contract.conclude(contract.deadline()).unwrap();
    assert_eq!(see_paid(&mut desk, &contract), Ok(Energy::from_wh(4_000)));
}

#[test]
fn a_disputed_claim_is_paid_as_it_was_lowered_and_decided() {
    let lowered = |contract: &mut Contract, energy| {
        contract.lower(account(1), Energy::from_wh(energy), at(DEADLINE + 4_000_000)).unwrap();
    };
    for is_decided in [false, true] {
        let mut desk = Desk::new(Choice::BestProvable);
        let mut contract = claimed(&mut desk, 4_000);
        see_contract(&mut desk, &contract);
        contract.dispute(account(70), at(DEADLINE + 4_000_000)).unwrap();
        let told = see_contract(&mut desk, &contract);
        assert!(matches!(told[..], [PurchaseNews::Disputed { .. }]), "{told:?}");
        lowered(&mut contract, 3_900);
        let told = see_contract(&mut desk, &contract);
        let energy = Energy::from_wh(3_900);
        assert!(matches!(told[..], [PurchaseNews::ClaimLowered { bill, .. }] if bill.energy == energy));
        // What comes last is seen by its hash alone.
        let paid = if is_decided {
            contract.resolve(Energy::from_wh(1_234), at(DEADLINE + 5_000_000)).unwrap().energy
        } else {
            lowered(&mut contract, 3_001);
            contract.conclude(contract.deadline()).unwrap().energy
        };
        assert_eq!(see_paid(&mut desk, &contract), Ok(paid));
    }
}

/// Both sign for less, or the buyer disputes and others decide, between two looks of this node.
#[test]
fn what_ends_a_claim_between_two_looks_is_told() {
    for (disputed_at, energy) in [(4_100_000, 4_000), (4_100_000, 2_500), (80_000_000, 0)] {
        let mut desk = Desk::new(Choice::BestProvable);
        let mut contract = claimed(&mut desk, 4_000);
        see_contract(&mut desk, &contract);
        contract.dispute(account(70), at(DEADLINE + disputed_at)).unwrap();
        contract.resolve(Energy::from_wh(energy), at(DEADLINE + disputed_at)).unwrap();
        assert_eq!(see_paid(&mut desk, &contract), Ok(Energy::from_wh(energy)));
    }
    // Nor does it matter that nobody decided.
    let mut desk = Desk::new(Choice::BestProvable);
    let mut contract = claimed(&mut desk, 4_000);
    see_contract(&mut desk, &contract);
    contract.dispute(account(70), at(DEADLINE + 4_100_000)).unwrap();
    contract.conclude(contract.deadline()).unwrap();
    assert_eq!(see_paid(&mut desk, &contract), Ok(Energy::from_wh(4_000)));
}

#[test]
fn a_claim_that_was_raised_explains_nothing() {
    let mut desk = Desk::new(Choice::BestProvable);
    let low = claimed(&mut desk, 3_000);
    see_contract(&mut desk, &low);
    let mut other = Desk::new(Choice::BestProvable);
    let mut high = claimed(&mut other, 4_000);
    high.conclude(high.deadline()).unwrap();
    assert_eq!(see_paid(&mut desk, &high), Err(Ended::Unexplained(low.id())));
}

#[test]
fn what_has_ended_holds_no_secret() {
    let mut desk = Desk::new(Choice::BestProvable);
    let secret = desk.trade.role.as_ref().unwrap().secret().unwrap().to_bytes();
    let holds = |desk: &Desk, part: &[u8]| desk.trade.saved().encode().windows(32).any(|w| w == part);
    let seed = key(71).seed();
    assert!(holds(&desk, &secret[7..39]) && holds(&desk, &seed[..]));
    desk.awarded(false);
    assert!(holds(&desk, &secret[7..39]), "the winner may not come, and the next best has to be proven");
    desk.see_end(End::NobodyCame, DEADLINE + 121_000);
    assert!(!holds(&desk, &seed[..]) && !holds(&desk, &secret[7..39]));
    let mut desk = Desk::new(Choice::BestProvable);
    let secret = desk.trade.role.as_ref().unwrap().secret().unwrap().to_bytes();
    let (_, terms) = agreed(&mut desk);
    assert!(holds(&desk, &secret[7..39]));
    desk.see_end(End::Contracted(terms.id()), DEADLINE + 5_000);
    assert!(
        desk.trade.saved().is_open() && !holds(&desk, &secret[7..39]),
        "with the contract its use is over"
    );
}
