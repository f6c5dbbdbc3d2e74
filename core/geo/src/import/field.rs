//! What registers write into a field: decimals, dates, coordinates, text.

use super::{Excerpt, Note, Reason};
use crate::Date;
use ohmesh_units::Position;

/// The field on one line: runs of white space become one space, other control characters vanish.
pub(super) fn text(field: &str) -> String {
    let words: Vec<String> = field
        .split_whitespace()
        .map(|word| word.chars().filter(|c| !c.is_control()).collect())
        .filter(|word: &String| !word.is_empty())
        .collect();
    words.join(" ")
}

/// As [`text`], and not empty.
pub(super) fn required(field: &str, column: &'static str) -> Result<String, Reason> {
    let text = text(field);
    if text.is_empty() { Err(Reason::Empty { column }) } else { Ok(text) }
}

/// A position from two decimal fields and the titles of their columns.
pub(super) fn position(
    [(lat_text, lat_column), (lon_text, lon_column)]: [(&str, &'static str); 2],
    point: u8,
) -> Result<Position, Reason> {
    let coordinate = |text: &str, column| {
        let e7 = decimal(text.trim(), point, 7).and_then(|e7| i32::try_from(e7).ok());
        e7.ok_or(Reason::Coordinate { column, text: Excerpt::of(text) })
    };
    let (lat_e7, lon_e7) = (coordinate(lat_text, lat_column)?, coordinate(lon_text, lon_column)?);
    Position::from_e7(lat_e7, lon_e7).map_err(|_| {
        let lat_is_bad = Position::from_e7(lat_e7, 0).is_err();
        let (text, column) = if lat_is_bad { (lat_text, lat_column) } else { (lon_text, lon_column) };
        Reason::Coordinate { column, text: Excerpt::of(text) }
    })
}

/// A day written as numbers between `separator`s, the places of year, month and day given by `order`; empty is none.
pub(super) fn date(
    field: &str,
    separator: char,
    [year, month, day]: [usize; 3],
) -> Result<Option<Date>, Note> {
    let field = field.trim();
    if field.is_empty() {
        return Ok(None);
    }
    let parse = || {
        let parts: Vec<&str> = field.split(separator).collect();
        if parts.len() != 3 || !parts.iter().all(|part| part.bytes().all(|byte| byte.is_ascii_digit())) {
            return None;
        }
        if parts[year].len() != 4 || parts[month].len() != 2 || parts[day].len() != 2 {
            return None;
        }
        Date::new(parts[year].parse().ok()?, parts[month].parse().ok()?, parts[day].parse().ok()?).ok()
    };
    parse().map(Some).ok_or_else(|| Note::Date(Excerpt::of(field)))
}

/// `text` times 10^`digits` as an integer, halves rounded away from zero. No float is involved, so that one text is
/// one number on every machine. `None` for anything but `-?digits` or `-?digits point digits`.
pub(super) fn decimal(text: &str, point: u8, digits: usize) -> Option<i64> {
    let (negative, unsigned) = match text.as_bytes() {
        [b'-', rest @ ..] => (true, rest),
        all => (false, all),
    };
    let at = unsigned.iter().position(|&byte| byte == point);
    let (whole, fraction) = match at {
        Some(at) => (&unsigned[..at], &unsigned[at + 1..]),
        None => (unsigned, &b"0"[..]),
    };
    let numeric = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    if !numeric(whole) || !numeric(fraction) || whole.len() > 9 || fraction.len() > 32 {
        return None;
    }
    let kept = fraction.iter().copied().chain(std::iter::repeat(b'0')).take(digits);
    // At most 9 + 7 digits: far below 2^63.
    let scaled =
        whole.iter().copied().chain(kept).fold(0i64, |value, byte| value * 10 + i64::from(byte - b'0'));
    let rounded = scaled + i64::from(fraction.get(digits).is_some_and(|&byte| byte >= b'5'));
    Some(if negative { -rounded } else { rounded })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_are_exact() {
        assert_eq!(decimal("8,468098", b',', 7), Some(84_680_980));
        assert_eq!(decimal("49,49440951234567", b',', 7), Some(494_944_095));
        assert_eq!(decimal("-0.00000005", b'.', 7), Some(-1));
        assert_eq!(decimal("22", b',', 3), Some(22_000));
        for bad in ["", "-", ",5", "5,", "1,2,3", "8.468098", "1e3", "+5", " 5", "1234567890", "NaN", "--1"] {
            assert_eq!(decimal(bad, b',', 7), None, "{bad:?}");
        }
    }

    #[test]
    fn a_day_and_a_month_are_not_swapped_to_make_a_date_fit() {
        assert_eq!(date("14.04.2010", '.', [2, 1, 0]).unwrap(), Date::new(2010, 4, 14).ok());
        assert_eq!(date("2022-06-22", '-', [0, 1, 2]).unwrap(), Date::new(2022, 6, 22).ok());
        assert_eq!(date(" ", '.', [2, 1, 0]), Ok(None));
        for bad in
            ["04.14.2010", "14.04.10", "2010.04.14", "1.4.2010", "14/04/2010", "31.02.2010", "14.04.2010 "]
        {
            assert_eq!(date(bad, '.', [2, 1, 0]).is_err(), bad.trim() == bad, "{bad:?}");
        }
    }

    #[test]
    fn text_is_one_line_without_control_characters() {
        assert_eq!(text(" 2 Bis\nroute\t de \u{1b}[31mSAÏX\u{a0}"), "2 Bis route de [31mSAÏX");
        assert_eq!(required(" \u{7} ", "x"), Err(Reason::Empty { column: "x" }));
    }

    proptest! {
        #[test]
        fn decimals_never_panic_and_survive_display(value in -1_800_000_000i64..1_800_000_000, junk in ".{0,40}") {
            let sign = if value < 0 { "-" } else { "" };
            let text = format!("{sign}{},{:07}", value.abs() / 10_000_000, value.abs() % 10_000_000);
            prop_assert_eq!(decimal(&text, b',', 7), Some(value));
            let _ = decimal(&junk, b',', 7);
        }
    }
}
