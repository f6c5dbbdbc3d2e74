//! Contracts after the charge: disputes, who ends them and on what, and the meter's register that sells each Wh once.

use crate::{auctions::*, town::*};
use ohmesh_contract::{Refused, State as ContractState, Terms};
use ohmesh_ledger::*;
use ohmesh_units::*;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 3600);
const WINNER: u8 = 81;

fn dispute(terms: &Terms) -> Body {
    Body::ContractDispute { contract: terms.id() }
}

fn lower(terms: &Terms, wh: u64) -> Body {
    Body::ContractLower { contract: terms.id(), energy: Energy::from_wh(wh) }
}

fn resolve(terms: &Terms, wh: u64) -> Body {
    Body::ContractResolve { contract: terms.id(), energy: Energy::from_wh(wh) }
}

/// The meter's record and the buyer's start; with its last word if `closed`.
fn settle(market: &Market, terms: &Terms, register: u64, wh: u64, closed: bool) -> Body {
    let record = market.record(terms, register, wh);
    let checkpoint = closed.then(|| market.checkpoint(terms, &record));
    Body::ContractSettle { record: Box::new(record), start: Some(Box::new(market.start(terms))), checkpoint }
}

/// A contract whose seller claims this much without the buyer's word.
fn claimed(market: &mut Market, register: u64, wh: u64) -> Terms {
    let terms = market.contracted();
    let start = market.start(&terms);
    market.town.ok(WINNER, Body::ContractStart(Box::new(start)), &[]);
    market.town.block_at(Duration::from_secs(3600), Vec::new());
    let record = Box::new(market.record(&terms, register, wh));
    market.town.ok(WINNER, Body::ContractSettle { record, start: None, checkpoint: None }, &[]);
    terms
}

fn state(market: &Market, terms: &Terms) -> ContractState {
    match market.town.state.object(&terms.id().into()) {
        Some((_, Object::Contract(contract))) => contract.state(),
        other => panic!("{other:?}"),
    }
}

fn bought(market: &Market) -> u64 {
    let (_, balance) = market.town.state.balance(Journal::Energy, &account(BUYER)).unwrap();
    balance.bought.as_wh()
}

fn refused(market: &mut Market, who: u8, body: Body, also: &[u8]) -> Refused {
    match market.town.try_one(who, body, also) {
        Err(TransactionError::Contract(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_claim_is_disputed_lowered_and_resolved_by_those_who_may() {
    let mut market = Market::with_key();
    let open = market.contracted();
    let early = refused(&mut market, BUYER, dispute(&open), &[]);
    assert!(matches!(early, Refused::Transition { .. }), "nothing is claimed yet: {early:?}");
    let early = refused(&mut market, BUYER, resolve(&open, 0), &[WINNER]);
    assert!(matches!(early, Refused::Transition { .. }), "{early:?}");

    let terms = claimed(&mut market, 1_000, 20_000);
    let (id, buyer, seller) = (terms.id(), account(BUYER), account(WINNER));
    let before = market.town.holding(Journal::Energy, WINNER).posted;
    let wrong = refused(&mut market, WINNER, dispute(&terms), &[]);
    assert_eq!(wrong, Refused::BuyerOnly { contract: id, sender: seller });
    let wrong = refused(&mut market, BUYER, lower(&terms, 1), &[]);
    assert_eq!(wrong, Refused::NotTheClaimant { contract: id, sender: buyer });
    let (claimed, found) = (Energy::from_wh(20_000), Energy::from_wh(20_000));
    let wrong = refused(&mut market, WINNER, lower(&terms, 20_000), &[]);
    assert_eq!(wrong, Refused::ClaimRaised { contract: id, claimed, found }, "not lower");
    market.town.ok(WINNER, lower(&terms, 15_000), &[]);
    assert_eq!(state(&market, &terms), ContractState::Submitted);

    // Nobody has disputed: the regulators have nothing to decide, and one party alone never has.
    let not = Err(TransactionError::NotResolved(id));
    assert_eq!(market.town.try_one(BUYER, resolve(&terms, 0), &REGULATORS), not);
    market.town.ok(BUYER, dispute(&terms), &[]);
    assert_eq!(state(&market, &terms), ContractState::Disputed);
    let again = refused(&mut market, BUYER, dispute(&terms), &[]);
    assert!(matches!(again, Refused::Transition { .. }), "{again:?}");
    for (who, also) in [(BUYER, &[][..]), (WINNER, &[]), (BUYER, &REGULATORS[..1]), (BUYER, &[80, 71])] {
        assert_eq!(market.town.try_one(who, resolve(&terms, 0), also), not, "{who} and {also:?}");
    }
    market.town.ok(WINNER, lower(&terms, 12_000), &[]);
    let (claimed, found) = (Energy::from_wh(12_000), Energy::from_wh(12_001));
    for also in [&REGULATORS[..], &[WINNER]] {
        let above = refused(&mut market, BUYER, resolve(&terms, 12_001), also);
        assert_eq!(above, Refused::ClaimRaised { contract: id, claimed, found });
    }
    market.town.ok(80, resolve(&terms, 7_000), &REGULATORS[1..]);
    let price = terms.price.times(Energy::from_wh(7_000)).unwrap().as_micro();
    assert_eq!(bought(&market), 7_000);
    assert_eq!(market.town.holding(Journal::Energy, WINNER).posted, before + price - 7 * TARIFF);
    assert_eq!(market.town.try_one(BUYER, dispute(&terms), &[]), Err(TransactionError::NoContract(id)));
    let record = market.town.sales.last().unwrap();
    assert_eq!((record.id, record.energy), (id.into(), Energy::from_wh(7_000)));
    assert!(record.started.is_some_and(|started| started < record.at));
    assert_eq!((record.price.as_micro(), record.grid.as_micro()), (price, 7 * TARIFF));
}

#[test]
fn both_parties_end_a_claim_in_one_step_and_undecided_ones_are_paid() {
    let mut market = Market::with_key();
    let terms = claimed(&mut market, 1_000, 20_000);
    // Who has seen the claim can tell what it ended in, whenever and however that came about.
    let Some((_, Object::Contract(seen))) = market.town.state.object(&terms.id().into()) else {
        panic!("it is claimed")
    };
    let mut seen = (**seen).clone();
    seen.lower(terms.seller, Energy::from_wh(3_000), Timestamp::EPOCH).unwrap();
    seen.conclude(seen.deadline()).unwrap();
    market.town.ok(80, resolve(&terms, 3_000), &[BUYER, WINNER]);
    let told = Object::Finished(Finished::of(&Object::Contract(Box::new(seen)), End::Posted));
    assert_eq!(market.town.state.object(&terms.id().into()).unwrap().1, &told);
    assert_eq!(bought(&market), 3_000);
    assert_eq!(market.town.holding(Journal::Energy, BUYER).held, 0);

    let terms = claimed(&mut market, 30_000, 10_000);
    market.town.block_at(DAY - Duration::from_secs(2), Vec::new());
    market.town.ok(BUYER, dispute(&terms), &[]);
    market.town.block_at(7 * DAY - Duration::from_millis(1), Vec::new());
    assert_eq!(state(&market, &terms), ContractState::Disputed);
    let late = market.town.signed(BUYER, resolve(&terms, 0), &[WINNER]);
    let over = [TransactionError::NoContract(terms.id())];
    assert_eq!(market.town.block_at(Duration::from_millis(1), vec![late]), over);
    assert_eq!(bought(&market), 13_000, "as it was claimed");
    assert_eq!(market.town.holding(Journal::Energy, BUYER).held, 0);
}

#[test]
fn contracts_of_one_outlet_settle_in_any_order_and_sell_no_wh_twice() {
    let mut market = Market::with_key();
    let [first, second, third, fourth] = [(); 4].map(|()| market.contracted());
    market.town.block_at(Duration::from_secs(3600), Vec::new());
    let evse = evse_of(WINNER);
    let outlet = |market: &Market| match market.town.state.object(&evse.into()) {
        Some((_, Object::Evse(outlet))) => outlet.clone(),
        other => panic!("{other:?}"),
    };
    let wh = Energy::from_wh;
    let body = settle(&market, &second, 115_000, 10_000, true);
    market.town.ok(WINNER, body, &[]);
    for (from, to, sold_from, sold_to) in [
        (114_999, 115_001, 115_000, 115_001),
        (115_000, 125_000, 115_000, 125_000),
        (120_000, 121_000, 120_000, 121_000),
        (124_999, 130_000, 124_999, 125_000),
        (100_000, 129_000, 115_000, 125_000),
    ] {
        let body = settle(&market, &first, from, to - from, true);
        let [from, to, sold_from, sold_to] = [from, to, sold_from, sold_to].map(wh);
        let twice = TransactionError::MeterRegister { evse, from, to, sold_from, sold_to };
        assert_eq!(market.town.try_one(WINNER, body, &[]), Err(twice));
    }
    // The earlier one, which settles later; without the buyer's word its part is taken as soon as it is claimed.
    let body = settle(&market, &first, 105_000, 10_000, false);
    market.town.ok(WINNER, body, &[]);
    let body = settle(&market, &third, 114_000, 1_000, true);
    assert!(matches!(
        market.town.try_one(WINNER, body, &[]),
        Err(TransactionError::MeterRegister { sold_from, .. }) if sold_from == wh(114_000)
    ));
    market.town.ok(80, resolve(&first, 0), &[BUYER, WINNER]);
    let body = settle(&market, &third, 105_000, 10_000, true);
    let again = market.town.try_one(WINNER, body, &[]);
    assert!(
        matches!(again, Err(TransactionError::MeterRegister { .. })),
        "what flowed has flowed: {again:?}"
    );
    let meter = key(91).public();
    let found = outlet(&market);
    assert_eq!(found.gaps, [Gap { from: wh(0), to: wh(105_000) }]);
    assert!(found.has_sold(&meter, wh(105_000), wh(125_000)));
    assert!(!found.has_sold(&meter, wh(104_999), wh(125_000)));

    // The outlet changes its meter: contracts of the old one still settle, once; of the one before that they do not.
    let change = market.town.outlet(WINNER, 1, 2, 95);
    market.town.ok(WINNER, change, &[]);
    let body = settle(&market, &third, 124_000, 2_000, true);
    let twice = market.town.try_one(WINNER, body, &[]);
    assert!(matches!(twice, Err(TransactionError::MeterRegister { .. })), "{twice:?}");
    let body = settle(&market, &third, 125_000, 2_000, true);
    market.town.ok(WINNER, body, &[]);
    assert_eq!(outlet(&market).register, Energy::ZERO, "the new meter has sold nothing");
    assert!(outlet(&market).has_sold(&meter, wh(105_000), wh(127_000)));
    let (current, strangers) = (key(95).public(), key(99).public());
    for other in [&current, &strangers] {
        assert!(!outlet(&market).has_sold(other, wh(105_000), wh(127_000)), "no other meter's register");
    }
    let change = market.town.outlet(WINNER, 1, 2, 96);
    market.town.ok(WINNER, change, &[]);
    let body = settle(&market, &fourth, 127_000, 2_000, true);
    assert_eq!(market.town.try_one(WINNER, body, &[]), Err(TransactionError::MeterGone { evse, meter }));
    assert!(!outlet(&market).has_sold(&meter, wh(105_000), wh(127_000)), "it is forgotten");
    assert_eq!(bought(&market), 12_000);
}

/// A hold sells from the same register as a contract: a meter that signs what it is told cannot sell a Wh by both.
#[test]
fn holds_and_contracts_of_one_outlet_sell_no_wh_twice() {
    let mut market = Market::with_key();
    let terms = market.contracted();
    market.town.block_at(Duration::from_secs(3600), Vec::new());
    let (evse, wh) = (evse_of(WINNER), Energy::from_wh);
    let [first, second, third] = [(); 3].map(|()| {
        let (price, energy) = (Price::from_micro_per_kwh(390_000), wh(10_000));
        let timeout = market.town.now.checked_add(DAY).unwrap();
        let hold = market.town.signed(BUYER, Body::PendSale { evse, price, energy, timeout }, &[]);
        let pending = hold.transaction.pending_id();
        assert_eq!(market.town.block(vec![hold]), []);
        pending
    });
    let post = |pending, from, length| {
        let (energy, register_start) = (wh(length), wh(from));
        Body::PostSale { pending, energy, register_start }
    };
    let twice = |from, to, sold_from, sold_to| {
        let [from, to, sold_from, sold_to] = [from, to, sold_from, sold_to].map(wh);
        Err(TransactionError::MeterRegister { evse, from, to, sold_from, sold_to })
    };
    market.town.ok(WINNER, post(first, 5_000, 6_000), &[91]);
    let again = market.town.try_one(WINNER, post(second, 5_000, 6_000), &[91]);
    assert_eq!(again, twice(5_000, 11_000, 5_000, 11_000), "by a hold");
    let body = settle(&market, &terms, 10_999, 4_000, true);
    let again = market.town.try_one(WINNER, body, &[]);
    assert_eq!(again, twice(10_999, 14_999, 10_999, 11_000), "by a contract");
    assert_eq!(bought(&market), 6_000, "and nothing of it was kept");
    let body = settle(&market, &terms, 11_000, 4_000, true);
    market.town.ok(WINNER, body, &[]);
    let again = market.town.try_one(WINNER, post(second, 14_999, 2), &[91]);
    assert_eq!(again, twice(14_999, 15_001, 14_999, 15_000), "by a hold after a contract");
    let endless = market.town.try_one(WINNER, post(second, u64::MAX, 1), &[91]);
    assert_eq!(endless, Err(TransactionError::Overflow(account(WINNER))));
    market.town.ok(WINNER, post(second, 15_000, 2_000), &[91]);
    // What was held for by a meter two meters ago is the buyer's again.
    for meter in [95, 96] {
        let change = market.town.outlet(WINNER, 1, 2, meter);
        market.town.ok(WINNER, change, &[]);
    }
    let gone = Err(TransactionError::MeterGone { evse, meter: key(91).public() });
    assert_eq!(market.town.try_one(WINNER, post(third, 17_000, 1), &[91]), gone);
    assert_eq!(bought(&market), 12_000);
    market.town.block_at(DAY, Vec::new());
    assert_eq!(market.town.holding(Journal::Energy, BUYER).held, 0);
}

/// From the bid to the last leg nothing is above the regulators' cap.
#[test]
fn a_cap_is_kept_from_the_intent_to_the_settlement() {
    let mut market = Market::with_key();
    let cap = Price::from_micro_per_kwh(500_000);
    let from = market.town.now.checked_add(DAY + Duration::from_secs(60)).unwrap();
    market.town.ok(BUYER, Body::SetPriceCap { cap: Some(cap), from }, &REGULATORS);
    market.town.block_at(DAY + Duration::from_secs(60), Vec::new());
    let asked = |market: &Market, micro| {
        let tick = TickSize::for_cap(Price::from_micro_per_kwh(micro)).unwrap();
        ohmesh_auction::intent::Terms { tick, ..market.terms() }
    };
    // An intent above it opens no auction; its own ticks end at what it may pay.
    let above = asked(&market, 600_000);
    let price = above.price_cap().as_micro_per_kwh();
    let (_, intent) = market.ask(above);
    let refused = TransactionError::AboveCap { price, cap: 500_000 };
    assert_eq!(market.town.try_one(BUYER, Body::AuctionOpen(intent), &[]), Err(refused));

    // A bid is a 16-bit number of ticks: what is bid in larger ticks, for another intent, is no bid here.
    let below = asked(&market, 450_000);
    assert!(below.price_cap() <= cap);
    let (_, intent) = market.ask(below.clone());
    let id = intent.id();
    market.town.ok(BUYER, Body::AuctionOpen(intent), &[]);
    let dear = asked(&market, 650_000);
    let (_, other) = market.ask(dear);
    let other = other.verify(market.town.state.epoch_key(0).unwrap()).unwrap();
    let mut bid = market.bid(&other, 80, u16::MAX);
    bid.auction = id;
    let body = Body::AuctionBid { bid: Box::new(bid), evse: evse_of(80) };
    let refused = market.town.try_one(80, body, &[]);
    assert!(matches!(refused, Err(TransactionError::Bid(_))), "{refused:?}");

    // A contract above what was won is none, above the cap or not.
    let (auction, price) = market.awarded_with(below);
    assert!(price < cap);
    for micro in [cap.as_micro_per_kwh() + 1, price.as_micro_per_kwh() + 1] {
        let mut terms = market.contract_terms(auction, price);
        terms.price = Price::from_micro_per_kwh(micro);
        terms.escrow = terms.price.times(terms.energy_max).unwrap();
        let contract = terms.id();
        let body = market.agreement(terms);
        let refused = TransactionError::ContractTerms { contract, what: "price" };
        assert_eq!(market.town.try_one(BUYER, body, &[]), Err(refused));
    }
    let terms = market.contract_terms(auction, price);
    let body = market.agreement(terms.clone());
    market.town.ok(BUYER, body, &[]);
    market.town.block_at(Duration::from_secs(3600), Vec::new());
    let before = market.town.holding(Journal::Energy, BUYER).posted;
    let body = settle(&market, &terms, 0, 10_000, true);
    market.town.ok(WINNER, body, &[]);
    let paid = before - market.town.holding(Journal::Energy, BUYER).posted;
    assert_eq!(paid, price.times(Energy::from_wh(10_000)).unwrap().as_micro());
    assert!(paid <= cap.times(Energy::from_wh(10_000)).unwrap().as_micro());
}

#[test]
fn an_auction_keeps_the_cap_of_its_opening_and_a_contract_its_tariff() {
    let mut market = Market::with_key();
    let cap = market.terms().price_cap().as_micro_per_kwh();
    let set = |micro, from| Body::SetPriceCap { cap: Some(Price::from_micro_per_kwh(micro)), from };
    let tariff = |micro, from| Body::SetTariff { price: Price::from_micro_per_kwh(micro), from };
    let from = market.town.now.checked_add(DAY + Duration::from_secs(60)).unwrap();
    market.town.ok(BUYER, set(cap, from), &REGULATORS);
    market.town.block_at(DAY + Duration::from_secs(60), Vec::new());
    assert_eq!(market.town.state.governance().cap(market.town.now).unwrap().as_micro_per_kwh(), cap);

    // An auction as high as the cap, which is lowered while it runs.
    let from = market.town.now.checked_add(DAY + Duration::from_secs(60)).unwrap();
    market.town.ok(BUYER, set(cap - 1, from), &REGULATORS);
    market.town.ok(DISTRIBUTOR, tariff(150_000, from.checked_add(Duration::from_secs(600)).unwrap()), &[]);
    let left = from.since(market.town.now).unwrap();
    market.town.block_at(left - Duration::from_secs(8), Vec::new());
    let (auction, price) = market.awarded();
    assert!(market.town.now > from);
    let terms = market.contract_terms(auction, price);
    let body = market.agreement(terms.clone());
    market.town.ok(BUYER, body, &[]);
    let asked = market.terms();
    let (_, intent) = market.ask(asked);
    let above = TransactionError::AboveCap { price: cap, cap: cap - 1 };
    assert_eq!(market.town.try_one(BUYER, Body::AuctionOpen(intent), &[]), Err(above));

    // The grid fee rises before the contract is settled: it pays what it was opened by.
    let start = market.start(&terms);
    market.town.ok(WINNER, Body::ContractStart(Box::new(start)), &[]);
    market.town.block_at(Duration::from_secs(3600), Vec::new());
    assert_eq!(market.town.state.governance().tariff(market.town.now).version, 1);
    let body = settle(&market, &terms, 0, 10_000, true);
    market.town.ok(WINNER, body, &[]);
    assert_eq!(market.town.holding(Journal::Grid, DISTRIBUTOR).posted, 10 * TARIFF);
    let (auction, price) = {
        let lower = TickSize::for_cap(Price::from_micro_per_kwh(500_000)).unwrap();
        market.awarded_with(ohmesh_auction::intent::Terms { tick: lower, ..market.terms() })
    };
    let mut terms = market.contract_terms(auction, price);
    let body = market.agreement(terms.clone());
    let old = TransactionError::ContractTerms { contract: terms.id(), what: "grid tariff" };
    assert_eq!(market.town.try_one(BUYER, body, &[]), Err(old), "the tariff that was");
    terms.grid = ohmesh_contract::GridTariff { version: 1, price: Price::from_micro_per_kwh(150_000) };
    let body = market.agreement(terms);
    market.town.ok(BUYER, body, &[]);
}
