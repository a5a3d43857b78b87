//! Dates as documents write them (RFC 3339, UTC).

use std::fmt::Write;

/// Reads `2030-12-31T23:59:59[.fraction]Z` as Unix milliseconds.
#[must_use]
pub fn parse(text: &str) -> Option<u64> {
    let (date, time) = text.strip_suffix(['Z', 'z'])?.split_once(['T', 't'])?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let is_valid = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !is_valid || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let days = days_before_year(year) + (1..month).map(|month| days_in(year, month)).sum::<u64>() + day - 1;
    let seconds = days * 86400 + hour * 3600 + minute * 60 + second;
    Some(seconds * 1000)
}

/// Writes Unix milliseconds, without a fraction.
#[must_use]
pub fn write(unix_ms: u64) -> String {
    let seconds = (unix_ms / 1000).min(LAST_SECOND);
    let (mut days, clock) = (seconds / 86400, seconds % 86400);
    let mut year = 1970;
    while days >= year_length(year) {
        days -= year_length(year);
        year += 1;
    }
    let mut month = 1;
    while days >= days_in(year, month) {
        days -= days_in(year, month);
        month += 1;
    }
    let mut text = String::new();
    let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
    // Writing to a String does not fail.
    let _ = write!(
        text,
        "{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z",
        days + 1
    );
    text
}

fn numbers(text: &str, separator: char, lengths: [usize; 3]) -> Option<[u64; 3]> {
    let mut numbers = [0; 3];
    let mut parts = text.split(separator);
    for (slot, length) in numbers.iter_mut().zip(lengths) {
        let part = parts.next()?;
        if part.len() != length || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        *slot = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

fn days_before_year(year: u64) -> u64 {
    (1970..year).map(year_length).sum()
}

fn year_length(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_in(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

/// Dates end with the year 9999.
const LAST_SECOND: u64 = 253_402_300_799;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_read_and_written() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56Z", 951_827_696),
            ("2002-10-10T07:00:00Z", 1_034_233_200),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
        ] {
            assert_eq!(parse(text), Some(seconds * 1000), "{text}");
            assert_eq!(write(seconds * 1000), text);
        }
        assert_eq!(parse("2002-10-10t07:00:00.123z"), Some(1_034_233_200_000));
    }

    #[test]
    fn other_dates_are_refused() {
        for text in [
            "",
            "2002-10-10",
            "2002-10-10T07:00:00",
            "2002-10-10T07:00:00+01:00",
            "2001-02-29T00:00:00Z",
            "2002-13-01T00:00:00Z",
            "1969-12-31T23:59:59Z",
            "99999-01-01T00:00:00Z",
            "2002-10-10T24:00:00Z",
            "2002-10-10T07:00:00.x1Z",
            "2002-1-10T07:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
