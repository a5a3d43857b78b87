//! The tables of clauses in docs/rfc: each demand of a standard with the file that meets it, the reason why not, or what is
//! missing. Whether an entry is true is for reading; that it can be is checked here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::Deserialize;

/// Checks all tables.
pub(crate) fn run() -> anyhow::Result<()> {
    let root = root();
    let deviations = fs::read_to_string(root.join(DEVIATIONS)).with_context(|| format!("cannot read {DEVIATIONS}"))?;
    let deviations = decisions(&deviations);
    let (mut count, mut faults) = (0, Vec::new());
    for file in tables(&root)? {
        let name = file.strip_prefix(&root).unwrap_or(&file).display().to_string();
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {name}"))?;
        let table: Table = toml::from_str(&text).with_context(|| name.clone())?;
        count += table.clause.len();
        let found = table.faults(&|path| root.join(path).is_file(), &deviations);
        faults.extend(found.into_iter().map(|fault| format!("    {name}: {fault}")));
    }
    if !faults.is_empty() {
        bail!("{} faults in tables of clauses:\n{}", faults.len(), faults.join("\n"));
    }
    eprintln!("{count} clauses of standards, each done, an exception or open");
    Ok(())
}

/// One standard.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    clause: Vec<Clause>,
}

/// One demand.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Clause {
    /// Its section.
    section: String,
    /// What it demands, in our words.
    about: String,
    /// The file that meets it.
    done: Option<String>,
    /// Why something else is done.
    exception: Option<String>,
    /// What is missing.
    open: Option<String>,
}

impl Table {
    fn faults(&self, exists: &dyn Fn(&str) -> bool, deviations: &BTreeSet<String>) -> Vec<String> {
        let of_each = self.clause.iter().filter_map(|clause| {
            let fault = clause.fault(exists, deviations)?;
            Some(format!("{} ({}): {fault}", clause.section, clause.about))
        });
        let pairs = self.clause.iter().zip(self.clause.iter().skip(1));
        let unsorted = pairs.filter(|(one, next)| number(&one.section) > number(&next.section));
        let of_order = unsorted.map(|(one, next)| format!("{} stands before {}", one.section, next.section));
        of_each.chain(of_order).collect()
    }
}

impl Clause {
    fn fault(&self, exists: &dyn Fn(&str) -> bool, deviations: &BTreeSet<String>) -> Option<String> {
        let states = [&self.done, &self.exception, &self.open];
        if number(&self.section).is_none() {
            return Some("the section is no number".into());
        }
        if states.iter().filter(|state| state.is_some()).count() != 1 {
            return Some("needs one of done, exception and open".into());
        }
        if states
            .into_iter()
            .flatten()
            .chain([&self.about])
            .any(|text| text.trim().is_empty())
        {
            return Some("says nothing".into());
        }
        if let Some(file) = self.done.as_ref().filter(|file| !exists(file)) {
            return Some(format!("{file} does not exist"));
        }
        let cited = self.exception.iter().flat_map(|reason| decisions(reason));
        let unknown = cited.into_iter().find(|decision| !deviations.contains(decision))?;
        Some(format!("{unknown} is not in {DEVIATIONS}"))
    }
}

/// A section as numbers, so that 6.10 follows 6.9.
fn number(section: &str) -> Option<Vec<u32>> {
    section.split('.').map(|part| part.parse().ok()).collect()
}

/// The decisions that a text names: a D with a number.
fn decisions(text: &str) -> BTreeSet<String> {
    let is_decision = |word: &&str| {
        let digits = word.strip_prefix('D').unwrap_or_default();
        !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    let words = text.split(|character: char| !character.is_ascii_alphanumeric());
    words.filter(is_decision).map(str::to_owned).collect()
}

fn tables(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let folder = root.join(FOLDER);
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {FOLDER}"))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// This program is built and run in the repository only.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap_or(Path::new("."))
        .to_owned()
}

const FOLDER: &str = "docs/rfc";
const DEVIATIONS: &str = "docs/deviations.md";

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let table: Table = toml::from_str(text).unwrap();
        table.faults(&|path| path == "here.rs", &decisions("| D1 | D12 |"))
    }

    #[test]
    fn the_tables_are_in_order() {
        run().unwrap();
    }

    #[test]
    fn a_good_table_has_no_faults() {
        let found = faults(
            "[[clause]]\nsection = \"6.9\"\nabout = \"a\"\ndone = \"here.rs\"\n\
             [[clause]]\nsection = \"6.10\"\nabout = \"b\"\nexception = \"see D12\"\n\
             [[clause]]\nsection = \"6.10\"\nabout = \"c\"\nopen = \"all of it\"\n",
        );
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn faults_are_named() {
        let cases = [
            ("section = \"6\"\nabout = \"a\"", "6 (a): needs one of"),
            (
                "section = \"6\"\nabout = \"a\"\ndone = \"here.rs\"\nopen = \"b\"",
                "6 (a): needs one of",
            ),
            (
                "section = \"6\"\nabout = \"a\"\ndone = \"gone.rs\"",
                "6 (a): gone.rs does not exist",
            ),
            (
                "section = \"6\"\nabout = \"a\"\nexception = \"D13\"",
                "6 (a): D13 is not in",
            ),
            ("section = \"6\"\nabout = \"a\"\nopen = \" \"", "6 (a): says nothing"),
            (
                "section = \"six\"\nabout = \"a\"\nopen = \"b\"",
                "six (a): the section is no number",
            ),
        ];
        for (clause, fault) in cases {
            let found = faults(&format!("[[clause]]\n{clause}\n"));
            assert!(found.len() == 1 && found[0].starts_with(fault), "{found:?}");
        }
        let clause = |section| format!("[[clause]]\nsection = \"{section}\"\nabout = \"a\"\nopen = \"b\"\n");
        assert_eq!(faults(&(clause("6.10") + &clause("6.9"))), ["6.10 stands before 6.9"]);
    }
}
