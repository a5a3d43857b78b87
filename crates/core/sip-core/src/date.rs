//! The Date header (RFC 3261 §20.17): the one form of time in SIP, always GMT.

const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] = [
    "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
];
const SECONDS_A_DAY: u64 = 24 * 60 * 60;

/// Writes seconds since 1970 as the value of a Date header.
pub fn date(unix_seconds: u64) -> String {
    let (mut days, seconds) = (unix_seconds / SECONDS_A_DAY, unix_seconds % SECONDS_A_DAY);
    // 1970 began on a Thursday.
    let day_of_week = nth(&DAYS, days % 7);
    // The calendar repeats every 400 years; the steps below then count years and months of one such round.
    let mut year = 1970 + days / DAYS_OF_400_YEARS * 400;
    days %= DAYS_OF_400_YEARS;
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    let mut month = 0;
    while days >= days_of_month(year, month) {
        days -= days_of_month(year, month);
        month += 1;
    }
    let (day, name) = (days + 1, nth(&MONTHS, month));
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{day_of_week}, {day:02} {name} {year:04} {hour:02}:{minute:02}:{second:02} GMT")
}

const DAYS_OF_400_YEARS: u64 = 400 * 365 + 97;

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_year(year: u64) -> u64 {
    365 + u64::from(is_leap(year))
}

/// Counts the days of a month, the first being 0.
fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        1 => 28 + u64::from(is_leap(year)),
        3 | 5 | 8 | 10 => 30,
        _ => 31,
    }
}

fn nth(names: &[&'static str], place: u64) -> &'static str {
    let place = usize::try_from(place).unwrap_or_default();
    names.get(place).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (68_255_999, "Tue, 29 Feb 1972 23:59:59 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_289_690_940, "Sat, 13 Nov 2010 23:29:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (13_569_465_600, "Sat, 01 Jan 2400 00:00:00 GMT"),
        ] {
            assert_eq!(date(seconds), text);
        }
    }
}
