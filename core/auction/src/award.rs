//! What the winner alone reads: where to meet, and the key of the session. Sealed into the outcome.

use crate::{
    intent::VerifiedIntent,
    outcome::Outcome,
    seal::{SealError, SealKey, SealSecret, Sealed},
};
use ohmesh_units::{AuctionId, Canonical, Hash, StationId};
use rand_core::CryptoRng;
use serde::{Deserialize, Serialize};
use std::fmt;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Why an award cannot be made or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AwardError {
    /// The rendezvous is longer than it may be.
    #[error("the rendezvous has {found} bytes, {RENDEZVOUS_BYTES_MAX} is the most")]
    RendezvousTooLong {
        /// Bytes that were given.
        found: usize,
    },
    /// The award cannot be sealed or opened.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The award opens, but what is inside is no award: the buyer made it wrong.
    #[error("the award opens, but holds no rendezvous")]
    Malformed,
}

/// The most bytes of a rendezvous: addresses, a token, a short text.
pub const RENDEZVOUS_BYTES_MAX: usize = 128;

/// The award: rendezvous and session key. Zeroised when dropped; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq, Zeroize, ZeroizeOnDrop)]
pub struct Award {
    rendezvous: Vec<u8>,
    session_key: [u8; 32],
}

impl Award {
    /// An award with a fresh session key. The rendezvous has at most [`RENDEZVOUS_BYTES_MAX`] bytes.
    pub fn new(rendezvous: &[u8], rng: &mut impl CryptoRng) -> Result<Self, AwardError> {
        if rendezvous.len() > RENDEZVOUS_BYTES_MAX {
            return Err(AwardError::RendezvousTooLong { found: rendezvous.len() });
        }
        let mut award = Self { rendezvous: rendezvous.to_vec(), session_key: [0; 32] };
        rng.fill_bytes(&mut award.session_key);
        Ok(award)
    }

    /// How the winner reaches the buyer; what the bytes mean is between their transports.
    pub fn rendezvous(&self) -> &[u8] {
        &self.rendezvous
    }

    /// The key both sides authenticate their session with.
    pub fn session_key(&self) -> &[u8; 32] {
        &self.session_key
    }

    /// The bytes to store until the two have met: session key, length, rendezvous, zeros. Every award has as many.
    pub fn to_bytes(&self) -> Zeroizing<[u8; Self::BYTES]> {
        let mut bytes = Zeroizing::new([0; Self::BYTES]);
        bytes[..32].copy_from_slice(&self.session_key);
        bytes[32] = u8::try_from(self.rendezvous.len()).expect("at most RENDEZVOUS_BYTES_MAX");
        bytes[33..33 + self.rendezvous.len()].copy_from_slice(&self.rendezvous);
        bytes
    }

    /// The award of the bytes that [`Award::to_bytes`] gave.
    pub fn from_bytes(bytes: &[u8; Self::BYTES]) -> Result<Self, AwardError> {
        let mut session_key = [0; 32];
        session_key.copy_from_slice(&bytes[..32]);
        let rest = &bytes[33..];
        let split = rest.split_at_checked(usize::from(bytes[32]));
        let (rendezvous, padding) = split.ok_or(AwardError::Malformed)?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(AwardError::Malformed);
        }
        Ok(Self { rendezvous: rendezvous.to_vec(), session_key })
    }

    /// Bytes of [`Award::to_bytes`].
    pub const BYTES: usize = 32 + 1 + RENDEZVOUS_BYTES_MAX;

    /// Seals the award to the winner's registered key, for this auction and station only. Every award has the same
    /// length.
    pub fn seal(
        &self,
        intent: &VerifiedIntent,
        station: StationId,
        key: &SealKey,
        rng: &mut impl CryptoRng,
    ) -> Result<Sealed, AwardError> {
        Ok(key.seal(&purpose(intent, station), &*self.to_bytes(), rng)?)
    }

    /// Opens an award that was sealed to this station in this auction.
    pub fn open(
        sealed: &Sealed,
        intent: &VerifiedIntent,
        station: StationId,
        secret: &SealSecret,
    ) -> Result<Self, AwardError> {
        let plaintext = secret.open(&purpose(intent, station), sealed)?;
        let bytes = <&[u8; Self::BYTES]>::try_from(&plaintext[..]).map_err(|_| AwardError::Malformed)?;
        Self::from_bytes(bytes)
    }
}

impl fmt::Debug for Award {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Award(..)")
    }
}

/// Last message: the winner takes the award. The ledger checks that the sender owns the station, that the station won,
/// and that `outcome` is the hash of the outcome it executed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Accept {
    /// The auction.
    pub auction: AuctionId,
    /// The winner.
    pub station: StationId,
    /// The hash of the outcome, award included.
    pub outcome: Hash,
}

impl Canonical for Accept {
    const NAME: &'static str = "accept";
    const MAX_BYTES: usize = 1 + 32 + 32 + 32;
}

impl Accept {
    /// The acceptance of `outcome` by `station`.
    pub fn of(outcome: &Outcome, station: StationId) -> Self {
        Self { auction: outcome.auction, station, outcome: outcome.hash() }
    }
}

/// Bytes of every sealed award.
pub(crate) const SEALED_BYTES: usize = Award::BYTES + Sealed::TAG_BYTES;

fn purpose(intent: &VerifiedIntent, station: StationId) -> Vec<u8> {
    [&b"ohmesh/1 award"[..], &intent.terms().zone.0, &intent.id().0, &station.0].concat()
}
