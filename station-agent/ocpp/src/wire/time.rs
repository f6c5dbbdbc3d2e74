//! RFC 3339 times as chargers write them.

use ohmesh_units::Timestamp;

/// 9999-12-31T23:59:59.999Z: the last time that RFC 3339 can write.
pub(super) const LAST_OF_FOUR_DIGITS: Timestamp = Timestamp::from_millis(253_402_300_799_999);

/// Reads an RFC 3339 time and whether it named its zone; one without is taken as UTC. A space or a lower-case letter in
/// place of `T`, any number of decimals and an offset without colon are understood. `None` if it is no time, or before
/// 1970.
pub fn parse_time(text: &str) -> Option<(Timestamp, bool)> {
    let bytes = text.trim().as_bytes();
    let number = |from: usize, digits: usize| -> Option<i64> {
        let field = bytes.get(from..from + digits)?;
        field.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
    };
    let is = |at: usize, allowed: &[u8]| bytes.get(at).is_some_and(|byte| allowed.contains(byte));
    let (year, month, day) = (number(0, 4)?, number(5, 2)?, number(8, 2)?);
    let (hour, minute, second) = (number(11, 2)?, number(14, 2)?, number(17, 2)?);
    let shaped = is(4, b"-") && is(7, b"-") && is(10, b"Tt ") && is(13, b":") && is(16, b":");
    let dated = (1..=12).contains(&month) && (1..=days_in(year, month)).contains(&day);
    // A leap second is read as the second before it, twice.
    if !shaped || !dated || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut at = 19;
    let mut millis = 0;
    if is(at, b".,") {
        at += 1;
        let first = at;
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            if let digit @ 0..3 = at - first {
                millis += i64::from(bytes[at] - b'0') * [100, 10, 1][digit];
            }
            at += 1;
        }
        if at == first {
            return None;
        }
    }
    let (offset_minutes, zoned) = match bytes.get(at) {
        None => (0, false),
        Some(b'Z' | b'z') if at + 1 == bytes.len() => (0, true),
        Some(sign @ (b'+' | b'-')) => {
            let colon = usize::from(is(at + 3, b":"));
            let (hours, minutes) = (number(at + 1, 2)?, number(at + 3 + colon, 2)?);
            if hours > 23 || minutes > 59 || at + 5 + colon != bytes.len() {
                return None;
            }
            let offset = hours * 60 + minutes;
            (if *sign == b'+' { offset } else { -offset }, true)
        }
        Some(_) => return None,
    };
    let minutes = (days_from_epoch(year, month, day) * 24 + hour) * 60 + minute - offset_minutes;
    let millis = (minutes * 60 + second.min(59)) * 1000 + millis;
    Some((Timestamp::from_millis(u64::try_from(millis).ok()?), zoned))
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days of the proleptic Gregorian calendar since 1970-01-01, counted in years that begin in March.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_times() {
        let cases = [
            ("1970-01-01T00:00:00Z", 0, true),
            ("2000-02-29T00:00:00.000Z", 951_782_400_000, true),
            ("2026-11-21T22:34:56.789Z", 1_795_300_496_789, true),
            ("2026-11-21T23:34:56.789999+01:00", 1_795_300_496_789, true),
            ("2026-11-21t17:34:56.7-0500", 1_795_300_496_700, true),
            ("2026-11-21 22:34:56", 1_795_300_496_000, false),
            ("2016-12-31T23:59:60Z", 1_483_228_799_000, true),
        ];
        for (text, millis, zoned) in cases {
            assert_eq!(parse_time(text), Some((Timestamp::from_millis(millis), zoned)), "{text}");
        }
        for text in [
            "",
            "2026-11-21",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-21T24:00:00Z",
            "2026-11-21T22:34:56.Z",
            "2026-11-21T22:34:56Zx",
            "2026-11-21T22:34:56+1",
            "1969-12-31T23:59:59Z",
            "+2026-11-21T22:34:56",
            "２026-11-21T22:34:56Z",
        ] {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn reads_back_what_units_write(millis in 0..=253_402_300_799_999_u64) {
            let time = Timestamp::from_millis(millis);
            prop_assert_eq!(parse_time(&time.to_string()), Some((time, true)));
        }

        #[test]
        fn never_panics(text in ".{0,40}", shaped in "[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}.{0,8}") {
            let _ = (parse_time(&text), parse_time(&shaped));
        }
    }
}
