//! `bootstrap`: the component alone; with a subcommand, what happens to its state while it does not run.

mod backup_key;

use clap::{Args, Subcommand};
use runtime::ExitCode;

use crate::cli::{Global, Run};
use crate::failure::Failure;
use crate::node::{self, Part};
use crate::output::Printer;
use crate::setup::{self, New, Restore};

/// Runs the component, or one of the commands.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    run: Run,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a further bootstrap service on this host, and the request for the document to name it
    #[command(after_help = NEW_EXAMPLES)]
    New(New),
    /// Make a new bootstrap service, when all are lost, from the off-line keys and a backup that any peer has
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore(Restore),
    /// Make the key that backups are sealed to, for an overlay that was made without one
    #[command(after_help = BACKUP_KEY_EXAMPLES)]
    BackupKey(backup_key::Arguments),
}

pub(crate) fn run(arguments: &Arguments, global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    match &arguments.command {
        None => node::run(Part::Bootstrap, arguments.run.config.as_deref(), global),
        Some(Command::New(arguments)) => setup::new_service(arguments, printer),
        Some(Command::Restore(arguments)) => setup::restore(arguments, printer),
        Some(Command::BackupKey(arguments)) => backup_key::run(arguments, printer),
    }
}

const NEW_EXAMPLES: &str = "\
Examples:
  p2psip bootstrap new --address sip2.example.org
  p2psip bootstrap new --address sip2.example.org --data ~/p2psip
  p2psip bootstrap new --address boot2.example.org --document document.xml

The file HOST.request holds no secret: take it to where the off-line keys are.";

const RESTORE_EXAMPLES: &str = "\
Examples:
  p2psip bootstrap restore --off-line /media/stick/off-line --address sip2.example.org \\
      /var/lib/p2psip/overlay/credentials/backup.sealed
  p2psip bootstrap restore --off-line off-line --address sip9.example.org --data ~/p2psip backup.sealed

Beside a peer of the overlay, or on a new machine, which becomes a peer too. The newest backup is best: compare the dates of the
files at several peers. The new service has keys of its own; phones and peers go on meanwhile. With --alone no other peer is left.";

const BACKUP_KEY_EXAMPLES: &str = "\
Examples:
  p2psip bootstrap backup-key --off-line /media/stick/off-line

It writes backup.key there, unless it is there, and prints the line for the section [bootstrap] of p2psip.toml at each service.";

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::Cli;

    #[test]
    fn without_a_subcommand_the_component_runs() {
        for arguments in [&[][..], &["-c", "p2psip.toml"], &["--config", "p2psip.toml"]] {
            let line = ["p2psip", "bootstrap"].iter().chain(arguments);
            let cli = Cli::try_parse_from(line).unwrap();
            let crate::cli::Command::Bootstrap(parsed) = cli.command else {
                panic!("bootstrap was asked for")
            };
            assert!(parsed.command.is_none());
            assert_eq!(parsed.run.config.is_some(), !arguments.is_empty());
        }
        let line = [
            "p2psip",
            "bootstrap",
            "restore",
            "--off-line",
            "a",
            "--address",
            "sip2.test",
            "b",
        ];
        assert!(Cli::try_parse_from(line).is_ok());
    }
}
