//! The two roles against each other, and against cheats.

#![allow(clippy::unwrap_used)]

mod common;

use common::world::*;
use common::*;
use ohmesh_contract::session::CONFIRMATION_VALIDITY;
use ohmesh_contract::*;
use ohmesh_units::*;

/// Reads the meter a last time, which the runner does when the outlet is off.
fn last_reading(world: &mut World) {
    let reading = world.read();
    world.seller(SellerInput::LastReading(reading));
    world.deliver_all();
}

fn seller_state(world: &World) -> State {
    world.seller.as_ref().unwrap().state()
}

#[test]
fn a_sale_from_draft_to_receipt() {
    let mut world = World::charging();
    // Ten minutes at 50 kW: 8.333 kWh.
    world.charge(10 * MINUTE, 10_000);
    assert_eq!(world.buyer.record().unwrap().energy, wh(8_333));
    world.buyer(BuyerInput::Stop);
    world.deliver_all();
    assert!(!world.is_on);
    last_reading(&mut world);
    let receipt = world.buyer_receipt.clone().unwrap();
    assert_eq!(world.refused, [], "nothing is refused in an honest sale");
    assert_eq!((receipt.end, receipt.stop), (State::Settled, Some(StopReason::Driver)));
    assert_eq!(receipt.bill, Bill::of(&terms(), wh(8_333)).unwrap());
    assert_eq!(receipt.started, Some(at(0)));
    assert!(!receipt.is_overbilled());
    assert_eq!(world.seller_receipt.as_ref().unwrap().bill, receipt.bill);
    assert_eq!(Receipt::decode(&receipt.encode()).unwrap(), receipt);
    assert_eq!((world.paid, world.back), (receipt.bill.price_total, receipt.bill.refund));
    assert_eq!((world.buyer.state(), seller_state(&world)), (State::Settled, State::Settled));
}

#[test]
fn checkpoints_come_every_minute_or_kilowatt_hour_and_at_the_end() {
    let count = |power_w: u64, step: u64| {
        let mut world = World::charging();
        world.meter.set_power(power_w, world.now);
        let mut checkpoints = 0;
        for _ in 0..10 * MINUTE / step {
            world.wait(step);
            world.tick();
            while !world.to_buyer.is_empty() {
                world.deliver(Fate::Arrives);
                checkpoints += world.to_seller.iter().filter(|m| matches!(m, Message::Checkpoint(_))).count();
                world.deliver_all();
            }
        }
        checkpoints
    };
    assert_eq!(count(3_600, 10_000), 10, "0.6 kWh in ten minutes: one a minute");
    assert_eq!(count(120_000, 10_000), 20, "2 kWh a minute: one a kilowatt-hour");
}

#[test]
fn a_sleeping_phone_does_not_stop_the_charge() {
    let mut world = World::charging();
    world.charge(2 * MINUTE, 10_000);
    for _ in 0..100 {
        world.wait(10_000);
        world.tick();
        world.to_buyer.clear();
    }
    assert!(world.is_on);
    world.seller(SellerInput::Stop);
    world.to_buyer.clear();
    let reading = world.read();
    world.seller(SellerInput::LastReading(reading));
    world.to_buyer.clear();
    world.wait(MINUTE);
    assert_eq!(seller_state(&world), State::Submitted);
    let delivered = world.delivered();
    let Some(bill) = world.contract.as_ref().unwrap().claim().copied() else { panic!("claimed") };
    assert_eq!(bill.energy, delivered, "an honest claim is within the bound: the seller loses nothing");
    assert_eq!(world.buyer.state(), State::Submitted);
    world.wait(24 * HOUR);
    world.block();
    let receipt = world.buyer_receipt.unwrap();
    assert_eq!((receipt.end, receipt.bill), (State::Settled, bill));
    assert!(receipt.is_overbilled(), "more than this phone has seen: shown to the driver");
    assert_eq!(world.seller_receipt.unwrap().bill, bill);
}

/// Both sides end with the bill that the ledger made of the dispute: what was decided, or else what was claimed.
#[test]
fn a_disputed_claim_ends_both_sides_by_the_ledgers_word() {
    for decided in [None, Some(wh(1_000))] {
        let mut world = World::charging();
        world.charge(2 * MINUTE, 10_000);
        world.seller(SellerInput::Stop);
        let reading = world.read();
        world.seller(SellerInput::LastReading(reading));
        world.to_buyer.clear();
        world.wait(MINUTE);
        let claim = *world.contract.as_ref().unwrap().claim().unwrap();
        world.dispute();
        // Past the end of the claim's day and the contract's expiry nothing moves: the dispute is open.
        world.wait(25 * HOUR);
        world.block();
        assert_eq!((world.paid, world.back), (Money::ZERO, Money::ZERO));
        assert_eq!((world.buyer.state(), seller_state(&world)), (State::Submitted, State::Submitted));
        match decided {
            Some(energy) => world.resolve(energy),
            None => {
                world.wait(7 * 24 * HOUR);
                world.block();
            }
        }
        let bill = decided.map_or(claim, |energy| Bill::of(&terms(), energy).unwrap());
        for receipt in [world.buyer_receipt.unwrap(), world.seller_receipt.unwrap()] {
            assert_eq!((receipt.end, receipt.bill), (State::Settled, bill));
        }
        assert_eq!((world.paid, world.back), (bill.price_total, bill.refund));
    }
}

#[test]
fn a_phone_that_wakes_up_signs_the_last_record() {
    let mut world = World::charging();
    for _ in 0..30 {
        world.wait(10_000);
        world.tick();
        world.to_buyer.clear();
    }
    world.crash_buyer();
    world.relink([7; 32]);
    world.deliver_all();
    assert_eq!(world.buyer.state(), State::Charging);
    assert_eq!(world.buyer.stop_reason(), None, "all of it is possible since the first start");
    world.seller(SellerInput::Unplugged);
    last_reading(&mut world);
    let receipt = world.buyer_receipt.unwrap();
    assert_eq!((receipt.end, receipt.stop), (State::Settled, Some(StopReason::Unplugged)));
    assert!(!receipt.is_overbilled());
}

#[test]
fn the_flow_ends_with_the_energy_of_the_contract() {
    let mut world = World::charging();
    world.charge(40 * MINUTE, 10_000);
    assert!(!world.is_on);
    last_reading(&mut world);
    let receipt = world.buyer_receipt.unwrap();
    assert_eq!(receipt.stop, Some(StopReason::EnergyMax));
    assert_eq!((receipt.bill.energy, receipt.bill.refund), (wh(30_000), Money::ZERO));
}

#[test]
fn the_flow_ends_in_time_to_settle() {
    let mut world = World::charging();
    world.meter.set_power(1_000, world.now);
    world.charge(4 * HOUR - 15 * MINUTE, MINUTE);
    assert!(!world.is_on);
    world.wait(MINUTE);
    world.deliver_all();
    assert_eq!(world.buyer_receipt.unwrap().stop, Some(StopReason::ChargeUntil));
}

#[test]
fn a_pause_that_lasts_ends_the_sale() {
    let mut world = World::charging();
    world.charge(MINUTE, 10_000);
    world.seller(SellerInput::Suspended);
    assert_eq!(seller_state(&world), State::Paused);
    world.seller(SellerInput::Resumed);
    world.wait(10 * MINUTE);
    assert_eq!(seller_state(&world), State::Charging, "a pause that ended stops nothing");
    world.seller(SellerInput::Suspended);
    world.wait(10 * MINUTE);
    assert_eq!(seller_state(&world), State::Stopped);
    last_reading(&mut world);
    assert_eq!(world.buyer_receipt.unwrap().stop, Some(StopReason::Pause));
}

#[test]
fn no_last_reading_settles_with_the_newest_record() {
    let mut world = World::charging();
    world.charge(5 * MINUTE, 10_000);
    world.seller(SellerInput::Stop);
    world.deliver_all();
    world.wait(MINUTE);
    world.deliver_all();
    let receipt = world.buyer_receipt.unwrap();
    assert_eq!((receipt.end, receipt.bill.energy), (State::Settled, wh(4_166)));
}

#[test]
fn a_car_that_never_comes_frees_the_outlet_and_the_escrow() {
    let mut world = World::new();
    world.deliver_all();
    assert_eq!(seller_state(&world), State::Agreed);
    world.wait(30 * MINUTE);
    let receipt = world.buyer_receipt.unwrap();
    assert_eq!((receipt.end, receipt.bill.refund), (State::Void, terms().escrow));
    assert_eq!(world.seller_receipt.unwrap().end, State::Void);
}

#[test]
fn a_driver_that_cancels_gets_everything_back() {
    let mut world = World::new();
    world.deliver_all();
    world.buyer(BuyerInput::Stop);
    world.deliver_all();
    assert_eq!(world.back, terms().escrow);
    assert_eq!(world.buyer_receipt.unwrap().end, State::Void);
}

#[test]
fn a_seller_that_dies_is_expired() {
    let mut world = World::charging();
    world.charge(MINUTE, 10_000);
    world.seller = None;
    world.seller_timers.clear();
    world.wait(4 * HOUR);
    let receipt = world.buyer_receipt.unwrap();
    assert_eq!((receipt.end, receipt.bill.refund), (State::Expired, terms().escrow));
}

#[test]
fn a_silent_seller_and_an_absent_ledger_end_in_void() {
    let mut world = World::new();
    world.to_seller.clear();
    world.wait(MINUTE);
    assert_eq!((world.buyer.state(), &world.aborts[..]), (State::Void, &[AbortReason::NoOffer][..]));
    let mut world = World::new();
    world.has_ledger = false;
    world.deliver_all();
    world.wait(2 * MINUTE);
    assert_eq!(world.aborts, [], "only the ledger can say that nothing was locked");
    world.has_ledger = true;
    world.block();
    assert_eq!(world.aborts, [AbortReason::NotOpened; 2]);
}

#[test]
fn start_needs_the_code_a_fresh_plug_in_and_the_escrow() {
    let mut world = World::new();
    // A car that is there before the agreement is somebody else's.
    world.deliver(Fate::Arrives);
    let reading = world.read();
    world.seller(SellerInput::Plugged { evse: evse(), reading });
    assert!(matches!(world.refused.pop(), Some(Refused::Unexpected { what: "plug-in", .. })));
    world.deliver_all();
    world.buyer(BuyerInput::Confirmed(another_evse()));
    assert_eq!(world.refused.pop(), Some(Refused::AnotherEvse { expected: evse(), found: another_evse() }));
    world.buyer(BuyerInput::Confirmed(evse()));
    world.deliver_all();
    assert_eq!(world.buyer.state(), State::Agreed, "no plug-in yet");
    let reading = world.read();
    world.seller(SellerInput::Plugged { evse: another_evse(), reading });
    assert!(matches!(world.refused.pop(), Some(Refused::AnotherEvse { .. })));
    assert_eq!(seller_state(&world), State::Agreed);
    world.plug_in();
    assert!(world.is_on);
}

#[test]
fn an_old_confirmation_starts_nothing() {
    let mut world = World::new();
    world.deliver_all();
    world.buyer(BuyerInput::Confirmed(evse()));
    world.wait(u64::try_from(CONFIRMATION_VALIDITY.as_millis()).unwrap() + 1);
    world.plug_in();
    assert!(!world.is_on, "the driver may have left: somebody else's car is plugged in");
    world.buyer(BuyerInput::Confirmed(evse()));
    world.deliver_all();
    assert!(world.is_on);
}

/// A start that somebody relays comes over another TLS connection than the one it was signed for.
#[test]
fn relayed_start() {
    let mut world = World::new();
    world.deliver_all();
    let reading = world.read();
    world.seller(SellerInput::Plugged { evse: evse(), reading });
    world.deliver_all();
    world.buyer(BuyerInput::Confirmed(evse()));
    world.seller(SellerInput::Linked([0x66; 32]));
    world.deliver_all();
    // Once as it was sent, once more when the station asks again.
    assert_eq!(
        world.refused,
        [Refused::AnotherConnection(terms().id()), Refused::AnotherConnection(terms().id())]
    );
    assert!(!world.is_on);
}

#[test]
fn relayed_offer() {
    let mut world = World::new();
    world.deliver(Fate::Arrives);
    world.buyer(BuyerInput::Linked([0x66; 32]));
    world.to_seller.clear();
    world.deliver(Fate::Arrives);
    assert_eq!(world.refused, [Refused::AnotherConnection(terms().id())]);
    assert!(world.contract.is_none(), "nothing is signed");
}

#[test]
fn replayed_and_stale_starts() {
    let mut world = World::new();
    world.deliver_all();
    world.wait(10 * MINUTE);
    let reading = world.read();
    world.seller(SellerInput::Plugged { evse: evse(), reading });
    for millis in [9 * MINUTE, 11 * MINUTE] {
        world.seller(SellerInput::Message(Message::Start(Signed::new(start_body(millis), &buyer()))));
        assert!(matches!(world.refused.pop(), Some(Refused::StartTime { .. })));
    }
    let forged = Signed::new(start_body(10 * MINUTE), &stranger());
    world.seller(SellerInput::Message(Message::Start(forged)));
    assert!(matches!(world.refused.pop(), Some(Refused::Signature { .. })));
    let elsewhere = Signed::new(Start { evse: another_evse(), ..start_body(10 * MINUTE) }, &buyer());
    world.seller(SellerInput::Message(Message::Start(elsewhere)));
    assert!(matches!(world.refused.pop(), Some(Refused::AnotherEvse { .. })));
    // Unplugged again: whoever plugs in next needs a new confirmation.
    world.seller(SellerInput::Unplugged);
    world.seller(SellerInput::Message(Message::Start(Signed::new(start_body(10 * MINUTE), &buyer()))));
    assert!(matches!(world.refused.pop(), Some(Refused::Unexpected { what: "start", .. })));
    assert!(!world.is_on);
}

#[test]
fn a_draft_that_is_not_the_award() {
    type Change = fn(&mut Terms);
    let changes: [(&str, Change); 6] = [
        ("price", |terms| terms.price = price(389_999)),
        ("EVSE", |terms| terms.evse = another_evse()),
        ("energy", |terms| (terms.energy_max, terms.escrow) = (wh(30_001), micro(12_000_000))),
        ("meter key", |terms| terms.meter_key = stranger().public()),
        ("grid tariff", |terms| terms.grid.version = 2),
        ("buyer's key", |terms| terms.buyer_key = stranger().public()),
    ];
    for (field, change) in changes {
        let mut draft = terms();
        change(&mut draft);
        let refused = SellerSession::offer(seller_keys(), &sale(), draft, EXPORTER, at(0)).unwrap_err();
        assert_eq!(refused, Refused::AnotherDeal { auction: terms().auction, field });
    }
    let poor = Terms { escrow: micro(1), ..terms() };
    let refused = SellerSession::offer(seller_keys(), &sale(), poor, EXPORTER, at(0)).unwrap_err();
    assert!(matches!(refused, Refused::Terms { error: TermsError::EscrowTooSmall { .. }, .. }));
    let late = SellerSession::offer(seller_keys(), &sale(), terms(), EXPORTER, at(4 * HOUR - 15 * MINUTE));
    assert!(matches!(late, Err(Refused::TooLate { .. })));
}

#[test]
fn an_offer_that_is_not_the_draft() {
    let dearer = Terms { price: price(390_001), escrow: micro(12_000_000), ..terms() };
    let mut world = World::new();
    world.buyer(BuyerInput::Message(Message::Offer(Box::new(offer(dearer)))));
    assert!(matches!(world.refused.pop(), Some(Refused::AnotherDeal { field: "offer", .. })));
    let unsigned = Offer::sign(terms(), EXPORTER, at(2 * MINUTE), &stranger());
    world.buyer(BuyerInput::Message(Message::Offer(Box::new(unsigned))));
    assert!(matches!(world.refused.pop(), Some(Refused::Signature { .. })));
    let stale = Offer::sign(terms(), EXPORTER, at(0), &seller());
    world.buyer(BuyerInput::Message(Message::Offer(Box::new(stale))));
    assert!(matches!(world.refused.pop(), Some(Refused::OfferExpired { .. })));
    assert_eq!(world.buyer.state(), State::Draft);
}

/// Records that a cheating station signs with its real meter key, after 5 kWh in six minutes were accepted.
fn objection(next: MeterRecord) -> (Option<StopReason>, World) {
    let mut world = World::charging();
    world.wait(6 * MINUTE);
    let accept = record(1, 5_000, 6 * MINUTE, false).signed().clone();
    world.buyer(BuyerInput::Message(Message::Record(accept)));
    world.to_seller.clear();
    world.wait(MINUTE);
    world.buyer(BuyerInput::Message(Message::Record(Signed::new(next, &meter()))));
    (world.buyer.stop_reason(), world)
}

#[test]
fn a_lying_meter_is_named_and_never_signed() {
    let minutes = 7 * MINUTE;
    let cases = [
        (record_body(2, 4_999, minutes, false), StopReason::MeterRanBackwards),
        (record_body(2, 5_100, 5 * MINUTE, false), StopReason::MeterRanBackwards),
        (
            MeterRecord { register_start: wh(999_000), ..record_body(2, 5_500, minutes, false) },
            StopReason::RegisterChanged,
        ),
        // 150 kW for seven minutes are 17.5 kWh; two percent and 100 Wh are tolerated.
        (record_body(2, 17_951, minutes, false), StopReason::AboveRatedPower),
    ];
    for (next, reason) in cases {
        let (found, mut world) = objection(next);
        assert_eq!(found, Some(reason));
        let sent: Vec<_> = world.to_seller.iter().map(Message::name).collect();
        assert_eq!(sent, ["stop"], "it stops and signs nothing");
        // Nor is anything signed later, however plausible.
        let last = record(3, 5_600, 7 * MINUTE, true).signed().clone();
        world.buyer(BuyerInput::Message(Message::Record(last)));
        assert!(world.to_seller.iter().all(|message| message.name() == "stop"));
        assert_eq!(world.buyer.state(), State::Stopped);
    }
    assert_eq!(objection(record_body(2, 17_900, minutes, false)).0, None, "within the tolerance");
}

#[test]
fn two_meters_that_differ_stop_the_sale() {
    for (car, expected) in [(9_700, Some(StopReason::MetersDiffer)), (9_701, None), (10_300, None)] {
        let mut world = World::charging();
        world.wait(10 * MINUTE);
        world.buyer(BuyerInput::CarMeter { energy: wh(car), at: at(10 * MINUTE) });
        let station = record(1, 10_001, 10 * MINUTE, false).signed().clone();
        // 2 % of 10 kWh and 100 Wh: 300 Wh.
        world.buyer(BuyerInput::Message(Message::Record(station)));
        assert_eq!(world.buyer.stop_reason(), expected, "the car says {car}");
    }
}

/// A seller that says it has stopped and goes on does not take the driver's own stop away.
#[test]
fn the_drivers_stop_is_always_said() {
    let mut world = World::charging();
    let stop = Stop { contract: terms().id(), reason: StopReason::Operator, at: at(0) };
    world.buyer(BuyerInput::Message(Message::Stop(Signed::new(stop.clone(), &seller()))));
    assert_eq!(world.buyer.stop_reason(), Some(StopReason::Operator));
    world.buyer(BuyerInput::Message(Message::Stop(Signed::new(stop, &buyer()))));
    assert!(matches!(world.refused.pop(), Some(Refused::Signature { .. })));
    world.buyer(BuyerInput::Stop);
    assert_eq!(world.to_seller.back().map(Message::name), Some("stop"));
    // It is lost with the connection, and said again on the next.
    world.relink([7; 32]);
    world.deliver_all();
    assert!(!world.is_on);
}

#[test]
fn a_driver_that_stopped_is_not_started() {
    let mut world = World::new();
    world.deliver_all();
    world.buyer(BuyerInput::Confirmed(evse()));
    world.buyer(BuyerInput::Stop);
    world.to_seller.clear();
    world.plug_in();
    assert!(!world.is_on);
}

/// An agent that was down past the expiry has lost the sale, and switches off.
#[test]
fn a_seller_that_comes_back_after_the_expiry_switches_off() {
    let mut world = World::charging();
    world.charge(MINUTE, 10_000);
    world.buyer_timers.clear();
    world.seller_timers.clear();
    world.wait(4 * HOUR);
    world.crash_seller();
    world.wait(0);
    assert!(!world.is_on);
    assert_eq!(world.seller_receipt.unwrap().end, State::Expired);
    assert_eq!(world.back, terms().escrow);
}

#[test]
fn a_refused_timer_stays_set() {
    let mut world = World::charging();
    world.charge(MINUTE, 10_000);
    world.seller(SellerInput::Stop);
    let reading = world.read();
    world.seller(SellerInput::LastReading(reading));
    world.seller_timers.clear();
    world.buyer_timers.clear();
    world.wait(4 * HOUR);
    let before = world.seller.as_ref().unwrap().snapshot().clone();
    world.seller(SellerInput::Timer(Timer::Close));
    assert!(matches!(world.refused.pop(), Some(Refused::DeadlinePassed { state: State::Stopped, .. })));
    assert_eq!(world.seller.as_ref().unwrap().snapshot(), &before);
}

/// A buyer that dates its start ahead and signs nothing gets at most rated power x 30 s for nothing.
#[test]
fn a_start_ahead_of_the_clock_costs_the_seller_little() {
    let mut world = World::new();
    world.deliver_all();
    world.plug_in();
    let ahead = |millis| Message::Start(Signed::new(start_body(millis), &buyer()));
    world.seller(SellerInput::Message(ahead(30_001)));
    assert!(matches!(world.refused.pop(), Some(Refused::StartTime { .. })));
    world.power_w = 150_000;
    world.seller(SellerInput::Message(ahead(30_000)));
    assert!(world.is_on);
    for _ in 0..30 {
        world.wait(10_000);
        world.tick();
    }
    world.seller(SellerInput::Stop);
    let reading = world.read();
    world.seller(SellerInput::LastReading(reading));
    world.wait(MINUTE);
    let claimed = world.contract.as_ref().unwrap().claim().unwrap().energy;
    let lost = world.delivered().checked_sub(claimed);
    assert_eq!((world.delivered(), lost), (wh(12_500), Some(wh(1_250))));
}

#[test]
fn replayed_records_are_refused() {
    let mut world = World::charging();
    world.wait(6 * MINUTE);
    let first = Message::Record(record(4, 3_000, 6 * MINUTE, false).signed().clone());
    world.buyer(BuyerInput::Message(first.clone()));
    for replay in [first, Message::Record(record(3, 2_900, 5 * MINUTE, false).signed().clone())] {
        world.buyer(BuyerInput::Message(replay));
        assert!(matches!(world.refused.pop(), Some(Refused::StaleRecord { known: 4, .. })));
    }
    let forged = Signed::new(record_body(5, 3_100, 6 * MINUTE, false), &seller());
    world.buyer(BuyerInput::Message(Message::Record(forged)));
    assert!(matches!(world.refused.pop(), Some(Refused::Signature { what: "meter record", .. })));
    assert_eq!(world.buyer.record().unwrap().sequence, 4);
}

#[test]
fn a_meter_that_runs_backwards_stops_the_seller() {
    let mut world = World::charging();
    world.charge(5 * MINUTE, 10_000);
    world.meter.run_back(wh(1_000));
    world.tick();
    assert!(!world.is_on);
    last_reading(&mut world);
    let receipt = world.buyer_receipt.unwrap();
    assert_eq!((receipt.stop, receipt.bill.energy), (Some(StopReason::MeterRanBackwards), wh(4_166)));
}

#[test]
fn only_the_buyer_stops_a_sellers_outlet() {
    let mut world = World::charging();
    let stop = Stop { contract: terms().id(), reason: StopReason::Driver, at: at(0) };
    world.seller(SellerInput::Message(Message::Stop(Signed::new(stop, &stranger()))));
    assert!(matches!(world.refused.pop(), Some(Refused::Signature { what: "contract stop", .. })));
    assert!(world.is_on);
}

#[test]
fn a_refused_input_changes_nothing() {
    let mut world = World::charging();
    let (buyer, seller) = (world.buyer.snapshot().clone(), world.seller.as_ref().unwrap().snapshot().clone());
    world.buyer(BuyerInput::Message(Message::Draft(Box::new(terms()))));
    world.buyer(BuyerInput::Timer(Timer::Expiry));
    world.seller(SellerInput::Message(Message::Offer(Box::new(offer(terms())))));
    world.seller(SellerInput::Timer(Timer::ChargeUntil));
    assert_eq!(world.refused.len(), 4);
    assert_eq!((world.buyer.snapshot(), world.seller.as_ref().unwrap().snapshot()), (&buyer, &seller));
}

#[test]
fn secrets_are_not_shown() {
    let world = World::charging();
    let shown = format!("{:?} {:?}", world.buyer, world.seller);
    assert!(shown.contains("SigningKey(..)"));
    for key in [buyer(), seller(), meter()] {
        assert!(!shown.contains(&to_hex(&*key.seed())));
    }
}
