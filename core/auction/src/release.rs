//! Third message: after the deadline each validator releases its part of the lock on every bid. A threshold of shares
//! and the buyer's `b` together open; either alone does not.

use crate::{
    BIDS_MAX,
    bid::LedgeredBid,
    group::{G, LinearProof, Point, Relation, challenge, lagrange},
    intent::VerifiedIntent,
    key::{EpochKey, KeyShares, SHARES_MAX, ValidatorIndex},
};
use curve25519_dalek::{ristretto::RistrettoPoint, scalar::Scalar, traits::VartimeMultiscalarMul};
use ohmesh_units::{AuctionId, Canonical};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use tari_merlin::Transcript;

/// Why a release, or an opening from releases, is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseError {
    /// The release names another auction.
    #[error("the release of validator {validator} is for auction {found}, not {expected}")]
    OtherAuction {
        /// Who released.
        validator: ValidatorIndex,
        /// The auction it was handed to.
        expected: AuctionId,
        /// The auction it names.
        found: AuctionId,
    },
    /// The key or the shares are not those of the epoch the auction's intent names.
    #[error("auction {0} is not under this key")]
    OtherKey(AuctionId),
    /// There is nothing to release.
    #[error("auction {0} has no bids")]
    NoBids(AuctionId),
    /// More bids than an auction may have.
    #[error("auction {auction} has {found} bids, {BIDS_MAX} is the most")]
    TooManyBids {
        /// The auction.
        auction: AuctionId,
        /// Bids that were given.
        found: usize,
    },
    /// Not one point for each bid, for each share of the validator.
    #[error("the release of validator {0} has the wrong shape")]
    Shape(ValidatorIndex),
    /// The validator did not use its registered share: it is at fault, and the release counts for nothing.
    #[error("validator {validator} released wrong values for share {share}")]
    WrongShare {
        /// Who released.
        validator: ValidatorIndex,
        /// The share.
        share: u8,
    },
    /// Fewer shares than the threshold.
    #[error("{found} shares released, {threshold} are needed")]
    TooFewShares {
        /// Shares that were released.
        found: usize,
        /// Shares that are needed.
        threshold: usize,
    },
}

/// One validator's release: for each of its shares, ascending, `W_ij = t_j * D_i` for every bid in ledger order and one
/// proof for all of them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Release {
    /// The auction.
    pub auction: AuctionId,
    /// Who releases.
    pub validator: ValidatorIndex,
    shares: Vec<ReleasedShare>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct ReleasedShare {
    points: Vec<Point>,
    proof: LinearProof<1>,
}

impl Canonical for Release {
    const NAME: &'static str = "release";
    const MAX_BYTES: usize = 1 + 32 + 3 + 1 + SHARES_MAX * (2 + 32 * BIDS_MAX + 64);
}

impl Release {
    /// The release of one validator. Call it only when the deadline is over ([`crate::intent::Terms::is_due`]) and with
    /// all ledgered bids: [`crate::role::Validator`] sees to that.
    pub fn create(
        shares: &KeyShares,
        key: &EpochKey,
        intent: &VerifiedIntent,
        bids: &[LedgeredBid],
        rng: &mut impl CryptoRng,
    ) -> Result<Self, ReleaseError> {
        check(key, intent, bids)?;
        if !shares.belong_to(key) {
            return Err(ReleaseError::OtherKey(intent.id()));
        }
        let validator = shares.validator();
        let released = shares.iter().map(|share| {
            let point = |bid: &LedgeredBid| Point::new(*share.secret * bid.d.point());
            let points: Result<Vec<Point>, _> = bids.iter().map(point).collect();
            let points = points.expect("neither a share nor a D is zero");
            let (mut transcript, relations) =
                statement(key, intent, bids, validator, share.index, &share.verifying(), &points);
            let proof = LinearProof::prove(&mut transcript, &relations, &[*share.secret], rng);
            ReleasedShare { points, proof }
        });
        let shares = released.collect();
        Ok(Self { auction: intent.id(), validator, shares })
    }

    /// Checks the release against the ledgered bids; names the validator and the share if it is wrong.
    pub fn verify(
        &self,
        key: &EpochKey,
        intent: &VerifiedIntent,
        bids: &[LedgeredBid],
    ) -> Result<VerifiedRelease, ReleaseError> {
        check(key, intent, bids)?;
        let validator = self.validator;
        if self.auction != intent.id() {
            let (expected, found) = (intent.id(), self.auction);
            return Err(ReleaseError::OtherAuction { validator, expected, found });
        }
        let indices: Vec<u8> = key.holding().indices_of(validator).collect();
        let fits = self.shares.iter().all(|share| share.points.len() == bids.len());
        if indices.is_empty() || indices.len() != self.shares.len() || !fits {
            return Err(ReleaseError::Shape(validator));
        }
        let mut points = BTreeMap::new();
        for (index, share) in indices.into_iter().zip(&self.shares) {
            let verifying = key.verifying_share(index).expect("the index is one of the key's");
            let (mut transcript, relations) =
                statement(key, intent, bids, validator, index, &verifying, &share.points);
            let proven = share.proof.verify(&mut transcript, &relations);
            proven.map_err(|_| ReleaseError::WrongShare { validator, share: index })?;
            points.insert(index, share.points.clone());
        }
        Ok(VerifiedRelease { auction: self.auction, points })
    }
}

/// A release whose proofs held: what the ledger keeps until a threshold of shares is there.
///
/// Decoding one checks its form only: decode what your own ledger state holds, not what a stranger sends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct VerifiedRelease {
    auction: AuctionId,
    points: BTreeMap<u8, Vec<Point>>,
}

impl Canonical for VerifiedRelease {
    const NAME: &'static str = "verified release";
    const MAX_BYTES: usize = 1 + 32 + 1 + SHARES_MAX * (1 + 2 + 32 * BIDS_MAX);
}

impl VerifiedRelease {
    /// How many shares this releases.
    pub fn shares(&self) -> usize {
        self.points.len()
    }
}

/// `W_i = t * D_i` for every bid in ledger order: all the committee has to give.
///
/// Decoding one checks its form only: decode what your own ledger state holds, not what a stranger sends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Opening {
    auction: AuctionId,
    points: Vec<Point>,
}

impl Canonical for Opening {
    const NAME: &'static str = "opening";
    const MAX_BYTES: usize = 1 + 32 + 2 + 32 * BIDS_MAX;
}

impl Opening {
    /// The opening from the releases of one auction. Which threshold of shares is there makes no difference.
    /// Releases are of `bids`, in the same order, as [`Release::verify`] checked. An auction without bids needs none.
    pub fn combine(
        key: &EpochKey,
        intent: &VerifiedIntent,
        bids: &[LedgeredBid],
        releases: &[VerifiedRelease],
    ) -> Result<Self, ReleaseError> {
        let auction = intent.id();
        if bids.is_empty() {
            return Ok(Self { auction, points: Vec::new() });
        }
        check(key, intent, bids)?;
        let of_this = releases.iter().filter(|release| release.auction == auction);
        let shares: BTreeMap<u8, &Vec<Point>> = of_this
            .flat_map(|release| &release.points)
            .filter(|(_, points)| points.len() == bids.len())
            .map(|(index, points)| (*index, points))
            .collect();
        let threshold = key.holding().threshold();
        if shares.len() < threshold {
            return Err(ReleaseError::TooFewShares { found: shares.len(), threshold });
        }
        let (indices, shares): (Vec<u8>, Vec<&Vec<Point>>) = shares.into_iter().take(threshold).unzip();
        let coefficients = lagrange(&indices, 0);
        let combined = (0..bids.len()).map(|at| {
            let points = shares.iter().map(|share| share[at].point());
            Point::new(RistrettoPoint::vartime_multiscalar_mul(&coefficients, points))
        });
        let points = combined.collect::<Result<_, _>>().expect("neither t nor a D is zero");
        Ok(Self { auction, points })
    }

    /// The opening of an auction without a committee, where `t = 1` and so `W_i = D_i`.
    pub fn in_the_open(
        key: &EpochKey,
        intent: &VerifiedIntent,
        bids: &[LedgeredBid],
    ) -> Result<Self, ReleaseError> {
        let auction = intent.id();
        if !key.is_in_the_open() || !intent.is_under(key) {
            return Err(ReleaseError::OtherKey(auction));
        }
        if bids.len() > BIDS_MAX {
            return Err(ReleaseError::TooManyBids { auction, found: bids.len() });
        }
        Ok(Self { auction, points: bids.iter().map(|bid| bid.d).collect() })
    }

    /// The opening of the bids that are left when the one at `bid` no longer counts, because its winner did not come. The
    /// others need no new release.
    #[must_use]
    pub fn without(mut self, bid: usize) -> Self {
        if bid < self.points.len() {
            self.points.remove(bid);
        }
        self
    }

    /// The auction.
    pub fn auction(&self) -> AuctionId {
        self.auction
    }

    pub(crate) fn points(&self) -> &[Point] {
        &self.points
    }
}

fn check(key: &EpochKey, intent: &VerifiedIntent, bids: &[LedgeredBid]) -> Result<(), ReleaseError> {
    let auction = intent.id();
    if !intent.is_under(key) {
        return Err(ReleaseError::OtherKey(auction));
    }
    match bids.len() {
        0 => Err(ReleaseError::NoBids(auction)),
        found if found > BIDS_MAX => Err(ReleaseError::TooManyBids { auction, found }),
        _ => Ok(()),
    }
}

/// Over (t_j): `T_j = t_j*G` and, with powers of a challenge drawn after all points are in,
/// `sum rho^i W_ij = t_j * sum rho^i D_i`.
fn statement(
    key: &EpochKey,
    intent: &VerifiedIntent,
    bids: &[LedgeredBid],
    validator: ValidatorIndex,
    share: u8,
    verifying: &Point,
    points: &[Point],
) -> (Transcript, [Relation; 2]) {
    let [high, low] = validator.0.to_be_bytes();
    let mut transcript = intent.transcript(key, b"release", &[high, low, share]);
    transcript.append_message(b"T", &verifying.to_bytes());
    transcript.append_u64(b"bids", bids.len() as u64);
    for (bid, point) in bids.iter().zip(points) {
        transcript.append_message(b"D", &bid.d.to_bytes());
        transcript.append_message(b"W", &point.to_bytes());
    }
    let rho = challenge(&mut transcript, b"rho");
    let weights: Vec<Scalar> =
        std::iter::successors(Some(rho), |power| Some(power * rho)).take(bids.len()).collect();
    let locks = RistrettoPoint::vartime_multiscalar_mul(&weights, bids.iter().map(|bid| bid.d.point()));
    let released = RistrettoPoint::vartime_multiscalar_mul(&weights, points.iter().map(Point::point));
    (transcript, [Relation::new(verifying.point(), [(0, G)]), Relation::new(released, [(0, locks)])])
}

#[cfg(test)]
mod tests;
