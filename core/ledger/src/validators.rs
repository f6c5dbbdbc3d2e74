//! Who votes, with how much stake, and whose turn it is to propose.

use crate::LedgerError;
use ohmesh_units::{Domain, Hash, PublicKey, to_postcard};
use serde::{Deserialize, Serialize};

/// One station agent that votes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validator {
    /// What people call it; 1 to 64 bytes.
    pub name: String,
    /// The key it votes with.
    pub key: PublicKey,
    /// Its weight in votes; at least 1.
    pub stake: u64,
    /// Where its agent listens, as `host:port` (QUIC over UDP); may be empty for an agent that only dials.
    pub address: String,
}

/// A checked list of validators: 1 to 32 of them, distinct registrable keys, total stake below 2^60.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<Validator>", into = "Vec<Validator>")]
pub struct ValidatorSet {
    validators: Vec<Validator>,
    stake: u64,
    step: u64,
}

impl ValidatorSet {
    /// Validators at most; the auction's key shares allow no more either.
    pub const MAX: usize = 32;
    /// Total stake stays below this, so that three times a sum of stakes fits.
    pub const STAKE_MAX: u64 = 1 << 60;

    /// Checks a list of validators; their order is their index.
    pub fn new(validators: Vec<Validator>) -> Result<Self, LedgerError> {
        let bad = |reason: String| LedgerError::Validators { reason };
        if validators.is_empty() || validators.len() > Self::MAX {
            return Err(bad(format!("{} validators, 1 to {} are allowed", validators.len(), Self::MAX)));
        }
        let mut stake: u64 = 0;
        for (index, validator) in validators.iter().enumerate() {
            let name = &validator.name;
            if name.is_empty() || name.len() > 64 || validator.address.len() > 128 {
                return Err(bad(format!(
                    "validator {index}: its name has 1 to 64 bytes, its address at most 128"
                )));
            }
            validator.key.is_registrable().map_err(|error| bad(format!("validator {name}: {error}")))?;
            if validators[..index].iter().any(|other| other.key == validator.key) {
                return Err(bad(format!("validator {name}: key {} is listed twice", validator.key)));
            }
            stake = stake
                .checked_add(validator.stake)
                .filter(|stake| validator.stake > 0 && *stake < Self::STAKE_MAX)
                .ok_or_else(|| {
                    bad(format!("validator {name}: stake is at least 1, all together below 2^60"))
                })?;
        }
        Ok(Self { step: stride(stake), stake, validators })
    }

    /// The validators, by index.
    pub fn all(&self) -> &[Validator] {
        &self.validators
    }

    /// The validator at `index`.
    pub fn at(&self, index: u16) -> Option<&Validator> {
        self.validators.get(usize::from(index))
    }

    /// The index of the validator with `key`.
    pub fn index_of(&self, key: &PublicKey) -> Option<u16> {
        self.validators.iter().position(|v| v.key == *key).and_then(|index| u16::try_from(index).ok())
    }

    /// The stake of all validators.
    pub fn stake(&self) -> u64 {
        self.stake
    }

    /// Whether `stake` is more than two thirds of the whole.
    pub fn is_quorum(&self, stake: u64) -> bool {
        u128::from(stake) * 3 > u128::from(self.stake) * 2
    }

    /// Whose turn it is to propose at `height` and `round`: a walk around the stake in strides of about 0.618 of it, so
    /// that any few turns in a row spread over the validators, and over as many turns as there is stake each
    /// proposes exactly as often as it has stake.
    pub fn proposer(&self, height: u64, round: u32) -> u16 {
        let turn = u128::from(height) + u128::from(round);
        let point = turn * u128::from(self.step) % u128::from(self.stake);
        let mut point = u64::try_from(point).expect("below the total stake, which is a u64");
        for (index, validator) in (0u16..).zip(&self.validators) {
            if point < validator.stake {
                return index;
            }
            point -= validator.stake;
        }
        unreachable!("a point below the total stake lies in some validator's part of it")
    }

    /// Hash of the whole list, for headers.
    pub fn hash(&self) -> Hash {
        const VALIDATORS: Domain = Domain::new("ohmesh/1 validators");
        VALIDATORS.hash(&[&to_postcard(&self.validators)])
    }
}

impl TryFrom<Vec<Validator>> for ValidatorSet {
    type Error = LedgerError;

    fn try_from(validators: Vec<Validator>) -> Result<Self, Self::Error> {
        Self::new(validators)
    }
}

impl From<ValidatorSet> for Vec<Validator> {
    fn from(set: ValidatorSet) -> Self {
        set.validators
    }
}

/// The number nearest above 0.618 of `stake` that shares no divisor with it.
fn stride(stake: u64) -> u64 {
    let gcd = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let start = stake / 1000 * 618 + stake % 1000 * 618 / 1000;
    (start.max(1)..).find(|step| gcd(*step, stake) == 1).expect("stake + 1 shares no divisor with stake")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ohmesh_units::SigningKey;

    fn set(stakes: &[u64]) -> ValidatorSet {
        let validators = (1u8..).zip(stakes).map(|(n, stake)| Validator {
            name: format!("v{n}"),
            key: SigningKey::from_seed([n; 32]).public(),
            stake: *stake,
            address: String::new(),
        });
        ValidatorSet::new(validators.collect()).unwrap()
    }

    #[test]
    fn everybody_proposes_as_often_as_it_has_stake() {
        for stakes in [&[1][..], &[1, 1, 1, 1], &[30, 20, 15, 10, 10, 10, 5], &[7, 1]] {
            let set = set(stakes);
            let mut turns = vec![0u64; stakes.len()];
            for height in 0..set.stake() {
                turns[usize::from(set.proposer(height, 0))] += 1;
            }
            assert_eq!(turns, stakes);
        }
    }

    #[test]
    fn a_failed_round_moves_to_another_proposer() {
        let set = set(&[1, 1, 1, 1]);
        for height in 0..50 {
            assert_ne!(set.proposer(height, 0), set.proposer(height, 1));
        }
    }

    #[test]
    fn quorum_is_more_than_two_thirds() {
        let set = set(&[10, 10, 10]);
        assert!(!set.is_quorum(20) && set.is_quorum(21));
    }

    #[test]
    fn bad_lists_are_refused() {
        let good = set(&[1, 1]).all().to_vec();
        let twice = vec![good[0].clone(), good[0].clone()];
        let no_stake = vec![Validator { stake: 0, ..good[0].clone() }];
        let weak = vec![Validator { key: PublicKey::from_bytes([0; 32]), ..good[0].clone() }];
        for bad in [vec![], twice, no_stake, weak] {
            assert!(matches!(ValidatorSet::new(bad), Err(LedgerError::Validators { .. })));
        }
    }
}
