//! Points and scalars as they travel: 32 canonical bytes, the identity refused.

use curve25519_dalek::{
    ristretto::{CompressedRistretto, RistrettoPoint},
    scalar::Scalar,
    traits::IsIdentity,
};
use ohmesh_units::{Hash, to_hex};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use std::fmt;

/// Why 32 bytes are not a point this auction accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PointError {
    /// The bytes are not the canonical encoding of any point (RFC 9496, 4.3.1).
    #[error("not the canonical encoding of a ristretto255 point")]
    NotCanonical,
    /// The identity: no honest message contains it, and it would make a proof about nothing.
    #[error("the identity is not accepted as a point")]
    Identity,
}

/// A ristretto255 point other than the identity, with its 32 canonical bytes at hand.
///
/// Decoding pays for the decompression once; hashing a point into a proof is then free.
#[derive(Clone, Copy)]
pub struct Point {
    point: RistrettoPoint,
    bytes: CompressedRistretto,
}

impl Point {
    /// The point of 32 canonical bytes (RFC 9496, 4.3.1).
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, PointError> {
        let bytes = CompressedRistretto(bytes);
        let point = bytes.decompress().ok_or(PointError::NotCanonical)?;
        if point.is_identity() {
            return Err(PointError::Identity);
        }
        Ok(Self { point, bytes })
    }

    /// The 32 canonical bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.bytes.0
    }

    pub(crate) fn new(point: RistrettoPoint) -> Result<Self, PointError> {
        let bytes = point.compress();
        if point.is_identity() {
            return Err(PointError::Identity);
        }
        Ok(Self { point, bytes })
    }

    pub(crate) fn point(&self) -> RistrettoPoint {
        self.point
    }

    pub(crate) fn compressed(&self) -> CompressedRistretto {
        self.bytes
    }
}

impl PartialEq for Point {
    fn eq(&self, other: &Self) -> bool {
        self.bytes == other.bytes
    }
}

impl Eq for Point {}

impl fmt::Debug for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Point({}..)", to_hex(&self.bytes.0[..4]))
    }
}

impl Serialize for Point {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Hash(self.bytes.0).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Point {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_bytes(Hash::deserialize(deserializer)?.0).map_err(D::Error::custom)
    }
}

/// A scalar below the group's order as 32 canonical bytes.
pub(crate) struct ScalarBytes(pub(crate) Scalar);

impl Serialize for ScalarBytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Hash(self.0.to_bytes()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ScalarBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Hash::deserialize(deserializer)?.0;
        Option::from(Scalar::from_canonical_bytes(bytes))
            .map(Self)
            .ok_or_else(|| D::Error::custom("not the canonical encoding of a scalar"))
    }
}

/// `#[serde(with)]` for a bare [`Scalar`].
pub(crate) mod serde_scalar {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(scalar: &Scalar, serializer: S) -> Result<S::Ok, S::Error> {
        ScalarBytes(*scalar).serialize(serializer)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Scalar, D::Error> {
        ScalarBytes::deserialize(deserializer).map(|scalar| scalar.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::base_a;
    use ohmesh_units::{from_hex, from_postcard, to_postcard};

    #[test]
    fn the_identity_is_refused() {
        assert_eq!(Point::from_bytes([0; 32]), Err(PointError::Identity));
        assert!(from_postcard::<Point>("point", &[0; 32]).is_err());
        assert_eq!(from_postcard::<Point>("point", &to_postcard(&base_a())), Ok(base_a()));
    }

    #[test]
    fn scalars_above_the_order_are_refused() {
        let order = from_hex("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
        assert!(from_postcard::<ScalarBytes>("scalar", &order).is_err());
        let mut below: [u8; 32] = order;
        below[0] -= 1;
        assert_eq!(from_postcard::<ScalarBytes>("scalar", &below).unwrap().0, -Scalar::ONE);
    }
}
