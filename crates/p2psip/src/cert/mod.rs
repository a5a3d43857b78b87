//! `cert info`: what certificates a folder or file holds, whose they are, and how long they last; `cert renew` for the next ones.

mod files;
mod renew;
mod report;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use runtime::ExitCode;

use self::files::Found;
use self::report::Report;
use crate::clock::now_ms;
use crate::failure::Failure;
use crate::output::Printer;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show the certificates of this host: what they are for, until when, and when they are renewed
    #[command(after_help = INFO_EXAMPLES)]
    Info(Info),
    /// Renew the certificates of this host's nodes now: with the enrollment server, by those in force
    #[command(after_help = RENEW_EXAMPLES)]
    Renew(renew::Renew),
}

/// Where to look.
#[derive(Debug, Args)]
pub(crate) struct Info {
    /// Certificates (DER or PEM), configuration documents, or folders to look through [default: /var/lib/p2psip]
    #[arg(value_name = "FILE|FOLDER")]
    paths: Vec<PathBuf>,
}

/// Runs one of the commands.
pub(crate) async fn run(command: &Command, printer: &Printer) -> Result<ExitCode, Failure> {
    match command {
        Command::Info(arguments) => info(arguments, printer),
        Command::Renew(arguments) => renew::run(arguments, printer).await,
    }
}

/// Prints all certificates that are found; the code says whether all are valid now.
fn info(info: &Info, printer: &Printer) -> Result<ExitCode, Failure> {
    let default = [PathBuf::from(crate::settings::DATA)];
    let paths = if info.paths.is_empty() {
        &default
    } else {
        info.paths.as_slice()
    };
    let mut found: Vec<Found> = Vec::new();
    for path in paths {
        let here = files::certificates(path).map_err(|error| Failure::new(error.code(), error))?;
        for certificate in here {
            // CAs stand in each copy of the document.
            if !found.iter().any(|known| known.certificate == certificate.certificate) {
                found.push(certificate);
            }
        }
    }
    if found.is_empty() {
        let names: Vec<_> = paths.iter().map(|path| Path::display(path).to_string()).collect();
        return Err(Failure::negative(format!(
            "there is no certificate in {}",
            names.join(", ")
        )));
    }
    let report = Report::new(&found, now_ms());
    printer.result(&report, Report::text)?;
    Ok(if report.are_all_valid() {
        ExitCode::Ok
    } else {
        ExitCode::Credentials
    })
}

const INFO_EXAMPLES: &str = "\
Examples:
  p2psip cert info                                     all that this host has
  p2psip cert info ~/p2psip-dev/peer1
  p2psip cert info peer.der document.xml
  p2psip -o json cert info | jq '.certificates[] | select(.days_left < 14) | .file'

The exit code is 4 when any of them is not valid now. A private key is never read.";

const RENEW_EXAMPLES: &str = "\
Examples:
  p2psip cert renew                                    all nodes of this host
  p2psip cert renew /var/lib/p2psip/overlay            its peer alone
  p2psip -o json cert renew | jq -r '.certificates[].not_after'

It shows what was renewed and until when; JSON has a line for each node. They renew by themselves when they are due; this is for those who
cannot wait. A running component takes the new ones over within a minute, a stopped one at its start. The exit code is 4 when the
certificate in force is not valid any more or the server does not know it, 5 when no server can be reached.";
