//! Fourth message: the buyer says who won, at what price, and proves it without opening the losing bids.

mod payment;
mod prove;
mod statement;

pub use payment::Payment;
pub use prove::Offer;

use crate::{
    BIDS_MAX,
    award::SEALED_BYTES,
    bid::LedgeredBid,
    group::{LinearProof, Point, ProofFailed, RangeBatch, RangeError, RangeProof, SomeZero, Width},
    intent::{Terms, VerifiedIntent},
    key::EpochKey,
    release::Opening,
    seal::Sealed,
    wire,
};
use ohmesh_units::{AuctionId, Canonical, Domain, Hash, Price, PriceTick, StationId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use statement::Statement;
use tari_merlin::Transcript;

/// Why an outcome is refused, or cannot be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutcomeError {
    /// The outcome or the opening is of another auction.
    #[error("this is of auction {found}, not {expected}")]
    OtherAuction {
        /// The auction it was handed to.
        expected: AuctionId,
        /// The auction it names.
        found: AuctionId,
    },
    /// The key is not the one the auction's intent names.
    #[error("auction {0} is not under this key")]
    OtherKey(AuctionId),
    /// More bids than an auction may have, or an opening of another number of bids.
    #[error("{bids} bids and {opened} openings; they must agree and be at most {BIDS_MAX}")]
    BidCount {
        /// Ledgered bids.
        bids: usize,
        /// Points of the opening.
        opened: usize,
    },
    /// A best bid in an auction where the buyer chooses, or a choice in one that promised the best.
    #[error("the intent promised another way of choosing the winner")]
    ChoiceRule,
    /// A first price in an auction that promised the second score, or the reverse.
    #[error("the intent promised another way of pricing")]
    PricingRule,
    /// The winner is none of the ledgered bids, or belongs to another station.
    #[error("bid {bid} of station {station} is not on the ledger")]
    NoSuchBid {
        /// Position in ledger order.
        bid: u16,
        /// The station that is said to own it.
        station: StationId,
    },
    /// One commitment for each comparison is needed.
    #[error("{found} commitments to differences, {expected} are needed: a bid was left out or added")]
    DifferenceCount {
        /// Comparisons.
        expected: usize,
        /// Commitments that were given.
        found: usize,
    },
    /// An award has one length.
    #[error("the sealed award has {found} bytes, not {SEALED_BYTES}")]
    AwardLength {
        /// Bytes that were given.
        found: usize,
    },
    /// The key that an award is sealed under is none that sealing makes: its winner could not show that it cannot read it.
    #[error("the award is sealed under no proper key")]
    AwardKey,
    /// The prices, the position or the commitments are not those of the ledger, or the prover is not the buyer.
    #[error("the outcome does not follow from the ledgered bids: {0}")]
    Link(#[from] ProofFailed),
    /// No other bid's score, not the reserve and not the cap is the second score that the pay follows from.
    #[error("nobody's score sets the pay: {0}")]
    Setter(ProofFailed),
    /// Some difference is negative: the winner is not the best within the reserve, or somebody was eligible, or the
    /// pay is not the second score rounded up.
    #[error("the outcome is not the best: {0}")]
    Range(RangeError),
    /// A bid hides no price: its proofs cannot have been checked.
    #[error("bid {bid} does not open")]
    DoesNotOpen {
        /// Position in ledger order.
        bid: usize,
    },
    /// Nobody is within the reserve, so nobody can win.
    #[error("no bid is within the reserve")]
    NobodyEligible,
    /// Somebody is within the reserve, so "no eligible bid" cannot be proven.
    #[error("bid {bid} is within the reserve")]
    SomebodyEligible {
        /// Position in ledger order of the best.
        bid: usize,
    },
}

/// What the buyer says. The order of variants is the wire format: only append.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Decision {
    /// This bid has the least score, ties to the earlier in the ledger, and is within the reserve: proven.
    Best(Win),
    /// The buyer chose this bid; that the price is the bid's is proven, nothing else.
    OwnChoice(Win),
    /// Every bid scores above the reserve: proven.
    NoEligibleBid,
    /// This bid is the best as above, and is paid what the second score allows: both proven, its own price is not
    /// shown.
    SecondScore(Payment),
}

impl Decision {
    /// The winner, if there is one.
    pub fn win(&self) -> Option<Winner<'_>> {
        match self {
            Self::Best(Win { bid, station, price, award })
            | Self::OwnChoice(Win { bid, station, price, award }) => {
                Some(Winner { bid: *bid, station: *station, price: Some(*price), award })
            }
            Self::SecondScore(Payment { bid, station, award, .. }) => {
                Some(Winner { bid: *bid, station: *station, price: None, award })
            }
            Self::NoEligibleBid => None,
        }
    }

    /// The price to pay for each kWh, if somebody won.
    pub fn price(&self, terms: &Terms) -> Option<Price> {
        match self {
            Self::Best(win) | Self::OwnChoice(win) => Some(terms.tick.price(win.price)),
            Self::SecondScore(payment) => Some(payment.price(terms)),
            Self::NoEligibleBid => None,
        }
    }
}

/// Who won, by whatever rule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Winner<'a> {
    /// Position in ledger order.
    pub bid: u16,
    /// Whose bid it is.
    pub station: StationId,
    /// The price it hides, in ticks of the intent; `None` where that stays sealed.
    pub price: Option<PriceTick>,
    /// For the winner's eyes.
    pub award: &'a Sealed,
}

/// The winning bid, opened.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Win {
    /// Position in ledger order.
    pub bid: u16,
    /// Whose bid it is.
    pub station: StationId,
    /// The price it hides, in ticks of the intent.
    pub price: PriceTick,
    /// For the winner's eyes; the proof covers it, so only the buyer can have put it there.
    pub award: Sealed,
}

/// The outcome as it travels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// The auction.
    pub auction: AuctionId,
    /// What the buyer says.
    pub decision: Decision,
    /// Commitments to the differences of scores that must not be negative, see the crate's docs.
    differences: Vec<Point>,
    link: LinearProof<2>,
    ranges: RangeProof,
    /// That some score is the second: if and only if the decision is by second score.
    setter: Option<SomeZero>,
}

impl Canonical for Outcome {
    const NAME: &'static str = "outcome";
    const MAX_BYTES: usize = 1
        + 32
        + (1 + 3 + 32 + 3 + 32 + 2 + SEALED_BYTES)
        + (2 + 32 * (BIDS_MAX + 6))
        + 96
        + (3 + 769 * 17)
        + (2 + SomeZero::BRANCH_BYTES * (BIDS_MAX + 1));
}

/// The fields in order; the last only if the decision is by second score.
impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { auction, decision, differences, link, ranges, setter } = self;
        wire::serialize(serializer, &(auction, decision, differences, link, ranges), setter.as_ref())
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        type Head = (AuctionId, Decision, Vec<Point>, LinearProof<2>, RangeProof);
        let is_second = |(_, decision, ..): &Head| matches!(decision, Decision::SecondScore(_));
        let ((auction, decision, differences, link, ranges), setter) =
            wire::deserialize(deserializer, is_second)?;
        Ok(Self { auction, decision, differences, link, ranges, setter })
    }
}

/// What an accepted outcome means for the ledger.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// A bid won.
    Won {
        /// Position in ledger order.
        bid: usize,
        /// Whose bid it is.
        station: StationId,
        /// The price to pay for each kWh, exactly; by second score see [`Payment::price`].
        price: Price,
        /// Whether it is proven to be the best; otherwise the buyer chose it.
        proven_best: bool,
    },
    /// Nobody bid within the reserve.
    NoEligibleBid,
}

impl Outcome {
    /// The hash by which the winner accepts.
    pub fn hash(&self) -> Hash {
        const OUTCOME: Domain = Domain::new("ohmesh/1 outcome");
        OUTCOME.hash(&[&self.encode()])
    }

    /// Bytes of the proof: commitments, link and range proofs, and that of the second score.
    pub fn proof_bytes(&self) -> usize {
        let setter = self.setter.as_ref().map_or(0, |setter| SomeZero::BRANCH_BYTES * setter.branches());
        32 * self.differences.len() + LinearProof::<2>::BYTES + self.ranges.len() + setter
    }

    /// Checks the outcome against all ledgered bids of the auction, in ledger order, and their opening.
    pub fn verify(
        &self,
        key: &EpochKey,
        intent: &VerifiedIntent,
        bids: &[LedgeredBid],
        opening: &Opening,
    ) -> Result<Verdict, OutcomeError> {
        let claim = Claim { outcome: self, key, intent, bids, opening };
        let (verdict, transcript) = claim.check_link()?;
        claim.check_ranges(&transcript)?;
        Ok(verdict)
    }
}

/// One outcome to check among many.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The outcome.
    pub outcome: &'a Outcome,
    /// The key of the auction's epoch.
    pub key: &'a EpochKey,
    /// The auction's intent.
    pub intent: &'a VerifiedIntent,
    /// All ledgered bids, in ledger order.
    pub bids: &'a [LedgeredBid],
    /// Their opening.
    pub opening: &'a Opening,
}

impl Claim<'_> {
    /// All but the range proofs, which may join a batch under the transcript that is answered.
    fn check_link(&self) -> Result<(Verdict, Transcript), OutcomeError> {
        let Self { outcome, intent, .. } = self;
        if outcome.auction != intent.id() {
            let (expected, found) = (intent.id(), outcome.auction);
            return Err(OutcomeError::OtherAuction { expected, found });
        }
        let statement = Statement::new(self.key, intent, self.bids, self.opening, &outcome.decision)?;
        if let Some(win) = outcome.decision.win()
            && win.award.ciphertext_len() != SEALED_BYTES
        {
            return Err(OutcomeError::AwardLength { found: win.award.ciphertext_len() });
        }
        if outcome.decision.win().is_some_and(|win| !win.award.is_encapsulated()) {
            return Err(OutcomeError::AwardKey);
        }
        let (expected, found) = (statement.count(), outcome.differences.len());
        if expected != found {
            return Err(OutcomeError::DifferenceCount { expected, found });
        }
        let (mut transcript, sum) = statement.transcript(&outcome.differences);
        outcome.link.verify(&mut transcript, &statement.relations(&sum, &outcome.differences))?;
        if let Some(setter) = &outcome.setter {
            let points = statement.setter_points(&outcome.differences);
            let verified = setter.verify(&mut transcript, &self.key.h(), &points);
            verified.map_err(OutcomeError::Setter)?;
        }
        Ok((self.verdict(), transcript))
    }

    fn check_ranges(&self, transcript: &Transcript) -> Result<(), OutcomeError> {
        let mut batch = RangeBatch::new(self.key.ranges(), Width::Score);
        let points: Vec<_> = self.outcome.differences.iter().map(Point::point).collect();
        let added = batch.add(&points, &self.outcome.ranges, transcript);
        added.and_then(|()| batch.verify()).map_err(OutcomeError::Range)
    }

    fn verdict(&self) -> Verdict {
        let (decision, terms) = (&self.outcome.decision, self.intent.terms());
        match decision.win().zip(decision.price(terms)) {
            Some((win, price)) => Verdict::Won {
                bid: win.bid.into(),
                station: win.station,
                price,
                proven_best: terms.choice.promises_best(),
            },
            None => Verdict::NoEligibleBid,
        }
    }
}

/// Checks many outcomes, the range proofs of each key together; answers in order, for each what [`Outcome::verify`]
/// would. If a range proof is wrong, those of its key are checked one by one to find it.
pub fn verify_batch(claims: &[Claim<'_>]) -> Vec<Result<Verdict, OutcomeError>> {
    let linked: Vec<Result<(Verdict, Transcript), OutcomeError>> =
        claims.iter().map(Claim::check_link).collect();
    let mut sound = vec![false; claims.len()];
    for (first, claim) in claims.iter().enumerate() {
        if claims[..first].iter().any(|earlier| earlier.key.h() == claim.key.h()) {
            continue;
        }
        let group = || (first..claims.len()).filter(|at| claims[*at].key.h() == claim.key.h());
        let mut batch = RangeBatch::new(claim.key.ranges(), Width::Score);
        let mut add = |at: &usize| {
            let Ok((_, transcript)) = &linked[*at] else { return false };
            let Outcome { differences, ranges, .. } = claims[*at].outcome;
            let points: Vec<_> = differences.iter().map(Point::point).collect();
            batch.add(&points, ranges, transcript).is_ok()
        };
        let added: Vec<usize> = group().filter(|at| add(at)).collect();
        if batch.verify().is_ok() {
            added.into_iter().for_each(|at| sound[at] = true);
        }
    }
    linked
        .into_iter()
        .enumerate()
        .map(|(at, linked)| {
            let (verdict, transcript) = linked?;
            if !sound[at] {
                claims[at].check_ranges(&transcript)?;
            }
            Ok(verdict)
        })
        .collect()
}

#[cfg(test)]
mod tests;
