//! The container image, without any registry: a static program built here, in the last stage of the Dockerfile.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;

use crate::step::{Done, Step};

/// What the compose file calls the image.
const TAG: &str = "p2psip:latest";

/// Builds the program and the image around it.
pub(crate) fn run() -> anyhow::Result<()> {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec()?;
    let program = static_program(metadata.target_directory.as_std_path())?;
    build(&program).map(drop)
}

/// Whether an image can be built here.
pub(crate) fn has_docker() -> bool {
    let mut command = std::process::Command::new("docker");
    command.arg("version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Builds the image around a static program.
pub(crate) fn build(program: &Path) -> anyhow::Result<Done> {
    let metadata = cargo_metadata::MetadataCommand::new().no_deps().exec()?;
    let root = PathBuf::from(&metadata.workspace_root);
    let context = PathBuf::from(&metadata.target_directory).join("image");
    fill(&context, program).with_context(|| context.display().to_string())?;

    let path = root.join("deploy/docker/Dockerfile");
    let dockerfile = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let stage = last_stage(&dockerfile).with_context(|| format!("{} has no last stage to build", path.display()))?;
    std::fs::write(context.join("Dockerfile"), stage)?;
    Step::new("image", "docker", &["build", "--quiet", "--tag", TAG, "."])
        .folder(&context)
        .run()
}

/// A program that needs no libraries. An explicit target keeps the static linking from the build scripts and macros, which must
/// run here.
pub(crate) fn static_program(target: &Path) -> anyhow::Result<PathBuf> {
    let host = host()?;
    Step::cargo(
        "build",
        &[
            "build",
            "--release",
            "--locked",
            "--package",
            "p2psip",
            "--target",
            &host,
        ],
    )
    .environment("RUSTFLAGS", "-C target-feature=+crt-static")
    .run()?;
    Ok(target.join(host).join("release/p2psip"))
}

/// What is in the image: the program and the folders that volumes are put on.
fn fill(context: &Path, program: &Path) -> anyhow::Result<()> {
    let image = context.join("image");
    if image.exists() {
        std::fs::remove_dir_all(&image)?;
    }
    for folder in FOLDERS {
        std::fs::create_dir_all(image.join(folder))?;
    }
    std::fs::copy(program, image.join("p2psip"))?;
    Step::new("strip", "strip", &[&image.join("p2psip").to_string_lossy()]).run()?;
    Ok(())
}

/// The last stage, with its files from the context instead of the stage before.
fn last_stage(dockerfile: &str) -> Option<String> {
    let stage = &dockerfile[dockerfile.rfind("\nFROM ")?..];
    let stage = stage.trim_start();
    stage
        .contains(FROM_BUILD)
        .then(|| stage.replace(FROM_BUILD, "COPY --chown=65532:65532 image /"))
}

fn host() -> anyhow::Result<String> {
    let output = std::process::Command::new("rustc")
        .arg("-vV")
        .output()
        .context("rustc")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc -vV names no host")
}

const FROM_BUILD: &str = "COPY --from=build --chown=65532:65532 /image /";
const FOLDERS: [&str; 4] = ["var/lib/p2psip", "run/p2psip", "enrollment", "etc/p2psip"];

#[cfg(test)]
mod tests {
    use super::*;

    const DOCKERFILE: &str = include_str!("../../../deploy/docker/Dockerfile");

    #[test]
    fn the_last_stage_of_the_dockerfile_can_stand_alone() {
        let stage = last_stage(DOCKERFILE).unwrap();
        assert!(stage.starts_with("FROM scratch\n"), "{stage}");
        assert!(!stage.contains("--from="), "{stage}");
        assert!(stage.contains("\nUSER 65532:65532\n"), "{stage}");
    }

    #[test]
    fn the_dockerfile_sees_all_sources() {
        // The program includes files from outside its crates: the documented settings, the contracts.
        let ignored = include_str!("../../../.dockerignore");
        assert_eq!(ignored.lines().collect::<Vec<_>>(), ["/target", "/.git"]);
    }

    #[test]
    fn both_ways_make_the_same_folders() {
        for folder in FOLDERS {
            assert!(DOCKERFILE.contains(&format!("/image/{folder}")), "{folder}");
        }
    }
}
