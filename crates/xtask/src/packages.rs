//! Programs of the system that tests run: phones, the dissector, namespaces.

use std::path::Path;

use anyhow::bail;

use crate::step::Step;

/// A program and the Debian package that has it.
struct Needed {
    program: &'static str,
    package: &'static str,
}

const NEEDED: [Needed; 7] = [
    Needed {
        program: "sipp",
        package: "sip-tester",
    },
    Needed {
        program: "baresip",
        package: "baresip",
    },
    Needed {
        program: "sipsak",
        package: "sipsak",
    },
    Needed {
        program: "tshark",
        package: "tshark",
    },
    Needed {
        program: "ip",
        package: "iproute2",
    },
    Needed {
        program: "kill",
        package: "procps",
    },
    Needed {
        program: "python3",
        package: "python3-venv",
    },
];

/// Installs what is missing if this user may; otherwise says what to install.
pub(crate) fn install() -> anyhow::Result<()> {
    let missing = missing();
    if missing.is_empty() {
        return Ok(());
    }
    let advice = format!("apt-get install {}", missing.join(" "));
    if !is_root() || !is_on_path("apt-get") {
        bail!("tests need programs that are missing here; as root, run:\n    {advice}");
    }
    let apt = |arguments: &[&str]| {
        Step::new("packages", "apt-get", arguments)
            .environment("DEBIAN_FRONTEND", "noninteractive")
            .run()
    };
    apt(&["update", "-q"])?;
    let arguments = ["install", "-q", "-y", "--no-install-recommends"];
    apt(&[&arguments[..], &missing].concat())?;
    match self::missing().as_slice() {
        [] => Ok(()),
        still => bail!("still missing after the installation: {}", still.join(" ")),
    }
}

fn missing() -> Vec<&'static str> {
    NEEDED
        .iter()
        .filter(|needed| !is_on_path(needed.program))
        .map(|needed| needed.package)
        .collect()
}

/// `/usr/sbin` is searched too: `ip` lives there and not every user's path has it.
pub(crate) fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.into_iter().any(|folder| folder.join(program).is_file())
}

/// The owner of `/proc/self` is the user that this process acts as.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    Path::new("/proc/self")
        .metadata()
        .is_ok_and(|metadata| metadata.uid() == 0)
}
