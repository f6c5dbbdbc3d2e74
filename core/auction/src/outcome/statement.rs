//! What an outcome claims, as points and coefficients. Prover and verifier build the same.

use super::{Decision, OutcomeError};
use crate::{
    BIDS_MAX,
    bid::LedgeredBid,
    group::{G, Point, Relation, base_a, challenge, times_g},
    intent::{BuyerSecret, Choice, VerifiedIntent},
    key::EpochKey,
    release::Opening,
    score::detour,
};
use curve25519_dalek::{ristretto::RistrettoPoint, scalar::Scalar, traits::VartimeMultiscalarMul};
use ohmesh_units::to_postcard;
use tari_merlin::Transcript;

/// A well-formed claim about an auction.
pub(super) struct Statement<'a> {
    key: &'a EpochKey,
    intent: &'a VerifiedIntent,
    bids: &'a [LedgeredBid],
    opening: &'a Opening,
    decision: &'a Decision,
    comparisons: Vec<Comparison>,
}

/// One difference that must not be negative: `plus - minus - slack`.
#[derive(Clone, Copy)]
pub(super) struct Comparison {
    pub(super) plus: Side,
    pub(super) minus: Side,
    /// 1 where a tie is not enough.
    pub(super) slack: u8,
}

#[derive(Clone, Copy)]
pub(super) enum Side {
    /// The score of a bid.
    Bid(usize),
    Reserve,
}

/// A random combination of all comparisons: how often each score, the reserve, one, and each difference counts.
pub(super) struct Sum {
    scores: Vec<Scalar>,
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
        let allowed = match decision {
            Decision::Best(_) => intent.terms().choice == Choice::BestProvable,
            Decision::OwnChoice(_) => intent.terms().choice == Choice::OwnChoice,
            Decision::NoEligibleBid => true,
        };
        if !allowed {
            return Err(OutcomeError::ChoiceRule);
        }
        if let Some(win) = decision.win()
            && bids.get(usize::from(win.bid)).is_none_or(|bid| bid.station != win.station)
        {
            return Err(OutcomeError::NoSuchBid { bid: win.bid, station: win.station });
        }
        let comparisons = comparisons(decision, count);
        Ok(Self { key, intent, bids, opening, decision, comparisons })
    }

    /// How many differences the outcome commits to.
    pub(super) fn comparisons(&self) -> usize {
        self.comparisons.len()
    }

    pub(super) fn each(&self) -> &[Comparison] {
        &self.comparisons
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

    /// `sum of rho^k * (plus_k - minus_k - slack_k - V_k)`, k from 1.
    fn sum(&self, rho: Scalar) -> Sum {
        let mut sum = Sum {
            scores: vec![Scalar::ZERO; self.bids.len()],
            reserve: Scalar::ZERO,
            constant: Scalar::ZERO,
            differences: Vec::with_capacity(self.comparisons.len()),
        };
        let mut weight = Scalar::ONE;
        for Comparison { plus, minus, slack } in &self.comparisons {
            weight *= rho;
            for (side, weight) in [(plus, weight), (minus, -weight)] {
                match side {
                    Side::Bid(at) => sum.scores[*at] += weight,
                    Side::Reserve => sum.reserve += weight,
                }
            }
            sum.constant -= weight * Scalar::from(*slack);
            sum.differences.push(-weight);
        }
        sum
    }

    /// Over (b, tau): `A = b*pk`; `L = b*B + tau*H`, where `L` is the combination over `e*C_i + detour_i`, `M`, `G` and
    /// `V_k`, and `B` the one over `e*W_i`; and, if somebody won, `C_w - price*G = b*W_w`.
    pub(super) fn relations(&self, sum: &Sum, differences: &[Point]) -> Vec<Relation> {
        let commitments = self.intent.commitments();
        let energy = Scalar::from(self.intent.terms().energy.as_kwh());
        let scaled: Vec<Scalar> = sum.scores.iter().map(|score| score * energy).collect();
        let [q, x, y, one] = self.detours(sum);
        let left = RistrettoPoint::vartime_multiscalar_mul(
            scaled.iter().chain(&sum.differences).chain(&[q, x, y, sum.reserve, one + sum.constant]),
            self.bids.iter().map(|bid| bid.c.point()).chain(differences.iter().map(Point::point)).chain([
                commitments.q.point(),
                commitments.x.point(),
                commitments.y.point(),
                commitments.reserve.point(),
                G,
            ]),
        );
        let opened = self.opening.points();
        let right = RistrettoPoint::vartime_multiscalar_mul(&scaled, opened.iter().map(Point::point));
        let mut relations = vec![
            Relation::new(base_a().point(), [(0, commitments.pk.point())]),
            Relation::new(left, [(0, right), (1, self.key.h().point())]),
        ];
        if let Some(win) = self.decision.win() {
            let at = usize::from(win.bid);
            let hidden = self.bids[at].c.point() - times_g(&Scalar::from(win.price.0));
            relations.push(Relation::new(hidden, [(0, opened[at].point())]));
        }
        relations
    }

    /// The prover's `tau`: the same combination over the blindings of the commitments.
    pub(super) fn blinding(&self, sum: &Sum, secret: &BuyerSecret, differences: &[Scalar]) -> Scalar {
        let [q, x, y, _] = self.detours(sum);
        let committed = q * secret.blind_q + x * secret.blind_x + y * secret.blind_y;
        let differences: Scalar = sum.differences.iter().zip(differences).map(|(a, b)| a * b).sum();
        committed + sum.reserve * secret.blind_reserve + differences
    }

    /// The combination of all detours over (Q, X, Y, G).
    fn detours(&self, sum: &Sum) -> [Scalar; 4] {
        self.bids.iter().zip(&sum.scores).fold([Scalar::ZERO; 4], |total, (bid, weight)| {
            let detour = detour(self.intent.terms(), bid.position);
            std::array::from_fn(|at| total[at] + weight * detour[at])
        })
    }
}

/// Best: every other score is at least the winner's, above it if earlier in the ledger; the reserve is at least the
/// winner's. Own choice: nothing. None eligible: every score is above the reserve.
fn comparisons(decision: &Decision, bids: usize) -> Vec<Comparison> {
    match decision {
        Decision::Best(win) => {
            let winner = usize::from(win.bid);
            let minus = Side::Bid(winner);
            let others = (0..bids).filter(|at| *at != winner);
            others
                .map(|at| Comparison { plus: Side::Bid(at), minus, slack: u8::from(at < winner) })
                .chain([Comparison { plus: Side::Reserve, minus, slack: 0 }])
                .collect()
        }
        Decision::OwnChoice(_) => Vec::new(),
        Decision::NoEligibleBid => {
            (0..bids).map(|at| Comparison { plus: Side::Bid(at), minus: Side::Reserve, slack: 1 }).collect()
        }
    }
}
