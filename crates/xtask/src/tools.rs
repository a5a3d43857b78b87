//! Cargo's helpers, and programs of Python. They are installed below the target folder, so that nothing outside the project changes and the next run
//! finds them.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::packages::is_on_path;
use crate::step::Step;

/// Whether `cargo <name> --version` works.
pub(crate) fn has_cargo(name: &str) -> bool {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .args([name, "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// rustfmt and clippy: a minimal toolchain has neither.
pub(crate) fn components() -> anyhow::Result<()> {
    if (has_cargo("fmt") && has_cargo("clippy")) || !is_on_path("rustup") {
        return Ok(());
    }
    Step::new("tools", "rustup", &["component", "add", "rustfmt", "clippy"])
        .run()
        .map(drop)
}

/// Returns the path of a cargo subcommand's program, installing it if there is none.
pub(crate) fn program(name: &str, target: &Path) -> anyhow::Result<PathBuf> {
    let root = target.join("tools");
    let installed = root.join("bin").join(name);
    if is_on_path(name) {
        return Ok(name.into());
    }
    if !installed.exists() {
        let step = Step::cargo("tools", &["install", "--locked", name, "--root"]);
        // Built with its own folder: another profile would throw the project's artefacts away.
        let own = root.join("build");
        // It runs for seconds: what optimising it takes would be missing beside it.
        step.arguments([root.to_string_lossy().as_ref()])
            .environment("CARGO_TARGET_DIR", &own.to_string_lossy())
            .environment("CARGO_PROFILE_RELEASE_LTO", "off")
            .environment("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .environment("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
            .run()?;
        std::fs::remove_dir_all(own)?;
    }
    Ok(installed)
}

/// Returns the folder of programs that packages of PyPI bring, each pinned as `name==version`, in an environment of their own.
pub(crate) fn python(name: &str, packages: &[&str], target: &Path) -> anyhow::Result<PathBuf> {
    let root = target.join("tools").join(name);
    let programs = root.join("bin");
    let installed = root.join("installed");
    let wanted = packages.join("\n");
    if std::fs::read_to_string(&installed).is_ok_and(|text| text == wanted) {
        return Ok(programs);
    }
    Step::new("tools", "python3", &["-m", "venv", "--clear"])
        .arguments(root.to_str())
        .run()?;
    let quietly = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
    Step::new("tools", &programs.join("python").to_string_lossy(), &quietly)
        .arguments(packages.iter().copied())
        .run()?;
    std::fs::write(installed, wanted)?;
    Ok(programs)
}
