//! Times as people write them: `2026-11-21T22:30Z`, seconds and milliseconds as wanted, always UTC.

use eyre::{bail, eyre};
use ohmesh_units::Timestamp;

/// Reads `YYYY-MM-DDTHH:MM[:SS[.mmm]]Z` (RFC 3339, UTC only).
pub(crate) fn instant(text: &str) -> eyre::Result<Timestamp> {
    let bad = || eyre!("{text:?} is not a time like 2026-11-21T22:30Z (UTC)");
    let (date, time) = text.strip_suffix('Z').and_then(|rest| rest.split_once('T')).ok_or_else(bad)?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let time = if time.len() == 5 { format!("{time}:00") } else { time.to_owned() };
    // Anything that is not written as the time it stands for (month 13, 30 February) prints differently.
    let wanted = format!("{date}T{time}.{fraction:0<3}Z");
    let digits = |part: Option<&str>| part.and_then(|part| part.parse::<u64>().ok()).ok_or_else(bad);
    let (mut date, mut time) = (date.split('-'), time.split(':'));
    let (year, month, day) = (digits(date.next())?, digits(date.next())?, digits(date.next())?);
    let (hour, minute, second) = (digits(time.next())?, digits(time.next())?, digits(time.next())?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return Err(bad());
    }
    if hour > 23 || minute > 59 || second > 59 || fraction.len() > 3 {
        return Err(bad());
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let millis = seconds * 1_000 + digits(Some(&format!("{fraction:0<3}")))?;
    let read = Timestamp::from_millis(millis);
    if read.to_string() != wanted {
        bail!("{text:?}: there is no such day");
    }
    Ok(read)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar, 1970 or later; `month` 1 to 12, `day` 1 to 31.
fn days(year: u64, month: u64, day: u64) -> u64 {
    // Years that begin in March: the leap day is the last of its year.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let before_month = (153 * month + 2) / 5;
    year * 365 + year / 4 - year / 100 + year / 400 + before_month + day - 1 - DAYS_TO_1970
}

/// Days from the first day of March of the year 0 to 1970-01-01.
const DAYS_TO_1970: u64 = 719_468;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_is_printed() {
        for millis in [0, 951_782_400_000, 1_795_300_496_789, 4_107_542_400_000, 68_169_600_000] {
            let time = Timestamp::from_millis(millis);
            assert_eq!(instant(&time.to_string()).unwrap(), time);
        }
        assert_eq!(instant("2000-02-29T00:00Z").unwrap(), Timestamp::from_millis(951_782_400_000));
        for bad in [
            "2026-11-21",
            "2026-11-21T22:30",
            "2026-02-30T00:00Z",
            "2026-13-01T00:00Z",
            "2026-11-21T24:00Z",
            "2026-11-21T22:30+01:00",
            "2026-11-21T22:30:00.1234Z",
            "1969-12-31T23:59Z",
            "x",
            "TZ",
            "2026-1-1T00:00Z",
        ] {
            assert!(instant(bad).is_err(), "{bad}");
        }
    }
}
