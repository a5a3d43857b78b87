//! The p2psip program: the operator's commands, and `dev`, a whole overlay in one process.
//!
//! This file only chooses the command and turns its outcome into an exit code. [`cli`] says what can be asked, [`setup`] makes
//! peers, [`node`] runs one or a component of it, [`dev`] runs a whole overlay; the others are commands that only ask.

mod bootstrap;
mod calls;
mod cert;
mod cli;
mod clock;
mod config;
mod connect;
mod decode;
mod dev;
mod document;
mod drain;
mod enroll;
mod failure;
mod follow;
mod health;
mod help;
mod lookup;
mod names;
mod node;
mod not_served;
mod operator;
mod output;
mod password;
mod ping;
mod record_key;
mod registrations;
mod reload;
mod settings;
mod setup;
mod socket;
mod status;
mod supervisor;
mod terminal;
mod threads;
mod token;
mod users;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use tokio::runtime::Builder;

use crate::cli::{Cli, Command, Global, WireCommand};
use crate::failure::Failure;
use crate::node::Part;
use crate::output::Printer;

fn main() -> ExitCode {
    let matches = help::grouped(Cli::command()).get_matches();
    let cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
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
        Command::Place(arguments) => node::make_place(arguments.config.as_deref(), printer),
        Command::Bootstrap(arguments) => bootstrap::run(&arguments, &cli.global, printer),
        Command::Status => asynchronously(&cli.global, status::run(&cli.global, printer)),
        Command::Lookup { aors } => asynchronously(&cli.global, lookup::run(&aors, &cli.global, printer)),
        Command::Ping(arguments) => asynchronously(&cli.global, ping::run(&arguments, &cli.global, printer)),
        Command::Registrations(arguments) => {
            asynchronously(&cli.global, registrations::run(&arguments, &cli.global, printer))
        }
        Command::Calls(arguments) => asynchronously(&cli.global, calls::run(&arguments, &cli.global, printer)),
        Command::Drain(arguments) => asynchronously(&cli.global, drain::run(&arguments, &cli.global, printer)),
        Command::Users(command) => asynchronously(&cli.global, users::run(&command, &cli.global, printer)),
        Command::Token(command) => asynchronously(&cli.global, token::run(&command, &cli.global, printer)),
        Command::RecordKey(command) => asynchronously(&cli.global, record_key::run(&command, &cli.global, printer)),
        Command::Document(command) => document::run(&command, &cli.global, printer),
        Command::Cert(command) => asynchronously(&cli.global, cert::run(&command, printer)),
        Command::Config(command) => config::run(&command, printer),
        Command::Health(arguments) => asynchronously(&cli.global, health::run(&arguments, &cli.global, printer)),
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
pub(crate) fn asynchronously(
    global: &Global,
    command: impl Future<Output = Result<runtime::ExitCode, Failure>>,
) -> Result<runtime::ExitCode, Failure> {
    threads::run(Builder::new_current_thread(), async {
        match command.await {
            Err(failure) => Err(not_served::explain(failure, global).await),
            outcome => outcome,
        }
    })
}
