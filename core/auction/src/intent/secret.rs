//! What only the buyer knows of its intent.

use super::{Reserve, VerifiedIntent};
use crate::{
    group::{price_of_point, random_scalar},
    release::Opening,
    score::Score,
};
use curve25519_dalek::scalar::Scalar;
use ohmesh_units::{InCell, PriceTick, StationId};
use rand_core::CryptoRng;
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// The buyer's secrets of one auction: the key `b`, the position, the reserve, the blindings of its commitments.
///
/// `b` is random and never derived from a wallet's seed: drop this, and erase its stored bytes, when the auction ends;
/// the losing prices are then sealed for good. Zeroised when dropped; `Debug` does not show it.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct BuyerSecret {
    pub(crate) b: Scalar,
    pub(crate) x: u8,
    pub(crate) y: u8,
    pub(crate) reserve: u32,
    pub(crate) blind_x: Scalar,
    pub(crate) blind_y: Scalar,
    pub(crate) blind_q: Scalar,
    pub(crate) blind_reserve: Scalar,
}

/// Stored bytes are not a buyer's secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored bytes are not a buyer's secret")]
pub struct BuyerSecretError;

impl BuyerSecret {
    pub(super) fn sample(x: u8, y: u8, reserve: Reserve, rng: &mut impl CryptoRng) -> Self {
        let mut next = || random_scalar(rng);
        Self {
            b: next(),
            x,
            y,
            reserve: reserve.0,
            blind_x: next(),
            blind_y: next(),
            blind_q: next(),
            blind_reserve: next(),
        }
    }

    /// Where the buyer is, in the frame of the intent's area.
    pub fn position(&self) -> InCell {
        InCell { x: self.x.into(), y: self.y.into() }
    }

    /// The reserve.
    pub fn reserve(&self) -> Reserve {
        Reserve(self.reserve)
    }

    /// The price each bid hides, in ledger order; `None` for one that hides no 16-bit price (its proofs rule that out).
    pub fn open(&self, bids: &[crate::bid::LedgeredBid], opening: &Opening) -> Vec<Option<PriceTick>> {
        let opened = bids.iter().zip(opening.points());
        opened.map(|(bid, point)| price_of_point(&(bid.c.point() - self.b * point.point()))).collect()
    }

    /// The score of a price at a station, or `None` if the station is too far away to be eligible, or if this is not
    /// the secret of the intent.
    pub fn score(
        &self,
        intent: &VerifiedIntent,
        station: StationId,
        position: InCell,
        price: PriceTick,
    ) -> Option<Score> {
        let terms = intent.terms();
        match intent.road(station) {
            Some(_) => intent.open_road(station, self).map(|road| Score::by_road(terms, road, price)),
            None => Score::new(terms, self.position(), position, price),
        }
    }

    /// The bytes to store, where only the buyer reads them: version, x, y, reserve (big-endian), then five scalars.
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::BYTES]> {
        let mut bytes = Zeroizing::new([0; Self::BYTES]);
        bytes[..3].copy_from_slice(&[VERSION, self.x, self.y]);
        bytes[3..7].copy_from_slice(&self.reserve.to_be_bytes());
        let scalars = [&self.b, &self.blind_x, &self.blind_y, &self.blind_q, &self.blind_reserve];
        for (chunk, scalar) in bytes[7..].chunks_exact_mut(32).zip(scalars) {
            chunk.copy_from_slice(scalar.as_bytes());
        }
        bytes
    }

    /// The secret that [`BuyerSecret::to_bytes`] stored.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Result<Self, BuyerSecretError> {
        let scalar = |at: usize| {
            let from = 7 + 32 * at;
            let bytes =
                Zeroizing::new(<[u8; 32]>::try_from(&bytes[from..from + 32]).map_err(|_| BuyerSecretError)?);
            Option::<Scalar>::from(Scalar::from_canonical_bytes(*bytes)).ok_or(BuyerSecretError)
        };
        if bytes[0] != VERSION {
            return Err(BuyerSecretError);
        }
        Ok(Self {
            b: scalar(0)?,
            x: bytes[1],
            y: bytes[2],
            reserve: u32::from_be_bytes([bytes[3], bytes[4], bytes[5], bytes[6]]),
            blind_x: scalar(1)?,
            blind_y: scalar(2)?,
            blind_q: scalar(3)?,
            blind_reserve: scalar(4)?,
        })
    }

    /// Bytes of [`BuyerSecret::to_bytes`].
    pub const BYTES: usize = 7 + 5 * 32;
}

impl fmt::Debug for BuyerSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BuyerSecret(..)")
    }
}

const VERSION: u8 = 1;
