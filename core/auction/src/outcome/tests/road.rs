//! Auctions that count detours by road.

use super::*;
use crate::{
    intent::{Pricing, RoadDetour},
    testing::station,
};
use ohmesh_units::StationId;

/// Two stations side by side, of which the second is across the river: near, but far by road.
const SIDE_BY_SIDE: [(u16, InCell); 3] =
    [(3100, InCell { x: 118, y: 70 }), (3000, InCell { x: 118, y: 72 }), (9000, InCell { x: 0, y: 0 })];

fn roads() -> Vec<(StationId, RoadDetour)> {
    vec![(station(1), RoadDetour::of_steps(10)), (station(2), RoadDetour::of_steps(300))]
}

fn river() -> Auction {
    Auction::run_by_road(u32::MAX, &SIDE_BY_SIDE, &roads(), terms(), 51)
}

#[test]
fn the_way_by_road_decides() {
    let mut straight = Auction::run(terms(), u32::MAX, &SIDE_BY_SIDE, 50);
    let outcome = straight.outcome();
    assert_eq!(straight.verify(&outcome), won(1, 3000, true, &straight));
    let mut river = river();
    let outcome = river.outcome();
    assert_eq!(river.verify(&outcome), won(0, 3100, true, &river));
    assert_eq!(Outcome::decode(&outcome.encode()), Ok(outcome));
}

#[test]
fn road_detours_at_their_edges() {
    assert_eq!(RoadDetour::of_steps(0).squares(), 0);
    assert_eq!(RoadDetour::of_steps(2).squares(), 8, "half a unit is rounded away from zero");
    assert_eq!(RoadDetour::of_steps(724), RoadDetour(65_522));
    assert_eq!(RoadDetour::of_steps(725), RoadDetour(u16::MAX));
    assert_eq!(RoadDetour::of_steps(u32::MAX), RoadDetour(u16::MAX));
    let dear =
        Terms { energy: EnergyKwh::try_from(16_383).unwrap(), kappa: Kappa::try_from(7).unwrap(), ..terms() };
    assert!(Score::by_road(&dear, RoadDetour(u16::MAX), PriceTick(u16::MAX)).0 < 1 << 31);
}

/// Cheat 5 by road: after seeing the bids the buyer says another way, or none, or that of another station.
#[test]
fn changed_table_entry() {
    let mut auction = river();
    let (decision, mut scores, secret) =
        (Decision::Best(auction.win(1, 3000)), auction.scores(), auction.secret.clone());
    let honest = scores[1];
    for squares in [
        0,
        i64::from(RoadDetour::of_steps(10).squares()),
        i64::try_from(BUYER_AT.distance_squared(SIDE_BY_SIDE[1].1)).unwrap(),
    ] {
        scores[1] = 40 * 3000 + 4 * squares;
        assert!(scores[1] < scores[0] && scores[1] < honest, "it would be the best");
        let outcome = auction.forge(decision.clone(), &scores, &secret);
        assert_eq!(auction.verify(&outcome), LINK);
    }
}

/// The blinding of every entry follows from the secret that the buyer stores.
#[test]
fn a_stored_secret_opens_the_table() {
    let auction = river();
    let stored = BuyerSecret::from_bytes(&auction.secret.to_bytes()).unwrap();
    for (station, road) in roads() {
        assert_eq!(auction.intent.open_road(station, &stored), Some(road));
    }
    assert_eq!(auction.intent.open_road(station(3), &stored), None);
    assert!(auction.intent.road(station(3)).is_none());
    let stranger = river().offers();
    assert_eq!(stranger, auction.offers());
    let other = Auction::tied().secret;
    let refused = Offer::open(&auction.intent, &other, &auction.bids, &auction.opening);
    assert!(matches!(refused, Err(OutcomeError::DoesNotOpen { .. })));
}

#[test]
fn second_score_by_road() {
    let terms = Terms { pricing: Pricing::SecondScore, ..terms() };
    let mut auction = Auction::run_by_road(u32::MAX, &SIDE_BY_SIDE, &roads(), terms, 52);
    let scores = auction.scores();
    let outcome = auction.outcome();
    let Decision::SecondScore(payment) = &outcome.decision else { panic!() };
    let pay = scores[1].min(scores[2]) - 4 * i64::from(RoadDetour::of_steps(10).squares());
    assert_eq!(i64::from(payment.steps), (pay + (1 << 14) - 1) >> 14);
    assert!(matches!(auction.verify(&outcome), Ok(Verdict::Won { bid: 0, proven_best: true, .. })));
}

#[test]
fn nobody_within_the_reserve_by_road() {
    let detour = 4 * RoadDetour::of_steps(10).squares();
    let mut none = Auction::run_by_road(40 * 3100 + detour - 1, &SIDE_BY_SIDE, &roads(), terms(), 53);
    let outcome = none.outcome();
    assert_eq!(none.verify(&outcome), Ok(Verdict::NoEligibleBid));
    let mut some = Auction::run_by_road(40 * 3100 + detour, &SIDE_BY_SIDE, &roads(), terms(), 54);
    let outcome = some.outcome();
    assert_eq!(some.verify(&outcome), won(0, 3100, true, &some));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// The plain rule, on integers: in the table by road, else by straight line.
    #[test]
    fn random_auctions_agree_with_the_plain_rule(
        bids in prop::collection::vec((any::<u16>(), -256..512i32, -256..512i32, any::<Option<u16>>()), 0..12),
        kappa in 0..8u8,
        reserve in prop_oneof![any::<u32>(), Just(u32::MAX)],
        seed: u8,
    ) {
        let terms = Terms { kappa: Kappa::try_from(kappa).unwrap(), ..terms() };
        let weight = i64::from(terms.kappa.weight());
        let score = |(price, x, y, road): &(u16, i32, i32, Option<u16>)| {
            let (dx, dy) = (i64::from(x - BUYER_AT.x), i64::from(y - BUYER_AT.y));
            let squares = road.map_or(dx * dx + dy * dy, |road| 8 * i64::from(road));
            i64::from(*price) * 40 + weight * squares
        };
        let scores: Vec<i64> = bids.iter().map(score).collect();
        let best = (0..bids.len()).min_by_key(|at| (scores[*at], *at));
        let best = best.filter(|at| scores[*at] <= i64::from(reserve));
        let placed: Vec<(u16, InCell)> = bids.iter().map(|bid| (bid.0, InCell { x: bid.1, y: bid.2 })).collect();
        let known = (1..).zip(&bids).filter_map(|(n, bid)| Some((station(n), RoadDetour(bid.3?))));
        let mut auction = Auction::run_by_road(reserve, &placed, &known.collect::<Vec<_>>(), terms, seed);
        let outcome = auction.outcome();
        let expected = match best {
            Some(at) => won(at, bids[at].0, true, &auction),
            None => Ok(Verdict::NoEligibleBid),
        };
        prop_assert_eq!(auction.verify(&outcome), expected);
    }
}
