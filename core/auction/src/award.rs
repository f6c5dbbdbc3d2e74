//! What the winner alone reads: where to meet, and the key of the session. Sealed into the outcome.

use crate::{
    intent::VerifiedIntent,
    outcome::Outcome,
    seal::{RevealError, Revealed, SealError, SealKey, SealSecret, Sealed},
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
    /// The award opens and holds a rendezvous: the winner can read it, and cannot say otherwise.
    #[error("the award can be read")]
    Readable,
    /// The secret that should show what is in the award is not that of the winner's key and this award.
    #[error(transparent)]
    Revealed(#[from] RevealError),
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
        Self::from_plaintext(&secret.open(&purpose(intent, station), sealed)?)
    }

    fn from_plaintext(plaintext: &[u8]) -> Result<Self, AwardError> {
        let bytes = <&[u8; Self::BYTES]>::try_from(plaintext).map_err(|_| AwardError::Malformed)?;
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

/// In place of an [`Accept`]: the award cannot be read, which is the buyer's fault, and this shows it to everybody. What is
/// in the award, if anything, is public then; no other award is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Unreadable {
    /// The auction.
    pub auction: AuctionId,
    /// The winner.
    pub station: StationId,
    /// The hash of the outcome, award included.
    pub outcome: Hash,
    /// The secret of the award.
    pub revealed: Revealed,
}

impl Canonical for Unreadable {
    const NAME: &'static str = "unreadable award";
    const MAX_BYTES: usize = Accept::MAX_BYTES + Revealed::BYTES;
}

impl Unreadable {
    /// Shows that the award of `outcome` to `station`, whose secret is given, cannot be read; [`AwardError::Readable`] if
    /// it can.
    pub fn show(
        outcome: &Outcome,
        intent: &VerifiedIntent,
        station: StationId,
        secret: &SealSecret,
        rng: &mut impl CryptoRng,
    ) -> Result<Self, AwardError> {
        let winner = outcome.decision.win().filter(|winner| winner.station == station);
        let award = winner.ok_or(AwardError::Readable)?.award;
        let revealed = secret.reveal(&purpose(intent, station), award, rng)?;
        let shown = Self { auction: intent.id(), station, outcome: outcome.hash(), revealed };
        shown.verify(award, intent, &secret.public())?;
        Ok(shown)
    }

    /// Checks that `award`, sealed to this station in this auction, holds nothing that the owner of `key` can read.
    pub fn verify(&self, award: &Sealed, intent: &VerifiedIntent, key: &SealKey) -> Result<(), AwardError> {
        let opened = self.revealed.open(key, &purpose(intent, self.station), award)?;
        let Some(plaintext) = opened else { return Ok(()) };
        match Award::from_plaintext(&plaintext) {
            Ok(_) => Err(AwardError::Readable),
            Err(_) => Ok(()),
        }
    }
}

/// Bytes of every sealed award.
pub(crate) const SEALED_BYTES: usize = Award::BYTES + Sealed::TAG_BYTES;

fn purpose(intent: &VerifiedIntent, station: StationId) -> Vec<u8> {
    [&b"ohmesh/1 award"[..], &intent.terms().zone.0, &intent.id().0, &station.0].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        outcome::Decision,
        testing::{Auction, station_secret},
    };

    /// An outcome whose award is what `seal` makes of the winner's purpose, and the winner's secret.
    fn outcome(
        seal: impl FnOnce(&mut Auction, &[u8], StationId) -> Sealed,
    ) -> (Auction, Outcome, SealSecret) {
        let mut auction = Auction::tied();
        let mut outcome = auction.outcome();
        let station = outcome.decision.win().unwrap().station;
        let about = purpose(&auction.intent, station);
        let award = seal(&mut auction, &about, station);
        let Decision::Best(win) = &mut outcome.decision else { panic!() };
        win.award = award;
        (auction, outcome, station_secret(station.0[0]))
    }

    fn show(
        (auction, outcome, secret): &mut (Auction, Outcome, SealSecret),
    ) -> Result<Unreadable, AwardError> {
        let station = outcome.decision.win().unwrap().station;
        Unreadable::show(outcome, &auction.intent, station, secret, &mut auction.rng)
    }

    #[test]
    fn an_award_for_somebody_else_is_shown_to_be_unreadable() {
        let mut sale = outcome(|auction, purpose, _| {
            let other = station_secret(99).public();
            other.seal(purpose, &[0; Award::BYTES], &mut auction.rng).unwrap()
        });
        let shown = show(&mut sale).unwrap();
        let (auction, outcome, secret) = &sale;
        let award = outcome.decision.win().unwrap().award;
        assert_eq!(shown.verify(award, &auction.intent, &secret.public()), Ok(()));
        assert_eq!(Unreadable::decode(&shown.encode()), Ok(shown));
        assert_eq!(shown.encode().len(), Unreadable::MAX_BYTES);
        // It says nothing about another award, nor about another station.
        let other = Auction::tied().award(1);
        let refused = Err(AwardError::Revealed(RevealError::Proof));
        assert_eq!(shown.verify(&other, &auction.intent, &secret.public()), refused);
        let elsewhere = Unreadable { station: StationId([7; 32]), ..shown };
        assert_eq!(elsewhere.verify(award, &auction.intent, &secret.public()), refused);
    }

    #[test]
    fn an_award_that_holds_no_rendezvous_is_unreadable() {
        for plaintext in [&[0xff; Award::BYTES][..], b"", &[0; Award::BYTES - 1]] {
            let mut sale = outcome(|auction, purpose, station| {
                let key = station_secret(station.0[0]).public();
                key.seal(purpose, plaintext, &mut auction.rng).unwrap()
            });
            show(&mut sale).unwrap();
        }
    }

    /// The cheat: a winner that does not want its award any more says that it cannot read it.
    #[test]
    fn a_readable_award_cannot_be_called_unreadable() {
        let mut sale = outcome(|auction, _, _| auction.award(1));
        assert_eq!(show(&mut sale), Err(AwardError::Readable));
        let (auction, outcome, secret) = &mut sale;
        let winner = outcome.decision.win().unwrap();
        let about = purpose(&auction.intent, winner.station);
        let revealed = secret.reveal(&about, winner.award, &mut auction.rng).unwrap();
        let (station, hash) = (winner.station, outcome.hash());
        let said = Unreadable { auction: auction.intent.id(), station, outcome: hash, revealed };
        assert_eq!(said.verify(winner.award, &auction.intent, &secret.public()), Err(AwardError::Readable));
        // With another secret of its own making.
        let other = station_secret(98);
        let revealed = other.reveal(&about, winner.award, &mut auction.rng).unwrap();
        let said = Unreadable { revealed, ..said };
        let refused = Err(AwardError::Revealed(RevealError::Proof));
        assert_eq!(said.verify(winner.award, &auction.intent, &secret.public()), refused);
    }
}
