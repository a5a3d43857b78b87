//! The p2psip program: the operator's commands, and `dev`, a whole overlay in one process.
//!
//! This file only chooses the command and turns its outcome into an exit code. [`cli`] says what can be asked, [`setup`] makes
//! peers, [`node`] runs one or a component of it, [`dev`] runs a whole overlay; the others are commands that only ask.

mod calls;
mod cert;
mod cli;
mod clock;
mod config;
mod connect;
mod decode;
mod dev;
mod drain;
mod enroll;
mod failure;
mod follow;
mod health;
mod lookup;
mod names;
mod node;
mod operator;
mod output;
mod password;
mod ping;
mod record_key;
mod registrations;
mod reload;
mod settings;
mod setup;
mod status;
mod supervisor;
mod terminal;
mod token;
mod users;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser as _};

use crate::cli::{Cli, Command, WireCommand};
use crate::failure::Failure;
use crate::node::Part;
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
        Command::Init(arguments) => setup::init(&arguments, &cli.global, printer),
        Command::Join(arguments) => setup::join(&arguments, &cli.global, printer),
        Command::Peer(arguments) => node::run(Part::Peer, arguments.config.as_deref(), &cli.global),
        Command::Overlay(arguments) => node::run(Part::Overlay, arguments.config.as_deref(), &cli.global),
        Command::Storage(arguments) => node::run(Part::Storage, arguments.config.as_deref(), &cli.global),
        Command::SipEdge(arguments) => node::run(Part::SipEdge, arguments.config.as_deref(), &cli.global),
        Command::Bootstrap(arguments) => node::run(Part::Bootstrap, arguments.config.as_deref(), &cli.global),
        Command::Status => asynchronously(status::run(&cli.global, printer)),
        Command::Lookup { aors } => asynchronously(lookup::run(&aors, &cli.global, printer)),
        Command::Ping(arguments) => asynchronously(ping::run(&arguments, &cli.global, printer)),
        Command::Registrations(arguments) => asynchronously(registrations::run(&arguments, &cli.global, printer)),
        Command::Calls(arguments) => asynchronously(calls::run(&arguments, &cli.global, printer)),
        Command::Drain(arguments) => asynchronously(drain::run(&arguments, &cli.global, printer)),
        Command::Users(command) => asynchronously(users::run(&command, &cli.global, printer)),
        Command::Token(command) => asynchronously(token::run(&command, &cli.global, printer)),
        Command::RecordKey(command) => asynchronously(record_key::run(&command, &cli.global, printer)),
        Command::Cert(command) => asynchronously(cert::run(&command, printer)),
        Command::Config(command) => config::run(&command, printer),
        Command::Health(arguments) => asynchronously(health::run(&arguments, &cli.global, printer)),
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
