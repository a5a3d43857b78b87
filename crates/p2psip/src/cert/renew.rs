//! `cert renew`: the next certificates of the nodes that are enrolled on this host, now rather than when they are due.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use clap::Args;
use runtime::ExitCode;

use super::files::Found;
use super::report::Report;
use crate::clock::now_ms;
use crate::enroll;
use crate::failure::Failure;
use crate::output::Printer;
use crate::settings::DATA;

/// Whose certificates.
#[derive(Debug, Args)]
pub(crate) struct Renew {
    /// Folders with the credentials of nodes, or folders to look through for them [default: /var/lib/p2psip]
    #[arg(value_name = "FOLDER")]
    folders: Vec<PathBuf>,
}

/// Renews all that is found, one node after the other, and prints each when it is done.
pub(super) async fn run(arguments: &Renew, printer: &Printer) -> Result<ExitCode, Failure> {
    let default = [PathBuf::from(DATA)];
    let folders = if arguments.folders.is_empty() {
        &default
    } else {
        arguments.folders.as_slice()
    };
    let mut places = Vec::new();
    for folder in folders {
        gather(folder, DEPTH, &mut places).map_err(|error| unreadable(folder, error))?;
    }
    if places.is_empty() {
        let names: Vec<_> = folders.iter().map(|folder| folder.display().to_string()).collect();
        return Err(Failure::negative(format!("nobody is enrolled in {}", names.join(", "))));
    }
    for (number, place) in places.iter().enumerate() {
        let is_ours = fs::metadata(place).map(|metadata| metadata.uid() == nix::unistd::geteuid().as_raw());
        if !is_ours.map_err(|error| unreadable(place, error))? {
            // What we write the component could not read.
            let message = format!("{} belongs to another user: renew as that user", place.display());
            return Err(Failure::cannot_start(anyhow::anyhow!(message)));
        }
        let spinner = printer.spinner(format!("renewing {}", place.display()));
        let renewed = enroll::renew_now(place).await;
        spinner.finish_and_clear();
        let found = renewed?
            .into_iter()
            .map(|(path, certificate)| Found { path, certificate });
        let report = Report::new(&found.collect::<Vec<_>>(), now_ms());
        let gap = if number == 0 { "" } else { "\n" };
        printer.result(&report, |report| format!("{gap}{}", report.text()))?;
    }
    Ok(ExitCode::Ok)
}

/// Finds the folders in which somebody is enrolled, in the order of their names.
fn gather(folder: &Path, depth: u8, places: &mut Vec<PathBuf>) -> io::Result<()> {
    if enroll::is_enrolled(folder) {
        places.push(folder.to_owned());
        return Ok(());
    }
    let entries = fs::read_dir(folder)?.collect::<io::Result<Vec<_>>>()?;
    let mut below: Vec<PathBuf> = Vec::new();
    for entry in entries {
        // Of the entry itself: a link that leads elsewhere is not followed.
        if depth > 0 && entry.file_type()?.is_dir() {
            below.push(entry.path());
        }
    }
    below.sort();
    below.iter().try_for_each(|folder| gather(folder, depth - 1, places))
}

fn unreadable(folder: &Path, error: io::Error) -> Failure {
    let code = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => ExitCode::Usage,
        _ => ExitCode::CannotStart,
    };
    let message = format!("cannot read {}", folder.display());
    Failure::new(code, anyhow::Error::new(error).context(message))
}

/// Folders below the one that was named; data folders have three.
const DEPTH: u8 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_found_below_a_folder_and_drafts_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let place = |name: &str, files: &[&str]| {
            let place = folder.path().join(name);
            fs::create_dir_all(&place).unwrap();
            for file in files {
                fs::write(place.join(file), "").unwrap();
            }
            place
        };
        let edge = place("sip-edge/credentials", &["link.key", "link.der", "root"]);
        let peer = place("overlay/credentials", &["peer.key", "peer.der", "root"]);
        place("sip-edge/credentials.new", &["link.key"]);
        let mut found = Vec::new();
        gather(folder.path(), DEPTH, &mut found).unwrap();
        assert_eq!(found, [peer.clone(), edge]);
        let mut named = Vec::new();
        gather(&peer, DEPTH, &mut named).unwrap();
        assert_eq!(named, [peer]);
        let missing = gather(&folder.path().join("none"), DEPTH, &mut found).unwrap_err();
        assert_eq!(unreadable(folder.path(), missing).code(), ExitCode::Usage);
    }
}
