//! Domain-separated hashing: BLAKE3 in keyed mode, the key being the name of the use.

use crate::hex::hex_newtype;

/// A 256-bit hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash(pub [u8; 32]);
hex_newtype!(Hash, 32);

impl Hash {
    /// The hash whose bytes are all zero; stands for "nothing yet" where a chain of hashes begins.
    pub const ZERO: Self = Self([0; 32]);
}

/// One use of the hash, so that the bytes of one kind of thing never hash to the id of another kind.
///
/// ```
/// use ohmesh_units::Domain;
/// const LEAF: Domain = Domain::new("ohmesh/1 leaf");
/// const NODE: Domain = Domain::new("ohmesh/1 node");
/// assert_ne!(LEAF.hash(&[b"x"]), NODE.hash(&[b"x"]));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Domain([u8; 32]);

impl Domain {
    /// A domain by its name of 1 to 32 ASCII bytes; a longer one does not compile in a constant.
    pub const fn new(name: &str) -> Self {
        let name = name.as_bytes();
        assert!(!name.is_empty() && name.len() <= 32, "a domain's name has 1 to 32 bytes");
        let mut key = [0; 32];
        let mut at = 0;
        while at < name.len() {
            key[at] = name[at];
            at += 1;
        }
        Self(key)
    }

    /// Hash of the concatenated `parts`. Parts of variable length must carry their own length: use
    /// [`Canonical`](crate::Canonical) bytes or fixed-size arrays.
    pub fn hash(&self, parts: &[&[u8]]) -> Hash {
        let mut hasher = self.hasher();
        for part in parts {
            hasher.update(part);
        }
        hasher.finish()
    }

    /// A hash that is fed piece by piece.
    pub fn hasher(&self) -> Hasher {
        Hasher(blake3::Hasher::new_keyed(&self.0))
    }
}

/// A hash in the making.
#[derive(Clone)]
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Adds bytes.
    pub fn update(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// The hash of all bytes added.
    pub fn finish(&self) -> Hash {
        Hash(*self.0.finalize().as_bytes())
    }

    /// Fills `out` with as many bytes as it holds, the first 32 being [`Hasher::finish`].
    pub fn fill(&self, out: &mut [u8]) {
        self.0.finalize_xof().fill(out);
    }

    /// The endless output stream, for callers that need a seeded source of coefficients.
    pub(crate) fn stream(&self) -> blake3::OutputReader {
        self.0.finalize_xof()
    }
}
