//! What an outcome claims, as points and coefficients. Prover and verifier build the same.

use super::{Decision, OutcomeError, Payment, Winner, payment::cap_units};
use crate::{
    BIDS_MAX,
    bid::LedgeredBid,
    group::{G, Point, Relation, base_a, challenge, signed, times_g},
    intent::{BuyerSecret, Pricing, Terms, VerifiedIntent},
    key::EpochKey,
    release::Opening,
    score::{detour, road_weight},
};
use curve25519_dalek::{ristretto::RistrettoPoint, scalar::Scalar, traits::VartimeMultiscalarMul};
use ohmesh_units::{StationId, to_postcard};
use tari_merlin::Transcript;

/// A well-formed claim about an auction.
pub(super) struct Statement<'a> {
    key: &'a EpochKey,
    intent: &'a VerifiedIntent,
    bids: &'a [LedgeredBid],
    opening: &'a Opening,
    decision: &'a Decision,
    differences: Vec<Difference>,
}

/// What one commitment of an outcome hides, and must not be negative: a linear form, or, if empty, any value.
#[derive(Clone)]
pub(super) struct Difference(Vec<(i64, Term)>);

#[derive(Clone, Copy)]
enum Term {
    /// The score of a bid.
    Score(usize),
    /// The part of a bid's score that is the detour.
    Detour(usize),
    Reserve,
    One,
    /// What another commitment of the outcome hides.
    Hidden(usize),
}

/// What the prover knows of an auction, as integers.
pub(super) struct Values<'a> {
    /// Of each bid in ledger order.
    pub(super) scores: &'a [i64],
    /// Of each bid in ledger order.
    pub(super) detours: &'a [i64],
    pub(super) reserve: i64,
    /// Of the commitments that no form fixes, in order.
    pub(super) free: &'a [i64],
}

/// A random combination of all forms: how often each score, detour, the reserve, one, and each commitment counts.
pub(super) struct Sum {
    scores: Vec<Scalar>,
    detours: Vec<Scalar>,
    reserve: Scalar,
    constant: Scalar,
    differences: Vec<Scalar>,
}

impl<'a> Statement<'a> {
    pub(super) fn new(
        key: &'a EpochKey,
        intent: &'a VerifiedIntent,
        bids: &'a [LedgeredBid],
        opening: &'a Opening,
        decision: &'a Decision,
    ) -> Result<Self, OutcomeError> {
        let auction = intent.id();
        if !intent.is_under(key) {
            return Err(OutcomeError::OtherKey(auction));
        }
        if opening.auction() != auction {
            return Err(OutcomeError::OtherAuction { expected: auction, found: opening.auction() });
        }
        let (count, opened) = (bids.len(), opening.points().len());
        if count != opened || count > BIDS_MAX {
            return Err(OutcomeError::BidCount { bids: count, opened });
        }
        check_rules(intent.terms(), decision)?;
        if let Some(win) = decision.win()
            && bids.get(usize::from(win.bid)).is_none_or(|bid| bid.station != win.station)
        {
            return Err(OutcomeError::NoSuchBid { bid: win.bid, station: win.station });
        }
        let differences = differences(intent.terms(), decision, count);
        Ok(Self { key, intent, bids, opening, decision, differences })
    }

    /// The base of blindings.
    pub(super) fn h(&self) -> Point {
        self.key.h()
    }

    /// How many differences the outcome commits to.
    pub(super) fn count(&self) -> usize {
        self.differences.len()
    }

    /// What the commitments have to hide, in order.
    pub(super) fn values(&self, known: &Values<'_>) -> Vec<i64> {
        let fixed = self.differences.iter().filter(|difference| !difference.0.is_empty()).count();
        let value = |term| match term {
            Term::Score(at) => known.scores[at],
            Term::Detour(at) => known.detours[at],
            Term::Reserve => known.reserve,
            Term::One => 1,
            // Forms only point to free commitments, and those come last.
            Term::Hidden(at) => known.free[at - fixed],
        };
        let forms = self.differences[..fixed].iter();
        let forms = forms.map(|form| form.0.iter().map(|(times, term)| times * value(*term)).sum());
        forms.chain(known.free.iter().copied()).collect()
    }

    /// Commitments to how far each of those that may have set the pay is from the second score: the other bids in
    /// ledger order, the reserve, the cap. Empty unless the decision is by second score. Points to how the
    /// commitments, or their blindings, add up: the second of a pair is added where there is one.
    pub(super) fn setters(&self) -> Vec<(usize, Option<usize>)> {
        let Decision::SecondScore(payment) = self.decision else { return Vec::new() };
        let (winner, tie) = (usize::from(payment.bid), self.count() - 1);
        // A bid before the winner in the ledger is committed to less the tie, see `second_score`.
        (0..=self.bids.len()).map(|at| (at, Some(tie).filter(|_| at < winner))).collect()
    }

    /// The points of [`Statement::setters`].
    pub(super) fn setter_points(&self, differences: &[Point]) -> Vec<RistrettoPoint> {
        let point = |at: usize| differences[at].point();
        let setters = self.setters().into_iter();
        setters.map(|(at, tie)| tie.map_or(point(at), |tie| point(at) + point(tie))).collect()
    }

    /// The transcript with the whole statement in it, and the combination drawn from it.
    pub(super) fn transcript(&self, differences: &[Point]) -> (Transcript, Sum) {
        let buyer = self.intent.terms().buyer.to_bytes();
        let mut transcript = self.intent.transcript(self.key, b"outcome", &buyer);
        transcript.append_message(b"decision", &to_postcard(self.decision));
        transcript.append_u64(b"bids", self.bids.len() as u64);
        for (bid, point) in self.bids.iter().zip(self.opening.points()) {
            transcript.append_message(b"station", &bid.station.0);
            transcript.append_message(b"x", &bid.position.x.to_be_bytes());
            transcript.append_message(b"y", &bid.position.y.to_be_bytes());
            transcript.append_message(b"C", &bid.c.to_bytes());
            transcript.append_message(b"D", &bid.d.to_bytes());
            transcript.append_message(b"W", &point.to_bytes());
        }
        transcript.append_u64(b"differences", differences.len() as u64);
        for difference in differences {
            transcript.append_message(b"V", &difference.to_bytes());
        }
        let rho = challenge(&mut transcript, b"rho");
        (transcript, self.sum(rho))
    }

    /// `sum of rho^k * (form_k - V_k)`, k from 1, over the commitments that a form fixes.
    fn sum(&self, rho: Scalar) -> Sum {
        let mut sum = Sum {
            scores: vec![Scalar::ZERO; self.bids.len()],
            detours: vec![Scalar::ZERO; self.bids.len()],
            reserve: Scalar::ZERO,
            constant: Scalar::ZERO,
            differences: vec![Scalar::ZERO; self.differences.len()],
        };
        let mut weight = Scalar::ONE;
        for (at, Difference(form)) in self.differences.iter().enumerate() {
            weight *= rho;
            for (times, term) in form {
                let weight = weight * signed(*times);
                match term {
                    Term::Score(at) => sum.scores[*at] += weight,
                    Term::Detour(at) => sum.detours[*at] += weight,
                    Term::Reserve => sum.reserve += weight,
                    Term::One => sum.constant += weight,
                    Term::Hidden(at) => sum.differences[*at] += weight,
                }
            }
            if !form.is_empty() {
                sum.differences[at] -= weight;
            }
        }
        sum
    }

    /// Over (b, tau): `A = b*pk`; `L = b*B + tau*H`, where `L` is the combination over `e*C_i + detour_i`, `M`, `G` and
    /// `V_k`, and `B` the one over `e*W_i`; and, if the winner's price is shown, `C_w - price*G = b*W_w`.
    pub(super) fn relations(&self, sum: &Sum, differences: &[Point]) -> Vec<Relation> {
        let commitments = self.intent.commitments();
        let energy = Scalar::from(self.intent.terms().energy.as_kwh());
        let scaled: Vec<Scalar> = sum.scores.iter().map(|score| score * energy).collect();
        let Detours { straight: [q, x, y, one], roads } = self.detours(sum);
        let left = RistrettoPoint::vartime_multiscalar_mul(
            scaled
                .iter()
                .chain(&sum.differences)
                .chain(&[q, x, y, sum.reserve, one + sum.constant])
                .chain(roads.iter().map(|(weight, ..)| weight)),
            self.bids
                .iter()
                .map(|bid| bid.c.point())
                .chain(differences.iter().map(Point::point))
                .chain([
                    commitments.q.point(),
                    commitments.x.point(),
                    commitments.y.point(),
                    commitments.reserve.point(),
                    G,
                ])
                .chain(roads.iter().map(|(_, _, entry)| entry.point())),
        );
        let opened = self.opening.points();
        let right = RistrettoPoint::vartime_multiscalar_mul(&scaled, opened.iter().map(Point::point));
        let mut relations = vec![
            Relation::new(base_a().point(), [(0, commitments.pk.point())]),
            Relation::new(left, [(0, right), (1, self.key.h().point())]),
        ];
        if let Some(Winner { bid, price: Some(price), .. }) = self.decision.win() {
            let at = usize::from(bid);
            let hidden = self.bids[at].c.point() - times_g(&Scalar::from(price.0));
            relations.push(Relation::new(hidden, [(0, opened[at].point())]));
        }
        relations
    }

    /// The prover's `tau`: the same combination over the blindings of the commitments.
    pub(super) fn blinding(&self, sum: &Sum, secret: &BuyerSecret, differences: &[Scalar]) -> Scalar {
        let Detours { straight: [q, x, y, _], roads } = self.detours(sum);
        let roads: Scalar =
            roads.iter().map(|(weight, station, _)| weight * secret.road_blinding(*station)).sum();
        let committed = q * secret.blind_q + x * secret.blind_x + y * secret.blind_y + roads;
        let differences: Scalar = sum.differences.iter().zip(differences).map(|(a, b)| a * b).sum();
        committed + sum.reserve * secret.blind_reserve + differences
    }

    /// The combination of all detours: over (Q, X, Y, G) those by straight line, and over the table's entries the
    /// others.
    fn detours(&self, sum: &Sum) -> Detours {
        let terms = self.intent.terms();
        let mut all = Detours { straight: [Scalar::ZERO; 4], roads: Vec::new() };
        for (bid, (score, detour_only)) in self.bids.iter().zip(sum.scores.iter().zip(&sum.detours)) {
            let weight = score + detour_only;
            match self.intent.road(bid.station) {
                Some(entry) => all.roads.push((weight * road_weight(terms), bid.station, entry)),
                None => {
                    let detour = detour(terms, bid.position);
                    all.straight = std::array::from_fn(|at| all.straight[at] + weight * detour[at]);
                }
            }
        }
        all
    }
}

/// How often each commitment to a detour counts.
struct Detours {
    straight: [Scalar; 4],
    roads: Vec<(Scalar, StationId, Point)>,
}

fn check_rules(terms: &Terms, decision: &Decision) -> Result<(), OutcomeError> {
    let (is_best, pricing) = match decision {
        Decision::Best(_) => (true, Pricing::FirstPrice),
        Decision::SecondScore(_) => (true, Pricing::SecondScore),
        Decision::OwnChoice(_) => (false, Pricing::FirstPrice),
        Decision::NoEligibleBid => return Ok(()),
    };
    if is_best != terms.choice.promises_best() {
        return Err(OutcomeError::ChoiceRule);
    }
    if pricing != terms.pricing {
        return Err(OutcomeError::PricingRule);
    }
    Ok(())
}

fn differences(terms: &Terms, decision: &Decision, bids: usize) -> Vec<Difference> {
    match decision {
        Decision::Best(win) => best(win.bid.into(), bids),
        Decision::OwnChoice(_) => Vec::new(),
        Decision::NoEligibleBid => (0..bids).map(above_the_reserve).collect(),
        Decision::SecondScore(payment) => second_score(terms, payment, bids),
    }
}

/// Every other score is at least the winner's, above it if earlier in the ledger; the reserve is at least the
/// winner's.
fn best(winner: usize, bids: usize) -> Vec<Difference> {
    let least = (-1, Term::Score(winner));
    let other = |at| {
        let slack = i64::from(at < winner);
        Difference(vec![(1, Term::Score(at)), least, (-slack, Term::One)])
    };
    let others = (0..bids).filter(|at| *at != winner).map(other);
    others.chain([Difference(vec![(1, Term::Reserve), least])]).collect()
}

/// The score is above the reserve.
fn above_the_reserve(bid: usize) -> Difference {
    Difference(vec![(1, Term::Score(bid)), (-1, Term::Reserve), (-1, Term::One)])
}

/// With second score = steps + detour of the winner - remainder: every other score, the reserve and the winner's
/// score at the cap are at least the second score, that is at least the winner's score, and the remainder is less
/// than a step.
///
/// Ties: the `tie` is any number, but at least 1 where second score and winner's score are equal, and every bid
/// earlier in the ledger than the winner is above the second score by at least the tie.
fn second_score(terms: &Terms, payment: &Payment, bids: usize) -> Vec<Difference> {
    use Term::{Detour, Hidden, One, Reserve, Score};
    let winner = usize::from(payment.bid);
    // Others, reserve, cap; winner, remainder's top, tie's floor; then remainder and tie themselves.
    let (remainder, tie) = (bids + 4, bids + 5);
    let (steps, step) = (i64::from(payment.stepped()), i64::from(Payment::STEP));
    let less_second = [(-steps, One), (-1, Detour(winner)), (1, Hidden(remainder))];
    let above_second = |terms: &[(i64, Term)]| Difference([terms, &less_second].concat());
    let second_above_winner =
        [(steps, One), (1, Detour(winner)), (-1, Hidden(remainder)), (-1, Score(winner))];
    let other = |at| match at < winner {
        true => above_second(&[(1, Score(at)), (-1, Hidden(tie))]),
        false => above_second(&[(1, Score(at))]),
    };
    let mut all: Vec<Difference> = (0..bids).filter(|at| *at != winner).map(other).collect();
    all.push(above_second(&[(1, Reserve)]));
    all.push(above_second(&[(i64::from(cap_units(terms)), One), (1, Detour(winner))]));
    all.push(Difference(second_above_winner.to_vec()));
    all.push(Difference(vec![(step - 1, One), (-1, Hidden(remainder))]));
    all.push(Difference([&second_above_winner[..], &[(1, Hidden(tie)), (-1, One)]].concat()));
    all.extend([Difference(Vec::new()), Difference(Vec::new())]);
    all
}
