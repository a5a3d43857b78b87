//! Runs tshark over messages.

use std::{fs, io, path::Path, process::Command};

use crate::{
    capture::{self, Captured},
    pdml,
    verdict::{self, Verdict},
};

/// Why there are no verdicts at all.
#[derive(Debug, thiserror::Error)]
pub enum DissectError {
    /// tshark is not there.
    #[error("cannot run tshark ({0}); install the package tshark (apt-get install tshark)")]
    NoTshark(io::Error),
    /// The capture file could not be written.
    #[error("cannot write the capture file: {0}")]
    Capture(io::Error),
    /// tshark failed.
    #[error("tshark failed: {0}")]
    Failed(String),
    /// What tshark wrote is not PDML.
    #[error("tshark's output is no PDML: {0}")]
    Pdml(#[from] quick_xml::Error),
    /// A message is missing from what tshark wrote.
    #[error("tshark saw {seen} packets for {given} messages")]
    Count {
        /// Packets in the output.
        seen: usize,
        /// Messages that were given.
        given: usize,
    },
}

/// Dissects messages in their order; one verdict for each.
///
/// # Errors
/// [`DissectError`] if tshark is missing, or failed as a whole.
pub fn dissect(messages: &[Captured]) -> Result<Vec<Verdict>, DissectError> {
    let folder = tempfile::tempdir().map_err(DissectError::Capture)?;
    let file = folder.path().join("reload.pcap");
    fs::write(&file, capture::pcap(messages)).map_err(DissectError::Capture)?;
    let packets = pdml::packets(&tshark(folder.path(), &file)?)?;
    if packets.len() != messages.len() {
        return Err(DissectError::Count {
            seen: packets.len(),
            given: messages.len(),
        });
    }
    Ok(messages
        .iter()
        .zip(&packets)
        .map(|(message, packet)| verdict::judge(message, packet))
        .collect())
}

/// Our private Kinds, so that the dissector knows their models.
const KINDS: [&str; 2] = [
    r#""4026531841","P2PSIP-USER","DICTIONARY""#,
    r#""4026531842","P2PSIP-PROBE","SINGLE""#,
];

fn tshark(home: &Path, file: &Path) -> Result<String, DissectError> {
    let mut command = Command::new("tshark");
    // An empty home, so that nobody's preferences change the verdict.
    command.env("HOME", home).env_remove("XDG_CONFIG_HOME");
    command
        .arg("-r")
        .arg(file)
        .args(["-T", "pdml", "-o", "reload.nodeid_length:16"]);
    for kind in KINDS {
        command.arg("-o").arg(format!("uat:reload_kindids:{kind}"));
    }
    let output = command.output().map_err(DissectError::NoTshark)?;
    if !output.status.success() {
        return Err(DissectError::Failed(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
