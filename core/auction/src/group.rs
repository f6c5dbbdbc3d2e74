//! Arithmetic of the auction: ristretto255 points and scalars on the wire, commitments, and the three kinds of proof.
//!
//! Group and encoding: RFC 9496. Two bases: `G`, the standard one, and [`base_a`], a hash to the group, so that nobody
//! knows the logarithm of one to the other. Commitments are Pedersen's: `vG + rH`, `H` from the epoch's key.

mod linear;
mod logarithm;
mod point;
mod range;
#[cfg(test)]
mod rfc9496;
mod some_zero;

pub use linear::{LinearProof, ProofFailed};
pub use point::{Point, PointError};
pub use range::{CHUNK, RangeError, RangeProof};
pub use some_zero::SomeZero;

pub(crate) use linear::Relation;
pub(crate) use logarithm::price_of_point;
pub(crate) use point::{ScalarBytes, serde_scalar};
pub(crate) use range::{RangeBatch, Ranges, Width};

use curve25519_dalek::{
    constants::{RISTRETTO_BASEPOINT_POINT, RISTRETTO_BASEPOINT_TABLE},
    ristretto::RistrettoPoint,
    scalar::Scalar,
};
use ohmesh_units::Domain;
use rand_core::CryptoRng;
use std::sync::OnceLock;
use tari_merlin::Transcript;

/// The second base `A`: the one-way map of RFC 9496 (4.3.4) applied to a hash, so that `log_G A` is unknown to all.
pub fn base_a() -> Point {
    const BASE_A: Domain = Domain::new("ohmesh/1 auction base A");
    static A: OnceLock<Point> = OnceLock::new();
    *A.get_or_init(|| {
        let mut uniform = [0; 64];
        BASE_A.hasher().fill(&mut uniform);
        Point::new(RistrettoPoint::from_uniform_bytes(&uniform)).expect("a hash is not the identity")
    })
}

/// The standard base `G`.
pub(crate) const G: RistrettoPoint = RISTRETTO_BASEPOINT_POINT;

/// `value * G`, in constant time.
pub(crate) fn times_g(value: &Scalar) -> RistrettoPoint {
    RISTRETTO_BASEPOINT_TABLE * value
}

/// The Pedersen commitment `value * G + blinding * H`, in constant time.
pub(crate) fn commit(value: u64, blinding: &Scalar, h: &Point) -> RistrettoPoint {
    times_g(&Scalar::from(value)) + blinding * h.point()
}

/// A uniformly random scalar.
pub(crate) fn random_scalar(rng: &mut impl CryptoRng) -> Scalar {
    let mut wide = zeroize::Zeroizing::new([0; 64]);
    rng.fill_bytes(&mut *wide);
    Scalar::from_bytes_mod_order_wide(&wide)
}

/// A signed integer as a scalar. Only for public values: it branches on the sign.
pub(crate) fn signed(value: i64) -> Scalar {
    let magnitude = Scalar::from(value.unsigned_abs());
    if value < 0 { -magnitude } else { magnitude }
}

/// The next challenge of a transcript, as a scalar.
pub(crate) fn challenge(transcript: &mut Transcript, label: &'static [u8]) -> Scalar {
    let mut wide = [0; 64];
    transcript.challenge_bytes(label, &mut wide);
    Scalar::from_bytes_mod_order_wide(&wide)
}

/// The Lagrange coefficients for the value at `at`, given values at the distinct points `xs`.
pub(crate) fn lagrange(xs: &[u8], at: u8) -> Vec<Scalar> {
    let xs: Vec<Scalar> = xs.iter().map(|x| Scalar::from(*x)).collect();
    let at = Scalar::from(at);
    xs.iter()
        .map(|x| {
            let others = || xs.iter().filter(|other| *other != x);
            let numerator: Scalar = others().map(|other| other - at).product();
            let denominator: Scalar = others().map(|other| other - x).product();
            numerator * denominator.invert()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base_a_is_pinned() {
        // Everything ever committed depends on this point.
        let bytes = ohmesh_units::to_hex(&base_a().to_bytes());
        assert_eq!(bytes, "a8962d56b026c054c86873a967d96e9b5e8a4efe58e4bde0eb01d7e8bb22693c");
        assert_ne!(base_a().point(), G);
    }

    #[test]
    fn lagrange_recovers_other_values() {
        // f(x) = 7 + 3x + 5x^2
        let f = |x: u8| Scalar::from(7 + 3 * u64::from(x) + 5 * u64::from(x) * u64::from(x));
        for (xs, at) in [([1, 2, 3], 0), ([2, 5, 32], 0), ([31, 7, 1], 9), ([1, 2, 3], 2)] {
            let sum: Scalar = lagrange(&xs, at).iter().zip(xs).map(|(l, x)| l * f(x)).sum();
            assert_eq!(sum, f(at));
        }
    }
}
