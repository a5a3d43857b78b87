//! What a change must pass, in the order in which it fails fastest.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use cargo_metadata::MetadataCommand;

use crate::step::{Done, Step};
use crate::{arch, clauses, image, kubernetes, packages, sim, tools};

/// Runs all steps and prints what each took.
pub(crate) fn run() -> anyhow::Result<()> {
    let began = std::time::Instant::now();
    let target = folders()?.target;
    let mut done = Vec::new();

    tools::components()?;
    packages::install()?;
    done.push(Step::cargo("fmt", &["fmt", "--all", "--check"]).run()?);
    done.push(arch_step()?);
    done.push(clippy().run()?);
    done.push(unit_tests().run_tests()?);
    done.push(sim::step(&sim::Arguments::default()).run_tests()?);
    let program = image::static_program(&target)?;
    if image::has_docker() {
        done.push(image::build(&program)?);
    } else {
        eprintln!("\n=== image: skipped, Docker does not run here; so will be the tests with containers");
    }
    done.push(phones(&program).run_tests()?);
    // Containers wait for each other most of the time: long enough for what is left.
    let (containers, rest) = std::thread::scope(|scope| {
        let containers = scope.spawn(|| containers(&program).run_tests());
        let rest = documentation()
            .run()
            .and_then(|first| Ok([first, kubernetes::run()?, licences(&target)?]));
        (containers.join(), rest)
    });
    done.extend(rest?);
    done.push(containers.map_err(|_| anyhow::anyhow!("the step of the containers panicked"))??);

    summary(&done, began.elapsed());
    Ok(())
}

/// Real phones against the program, as it is shipped.
pub(crate) fn end_to_end(filter: Option<&str>) -> anyhow::Result<()> {
    packages::install()?;
    let program = image::static_program(&folders()?.target)?;
    let done = end_to_end_tests("e2e", &program).arguments(filter).run_tests()?;
    summary(std::slice::from_ref(&done), done.took);
    Ok(())
}

/// Runs each fuzz target for a while.
pub(crate) fn fuzz(target: Option<&str>, seconds: u64) -> anyhow::Result<()> {
    let folders = folders()?;
    let program = tools::program("cargo-fuzz", &folders.target)?;
    let names = match target {
        Some(name) => vec![name.to_owned()],
        None => fuzz_targets(&folders.root)?,
    };
    for name in names {
        let limit = format!("-max_total_time={seconds}");
        // The sanitizer's flags are unstable; this lets the stable compiler take them.
        Step::new(
            &format!("fuzz {name}"),
            &program.to_string_lossy(),
            &["fuzz", "run", "--fuzz-dir", "tests/fuzz", &name, "--", &limit],
        )
        .environment("RUSTC_BOOTSTRAP", "1")
        .folder(&folders.root)
        .run()?;
    }
    Ok(())
}

fn arch_step() -> anyhow::Result<Done> {
    let began = std::time::Instant::now();
    eprintln!("\n=== arch: cargo xtask arch");
    arch::run()
        .and_then(|()| clauses::run())
        .context("repeat it with:\n    cargo xtask arch")?;
    Ok(Done {
        name: "arch".into(),
        took: began.elapsed(),
        closing: None,
    })
}

fn clippy() -> Step {
    Step::cargo(
        "clippy",
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--locked",
            "--",
            "-D",
            "warnings",
        ],
    )
}

/// Everything but the simulator and the phones, which have steps of their own in an optimised profile.
fn unit_tests() -> Step {
    let runner: &[&str] = if tools::has_cargo("nextest") {
        &["nextest", "run"]
    } else {
        &["test"]
    };
    Step::cargo("test", runner).arguments([
        "--workspace",
        "--locked",
        "--exclude",
        "p2psip-sim",
        "--exclude",
        "p2psip-e2e",
    ])
}

/// Real phones against the program that is in the image too.
fn phones(program: &Path) -> Step {
    let step = end_to_end_tests("e2e", program).arguments(["--lib"]);
    PHONES.iter().fold(step, |step, test| step.arguments(["--test", test]))
}

/// The whole overlay in containers, whose parts fail.
fn containers(program: &Path) -> Step {
    let step = end_to_end_tests("containers", program);
    CONTAINERS
        .iter()
        .fold(step, |step, test| step.arguments(["--test", test]))
}

/// One test after the other: phones listen to audio, and a busy machine would drop some; containers share the ports of the host.
fn end_to_end_tests(name: &str, program: &Path) -> Step {
    let runner: &[&str] = if tools::has_cargo("nextest") {
        &["nextest", "run"]
    } else {
        &["test"]
    };
    Step::cargo(name, runner)
        .arguments(["--locked", "--package", "p2psip-e2e"])
        .environment("P2PSIP_PROGRAM", &program.to_string_lossy())
        .environment("NEXTEST_TEST_THREADS", "1")
        .environment("RUST_TEST_THREADS", "1")
}

fn documentation() -> Step {
    Step::cargo("doc", &["doc", "--workspace", "--no-deps", "--locked"]).environment("RUSTDOCFLAGS", "-D warnings")
}

/// Advisories are not among the checks: their database is not reachable from everywhere.
fn licences(target: &Path) -> anyhow::Result<Done> {
    let program = tools::program("cargo-deny", target)?;
    let arguments = [
        "--locked",
        "check",
        "--hide-inclusion-graph",
        "bans",
        "licenses",
        "sources",
    ];
    Step::new("deny", &program.to_string_lossy(), &arguments).run()
}

fn summary(done: &[Done], took: std::time::Duration) {
    eprintln!();
    for step in done {
        let closing = step.closing.as_deref().unwrap_or_default();
        eprintln!("{:>8.1} s  {:<10} ok  {closing}", step.took.as_secs_f64(), step.name);
    }
    eprintln!("{:>8.1} s  all passed", took.as_secs_f64());
}

pub(crate) struct Folders {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
}

pub(crate) fn folders() -> anyhow::Result<Folders> {
    let metadata = MetadataCommand::new().no_deps().exec().context("cargo metadata")?;
    Ok(Folders {
        root: metadata.workspace_root.into(),
        target: metadata.target_directory.into(),
    })
}

fn fuzz_targets(root: &Path) -> anyhow::Result<Vec<String>> {
    let folder = root.join("tests/fuzz/fuzz_targets");
    let entries = std::fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if let (Some("rs"), Some(stem)) = (path.extension().and_then(|e| e.to_str()), path.file_stem()) {
            names.push(stem.to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// The files of `tests/e2e/tests`, by what they need.
const PHONES: [&str; 4] = ["calls", "operator", "processes", "traffic"];
const CONTAINERS: [&str; 2] = ["containers", "pods"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_to_end_test_is_run() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/e2e/tests");
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut names: Vec<String> = files
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .map(|path| path.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        names.sort();
        let mut run = [&PHONES[..], &CONTAINERS].concat();
        run.sort_unstable();
        assert_eq!(names, run);
    }
}
