//! The committee's key of one epoch: public half, secret shares, shares by stake.
//!
//! `t` is the epoch's secret, shared so that more than two thirds of the shares recover any multiple `t*D`; nobody
//! ever holds `t` (but a validator that is alone). Public are the verifying shares `T_j = t_j*G` and the blinding
//! shares `A_j = t_j*A`, each pair with a proof that it hides one `t_j`. The blinding base of all commitments of the
//! epoch is `H = sum of lambda_j * A_j = t*A`. It is *not* the public key `t*G` of the generation: whoever knew `t`
//! would know `log_G(t*G)` and could open a commitment to any price; `log_G(t*A)` nobody knows.
//!
//! The key signs nothing, ever.

pub mod generation;
mod holding;
mod shares;

pub use holding::{SHARES_MAX, Shareholding, ValidatorIndex};
pub use shares::{KeyShares, KeySharesError};

pub(crate) use shares::Share;

use crate::group::{G, LinearProof, Point, Ranges, Relation, base_a, lagrange, random_scalar};
use curve25519_dalek::{ristretto::RistrettoPoint, scalar::Scalar, traits::VartimeMultiscalarMul};
use ohmesh_units::{Canonical, PublicKey, ZoneId};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use std::{fmt, sync::Arc};
use tari_merlin::Transcript;

/// Why a key is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Nobody has any stake.
    #[error("no validator has stake")]
    NoStake,
    /// Validators must be listed once each, in ascending order.
    #[error("validator {0} is listed twice or out of order")]
    Order(ValidatorIndex),
    /// More shares than [`SHARES_MAX`], or none.
    #[error("{found} shares, 1 to {SHARES_MAX} are allowed")]
    ShareCount {
        /// Shares that were given.
        found: usize,
    },
    /// One validator cannot hold all of several shares: alone, it holds one.
    #[error("validator {0} holds all {1} shares; alone it must hold one")]
    OneOwner(ValidatorIndex, usize),
    /// The verifying shares are not those of one secret with this threshold.
    #[error("verifying share {index} is not on the polynomial of the others")]
    VerifyingShare {
        /// The share.
        index: u8,
    },
    /// A validator's message speaks of another zone or epoch, or not of exactly its own shares.
    #[error("the blinding shares of validator {0} are not for this key")]
    NotForThisKey(ValidatorIndex),
    /// A blinding share does not hide the same secret as the verifying share: its validator is at fault.
    #[error("validator {validator} published a wrong blinding share {index}")]
    BlindingShare {
        /// Who published it.
        validator: ValidatorIndex,
        /// The share.
        index: u8,
    },
    /// Too few blinding shares to know `H`.
    #[error("{found} blinding shares, {threshold} are needed")]
    TooFewBlindingShares {
        /// Shares that were published.
        found: usize,
        /// Shares that are needed.
        threshold: usize,
    },
}

/// One share's `A_j = t_j*A` with the proof that `log_A A_j = log_G T_j`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BlindingShare {
    point: Point,
    proof: LinearProof<1>,
}

impl BlindingShare {
    fn new(zone: &ZoneId, epoch: u64, share: &Share, rng: &mut impl CryptoRng) -> Self {
        let point = Point::new(*share.secret * base_a().point()).expect("a share is not zero");
        let verifying = share.verifying();
        let mut transcript = Self::transcript(zone, epoch, share.index, &verifying, &point);
        let relations = Self::relations(&verifying, &point);
        let proof = LinearProof::prove(&mut transcript, &relations, &[*share.secret], rng);
        Self { point, proof }
    }

    fn is_valid(&self, zone: &ZoneId, epoch: u64, index: u8, verifying: &Point) -> bool {
        let mut transcript = Self::transcript(zone, epoch, index, verifying, &self.point);
        self.proof.verify(&mut transcript, &Self::relations(verifying, &self.point)).is_ok()
    }

    fn relations(verifying: &Point, blinding: &Point) -> [Relation; 2] {
        let a = base_a().point();
        [Relation::new(verifying.point(), [(0, G)]), Relation::new(blinding.point(), [(0, a)])]
    }

    fn transcript(zone: &ZoneId, epoch: u64, index: u8, verifying: &Point, blinding: &Point) -> Transcript {
        let mut transcript = Transcript::new(PROTOCOL);
        transcript.append_message(b"proof", b"blinding share");
        transcript.append_message(b"zone", &zone.0);
        transcript.append_u64(b"epoch", epoch);
        transcript.append_u64(b"share", index.into());
        transcript.append_message(b"T", &verifying.to_bytes());
        transcript.append_message(b"A", &blinding.to_bytes());
        transcript
    }
}

/// What each validator publishes after the generation: the blinding share of each share it holds, in ascending order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Blinding {
    /// The zone of the key.
    pub zone: ZoneId,
    /// The epoch of the key.
    pub epoch: u64,
    /// Whose shares these are.
    pub validator: ValidatorIndex,
    shares: Vec<BlindingShare>,
}

impl Canonical for Blinding {
    const NAME: &'static str = "auction blinding shares";
    const MAX_BYTES: usize = 1 + 32 + 10 + 3 + 1 + SHARES_MAX * 96;
}

impl Blinding {
    /// The message of one validator.
    pub fn new(shares: &KeyShares, rng: &mut impl CryptoRng) -> Self {
        let (zone, epoch, validator) = (shares.zone(), shares.epoch(), shares.validator());
        let shares = shares.iter().map(|share| BlindingShare::new(&zone, epoch, share, rng)).collect();
        Self { zone, epoch, validator, shares }
    }

    /// Checks the message against the verifying shares of all shares, in order; names the validator if it is wrong.
    pub fn verify(
        &self,
        zone: &ZoneId,
        epoch: u64,
        holding: &Shareholding,
        verifying: &[Point],
    ) -> Result<(), KeyError> {
        let indices: Vec<u8> = holding.indices_of(self.validator).collect();
        let named = self.zone == *zone && self.epoch == epoch && !indices.is_empty();
        if !named || indices.len() != self.shares.len() || verifying.len() != holding.shares() {
            return Err(KeyError::NotForThisKey(self.validator));
        }
        for (index, share) in indices.into_iter().zip(&self.shares) {
            if !share.is_valid(zone, epoch, index, &verifying[usize::from(index) - 1]) {
                return Err(KeyError::BlindingShare { validator: self.validator, index });
            }
        }
        Ok(())
    }
}

/// The public key of one epoch. One that exists has been checked: its verifying shares are those of one secret, each
/// blinding share is proven, and `H` follows from them.
///
/// Clones share the generators of the range proofs, which are built once for an `H`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct EpochKey(Arc<Checked>);

struct Checked {
    parts: Parts,
    h: Point,
    ranges: Ranges,
}

/// What travels. `blinding` has a hole for each share whose owner stayed silent.
#[derive(Clone, Serialize, Deserialize)]
struct Parts {
    zone: ZoneId,
    epoch: u64,
    holding: Shareholding,
    verifying: Vec<Point>,
    blinding: Vec<Option<BlindingShare>>,
}

impl Canonical for EpochKey {
    const NAME: &'static str = "auction epoch key";
    const MAX_BYTES: usize =
        1 + 32 + 10 + (1 + 3 * SHARES_MAX) + (1 + 32 * SHARES_MAX) + (1 + 97 * SHARES_MAX);
}

impl EpochKey {
    /// The key of one epoch from its verifying shares (share 1 first) and the blinding shares that arrived. Those of a
    /// threshold suffice: whichever they are, `H` is the same.
    pub fn assemble(
        zone: ZoneId,
        epoch: u64,
        holding: Shareholding,
        verifying: Vec<Point>,
        blindings: &[Blinding],
    ) -> Result<Self, KeyError> {
        let mut blinding = vec![None; holding.shares()];
        for message in blindings {
            message.verify(&zone, epoch, &holding, &verifying)?;
            for (index, share) in holding.indices_of(message.validator).zip(&message.shares) {
                blinding[usize::from(index) - 1] = Some(share.clone());
            }
        }
        Self::try_from(Parts { zone, epoch, holding, verifying, blinding })
    }

    /// The zone.
    pub fn zone(&self) -> ZoneId {
        self.0.parts.zone
    }

    /// The epoch's number.
    pub fn epoch(&self) -> u64 {
        self.0.parts.epoch
    }

    /// Who owns which share, and how many open a bid.
    pub fn holding(&self) -> &Shareholding {
        &self.0.parts.holding
    }

    /// The blinding base `H = t*A`.
    pub fn h(&self) -> Point {
        self.0.h
    }

    /// Whether this is the key without a committee, [`in_the_open`].
    pub fn is_in_the_open(&self) -> bool {
        self.0.parts.epoch == OPEN_EPOCH && self.0.h == base_a()
    }

    /// The verifying share `T_j = t_j*G` of share `index` (1 and up), or `None` if there is no such share.
    pub fn verifying_share(&self, index: u8) -> Option<Point> {
        self.0.parts.verifying.get(usize::from(index).checked_sub(1)?).copied()
    }

    /// The blinding share `A_j = t_j*A` of share `index`, or `None` if its owner stayed silent.
    pub fn blinding_share(&self, index: u8) -> Option<Point> {
        let share = self.0.parts.blinding.get(usize::from(index).checked_sub(1)?)?;
        share.as_ref().map(|share| share.point)
    }

    pub(crate) fn ranges(&self) -> &Ranges {
        &self.0.ranges
    }

    /// The transcript all proofs under this key start from: protocol, kind of proof, zone, epoch, `H`, buyer's key,
    /// auction, prover.
    pub(crate) fn transcript(
        &self,
        proof: &'static [u8],
        buyer: &PublicKey,
        auction: &[u8; 32],
        prover: &[u8],
    ) -> Transcript {
        let mut transcript = Transcript::new(PROTOCOL);
        transcript.append_message(b"proof", proof);
        transcript.append_message(b"zone", &self.0.parts.zone.0);
        transcript.append_u64(b"epoch", self.epoch());
        transcript.append_message(b"H", &self.0.h.to_bytes());
        transcript.append_message(b"buyer", &buyer.to_bytes());
        transcript.append_message(b"auction", auction);
        transcript.append_message(b"prover", prover);
        transcript
    }
}

impl PartialEq for EpochKey {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || self.encode() == other.encode()
    }
}

impl Eq for EpochKey {}

impl fmt::Debug for EpochKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts { epoch, holding, .. } = &self.0.parts;
        write!(f, "EpochKey(epoch {epoch}, {} of {} shares)", holding.threshold(), holding.shares())
    }
}

impl From<EpochKey> for Parts {
    fn from(key: EpochKey) -> Self {
        key.0.parts.clone()
    }
}

impl TryFrom<Parts> for EpochKey {
    type Error = KeyError;

    fn try_from(parts: Parts) -> Result<Self, KeyError> {
        let (shares, threshold) = (parts.holding.shares(), parts.holding.threshold());
        for found in [parts.verifying.len(), parts.blinding.len()] {
            if found != shares {
                return Err(KeyError::ShareCount { found });
            }
        }
        let first: Vec<u8> = parts.holding.indices().take(threshold).collect();
        for index in parts.holding.indices().skip(threshold) {
            let expected = interpolate(&first, &parts.verifying[..threshold], index);
            if parts.verifying[usize::from(index) - 1].point() != expected {
                return Err(KeyError::VerifyingShare { index });
            }
        }
        let (mut known, mut points) = (Vec::new(), Vec::new());
        for (index, share) in parts.holding.indices().zip(&parts.blinding) {
            let Some(share) = share else { continue };
            let verifying = &parts.verifying[usize::from(index) - 1];
            if !share.is_valid(&parts.zone, parts.epoch, index, verifying) {
                let validator = parts.holding.owner(index).expect("the index is one of the holding's");
                return Err(KeyError::BlindingShare { validator, index });
            }
            known.push(index);
            points.push(share.point);
        }
        if known.len() < threshold {
            return Err(KeyError::TooFewBlindingShares { found: known.len(), threshold });
        }
        let h = interpolate(&known[..threshold], &points[..threshold], 0);
        // H is zero only if t is: a uniform secret is not, and a generation that made it so is void.
        let h = Point::new(h).map_err(|_| KeyError::TooFewBlindingShares { found: 0, threshold })?;
        Ok(Self(Arc::new(Checked { parts, h, ranges: Ranges::new(h) })))
    }
}

/// The key of a validator that is alone: it samples `t` itself and can open every bid as soon as the buyer helps.
pub fn solo(
    zone: ZoneId,
    epoch: u64,
    validator: ValidatorIndex,
    rng: &mut impl CryptoRng,
) -> (EpochKey, KeyShares) {
    let holding = Shareholding::by_stake(&[(validator, 1)]).expect("one validator with stake");
    let shares = KeyShares::new(zone, epoch, validator, vec![Share::new(1, random_scalar(rng))]);
    (of_one(holding, &shares, rng), shares)
}

/// The public key of the only share of a key.
fn of_one(holding: Shareholding, shares: &KeyShares, rng: &mut impl CryptoRng) -> EpochKey {
    let verifying = shares.iter().map(Share::verifying).collect();
    let blinding = Blinding::new(shares, rng);
    EpochKey::assemble(shares.zone(), shares.epoch(), holding, verifying, &[blinding])
        .expect("made just now, correctly")
}

/// The key of an auction without a committee: `t = 1`, so `H = A`, and a bid is open to the buyer as soon as it has
/// it. It is the same for everybody in a zone but for the proof inside, which is made anew. See [`crate::v2v`].
pub fn in_the_open(zone: ZoneId, rng: &mut impl CryptoRng) -> EpochKey {
    let validator = ValidatorIndex(0);
    let holding = Shareholding::by_stake(&[(validator, 1)]).expect("one validator with stake");
    let shares = KeyShares::new(zone, OPEN_EPOCH, validator, vec![Share::new(1, Scalar::ONE)]);
    of_one(holding, &shares, rng)
}

/// The epoch that intents of auctions without a committee name; no committee reaches it.
pub const OPEN_EPOCH: u64 = u64::MAX;

/// The value at `at` of the polynomial through `points` at `xs`, in the exponent.
pub(crate) fn interpolate(xs: &[u8], points: &[Point], at: u8) -> RistrettoPoint {
    RistrettoPoint::vartime_multiscalar_mul(lagrange(xs, at), points.iter().map(Point::point))
}

/// Tag of all proofs; a new protocol has a new one.
pub(crate) const PROTOCOL: &[u8] = b"ohmesh/auction/1";
