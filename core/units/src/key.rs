//! Ed25519 under one rule, ZIP-215, for one signature and for many, so that the two can never disagree.
//!
//! Source: RFC 8032 for signing, Zcash Improvement Proposal 215 for verifying. Which keys may be *registered* is
//! stricter: [`PublicKey::is_registrable`].

use crate::{Domain, hash::Hasher, hex::hex_newtype};
use curve25519_dalek::edwards::CompressedEdwardsY;
use ed25519_zebra::{VerificationKey, VerificationKeyBytes, batch};
use std::fmt;
use zeroize::Zeroizing;

/// A key is not fit for its use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// The bytes are no point of the curve, or not its canonical encoding.
    #[error("key {0} is not the canonical encoding of a point")]
    NotCanonical(PublicKey),
    /// Anybody can sign for a key of small order.
    #[error("key {0} has small order: anybody could sign for it")]
    SmallOrder(PublicKey),
}

/// An Ed25519 public key, as 32 bytes that have not been checked to be a point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicKey([u8; 32]);
hex_newtype!(PublicKey, 32);

impl PublicKey {
    /// A key from its 32 bytes (RFC 8032, 5.1.5).
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes of the key.
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Whether the key may be registered: a canonically encoded point that is not of small order.
    pub fn is_registrable(&self) -> Result<(), KeyError> {
        let point = CompressedEdwardsY(self.0).decompress().ok_or(KeyError::NotCanonical(*self))?;
        if point.compress().0 != self.0 {
            return Err(KeyError::NotCanonical(*self));
        }
        if point.is_small_order() {
            return Err(KeyError::SmallOrder(*self));
        }
        Ok(())
    }

    /// Whether `signature` is this key's over `message` in `domain`, by ZIP-215.
    pub fn verify(&self, domain: Domain, message: &[u8], signature: &Signature) -> bool {
        let Ok(key) = VerificationKey::try_from(self.0) else { return false };
        key.verify(&signature.0.into(), &signed_bytes(domain, message)).is_ok()
    }
}

/// An Ed25519 signature: 64 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signature([u8; 64]);
hex_newtype!(Signature, 64);

impl Signature {
    /// A signature from its 64 bytes, R then s.
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The 64 bytes, R then s.
    pub const fn to_bytes(self) -> [u8; 64] {
        self.0
    }
}

/// An Ed25519 secret key. Zeroised when dropped; `Debug` does not show it.
#[derive(Clone)]
pub struct SigningKey {
    seed: Zeroizing<[u8; 32]>,
    key: ed25519_zebra::SigningKey,
    public: PublicKey,
}

impl SigningKey {
    /// The key of a 32-byte seed (RFC 8032, 5.1.5). The seed is the secret: it comes from a random source.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let key = ed25519_zebra::SigningKey::from_bytes(&seed);
        let public = PublicKey(key.verification_key().into());
        Self { seed: Zeroizing::new(seed), key, public }
    }

    /// The seed, for storing the key in a file that only its owner can read.
    pub fn seed(&self) -> Zeroizing<[u8; 32]> {
        self.seed.clone()
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        self.public
    }

    /// Signs `message` in `domain`; deterministic.
    pub fn sign(&self, domain: Domain, message: &[u8]) -> Signature {
        Signature(self.key.sign(&signed_bytes(domain, message)).to_bytes())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey(..)")
    }
}

/// One signature to check among many.
#[derive(Clone, Debug)]
pub struct SignatureCheck<'a> {
    /// Who is said to have signed.
    pub key: PublicKey,
    /// In which domain.
    pub domain: Domain,
    /// What was signed.
    pub message: &'a [u8],
    /// The signature.
    pub signature: Signature,
}

/// Checks many signatures together, about twice as fast as one by one: `Ok` if and only if each is valid by
/// ZIP-215, else the positions of those that are not.
///
/// The batch's coefficients come from a hash of everything in it, so the answer needs no random source.
pub fn verify_batch(checks: &[SignatureCheck<'_>]) -> Result<(), Vec<usize>> {
    const COEFFICIENTS: Domain = Domain::new("ohmesh/1 batch coefficients");
    let mut verifier = batch::Verifier::new();
    let mut transcript = COEFFICIENTS.hasher();
    for check in checks {
        let message = signed_bytes(check.domain, check.message);
        transcript.update(&check.key.0).update(&check.signature.0).update(&message);
        verifier.queue((VerificationKeyBytes::from(check.key.0), check.signature.0.into(), &message[..]));
    }
    if verifier.verify(Coefficients::new(&transcript)).is_ok() {
        return Ok(());
    }
    let bad: Vec<usize> = (0..checks.len())
        .filter(|at| {
            let SignatureCheck { key, domain, message, signature } = &checks[*at];
            !key.verify(*domain, message, signature)
        })
        .collect();
    if bad.is_empty() { Ok(()) } else { Err(bad) }
}

/// The signed bytes: a hash of the message in its domain, so that a signature in one domain means nothing in another.
fn signed_bytes(domain: Domain, message: &[u8]) -> [u8; 32] {
    domain.hash(&[message]).0
}

/// The stream of a hash, as the source of a batch's coefficients.
struct Coefficients(blake3::OutputReader);

impl Coefficients {
    fn new(transcript: &Hasher) -> Self {
        Self(transcript.stream())
    }
}

impl rand_core::TryRng for Coefficients {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(out);
        Ok(())
    }
}

impl rand_core::TryCryptoRng for Coefficients {}

#[cfg(test)]
mod tests {
    use super::*;

    const D: Domain = Domain::new("ohmesh/1 test");

    fn key(n: u8) -> SigningKey {
        SigningKey::from_seed([n; 32])
    }

    #[test]
    fn rfc_8032_test_1_public_key() {
        // RFC 8032, 7.1, TEST 1.
        let seed =
            crate::from_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let expected = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(SigningKey::from_seed(seed).public().to_string(), expected);
    }

    #[test]
    fn a_signature_binds_key_domain_and_message() {
        let signature = key(1).sign(D, b"one");
        assert!(key(1).public().verify(D, b"one", &signature));
        assert!(!key(1).public().verify(D, b"two", &signature));
        assert!(!key(2).public().verify(D, b"one", &signature));
        assert!(!key(1).public().verify(Domain::new("ohmesh/1 other"), b"one", &signature));
    }

    #[test]
    fn a_batch_names_the_bad_ones() {
        let messages: Vec<[u8; 1]> = (0..20).map(|n| [n]).collect();
        let mut checks: Vec<SignatureCheck<'_>> = messages
            .iter()
            .map(|m| SignatureCheck {
                key: key(m[0] % 3).public(),
                domain: D,
                message: m,
                signature: key(m[0] % 3).sign(D, m),
            })
            .collect();
        assert_eq!(verify_batch(&checks), Ok(()));
        assert_eq!(verify_batch(&[]), Ok(()));
        checks[3].message = b"x";
        checks[17].key = PublicKey::from_bytes([2; 32]);
        assert_eq!(verify_batch(&checks), Err(vec![3, 17]));
    }

    /// The encodings on which Ed25519 libraries disagree (ZIP-215): single and batch must answer alike.
    #[test]
    fn single_and_batch_agree_on_small_order_keys() {
        // The identity as key and as R, s = 0: ZIP-215 accepts it for every message.
        let mut identity = [0u8; 32];
        identity[0] = 1;
        let mut signature = [0u8; 64];
        signature[0] = 1;
        let check = SignatureCheck {
            key: PublicKey::from_bytes(identity),
            domain: D,
            message: b"any",
            signature: Signature::from_bytes(signature),
        };
        assert!(check.key.verify(D, b"any", &check.signature));
        assert_eq!(verify_batch(std::slice::from_ref(&check)), Ok(()));
        assert_eq!(
            check.key.is_registrable(),
            Err(KeyError::SmallOrder(check.key)),
            "but it cannot register"
        );
    }

    #[test]
    fn non_canonical_keys_cannot_register() {
        // y = p + 1 encodes the same point as y = 1.
        let mut bytes = [0xff; 32];
        bytes[0] = 0xee;
        bytes[31] = 0x7f;
        let alias = PublicKey::from_bytes(bytes);
        assert_eq!(alias.is_registrable(), Err(KeyError::NotCanonical(alias)));
        let off_curve = PublicKey::from_bytes([2; 32]);
        assert_eq!(off_curve.is_registrable(), Err(KeyError::NotCanonical(off_curve)));
        assert_eq!(key(7).public().is_registrable(), Ok(()));
    }

    #[test]
    fn debug_hides_the_secret() {
        assert_eq!(format!("{:?}", key(7)), "SigningKey(..)");
    }
}
