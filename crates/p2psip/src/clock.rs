//! The time of day, and how results write it.

use std::time::SystemTime;

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// A time in UTC, as RFC 3339 writes it, to the second.
pub(crate) fn utc(unix_ms: u64) -> String {
    let seconds = unix_ms / 1000;
    let (year, month, day) = date(seconds / DAY);
    let (hour, minute, second) = (seconds % DAY / 3600, seconds % 3600 / 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// How far a time is from now, in its largest whole unit: `in 12 d`, `3 min ago`.
pub(crate) fn distance(unix_ms: u64, now_ms: u64) -> String {
    let seconds = unix_ms.abs_diff(now_ms) / 1000;
    let units = [(DAY, "d"), (3600, "h"), (60, "min")];
    let unit = units.into_iter().find(|(length, _)| seconds >= *length);
    let amount = unit.map_or_else(
        || format!("{seconds} s"),
        |(length, name)| format!("{} {name}", seconds / length),
    );
    if unix_ms < now_ms {
        format!("{amount} ago")
    } else {
        format!("in {amount}")
    }
}

/// Year, month and day of a day since 1970. Years are counted from March here, so that the leap day ends one and all months
/// before it have the lengths 31, 30, 31, 30, 31 over and over.
fn date(day: u64) -> (u64, u64, u64) {
    // From 1 March of the year 0; every 400 years are alike.
    let day = day + 719_468;
    let (era, day) = (day / 146_097, day % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let is_next_year = month >= 10;
    let month = if is_next_year { month - 9 } else { month + 3 };
    (era * 400 + year + u64::from(is_next_year), month, day)
}

/// In seconds.
const DAY: u64 = 24 * 3600;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_rfc_3339_does() {
        // Checked against `date -u -d @N +%FT%TZ`.
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_795_809_668, "2026-11-27T20:01:08Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(utc(seconds * 1000 + 999), expected);
        }
    }

    #[test]
    fn distances_have_one_unit() {
        assert_eq!(distance(90_000, 0), "in 1 min");
        assert_eq!(distance(0, 59_999), "59 s ago");
        assert_eq!(distance(3 * 86_400_000 - 1, 0), "in 2 d");
        assert_eq!(distance(7_200_000, 7_200_000), "in 0 s");
    }
}
