//! Stations as a register publishes them: where they stand, who operates them, what can be plugged in.

mod meter_key;

pub use meter_key::{MeterKey, MeterKeyError};

use ohmesh_units::{Position, Power};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A site with one or more outlets, as in OCPI.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Station {
    /// The number its own country's register gives it, if it gives one (`FR*ELC*PBORBL`).
    pub reference: Option<String>,
    /// What the register calls it; its address where the register names no site.
    pub name: String,
    /// Who operates it.
    pub operator: String,
    /// Street, postal code and town on one line.
    pub address: String,
    /// Where it stands.
    pub position: Position,
    /// What can be plugged in. An importer never leaves this empty.
    pub outlets: Vec<Outlet>,
    /// Since when it works.
    pub in_service_since: Option<Date>,
    /// Whether somebody could plug in now. A register never says.
    pub availability: Availability,
}

impl Station {
    /// Every connector that some outlet has.
    pub fn connectors(&self) -> Connectors {
        self.outlets.iter().fold(Connectors::NONE, |all, outlet| all | outlet.connectors)
    }

    /// The most power that some outlet gives; `None` if no outlet's power is known.
    pub fn power_max(&self) -> Option<Power> {
        self.outlets.iter().filter_map(|outlet| outlet.power).max()
    }

    /// How many cars can charge at the same time.
    pub fn points(&self) -> u32 {
        self.outlets.iter().map(|outlet| u32::from(outlet.count)).sum()
    }
}

/// One outlet that can serve one car (an EVSE), or several that the register does not tell apart.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outlet {
    /// How many outlets this describes. Where it is more than 1, each connector is on at least one of them.
    pub count: u16,
    /// Its connectors; empty where the register names none that we know.
    pub connectors: Connectors,
    /// The power it gives; `None` where the register does not say.
    pub power: Option<Power>,
    /// The key that its meter signs with.
    pub meter_key: Option<MeterKey>,
}

/// Whether a car could charge at a station now.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub enum Availability {
    /// Nobody has said. Not taken for free.
    #[default]
    Unknown,
    /// At least one outlet is free.
    Free,
    /// No outlet is free, or none works.
    Busy,
}

/// A kind of plug, as far as a driver has to know it.
///
/// The number of each is its bit in [`Connectors`]: it is stored, so it is never used for another kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[repr(u8)]
pub enum Connector {
    /// IEC 62196-2 type 1 (SAE J1772).
    Type1 = 0,
    /// IEC 62196-2 type 2, socket or attached cable.
    Type2 = 1,
    /// Combined charging system, direct current (IEC 62196-3 configuration FF).
    Ccs = 2,
    /// CHAdeMO, direct current.
    Chademo = 3,
    /// Household socket: CEE 7/3 ("Schuko") or CEE 7/5 (the French type E).
    Schuko = 4,
    /// Three-pole IEC 60309 ("CEE blue").
    Cee3 = 5,
    /// Five-pole IEC 60309 ("CEE red").
    Cee5 = 6,
    /// Tesla's own connector on the body of a type 2 plug.
    TeslaS = 7,
    /// SAE J3400, Tesla's connector in North America.
    Nacs = 8,
    /// A connector that the register counts but does not name.
    Other = 9,
}

impl Connector {
    /// All kinds, in the order of their bits.
    pub const ALL: [Self; 10] = [
        Self::Type1,
        Self::Type2,
        Self::Ccs,
        Self::Chademo,
        Self::Schuko,
        Self::Cee3,
        Self::Cee5,
        Self::TeslaS,
        Self::Nacs,
        Self::Other,
    ];

    /// What it is called where a person reads it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Type1 => "Type 1",
            Self::Type2 => "Type 2",
            Self::Ccs => "CCS",
            Self::Chademo => "CHAdeMO",
            Self::Schuko => "Schuko",
            Self::Cee3 => "CEE 3-pole",
            Self::Cee5 => "CEE 5-pole",
            Self::TeslaS => "Tesla S",
            Self::Nacs => "NACS",
            Self::Other => "other",
        }
    }
}

/// A set of connectors: one bit a kind.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Connectors(u16);

/// A number has bits that stand for no connector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:#06x} is no set of connectors")]
pub struct ConnectorsError(u16);

impl Connectors {
    /// The empty set.
    pub const NONE: Self = Self(0);

    /// The set with one bit for each kind, by the number of [`Connector`].
    pub const fn bits(self) -> u16 {
        self.0
    }

    /// Whether nothing is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `connector` is in the set.
    pub const fn contains(self, connector: Connector) -> bool {
        self.0 & (1 << connector as u8) != 0
    }

    /// Whether the two sets have a connector in common.
    pub const fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// The connectors in the set, in the order of their bits.
    pub fn iter(self) -> impl Iterator<Item = Connector> {
        Connector::ALL.into_iter().filter(move |connector| self.contains(*connector))
    }
}

impl From<Connector> for Connectors {
    fn from(connector: Connector) -> Self {
        Self(1 << connector as u8)
    }
}

impl FromIterator<Connector> for Connectors {
    fn from_iter<I: IntoIterator<Item = Connector>>(connectors: I) -> Self {
        connectors.into_iter().fold(Self::NONE, |all, connector| all | connector.into())
    }
}

impl std::ops::BitOr for Connectors {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl TryFrom<u16> for Connectors {
    type Error = ConnectorsError;

    fn try_from(bits: u16) -> Result<Self, Self::Error> {
        let known: Self = Connector::ALL.into_iter().collect();
        if bits & !known.0 != 0 {
            return Err(ConnectorsError(bits));
        }
        Ok(Self(bits))
    }
}

impl From<Connectors> for u16 {
    fn from(connectors: Connectors) -> Self {
        connectors.0
    }
}

impl fmt::Display for Connectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, connector) in self.iter().enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { ", " }, connector.name())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Connectors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Connectors({self})")
    }
}

/// A day of the Gregorian calendar that a register could mean: 1990 to 2100.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "(u16, u8, u8)", into = "(u16, u8, u8)")]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

/// The numbers are no day of the calendar, or one that no charging station can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{year}-{month}-{day} is no day between 1990 and 2100")]
pub struct DateError {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// A day by year, month (1 to 12) and day (1 to 31).
    pub fn new(year: u16, month: u8, day: u8) -> Result<Self, DateError> {
        let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
        let days = match month {
            1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
            4 | 6 | 9 | 11 => 30,
            2 if leap => 29,
            2 => 28,
            _ => 0,
        };
        if !(1990..=2100).contains(&year) || !(1..=days).contains(&day) {
            return Err(DateError { year, month, day });
        }
        Ok(Self { year, month, day })
    }
}

impl TryFrom<(u16, u8, u8)> for Date {
    type Error = DateError;

    fn try_from((year, month, day): (u16, u8, u8)) -> Result<Self, Self::Error> {
        Self::new(year, month, day)
    }
}

impl From<Date> for (u16, u8, u8) {
    fn from(date: Date) -> Self {
        (date.year, date.month, date.day)
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_bits_are_never_reused() {
        let bits: Vec<u16> = Connector::ALL.into_iter().map(|kind| Connectors::from(kind).bits()).collect();
        assert_eq!(bits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]);
        assert_eq!(Connectors::try_from(1024), Err(ConnectorsError(1024)));
        let set: Connectors = [Connector::Ccs, Connector::Type2].into_iter().collect();
        assert_eq!(set.to_string(), "Type 2, CCS");
        assert!(set.contains(Connector::Ccs) && !set.contains(Connector::Chademo));
    }

    #[test]
    fn dates_follow_the_calendar() {
        assert!(Date::new(2016, 2, 29).is_ok() && Date::new(2000, 2, 29).is_ok());
        for (year, month, day) in [(2017, 2, 29), (2100, 2, 29), (2019, 4, 31), (2019, 13, 1), (2019, 1, 0)] {
            assert!(Date::new(year, month, day).is_err(), "{year}-{month}-{day}");
        }
        assert!(Date::new(1970, 1, 1).is_err(), "a default of some software, never a station's day");
    }
}
