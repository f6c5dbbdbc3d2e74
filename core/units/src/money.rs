//! Money in micro-units of the zone's currency, prices in micro-units a kWh, and the one rounding rule.

use crate::{Canonical, Energy};
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// The one rounding rule of the house: `numerator / denominator` to the nearest integer, halves away from zero
/// (commercial rounding, as in DIN 1333). `None` if the denominator is not positive or the result does not fit.
///
/// ```
/// use ohmesh_units::round_half_away;
/// assert_eq!(round_half_away(5, 2), Some(3));
/// assert_eq!(round_half_away(-5, 2), Some(-3));
/// assert_eq!(round_half_away(7, 3), Some(2));
/// ```
pub fn round_half_away(numerator: i128, denominator: i128) -> Option<i64> {
    if denominator <= 0 {
        return None;
    }
    let (quotient, remainder) = (numerator / denominator, numerator % denominator);
    let away = if remainder.unsigned_abs() >= denominator.unsigned_abs().div_ceil(2) {
        numerator.signum()
    } else {
        0
    };
    i64::try_from(quotient.checked_add(away)?).ok()
}

/// An amount of the zone's currency, in micro-units (1 EUR = 1,000,000). May be negative: a difference.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Money(i64);

impl Money {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// An amount from micro-units.
    pub const fn from_micro(micro: i64) -> Self {
        Self(micro)
    }

    /// Micro-units.
    pub const fn as_micro(self) -> i64 {
        self.0
    }

    /// The sum, or `None` if it does not fit.
    pub fn checked_add(self, other: Self) -> Option<Self> {
        self.0.checked_add(other.0).map(Self)
    }

    /// The difference, or `None` if it does not fit.
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// Whether this is less than nothing.
    pub fn is_negative(self) -> bool {
        self.0 < 0
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let micro = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:06}", micro / 1_000_000, micro % 1_000_000)
    }
}

impl Canonical for Money {
    const NAME: &'static str = "money";
    const MAX_BYTES: usize = 11;
}

/// A price in micro-units of the zone's currency a kWh. May be negative: spot prices are, at times.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Price(i64);

impl Price {
    /// A price from micro-units a kWh (0.39 EUR/kWh = 390,000).
    pub const fn from_micro_per_kwh(micro: i64) -> Self {
        Self(micro)
    }

    /// Micro-units a kWh.
    pub const fn as_micro_per_kwh(self) -> i64 {
        self.0
    }

    /// What `energy` costs at this price, rounded once by [`round_half_away`]; `None` if it does not fit.
    ///
    /// ```
    /// use ohmesh_units::{Energy, Money, Price};
    /// let price = Price::from_micro_per_kwh(390_000);
    /// assert_eq!(price.times(Energy::from_wh(12_345)), Some(Money::from_micro(4_814_550)));
    /// ```
    pub fn times(self, energy: Energy) -> Option<Money> {
        round_half_away(i128::from(self.0) * i128::from(energy.as_wh()), 1000).map(Money)
    }
}

impl fmt::Display for Price {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/kWh", Money(self.0))
    }
}

impl Canonical for Price {
    const NAME: &'static str = "price";
    const MAX_BYTES: usize = 11;
}

/// The size of one price tick of an auction, micro-units a kWh; at least 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct TickSize(u32);

impl TickSize {
    /// The tick under which `cap` is the largest price that 16 bits can say: `ceil(cap / 65535)`.
    /// `None` if the cap is not positive or too large for a tick.
    pub fn for_cap(cap: Price) -> Option<Self> {
        let cap = u64::try_from(cap.0).ok().filter(|cap| *cap > 0)?;
        u32::try_from(cap.div_ceil(65_535)).ok().map(Self)
    }

    /// Micro-units a kWh of one tick.
    pub fn as_micro_per_kwh(self) -> u32 {
        self.0
    }

    /// The price of `ticks`, exactly.
    pub fn price(self, ticks: PriceTick) -> Price {
        Price(i64::from(self.0) * i64::from(ticks.0))
    }

    /// The ticks of `price`, or `None` if it is not a whole number of them from 0 to 65535: conversions are
    /// exact or refused.
    pub fn ticks(self, price: Price) -> Option<PriceTick> {
        let size = i64::from(self.0);
        if price.0 % size != 0 {
            return None;
        }
        u16::try_from(price.0 / size).ok().map(PriceTick)
    }

    /// The fewest ticks that are at least `price`, or `None` if 16 bits cannot say it. For sellers that round
    /// their own price up before they commit to it.
    pub fn ticks_at_least(self, price: Price) -> Option<PriceTick> {
        let size = i64::from(self.0);
        let price = price.0.max(0);
        u16::try_from(price / size + i64::from(price % size != 0)).ok().map(PriceTick)
    }
}

impl TryFrom<u32> for TickSize {
    type Error = &'static str;

    fn try_from(size: u32) -> Result<Self, Self::Error> {
        if size == 0 { Err("a price tick is at least one micro-unit") } else { Ok(Self(size)) }
    }
}

impl From<TickSize> for u32 {
    fn from(tick: TickSize) -> Self {
        tick.0
    }
}

/// A price in an auction, in ticks of the intent's [`TickSize`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PriceTick(pub u16);

/// The three capital letters of an ISO 4217 code.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Currency([u8; 3]);

/// The text is not a currency code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a currency code: three capital letters, as EUR")]
pub struct CurrencyError(String);

impl FromStr for Currency {
    type Err = CurrencyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(code) if code.iter().all(u8::is_ascii_uppercase) => Ok(Self(code)),
            _ => Err(CurrencyError(text.chars().take(16).collect())),
        }
    }
}

impl TryFrom<String> for Currency {
    type Error = CurrencyError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Currency> for String {
    fn from(currency: Currency) -> Self {
        currency.to_string()
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or("???"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tick_is_the_cap() {
        let tick = TickSize::for_cap(Price(790_000)).unwrap();
        assert_eq!(tick.as_micro_per_kwh(), 13);
        assert_eq!(tick.price(PriceTick(65_535)), Price(851_955));
        assert_eq!(tick.ticks(Price(26)), Some(PriceTick(2)));
        assert_eq!(tick.ticks(Price(27)), None, "not a whole tick: refused");
        assert_eq!(tick.ticks_at_least(Price(27)), Some(PriceTick(3)));
        assert_eq!(TickSize::for_cap(Price(0)), None);
        assert_eq!(TickSize::for_cap(Price(-5)), None);
        assert_eq!(TickSize::for_cap(Price(i64::MAX)), None);
    }

    #[test]
    fn money_at_the_edge_answers_none() {
        assert_eq!(Money(i64::MAX).checked_add(Money(1)), None);
        assert_eq!(Money(i64::MIN).checked_sub(Money(1)), None);
        assert_eq!(Price(i64::MAX).times(Energy::from_wh(u64::MAX)), None);
        assert_eq!(round_half_away(1, 0), None);
    }

    #[test]
    fn currencies_are_three_capitals() {
        assert_eq!("EUR".parse::<Currency>().unwrap().to_string(), "EUR");
        for bad in ["eur", "EURO", "E", "", "€UR"] {
            assert!(bad.parse::<Currency>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn rounding_is_nearest_and_odd(n in any::<i64>(), d in 1..1_000_000i64) {
            let rounded = round_half_away(n.into(), d.into()).unwrap();
            let off = (i128::from(rounded) * i128::from(d) - i128::from(n)).abs() * 2;
            prop_assert!(off <= i128::from(d));
            prop_assert_eq!(round_half_away(-i128::from(n), d.into()).unwrap(), -rounded);
        }
    }
}
