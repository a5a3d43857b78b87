//! Durations and sizes as people write them: always with a unit.
//!
//! For configuration: `#[serde(with = "runtime::units::duration")]` on a [`Duration`],
//! `#[serde(with = "runtime::units::size")]` on a `u64` of octets.

use std::time::Duration;

/// A text that is no amount with a unit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not a {what}: write a whole number with one of the units {units}")]
pub struct UnitError {
    text: String,
    what: &'static str,
    units: &'static str,
}

/// Reads a duration such as `250ms`, `30s`, `5m`, `12h` or `90d`.
///
/// # Errors
/// When the unit is missing or unknown, or the number is not whole or too large.
pub fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let error = || UnitError {
        text: text.into(),
        what: "duration",
        units: "ms, s, m, h, d",
    };
    let (number, unit) = split(text).ok_or_else(error)?;
    if unit == "ms" {
        return Ok(Duration::from_millis(number));
    }
    let (_, seconds) = DURATIONS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
    number.checked_mul(*seconds).map(Duration::from_secs).ok_or_else(error)
}

/// Writes a duration in the largest unit that divides it; what is finer than a millisecond is dropped.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    if duration.subsec_millis() != 0 {
        return format!("{}ms", duration.as_millis());
    }
    let whole = duration.as_secs();
    let unit = DURATIONS
        .iter()
        .find(|(_, seconds)| whole != 0 && whole.is_multiple_of(*seconds));
    unit.map_or_else(
        || format!("{whole}s"),
        |(name, seconds)| format!("{}{name}", whole / seconds),
    )
}

/// Reads a size in octets such as `512B`, `64KiB`, `64MiB`, `2GiB`, `10kB` or `10MB`.
///
/// # Errors
/// When the unit is missing or unknown, or the number is not whole or too large.
pub fn parse_size(text: &str) -> Result<u64, UnitError> {
    let error = || UnitError {
        text: text.into(),
        what: "size",
        units: "B, KiB, MiB, GiB, kB, MB, GB",
    };
    let (number, unit) = split(text).ok_or_else(error)?;
    let (_, octets) = SIZES.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
    number.checked_mul(*octets).ok_or_else(error)
}

/// Writes a size in the largest binary unit that divides it.
#[must_use]
pub fn format_size(size: u64) -> String {
    let binary = SIZES
        .iter()
        .take(BINARY)
        .find(|(_, octets)| size != 0 && size.is_multiple_of(*octets));
    binary.map_or_else(
        || format!("{size}B"),
        |(name, octets)| format!("{}{name}", size / octets),
    )
}

/// A [`Duration`] in a configuration.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize as _, Deserializer, Serializer, de};

    /// Writes a duration with its unit.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_duration(*duration))
    }

    /// Reads a duration with its unit.
    ///
    /// # Errors
    /// When it has none.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        super::parse_duration(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// A size in octets in a configuration.
pub mod size {
    use serde::{Deserialize as _, Deserializer, Serializer, de};

    /// Writes a size with its unit.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(size: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::format_size(*size))
    }

    /// Reads a size with its unit.
    ///
    /// # Errors
    /// When it has none.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        super::parse_size(&String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// Largest first, so that writing finds the shortest form.
const DURATIONS: [(&str, u64); 4] = [("d", 86_400), ("h", 3600), ("m", 60), ("s", 1)];

const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1000),
];

/// How many of [`SIZES`] are binary.
const BINARY: usize = 4;

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_and_written() {
        for (text, seconds) in [("0s", 0), ("30s", 30), ("5m", 300), ("12h", 43_200), ("90d", 7_776_000)] {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
            assert_eq!(format_duration(Duration::from_secs(seconds)), text);
        }
        assert_eq!(parse_duration("250 ms"), Ok(Duration::from_millis(250)));
        assert_eq!(format_duration(Duration::from_millis(1500)), "1500ms");
    }

    #[test]
    fn sizes_are_read_and_written() {
        for (text, octets) in [
            ("0B", 0),
            ("512B", 512),
            ("64KiB", 65_536),
            ("64MiB", 67_108_864),
            ("2GiB", 2 << 30),
        ] {
            assert_eq!(parse_size(text), Ok(octets), "{text}");
            assert_eq!(format_size(octets), text);
        }
        assert_eq!(parse_size("10MB"), Ok(10_000_000));
    }

    #[test]
    fn amounts_without_a_unit_are_refused() {
        for text in [
            "",
            "5",
            "s",
            "1.5s",
            "-1s",
            "5 minutes",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        let error = parse_size("64").unwrap_err().to_string();
        assert_eq!(
            error,
            "\"64\" is not a size: write a whole number with one of the units B, KiB, MiB, GiB, kB, MB, GB"
        );
    }
}
