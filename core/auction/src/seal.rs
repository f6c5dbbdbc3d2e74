//! Sealing bytes to one receiver: HPKE (RFC 9180), base mode, DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
//! ChaCha20-Poly1305.

mod revealed;

pub use revealed::{RevealError, Revealed};

use curve25519_dalek::MontgomeryPoint;
use hpke::{
    Deserializable as _, Kem as _, OpModeR, OpModeS, Serializable as _, aead::ChaCha20Poly1305,
    kdf::HkdfSha256, kem::X25519HkdfSha256 as Suite, single_shot_open, single_shot_seal_with_rng,
};
use ohmesh_units::{Hash, to_hex};
use rand_core::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use zeroize::Zeroizing;

/// Why something could not be sealed or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The receiver's key yields no shared secret (a point of small order).
    #[error("the receiver's key {0:?} cannot be sealed to")]
    Key(SealKey),
    /// The bytes were not sealed to this key, or not for this purpose.
    #[error("the sealed bytes do not open under this key and purpose")]
    Open,
}

/// A receiver's public key: X25519, 32 bytes. A station registers one; a dealer makes one for each generation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct SealKey([u8; 32]);

impl SealKey {
    /// A key from its 32 bytes; any 32 bytes are one (RFC 7748).
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The 32 bytes.
    pub const fn to_bytes(self) -> [u8; 32] {
        self.0
    }

    /// Whether the key may be registered: any but the few of small order, to which nothing can be sealed. Without this
    /// check one dealer's key would keep all others from handing out.
    pub fn is_registrable(&self) -> Result<(), SealError> {
        // Clamped multiples of exactly the points of small order are zero (RFC 7748, 6.1).
        let multiple = MontgomeryPoint(self.0).mul_clamped([1; 32]);
        if multiple.0 == [0; 32] { Err(SealError::Key(*self)) } else { Ok(()) }
    }

    /// Seals `plaintext` to this key for the purpose `info`.
    pub(crate) fn seal(
        &self,
        info: &[u8],
        plaintext: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Sealed, SealError> {
        let key = <Suite as hpke::Kem>::PublicKey::from_bytes(&self.0).map_err(|_| SealError::Key(*self))?;
        let (encapsulated, ciphertext) = single_shot_seal_with_rng::<ChaCha20Poly1305, HkdfSha256, Suite>(
            &OpModeS::Base,
            &key,
            info,
            plaintext,
            b"",
            rng,
        )
        .map_err(|_| SealError::Key(*self))?;
        Ok(Sealed { encapsulated: Hash(encapsulated.to_bytes().into()), ciphertext })
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealKey({}..)", to_hex(&self.0[..4]))
    }
}

impl Serialize for SealKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Hash(self.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for SealKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Hash::deserialize(deserializer).map(|bytes| Self(bytes.0))
    }
}

/// The secret half of a [`SealKey`]. Zeroised when dropped; `Debug` does not show it.
#[derive(Clone)]
pub struct SealSecret(Zeroizing<[u8; 32]>);

impl SealSecret {
    /// The secret derived from a 32-byte seed (RFC 9180, 7.1.3). The seed comes from a random source.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        let (secret, _) = Suite::derive_keypair(seed);
        Self(Zeroizing::new(secret.to_bytes().into()))
    }

    /// A secret from the 32 bytes that [`SealSecret::to_bytes`] gave.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The 32 bytes, for storing or for revealing in a complaint.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        self.0.clone()
    }

    /// The public half.
    pub fn public(&self) -> SealKey {
        SealKey(Suite::sk_to_pk(&self.private()).to_bytes().into())
    }

    /// Opens what was sealed to the public half for the purpose `info`.
    pub(crate) fn open(&self, info: &[u8], sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let encapsulated = <Suite as hpke::Kem>::EncappedKey::from_bytes(&sealed.encapsulated.0)
            .map_err(|_| SealError::Open)?;
        single_shot_open::<ChaCha20Poly1305, HkdfSha256, Suite>(
            &OpModeR::Base,
            &self.private(),
            &encapsulated,
            info,
            &sealed.ciphertext,
            b"",
        )
        .map(Zeroizing::new)
        .map_err(|_| SealError::Open)
    }

    fn private(&self) -> <Suite as hpke::Kem>::PrivateKey {
        <Suite as hpke::Kem>::PrivateKey::from_bytes(&*self.0).expect("any 32 bytes are an X25519 secret")
    }
}

impl fmt::Debug for SealSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealSecret(..)")
    }
}

/// Sealed bytes: the encapsulated key, and the ciphertext with its 16-byte tag.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    encapsulated: Hash,
    ciphertext: Vec<u8>,
}

impl Sealed {
    /// Bytes that sealing adds to a plaintext, besides the encapsulated key.
    pub const TAG_BYTES: usize = 16;

    /// Bytes of the ciphertext, tag included.
    pub fn ciphertext_len(&self) -> usize {
        self.ciphertext.len()
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes)", self.ciphertext.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hpke::{setup_receiver, setup_sender_with_rng};
    use ohmesh_units::from_hex;
    use rand_chacha::{ChaCha20Rng, rand_core::SeedableRng};
    use rand_core::{TryCryptoRng, TryRng};
    use std::convert::Infallible;

    #[test]
    fn only_the_receiver_opens_and_only_for_the_purpose() {
        let mut rng = ChaCha20Rng::from_seed([6; 32]);
        let (mine, other) = (SealSecret::from_seed(&[1; 32]), SealSecret::from_seed(&[2; 32]));
        let sealed = mine.public().seal(b"purpose", b"hello", &mut rng).unwrap();
        assert_eq!(&**mine.open(b"purpose", &sealed).unwrap(), b"hello");
        assert_eq!(mine.open(b"another", &sealed), Err(SealError::Open));
        assert_eq!(other.open(b"purpose", &sealed), Err(SealError::Open));
        let mut bent = sealed.clone();
        bent.ciphertext[0] ^= 1;
        assert_eq!(mine.open(b"purpose", &bent), Err(SealError::Open));
        let zero = SealKey::from_bytes([0; 32]);
        assert_eq!(zero.seal(b"purpose", b"hello", &mut rng), Err(SealError::Key(zero)));
    }

    #[test]
    fn registrable_is_what_can_be_sealed_to() {
        let mut rng = ChaCha20Rng::from_seed([7; 32]);
        let one = [&[1][..], &[0; 31]].concat().try_into().unwrap();
        // A point of order 8 of curve25519.
        let order_8 = from_hex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800").unwrap();
        for bytes in [[0; 32], one, order_8] {
            let key = SealKey::from_bytes(bytes);
            assert_eq!(key.is_registrable(), Err(SealError::Key(key)));
            assert_eq!(key.seal(b"purpose", b"hello", &mut rng), Err(SealError::Key(key)));
        }
        let usual = SealSecret::from_seed(&[1; 32]).public();
        assert_eq!(usual.is_registrable(), Ok(()));
    }

    /// Gives the bytes of one seed, as the vectors of RFC 9180 need for the ephemeral key.
    struct Fixed([u8; 32]);

    impl TryRng for Fixed {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            panic!("only whole seeds are asked for")
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            panic!("only whole seeds are asked for")
        }

        fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
            out.copy_from_slice(&self.0);
            Ok(())
        }
    }

    impl TryCryptoRng for Fixed {}

    /// RFC 9180, A.2.1: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, ChaCha20Poly1305, base mode.
    #[test]
    fn rfc_9180_vectors() {
        let secret = SealSecret::from_seed(
            &from_hex("1ac01f181fdf9f352797655161c58b75c656a6cc2716dcb66372da835542e1df").unwrap(),
        );
        let public = "4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a";
        assert_eq!(to_hex(&secret.public().to_bytes()), public);
        let ephemeral = from_hex("909a9b35d3dc4713a5e72a4da274b55d3d3821a37e5d099e74a647db583a904b").unwrap();
        let (info, plaintext) = (b"Ode on a Grecian Urn", b"Beauty is truth, truth beauty");
        let receiver = <Suite as hpke::Kem>::PublicKey::from_bytes(&secret.public().to_bytes()).unwrap();
        let (encapsulated, mut sender) = setup_sender_with_rng::<ChaCha20Poly1305, HkdfSha256, Suite>(
            &OpModeS::Base,
            &receiver,
            info,
            &mut Fixed(ephemeral),
        )
        .unwrap();
        let encapsulated_bytes: [u8; 32] = encapsulated.to_bytes().into();
        let expected = "1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a";
        assert_eq!(to_hex(&encapsulated_bytes), expected);
        let mut reader = setup_receiver::<ChaCha20Poly1305, HkdfSha256, Suite>(
            &OpModeR::Base,
            &secret.private(),
            &encapsulated,
            info,
        )
        .unwrap();
        for (n, expected) in [
            "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
            "6b53c051e4199c518de79594e1c4ab18b96f081549d45ce015be002090bb119e85285337cc95ba5f59992dc98c",
            "71146bd6795ccc9c49ce25dda112a48f202ad220559502cef1f34271e0cb4b02b4f10ecac6f48c32f878fae86b",
        ]
        .iter()
        .enumerate()
        {
            let associated = format!("Count-{n}");
            let sealed = sender.seal(plaintext, associated.as_bytes()).unwrap();
            assert_eq!(to_hex(&sealed), *expected);
            assert_eq!(reader.open(&sealed, associated.as_bytes()).unwrap(), plaintext);
        }
        for (context, expected) in [
            (&b""[..], "4bbd6243b8bb54cec311fac9df81841b6fd61f56538a775e7c80a9f40160606e"),
            (b"\0", "8c1df14732580e5501b00f82b10a1647b40713191b7c1240ac80e2b68808ba69"),
            (b"TestContext", "5acb09211139c43b3090489a9da433e8a30ee7188ba8b0a9a1ccf0c229283e53"),
        ] {
            let (mut sent, mut read) = ([0; 32], [0; 32]);
            sender.export(context, &mut sent).unwrap();
            reader.export(context, &mut read).unwrap();
            assert_eq!((to_hex(&sent), sent), (expected.to_owned(), read));
        }
        // What this module seals is one message of such a context, without associated data.
        let sealed = secret.public().seal(info, plaintext, &mut Fixed(ephemeral)).unwrap();
        assert_eq!(sealed.encapsulated.0, encapsulated_bytes);
        assert_eq!(&**secret.open(info, &sealed).unwrap(), plaintext);
    }

    #[test]
    fn debug_hides_the_secret() {
        assert_eq!(format!("{:?}", SealSecret::from_seed(&[7; 32])), "SealSecret(..)");
    }
}
