//! The buyer's side of an outcome.

use super::{
    Decision, Outcome, OutcomeError, Win,
    statement::{Comparison, Side, Statement},
};
use crate::{
    bid::LedgeredBid,
    group::{LinearProof, Point, RangeProof, Width, commit, random_scalar},
    intent::{BuyerSecret, VerifiedIntent},
    key::EpochKey,
    release::Opening,
    score::Score,
    seal::Sealed,
};
use curve25519_dalek::scalar::Scalar;
use ohmesh_units::{PriceTick, StationId};
use rand_core::CryptoRng;
use std::fmt;
use zeroize::Zeroizing;

/// What the buyer sees once a threshold of shares is released: one bid, opened. Nobody else sees the losing ones, and
/// `Debug` does not show the price.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Offer {
    /// Position in ledger order.
    pub bid: usize,
    /// Whose bid it is.
    pub station: StationId,
    /// The price, in ticks of the intent.
    pub price: PriceTick,
    /// What bids are compared by; ties go to the lower `bid`.
    pub score: Score,
    /// Whether the score is within the buyer's reserve.
    pub within_reserve: bool,
}

impl Offer {
    /// All bids opened, best first.
    pub fn open(
        intent: &VerifiedIntent,
        secret: &BuyerSecret,
        bids: &[LedgeredBid],
        opening: &Opening,
    ) -> Result<Vec<Self>, OutcomeError> {
        let (count, opened) = (bids.len(), opening.points().len());
        if count != opened {
            return Err(OutcomeError::BidCount { bids: count, opened });
        }
        let mut offers = Vec::with_capacity(count);
        for (at, (bid, price)) in bids.iter().zip(secret.open(bids, opening)).enumerate() {
            let price = price.ok_or(OutcomeError::DoesNotOpen { bid: at })?;
            let score = secret.score(intent.terms(), bid.position, price);
            let score = score.ok_or(OutcomeError::DoesNotOpen { bid: at })?;
            let within_reserve = score.0 <= secret.reserve;
            offers.push(Self { bid: at, station: bid.station, price, score, within_reserve });
        }
        offers.sort_by_key(|offer| (offer.score, offer.bid));
        Ok(offers)
    }
}

impl fmt::Debug for Offer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Offer(bid {}, ..)", self.bid)
    }
}

impl Outcome {
    /// The outcome of an auction in which `winner` (one of `offers`) wins, by the intent's choice rule, or in which
    /// nobody does. `award` is sealed to the winner. Fails if it would not verify: the winner is not the best, or
    /// somebody is within the reserve after all.
    pub fn create(
        key: &EpochKey,
        intent: &VerifiedIntent,
        secret: &BuyerSecret,
        bids: &[LedgeredBid],
        opening: &Opening,
        winner: Option<(&Offer, Sealed)>,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, OutcomeError> {
        let offers = Offer::open(intent, secret, bids, opening)?;
        let best = offers.iter().find(|offer| offer.within_reserve);
        let decision = match winner {
            None => match best {
                None => Decision::NoEligibleBid,
                Some(offer) => return Err(OutcomeError::SomebodyEligible { bid: offer.bid }),
            },
            Some((offer, award)) => decision(intent, offer, award),
        };
        if let Decision::Best(win) = &decision {
            let best = best.ok_or(OutcomeError::NobodyEligible)?;
            if best.bid != usize::from(win.bid) {
                return Err(OutcomeError::Range(crate::group::RangeError::Failed));
            }
        }
        let mut scores = vec![0; bids.len()];
        offers.iter().for_each(|offer| scores[offer.bid] = offer.score.0.into());
        Self::prove(key, intent, secret, bids, opening, decision, &scores, rng)
    }

    /// Proves whatever it is told. Callers decide what is true.
    #[allow(clippy::too_many_arguments, reason = "the statement, the witness and the randomness, each once")]
    pub(super) fn prove(
        key: &EpochKey,
        intent: &VerifiedIntent,
        secret: &BuyerSecret,
        bids: &[LedgeredBid],
        opening: &Opening,
        decision: Decision,
        scores: &[i64],
        rng: &mut impl CryptoRng,
    ) -> Result<Self, OutcomeError> {
        let statement = Statement::new(key, intent, bids, opening, &decision)?;
        let value = |side| match side {
            Side::Bid(at) => scores[at],
            Side::Reserve => i64::from(secret.reserve),
        };
        let mut values = Zeroizing::new(Vec::new());
        for Comparison { plus, minus, slack } in statement.each() {
            let difference = value(*plus) - value(*minus) - i64::from(*slack);
            let difference = u64::try_from(difference);
            let difference = difference.map_err(|_| OutcomeError::Range(crate::group::RangeError::Failed))?;
            values.push((difference, random_scalar(rng)));
        }
        let commitment = |(value, blinding): &(u64, Scalar)| Point::new(commit(*value, blinding, &key.h()));
        let differences: Result<Vec<Point>, _> = values.iter().map(commitment).collect();
        let differences = differences.expect("a random blinding does not give the identity");
        let (mut transcript, sum) = statement.transcript(&differences);
        let blindings: Zeroizing<Vec<Scalar>> =
            Zeroizing::new(values.iter().map(|(_, blinding)| *blinding).collect());
        let witness = Zeroizing::new([secret.b, statement.blinding(&sum, secret, &blindings)]);
        let relations = statement.relations(&sum, &differences);
        let link = LinearProof::prove(&mut transcript, &relations, &witness, rng);
        let ranges = if differences.is_empty() {
            RangeProof::NONE
        } else {
            let points: Vec<_> = differences.iter().map(Point::point).collect();
            RangeProof::prove(key.ranges(), Width::Score, &points, &values, &transcript, rng)
                .map_err(OutcomeError::Range)?
        };
        Ok(Self { auction: intent.id(), decision, differences, link, ranges })
    }
}

fn decision(intent: &VerifiedIntent, offer: &Offer, award: Sealed) -> Decision {
    let bid = u16::try_from(offer.bid).expect("at most BIDS_MAX bids");
    let win = Win { bid, station: offer.station, price: offer.price, award };
    match intent.terms().choice {
        crate::intent::Choice::BestProvable => Decision::Best(win),
        crate::intent::Choice::OwnChoice => Decision::OwnChoice(win),
    }
}
