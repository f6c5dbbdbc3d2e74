//! The secret that a receiver shares with whoever sealed one message to it, shown to everybody together with a proof that
//! it is the right one: so that all can see what is, or is not, in the sealed bytes. Of other messages it says nothing.
//!
//! X25519 works on x-coordinates and clamped secrets `s = 8k`. With `B` the base, `P` and `E` the receiver's key and the
//! encapsulated key lifted to the Edwards curve, either of the two lifts each, the proof says "knows `m` with `P = m*8B`
//! and `D = m*8E`". Then `m = k` or `m = -k` modulo the prime order, and the x-coordinate of `D` is the X25519 secret in
//! both cases. All points lie in the subgroup of prime order, so that no small component is free.
//!
//! What follows from the secret is RFC 9180: 4.1 (shared secret of the DHKEM) and 5.1 (key schedule, base mode).

use super::{SealKey, SealSecret, Sealed};
use crate::group::{challenge, random_scalar, serde_scalar};
use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit,
    aead::{Aead, Payload},
};
use curve25519_dalek::{
    MontgomeryPoint,
    constants::ED25519_BASEPOINT_POINT as B,
    edwards::{CompressedEdwardsY, EdwardsPoint},
    scalar::{Scalar, clamp_integer},
    traits::IsIdentity,
};
use hkdf::{Hkdf, HkdfExtract};
use ohmesh_units::Hash;
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use sha2::Sha256;
use tari_merlin::Transcript;
use zeroize::Zeroizing;

/// Why a revealed secret is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RevealError {
    /// The receiver's key or the encapsulated key is no point of the curve, or has small order: honest keys never are.
    #[error("a key of the sealed message is not on the curve, or has small order")]
    Key,
    /// The proof does not hold: this is not the secret of the receiver's key and that message.
    #[error("the shared secret that was revealed is not that of this key and message")]
    Proof,
}

/// The shared secret of one sealed message, and the proof that it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Revealed {
    /// `D`, compressed.
    shared: Hash,
    #[serde(with = "serde_scalar")]
    challenge: Scalar,
    #[serde(with = "serde_scalar")]
    response: Scalar,
}

impl Revealed {
    /// Bytes on the wire.
    pub(crate) const BYTES: usize = 96;

    /// What the message holds for the purpose `info`; none if it does not open under the revealed secret.
    pub(crate) fn open(
        &self,
        key: &SealKey,
        info: &[u8],
        sealed: &Sealed,
    ) -> Result<Option<Zeroizing<Vec<u8>>>, RevealError> {
        let (receiver, base) = (lift(&key.0)?, encapsulated(sealed)?);
        let shared = CompressedEdwardsY(self.shared.0).decompress().ok_or(RevealError::Proof)?;
        // Also refuses what is no canonical encoding, so that one secret has one form.
        if !shared.is_torsion_free() || shared.is_identity() || shared.compress().0 != self.shared.0 {
            return Err(RevealError::Proof);
        }
        let (response, minus) = (self.response, -self.challenge);
        let at_base =
            EdwardsPoint::vartime_double_scalar_mul_basepoint(&minus, &receiver, &times_8(response));
        let at_message = response * base + minus * shared;
        if drawn((key, info, sealed), &shared, &at_base, &at_message) != self.challenge {
            return Err(RevealError::Proof);
        }
        let secret = Zeroizing::new(shared.to_montgomery().0);
        Ok(open_with(&secret, key, info, sealed))
    }
}

impl SealSecret {
    /// Shows the secret of one message that was sealed to the public half for the purpose `info`.
    pub(crate) fn reveal(
        &self,
        info: &[u8],
        sealed: &Sealed,
        rng: &mut impl CryptoRng,
    ) -> Result<Revealed, RevealError> {
        let key = self.public();
        let (receiver, base) = (lift(&key.0)?, encapsulated(sealed)?);
        let k = Zeroizing::new(eighth(&clamp_integer(*self.0)));
        let is_same_lift = B.mul_by_cofactor() * *k == receiver;
        let m = Zeroizing::new(if is_same_lift { *k } else { -*k });
        let shared = *m * base;
        let nonce = Zeroizing::new(random_scalar(rng));
        let (at_base, at_message) = (B.mul_by_cofactor() * *nonce, *nonce * base);
        let challenge = drawn((&key, info, sealed), &shared, &at_base, &at_message);
        let response = *nonce + challenge * *m;
        Ok(Revealed { shared: Hash(shared.compress().0), challenge, response })
    }
}

impl Sealed {
    /// Whether its encapsulated key is one that an honest sender makes: else the receiver could read it, perhaps, but
    /// never show that it cannot.
    pub(crate) fn is_encapsulated(&self) -> bool {
        encapsulated(self).is_ok()
    }
}

/// `8E` of a sealed message.
fn encapsulated(sealed: &Sealed) -> Result<EdwardsPoint, RevealError> {
    let lifted = MontgomeryPoint(sealed.encapsulated.0).to_edwards(0).ok_or(RevealError::Key)?;
    let base = lifted.mul_by_cofactor();
    if base.is_identity() { Err(RevealError::Key) } else { Ok(base) }
}

/// The lift of a receiver's key, which is in the subgroup of prime order if it was made from a secret.
fn lift(key: &[u8; 32]) -> Result<EdwardsPoint, RevealError> {
    let lifted = MontgomeryPoint(*key).to_edwards(0).ok_or(RevealError::Key)?;
    if lifted.is_identity() || !lifted.is_torsion_free() { Err(RevealError::Key) } else { Ok(lifted) }
}

fn times_8(scalar: Scalar) -> Scalar {
    scalar * Scalar::from(8u8)
}

/// A clamped secret divided by 8, which it always can be, modulo the order.
fn eighth(clamped: &[u8; 32]) -> Scalar {
    let mut bytes = Zeroizing::new([0; 32]);
    for (at, byte) in bytes.iter_mut().enumerate() {
        let above = clamped.get(at + 1).copied().unwrap_or(0);
        *byte = clamped[at] >> 3 | above << 5;
    }
    Scalar::from_bytes_mod_order(*bytes)
}

fn drawn(
    (key, info, sealed): (&SealKey, &[u8], &Sealed),
    shared: &EdwardsPoint,
    at_base: &EdwardsPoint,
    at_message: &EdwardsPoint,
) -> Scalar {
    let mut transcript = Transcript::new(b"ohmesh/1 revealed secret");
    transcript.append_message(b"key", &key.0);
    transcript.append_message(b"info", info);
    transcript.append_message(b"encapsulated", &sealed.encapsulated.0);
    transcript.append_message(b"ciphertext", &sealed.ciphertext);
    transcript.append_message(b"D", &shared.compress().0);
    transcript.append_message(b"R1", &at_base.compress().0);
    transcript.append_message(b"R2", &at_message.compress().0);
    challenge(&mut transcript, b"c")
}

/// What HPKE opens once the X25519 secret is known.
fn open_with(dh: &[u8; 32], key: &SealKey, info: &[u8], sealed: &Sealed) -> Option<Zeroizing<Vec<u8>>> {
    let shared = shared_secret(dh, &sealed.encapsulated.0, &key.0);
    let (key, nonce) = schedule(&shared, info);
    let payload = Payload { msg: &sealed.ciphertext, aad: b"" };
    let opened = ChaCha20Poly1305::new((&*key).into()).decrypt((&nonce).into(), payload);
    opened.ok().map(Zeroizing::new)
}

/// RFC 9180, 4.1: `ExtractAndExpand(dh, enc || pkRm)`.
fn shared_secret(dh: &[u8; 32], encapsulated: &[u8; 32], key: &[u8; 32]) -> Zeroizing<[u8; 32]> {
    let prk = extract(KEM, b"", b"eae_prk", dh);
    expand(KEM, &prk, b"shared_secret", &[encapsulated, key])
}

/// RFC 9180, 5.1, base mode: the key and the nonce of the first message.
fn schedule(shared: &[u8; 32], info: &[u8]) -> (Zeroizing<[u8; 32]>, [u8; 12]) {
    const BASE_MODE: [u8; 1] = [0];
    let psk_id_hash = extract(SUITE, b"", b"psk_id_hash", b"");
    let info_hash = extract(SUITE, b"", b"info_hash", info);
    let context: [&[u8]; 3] = [&BASE_MODE, &*psk_id_hash, &*info_hash];
    let secret = extract(SUITE, shared, b"secret", b"");
    (expand(SUITE, &secret, b"key", &context), *expand(SUITE, &secret, b"base_nonce", &context))
}

fn extract(suite: &[u8], salt: &[u8], label: &[u8], ikm: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut extract = HkdfExtract::<Sha256>::new(Some(salt));
    [&b"HPKE-v1"[..], suite, label, ikm].iter().for_each(|part| extract.input_ikm(part));
    Zeroizing::new(extract.finalize().0.into())
}

fn expand<const N: usize>(suite: &[u8], prk: &[u8; 32], label: &[u8], info: &[&[u8]]) -> Zeroizing<[u8; N]> {
    let length = u16::try_from(N).expect("at most 32 bytes").to_be_bytes();
    let parts = [&[&length[..], b"HPKE-v1", suite, label], info].concat();
    let mut out = Zeroizing::new([0; N]);
    let hkdf = Hkdf::<Sha256>::from_prk(prk).expect("as long as the hash");
    hkdf.expand_multi_info(&parts, &mut *out).expect("at most 255 hashes long");
    out
}

/// DHKEM(X25519, HKDF-SHA256).
const KEM: &[u8] = b"KEM\x00\x20";
/// With HKDF-SHA256 and ChaCha20-Poly1305.
const SUITE: &[u8] = b"HPKE\x00\x20\x00\x01\x00\x03";

#[cfg(test)]
mod tests {
    use super::*;
    use ohmesh_units::{from_hex, to_hex};
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};

    const INFO: &[u8] = b"ohmesh/1 test";

    fn sealed(to: &SealSecret, seed: u8) -> (Sealed, ChaCha20Rng) {
        let mut rng = ChaCha20Rng::from_seed([seed; 32]);
        (to.public().seal(INFO, b"meet me", &mut rng).unwrap(), rng)
    }

    /// Both lifts of keys occur, and every revealed secret opens what the receiver opens.
    #[test]
    fn a_revealed_secret_opens_what_its_receiver_opens() {
        let mut lifts = [0; 2];
        for seed in 1..20 {
            let secret = SealSecret::from_seed(&[seed; 32]);
            let (sealed, mut rng) = sealed(&secret, seed);
            let revealed = secret.reveal(INFO, &sealed, &mut rng).unwrap();
            let opened = revealed.open(&secret.public(), INFO, &sealed).unwrap();
            assert_eq!(opened.unwrap(), secret.open(INFO, &sealed).unwrap());
            let k = eighth(&clamp_integer(*secret.0));
            lifts[usize::from(B.mul_by_cofactor() * k == lift(&secret.public().0).unwrap())] += 1;
        }
        assert!(lifts.iter().all(|seen| *seen > 3), "{lifts:?}");
    }

    #[test]
    fn bytes_that_do_not_open_are_shown_not_to() {
        let secret = SealSecret::from_seed(&[1; 32]);
        let (mut bent, mut rng) = sealed(&secret, 1);
        bent.ciphertext[3] ^= 1;
        let revealed = secret.reveal(INFO, &bent, &mut rng).unwrap();
        assert_eq!(revealed.open(&secret.public(), INFO, &bent), Ok(None));
    }

    /// A receiver that could show a wrong secret would call a good message unreadable.
    #[test]
    fn no_other_secret_passes() {
        let (secret, other) = (SealSecret::from_seed(&[1; 32]), SealSecret::from_seed(&[2; 32]));
        let (sealed, mut rng) = sealed(&secret, 1);
        let key = secret.public();
        let honest = secret.reveal(INFO, &sealed, &mut rng).unwrap();
        let refused =
            |revealed: &Revealed| assert_eq!(revealed.open(&key, INFO, &sealed), Err(RevealError::Proof));
        refused(&other.reveal(INFO, &sealed, &mut rng).unwrap());
        // Of another message, or for another purpose.
        let again = key.seal(INFO, b"meet me", &mut rng).unwrap();
        refused(&secret.reveal(INFO, &again, &mut rng).unwrap());
        refused(&secret.reveal(b"another", &sealed, &mut rng).unwrap());
        // Another point with the same proof: negated, doubled, with a component of order two, the identity.
        let shared = CompressedEdwardsY(honest.shared.0).decompress().unwrap();
        let order_2 = CompressedEdwardsY([&[0xec][..], &[0xff; 30], &[0x7f]].concat().try_into().unwrap());
        let order_2 = order_2.decompress().unwrap();
        assert!(order_2.is_small_order());
        for point in [-shared, shared + shared, shared + order_2, EdwardsPoint::default()] {
            refused(&Revealed { shared: Hash(point.compress().0), ..honest });
        }
        refused(&Revealed { challenge: honest.challenge + Scalar::ONE, ..honest });
        refused(&Revealed { response: honest.response + Scalar::ONE, ..honest });
        assert_eq!(honest.open(&other.public(), INFO, &sealed), Err(RevealError::Proof));
    }

    /// The negated secret is the other lift of the receiver's key: it has the same x-coordinate, and must not pass as
    /// another secret.
    #[test]
    fn both_lifts_lead_to_the_same_secret() {
        let secret = SealSecret::from_seed(&[3; 32]);
        let (sealed, mut rng) = sealed(&secret, 3);
        let revealed = secret.reveal(INFO, &sealed, &mut rng).unwrap();
        let point = CompressedEdwardsY(revealed.shared.0).decompress().unwrap();
        let x25519 = MontgomeryPoint(sealed.encapsulated.0).mul_clamped(*secret.0);
        assert_eq!(point.to_montgomery(), x25519);
        assert_eq!((-point).to_montgomery(), x25519);
    }

    #[test]
    fn keys_off_the_curve_and_of_small_order_are_named() {
        let secret = SealSecret::from_seed(&[1; 32]);
        let (good, mut rng) = sealed(&secret, 1);
        assert!(good.is_encapsulated());
        let revealed = secret.reveal(INFO, &good, &mut rng).unwrap();
        // x = 2 is on the twist, 0 and 1 have small order.
        let zeros = [0; 31];
        for first in [0, 1, 2] {
            let bytes: [u8; 32] = [&[first][..], &zeros].concat().try_into().unwrap();
            let bad = Sealed { encapsulated: Hash(bytes), ..good.clone() };
            assert!(!bad.is_encapsulated());
            assert_eq!(secret.reveal(INFO, &bad, &mut rng), Err(RevealError::Key));
            assert_eq!(revealed.open(&secret.public(), INFO, &bad), Err(RevealError::Key));
            assert_eq!(revealed.open(&SealKey(bytes), INFO, &good), Err(RevealError::Key));
        }
    }

    /// RFC 9180, A.2.1: the shared secret, the key and the nonce on the way.
    #[test]
    fn rfc_9180_key_schedule() {
        let bytes = |hex: &str| -> [u8; 32] { from_hex(hex).unwrap() };
        let enc = bytes("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a");
        let receiver = bytes("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a");
        let ephemeral =
            SealSecret::from_seed(&bytes("909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b"));
        assert_eq!(ephemeral.public().0, enc);
        let dh = MontgomeryPoint(receiver).mul_clamped(*ephemeral.0).0;
        let shared = shared_secret(&dh, &enc, &receiver);
        let (key, nonce) = schedule(&shared, b"Ode on a Grecian Urn");
        let expected = "0bbe78490412b4bbea4812666f7916932b828bba79942424abb65244930d69a7";
        assert_eq!(to_hex(&*shared), expected);
        let expected = "ad2744de8e17f4ebba575b3f5f5a8fa1f69c2a07f6e7500bc60ca6e3e3ec1c91";
        assert_eq!(to_hex(&*key), expected);
        assert_eq!(to_hex(&nonce), "5c4d98150661b848853b547f");
    }
}
