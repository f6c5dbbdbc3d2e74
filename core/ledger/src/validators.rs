//! Who votes, with how much stake, and whose turn it is to propose.

use crate::LedgerError;
use ohmesh_units::{AccountId, Canonical, Domain, Hash, PublicKey, to_postcard};
use serde::{Deserialize, Serialize};

/// One station agent that votes.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validator {
    /// What people call it; 1 to 64 bytes, and no other validator of the zone is called that.
    pub name: String,
    /// Who it is: the key of its account and of its connections. It lasts.
    pub key: PublicKey,
    /// The key it votes with in this epoch, and erases afterwards.
    pub vote: PublicKey,
    /// Its weight in votes; at least 1.
    pub stake: u64,
    /// Where its agent listens, as `host:port` (QUIC over UDP); may be empty for an agent that only dials.
    pub address: String,
}

impl Validator {
    /// The account in whose name it sends transactions.
    pub fn account(&self) -> AccountId {
        AccountId::of(&self.key)
    }
}

/// One vote of an electorate: whose signature counts, and how much.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voter {
    /// The key that signs votes.
    pub key: PublicKey,
    /// Its weight; at least 1.
    pub stake: u64,
}

/// What certificates of one epoch are checked against, and all of the validators that a phone has to know: keys and
/// weights by index. Headers carry its hash.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<Voter>", into = "Vec<Voter>")]
pub struct Voters {
    voters: Vec<Voter>,
    stake: u64,
    /// The greatest common divisor of the stakes: turns are counted in it.
    unit: u64,
    step: u64,
}

impl Voters {
    /// Checks a list of voters: 1 to [`ValidatorSet::MAX`], distinct registrable keys, stake at least 1 each and below
    /// [`ValidatorSet::STAKE_MAX`] together.
    pub fn new(voters: Vec<Voter>) -> Result<Self, LedgerError> {
        let bad = |reason: String| LedgerError::Validators { reason };
        if voters.is_empty() || voters.len() > ValidatorSet::MAX {
            let most = ValidatorSet::MAX;
            return Err(bad(format!("{} validators, 1 to {most} are allowed", voters.len())));
        }
        let mut stake: u64 = 0;
        for (index, voter) in voters.iter().enumerate() {
            let key = voter.key;
            key.is_registrable()
                .map_err(|error| bad(format!("validator {index} votes with {key}: {error}")))?;
            if voters[..index].iter().any(|other| other.key == key) {
                return Err(bad(format!("key {key} votes twice")));
            }
            stake = stake
                .checked_add(voter.stake)
                .filter(|stake| voter.stake > 0 && *stake < ValidatorSet::STAKE_MAX)
                .ok_or_else(|| {
                    bad(format!("validator {index}: stake is at least 1, all together below 2^60"))
                })?;
        }
        let unit = voters.iter().fold(0, |unit, voter| gcd(voter.stake, unit));
        Ok(Self { step: stride(stake / unit), unit, voters, stake })
    }

    /// The voters, by index.
    pub fn all(&self) -> &[Voter] {
        &self.voters
    }

    /// The voter at `index`.
    pub fn at(&self, index: u16) -> Option<Voter> {
        self.voters.get(usize::from(index)).copied()
    }

    /// The stake of all of them.
    pub fn stake(&self) -> u64 {
        self.stake
    }

    /// Whether `stake` is more than two thirds of the whole.
    pub fn is_quorum(&self, stake: u64) -> bool {
        u128::from(stake) * 3 > u128::from(self.stake) * 2
    }

    /// Whose turn it is to propose at `height` and `round`: a walk around the stake in strides of about 0.618 of it, so
    /// that any few turns in a row spread over the validators, and over as many turns as there is stake (in units of the
    /// stakes' greatest common divisor) each proposes exactly as often as it has stake.
    pub fn proposer(&self, height: u64, round: u32) -> u16 {
        let turn = u128::from(height) + u128::from(round);
        let point = turn * u128::from(self.step) % u128::from(self.stake / self.unit);
        let mut point = u64::try_from(point).expect("below the total stake, which is a u64");
        for (index, voter) in (0u16..).zip(&self.voters) {
            let part = voter.stake / self.unit;
            if point < part {
                return index;
            }
            point -= part;
        }
        unreachable!("a point below the total stake lies in some voter's part of it")
    }

    /// The hash that headers carry.
    pub fn hash(&self) -> Hash {
        const VOTERS: Domain = Domain::new("ohmesh/1 voters");
        VOTERS.hash(&[&to_postcard(&self.voters)])
    }
}

impl Canonical for Voters {
    const NAME: &'static str = "voters";
    const MAX_BYTES: usize = ValidatorSet::MAX * 44 + 8;
}

impl TryFrom<Vec<Voter>> for Voters {
    type Error = LedgerError;

    fn try_from(voters: Vec<Voter>) -> Result<Self, Self::Error> {
        Self::new(voters)
    }
}

impl From<Voters> for Vec<Voter> {
    fn from(voters: Voters) -> Self {
        voters.voters
    }
}

/// A checked list of validators: 1 to 32 of them, distinct registrable keys, total stake below 2^60.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<Validator>", into = "Vec<Validator>")]
pub struct ValidatorSet {
    validators: Vec<Validator>,
    voters: Voters,
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
        for (index, validator) in validators.iter().enumerate() {
            let name = &validator.name;
            if name.is_empty() || name.len() > 64 || validator.address.len() > 128 {
                return Err(bad(format!(
                    "validator {index}: its name has 1 to 64 bytes, its address at most 128"
                )));
            }
            // By the name people find them, and a phone its anchor. Only ASCII is folded: that never changes.
            if validators[..index].iter().any(|other| other.name.eq_ignore_ascii_case(name)) {
                return Err(bad(format!("two validators are called {name}")));
            }
            validator.key.is_registrable().map_err(|error| bad(format!("validator {name}: {error}")))?;
            if validators[..index].iter().any(|other| other.key == validator.key) {
                return Err(bad(format!("validator {name}: key {} is listed twice", validator.key)));
            }
        }
        let voters = validators.iter().map(|one| Voter { key: one.vote, stake: one.stake }).collect();
        Ok(Self { voters: Voters::new(voters)?, validators })
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

    /// The index of the validator that votes with `vote`.
    pub fn voter_index(&self, vote: &PublicKey) -> Option<u16> {
        self.validators.iter().position(|v| v.vote == *vote).and_then(|index| u16::try_from(index).ok())
    }

    /// Their keys and weights: what certificates are checked against.
    pub fn voters(&self) -> &Voters {
        &self.voters
    }

    /// The stake of all validators.
    pub fn stake(&self) -> u64 {
        self.voters.stake
    }

    /// Whether `stake` is more than two thirds of the whole.
    pub fn is_quorum(&self, stake: u64) -> bool {
        self.voters.is_quorum(stake)
    }

    /// Whose turn it is to propose at `height` and `round`; see [`Voters::proposer`].
    pub fn proposer(&self, height: u64, round: u32) -> u16 {
        self.voters.proposer(height, round)
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

/// The number nearest to 0.618 of `stake` that shares no divisor with it.
fn stride(stake: u64) -> u64 {
    let ideal = (stake / 1000 * 618 + stake % 1000 * 618 / 1000).max(1);
    (0..=stake)
        .flat_map(|off| [ideal.checked_add(off), ideal.checked_sub(off)])
        .flatten()
        .find(|step| *step > 0 && gcd(*step, stake) == 1)
        .expect("1 shares no divisor with anything")
}

fn gcd(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use ohmesh_units::SigningKey;

    fn set(stakes: &[u64]) -> ValidatorSet {
        let validators = (1u8..).zip(stakes).map(|(n, stake)| Validator {
            name: format!("v{n}"),
            key: SigningKey::from_seed([n; 32]).public(),
            vote: SigningKey::from_seed([n + 100; 32]).public(),
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
    fn nobody_waits_long_for_a_turn() {
        for stakes in
            [&[10, 10, 10, 10][..], &[1; 7], &[1; 32], &[30, 20, 15, 10, 10, 10, 5], &[1_000_003, 999_983, 7]]
        {
            let set = set(stakes);
            for (index, stake) in stakes.iter().enumerate() {
                let expected = set.stake().div_ceil(*stake);
                let mut since = 0;
                for height in 1000..1000 + 4 * expected.min(5_000) {
                    since = if usize::from(set.proposer(height, 0)) == index { 0 } else { since + 1 };
                    assert!(since <= 3 * expected, "{stakes:?}: validator {index} waits {since} turns");
                }
            }
        }
        let equal = set(&[10, 10, 10, 10]);
        for height in 0..50 {
            let mut four: Vec<u16> = (0..4).map(|round| equal.proposer(height, round)).collect();
            four.sort_unstable();
            assert_eq!(four, [0, 1, 2, 3], "equal stakes take turns");
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
        assert_eq!((set.stake(), set.voters().stake()), (30, 30));
        assert!(!set.is_quorum(20) && set.is_quorum(21));
    }

    #[test]
    fn bad_lists_are_refused() {
        let good = set(&[1, 1]).all().to_vec();
        let twice = vec![good[0].clone(), Validator { name: "v2".into(), ..good[0].clone() }];
        let no_stake = vec![Validator { stake: 0, ..good[0].clone() }];
        let weak = vec![Validator { key: PublicKey::from_bytes([0; 32]), ..good[0].clone() }];
        let weak_vote = vec![Validator { vote: PublicKey::from_bytes([0; 32]), ..good[0].clone() }];
        let one_vote_for_two = vec![good[0].clone(), Validator { vote: good[0].vote, ..good[1].clone() }];
        let named = |name: &str| vec![good[0].clone(), Validator { name: name.into(), ..good[1].clone() }];
        for same in ["v1", "V1"] {
            let refused = ValidatorSet::new(named(same));
            let reason = format!("two validators are called {same}");
            assert_eq!(refused, Err(LedgerError::Validators { reason }));
        }
        for bad in [vec![], twice, no_stake, weak, weak_vote, one_vote_for_two] {
            assert!(matches!(ValidatorSet::new(bad), Err(LedgerError::Validators { .. })));
        }
    }
}
