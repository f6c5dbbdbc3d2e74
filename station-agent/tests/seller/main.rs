#![allow(clippy::unwrap_used)]
//! The seller against a real ledger, real chargers' sessions with genuine OCPP clients, and the buyer's own machines.

mod line;
mod phone;
mod world;

use ohmesh_contract::{Message, Start, State as ContractState};
use ohmesh_ledger::{Body, End, Journal, Object};
use ohmesh_ocpp::{
    Version,
    session::{Event, TransactionKey},
};
use ohmesh_units::*;
use phone::Phone;
use station_agent::seller::*;
use std::time::Duration;
use world::*;

/// Both sold, both paid for what their charger says flowed, and the seller has nothing left.
fn assert_paid(world: &World, phones: &[Phone]) {
    let mut sold = 0;
    let mut fee = 0;
    for phone in phones {
        let line = &world.lines[phone.station];
        let flowed = line.stopped[phone.turn];
        assert!(flowed.as_wh() > 1_000, "{flowed}");
        let contract = phone.contract.unwrap();
        assert!(matches!(world.object(contract.into()), Object::Finished(f) if f.end == End::Posted));
        let receipt = phone.receipt.as_ref().expect("the buyer has its receipt");
        assert_eq!(receipt.energy_metered, flowed, "buyer and charger");
        let sellers = world.receipt(phone.auction.unwrap());
        assert_eq!(
            (sellers.end, sellers.bill.energy),
            (ContractState::Settled, flowed),
            "seller and charger"
        );
        let (_, balance) = world.state.balance(Journal::Energy, &phone.account()).unwrap();
        assert_eq!(balance.bought, flowed, "ledger and charger");
        let paid = sellers.price.times(flowed).unwrap();
        assert_eq!(world.money(phone.n).posted, FUNDS - paid.as_micro());
        assert_eq!(world.money(phone.n).held, 0);
        sold += paid.as_micro();
        fee += Price::from_micro_per_kwh(TARIFF).times(flowed).unwrap().as_micro();
    }
    assert_eq!(world.money(OPERATOR).posted, sold - fee);
    let seller = world.seller();
    assert_eq!((seller.open_bids(), seller.sales().count()), (0, 0));
    world.state.audit();
}

/// Two buyers at once, each at its own station.
fn two_sales(world: &mut World) -> [Phone; 2] {
    let mut phones = two_bids(world);
    for phone in &mut phones {
        phone.award(world);
    }
    phones
}

/// Two buyers whose auctions are over and not decided.
fn two_bids(world: &mut World) -> [Phone; 2] {
    let mut phones = [Phone::new(70, 0), Phone::new(71, 1)];
    for phone in &mut phones {
        phone.ask(world);
    }
    world.pass(&mut phones, 4);
    for phone in &phones {
        assert_eq!(world.auction(phone.auction.unwrap()).bids.len(), 2, "each station bids once in each");
    }
    assert_eq!(world.seller().open_bids(), 4);
    world.pass(&mut phones, 18);
    phones
}

#[test]
fn two_buyers_at_two_stations_are_charged_at_once_and_pay_what_flowed() {
    let mut world = World::new();
    let mut phones = two_sales(&mut world);
    world.pass(&mut phones, 5);
    assert_eq!(world.seller().open_bids(), 0, "a station that lost is out");
    assert_eq!(world.seller().sales().count(), 2);
    for station in 0..2 {
        assert!(!world.seller().is_free(&evse_of(station)));
    }
    world.until_over(&mut phones);
    assert_paid(&world, &phones);
    world.pass(&mut phones, 60);
    for station in 0..2 {
        assert!(world.seller().is_free(&evse_of(station)), "free again when the car has gone");
    }
    world.lines.iter().for_each(line::Line::assert_clean);
}

/// The process is killed right after its n-th snapshot: what should have followed is lost, and what it had submitted.
#[test]
fn a_seller_killed_after_any_snapshot_goes_on_and_settles() {
    let mut clean = World::new();
    let first = clean.persisted + 1;
    let mut phones = two_sales(&mut clean);
    clean.until_over(&mut phones);
    let snapshots = clean.persisted;
    assert!(snapshots > first + 40, "{snapshots}");
    // All of the beginning and the end, and a sample of the readings between.
    let picked = (first..=snapshots).filter(|n| *n < first + 28 || *n + 14 >= snapshots || n % 9 == 0);
    for n in picked {
        let mut world = World::new();
        world.kill_at = Some(n);
        let mut phones = [Phone::new(70, 0), Phone::new(71, 1)];
        for phone in &mut phones {
            phone.ask(&mut world);
        }
        world.pass(&mut phones, 22);
        for phone in &mut phones {
            phone.award(&mut world);
        }
        world.until_over(&mut phones);
        assert_eq!(world.kills, 1, "snapshot {n}");
        assert_paid(&world, &phones);
    }
}

#[test]
fn a_seller_that_was_down_for_a_while_reads_the_blocks_it_missed() {
    let mut world = World::new();
    let mut phones = two_sales(&mut world);
    // The outcome is on the ledger before the seller is back.
    world.kill();
    world.pass_without_seller(&mut phones, 30);
    world.restart();
    world.until_over(&mut phones);
    assert_paid(&world, &phones);
}

#[test]
fn an_award_that_was_decided_while_the_seller_was_down_is_accepted() {
    let mut world = World::new();
    let mut phones = two_bids(&mut world);
    world.kill();
    for phone in &mut phones {
        phone.award(&mut world);
    }
    // It hears the blocks before it hears its chargers.
    world.restart();
    assert_eq!(world.seller().sales().count(), 2);
    world.until_over(&mut phones);
    assert_paid(&world, &phones);
}

#[test]
fn of_two_awards_for_one_outlet_that_were_decided_meanwhile_one_is_accepted() {
    let mut world = World::new();
    let mut phones = [Phone::new(70, 0), Phone::new(71, 0)];
    for phone in &mut phones {
        phone.is_silent = true;
        phone.ask(&mut world);
    }
    world.pass(&mut phones, 22);
    world.kill();
    for phone in &mut phones {
        phone.award(&mut world);
    }
    world.restart();
    assert_eq!(world.seller().sales().count(), 1);
    let unserved = world.notes.iter().filter(|note| matches!(note, SellerEvent::Unserved { .. })).count();
    assert_eq!(unserved, 1, "one outlet, one award taken");
}

#[test]
fn every_transaction_is_lost_once_and_goes_again() {
    let mut world = World::new();
    world.lose_first = true;
    let mut phones = [Phone::new(70, 0)];
    phones[0].deadline = Duration::from_secs(90);
    phones[0].ask(&mut world);
    world.pass(&mut phones, 100);
    phones[0].award(&mut world);
    world.until_over(&mut phones);
    assert_paid(&world, &phones);
    assert!(world.lost.len() >= 3, "{:?}", world.lost);
}

#[test]
fn without_a_free_outlet_nothing_is_accepted() {
    let mut world = World::new();
    let mut phones = [Phone::new(70, 0), Phone::new(71, 0)];
    for phone in &mut phones {
        phone.is_silent = true;
        phone.ask(&mut world);
    }
    world.pass(&mut phones, 22);
    for phone in &mut phones {
        phone.award(&mut world);
    }
    world.pass(&mut phones, 5);
    let unserved = world.notes.iter().filter(|note| matches!(note, SellerEvent::Unserved { .. })).count();
    assert_eq!(unserved, 1, "one outlet, one award taken");
    let accepted: Vec<bool> =
        phones.iter().map(|phone| world.auction(phone.auction.unwrap()).award.unwrap().is_accepted).collect();
    assert_eq!(accepted, [true, false]);
    // Nor does it bid where every outlet is taken: the other station does.
    let mut late = [Phone::new(72, 0)];
    late[0].ask(&mut world);
    world.pass(&mut late, 3);
    let bids = world.auction(late[0].auction.unwrap()).bids;
    assert_eq!(bids.iter().map(|bid| bid.station).collect::<Vec<_>>(), [station_of(1)]);
}

#[test]
fn a_winner_whose_buyer_never_comes_is_free_again() {
    let mut world = World::new();
    let mut phones = [Phone::new(70, 0)];
    phones[0].is_silent = true;
    phones[0].ask(&mut world);
    world.pass(&mut phones, 22);
    phones[0].award(&mut world);
    world.pass(&mut phones, 5);
    assert!(!world.seller().is_free(&evse_of(0)));
    assert!(world.lines[0].reserved(), "the charger keeps the outlet");
    world.pass(&mut phones, 700);
    assert!(world.seller().is_free(&evse_of(0)));
    assert!(!world.lines[0].reserved(), "and no longer");
    assert_eq!(world.seller().sales().count(), 0);
}

#[test]
fn an_auction_that_runs_out_frees_its_bids() {
    let mut world = World::new();
    let mut phones = [Phone::new(70, 0)];
    phones[0].ask(&mut world);
    world.pass(&mut phones, 10);
    assert_eq!(world.seller().open_bids(), 2);
    world.pass(&mut phones, 200);
    assert_eq!(world.seller().open_bids(), 0, "nobody released: void");
}

#[test]
fn only_the_key_that_the_award_names_is_answered() {
    let mut world = World::new();
    let mut phones = two_sales(&mut world);
    world.pass_without_phones(5);
    let draft = phones[0].draft(&world);
    let auction = phones[0].auction.unwrap();
    for (from, what) in [(key(99).public(), "a stranger"), (phones[1].transport(), "another buyer")] {
        assert!(world.exchange(auction, from, [1; 32], vec![draft.clone()]).is_empty(), "{what}");
    }
    let nobodys = AuctionId([9; 32]);
    assert!(world.exchange(nobodys, phones[0].transport(), [1; 32], vec![draft.clone()]).is_empty());
    let flood = vec![draft.clone(); 17];
    assert!(world.exchange(auction, phones[0].transport(), [1; 32], flood).is_empty());
    assert!(world.notes.iter().any(|note| matches!(note, SellerEvent::Stranger { .. })));
    // Nothing of it stands in the buyer's way.
    world.until_over(&mut phones);
    assert_paid(&world, &phones);
}

#[test]
fn drafts_that_are_not_what_was_won() {
    let mut world = World::new();
    let phones = two_sales(&mut world);
    world.pass_without_phones(5);
    let (auction, from) = (phones[0].auction.unwrap(), phones[0].transport());
    let Message::Draft(good) = phones[0].draft(&world) else { panic!() };
    type Edit = fn(&mut ohmesh_contract::Terms);
    let edits: [(&str, Edit); 7] = [
        ("price", |t| t.price = Price::from_micro_per_kwh(TARIFF)),
        ("energy", |t| t.energy_max = Energy::from_wh(40_000_000)),
        ("buyer's key", |t| t.buyer_key = key(98).public()),
        ("tariff", |t| t.grid.price = Price::from_micro_per_kwh(0)),
        ("another station's outlet", |t| t.evse = evse_of(1)),
        ("no outlet", |t| t.evse = EvseId([7; 32])),
        ("meter", |t| t.meter_key = key(98).public()),
    ];
    for (what, edit) in edits {
        let mut terms = good.clone();
        edit(&mut terms);
        let answer = world.exchange(auction, from, [1; 32], vec![Message::Draft(terms)]);
        assert!(answer.is_empty(), "{what}: {answer:?}");
    }
    let answer = world.exchange(auction, from, [1; 32], vec![Message::Draft(good)]);
    assert!(matches!(&answer[..], [Message::Offer(_)]));
}

#[test]
fn a_start_that_was_signed_for_another_connection_starts_nothing() {
    let mut world = World::new();
    let mut phones = [Phone::new(70, 0)];
    phones[0].ask(&mut world);
    world.pass(&mut phones, 22);
    phones[0].award(&mut world);
    phones[0].confirms = false;
    world.pass(&mut phones, 120);
    let phone = &phones[0];
    assert_eq!(phone.session.as_ref().unwrap().state(), ContractState::Agreed);
    let (contract, auction) = (phone.contract.unwrap(), phone.auction.unwrap());
    let start = |exporter| {
        let start = Start { contract, evse: evse_of(0), exporter, at: world.now };
        vec![Message::Start(ohmesh_contract::Signed::new(start, &phone.one_time()))]
    };
    let (relayed, own) = (start([66; 32]), start(phone.exporter));
    world.exchange(auction, phone.transport(), phone.exporter, relayed);
    world.pass_without_phones(20);
    assert!(!world.lines[0].is_charging(), "relayed");
    assert!(world.notes.iter().any(|note| matches!(note, SellerEvent::Refused { .. })));
    world.exchange(auction, phones[0].transport(), phones[0].exporter, own);
    world.pass_without_phones(20);
    assert!(world.lines[0].is_charging(), "the buyer's own");
}

#[test]
fn a_phone_that_comes_back_over_a_new_connection_goes_on() {
    let mut world = World::new();
    let mut phones = two_sales(&mut world);
    for _ in 0..40 {
        world.pass(&mut phones, 60);
        for phone in &mut phones {
            phone.reconnect();
        }
    }
    world.until_over(&mut phones);
    assert_paid(&world, &phones);
}

#[test]
fn a_charger_that_is_offline_for_a_while_loses_nothing() {
    let mut world = World::new();
    let mut phones = two_sales(&mut world);
    world.pass(&mut phones, 400);
    assert!(world.lines.iter().all(line::Line::is_charging));
    let now = world.now;
    world.lines.iter_mut().for_each(|line| line.cut(now));
    world.pass(&mut phones, 300);
    let now = world.now;
    world.lines.iter_mut().for_each(|line| line.connect(now));
    world.until_over(&mut phones);
    assert_paid(&world, &phones);
}

#[test]
fn a_charger_that_is_offline_when_it_should_start_or_stop_is_told_when_it_is_back() {
    let mut world = World::new();
    let mut phones = [Phone::new(70, 0)];
    phones[0].confirms = false;
    phones[0].ask(&mut world);
    world.pass(&mut phones, 22);
    phones[0].award(&mut world);
    world.pass(&mut phones, 120);
    let now = world.now;
    world.lines[0].cut(now);
    phones[0].confirms = true;
    world.pass(&mut phones, 60);
    assert!(!world.lines[0].is_charging());
    let now = world.now;
    world.lines[0].connect(now);
    world.pass(&mut phones, 60);
    assert!(world.lines[0].is_charging(), "started when it came back");
    world.pass(&mut phones, 600);
    let now = world.now;
    world.lines[0].cut(now);
    phones[0].stop(&world);
    world.pass(&mut phones, 20);
    assert!(world.lines[0].is_charging(), "it cannot know");
    let now = world.now;
    world.lines[0].connect(now);
    world.until_over(&mut phones);
    assert_paid(&world, &phones);
}

#[test]
fn a_charger_that_never_starts_costs_the_buyer_nothing() {
    let mut world = World::new();
    let mut phones = [Phone::new(70, 0)];
    phones[0].confirms = false;
    phones[0].ask(&mut world);
    world.pass(&mut phones, 22);
    phones[0].award(&mut world);
    world.pass(&mut phones, 120);
    let now = world.now;
    world.lines[0].cut(now);
    phones[0].confirms = true;
    world.pass(&mut phones, 900);
    let receipt = world.receipt(phones[0].auction.unwrap());
    assert_eq!(receipt.bill.energy, Energy::ZERO);
    assert_eq!(world.money(70).posted, FUNDS);
    assert_eq!(world.money(70).held, 0);
    // A transaction of its token that comes all the same is stopped.
    let now = world.now;
    world.lines[0].connect(now);
    world.pass(&mut phones, 60);
    assert!(!world.lines[0].is_charging());
}

#[test]
fn a_phone_that_sleeps_for_ever_is_charged_by_the_meter_after_a_day() {
    let mut world = World::new();
    let mut phones = two_sales(&mut world);
    world.pass(&mut phones, 600);
    phones[0].is_silent = true;
    // The car is full after a while; the driver unplugs.
    world.pass(&mut phones, 4 * 3600);
    let contract = phones[0].contract.unwrap();
    let Object::Contract(claimed) = world.object(contract.into()) else { panic!("a claim") };
    assert_eq!(claimed.state(), ContractState::Submitted);
    assert!(world.seller().is_free(&evse_of(0)), "the outlet does not wait for the claim");
    // A restart in between must not forget the claim.
    world.kill();
    world.restart();
    world.blocks_until(Duration::from_secs(25 * 3600));
    let flowed = world.lines[0].stopped[0];
    let receipt = world.receipt(phones[0].auction.unwrap());
    assert_eq!((receipt.end, receipt.bill.energy), (ContractState::Settled, flowed));
    let (_, balance) = world.state.balance(Journal::Energy, &phones[0].account()).unwrap();
    assert_eq!(balance.bought, flowed);
    assert_eq!(world.seller().sales().count(), 0);
}

#[test]
fn a_driver_who_never_comes_gets_the_escrow_back_after_half_an_hour() {
    let mut world = World::new();
    let mut phones = [Phone::new(70, 0)];
    phones[0].comes = false;
    phones[0].ask(&mut world);
    world.pass(&mut phones, 22);
    phones[0].award(&mut world);
    world.pass(&mut phones, 60);
    assert!(world.money(70).held > 0);
    world.pass(&mut phones, 30 * 60);
    assert_eq!(world.money(70), ohmesh_ledger::Holding { posted: FUNDS, held: 0 });
    assert!(world.seller().is_free(&evse_of(0)));
    assert!(!world.lines[0].reserved());
    assert_eq!(world.receipt(phones[0].auction.unwrap()).end, ContractState::Void);
}

#[test]
fn the_operator_stops_a_sale() {
    let mut world = World::new();
    let mut phones = two_sales(&mut world);
    world.pass(&mut phones, 600);
    world.hand_in(Input::Stop(evse_of(0)));
    world.until_over(&mut phones);
    assert_paid(&world, &phones);
}

#[test]
fn a_second_sale_at_the_same_outlet_goes_on_from_the_registers_end() {
    let mut world = World::new();
    let mut phones = [Phone::new(70, 0)];
    for turn in 0..2u8 {
        phones[0] = Phone::new(70 + turn, 0);
        phones[0].turn = usize::from(turn);
        phones[0].ask(&mut world);
        world.pass(&mut phones, 22);
        phones[0].award(&mut world);
        world.until_over(&mut phones);
        world.pass(&mut phones, 60);
    }
    let sum = world.lines[0].stopped[0].checked_add(world.lines[0].stopped[1]).unwrap();
    let Object::Evse(outlet) = world.object(evse_of(0).into()) else { panic!() };
    assert_eq!(outlet.register, REGISTER.checked_add(sum).unwrap(), "the ledger's register is the meter's");
}

#[test]
fn no_bid_is_below_the_tariff_or_above_the_cap() {
    let cents = |cents: i64| Price::from_micro_per_kwh(cents * 10_000);
    for (cost, cap, expected) in [
        (cents(1), cents(65), Some(Price::from_micro_per_kwh(TARIFF))),
        (cents(-50), cents(65), Some(Price::from_micro_per_kwh(TARIFF))),
        (cents(30), cents(65), Some(cents(30))),
        (cents(70), cents(65), None),
        (cents(1), cents(5), None),
    ] {
        let mut world = World::with(cost, [Version::V16, Version::V201]);
        let mut phones = [Phone::new(70, 0)];
        phones[0].cap = cap;
        phones[0].ask(&mut world);
        world.pass(&mut phones, 22);
        let bids = world.auction(phones[0].auction.unwrap()).bids;
        let Some(expected) = expected else {
            assert!(bids.is_empty(), "{cost} under {cap}");
            assert!(world.notes.iter().any(|note| matches!(note, SellerEvent::Passed { .. })));
            continue;
        };
        assert_eq!(bids.len(), 2);
        phones[0].award(&mut world);
        let price = world.auction(phones[0].auction.unwrap()).award.unwrap().price;
        let tick = i64::from(TickSize::for_cap(cap).unwrap().as_micro_per_kwh());
        let above = price.as_micro_per_kwh() - expected.as_micro_per_kwh();
        assert!((0..tick).contains(&above), "{price} for {expected}: rounded up to a tick");
        world.until_over(&mut phones);
        assert_paid(&world, &phones);
    }
}

#[test]
fn what_the_registry_does_not_know_is_not_sold() {
    let mut world = World::new();
    // The operator registers another rated power than the one set up.
    let (at, plugs) = ((station_of(0), 1), (2, Power::from_w(50_000)));
    let body = Body::register_evse(world.state.zone_id(), &account(OPERATOR), at, plugs, &meter(0));
    world.submit(OPERATOR, body);
    world.pass_without_phones(3);
    assert!(!world.seller().is_free(&evse_of(0)) && world.seller().is_free(&evse_of(1)));
    let mut phones = [Phone::new(70, 1)];
    phones[0].ask(&mut world);
    world.pass(&mut phones, 3);
    assert_eq!(world.auction(phones[0].auction.unwrap()).bids.len(), 1);
}

#[test]
fn an_intent_that_asks_for_more_than_there_is_gets_no_bid() {
    let mut world = World::new();
    let mut phones = [Phone::new(70, 0), Phone::new(71, 0)];
    phones[0].power_min = Power::from_w(22_001);
    phones[1].connectors = 0b1101;
    for phone in &mut phones {
        phone.ask(&mut world);
    }
    world.pass(&mut phones, 3);
    for phone in &phones {
        assert!(world.auction(phone.auction.unwrap()).bids.is_empty());
    }
}

#[test]
fn open_bids_are_bounded() {
    let mut world = World::new();
    let mut phones: Vec<Phone> = (0..12u8).map(|n| Phone::new(70 + n % 4, 0)).collect();
    for (number, phone) in (0u8..).zip(&mut phones) {
        phone.number = number;
        phone.deadline = Duration::from_secs(300);
        phone.ask(&mut world);
    }
    world.pass(&mut phones, 5);
    assert_eq!(world.seller().open_bids(), 2 * BIDS_PER_EVSE);
}

#[test]
fn snapshots_of_others_are_refused() {
    let mut world = World::new();
    let mut phones = two_sales(&mut world);
    world.pass(&mut phones, 5);
    let bytes = world.snapshot.clone().unwrap();
    let open = |setup, bytes: &[u8]| Seller::open(setup, &world.state, Some(bytes), world.now).map(|_| ());
    let strategy = flat(Price::from_micro_per_kwh(300_000));
    let mut stranger = setup(&strategy, 9);
    stranger.key = key(99);
    assert!(matches!(open(stranger, &bytes), Err(SellerError::OtherSeller)));
    let mut smaller = setup(&strategy, 9);
    smaller.stations.remove(0);
    assert!(matches!(open(smaller, &bytes), Err(SellerError::Gone(_))));
    assert!(matches!(open(setup(&strategy, 9), &bytes[..bytes.len() - 1]), Err(SellerError::Snapshot(_))));
    let mut twice = setup(&strategy, 9);
    twice.stations[1].evses[0].charger = twice.stations[0].evses[0].charger.clone();
    assert!(matches!(open(twice, &bytes), Err(SellerError::EvseTwice(_))));
    assert!(open(setup(&strategy, 9), &bytes).is_ok());
}

#[test]
fn nothing_secret_is_shown() {
    let mut world = World::new();
    let mut phones = two_sales(&mut world);
    world.until_over(&mut phones);
    let shown = world.shown.join("\n");
    assert!(shown.contains("Start") && shown.contains("AuctionBid") && shown.contains("Persist"));
    assert!(!world.tokens.is_empty());
    for token in &world.tokens {
        assert!(token.len() == 20 && !shown.contains(token.as_str()), "a token in {token}");
    }
    assert_eq!(format!("{:?}", setup(&flat(Price::from_micro_per_kwh(1)), 1)), "Setup(2 stations, ..)");
}

/// Whatever breaks, and however often: who bought pays no more than what flowed, and nothing is left open.
#[test]
fn whatever_breaks_nobody_pays_for_more_than_flowed() {
    for seed in 0..16u64 {
        let mut world = World::new();
        let mut phones = two_sales(&mut world);
        world.pass(&mut phones, 20);
        assert!(phones.iter().all(|phone| phone.contract.is_some()));
        for turn in 0..30u64 {
            let drawn = Domain::new("chaos").hash(&[&seed.to_be_bytes(), &turn.to_be_bytes()]).0;
            let line = usize::from(drawn[0] % 2);
            let now = world.now;
            match drawn[1] % 6 {
                0 => {
                    world.kill();
                    world.pass_without_seller(&mut phones, u64::from(drawn[2] % 40));
                    world.restart();
                }
                1 => world.lines[line].cut(now),
                2 => world.lines[line].connect(now),
                3 => phones[line].reconnect(),
                4 => world.kill_at = Some(world.persisted + 1 + usize::from(drawn[2] % 4)),
                _ => phones[line].is_silent ^= drawn[2].is_multiple_of(4),
            }
            world.pass(&mut phones, u64::from(drawn[3] % 90));
        }
        let now = world.now;
        world.lines.iter_mut().for_each(|line| line.connect(now));
        phones.iter_mut().for_each(|phone| phone.is_silent = false);
        world.pass(&mut phones, 1800);
        world.blocks_until(Duration::from_secs(26 * 3600));
        for phone in &phones {
            let contract = phone.contract.unwrap();
            assert!(
                matches!(world.object(contract.into()), Object::Finished(_)),
                "seed {seed}: it has an end"
            );
            let flowed: u64 = world.lines[phone.station].stopped.iter().map(|energy| energy.as_wh()).sum();
            let balance = world.state.balance(Journal::Energy, &phone.account());
            let bought = balance.map_or(Energy::ZERO, |(_, balance)| balance.bought);
            assert!(bought.as_wh() <= flowed, "seed {seed}: {bought} of {flowed}");
            assert_eq!(world.money(phone.n).held, 0);
            assert_eq!(world.receipt(phone.auction.unwrap()).bill.energy, bought, "seed {seed}");
            assert!(!world.lines[phone.station].is_charging(), "seed {seed}: nothing flows for free");
        }
        assert_eq!((world.seller().open_bids(), world.seller().sales().count()), (0, 0), "seed {seed}");
        world.state.audit();
    }
}

/// A start that was given up may still be carried out by a charger that comes back: nothing flows for nobody.
#[test]
fn a_transaction_of_an_old_token_is_stopped_and_one_of_a_card_is_not() {
    let mut world = World::new();
    let mut phones = [Phone::new(70, 0)];
    phones[0].ask(&mut world);
    world.pass(&mut phones, 22);
    phones[0].award(&mut world);
    world.until_over(&mut phones);
    world.pass(&mut phones, 60);
    for (token, expected) in [(world.tokens[0].clone(), 1), ("OM-CARD-OF-THE-OWNER".to_owned(), 0)] {
        world.shown.clear();
        let event = Event::TransactionStarted {
            evse: 1,
            transaction: TransactionKey("late".into()),
            token: Some(token),
            authorized: true,
            reservation: None,
            meter_start: None,
            at: world.now,
        };
        let charger = world.lines[0].name.clone();
        world.hand_in(Input::Charger(charger, event));
        assert_eq!(world.shown.iter().filter(|shown| shown.contains("Stop")).count(), expected);
        assert!(!world.seller().is_free(&evse_of(0)), "somebody charges there");
    }
}
