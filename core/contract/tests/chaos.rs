//! Honest sides on a network that loses, repeats and breaks, with crashes on both sides at any moment: every sale ends,
//! the escrow leaves once and whole, and nobody pays for or loses a watt-hour.

#![allow(clippy::unwrap_used)]

mod common;

use common::world::*;
use common::*;
use ohmesh_contract::*;
use ohmesh_units::*;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Deliver(Fate),
    Wait(u64),
    Tick,
    Relink(u8),
    CrashBuyer,
    CrashSeller,
    PlugIn,
    Unplug,
    Confirm,
    Suspend,
    Resume,
    DriverStops,
    OperatorStops,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => Just(Step::Deliver(Fate::Arrives)),
        2 => Just(Step::Deliver(Fate::Lost)),
        2 => Just(Step::Deliver(Fate::Twice)),
        4 => (0..20_000u64).prop_map(Step::Wait),
        1 => (0..10 * MINUTE).prop_map(Step::Wait),
        6 => Just(Step::Tick),
        2 => any::<u8>().prop_map(Step::Relink),
        1 => Just(Step::CrashBuyer),
        1 => Just(Step::CrashSeller),
        3 => Just(Step::PlugIn),
        1 => Just(Step::Unplug),
        4 => Just(Step::Confirm),
        1 => Just(Step::Suspend),
        1 => Just(Step::Resume),
        1 => Just(Step::DriverStops),
        1 => Just(Step::OperatorStops),
    ]
}

fn take(world: &mut World, step: Step) {
    match step {
        Step::Deliver(fate) => {
            world.deliver(fate);
        }
        Step::Wait(millis) => world.wait(millis),
        Step::Tick => world.tick(),
        Step::Relink(connection) => world.relink([connection; 32]),
        Step::CrashBuyer => world.crash_buyer(),
        Step::CrashSeller => world.crash_seller(),
        Step::PlugIn => {
            let reading = world.read();
            world.seller(SellerInput::Plugged { evse: evse(), reading });
        }
        Step::Unplug => world.seller(SellerInput::Unplugged),
        Step::Confirm => world.buyer(BuyerInput::Confirmed(evse())),
        Step::Suspend => world.seller(SellerInput::Suspended),
        Step::Resume => world.seller(SellerInput::Resumed),
        Step::DriverStops => world.buyer(BuyerInput::Stop),
        Step::OperatorStops => world.seller(SellerInput::Stop),
    }
    world.block();
    // The runner reads the meter as soon as the outlet is off.
    if seller_state(world) == Some(State::Stopped) {
        let reading = world.read();
        world.seller(SellerInput::LastReading(reading));
    }
}

fn seller_state(world: &World) -> Option<State> {
    world.seller.as_ref().map(SellerSession::state)
}

/// The sale as it ends, and whether energy ever flowed.
fn run(steps: &[Step]) -> World {
    let mut world = World::new();
    let (mut buyer, mut seller) = (world.buyer.state(), None);
    for step in steps {
        take(&mut world, *step);
        let (b, s) = (world.buyer.state(), seller_state(&world));
        assert!(
            b.rank() >= buyer.rank() && s.map(State::rank) >= seller.map(State::rank),
            "I5 on both sides"
        );
        assert!(!(buyer.is_terminal() && b != buyer), "I5: one end");
        (buyer, seller) = (b, s);
        assert_eq!(world.is_on, matches!(s, Some(State::Charging | State::Paused)), "on only while charging");
        assert!(!world.is_on || world.contract.is_some(), "nothing flows before the escrow is locked");
    }
    world.relink([0xff; 32]);
    for _ in 0..30 * 6 {
        world.deliver_all();
        take(&mut world, Step::Wait(0));
        take(&mut world, Step::Wait(10 * MINUTE));
        take(&mut world, Step::Tick);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_sale_ends_and_nobody_loses(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = run(&steps);
        prop_assert!(world.buyer.state().is_terminal(), "buyer in {:?}", world.buyer.state());
        prop_assert!(seller_state(&world).is_none_or(State::is_terminal), "seller in {:?}", seller_state(&world));
        prop_assert!(!world.is_on);
        let delivered = world.delivered();
        let Some(contract) = &world.contract else {
            prop_assert_eq!(delivered, Energy::ZERO);
            return Ok(());
        };
        prop_assert!(contract.state().is_terminal(), "ledger in {:?}", contract.state());
        prop_assert_eq!(world.paid.checked_add(world.back), Some(terms().escrow));
        let bill = world.buyer_receipt.as_ref().unwrap().bill;
        prop_assert_eq!(bill.energy, delivered.min(terms().energy_max), "what flowed is what is paid");
        prop_assert_eq!(bill, Bill::of(&terms(), delivered).unwrap());
        // A seller that took its offer back has no receipt; if the buyer opened all the same, it waived the contract.
        match world.seller_receipt {
            Some(receipt) => prop_assert_eq!(receipt.bill, bill),
            None => prop_assert_eq!(contract.state(), State::Void),
        }
    }
}

/// The generator reaches what it is meant to test: paid sales, claims, waivers and sales that never began.
#[test]
fn the_chaos_reaches_every_end() {
    use proptest::{strategy::ValueTree, test_runner::TestRunner};
    let mut runner = TestRunner::deterministic();
    let (mut paid, mut void, mut never, mut charged) = (0, 0, 0, 0);
    for _ in 0..400 {
        let steps = prop::collection::vec(step(), 0..120).new_tree(&mut runner).unwrap().current();
        let mut world = run(&steps);
        charged += u32::from(world.delivered() > Energy::ZERO);
        match world.contract.as_ref().map(Contract::state) {
            Some(State::Settled) => paid += 1,
            Some(State::Void) => void += 1,
            None => never += 1,
            other => panic!("honest sides end in {other:?}"),
        }
    }
    assert!(paid > 20 && void > 20 && never > 5 && charged > 20, "{paid} {void} {never} {charged}");
}
