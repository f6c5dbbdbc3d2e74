//! Exact decimal numbers: a meter's `12.345` kWh is 12345 Wh, not the float next to it.

use super::{FlawKind, Reader, Unfit, Wire};
use crate::json::Json;
use ohmesh_units::round_half_away;
use std::fmt;

/// The most bytes of a number's text.
const MAX_BYTES: usize = 64;

/// 10^38 is the largest power of ten in an `i128`; larger exponents overflow anyway.
const MAX_EXPONENT: i32 = 38;

/// `mantissa * 10^exponent`, exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Decimal {
    mantissa: i128,
    exponent: i32,
}

impl Decimal {
    /// `mantissa * 10^exponent`.
    pub const fn new(mantissa: i64, exponent: i8) -> Self {
        Self { mantissa: mantissa as i128, exponent: exponent as i32 }
    }

    /// Reads `-12.5e3` and the like; leading `+` and surrounding spaces are allowed. `None` if it is no decimal number of
    /// at most 64 bytes and 38 digits.
    ///
    /// ```
    /// use ohmesh_ocpp::wire::Decimal;
    /// assert_eq!(Decimal::parse("12.345").and_then(|kwh| kwh.scaled(3)), Some(12_345));
    /// assert_eq!(Decimal::parse("0.0005").and_then(|kwh| kwh.scaled(3)), Some(1));
    /// ```
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > MAX_BYTES {
            return None;
        }
        let text = text.trim();
        let (number, power) = match text.split_once(['e', 'E']) {
            Some((number, power)) => (number, power.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (negative, digits) = match number.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, number.strip_prefix('+').unwrap_or(number)),
        };
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let mut mantissa = 0_i128;
        for digit in whole.chars().chain(fraction.chars()) {
            let digit = i128::from(digit.to_digit(10)?);
            mantissa = mantissa.checked_mul(10)?.checked_add(digit)?;
        }
        let exponent = power.checked_sub(i32::try_from(fraction.len()).ok()?)?;
        Some(Self { mantissa: if negative { -mantissa } else { mantissa }, exponent })
    }

    /// This number times 10^`power`, to the nearest integer by [`round_half_away`]; `None` if it does not fit.
    pub fn scaled(self, power: i32) -> Option<i64> {
        let exponent = self.exponent.checked_add(power)?;
        if self.mantissa == 0 || exponent < -MAX_EXPONENT {
            return Some(0);
        }
        if exponent >= 0 {
            return i64::try_from(self.mantissa.checked_mul(ten_to(exponent)?)?).ok();
        }
        round_half_away(self.mantissa, ten_to(-exponent)?)
    }

    /// This number times 10^`power` if that is a whole number that fits.
    pub fn scaled_exactly(self, power: i32) -> Option<i64> {
        let whole = self.scaled(power)?;
        let exponent = self.exponent.checked_add(power)?;
        if exponent >= 0 || self.mantissa == 0 {
            return Some(whole);
        }
        let back = i128::from(whole).checked_mul(ten_to(-exponent)?)?;
        (back == self.mantissa).then_some(whole)
    }
}

fn ten_to(exponent: i32) -> Option<i128> {
    10_i128.checked_pow(u32::try_from(exponent).ok()?)
}

impl From<i64> for Decimal {
    fn from(whole: i64) -> Self {
        Self::new(whole, 0)
    }
}

/// Plain digits, without an exponent unless the number is out of all proportion.
impl fmt::Display for Decimal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.mantissa < 0 { "-" } else { "" };
        let digits = self.mantissa.unsigned_abs().to_string();
        match self.exponent {
            0 => write!(f, "{sign}{digits}"),
            -38..0 => {
                let places = usize::try_from(-self.exponent).expect("between 1 and 38");
                let padded = format!("{digits:0>width$}", width = places + 1);
                let (whole, fraction) = padded.split_at(padded.len() - places);
                write!(f, "{sign}{whole}.{fraction}")
            }
            exponent => write!(f, "{sign}{digits}e{exponent}"),
        }
    }
}

impl Wire for Decimal {
    fn read(json: &Json, reader: &mut Reader) -> Option<Self> {
        let text = match json {
            Json::Number(text) => text,
            Json::Text(text) => {
                reader.note(FlawKind::WrongType { found: "string", expected: "a number" });
                text
            }
            Json::Null => {
                reader.note(FlawKind::Null);
                return None;
            }
            other => {
                reader.note(FlawKind::WrongType { found: other.kind(), expected: "a number" });
                return None;
            }
        };
        let decimal = Self::parse(text);
        if decimal.is_none() {
            reader.note(FlawKind::NotANumber(text.chars().take(MAX_BYTES).collect()));
        }
        decimal
    }

    fn write(&self) -> Result<Json, Unfit> {
        Ok(Json::Number(self.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_numbers() {
        let cases = [
            ("0", 0, Some(0)),
            ("910083.1", 0, Some(910_083)),
            ("1.5", 0, Some(2)),
            ("-1.5", 0, Some(-2)),
            ("0.0005", 3, Some(1)),
            ("0.00049999", 3, Some(0)),
            ("1e3", 0, Some(1000)),
            (" +7. ", 0, Some(7)),
            (".5", 1, Some(5)),
            ("9223372036854775807", 0, Some(i64::MAX)),
            ("9223372036854775808", 0, None),
            ("1e400", 0, None),
            ("1e-400", 0, Some(0)),
            ("0e999999999", 0, Some(0)),
        ];
        for (text, power, wh) in cases {
            assert_eq!(Decimal::parse(text).unwrap().scaled(power), wh, "{text}");
        }
        let long = "9".repeat(65);
        for text in ["", "-", ".", "1,5", "1.2.3", "0x10", "NaN", "1e", "1e99999999999", "٣", &long] {
            assert_eq!(Decimal::parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn kilowatt_hours_to_three_places_are_exact(wh in any::<i64>()) {
            let kwh = Decimal::new(wh, -3);
            prop_assert_eq!(kwh.scaled_exactly(3), Some(wh));
            prop_assert_eq!(Decimal::parse(&kwh.to_string()), Some(kwh));
        }

        #[test]
        fn never_panics(text in "[-+0-9.eE ]{0,40}", power in any::<i32>()) {
            if let Some(decimal) = Decimal::parse(&text) {
                let exact = decimal.scaled_exactly(power);
                prop_assert!(exact.is_none() || exact == decimal.scaled(power));
                let _ = decimal.to_string();
            }
        }
    }
}
