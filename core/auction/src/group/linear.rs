//! Proofs of knowledge for linear relations between points (Schnorr's proof, generalised; Maurer, "Unifying
//! zero-knowledge proofs of knowledge", 2009), made non-interactive by a Merlin transcript.

use super::{ScalarBytes, challenge, random_scalar};
use curve25519_dalek::{
    ristretto::RistrettoPoint,
    scalar::Scalar,
    traits::{MultiscalarMul, VartimeMultiscalarMul},
};
use rand_core::CryptoRng;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, SeqAccess, Visitor},
    ser::SerializeTuple,
};
use std::fmt;
use subtle::ConstantTimeEq;
use tari_merlin::Transcript;
use zeroize::Zeroizing;

/// A linear proof does not hold for its statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the proof does not hold for its statement")]
pub struct ProofFailed;

/// One relation: `image = sum of witness[index] * base`.
pub(crate) struct Relation {
    pub(crate) image: RistrettoPoint,
    pub(crate) terms: Vec<(usize, RistrettoPoint)>,
}

impl Relation {
    pub(crate) fn new(image: RistrettoPoint, terms: impl Into<Vec<(usize, RistrettoPoint)>>) -> Self {
        Self { image, terms: terms.into() }
    }
}

/// Proof of knowledge of `N` scalars that satisfy the relations of a statement: challenge, then `N` responses,
/// 32 canonical bytes each.
///
/// The transcript must already hold the whole statement: all that images and bases are computed from.
#[derive(Clone, PartialEq, Eq)]
pub struct LinearProof<const N: usize> {
    challenge: Scalar,
    responses: [Scalar; N],
}

impl<const N: usize> LinearProof<N> {
    /// Bytes on the wire.
    pub const BYTES: usize = 32 * (N + 1);

    /// Proves that `witness` satisfies `relations`. Constant time in the witness. The nonces depend on the transcript,
    /// the witness and `rng`, so that a weak random source does not reveal the witness.
    pub(crate) fn prove(
        transcript: &mut Transcript,
        relations: &[Relation],
        witness: &[Scalar; N],
        rng: &mut impl CryptoRng,
    ) -> Self {
        let mut builder = transcript.build_rng();
        for scalar in witness {
            builder = builder.rekey_with_witness_bytes(b"witness", scalar.as_bytes());
        }
        let mut nonce_rng = builder.finalize(rng);
        let nonces: Zeroizing<[Scalar; N]> =
            Zeroizing::new(std::array::from_fn(|_| random_scalar(&mut nonce_rng)));
        for relation in relations {
            let (scalars, points): (Vec<_>, Vec<_>) =
                relation.terms.iter().map(|(index, base)| (nonces[*index], *base)).unzip();
            let scalars = Zeroizing::new(scalars);
            let announcement = RistrettoPoint::multiscalar_mul(scalars.iter(), points);
            transcript.append_message(b"announcement", announcement.compress().as_bytes());
        }
        let challenge = challenge(transcript, b"challenge");
        let responses = std::array::from_fn(|at| nonces[at] + challenge * witness[at]);
        Self { challenge, responses }
    }

    /// Checks the proof for `relations`; leaves the transcript where the prover's was.
    pub(crate) fn verify(
        &self,
        transcript: &mut Transcript,
        relations: &[Relation],
    ) -> Result<(), ProofFailed> {
        for relation in relations {
            let scalars = relation.terms.iter().map(|(index, _)| self.responses[*index]);
            let points = relation.terms.iter().map(|(_, base)| *base);
            let announcement = RistrettoPoint::vartime_multiscalar_mul(
                scalars.chain([-self.challenge]),
                points.chain([relation.image]),
            );
            transcript.append_message(b"announcement", announcement.compress().as_bytes());
        }
        let expected = challenge(transcript, b"challenge");
        if bool::from(expected.ct_eq(&self.challenge)) { Ok(()) } else { Err(ProofFailed) }
    }
}

impl<const N: usize> fmt::Debug for LinearProof<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LinearProof<{N}>")
    }
}

impl<const N: usize> Serialize for LinearProof<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(N + 1)?;
        tuple.serialize_element(&ScalarBytes(self.challenge))?;
        for response in &self.responses {
            tuple.serialize_element(&ScalarBytes(*response))?;
        }
        tuple.end()
    }
}

impl<'de, const N: usize> Deserialize<'de> for LinearProof<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Scalars<const N: usize>;

        impl<'de, const N: usize> Visitor<'de> for Scalars<N> {
            type Value = LinearProof<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{} scalars", N + 1)
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut seq: S) -> Result<Self::Value, S::Error> {
                let mut next = |at: usize| {
                    seq.next_element::<ScalarBytes>()?
                        .map(|scalar| scalar.0)
                        .ok_or_else(|| S::Error::invalid_length(at, &"more scalars"))
                };
                let challenge = next(0)?;
                let mut responses = [Scalar::ZERO; N];
                for (at, response) in responses.iter_mut().enumerate() {
                    *response = next(at + 1)?;
                }
                Ok(LinearProof { challenge, responses })
            }
        }

        deserializer.deserialize_tuple(N + 1, Scalars::<N>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::{G, base_a, times_g};
    use ohmesh_units::{from_postcard, to_postcard};
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    /// Equality of logarithms: `tG` and `tA`.
    fn equality(secret: &Scalar) -> [Relation; 2] {
        let a = base_a().point();
        [Relation::new(times_g(secret), [(0, G)]), Relation::new(secret * a, [(0, a)])]
    }

    #[test]
    fn proofs_bind_statement_and_transcript() {
        let mut rng = ChaCha20Rng::from_seed([1; 32]);
        let (secret, other) = (random_scalar(&mut rng), random_scalar(&mut rng));
        let relations = equality(&secret);
        let proof = LinearProof::prove(&mut Transcript::new(b"test"), &relations, &[secret], &mut rng);
        assert_eq!(proof.verify(&mut Transcript::new(b"test"), &relations), Ok(()));
        assert_eq!(proof.verify(&mut Transcript::new(b"other"), &relations), Err(ProofFailed));
        assert_eq!(proof.verify(&mut Transcript::new(b"test"), &equality(&other)), Err(ProofFailed));
        let bytes = to_postcard(&proof);
        assert_eq!(bytes.len(), LinearProof::<1>::BYTES);
        assert_eq!(from_postcard::<LinearProof<1>>("proof", &bytes), Ok(proof));
    }

    #[test]
    fn unequal_logarithms_have_no_proof() {
        let mut rng = ChaCha20Rng::from_seed([2; 32]);
        let (secret, other) = (random_scalar(&mut rng), random_scalar(&mut rng));
        let mut relations = equality(&secret);
        relations[1].image = other * base_a().point();
        let proof = LinearProof::prove(&mut Transcript::new(b"test"), &relations, &[secret], &mut rng);
        assert_eq!(proof.verify(&mut Transcript::new(b"test"), &relations), Err(ProofFailed));
    }
}
