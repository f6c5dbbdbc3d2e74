//! The secret shares of one validator.

use super::{EpochKey, SHARES_MAX, ValidatorIndex};
use crate::group::{Point, times_g};
use curve25519_dalek::scalar::Scalar;
use ohmesh_units::ZoneId;
use std::fmt;
use zeroize::Zeroizing;

/// One share `t_j`.
#[derive(Clone)]
pub(crate) struct Share {
    pub(crate) index: u8,
    pub(crate) secret: Zeroizing<Scalar>,
}

impl Share {
    pub(crate) fn new(index: u8, secret: Scalar) -> Self {
        Self { index, secret: Zeroizing::new(secret) }
    }

    /// `T_j = t_j*G`.
    pub(crate) fn verifying(&self) -> Point {
        Point::new(times_g(&self.secret)).expect("a share is not zero")
    }
}

/// Stored bytes are not the shares of a validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the stored bytes are not key shares")]
pub struct KeySharesError;

/// The secret shares one validator holds of one epoch's key. Zeroised when dropped; `Debug` does not show them.
///
/// A validator keeps them until the epoch's last auction has ended, then drops them and erases the file.
#[derive(Clone)]
pub struct KeyShares {
    zone: ZoneId,
    epoch: u64,
    validator: ValidatorIndex,
    shares: Vec<Share>,
}

impl KeyShares {
    pub(crate) fn new(zone: ZoneId, epoch: u64, validator: ValidatorIndex, shares: Vec<Share>) -> Self {
        Self { zone, epoch, validator, shares }
    }

    /// The zone of the key.
    pub fn zone(&self) -> ZoneId {
        self.zone
    }

    /// The epoch of the key.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Whose shares these are.
    pub fn validator(&self) -> ValidatorIndex {
        self.validator
    }

    /// The numbers of the shares, ascending.
    pub fn indices(&self) -> impl Iterator<Item = u8> {
        self.shares.iter().map(|share| share.index)
    }

    /// Whether these are this validator's shares of `key`, all of them.
    pub fn belong_to(&self, key: &EpochKey) -> bool {
        self.zone == key.zone()
            && self.epoch == key.epoch()
            && self.indices().eq(key.holding().indices_of(self.validator))
            && self.shares.iter().all(|share| key.verifying_share(share.index) == Some(share.verifying()))
    }

    /// The bytes to store, in a file that only the validator can read:
    /// version, zone, epoch, validator, count, then number and scalar of each share; integers big-endian.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        // Sized first, so that growing leaves no copy of a secret behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(HEAD + self.shares.len() * SHARE));
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.zone.0);
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.extend_from_slice(&self.validator.0.to_be_bytes());
        for share in &self.shares {
            bytes.push(share.index);
            bytes.extend_from_slice(share.secret.as_bytes());
        }
        bytes
    }

    /// The shares that [`KeyShares::to_bytes`] stored.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, KeySharesError> {
        let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or(KeySharesError)?;
        let (records, tail) = rest.as_chunks::<SHARE>();
        if head[0] != VERSION || !tail.is_empty() || records.is_empty() || records.len() > SHARES_MAX {
            return Err(KeySharesError);
        }
        let field = |from: usize, length: usize| &head[from..from + length];
        let shares = records
            .iter()
            .map(|record| {
                let secret = Zeroizing::new(<[u8; 32]>::try_from(&record[1..]).map_err(|_| KeySharesError)?);
                let secret = Option::<Scalar>::from(Scalar::from_canonical_bytes(*secret));
                let secret = secret.filter(|secret| *secret != Scalar::ZERO).ok_or(KeySharesError)?;
                Ok(Share::new(record[0], secret))
            })
            .collect::<Result<Vec<Share>, KeySharesError>>()?;
        Ok(Self {
            zone: ZoneId(field(1, 32).try_into().map_err(|_| KeySharesError)?),
            epoch: u64::from_be_bytes(field(33, 8).try_into().map_err(|_| KeySharesError)?),
            validator: ValidatorIndex(u16::from_be_bytes(
                field(41, 2).try_into().map_err(|_| KeySharesError)?,
            )),
            shares,
        })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Share> {
        self.shares.iter()
    }
}

impl fmt::Debug for KeyShares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyShares(epoch {}, validator {}, ..)", self.epoch, self.validator)
    }
}

const VERSION: u8 = 1;
const HEAD: usize = 1 + 32 + 8 + 2;
const SHARE: usize = 1 + 32;
