//! Canonical bytes: a value has exactly one encoding, and bytes that are not that encoding are refused.
//!
//! Layout: one version byte, then postcard. Postcard alone accepts over-long integers, so `decode` encodes the
//! value again and compares.

use postcard::ser_flavors::Flavor;
use serde::{Serialize, de::DeserializeOwned};

/// Why bytes from outside are not a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Nothing at all was given.
    #[error("{what}: no bytes")]
    Empty {
        /// The type that was expected.
        what: &'static str,
    },
    /// More bytes than this type may ever have.
    #[error("{what}: {found} bytes, at most {max} are allowed")]
    TooLong {
        /// The type that was expected.
        what: &'static str,
        /// The bound of the type.
        max: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// The version byte is one this program does not know.
    #[error("{what}: version {found} is unknown, this program knows {known}")]
    Version {
        /// The type that was expected.
        what: &'static str,
        /// The version this program writes.
        known: u8,
        /// The version that was given.
        found: u8,
    },
    /// The bytes end early, or a field is out of its range.
    #[error("{what}: malformed: {reason}")]
    Malformed {
        /// The type that was expected.
        what: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// The bytes decode, but they are not the one encoding of the value (or something follows it).
    #[error("{what}: not the canonical encoding")]
    NotCanonical {
        /// The type that was expected.
        what: &'static str,
    },
}

/// A value with one encoding: its version byte followed by postcard.
///
/// ```
/// use ohmesh_units::{Canonical, Money};
/// let bytes = Money::from_micro(1_000_000).encode();
/// assert_eq!(Money::decode(&bytes).unwrap(), Money::from_micro(1_000_000));
/// assert!(Money::decode(&[&bytes[..], &[0]].concat()).is_err(), "trailing bytes are refused");
/// ```
pub trait Canonical: Serialize + DeserializeOwned {
    /// What errors call this type.
    const NAME: &'static str;
    /// The version this program reads and writes.
    const VERSION: u8 = 1;
    /// The most bytes an encoding may have; checked before anything is allocated.
    const MAX_BYTES: usize;

    /// The one encoding of this value.
    fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(USUAL_BYTES);
        bytes.push(Self::VERSION);
        append_postcard(bytes, self)
    }

    /// The value whose one encoding is `bytes`.
    fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let what = Self::NAME;
        if bytes.len() > Self::MAX_BYTES {
            return Err(DecodeError::TooLong { what, max: Self::MAX_BYTES, found: bytes.len() });
        }
        let (&found, rest) = bytes.split_first().ok_or(DecodeError::Empty { what })?;
        if found != Self::VERSION {
            return Err(DecodeError::Version { what, known: Self::VERSION, found });
        }
        from_postcard(what, rest)
    }
}

/// Postcard bytes of a value that holds no map and no float, which is all this house encodes.
pub fn to_postcard<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    append_postcard(Vec::with_capacity(USUAL_BYTES), value)
}

/// `bytes`, and the [postcard bytes](to_postcard) of a value after them.
pub fn append_postcard<T: Serialize + ?Sized>(bytes: Vec<u8>, value: &T) -> Vec<u8> {
    postcard::serialize_with_flavor(value, Appended(bytes))
        .expect("postcard cannot fail on a type without unsized sequences, writing to memory")
}

/// Where postcard writes: at the end of bytes that are there.
struct Appended(Vec<u8>);

impl Flavor for Appended {
    type Output = Vec<u8>;

    #[inline]
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }

    #[inline]
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }

    fn finalize(self) -> postcard::Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// The value whose postcard encoding is exactly `bytes`; `what` names it in errors.
pub fn from_postcard<T: Serialize + DeserializeOwned>(
    what: &'static str,
    bytes: &[u8],
) -> Result<T, DecodeError> {
    let value: T = postcard::from_bytes(bytes)
        .map_err(|error| DecodeError::Malformed { what, reason: error.to_string() })?;
    if append_postcard(Vec::with_capacity(bytes.len()), &value) != bytes {
        return Err(DecodeError::NotCanonical { what });
    }
    Ok(value)
}

/// Reads length-prefixed records (u32 big-endian, then that many bytes) from a byte string, for logs and frames.
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the front of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// The next record, or `None` when what is left is not a whole one.
    pub fn record(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk::<4>()?;
        let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
        let (record, rest) = rest.split_at_checked(length)?;
        self.rest = rest;
        Some(record)
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

/// Room for the encoding of most values, a signed transfer among them, so that writing one moves it nowhere.
const USUAL_BYTES: usize = 320;

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    struct Pair(u32, Vec<u8>);

    impl Canonical for Pair {
        const NAME: &'static str = "pair";
        const MAX_BYTES: usize = 64;
    }

    #[test]
    fn over_long_integers_are_refused() {
        let pair = Pair(5, vec![7]);
        let bytes = pair.encode();
        assert_eq!(bytes, [1, 5, 1, 7]);
        assert_eq!(Pair::decode(&bytes), Ok(pair));
        let over_long = [1, 0x85, 0x00, 1, 7];
        assert_eq!(Pair::decode(&over_long), Err(DecodeError::NotCanonical { what: "pair" }));
    }

    #[test]
    fn every_kind_of_bad_bytes_has_its_own_error() {
        assert_eq!(Pair::decode(&[]), Err(DecodeError::Empty { what: "pair" }));
        assert_eq!(
            Pair::decode(&[9, 5, 1, 7]),
            Err(DecodeError::Version { what: "pair", known: 1, found: 9 })
        );
        assert_eq!(Pair::decode(&[0; 65]), Err(DecodeError::TooLong { what: "pair", max: 64, found: 65 }));
        assert!(matches!(Pair::decode(&[1, 5, 9, 7]), Err(DecodeError::Malformed { .. })));
        assert_eq!(Pair::decode(&[1, 5, 1, 7, 0]), Err(DecodeError::NotCanonical { what: "pair" }));
    }

    #[test]
    fn reader_stops_at_a_torn_record() {
        let bytes = [0, 0, 0, 2, 8, 9, 0, 0, 0, 3, 1];
        let mut reader = Reader::new(&bytes);
        assert_eq!(reader.record(), Some(&[8, 9][..]));
        assert_eq!(reader.record(), None);
        assert_eq!(reader.rest(), &[0, 0, 0, 3, 1]);
    }
}
