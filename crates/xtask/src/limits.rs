//! The page docs/limits.md: each limit with its number, which is that of a constant in the code.
//!
//! A row is `| limit | number | crate/path.rs NAME | when it is reached |`. [`run`] compares the numbers with the constants, and writes
//! them anew where it is told to: whoever changes a constant need not do sums.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};

/// Checks the page, or brings its numbers up to date.
pub(crate) fn run(write: bool) -> anyhow::Result<()> {
    let path = root().join(PAGE);
    let page = fs::read_to_string(&path).with_context(|| format!("cannot read {PAGE}"))?;
    let source = |file: &str| fs::read_to_string(root().join("crates").join(file)).ok();
    let Checked { text, rows, faults } = check(&page, &source)?;
    if faults.is_empty() {
        eprintln!("{rows} limits, each as in the code");
    } else if write {
        fs::write(&path, text).with_context(|| format!("cannot write {PAGE}"))?;
        eprintln!("{rows} limits, {} of them brought up to date in {PAGE}", faults.len());
    } else {
        let faults = faults.join("\n    ");
        bail!("{PAGE} is behind the code; `cargo xtask limits --write` brings it up to date:\n    {faults}");
    }
    Ok(())
}

/// The page with the numbers of the code, and where it had others.
struct Checked {
    text: String,
    rows: usize,
    faults: Vec<String>,
}

fn check(page: &str, source: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<Checked> {
    let (mut lines, mut rows, mut faults) = (Vec::new(), 0, Vec::new());
    for line in page.lines() {
        let Some(row) = Row::of(line) else {
            lines.push(line.to_owned());
            continue;
        };
        rows += 1;
        let number = row.constant(source).with_context(|| row.limit.to_owned())?;
        if number != row.number {
            faults.push(format!("{}: {} should be {number}", row.limit, row.number));
        }
        lines.push(row.with(&number));
    }
    if rows == 0 {
        bail!("it has no rows");
    }
    Ok(Checked {
        text: lines.join("\n") + "\n",
        rows,
        faults,
    })
}

/// One limit.
struct Row<'a> {
    limit: &'a str,
    number: &'a str,
    place: &'a str,
    reached: &'a str,
}

impl<'a> Row<'a> {
    /// Reads a line of the page, unless it is none of a table of limits.
    fn of(line: &'a str) -> Option<Self> {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        let [limit, number, place, reached] = cells.as_slice() else {
            return None;
        };
        place.starts_with('`').then_some(Self {
            limit,
            number,
            place,
            reached,
        })
    }

    fn with(&self, number: &str) -> String {
        let Self {
            limit, place, reached, ..
        } = self;
        format!("| {limit} | {number} | {place} | {reached} |")
    }

    /// The number of the constant, as the page writes it.
    fn constant(&self, source: &dyn Fn(&str) -> Option<String>) -> anyhow::Result<String> {
        let place = self.place.trim_matches('`');
        let (file, name) = place.split_once(' ').context("the place is not `FILE NAME`")?;
        let text = source(file).with_context(|| format!("there is no file crates/{file}"))?;
        let value = value_of(&text, name).with_context(|| format!("crates/{file} has no constant or field {name}"))?;
        let octets = self.number.ends_with('B') || self.number.is_empty();
        shown(&value, octets).with_context(|| format!("{name} = {value} cannot be read"))
    }
}

/// The expression behind `NAME: TYPE =`, or behind `name:` where a limit is the default of a field.
fn value_of(text: &str, name: &str) -> Option<String> {
    let is_field = name.chars().any(char::is_lowercase);
    let begin = match is_field {
        true => format!("{name}: "),
        false => format!("const {name}: "),
    };
    let found = text.lines().map(str::trim).filter_map(|line| {
        let (before, rest) = line.split_once(&begin)?;
        let before = before.trim_end();
        (before.is_empty() || before.starts_with("pub")).then_some(rest)
    });
    let mut found = found.filter_map(|rest| match is_field {
        // A declaration has a type there, and no number.
        true => rest.strip_suffix(',').filter(|value| number(value).is_some()),
        false => rest.split_once('=')?.1.strip_suffix(';'),
    });
    found.next().map(|value| value.trim().to_owned())
}

/// Writes a number as people read it: in groups of three, octets and times with their unit.
fn shown(value: &str, octets: bool) -> Option<String> {
    match number(value)? {
        Number::Time(time) => Some(time_text(time)),
        Number::Count(count) if octets => Some(octets_text(count)),
        Number::Count(count) => Some(groups(count)),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Number {
    Count(u64),
    Time(Duration),
}

/// Works out products, shifts and durations: what constants are made of.
fn number(value: &str) -> Option<Number> {
    for (unit, time) in [
        ("Duration::from_secs(", Duration::from_secs as fn(u64) -> Duration),
        ("Duration::from_millis(", Duration::from_millis),
    ] {
        if let Some(inner) = value.strip_prefix(unit) {
            return Some(Number::Time(time(count(inner.strip_suffix(')')?)?)));
        }
    }
    count(value).map(Number::Count)
}

fn count(value: &str) -> Option<u64> {
    if let Some((base, shift)) = value.split_once("<<") {
        return count(base)?.checked_shl(u32::try_from(count(shift)?).ok()?);
    }
    let factors = value
        .split('*')
        .map(|factor| factor.trim().replace('_', "").parse::<u64>().ok());
    factors
        .into_iter()
        .try_fold(1_u64, |product, factor| product.checked_mul(factor?))
}

fn groups(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

fn octets_text(count: u64) -> String {
    let units = [(1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    let unit = units
        .into_iter()
        .find(|(size, _)| count >= *size && count.is_multiple_of(*size));
    unit.map_or_else(
        || format!("{} B", groups(count)),
        |(size, unit)| format!("{} {unit}", count / size),
    )
}

fn time_text(time: Duration) -> String {
    let (seconds, millis) = (time.as_secs(), time.as_millis());
    let units = [(86_400, "d"), (3600, "h"), (60, "min")];
    if !millis.is_multiple_of(1000) {
        return format!("{millis} ms");
    }
    let unit = units
        .into_iter()
        .find(|(length, _)| seconds >= *length && seconds.is_multiple_of(*length));
    unit.map_or_else(
        || format!("{seconds} s"),
        |(length, unit)| format!("{} {unit}", seconds / length),
    )
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

const PAGE: &str = "docs/limits.md";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_the_numbers_of_the_code() {
        run(false).unwrap();
    }

    #[test]
    fn the_compiler_is_named_the_same_everywhere() {
        let read = |file: &str| fs::read_to_string(root().join(file)).unwrap();
        let file: toml::Table = read("rust-toolchain.toml").parse().unwrap();
        let channel = file["toolchain"]["channel"].as_str().unwrap().to_owned();
        let workspace: toml::Table = read("Cargo.toml").parse().unwrap();
        let oldest = workspace["workspace"]["package"]["rust-version"].as_str().unwrap();
        assert!(channel.starts_with(&format!("{oldest}.")), "{channel} {oldest}");
        // So that the image is built without fetching another one.
        assert!(
            read("deploy/docker/Dockerfile").contains(&format!("FROM rust:{channel}-")),
            "{channel}"
        );
        assert!(read("README.md").contains(&format!("Rust {oldest}")), "{oldest}");
    }

    const SOURCE: &str = "\
struct Limits { calls: usize }
    calls: 4_096,
/// As many as there may be.
pub(crate) const MOST: usize = 16 * 1024;
const LIFE: Duration = Duration::from_secs(12 * 3600);
const ROOM: u64 = 4 << 20;
";

    fn checked(page: &str) -> anyhow::Result<Checked> {
        check(page, &|file| (file == "edge/src/a.rs").then(|| SOURCE.to_owned()))
    }

    #[test]
    fn a_number_that_differs_is_told_and_mended() {
        let page = "\
# Limits

| limit | number | constant | when it is reached |
|---|---|---|---|
| requests | 16 384 | `edge/src/a.rs MOST` | dropped |
| a call | 13 h | `edge/src/a.rs LIFE` | forgotten |
| memory | 4 MiB | `edge/src/a.rs ROOM` | refused |
| calls | 5 | `edge/src/a.rs calls` | refused |
";
        let Checked { text, rows, faults } = checked(page).unwrap();
        assert_eq!(rows, 4);
        assert_eq!(faults, ["a call: 13 h should be 12 h", "calls: 5 should be 4 096"]);
        assert_eq!(text, page.replace("13 h", "12 h").replace("| 5 |", "| 4 096 |"));
        assert!(checked(&text).unwrap().faults.is_empty());
    }

    #[test]
    fn a_constant_that_is_not_there_is_named() {
        for place in ["edge/src/a.rs NONE", "edge/src/b.rs MOST", "MOST"] {
            assert!(checked(&format!("| a | 1 | `{place}` | b |")).is_err(), "{place}");
        }
    }
}
