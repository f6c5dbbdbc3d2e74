//! Shares by stake.

use super::KeyError;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A validator, by its position in the zone's list of validators for the epoch.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ValidatorIndex(pub u16);

impl fmt::Display for ValidatorIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The most shares of one key. Bounds the generation (shares x threshold points on the ledger) and each release.
pub const SHARES_MAX: usize = 32;

/// Who owns which share. Shares are numbered from 1; a validator's shares are next to each other.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "Vec<ValidatorIndex>", into = "Vec<ValidatorIndex>")]
pub struct Shareholding {
    owners: Vec<ValidatorIndex>,
}

impl Shareholding {
    /// Shares by stake, validators in ascending order.
    ///
    /// The rule: stakes are divided by their greatest common divisor; if their sum is at most [`SHARES_MAX`], they are
    /// the shares, exactly. Otherwise each validator gets the whole part of `stake * 32 / sum`, the shares left over
    /// go one each to the largest remainders, ties to the lower index, and the counts are divided by their greatest
    /// common divisor again. So a validator's part of the shares differs from its part of the stake by less than
    /// 1/32, and one with too little stake holds none: it serves blocks, not releases.
    ///
    /// ```
    /// use ohmesh_auction::key::{Shareholding, ValidatorIndex as V};
    /// let holding = Shareholding::by_stake(&[(V(0), 500), (V(1), 250), (V(2), 250)]).unwrap();
    /// assert_eq!((holding.shares(), holding.threshold()), (4, 3));
    /// assert_eq!(holding.indices_of(V(0)).collect::<Vec<u8>>(), [1, 2]);
    /// ```
    pub fn by_stake(stakes: &[(ValidatorIndex, u64)]) -> Result<Self, KeyError> {
        if let Some(pair) = stakes.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            return Err(KeyError::Order(pair[1].0));
        }
        let stake = reduced(stakes.iter().map(|(_, stake)| *stake).collect());
        let sum: u128 = stake.iter().map(|stake| u128::from(*stake)).sum();
        if sum == 0 {
            return Err(KeyError::NoStake);
        }
        let shares = if sum <= SHARES_MAX as u128 { stake } else { reduced(largest_remainders(&stake, sum)) };
        let owners =
            stakes.iter().zip(shares).flat_map(|((validator, _), count)| (0..count).map(|_| *validator));
        Self::try_from(owners.collect::<Vec<ValidatorIndex>>())
    }

    /// How many shares there are: 1 to [`SHARES_MAX`].
    pub fn shares(&self) -> usize {
        self.owners.len()
    }

    /// How many shares open a bid: the smallest number above two thirds of them. 1 only for a validator alone.
    pub fn threshold(&self) -> usize {
        self.owners.len() * 2 / 3 + 1
    }

    /// All share numbers, ascending from 1.
    pub fn indices(&self) -> impl Iterator<Item = u8> {
        (1..).take(self.owners.len())
    }

    /// The shares of `validator`, ascending; none if it holds none.
    pub fn indices_of(&self, validator: ValidatorIndex) -> impl Iterator<Item = u8> {
        self.indices()
            .zip(&self.owners)
            .filter(move |(_, owner)| **owner == validator)
            .map(|(index, _)| index)
    }

    /// The owner of share `index`, or `None` if there is no such share.
    pub fn owner(&self, index: u8) -> Option<ValidatorIndex> {
        self.owners.get(usize::from(index).checked_sub(1)?).copied()
    }

    /// The validators that hold shares, ascending.
    pub fn validators(&self) -> Vec<ValidatorIndex> {
        let mut validators = self.owners.clone();
        validators.dedup();
        validators
    }
}

impl TryFrom<Vec<ValidatorIndex>> for Shareholding {
    type Error = KeyError;

    fn try_from(owners: Vec<ValidatorIndex>) -> Result<Self, KeyError> {
        if owners.is_empty() || owners.len() > SHARES_MAX {
            return Err(KeyError::ShareCount { found: owners.len() });
        }
        if let Some(pair) = owners.windows(2).find(|pair| pair[0] > pair[1]) {
            return Err(KeyError::Order(pair[1]));
        }
        if owners.len() > 1 && owners.first() == owners.last() {
            return Err(KeyError::OneOwner(owners[0], owners.len()));
        }
        Ok(Self { owners })
    }
}

impl From<Shareholding> for Vec<ValidatorIndex> {
    fn from(holding: Shareholding) -> Self {
        holding.owners
    }
}

/// Hamilton's method for [`SHARES_MAX`] seats.
fn largest_remainders(stake: &[u64], sum: u128) -> Vec<u64> {
    let quota = |stake: u64| u128::from(stake) * SHARES_MAX as u128;
    let mut shares: Vec<u64> = stake
        .iter()
        .map(|stake| u64::try_from(quota(*stake) / sum).expect("at most the number of seats"))
        .collect();
    let left = SHARES_MAX - usize::try_from(shares.iter().sum::<u64>()).expect("at most the number of seats");
    let mut order: Vec<usize> = (0..stake.len()).collect();
    order.sort_by_key(|at| (std::cmp::Reverse(quota(stake[*at]) % sum), *at));
    for at in order.into_iter().take(left) {
        shares[at] += 1;
    }
    shares
}

/// The counts divided by their greatest common divisor.
fn reduced(mut counts: Vec<u64>) -> Vec<u64> {
    let divisor = counts.iter().copied().fold(0, |a, b| {
        let (mut a, mut b) = (a, b);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    });
    counts.iter_mut().for_each(|count| *count /= divisor.max(1));
    counts
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counts(stakes: &[u64]) -> Vec<usize> {
        let stakes: Vec<_> = (0..).map(ValidatorIndex).zip(stakes.iter().copied()).collect();
        let holding = Shareholding::by_stake(&stakes).unwrap();
        stakes.iter().map(|(validator, _)| holding.indices_of(*validator).count()).collect()
    }

    #[test]
    fn stated_examples() {
        assert_eq!(counts(&[5]), [1]);
        assert_eq!(counts(&[7, 7, 7, 7]), [1, 1, 1, 1]);
        assert_eq!(counts(&[10, 20, 30]), [1, 2, 3]);
        assert_eq!(counts(&[1, 1_000_000_000]), [0, 1], "too little stake holds no share");
        assert_eq!(counts(&[100, 101, 102]), [10, 11, 11]);
        assert_eq!(counts(&[u64::MAX, u64::MAX, 1]), [1, 1, 0]);
        assert_eq!(Shareholding::by_stake(&[]), Err(KeyError::NoStake));
        assert_eq!(Shareholding::by_stake(&[(ValidatorIndex(1), 0)]), Err(KeyError::NoStake));
        let twice = [(ValidatorIndex(1), 1), (ValidatorIndex(1), 1)];
        assert_eq!(Shareholding::by_stake(&twice), Err(KeyError::Order(ValidatorIndex(1))));
    }

    #[test]
    fn one_owner_of_many_shares_is_refused() {
        let owners = vec![ValidatorIndex(3); 4];
        assert_eq!(Shareholding::try_from(owners), Err(KeyError::OneOwner(ValidatorIndex(3), 4)));
    }

    proptest! {
        #[test]
        fn shares_follow_stake(stakes in prop::collection::vec(1..1_000_000u64, 1..40)) {
            let shares = counts(&stakes);
            let (sum, all) = (stakes.iter().sum::<u64>(), shares.iter().sum::<usize>() as u64);
            prop_assert!((1..=SHARES_MAX as u64).contains(&all));
            for (stake, shares) in stakes.iter().zip(&shares) {
                // |shares/all - stake/sum| < 1/32, in integers.
                let off = (*shares as u64 * sum).abs_diff(stake * all);
                prop_assert!(off * 32 < sum * all);
            }
        }
    }
}
