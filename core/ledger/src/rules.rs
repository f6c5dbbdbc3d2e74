//! What a zone may change without a new genesis: fees, the length of an epoch, the bond behind a vote, the
//! deposits of auctions.

use crate::{Deposits, LedgerError};
use ohmesh_units::{Money, Timestamp};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The rules by which blocks of an epoch are executed. They change between epochs, by a transaction that more than two
/// thirds of the stake have signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// Which program is needed: an agent that does not know this version stops rather than guess.
    pub version: u32,
    /// What a transaction costs for each unit of its weight; burned. 0 to [`Rules::FEE_MAX`].
    pub fee: Money,
    /// How long an epoch lasts, in milliseconds of block time; [`Rules::EPOCH_MIN_MS`] to [`Rules::EPOCH_MAX_MS`].
    pub epoch_ms: u64,
    /// The bond that each unit of a validator's stake needs, beyond what the genesis gave it; not negative.
    pub bond: Money,
    /// What an auction's buyer and bidders deposit.
    pub deposits: Deposits,
}

impl Rules {
    /// The version that this program executes.
    pub const VERSION: u32 = 1;
    /// One unit of currency for a unit of weight: dearer is a slip of the pen.
    pub const FEE_MAX: Money = Money::from_micro(1_000_000);
    /// Shorter epochs would leave no time to make the next vote keys known.
    pub const EPOCH_MIN_MS: u64 = 10_000;
    /// A week: a phone's anchor of 21 days spans at least three of them.
    pub const EPOCH_MAX_MS: u64 = 7 * 24 * 3_600_000;
    /// How long a bond stays locked, and old votes can be punished, after its owner asked for it: longer than the oldest
    /// anchor of a phone (21 days), so that whoever signs a false history for that phone still has something to lose.
    pub const UNBONDING: Duration = Duration::from_secs(28 * 24 * 3600);

    /// Checks what the ledger relies on.
    pub fn check(&self) -> Result<(), LedgerError> {
        let bad = |reason: String| Err(LedgerError::Rules { reason });
        if self.version != Self::VERSION {
            return bad(format!("version {}, this program knows {}", self.version, Self::VERSION));
        }
        if !(Money::ZERO..=Self::FEE_MAX).contains(&self.fee) {
            return bad(format!("a fee of {}, 0 to {} are allowed", self.fee, Self::FEE_MAX));
        }
        let (least, most) = (Self::EPOCH_MIN_MS, Self::EPOCH_MAX_MS);
        if !(least..=most).contains(&self.epoch_ms) {
            return bad(format!("epochs of {} ms, {least} to {most} are allowed", self.epoch_ms));
        }
        if self.bond < Money::ZERO {
            return bad(format!("a bond of {} is negative", self.bond));
        }
        for (whose, deposit) in [("a buyer's", self.deposits.buyer), ("a bid's", self.deposits.bid)] {
            if !(Money::ZERO..=Deposits::MAX).contains(&deposit) {
                return bad(format!("{whose} deposit of {deposit}, 0 to {} are allowed", Deposits::MAX));
            }
        }
        Ok(())
    }

    /// When an epoch that began at `began` is over.
    pub fn epoch_end(&self, began: Timestamp) -> Timestamp {
        let over = began.checked_add(Duration::from_millis(self.epoch_ms));
        over.unwrap_or(Timestamp::from_millis(u64::MAX))
    }
}

impl Default for Rules {
    /// No fees, a day an epoch, no bonds, no deposits.
    fn default() -> Self {
        let epoch_ms = 24 * 3_600_000;
        let (fee, bond, deposits) = (Money::ZERO, Money::ZERO, Deposits::NONE);
        Self { version: Self::VERSION, fee, epoch_ms, bond, deposits }
    }
}
