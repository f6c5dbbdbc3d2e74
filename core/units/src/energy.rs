//! Energy in watt-hours and power in watts.

use crate::Canonical;
use serde::{Deserialize, Serialize};
use std::{fmt, time::Duration};

/// Whole watt-hours.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Energy(u64);

impl Energy {
    /// No energy.
    pub const ZERO: Self = Self(0);

    /// An energy from watt-hours.
    pub const fn from_wh(wh: u64) -> Self {
        Self(wh)
    }

    /// Watt-hours.
    pub const fn as_wh(self) -> u64 {
        self.0
    }

    /// The sum, or `None` if it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` if `other` is more.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }
}

impl fmt::Display for Energy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03} kWh", self.0 / 1000, self.0 % 1000)
    }
}

impl Canonical for Energy {
    const NAME: &'static str = "energy";
    const MAX_BYTES: usize = 11;
}

/// Whole watts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Power(u32);

impl Power {
    /// A power from watts.
    pub const fn from_w(w: u32) -> Self {
        Self(w)
    }

    /// Watts.
    pub const fn as_w(self) -> u32 {
        self.0
    }

    /// The most energy this power can deliver in `duration`, rounded down.
    pub fn times(self, duration: Duration) -> Energy {
        let wh = u128::from(self.0) * duration.as_millis() / 3_600_000;
        Energy(u64::try_from(wh).unwrap_or(u64::MAX))
    }
}

impl fmt::Display for Power {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:01} kW", self.0 / 1000, self.0 % 1000 / 100)
    }
}

impl Canonical for Power {
    const NAME: &'static str = "power";
    const MAX_BYTES: usize = 6;
}
