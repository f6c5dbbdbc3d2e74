//! Second message: one station's sealed price. After it the bidder may go offline.

use crate::{
    BIDS_MAX,
    group::{
        G, LinearProof, Point, ProofFailed, RangeBatch, RangeError, RangeProof, Relation, Width, commit,
        random_scalar,
    },
    intent::VerifiedIntent,
    key::EpochKey,
};
use curve25519_dalek::{ristretto::RistrettoPoint, scalar::Scalar};
use ohmesh_units::{AuctionId, Canonical, InCell, PriceTick, StationId};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use tari_merlin::Transcript;
use zeroize::Zeroizing;

/// Why a bid is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BidError {
    /// The bid names another auction.
    #[error("station {station} bids in auction {found}, not in {expected}")]
    OtherAuction {
        /// Who bids.
        station: StationId,
        /// The auction it was handed to.
        expected: AuctionId,
        /// The auction it names.
        found: AuctionId,
    },
    /// The key is not the one the auction's intent names.
    #[error("auction {0} is not under this key")]
    OtherKey(AuctionId),
    /// The station is too far from the area.
    #[error("station {station} at ({}, {}) is too far from the area to bid", .position.x, .position.y)]
    NotEligible {
        /// Who bids.
        station: StationId,
        /// Where it stands in the area's frame.
        position: InCell,
    },
    /// C and D do not belong together, or the bid was made by or for somebody else: copied, replayed or changed.
    #[error("the bid of station {station} is not its own, not for this auction, or inconsistent")]
    Link {
        /// Who bids.
        station: StationId,
    },
    /// The price is not proven to be within the cap.
    #[error("the price of station {station}: {error}")]
    Range {
        /// Who bids.
        station: StationId,
        /// What is wrong.
        error: RangeError,
    },
    /// The auction has as many bids as it may.
    #[error("auction {0} has {BIDS_MAX} bids, which is the most")]
    Full(AuctionId),
}

/// A sealed price: `C = v*G + r*H` and `D = r*pk`, with the proof that both use the same `r`, that the bidder knows
/// `v` and `r`, and that `v` has 16 bits. All of it is bound to the auction and to the station.
///
/// The ledger checks besides: that the sender owns the station, that the station meets the intent's filters, has not
/// bid yet, and has paid its deposit.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Bid {
    /// The auction.
    pub auction: AuctionId,
    /// Who bids.
    pub station: StationId,
    c: Point,
    d: Point,
    link: LinearProof<2>,
    range: RangeProof,
}

impl Canonical for Bid {
    const NAME: &'static str = "bid";
    const MAX_BYTES: usize = 1 + 64 + Self::CRYPTO_BYTES;
}

impl Bid {
    /// Bytes of a bid besides version, auction and station: two points, the proof of the link, the range proof with
    /// its length.
    pub const CRYPTO_BYTES: usize = 64 + LinearProof::<2>::BYTES + 2 + 449;

    /// Seals `price` for `station`.
    pub fn create(
        intent: &VerifiedIntent,
        key: &EpochKey,
        station: StationId,
        price: PriceTick,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, BidError> {
        if !intent.is_under(key) {
            return Err(BidError::OtherKey(intent.id()));
        }
        let r = Zeroizing::new(random_scalar(rng));
        let point = |point| Point::new(point).expect("a random blinding does not give the identity");
        let c = point(commit(price.0.into(), &r, &key.h()));
        let d = point(*r * intent.commitments().pk.point());
        let mut transcript = transcript(intent, key, station, &c, &d);
        let witness = Zeroizing::new([Scalar::from(price.0), *r]);
        let link = LinearProof::prove(&mut transcript, &relations(intent, key, &c, &d), &witness, rng);
        let values = Zeroizing::new([(price.0.into(), *r)]);
        let range = RangeProof::prove(key.ranges(), Width::Price, &[c.point()], &*values, &transcript, rng)
            .map_err(|error| BidError::Range { station, error })?;
        Ok(Self { auction: intent.id(), station, c, d, link, range })
    }

    /// Checks one bid of a station that stands at `position` in the frame of the intent's area.
    pub fn verify(
        &self,
        intent: &VerifiedIntent,
        key: &EpochKey,
        position: InCell,
    ) -> Result<LedgeredBid, BidError> {
        let (ledgered, transcript) = self.check_link(intent, key, position)?;
        self.check_range(key, &transcript)?;
        Ok(ledgered)
    }

    /// All but the range proof, which may join a batch under the transcript that is answered.
    fn check_link(
        &self,
        intent: &VerifiedIntent,
        key: &EpochKey,
        position: InCell,
    ) -> Result<(LedgeredBid, Transcript), BidError> {
        let station = self.station;
        if self.auction != intent.id() {
            let (expected, found) = (intent.id(), self.auction);
            return Err(BidError::OtherAuction { station, expected, found });
        }
        if !intent.is_under(key) {
            return Err(BidError::OtherKey(intent.id()));
        }
        if !position.is_eligible() {
            return Err(BidError::NotEligible { station, position });
        }
        let mut transcript = transcript(intent, key, station, &self.c, &self.d);
        self.link
            .verify(&mut transcript, &relations(intent, key, &self.c, &self.d))
            .map_err(|ProofFailed| BidError::Link { station })?;
        Ok((LedgeredBid { station, position, c: self.c, d: self.d }, transcript))
    }

    fn check_range(&self, key: &EpochKey, transcript: &Transcript) -> Result<(), BidError> {
        let mut batch = RangeBatch::new(key.ranges(), Width::Price);
        let checked = batch.add(&[self.c.point()], &self.range, transcript).and_then(|()| batch.verify());
        checked.map_err(|error| BidError::Range { station: self.station, error })
    }
}

/// A bid that was checked: what the ledger keeps, in ledger order, and what releases and outcomes are about.
///
/// Decoding one checks its form only: decode what your own ledger state holds, not what a stranger sends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct LedgeredBid {
    /// Who bids.
    pub station: StationId,
    /// Where the station stands in the frame of the intent's area; eligible.
    pub position: InCell,
    pub(crate) c: Point,
    pub(crate) d: Point,
}

impl Canonical for LedgeredBid {
    const NAME: &'static str = "ledgered bid";
    const MAX_BYTES: usize = 1 + 32 + 10 + 64;
}

/// One bid to check among many, of one auction or of several.
#[derive(Clone, Copy, Debug)]
pub struct BidCheck<'a> {
    /// The bid.
    pub bid: &'a Bid,
    /// The intent of the auction it was handed to.
    pub intent: &'a VerifiedIntent,
    /// The key of that auction's epoch.
    pub key: &'a EpochKey,
    /// Where the station stands in the frame of the intent's area.
    pub position: InCell,
}

/// Checks many bids, the range proofs of each key together; answers in order, for each what [`Bid::verify`] would.
///
/// If a range proof is wrong, those of its key are checked one by one to find it, which costs what checking them
/// alone would have.
pub fn verify_batch(checks: &[BidCheck<'_>]) -> Vec<Result<LedgeredBid, BidError>> {
    let linked: Vec<Result<(LedgeredBid, Transcript), BidError>> =
        checks.iter().map(|check| check.bid.check_link(check.intent, check.key, check.position)).collect();
    let mut sound = vec![false; checks.len()];
    for (first, check) in checks.iter().enumerate() {
        if checks[..first].iter().any(|earlier| earlier.key.h() == check.key.h()) {
            continue;
        }
        let group = || (first..checks.len()).filter(|at| checks[*at].key.h() == check.key.h());
        let mut batch = RangeBatch::new(check.key.ranges(), Width::Price);
        let mut add = |at: &usize| match &linked[*at] {
            Ok((bid, transcript)) => batch.add(&[bid.c.point()], &checks[*at].bid.range, transcript).is_ok(),
            Err(_) => false,
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
            let (bid, transcript) = linked?;
            if !sound[at] {
                checks[at].bid.check_range(checks[at].key, &transcript)?;
            }
            Ok(bid)
        })
        .collect()
}

fn transcript(
    intent: &VerifiedIntent,
    key: &EpochKey,
    station: StationId,
    c: &Point,
    d: &Point,
) -> Transcript {
    let mut transcript = intent.transcript(key, b"bid", &station.0);
    transcript.append_message(b"C", &c.to_bytes());
    transcript.append_message(b"D", &d.to_bytes());
    transcript
}

/// Over (v, r): `C = v*G + r*H`, `D = r*pk`.
fn relations(intent: &VerifiedIntent, key: &EpochKey, c: &Point, d: &Point) -> [Relation; 2] {
    let (h, pk): (RistrettoPoint, RistrettoPoint) = (key.h().point(), intent.commitments().pk.point());
    [Relation::new(c.point(), [(0, G), (1, h)]), Relation::new(d.point(), [(1, pk)])]
}

#[cfg(test)]
mod tests;
