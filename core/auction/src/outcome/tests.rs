mod road;
mod second_score;

use super::{
    prove::Witness,
    statement::{Statement, Values},
    *,
};
use crate::{
    group::{Point, commit, random_scalar, signed, times_g},
    intent::{BuyerSecret, Choice, EnergyKwh, Kappa, Terms},
    score::Score,
    seal::Sealed,
    testing::{Auction, BUYER_AT, rng, terms},
};
use curve25519_dalek::{ristretto::RistrettoPoint, scalar::Scalar};
use ohmesh_units::InCell;
use proptest::prelude::*;

impl Auction {
    fn verify(&self, outcome: &Outcome) -> Result<Verdict, OutcomeError> {
        outcome.verify(&self.key, &self.intent, &self.bids, &self.opening)
    }

    fn win(&mut self, bid: u16, price: u16) -> Win {
        let award = self.award(bid.into());
        let station = self.bids[usize::from(bid)].station;
        Win { bid, station, price: PriceTick(price), award }
    }

    fn scores(&self) -> Vec<i64> {
        let mut offers = self.offers();
        offers.sort_by_key(|offer| offer.bid);
        offers.iter().map(|offer| offer.score.0.into()).collect()
    }

    /// What an honest prover would put into the commitments.
    fn witness(&self, decision: &Decision) -> Witness {
        Witness::of(&self.intent, &self.secret, &self.offers(), decision)
    }

    fn forge(&mut self, decision: Decision, scores: &[i64], secret: &BuyerSecret) -> Outcome {
        let (scores, detours) = (scores.to_vec(), vec![0; scores.len()]);
        self.forge_with(decision, &Witness { scores, detours, free: vec![], setter: 0 }, secret)
    }

    /// Proves what it is told with an honest link, over whatever the witness says; where a difference is negative,
    /// the range proof is made for its magnitude.
    fn forge_with(&mut self, decision: Decision, witness: &Witness, secret: &BuyerSecret) -> Outcome {
        let Self { key, intent, bids, opening, rng, .. } = self;
        let statement = Statement::new(key, intent, bids, opening, &decision).unwrap();
        let Witness { scores, detours, free, setter } = witness;
        let known = Values { scores, detours, reserve: secret.reserve.into(), free };
        let values: Vec<(i64, Scalar)> =
            statement.values(&known).into_iter().map(|value| (value, random_scalar(rng))).collect();
        let h = key.h();
        let committed = |(value, blinding): &(i64, Scalar)| times_g(&signed(*value)) + blinding * h.point();
        let differences: Vec<Point> = values.iter().map(|v| Point::new(committed(v)).unwrap()).collect();
        let blindings: Vec<Scalar> = values.iter().map(|(_, blinding)| *blinding).collect();
        let (mut transcript, sum) = statement.transcript(&differences);
        let link_witness = [secret.b, statement.blinding(&sum, secret, &blindings)];
        let relations = statement.relations(&sum, &differences);
        let link = LinearProof::prove(&mut transcript, &relations, &link_witness, rng);
        let setter = statement.prove_setter(&mut transcript, &differences, &blindings, *setter, rng);
        let shown: Vec<(u64, Scalar)> = values.iter().map(|(v, b)| (v.unsigned_abs(), *b)).collect();
        let points: Vec<RistrettoPoint> = shown.iter().map(|(v, b)| commit(*v, b, &h)).collect();
        let ranges =
            RangeProof::prove(key.ranges(), Width::Score, &points, &shown, &transcript, rng).unwrap();
        Outcome { auction: intent.id(), decision, differences, link, ranges, setter }
    }
}

fn won(bid: usize, price: u16, proven_best: bool, auction: &Auction) -> Result<Verdict, OutcomeError> {
    let price = auction.intent.terms().tick.price(PriceTick(price));
    Ok(Verdict::Won { bid, station: auction.bids[bid].station, price, proven_best })
}

const LINK: Result<Verdict, OutcomeError> = Err(OutcomeError::Link(ProofFailed));
const RANGE: Result<Verdict, OutcomeError> = Err(OutcomeError::Range(RangeError::Failed));

#[test]
fn the_earlier_of_two_equal_bids_wins() {
    let mut auction = Auction::tied();
    let outcome = auction.outcome();
    assert_eq!(auction.verify(&outcome), won(1, 3000, true, &auction));
    assert_eq!(Outcome::decode(&outcome.encode()), Ok(outcome));
}

/// The forger of these tests is as good as the honest prover where there is nothing to forge.
#[test]
fn forged_honestly_it_verifies() {
    let mut auction = Auction::tied();
    let (decision, scores, secret) =
        (Decision::Best(auction.win(1, 3000)), auction.scores(), auction.secret.clone());
    let outcome = auction.forge(decision, &scores, &secret);
    assert_eq!(auction.verify(&outcome), won(1, 3000, true, &auction));
}

/// Cheat 1: the library refuses to prove it, and a forged range proof does not hold.
#[test]
fn worse_winner() {
    let mut auction = Auction::tied();
    let (offers, award) = (auction.offers(), auction.award(0));
    let worse = offers.iter().find(|offer| offer.bid == 0).unwrap();
    let Auction { key, intent, secret, bids, opening, rng, .. } = &mut auction;
    let refused = Outcome::create(key, intent, secret, bids, opening, Some((worse, award)), rng);
    assert_eq!(refused, Err(OutcomeError::Range(RangeError::Failed)));
    let (decision, scores, secret) =
        (Decision::Best(auction.win(0, 5000)), auction.scores(), auction.secret.clone());
    let outcome = auction.forge(decision, &scores, &secret);
    assert_eq!(auction.verify(&outcome), RANGE);
}

/// Cheat 2.
#[test]
fn wrong_winner_of_a_tie() {
    let mut auction = Auction::tied();
    let (decision, scores, secret) =
        (Decision::Best(auction.win(2, 3000)), auction.scores(), auction.secret.clone());
    let outcome = auction.forge(decision, &scores, &secret);
    assert_eq!(auction.verify(&outcome), RANGE);
}

/// Cheat 3: as if the two better bids had been dear.
#[test]
fn lie_about_losing_prices() {
    let mut auction = Auction::tied();
    let (decision, mut scores, secret) =
        (Decision::Best(auction.win(5, 4000)), auction.scores(), auction.secret.clone());
    scores[1] += 40 * 17_000;
    scores[2] += 40 * 17_000;
    let outcome = auction.forge(decision, &scores, &secret);
    assert_eq!(auction.verify(&outcome), LINK);
}

/// Cheat 4: in the finished outcome, and in one proven for it.
#[test]
fn price_that_was_not_bid() {
    let mut auction = Auction::tied();
    let mut outcome = auction.outcome();
    let Decision::Best(win) = &mut outcome.decision else { panic!() };
    win.price.0 += 1;
    assert_eq!(auction.verify(&outcome), LINK);
    let (decision, scores, secret) =
        (Decision::Best(auction.win(1, 3001)), auction.scores(), auction.secret.clone());
    let outcome = auction.forge(decision, &scores, &secret);
    assert_eq!(auction.verify(&outcome), LINK);
}

/// Cheat 5: after seeing the bids the buyer says it stands somewhere else.
#[test]
fn moved_position() {
    let places =
        [(3000, InCell { x: 120, y: 77 }), (3000, InCell { x: 5, y: 5 }), (3000, InCell { x: 250, y: 9 })];
    let mut auction = Auction::run(terms(), u32::MAX, &places, 11);
    let mut moved = auction.secret.clone();
    (moved.x, moved.y) = (5, 5);
    let scores: Vec<i64> = places
        .iter()
        .map(|(price, at)| {
            let score = Score::new(auction.intent.terms(), moved.position(), *at, PriceTick(*price)).unwrap();
            i64::from(score.0)
        })
        .collect();
    assert!(scores[1] < scores[0], "from there the second would be best");
    let decision = Decision::Best(auction.win(1, 3000));
    let outcome = auction.forge(decision, &scores, &moved);
    assert_eq!(auction.verify(&outcome), LINK);
}

/// Cheat 6: a bid left out of the comparison, or out of the list.
#[test]
fn dropped_bid() {
    let mut auction = Auction::tied();
    let outcome = auction.outcome();
    let mut dropped = outcome.clone();
    dropped.differences.pop();
    let refused = OutcomeError::DifferenceCount { expected: 6, found: 5 };
    assert_eq!(auction.verify(&dropped), Err(refused));
    let fewer = &auction.bids[..5];
    let refused = outcome.verify(&auction.key, &auction.intent, fewer, &auction.opening);
    assert_eq!(refused, Err(OutcomeError::BidCount { bids: 5, opened: 6 }));
}

/// Cheat 20: the outcome of one auction on another, also under its name.
#[test]
fn outcome_of_another_auction() {
    let (mut one, other) = (Auction::tied(), Auction::run(terms(), u32::MAX, &[(1, BUYER_AT); 6], 12));
    let mut outcome = one.outcome();
    let (expected, found) = (other.intent.id(), one.intent.id());
    assert_eq!(other.verify(&outcome), Err(OutcomeError::OtherAuction { expected, found }));
    outcome.auction = other.intent.id();
    assert_eq!(other.verify(&outcome), LINK);
    let mixed = outcome.verify(&other.key, &other.intent, &other.bids, &one.opening);
    assert_eq!(mixed, Err(OutcomeError::OtherAuction { expected, found }));
}

/// Cheat 21.
#[test]
fn range_proof_of_another_auction() {
    let (mut one, mut other) = (Auction::tied(), Auction::tied());
    other.rng = rng(99);
    let swapped = Outcome { ranges: other.outcome().ranges, ..one.outcome() };
    assert_eq!(one.verify(&swapped), RANGE);
}

/// Before a quorum has released, the buyer has nothing to decide over, and an opening of its own making does not
/// hold.
#[test]
fn early_outcome() {
    let mut auction = Auction::tied();
    let refused =
        Opening::combine(&auction.key, &auction.intent, &auction.bids, &auction.releases[..4]).map(|_| ());
    assert_eq!(refused, Err(crate::release::ReleaseError::TooFewShares { found: 4, threshold: 5 }));
    // Under t = 1 the locks themselves would be the opening.
    let made_up = {
        let bytes = auction.opening.encode();
        let mut bent = bytes[..bytes.len() - 32 * auction.bids.len()].to_vec();
        auction.bids.iter().for_each(|bid| bent.extend(bid.d.to_bytes()));
        Opening::decode(&bent).unwrap()
    };
    let Auction { intent, secret, bids, .. } = &auction;
    let refused = Offer::open(intent, secret, bids, &made_up);
    assert_eq!(refused, Err(OutcomeError::DoesNotOpen { bid: 0 }));
    let refused = Opening::in_the_open(&auction.key, intent, bids).map(|_| ());
    assert_eq!(refused, Err(crate::release::ReleaseError::OtherKey(intent.id())));
    let (decision, scores, secret) =
        (Decision::Best(auction.win(1, 3000)), auction.scores(), auction.secret.clone());
    let honest = std::mem::replace(&mut auction.opening, made_up);
    let outcome = auction.forge(decision, &scores, &secret);
    assert_eq!(auction.verify(&outcome), LINK);
    auction.opening = honest;
    assert_eq!(auction.verify(&outcome), LINK);
}

/// The same bids in another order, so that another tie wins.
#[test]
fn bids_in_another_order() {
    let mut auction = Auction::tied();
    let outcome = auction.outcome();
    auction.bids.swap(4, 5);
    assert_eq!(auction.verify(&outcome), LINK);
    let (decision, scores, secret) =
        (Decision::Best(auction.win(1, 3000)), [200_000; 6], auction.secret.clone());
    let forged = auction.forge(decision, &scores, &secret);
    assert_eq!(auction.verify(&forged), LINK, "each opening is of its own bid");
}

/// Cheat 18, for outcomes.
#[test]
fn identity_or_non_canonical_point() {
    let outcome = Auction::tied().outcome();
    let bytes = outcome.encode();
    let point = outcome.differences[3].to_bytes();
    let at = bytes.windows(32).position(|bytes| bytes == point).unwrap();
    for bad in [[0; 32], [0xff; 32]] {
        let mut bent = bytes.clone();
        bent[at..at + 32].copy_from_slice(&bad);
        assert!(matches!(Outcome::decode(&bent), Err(ohmesh_units::DecodeError::Malformed { .. })));
    }
}

#[test]
fn winner_that_is_not_on_the_ledger() {
    let mut auction = Auction::tied();
    let outcome = auction.outcome();
    let station = auction.bids[1].station;
    for bid in [0, 6] {
        let mut other = outcome.clone();
        let Decision::Best(win) = &mut other.decision else { panic!() };
        win.bid = bid;
        assert_eq!(auction.verify(&other), Err(OutcomeError::NoSuchBid { bid, station }));
    }
}

#[test]
fn swapped_or_cut_award() {
    let mut auction = Auction::tied();
    let mut outcome = auction.outcome();
    let other = auction.award(1);
    let Decision::Best(win) = &mut outcome.decision else { panic!() };
    win.award = other;
    assert_eq!(auction.verify(&outcome), LINK, "only the buyer can put an award there");
    let short: Sealed = ohmesh_units::from_postcard("sealed", &[&[1; 32][..], &[2, 7, 7]].concat()).unwrap();
    let Decision::Best(win) = &mut outcome.decision else { panic!() };
    win.award = short;
    assert_eq!(auction.verify(&outcome), Err(OutcomeError::AwardLength { found: 2 }));
}

/// An award whose winner could never show that it cannot read it: a key of small order, and one off the curve.
#[test]
fn award_sealed_under_no_proper_key() {
    let mut auction = Auction::tied();
    for first in [0, 1, 2] {
        let (mut win, scores, secret) = (auction.win(1, 3000), auction.scores(), auction.secret.clone());
        let mut bytes = ohmesh_units::to_postcard(&win.award);
        bytes[..32].copy_from_slice(&[&[first][..], &[0; 31]].concat());
        win.award = ohmesh_units::from_postcard("sealed", &bytes).unwrap();
        let outcome = auction.forge(Decision::Best(win), &scores, &secret);
        assert_eq!(auction.verify(&outcome), Err(OutcomeError::AwardKey));
    }
}

/// The winner does not come: the next best wins among those that are left, by the same opening.
#[test]
fn without_the_winner_the_next_best_is_proven() {
    let mut auction = Auction::tied();
    let first = auction.outcome();
    assert_eq!(auction.verify(&first), won(1, 3000, true, &auction));
    auction.bids.remove(1);
    auction.opening = auction.opening.clone().without(1);
    assert!(auction.verify(&first).is_err(), "an outcome over all bids is none over those that are left");
    let second = auction.outcome();
    assert_eq!(auction.verify(&second), won(1, 3000, true, &auction), "the other of the tie");
    let mut all = Auction::tied();
    let (decision, scores, secret) = (Decision::Best(all.win(2, 3000)), all.scores(), all.secret.clone());
    let early = all.forge(decision, &scores, &secret);
    assert_eq!(all.verify(&early), RANGE, "never before the first was struck out");
}

#[test]
fn somebody_else_than_the_buyer() {
    let mut auction = Auction::tied();
    let (decision, scores, mut secret) =
        (Decision::Best(auction.win(1, 3000)), auction.scores(), auction.secret.clone());
    secret.b += Scalar::ONE;
    let outcome = auction.forge(decision, &scores, &secret);
    assert_eq!(auction.verify(&outcome), LINK);
}

#[test]
fn nobody_within_the_reserve_is_proven() {
    let at = InCell { x: 50, y: 60 };
    let detour = 4 * BUYER_AT.distance_squared(at);
    let limit = u32::try_from(40 * 3000 + detour).unwrap();
    let mut none = Auction::run(terms(), limit - 1, &[(3000, at), (4000, at)], 13);
    let outcome = none.outcome();
    assert_eq!(outcome.decision, Decision::NoEligibleBid);
    assert_eq!(none.verify(&outcome), Ok(Verdict::NoEligibleBid));
    // With the reserve at exactly the best score somebody is eligible, and nobody can say otherwise.
    let mut some = Auction::run(terms(), limit, &[(3000, at), (4000, at)], 14);
    let outcome = some.outcome();
    assert_eq!(some.verify(&outcome), won(0, 3000, true, &some));
    let Auction { key, intent, secret, bids, opening, rng, .. } = &mut some;
    let refused = Outcome::create(key, intent, secret, bids, opening, None, rng);
    assert_eq!(refused, Err(OutcomeError::SomebodyEligible { bid: 0 }));
    let (scores, secret) = (some.scores(), some.secret.clone());
    let outcome = some.forge(Decision::NoEligibleBid, &scores, &secret);
    assert_eq!(some.verify(&outcome), RANGE);
    // And nobody above the reserve wins.
    let (decision, scores, secret) = (Decision::Best(none.win(0, 3000)), none.scores(), none.secret.clone());
    let outcome = none.forge(decision, &scores, &secret);
    assert_eq!(none.verify(&outcome), RANGE);
}

#[test]
fn an_auction_without_bids_ends_too() {
    let mut auction = Auction::run(terms(), 1, &[], 15);
    let outcome = auction.outcome();
    assert_eq!(auction.verify(&outcome), Ok(Verdict::NoEligibleBid));
    let mut stranger = auction.secret.clone();
    stranger.b += Scalar::ONE;
    let outcome = auction.forge(Decision::NoEligibleBid, &[], &stranger);
    assert_eq!(auction.verify(&outcome), LINK, "only the buyer ends it");
}

#[test]
fn own_choice_is_marked_and_opens_the_price() {
    let own = Terms { choice: Choice::OwnChoice, ..terms() };
    let mut auction = Auction::run(own, u32::MAX, &[(5000, BUYER_AT), (3000, BUYER_AT)], 16);
    let (offers, award) = (auction.offers(), auction.award(0));
    let dear = offers.iter().find(|offer| offer.bid == 0).unwrap();
    let Auction { key, intent, secret, bids, opening, rng, .. } = &mut auction;
    let mut outcome = Outcome::create(key, intent, secret, bids, opening, Some((dear, award)), rng).unwrap();
    assert_eq!(auction.verify(&outcome), won(0, 5000, false, &auction));
    assert_eq!(outcome.proof_bytes(), 96);
    let Decision::OwnChoice(win) = &mut outcome.decision else { panic!() };
    win.price.0 -= 1;
    assert_eq!(auction.verify(&outcome), LINK);
}

#[test]
fn choice_rule_is_the_intents() {
    let mut auction = Auction::tied();
    let outcome = auction.outcome();
    let Decision::Best(win) = outcome.decision.clone() else { panic!() };
    let chosen = Outcome { decision: Decision::OwnChoice(win), ..outcome };
    assert_eq!(auction.verify(&chosen), Err(OutcomeError::ChoiceRule));
}

#[test]
fn scores_at_the_edge_do_not_wrap() {
    let terms =
        Terms { energy: EnergyKwh::try_from(16_383).unwrap(), kappa: Kappa::try_from(7).unwrap(), ..terms() };
    let far = InCell { x: -256, y: -256 };
    let corner = InCell { x: 255, y: 255 };
    let worst = Score::new(&terms, corner, far, PriceTick(u16::MAX)).unwrap();
    assert!(worst.0 < 1 << 31);
    let mut auction = Auction::run(terms, u32::MAX, &[(u16::MAX, far), (0, BUYER_AT)], 17);
    let outcome = auction.outcome();
    assert_eq!(auction.verify(&outcome), won(1, 0, true, &auction));
}

#[test]
fn ten_bidders_take_the_stated_bytes() {
    let mut auction = Auction::run(terms(), u32::MAX, &[(4000, BUYER_AT); 10], 18);
    let outcome = auction.outcome();
    assert_eq!(outcome.proof_bytes(), 10 * 32 + 96 + 769);
    assert_eq!(auction.verify(&outcome), won(0, 4000, true, &auction));
}

#[test]
fn a_batch_answers_as_one_by_one() {
    let mut auctions: Vec<Auction> = (0..3)
        .map(|n| Auction::run(terms(), u32::MAX, &[(5000 + n, BUYER_AT), (3000, BUYER_AT)], 20))
        .collect();
    auctions.push(Auction::run(terms(), 1, &[], 21));
    let mut outcomes: Vec<Outcome> = auctions.iter_mut().map(Auction::outcome).collect();
    let check = |outcomes: &[Outcome]| {
        let claims: Vec<Claim<'_>> = auctions
            .iter()
            .zip(outcomes)
            .map(|(a, outcome)| Claim {
                outcome,
                key: &a.key,
                intent: &a.intent,
                bids: &a.bids,
                opening: &a.opening,
            })
            .collect();
        let single: Vec<_> = auctions.iter().zip(outcomes).map(|(a, outcome)| a.verify(outcome)).collect();
        assert_eq!(verify_batch(&claims), single);
        single
    };
    assert!(check(&outcomes).iter().all(Result::is_ok));
    outcomes[0].ranges = outcomes[1].ranges.clone();
    let Decision::Best(win) = &mut outcomes[2].decision else { panic!() };
    win.price.0 += 1;
    let answers = check(&outcomes);
    assert_eq!((answers[0], answers[2]), (RANGE, LINK));
    assert!(answers[1].is_ok() && answers[3].is_ok());
}

#[test]
fn any_flipped_byte_is_refused() {
    let mut auction = Auction::tied();
    let bytes = auction.outcome().encode();
    for at in (0..bytes.len()).step_by(9) {
        let mut bent = bytes.clone();
        bent[at] ^= 1 << (at % 8);
        let refused = Outcome::decode(&bent).map_or(true, |bent| auction.verify(&bent).is_err());
        assert!(refused, "byte {at}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// The plain rule, on integers: least score within the reserve, ties to the earlier.
    #[test]
    fn random_auctions_agree_with_the_plain_rule(
        bids in prop::collection::vec((any::<u16>(), -256..512i32, -256..512i32), 0..20),
        energy in 1..16_384u16,
        kappa in 0..8u8,
        reserve in prop_oneof![any::<u32>(), Just(u32::MAX)],
        seed: u8,
    ) {
        let energy_kwh = u64::from(energy);
        let terms = Terms {
            energy: EnergyKwh::try_from(energy).unwrap(),
            kappa: Kappa::try_from(kappa).unwrap(),
            ..terms()
        };
        let weight = u64::from(terms.kappa.weight());
        let scores: Vec<u64> = bids
            .iter()
            .map(|(price, x, y)| {
                let (dx, dy) = (i64::from(x - BUYER_AT.x), i64::from(y - BUYER_AT.y));
                u64::from(*price) * energy_kwh + weight * (dx * dx + dy * dy).unsigned_abs()
            })
            .collect();
        let best = (0..bids.len()).min_by_key(|at| (scores[*at], *at));
        let best = best.filter(|at| scores[*at] <= u64::from(reserve));
        let placed: Vec<(u16, InCell)> = bids.iter().map(|(price, x, y)| (*price, InCell { x: *x, y: *y })).collect();
        let mut auction = Auction::run(terms, reserve, &placed, seed);
        let outcome = auction.outcome();
        let expected = match best {
            Some(at) => won(at, bids[at].0, true, &auction),
            None => Ok(Verdict::NoEligibleBid),
        };
        prop_assert_eq!(auction.verify(&outcome), expected);
    }
}
