//! `document`: the overlay's configuration, changed where the off-line keys are and brought to all nodes.

mod push;
pub(crate) mod request;
mod status;

use std::path::PathBuf;
use std::time::Duration;

use clap::Subcommand;
use runtime::ExitCode;

use crate::asynchronously;
use crate::cli::Global;
use crate::failure::Failure;
use crate::output::Printer;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Bring a signed document to a peer, which puts it in force and sends it to all others
    #[command(after_help = PUSH_EXAMPLES)]
    Push {
        /// The document; - reads standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Show which document a peer and its Neighbors obey, and when that and the peer's certificate end
    #[command(after_help = STATUS_EXAMPLES)]
    Status {
        /// Wait so long at most until all Neighbors have the same, with its unit: 30s, 1m
        #[arg(long, value_name = "TIME", value_parser = runtime::units::parse_duration)]
        wait: Option<Duration>,
    },
}

/// Carries out one of the commands.
pub(crate) fn run(command: &Command, global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    match command {
        Command::Push { file } => asynchronously(global, push::run(file, global, printer)),
        Command::Status { wait } => asynchronously(global, status::run(*wait, global, printer)),
    }
}

const PUSH_EXAMPLES: &str = "\
Examples:
  p2psip document push off-line/document-2.xml
  p2psip --peer unix:/run/p2psip/peer.sock document push document-2.xml
  ssh sip1.example.org p2psip document push - < off-line/document-2.xml

Any peer does. It believes the document for its signature and for the one in force: of the same overlay, signed by a signer that
the one in force names, and newer. Pushed again, it is in force already. The exit code is 1 when it is not newer, or when the peer
cannot obey it, and 2 when it is no document of this overlay.";

const STATUS_EXAMPLES: &str = "\
Examples:
  p2psip document status
  p2psip document status --wait 1m                     after `document push`
  p2psip -o json document status | jq -r '.neighbors[] | select(.sequence != 3) | .peer_id'

The exit code is 3 while a Neighbor has another document than the peer, or has not been heard of since their link was opened.";
