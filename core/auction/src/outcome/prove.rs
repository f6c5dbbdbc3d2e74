//! The buyer's side of an outcome.

use super::{
    Decision, Outcome, OutcomeError, Payment, Win,
    payment::cap_units,
    statement::{Statement, Values},
};
use crate::{
    bid::LedgeredBid,
    group::{LinearProof, Point, RangeError, RangeProof, SomeZero, Width, commit, random_scalar},
    intent::{BuyerSecret, Choice, Pricing, Terms, VerifiedIntent},
    key::EpochKey,
    release::Opening,
    score::Score,
    seal::Sealed,
};
use curve25519_dalek::scalar::Scalar;
use ohmesh_units::{PriceTick, StationId};
use rand_core::CryptoRng;
use std::fmt;
use tari_merlin::Transcript;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

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
            let score = secret.score(intent, bid.station, bid.position, price);
            let score = score.ok_or(OutcomeError::DoesNotOpen { bid: at })?;
            let within_reserve = score.0 <= secret.reserve;
            offers.push(Self { bid: at, station: bid.station, price, score, within_reserve });
        }
        offers.sort_by_key(|offer| (offer.score, offer.bid));
        Ok(offers)
    }

    /// The part of the score that is the detour.
    fn detour(&self, terms: &Terms) -> u32 {
        self.score.0 - u32::from(self.price.0) * u32::from(terms.energy.as_kwh())
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
            Some((offer, award)) => decision(intent, secret, &offers, offer, award)?,
        };
        if let Some(win) = decision.win().filter(|_| intent.terms().choice.promises_best()) {
            let best = best.ok_or(OutcomeError::NobodyEligible)?;
            if best.bid != usize::from(win.bid) {
                return Err(OutcomeError::Range(RangeError::Failed));
            }
        }
        let witness = Witness::of(intent, secret, &offers, &decision);
        Self::prove(key, intent, secret, bids, opening, decision, &witness, rng)
    }

    /// Proves whatever it is told. Callers decide what is true; a negative difference has no proof.
    #[allow(clippy::too_many_arguments, reason = "the statement, the witness and the randomness, each once")]
    fn prove(
        key: &EpochKey,
        intent: &VerifiedIntent,
        secret: &BuyerSecret,
        bids: &[LedgeredBid],
        opening: &Opening,
        decision: Decision,
        witness: &Witness,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, OutcomeError> {
        let statement = Statement::new(key, intent, bids, opening, &decision)?;
        let Witness { scores, detours, free, setter } = witness;
        let known = Values { scores, detours, reserve: secret.reserve.into(), free };
        let mut values = Zeroizing::new(Vec::new());
        for value in &*Zeroizing::new(statement.values(&known)) {
            let value = u64::try_from(*value).map_err(|_| OutcomeError::Range(RangeError::Failed))?;
            values.push((value, random_scalar(rng)));
        }
        let commitment = |(value, blinding): &(u64, Scalar)| Point::new(commit(*value, blinding, &key.h()));
        let differences: Result<Vec<Point>, _> = values.iter().map(commitment).collect();
        let differences = differences.expect("a random blinding does not give the identity");
        let (mut transcript, sum) = statement.transcript(&differences);
        let blindings: Zeroizing<Vec<Scalar>> =
            Zeroizing::new(values.iter().map(|(_, blinding)| *blinding).collect());
        let link_witness = Zeroizing::new([secret.b, statement.blinding(&sum, secret, &blindings)]);
        let relations = statement.relations(&sum, &differences);
        let link = LinearProof::prove(&mut transcript, &relations, &link_witness, rng);
        let setter = statement.prove_setter(&mut transcript, &differences, &blindings, *setter, rng);
        let ranges = if differences.is_empty() {
            RangeProof::NONE
        } else {
            let points: Vec<_> = differences.iter().map(Point::point).collect();
            RangeProof::prove(key.ranges(), Width::Score, &points, &values, &transcript, rng)
                .map_err(OutcomeError::Range)?
        };
        Ok(Self { auction: intent.id(), decision, differences, link, ranges, setter })
    }
}

impl Statement<'_> {
    /// That some commitment of [`Statement::setters`], the one at `zero`, hides 0; `None` where none need to.
    pub(super) fn prove_setter(
        &self,
        transcript: &mut Transcript,
        differences: &[Point],
        blindings: &[Scalar],
        zero: usize,
        rng: &mut impl CryptoRng,
    ) -> Option<SomeZero> {
        let (at, tie) = *self.setters().get(zero)?;
        let blinding = Zeroizing::new(blindings[at] + tie.map_or(Scalar::ZERO, |tie| blindings[tie]));
        let points = self.setter_points(differences);
        Some(SomeZero::prove(transcript, &self.h(), &points, zero, &blinding, rng))
    }
}

/// What the prover puts into the commitments. Zeroised when dropped.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub(super) struct Witness {
    /// In ledger order, as is the next.
    pub(super) scores: Vec<i64>,
    pub(super) detours: Vec<i64>,
    /// Remainder and tie of a second score.
    pub(super) free: Vec<i64>,
    /// Which of those that may have set the pay has.
    pub(super) setter: usize,
}

impl Witness {
    /// The truth about an auction.
    pub(super) fn of(
        intent: &VerifiedIntent,
        secret: &BuyerSecret,
        offers: &[Offer],
        decision: &Decision,
    ) -> Self {
        let terms = intent.terms();
        let (mut scores, mut detours) = (vec![0; offers.len()], vec![0; offers.len()]);
        for offer in offers {
            scores[offer.bid] = i64::from(offer.score.0);
            detours[offer.bid] = i64::from(offer.detour(terms));
        }
        let (mut free, mut setter) = (Vec::new(), 0);
        if let Decision::SecondScore(payment) = decision {
            let winner = usize::from(payment.bid);
            let mut rivals: Vec<i64> =
                scores.iter().enumerate().filter(|(at, _)| *at != winner).map(|(_, score)| *score).collect();
            rivals.extend([secret.reserve.into(), detours[winner] + i64::from(cap_units(terms))]);
            let second = *rivals.iter().min().expect("the reserve and the cap");
            // Of several that are the second score any does; a bid that must lie above it never is.
            setter = rivals.iter().position(|rival| *rival == second).expect("it is one of them");
            let remainder = i64::from(payment.stepped()) + detours[winner] - second;
            free = vec![remainder, i64::from(second == scores[winner])];
        }
        Self { scores, detours, free, setter }
    }
}

fn decision(
    intent: &VerifiedIntent,
    secret: &BuyerSecret,
    offers: &[Offer],
    offer: &Offer,
    award: Sealed,
) -> Result<Decision, OutcomeError> {
    let terms = intent.terms();
    let bid = u16::try_from(offer.bid).expect("at most BIDS_MAX bids");
    let win = |award| Win { bid, station: offer.station, price: offer.price, award };
    Ok(match (terms.choice, terms.pricing) {
        (Choice::OwnChoice, _) => Decision::OwnChoice(win(award)),
        (_, Pricing::FirstPrice) => Decision::Best(win(award)),
        (_, Pricing::SecondScore) => {
            let rivals = offers.iter().filter(|other| other.bid != offer.bid).map(|other| other.score.0);
            let at_cap = offer.detour(terms) + cap_units(terms);
            let second = rivals.chain([secret.reserve, at_cap]).min().expect("the reserve and the cap");
            // Negative only if this offer is not the best.
            let pay = second.checked_sub(offer.detour(terms)).and_then(Payment::steps_for);
            let steps = pay.ok_or(OutcomeError::Range(RangeError::Failed))?;
            Decision::SecondScore(Payment { bid, station: offer.station, steps, award })
        }
    })
}
