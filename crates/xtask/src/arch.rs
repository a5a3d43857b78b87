//! The arrows of ARCHITECTURE.md: a crate names only what stands below it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context as _, bail};
use cargo_metadata::{DependencyKind, MetadataCommand};

/// Checks the workspace.
pub(crate) fn run() -> anyhow::Result<()> {
    let packages = workspace()?;
    let violations = check(&packages);
    if !violations.is_empty() {
        let list: Vec<_> = violations.iter().map(|violation| format!("    {violation}")).collect();
        bail!(
            "{} forbidden arrows (the table is in crates/xtask/src/arch.rs):\n{}",
            list.len(),
            list.join("\n")
        );
    }
    let arrows: usize = packages.iter().map(|package| package.ours.len()).sum();
    eprintln!("{} packages, {arrows} arrows, none forbidden", packages.len());
    Ok(())
}

/// What each crate may name of ours.
const ARROWS: [(&str, &[&str]); 18] = [
    ("wire", &[]),
    ("sip-core", &[]),
    ("kv", &[]),
    ("rpc", &[]),
    ("runtime", &[]),
    ("identity", &["wire"]),
    ("overlay-config", &["identity", "wire"]),
    ("chord", &["wire"]),
    ("link", &["identity", "wire"]),
    ("overlay-core", &["chord", "overlay-config", "identity", "wire"]),
    ("storage-core", &["overlay-config", "identity", "wire"]),
    ("usage", &["overlay-config", "identity", "wire"]),
    (
        "overlay",
        &[
            "overlay-core",
            "link",
            "kv",
            "overlay-config",
            "identity",
            "wire",
            "rpc",
            "runtime",
        ],
    ),
    (
        "storage",
        &[
            "storage-core",
            "kv",
            "overlay-config",
            "identity",
            "wire",
            "rpc",
            "runtime",
        ],
    ),
    (
        "sip-edge",
        &[
            "sip-core",
            "usage",
            "link",
            "kv",
            "overlay-config",
            "identity",
            "wire",
            "rpc",
            "runtime",
        ],
    ),
    (
        "bootstrap",
        &[
            "usage",
            "link",
            "kv",
            "overlay-config",
            "identity",
            "wire",
            "rpc",
            "runtime",
        ],
    ),
    (
        "p2psip",
        &[
            "overlay",
            "storage",
            "sip-edge",
            "bootstrap",
            "sip-core",
            "usage",
            "overlay-config",
            "identity",
            "wire",
            "rpc",
            "runtime",
        ],
    ),
    ("xtask", &["fleet"]),
];

/// Crates of others that only one of ours may name.
const ONLY: [(&str, &str); 2] = [("rsip", "sip-core"), ("sled", "kv")];

/// What owns sockets, clocks, threads or random numbers: not for crates below `crates/core`.
const NOT_IN_CORES: [&str; 12] = [
    "tokio",
    "tokio-util",
    "tokio-stream",
    "tokio-rustls",
    "socket2",
    "mio",
    "hyper-util",
    "tonic",
    "rand",
    "sled",
    "async-std",
    "crossbeam-channel",
];

/// One package of the workspace, as far as the arrows go.
#[derive(Clone, Debug, Default)]
struct Package {
    name: String,
    place: Place,
    /// Names of ours, and whether only its tests name them.
    ours: BTreeMap<String, Scope>,
    /// Names of others, outside its tests.
    others: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Place {
    Core,
    #[default]
    Shell,
    /// Below `tests/`: may name everything, and only tests may name it.
    Tests,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    Code,
    Tests,
}

#[derive(Debug, PartialEq, Eq)]
enum Violation {
    Unlisted {
        package: String,
    },
    Arrow {
        from: String,
        to: String,
        is_test: bool,
    },
    Only {
        from: String,
        to: String,
        owner: &'static str,
    },
    NotInCore {
        from: String,
        to: String,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unlisted { package } => write!(f, "{package} is not in the table"),
            Self::Arrow {
                from,
                to,
                is_test: false,
            } => write!(f, "{from} -> {to}"),
            Self::Arrow {
                from,
                to,
                is_test: true,
            } => write!(f, "{from} -> {to} (in its tests)"),
            Self::Only { from, to, owner } => write!(f, "{from} -> {to} (only {owner} may name it)"),
            Self::NotInCore { from, to } => write!(
                f,
                "{from} -> {to} (a core owns no socket, clock, thread or random source)"
            ),
        }
    }
}

fn check(packages: &[Package]) -> Vec<Violation> {
    let table: BTreeMap<&str, &[&str]> = ARROWS.into_iter().collect();
    let places: BTreeMap<&str, Place> = packages
        .iter()
        .map(|package| (package.name.as_str(), package.place))
        .collect();
    packages
        .iter()
        .flat_map(|package| check_one(package, &table, &places))
        .collect()
}

fn check_one(package: &Package, table: &BTreeMap<&str, &[&str]>, places: &BTreeMap<&str, Place>) -> Vec<Violation> {
    let from = &package.name;
    if package.place == Place::Tests {
        return Vec::new();
    }
    let Some(allowed) = table.get(from.as_str()) else {
        return vec![Violation::Unlisted { package: from.clone() }];
    };
    let below = below(from, table);
    let mut violations = Vec::new();
    for (to, scope) in &package.ours {
        let is_test = *scope == Scope::Tests;
        // Tests reach further down, where fixtures are made, and beside, into the packages of tests; never up.
        let is_fixture = is_test && (below.contains(to.as_str()) || places.get(to.as_str()) == Some(&Place::Tests));
        if !allowed.contains(&to.as_str()) && !is_fixture {
            violations.push(Violation::Arrow {
                from: from.clone(),
                to: to.clone(),
                is_test,
            });
        }
    }
    for to in &package.others {
        if let Some((_, owner)) = ONLY.iter().find(|(name, owner)| name == to && owner != from) {
            violations.push(Violation::Only {
                from: from.clone(),
                to: to.clone(),
                owner,
            });
        }
        if package.place == Place::Core && NOT_IN_CORES.contains(&to.as_str()) {
            violations.push(Violation::NotInCore {
                from: from.clone(),
                to: to.clone(),
            });
        }
    }
    violations
}

/// Everything that can be reached from a crate by the table.
fn below<'a>(from: &str, table: &BTreeMap<&'a str, &'a [&'a str]>) -> BTreeSet<&'a str> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = table.get(from).map(|names| names.to_vec()).unwrap_or_default();
    while let Some(name) = open.pop() {
        if let Some((known, names)) = table.get_key_value(name)
            && found.insert(*known)
        {
            open.extend(names.iter());
        }
    }
    found
}

fn workspace() -> anyhow::Result<Vec<Package>> {
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata")?;
    let members = metadata.workspace_packages();
    let ours: BTreeSet<&str> = members.iter().map(|member| member.name.as_str()).collect();
    let packages = members.iter().map(|member| {
        let folder = member
            .manifest_path
            .strip_prefix(&metadata.workspace_root)
            .unwrap_or(&member.manifest_path);
        let place = match folder.as_str() {
            folder if folder.starts_with("crates/core/") => Place::Core,
            folder if folder.starts_with("tests/") => Place::Tests,
            _ => Place::Shell,
        };
        let mut package = Package {
            name: short(&member.name),
            place,
            ..Package::default()
        };
        for dependency in &member.dependencies {
            let is_test = dependency.kind == DependencyKind::Development;
            if ours.contains(dependency.name.as_str()) {
                let scope = package.ours.entry(short(&dependency.name)).or_insert(Scope::Tests);
                if !is_test {
                    *scope = Scope::Code;
                }
            } else if !is_test {
                package.others.insert(dependency.name.clone());
            }
        }
        package
    });
    Ok(packages.collect())
}

/// The name of its folder.
fn short(name: &str) -> String {
    name.strip_prefix("p2psip-").unwrap_or(name).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, place: Place, ours: &[(&str, Scope)], others: &[&str]) -> Package {
        Package {
            name: name.into(),
            place,
            ours: ours.iter().map(|(name, scope)| ((*name).into(), *scope)).collect(),
            others: others.iter().map(|name| (*name).into()).collect(),
        }
    }

    fn complaints(packages: &[Package]) -> Vec<String> {
        check(packages).iter().map(Violation::to_string).collect()
    }

    #[test]
    fn the_workspace_keeps_to_the_table() {
        let violations = check(&workspace().unwrap());
        assert!(violations.is_empty(), "{violations:?}");
    }

    #[test]
    fn a_forbidden_arrow_is_found() {
        let storage = package(
            "storage",
            Place::Shell,
            &[("kv", Scope::Code), ("overlay", Scope::Code)],
            &[],
        );
        assert_eq!(complaints(&[storage]), ["storage -> overlay"]);
    }

    #[test]
    fn tests_reach_down_but_not_up() {
        let ours = [
            ("wire", Scope::Tests),
            ("chord", Scope::Tests),
            ("vectors", Scope::Tests),
            ("rpc", Scope::Tests),
        ];
        let overlay_core = package("overlay-core", Place::Core, &ours, &[]);
        let vectors = package("vectors", Place::Tests, &[("p2psip", Scope::Code)], &[]);
        assert_eq!(
            complaints(&[overlay_core, vectors]),
            ["overlay-core -> rpc (in its tests)"]
        );
    }

    #[test]
    fn code_does_not_name_packages_of_tests() {
        let wire = package("wire", Place::Core, &[("vectors", Scope::Code)], &[]);
        let vectors = package("vectors", Place::Tests, &[], &[]);
        assert_eq!(complaints(&[wire, vectors]), ["wire -> vectors"]);
    }

    #[test]
    fn crates_of_others_have_their_places() {
        let edge = package("sip-edge", Place::Shell, &[], &["rsip", "tokio"]);
        let core = package("sip-core", Place::Core, &[], &["rsip", "tokio"]);
        let found = complaints(&[edge, core]);
        assert_eq!(found.len(), 2, "{found:?}");
        assert_eq!(found[0], "sip-edge -> rsip (only sip-core may name it)");
        assert!(found[1].starts_with("sip-core -> tokio"), "{found:?}");
    }

    #[test]
    fn a_new_package_must_be_listed() {
        let stranger = package("helpers", Place::Shell, &[], &[]);
        assert_eq!(complaints(&[stranger]), ["helpers is not in the table"]);
    }
}
