//! Proof that one of several commitments hides zero, without a word about which (Cramer, Damgård, Schoenmakers 1994):
//! one Schnorr proof for each, of which all but one are simulated; only the sum of their challenges is fixed.

use super::{Point, ProofFailed, ScalarBytes, challenge, random_scalar};
use curve25519_dalek::{
    ristretto::RistrettoPoint,
    scalar::Scalar,
    traits::{MultiscalarMul, VartimeMultiscalarMul},
};
use rand_core::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use subtle::ConstantTimeEq;
use tari_merlin::Transcript;
use zeroize::Zeroizing;

/// Challenge and response of each branch, 64 canonical bytes.
///
/// The transcript must already hold the whole statement: all that the commitments are computed from.
#[derive(Clone, PartialEq, Eq)]
pub struct SomeZero(Vec<Branch>);

#[derive(Clone, PartialEq, Eq)]
struct Branch {
    challenge: Scalar,
    response: Scalar,
}

impl SomeZero {
    /// Bytes of one branch on the wire.
    pub const BRANCH_BYTES: usize = 64;

    /// How many commitments the proof speaks of.
    pub fn branches(&self) -> usize {
        self.0.len()
    }

    /// Proves that `commitments[zero] = blinding * h`. Every branch takes the same steps. A `zero` past the end, or
    /// one that is none, gives a proof that does not hold.
    pub(crate) fn prove(
        transcript: &mut Transcript,
        h: &Point,
        commitments: &[RistrettoPoint],
        zero: usize,
        blinding: &Scalar,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let builder = transcript.build_rng().rekey_with_witness_bytes(b"witness", blinding.as_bytes());
        let mut nonce_rng = builder.finalize(rng);
        let mut branches: Zeroizing<Vec<(Scalar, Scalar)>> = Zeroizing::new(
            (0..commitments.len())
                .map(|at| {
                    let (simulated, response) =
                        (random_scalar(&mut nonce_rng), random_scalar(&mut nonce_rng));
                    (if at == zero { Scalar::ZERO } else { simulated }, response)
                })
                .collect(),
        );
        for ((challenge, response), commitment) in branches.iter().zip(commitments) {
            let scalars = Zeroizing::new([*response, -challenge]);
            let announcement = RistrettoPoint::multiscalar_mul(scalars.iter(), [h.point(), *commitment]);
            transcript.append_message(b"announcement", announcement.compress().as_bytes());
        }
        let whole = challenge(transcript, b"challenge");
        let rest = whole - branches.iter().map(|(challenge, _)| challenge).sum::<Scalar>();
        if let Some((challenge, response)) = branches.get_mut(zero) {
            *challenge = rest;
            *response += rest * blinding;
        }
        Self(
            branches
                .iter()
                .map(|(challenge, response)| Branch { challenge: *challenge, response: *response })
                .collect(),
        )
    }

    /// Checks the proof for `commitments`; leaves the transcript where the prover's was. Nothing has no zero.
    pub(crate) fn verify(
        &self,
        transcript: &mut Transcript,
        h: &Point,
        commitments: &[RistrettoPoint],
    ) -> Result<(), ProofFailed> {
        if self.0.len() != commitments.len() || self.0.is_empty() {
            return Err(ProofFailed);
        }
        for (Branch { challenge, response }, commitment) in self.0.iter().zip(commitments) {
            let announcement =
                RistrettoPoint::vartime_multiscalar_mul([*response, -challenge], [h.point(), *commitment]);
            transcript.append_message(b"announcement", announcement.compress().as_bytes());
        }
        let sum: Scalar = self.0.iter().map(|branch| branch.challenge).sum();
        if bool::from(challenge(transcript, b"challenge").ct_eq(&sum)) { Ok(()) } else { Err(ProofFailed) }
    }
}

impl fmt::Debug for SomeZero {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SomeZero({} branches)", self.0.len())
    }
}

impl Serialize for SomeZero {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let pair = |branch: &Branch| (ScalarBytes(branch.challenge), ScalarBytes(branch.response));
        serializer.collect_seq(self.0.iter().map(pair))
    }
}

impl<'de> Deserialize<'de> for SomeZero {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = Vec::<(ScalarBytes, ScalarBytes)>::deserialize(deserializer)?;
        let branch = |(challenge, response): (ScalarBytes, ScalarBytes)| Branch {
            challenge: challenge.0,
            response: response.0,
        };
        Ok(Self(pairs.into_iter().map(branch).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::{base_a, commit};
    use ohmesh_units::{from_postcard, to_postcard};
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    fn hiding(values: &[u64], rng: &mut ChaCha20Rng) -> (Vec<RistrettoPoint>, Vec<Scalar>) {
        values
            .iter()
            .map(|value| {
                let blinding = random_scalar(rng);
                (commit(*value, &blinding, &base_a()), blinding)
            })
            .unzip()
    }

    fn verify(proof: &SomeZero, points: &[RistrettoPoint], label: &'static [u8]) -> Result<(), ProofFailed> {
        proof.verify(&mut Transcript::new(label), &base_a(), points)
    }

    #[test]
    fn each_place_may_be_the_zero() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        for zero in 0..4 {
            let mut values = [5, 1, 77, 9];
            values[zero] = 0;
            let (points, blindings) = hiding(&values, &mut rng);
            let mut transcript = Transcript::new(b"test");
            let proof =
                SomeZero::prove(&mut transcript, &base_a(), &points, zero, &blindings[zero], &mut rng);
            assert_eq!(verify(&proof, &points, b"test"), Ok(()));
            assert_eq!(verify(&proof, &points, b"other"), Err(ProofFailed));
            assert_eq!(verify(&proof, &points[..3], b"test"), Err(ProofFailed));
            let bytes = to_postcard(&proof);
            assert_eq!(bytes.len(), 1 + 4 * SomeZero::BRANCH_BYTES);
            assert_eq!(from_postcard::<SomeZero>("proof", &bytes), Ok(proof.clone()));
            let mut swapped = proof.clone();
            swapped.0.swap(0, 1);
            assert_eq!(verify(&swapped, &points, b"test"), Err(ProofFailed));
        }
    }

    #[test]
    fn without_a_zero_there_is_no_proof() {
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        let (points, blindings) = hiding(&[5, 1, 77], &mut rng);
        for claimed in 0..4 {
            let blinding = blindings.get(claimed).copied().unwrap_or(Scalar::ONE);
            let mut transcript = Transcript::new(b"test");
            let proof = SomeZero::prove(&mut transcript, &base_a(), &points, claimed, &blinding, &mut rng);
            assert_eq!(verify(&proof, &points, b"test"), Err(ProofFailed));
        }
        assert_eq!(verify(&SomeZero(Vec::new()), &[], b"test"), Err(ProofFailed));
    }

    /// The branch that is proven looks like the simulated ones: no challenge or response is zero or repeated.
    #[test]
    fn branches_look_alike() {
        let mut rng = ChaCha20Rng::from_seed([3; 32]);
        let (points, blindings) = hiding(&[0, 0, 7], &mut rng);
        let prove = |zero: usize, rng: &mut ChaCha20Rng| {
            SomeZero::prove(&mut Transcript::new(b"test"), &base_a(), &points, zero, &blindings[zero], rng)
        };
        for proof in [prove(0, &mut rng), prove(1, &mut rng)] {
            assert_eq!(verify(&proof, &points, b"test"), Ok(()));
            let mut all: Vec<[u8; 32]> =
                proof.0.iter().flat_map(|b| [b.challenge.to_bytes(), b.response.to_bytes()]).collect();
            all.push([0; 32]);
            all.sort_unstable();
            assert!(all.windows(2).all(|pair| pair[0] != pair[1]));
        }
    }
}
