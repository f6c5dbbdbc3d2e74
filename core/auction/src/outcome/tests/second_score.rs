//! Auctions that pay the second score.

use super::*;
use crate::intent::{Intent, IntentError, Pricing, Reserve};
use ohmesh_units::{Money, TickSize};

const AT: InCell = InCell { x: 50, y: 60 };
const STEP: i64 = Payment::STEP as i64;

fn second() -> Terms {
    Terms { pricing: Pricing::SecondScore, ..terms() }
}

fn auction(reserve: u32, prices: &[u16], seed: u8) -> Auction {
    let placed: Vec<(u16, InCell)> = prices.iter().map(|price| (*price, AT)).collect();
    Auction::run(second(), reserve, &placed, seed)
}

/// Six bids at one place; the third wins and the sixth sets what it is paid.
fn six() -> Auction {
    auction(u32::MAX, &[5000, 3500, 2900, 9000, 7000, 3300], 31)
}

fn payment(outcome: &Outcome) -> Payment {
    let Decision::SecondScore(payment) = &outcome.decision else { panic!("{outcome:?}") };
    payment.clone()
}

/// What the plain rule says of an auction whose bids all stand at one place: the pay in steps and the price.
fn paid(auction: &Auction, pay: i64) -> (u16, Price) {
    let terms = auction.intent.terms();
    let (energy, tick) = (i64::from(terms.energy.as_kwh()), i64::from(terms.tick.as_micro_per_kwh()));
    let steps = (pay + STEP - 1) / STEP;
    let units = (steps * STEP).min(energy * 65_535);
    let price = (units * tick * 2 + energy) / (2 * energy);
    (u16::try_from(steps).unwrap(), Price::from_micro_per_kwh(price))
}

fn assert_paid(auction: &mut Auction, bid: usize, pay: i64) {
    let outcome = auction.outcome();
    let (steps, price) = paid(auction, pay);
    assert_eq!(payment(&outcome).steps, steps);
    let station = auction.bids[bid].station;
    assert_eq!(auction.verify(&outcome), Ok(Verdict::Won { bid, station, price, proven_best: true }));
    assert_eq!(Outcome::decode(&outcome.encode()), Ok(outcome));
}

#[test]
fn the_second_score_is_paid_rounded_up() {
    assert_paid(&mut six(), 2, 40 * 3300);
}

#[test]
fn equal_bids_win_by_ledger_order_and_get_what_they_ask() {
    assert_paid(&mut auction(u32::MAX, &[5000, 3000, 3000], 32), 1, 40 * 3000);
}

#[test]
fn reserve_or_cap_set_the_pay_of_one_bidder_alone() {
    let detour = i64::try_from(4 * BUYER_AT.distance_squared(AT)).unwrap();
    assert_paid(&mut auction(u32::MAX, &[3000], 33), 0, 40 * 65_535);
    let reserve = u32::try_from(40 * 4321 + detour).unwrap();
    assert_paid(&mut auction(reserve, &[3000], 34), 0, 40 * 4321);
    assert_paid(&mut auction(reserve, &[3000, 5000], 35), 0, 40 * 4321);
    let exact = u32::try_from(40 * 3000 + detour).unwrap();
    assert_paid(&mut auction(exact, &[3000], 36), 0, 40 * 3000);
}

#[test]
fn nobody_is_paid_more_than_the_cap_or_less_than_it_bid() {
    // A step is a quarter of the cap at 1 kWh, and the last one ends above it.
    let one_kwh = Terms { energy: EnergyKwh::try_from(1).unwrap(), kappa: Kappa::NONE, ..second() };
    let mut auction = Auction::run(one_kwh, u32::MAX, &[(60_000, AT), (61_000, AT)], 37);
    let outcome = auction.outcome();
    assert_eq!(payment(&outcome).steps, 4);
    let cap = auction.intent.terms().price_cap();
    assert_eq!(payment(&outcome).price(auction.intent.terms()), cap);
    let station = auction.bids[0].station;
    assert_eq!(auction.verify(&outcome), Ok(Verdict::Won { bid: 0, station, price: cap, proven_best: true }));
    for (energy, steps) in [(1, 0), (1, 1), (3, 9), (7, 28), (16_383, 65_532), (40, u16::MAX)] {
        let terms = Terms { energy: EnergyKwh::try_from(energy).unwrap(), ..second() };
        let pay = Payment { steps, ..payment(&outcome) };
        let (price, units) = (pay.price(&terms), i64::from(pay.units(&terms)));
        let exact = units * i64::from(terms.tick.as_micro_per_kwh());
        let off = (price.as_micro_per_kwh() * i64::from(energy) - exact).abs();
        assert!(price <= terms.price_cap() && 2 * off <= i64::from(energy), "half a micro-unit a kWh");
    }
}

#[test]
fn a_reserve_of_money_covers_the_rounding() {
    for (energy, tick) in [(1, 1), (40, 13), (16_383, 2), (7, 65_000)] {
        let energy = EnergyKwh::try_from(energy).unwrap();
        let terms = Terms { energy, tick: TickSize::try_from(tick).unwrap(), ..second() };
        let money = Money::from_micro(3_000_000_000);
        let Reserve(reserve) = terms.reserve_of(money).unwrap();
        // The worst case: no detour, the reserve sets the pay.
        let steps = Payment::steps_for(reserve.min(payment::cap_units(&terms))).unwrap();
        let award = six().award(0);
        let pay = Payment { bid: 0, station: crate::testing::station(1), steps, award };
        assert!(pay.price(&terms).times(terms.energy.energy()).unwrap() <= money);
    }
    assert_eq!(second().reserve_of(Money::from_micro(16_383 * 13 + 20)), Some(Reserve(0)));
    assert_eq!(second().reserve_of(Money::from_micro(16_383 * 13 + 19)), None);
}

#[test]
fn no_eligible_bid_is_proven_as_in_any_auction() {
    let mut none = auction(40 * 2900, &[2900, 3000], 38);
    let outcome = none.outcome();
    assert_eq!(none.verify(&outcome), Ok(Verdict::NoEligibleBid));
    let mut empty = auction(1, &[], 39);
    let outcome = empty.outcome();
    assert_eq!(empty.verify(&outcome), Ok(Verdict::NoEligibleBid));
}

/// The forger of these tests is as good as the honest prover where there is nothing to forge.
#[test]
fn forged_honestly_it_verifies() {
    let mut auction = six();
    let decision = auction.outcome().decision;
    let (witness, secret) = (auction.witness(&decision), auction.secret.clone());
    let outcome = auction.forge_with(decision.clone(), &witness, &secret);
    let price = decision.price(auction.intent.terms()).unwrap();
    let station = auction.bids[2].station;
    assert_eq!(auction.verify(&outcome), Ok(Verdict::Won { bid: 2, station, price, proven_best: true }));
}

/// Cheat 11, and its reverse: in the finished outcome, and with the second score moved along. Moving the remainder
/// instead is a test of its own.
#[test]
fn pay_a_step_lower_or_higher() {
    let mut auction = six();
    let (honest, secret) = (auction.outcome(), auction.secret.clone());
    for change in [-1i64, 1] {
        let mut bent = honest.clone();
        let Decision::SecondScore(payment) = &mut bent.decision else { panic!() };
        payment.steps = u16::try_from(i64::from(payment.steps) + change).unwrap();
        assert_eq!(auction.verify(&bent), LINK);
        let moved = auction.witness(&honest.decision);
        let outcome = auction.forge_with(bent.decision, &moved, &secret);
        assert_eq!(auction.verify(&outcome), SETTER);
    }
}

/// One score unit, which rounding would hide: the second score is nobody's.
#[test]
fn second_score_a_unit_lower_or_higher() {
    let mut auction = six();
    let (decision, secret) = (auction.outcome().decision, auction.secret.clone());
    for change in [-1, 1] {
        let mut witness = auction.witness(&decision);
        witness.free[0] += change;
        let outcome = auction.forge_with(decision.clone(), &witness, &secret);
        assert_eq!(auction.verify(&outcome), SETTER);
    }
}

/// Every remainder within its range but the true one fails by another proof, so here the range alone is at stake: a
/// remainder below zero and one of a whole step, with the right second score.
#[test]
fn remainder_out_of_range() {
    let mut auction = six();
    let secret = auction.secret.clone();
    let honest = auction.outcome().decision;
    for change in [-1i64, 1] {
        let mut decision = honest.clone();
        let Decision::SecondScore(payment) = &mut decision else { panic!() };
        payment.steps = u16::try_from(i64::from(payment.steps) + change).unwrap();
        let mut witness = auction.witness(&honest);
        witness.free[0] += change * STEP;
        assert!(!(0..STEP).contains(&witness.free[0]));
        let outcome = auction.forge_with(decision, &witness, &secret);
        assert_eq!(auction.verify(&outcome), RANGE);
    }
}

/// The second score lies between the two best bids.
#[test]
fn second_score_that_no_bid_has() {
    let mut auction = auction(u32::MAX, &[3000, 9000], 40);
    let secret = auction.secret.clone();
    let award = auction.award(0);
    let pay = 40 * 5000;
    let (steps, station) = (Payment::steps_for(pay).unwrap(), auction.bids[0].station);
    let decision = Decision::SecondScore(Payment { bid: 0, station, steps, award });
    let mut witness = auction.witness(&decision);
    witness.free = vec![i64::from(steps) * STEP - i64::from(pay), 0];
    for setter in 0..3 {
        witness.setter = setter;
        let outcome = auction.forge_with(decision.clone(), &witness, &secret);
        assert_eq!(auction.verify(&outcome), SETTER);
    }
}

/// A tie that is none would let a bid that is dearer by as much pass for the second score.
#[test]
fn tie_that_hides_the_distance_to_the_second_score() {
    let mut auction = auction(u32::MAX, &[9000, 3000], 41);
    let secret = auction.secret.clone();
    let (scores, award) = (auction.scores(), auction.award(1));
    let pay = 40 * 3000;
    let steps = Payment::steps_for(pay).unwrap();
    let station = auction.bids[1].station;
    let decision = Decision::SecondScore(Payment { bid: 1, station, steps, award });
    let mut witness = auction.witness(&decision);
    // Second score and winner's score are said to be equal, and the other bid above both by the tie: its commitment
    // hides zero, but the tie is added to it before it may set the pay.
    witness.free = vec![i64::from(steps) * STEP - i64::from(pay), scores[0] - scores[1]];
    witness.setter = 0;
    let outcome = auction.forge_with(decision, &witness, &secret);
    assert_eq!(auction.verify(&outcome), SETTER);
}

/// Cheat 12: each branch of the proof, and the proof of another auction.
#[test]
fn tampered_or_foreign_proof_of_the_second_score() {
    let (mut auction, mut other) = (six(), six());
    other.rng = rng(99);
    let outcome = auction.outcome();
    let foreign = Outcome { setter: other.outcome().setter, ..outcome.clone() };
    assert_eq!(auction.verify(&foreign), SETTER);
    let bytes = outcome.encode();
    let branches = outcome.setter.as_ref().unwrap().branches();
    assert_eq!(branches, 7, "five others, the reserve, the cap");
    for branch in 0..branches {
        for half in [0, 32] {
            let mut bent = bytes.clone();
            let at = bytes.len() - SomeZero::BRANCH_BYTES * (branches - branch) + half;
            bent[at] ^= 1;
            assert_eq!(auction.verify(&Outcome::decode(&bent).unwrap()), SETTER, "branch {branch}");
        }
    }
}

#[test]
fn worse_winner() {
    let mut auction = six();
    let (offers, award) = (auction.offers(), auction.award(5));
    let worse = offers.iter().find(|offer| offer.bid == 5).unwrap();
    let Auction { key, intent, secret, bids, opening, rng, .. } = &mut auction;
    let refused = Outcome::create(key, intent, secret, bids, opening, Some((worse, award)), rng);
    assert_eq!(refused, Err(OutcomeError::Range(RangeError::Failed)));
    let (secret, award) = (auction.secret.clone(), auction.award(5));
    let station = auction.bids[5].station;
    // The best bid as the second score: then the winner is above it. The winner's own price: then the best is below.
    for pay in [2900u32, 3300, 3500] {
        let steps = Payment::steps_for(40 * pay).unwrap();
        let decision = Decision::SecondScore(Payment { bid: 5, station, steps, award: award.clone() });
        let mut witness = auction.witness(&decision);
        witness.free = vec![i64::from(steps) * STEP - i64::from(40 * pay), 1];
        witness.setter = if pay == 2900 { 2 } else { 1 };
        let outcome = auction.forge_with(decision, &witness, &secret);
        let expected = if pay == 3300 { SETTER } else { RANGE };
        assert_eq!(auction.verify(&outcome), expected, "{pay}");
    }
}

/// Cheat 2 in second-score auctions.
#[test]
fn wrong_winner_of_a_tie() {
    let mut auction = auction(u32::MAX, &[5000, 3000, 3000], 42);
    let (secret, award) = (auction.secret.clone(), auction.award(2));
    let station = auction.bids[2].station;
    let steps = Payment::steps_for(40 * 3000).unwrap();
    let decision = Decision::SecondScore(Payment { bid: 2, station, steps, award });
    let mut witness = auction.witness(&decision);
    assert_eq!(witness.setter, 1, "the bid that ties");
    for tie in [0, 1] {
        witness.free[1] = tie;
        let outcome = auction.forge_with(decision.clone(), &witness, &secret);
        assert_eq!(auction.verify(&outcome), RANGE);
    }
}

/// Cheat 3 in second-score auctions: the runner-up is said to be dearer, or the reserve higher.
#[test]
fn lie_about_losing_prices_or_the_reserve() {
    let mut auction = six();
    let mut decision = auction.outcome().decision;
    let Decision::SecondScore(payment) = &mut decision else { panic!() };
    payment.steps = Payment::steps_for(40 * 3500).unwrap();
    let (mut witness, mut secret) = (auction.witness(&decision), auction.secret.clone());
    witness.scores[5] += 40 * 500;
    witness.free[0] = i64::from(Payment::steps_for(40 * 3500).unwrap()) * STEP - 40 * 3500;
    witness.setter = 1;
    let outcome = auction.forge_with(decision.clone(), &witness, &secret);
    assert_eq!(auction.verify(&outcome), LINK);
    let witness = auction.witness(&decision);
    secret.reserve -= 1;
    let outcome = auction.forge_with(decision, &witness, &secret);
    assert_eq!(auction.verify(&outcome), LINK);
}

#[test]
fn pricing_rule_is_the_intents() {
    let (mut one, mut other) = (six(), Auction::tied());
    let (second, first) = (one.outcome(), other.outcome());
    let first = Outcome { auction: one.intent.id(), ..first };
    assert_eq!(one.verify(&first), Err(OutcomeError::PricingRule));
    let second = Outcome { auction: other.intent.id(), ..second };
    assert_eq!(other.verify(&second), Err(OutcomeError::PricingRule));
    let own = Terms { choice: Choice::OwnChoice, ..self::second() };
    let key = &one.key;
    let refused = Intent::create(own, BUYER_AT, Reserve(1), key, &mut rng(1));
    assert_eq!(refused.map(|_| ()), Err(IntentError::PricingRule));
}

#[test]
fn bytes_of_ten_bidders_and_of_the_most() {
    let mut auction = Auction::run(second(), u32::MAX, &[(4000, BUYER_AT); 10], 43);
    let outcome = auction.outcome();
    assert_eq!(outcome.proof_bytes(), 16 * 32 + 96 + 769 + 11 * 64);
    assert!(outcome.encode().len() < 2400);
    let most = (BIDS_MAX + 6) * 32 + 96 + 16 * 769 + 705 + (BIDS_MAX + 1) * 64;
    assert!(most + 300 < Outcome::MAX_BYTES);
}

#[test]
fn any_flipped_byte_is_refused() {
    let mut auction = auction(u32::MAX, &[5000, 3000], 44);
    let bytes = auction.outcome().encode();
    for at in 0..bytes.len() {
        let mut bent = bytes.clone();
        bent[at] ^= 1 << (at % 8);
        let refused = Outcome::decode(&bent).map_or(true, |bent| auction.verify(&bent).is_err());
        assert!(refused, "byte {at}");
    }
}

#[test]
fn a_batch_answers_as_one_by_one() {
    let (mut first, mut second) = (Auction::tied(), six());
    let mut outcomes = [first.outcome(), second.outcome()];
    for bend in [false, true] {
        if bend {
            outcomes[1].ranges =
                auction(u32::MAX, &[5000, 3500, 2900, 9000, 7000, 3300], 45).outcome().ranges;
        }
        let claims: Vec<Claim<'_>> = [&first, &second]
            .iter()
            .zip(&outcomes)
            .map(|(a, outcome)| {
                let Auction { key, intent, bids, opening, .. } = a;
                Claim { outcome, key, intent, bids, opening }
            })
            .collect();
        let answers = verify_batch(&claims);
        assert_eq!(answers, [first.verify(&outcomes[0]), second.verify(&outcomes[1])]);
        assert_eq!([answers[0].is_ok(), answers[1].is_ok()], [true, !bend]);
    }
}

const SETTER: Result<Verdict, OutcomeError> = Err(OutcomeError::Setter(ProofFailed));

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    /// The plain rule, on integers: the best wins and is paid what the least of the other scores, the reserve and its
    /// own score at the cap leave after its detour, rounded up.
    #[test]
    fn random_auctions_agree_with_the_plain_rule(
        bids in prop::collection::vec((prop_oneof![any::<u16>(), 0..40u16], -256..512i32, -256..512i32), 0..14),
        energy in prop_oneof![1..16_384u16, 1..4u16],
        kappa in 0..8u8,
        reserve in prop_oneof![any::<u32>(), Just(u32::MAX), 0..1u32 << 28],
        seed: u8,
    ) {
        let (energy_kwh, kappa) = (i64::from(energy), Kappa::try_from(kappa).unwrap());
        let terms = Terms { energy: EnergyKwh::try_from(energy).unwrap(), kappa, ..second() };
        let tick = i64::from(terms.tick.as_micro_per_kwh());
        let detour = |x: i32, y: i32| {
            let (dx, dy) = (i64::from(x - BUYER_AT.x), i64::from(y - BUYER_AT.y));
            i64::from(kappa.weight()) * (dx * dx + dy * dy)
        };
        let scores: Vec<i64> =
            bids.iter().map(|(price, x, y)| i64::from(*price) * energy_kwh + detour(*x, *y)).collect();
        let best = (0..bids.len()).min_by_key(|at| (scores[*at], *at));
        let best = best.filter(|at| scores[*at] <= i64::from(reserve));
        let placed: Vec<(u16, InCell)> = bids.iter().map(|(price, x, y)| (*price, InCell { x: *x, y: *y })).collect();
        let mut auction = Auction::run(terms, reserve, &placed, seed);
        let outcome = auction.outcome();
        let expected = best.map_or(Ok(Verdict::NoEligibleBid), |at| {
            let detour = detour(bids[at].1, bids[at].2);
            let others = (0..bids.len()).filter(|other| *other != at).map(|other| scores[other]);
            let second = others.chain([i64::from(reserve), 65_535 * energy_kwh + detour]).min().unwrap();
            let units = ((second - detour + STEP - 1) / STEP * STEP).min(65_535 * energy_kwh);
            let price = Price::from_micro_per_kwh((2 * units * tick + energy_kwh) / (2 * energy_kwh));
            let asked = Price::from_micro_per_kwh(i64::from(bids[at].0) * tick);
            assert!(asked <= price && price <= auction.intent.terms().price_cap());
            Ok(Verdict::Won { bid: at, station: auction.bids[at].station, price, proven_best: true })
        });
        prop_assert_eq!(auction.verify(&outcome), expected);
    }
}
