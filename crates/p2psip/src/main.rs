//! The p2psip program: the operator's commands, and `dev`, a whole overlay in one process.
//!
//! This file only chooses the command and turns its outcome into an exit code. [`cli`] says what can be asked, [`dev`] runs
//! the overlay, [`status`], [`lookup`] and [`decode`] are the commands that only ask.

mod cli;
mod connect;
mod decode;
mod dev;
mod enroll;
mod failure;
mod lookup;
mod output;
mod status;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::cli::{Cli, Command, WireCommand};
use crate::failure::Failure;
use crate::output::Printer;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let printer = Printer::new(cli.global.output, cli.global.quiet);
    match run(cli, &printer) {
        Ok(code) => code.into(),
        Err(failure) => {
            // A pipe that was closed on us is no news to whoever closed it.
            if !failure.is_closed_pipe() {
                eprintln!("p2psip: {failure}");
            }
            failure.code().into()
        }
    }
}

fn run(cli: Cli, printer: &Printer) -> Result<runtime::ExitCode, Failure> {
    match cli.command {
        Command::Dev(arguments) => dev::run(&arguments, &cli.global, printer),
        Command::Status => asynchronously(status::run(&cli.global, printer)),
        Command::Lookup { aors } => asynchronously(lookup::run(&aors, &cli.global, printer)),
        Command::Wire(WireCommand::Decode) => decode::run(std::io::stdin().lock(), printer),
        Command::Completion { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell.generator(), &mut Cli::command(), "p2psip", &mut script);
            printer.write(&script)?;
            Ok(runtime::ExitCode::Ok)
        }
    }
}

/// Runs a command that only asks: one thread is enough.
fn asynchronously(
    command: impl Future<Output = Result<runtime::ExitCode, Failure>>,
) -> Result<runtime::ExitCode, Failure> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::internal(anyhow::Error::new(error).context("cannot start the runtime")))?
        .block_on(command)
}
