//! Distributed generation of an epoch's key, over the ledger: FROST's key generation (Komlo, Goldberg 2020, Figure 1;
//! RFC 9591 names the group) of `frost-ristretto255`, one participant for each share, run by the shares' owners.
//!
//! ```text
//!   each validator                              on the ledger (each replica keeps a Board)
//!   Dealer::start ---- Deal (commitments) ----> all deals in, each proof of knowledge checked
//!   Dealer::on_deal -- Handout (HPKE) --------> all handouts in; their contents only the receivers can check
//!   Dealer::on_handout: good -- Blinding -----> A_j proven against T_j; all or a threshold in: Board::finish
//!                       bad --- Complaint ----> the receiver reveals its secret for this attempt: everyone decides
//!                                               who lied; the attempt is void
//! ```
//!
//! A void attempt (a complaint, or a dealer silent when the ledger's time for a step is over, see [`Board::missing`])
//! is followed by another with a higher number, without the culprit or the silent; the old key serves until the new
//! is final. What a complaint reveals are shares of a void attempt. Nothing of a dealer is stored: a validator that
//! restarts in the middle is silent.

mod board;
mod dealer;

pub use board::{Board, Step};
pub use dealer::{Action, Dealer};

use super::{KeyError, SHARES_MAX, Shareholding, ValidatorIndex};
use crate::{
    group::{Point, times_g},
    seal::{SealKey, SealSecret, Sealed},
};
use curve25519_dalek::{ristretto::RistrettoPoint, scalar::Scalar, traits::VartimeMultiscalarMul};
use frost_ristretto255::{Ciphersuite as _, Identifier, Ristretto255Sha512};
use ohmesh_units::{Canonical, Domain, Hash, ZoneId};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Why a message of the generation is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GenerationError {
    /// The validator holds no share of this generation.
    #[error("validator {0} holds no share of this generation")]
    NoShare(ValidatorIndex),
    /// The message belongs to another generation or attempt.
    #[error("the message of validator {0} belongs to another generation")]
    OtherGeneration(ValidatorIndex),
    /// The message comes at a step that does not take it.
    #[error("the message of validator {0} does not belong to this step")]
    WrongStep(ValidatorIndex),
    /// A second message of the same kind.
    #[error("validator {0} has sent this already")]
    Twice(ValidatorIndex),
    /// A deal has not one commitment to a polynomial of the right degree for each share of its dealer, or a key that
    /// nothing can be sealed to.
    #[error("the deal of validator {0} has the wrong shape")]
    DealShape(ValidatorIndex),
    /// The dealer does not know the secret it committed to for one of its shares.
    #[error("validator {validator} does not know what it dealt for its share {share}")]
    ProofOfKnowledge {
        /// The dealer.
        validator: ValidatorIndex,
        /// The dealer's share.
        share: u8,
    },
    /// A handout has not one parcel of the right length for each other validator.
    #[error("the handout of validator {0} has the wrong shape")]
    HandoutShape(ValidatorIndex),
    /// What a dealer sealed to this validator does not open or does not fit its deal: complain.
    #[error("validator {0} handed out wrong shares")]
    WrongShares(ValidatorIndex),
    /// A complaint whose revealed secret is not the complainer's, or that names no dealer.
    #[error("the complaint of validator {0} proves nothing")]
    EmptyComplaint(ValidatorIndex),
    /// An attempt that a complaint made void takes nothing more.
    #[error("this attempt is void")]
    Void,
    /// Messages are missing; [`Board::missing`] names whose.
    #[error("messages are missing")]
    Incomplete,
    /// The key generation library refused its own data.
    #[error("the key generation failed")]
    Library,
    /// The key that came out, or a blinding share, is refused.
    #[error(transparent)]
    Key(#[from] KeyError),
}

/// What one attempt is about.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Generation {
    /// The zone.
    pub zone: ZoneId,
    /// The epoch that will use the key.
    pub epoch: u64,
    /// 0, then one more after each void attempt.
    pub attempt: u32,
    /// Who deals, and who will hold which share.
    pub holding: Shareholding,
}

impl Canonical for Generation {
    const NAME: &'static str = "key generation";
    const MAX_BYTES: usize = 1 + 32 + 10 + 5 + 1 + 3 * SHARES_MAX;
}

impl Generation {
    /// The hash that every message of the attempt carries.
    pub fn id(&self) -> Hash {
        const GENERATION: Domain = Domain::new("ohmesh/1 key generation");
        GENERATION.hash(&[&self.encode()])
    }

    /// What a parcel from `dealer` to `receiver` is sealed for.
    fn purpose(&self, dealer: ValidatorIndex, receiver: ValidatorIndex) -> Vec<u8> {
        let (id, dealer, receiver) = (self.id().0, dealer.0.to_be_bytes(), receiver.0.to_be_bytes());
        [&b"ohmesh/1 key generation parcel"[..], &id, &dealer, &receiver].concat()
    }

    /// Bytes of the plaintext of a parcel: one scalar for each pair of a dealer's and a receiver's share.
    fn parcel_bytes(&self, dealer: ValidatorIndex, receiver: ValidatorIndex) -> usize {
        32 * self.holding.indices_of(dealer).count() * self.holding.indices_of(receiver).count()
    }
}

/// First message: for each share of the dealer, commitments to a random polynomial and a proof that the dealer knows
/// its constant term; and the key that parcels to this validator are to be sealed to, for this attempt only.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Deal {
    generation: Hash,
    /// The dealer.
    pub validator: ValidatorIndex,
    seal: SealKey,
    polynomials: Vec<Polynomial>,
}

impl Canonical for Deal {
    const NAME: &'static str = "key generation deal";
    const MAX_BYTES: usize = 1 + 32 + 3 + 32 + 1 + SHARES_MAX * (1 + 32 * (SHARES_MAX + 2));
}

/// Commitments `a_k * G`, constant term first, and the proof `(R, z)` of knowledge of `a_0`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Polynomial {
    coefficients: Vec<Point>,
    announcement: Point,
    response: Response,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Response(#[serde(with = "crate::group::serde_scalar")] Scalar);

impl fmt::Debug for Polynomial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Polynomial({} coefficients)", self.coefficients.len())
    }
}

impl Polynomial {
    /// The proof of knowledge of FROST's Figure 1, round 1, step 5, for the participant `share`.
    fn is_proven(&self, share: u8) -> bool {
        let Some(constant) = self.coefficients.first() else { return false };
        let identifier = identifier(share).serialize();
        let hashed = [&identifier[..], &constant.to_bytes(), &self.announcement.to_bytes()].concat();
        // The library's own hash; its scalar is of another version of the curve crate and crosses over as bytes.
        let Some(challenge) = Ristretto255Sha512::HDKG(&hashed) else { return false };
        let challenge = Scalar::from_bytes_mod_order(challenge.to_bytes());
        times_g(&self.response.0) - challenge * constant.point() == self.announcement.point()
    }

    /// The commitment to the polynomial's value at `x`.
    fn at(&self, x: u8) -> RistrettoPoint {
        let coefficients: Vec<RistrettoPoint> = self.coefficients.iter().map(Point::point).collect();
        at(&coefficients, x)
    }
}

/// Second message: to each other validator, in ascending order, a parcel with the values of the dealer's polynomials
/// at the receiver's shares.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Handout {
    generation: Hash,
    /// The dealer.
    pub validator: ValidatorIndex,
    parcels: Vec<Sealed>,
}

impl Canonical for Handout {
    const NAME: &'static str = "key generation handout";
    /// All of a dealer's parcels hold at most `SHARES_MAX^2 / 4` scalars together.
    const MAX_BYTES: usize =
        1 + 32 + 3 + 1 + SHARES_MAX * (32 + 3 + Sealed::TAG_BYTES) + 8 * SHARES_MAX * SHARES_MAX;
}

/// Instead of a blinding share: the receiver says that a dealer's parcel is wrong, and reveals the secret under which
/// everybody can see it. The attempt is void either way; who is at fault, [`Board::on_complaint`] answers.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Complaint {
    generation: Hash,
    /// The receiver that complains.
    pub validator: ValidatorIndex,
    /// The dealer it complains about.
    pub dealer: ValidatorIndex,
    secret: Hash,
}

impl Canonical for Complaint {
    const NAME: &'static str = "key generation complaint";
    const MAX_BYTES: usize = 1 + 32 + 3 + 3 + 32;
}

impl fmt::Debug for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Complaint({} about {})", self.validator, self.dealer)
    }
}

/// The values of a parcel: for each share of the dealer, its polynomial at each share of the receiver. `None` if the
/// parcel does not open or a value does not fit the commitments.
fn open_parcel(
    generation: &Generation,
    deal: &Deal,
    receiver: ValidatorIndex,
    secret: &SealSecret,
    parcel: &Sealed,
) -> Option<Vec<Vec<zeroize::Zeroizing<Scalar>>>> {
    let plaintext = secret.open(&generation.purpose(deal.validator, receiver), parcel).ok()?;
    let indices: Vec<u8> = generation.holding.indices_of(receiver).collect();
    let (scalars, tail) = plaintext.as_chunks::<32>();
    if !tail.is_empty() || scalars.len() != deal.polynomials.len() * indices.len() {
        return None;
    }
    deal.polynomials
        .iter()
        .zip(scalars.chunks(indices.len()))
        .map(|(polynomial, values)| {
            indices
                .iter()
                .zip(values)
                .map(|(index, value)| {
                    let value = Option::<Scalar>::from(Scalar::from_canonical_bytes(*value))?;
                    (times_g(&value) == polynomial.at(*index)).then_some(zeroize::Zeroizing::new(value))
                })
                .collect()
        })
        .collect()
}

/// FROST's name of a participant.
fn identifier(share: u8) -> Identifier {
    Identifier::try_from(u16::from(share)).expect("shares are numbered from 1")
}

/// The value at `x` of the polynomial with these coefficients, in the exponent.
fn at(coefficients: &[RistrettoPoint], x: u8) -> RistrettoPoint {
    let x = Scalar::from(x);
    let powers = std::iter::successors(Some(Scalar::ONE), |power| Some(power * x));
    let powers: Vec<Scalar> = powers.take(coefficients.len()).collect();
    RistrettoPoint::vartime_multiscalar_mul(powers, coefficients)
}

#[cfg(test)]
mod tests;
