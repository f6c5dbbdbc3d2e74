//! Which parts of a meter's lifetime register have been sold: no Wh twice, whatever the order in which sales settle.
//!
//! A sale is an interval of the register. The outlet keeps the end of the highest one that was sold ([`Evse::register`])
//! and, below it, the parts that were not: at most [`Evse::GAPS_MAX`] [`Gap`]s. A later contract that is settled first
//! leaves a gap for the earlier one; energy that nobody bought through the ledger leaves one that stays. When there are
//! too many, the lowest is closed: nothing of it can be sold any more, which is the seller's loss and nobody's gain.

use crate::Evse;
use ohmesh_units::{Energy, PublicKey};
use serde::{Deserialize, Serialize};

/// A part of a meter's register that was not sold, below one that was.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Gap {
    /// Where it begins.
    pub from: Energy,
    /// Where it ends: the first Wh after it was sold.
    pub to: Energy,
}

/// What was sold by the meter that an outlet had before, so that its last contracts can still be settled.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct OldMeter {
    /// The key with which it signed.
    pub meter: PublicKey,
    /// As [`Evse::register`].
    pub register: Energy,
    /// As [`Evse::gaps`].
    pub gaps: Vec<Gap>,
}

/// Why a part of a register cannot be sold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum NotForSale {
    /// This part of it was sold before, or is closed.
    Sold(Gap),
    /// The meter is neither the outlet's nor the one before it.
    OtherMeter,
}

impl Evse {
    /// Gaps below the register at most: so many contracts of one outlet can wait for their settlement while later ones
    /// settle.
    pub const GAPS_MAX: usize = 8;

    /// Whether all of `[from, to)` of the register of `meter` was sold, or is closed.
    pub fn has_sold(&self, meter: &PublicKey, from: Energy, to: Energy) -> bool {
        let (register, gaps) = match &self.before {
            _ if self.meter == *meter => (self.register, &self.gaps),
            Some(old) if old.meter == *meter => (old.register, &old.gaps),
            _ => return false,
        };
        to <= register && gaps.iter().all(|gap| to <= gap.from || gap.to <= from)
    }

    /// Sells `[from, to)` of the register of `meter`.
    pub(crate) fn sell(&mut self, meter: &PublicKey, from: Energy, to: Energy) -> Result<(), NotForSale> {
        match &mut self.before {
            _ if self.meter == *meter => sell(&mut self.register, &mut self.gaps, from, to),
            Some(old) if old.meter == *meter => sell(&mut old.register, &mut old.gaps, from, to),
            _ => Err(NotForSale::OtherMeter),
        }
    }
}

fn sell(register: &mut Energy, gaps: &mut Vec<Gap>, from: Energy, to: Energy) -> Result<(), NotForSale> {
    if from >= to {
        return Ok(());
    }
    if from >= *register {
        if from > *register {
            gaps.push(Gap { from: *register, to: from });
        }
        *register = to;
    } else {
        let Some(at) = gaps.iter().position(|gap| gap.from <= from && to <= gap.to) else {
            return Err(NotForSale::Sold(overlap(*register, gaps, from, to)));
        };
        let gap = gaps[at];
        let left = [Gap { from: gap.from, to: from }, Gap { from: to, to: gap.to }];
        gaps.splice(at..=at, left.into_iter().filter(|part| part.from < part.to));
    }
    if gaps.len() > Evse::GAPS_MAX {
        gaps.remove(0);
    }
    Ok(())
}

/// The first part of `[from, to)` that was sold before.
fn overlap(register: Energy, gaps: &[Gap], from: Energy, to: Energy) -> Gap {
    let begins = gaps.iter().find(|gap| gap.from <= from && from < gap.to).map_or(from, |gap| gap.to);
    let ends = gaps.iter().map(|gap| gap.from).find(|start| *start > begins).unwrap_or(register);
    Gap { from: begins, to: ends.min(to) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn wh(wh: u64) -> Energy {
        Energy::from_wh(wh)
    }

    /// As many sales, one after another, as there may be gaps; with or without other energy between them.
    fn in_a_row() -> impl Strategy<Value = Vec<(u64, u64)>> {
        proptest::collection::vec((0u64..3, 1u64..9), 1..=Evse::GAPS_MAX).prop_map(|parts| {
            let mut at = 1_000;
            let mut sale = |(pause, length): (u64, u64)| {
                let from = at + pause;
                at = from + length;
                (from, at)
            };
            parts.into_iter().map(&mut sale).collect()
        })
    }

    proptest! {
        /// Against a list of every Wh: what is sold was never sold before, what is refused names what was.
        #[test]
        fn no_wh_is_sold_twice(sales in proptest::collection::vec((0u64..60, 0u64..12), 0..60)) {
            let (mut register, mut gaps) = (Energy::ZERO, Vec::new());
            let mut sold = BTreeSet::new();
            for (from, length) in sales {
                let to = from + length;
                let before = (register, gaps.clone());
                let is_in = |gap: &Gap, at| gap.from <= wh(at) && wh(at) < gap.to;
                let is_free = |at| wh(at) >= before.0 || before.1.iter().any(|gap| is_in(gap, at));
                match sell(&mut register, &mut gaps, wh(from), wh(to)) {
                    Ok(()) => {
                        for at in from..to {
                            prop_assert!(sold.insert(at), "Wh {at} was sold twice");
                        }
                    }
                    Err(NotForSale::Sold(part)) => {
                        let mut taken = (from..to).skip_while(|at| is_free(*at)).take_while(|at| !is_free(*at));
                        let first = taken.next().unwrap();
                        let last = taken.last().unwrap_or(first);
                        prop_assert_eq!(part, Gap { from: wh(first), to: wh(last + 1) }, "the first part");
                    }
                    Err(other) => panic!("{other:?}"),
                }
                prop_assert!(gaps.len() <= Evse::GAPS_MAX && gaps.is_sorted_by(|a, b| a.to < b.from));
                prop_assert!(gaps.iter().all(|gap| gap.from < gap.to && gap.to < register));
                for gap in &gaps {
                    let open = gap.from.as_wh()..gap.to.as_wh();
                    prop_assert!(open.into_iter().all(|at| !sold.contains(&at)), "a gap was never sold");
                }
            }
        }

        /// Contracts settle in any order, and each once.
        #[test]
        fn the_order_of_settlement_does_not_matter(sales in in_a_row().prop_shuffle()) {
            let (mut register, mut gaps) = (Energy::ZERO, Vec::new());
            for (from, to) in &sales {
                prop_assert_eq!(sell(&mut register, &mut gaps, wh(*from), wh(*to)), Ok(()));
                prop_assert!(sell(&mut register, &mut gaps, wh(*from), wh(*to)).is_err(), "a second time");
            }
            let last = sales.iter().map(|(_, to)| *to).max();
            prop_assert_eq!(Some(register.as_wh()), last);
        }
    }

    #[test]
    fn the_lowest_gap_is_closed_when_there_are_too_many() {
        let (mut register, mut gaps) = (Energy::ZERO, Vec::new());
        for sale in 1..=9u64 {
            sell(&mut register, &mut gaps, wh(sale * 10), wh(sale * 10 + 5)).unwrap();
        }
        assert_eq!(gaps.len(), Evse::GAPS_MAX);
        let closed = Gap { from: wh(1), to: wh(9) };
        assert_eq!(sell(&mut register, &mut gaps, wh(1), wh(9)), Err(NotForSale::Sold(closed)));
        assert_eq!(sell(&mut register, &mut gaps, wh(15), wh(20)), Ok(()), "the others stay open");
    }
}
