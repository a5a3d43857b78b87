//! `peer`, `overlay`, `storage`, `sip-edge`, `bootstrap`: a peer in one process, or one component of it.
//!
//! [`start`] starts components from the settings, in either wiring: in one process they reach each other directly, apart
//! through the addresses in their sections. [`place`] is the folder with what the components of one peer share, [`create`]
//! what a bootstrap service makes on an empty volume.

mod create;
mod doors;
mod enrolled;
mod place;
mod standing;
mod start;
#[cfg(test)]
mod stop;
mod waiting;

use std::path::Path;
use std::time::Duration;

use clap::ValueEnum;
use runtime::signal::Shutdown;
use runtime::telemetry::{self, Options};
use runtime::{ExitCode, Monitor};
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use crate::cli::Global;
use crate::failure::Failure;
use crate::output::Printer;
use crate::settings::Settings;
use crate::supervisor::Supervisor;
use crate::threads;

pub(crate) use self::create::{Create, Node, token};
pub(crate) use self::enrolled::folder as credentials_folder;
pub(crate) use self::place::Place;
use self::start::Start;

/// What a process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// All components of one peer.
    Peer,
    /// Routing.
    Overlay,
    /// Data.
    Storage,
    /// Phones.
    SipEdge,
    /// Enrollment and users.
    Bootstrap,
}

impl Part {
    /// Where it serves the admin pages unless told otherwise. What may stand side by side in one pod has ports of its own.
    pub(crate) const fn admin_port(self) -> u16 {
        match self {
            Self::Peer | Self::Overlay => 9090,
            Self::Storage => 9091,
            Self::SipEdge => 9092,
            Self::Bootstrap => 9093,
        }
    }
}

/// Runs until asked to end, or until a component cannot go on.
pub(crate) fn run(part: Part, file: Option<&Path>, global: &Global) -> Result<ExitCode, Failure> {
    let settings = Settings::load(file)?;
    threads::run(Builder::new_multi_thread(), async {
        listen(global, &settings)?;
        raise_descriptors();
        let shutdown = Shutdown::listen().map_err(Failure::internal)?;
        let outcome = live(part, settings, shutdown.token()).await;
        telemetry::flush(FLUSH).await;
        outcome
    })
}

async fn live(part: Part, settings: Settings, asked: CancellationToken) -> Result<ExitCode, Failure> {
    let (monitor, mut supervisor) = (Monitor::new(), Supervisor::default());
    let started = tokio::select! {
        started = Start::new(&settings, &monitor, &mut supervisor).part(part) => started.map(|()| true),
        () = asked.cancelled() => Ok(false),
    };
    let outcome = match started {
        Ok(true) => tokio::select! {
            error = supervisor.failure() => Err(Failure::internal(error)),
            () = asked.cancelled() => Ok(ExitCode::Ok),
        },
        Ok(false) => Ok(ExitCode::Ok),
        Err(failure) => Err(failure),
    };
    let stopped = supervisor.stop().await.map_err(Failure::internal);
    outcome.and_then(|code| stopped.map(|()| code))
}

/// Makes the folder that the components of one peer share, where each is a process that sees nothing else of the others.
pub(crate) fn make_place(file: Option<&Path>, printer: &Printer) -> Result<ExitCode, Failure> {
    let settings = Settings::load(file)?;
    Place::of(&settings.peer).make_roles()?;
    printer.guide(&format!(
        "The certificates of this peer's components are in {}\n",
        settings.peer.folder.display()
    ))?;
    Ok(ExitCode::Ok)
}

/// Phones may have thousands of connections; the soft limit of most systems is 1024.
pub(crate) fn raise_descriptors() {
    match runtime::descriptors::raise() {
        Ok(limit) if limit < FEW_DESCRIPTORS => {
            tracing::warn!(
                limit,
                "few open files are allowed: phones over TCP may be refused (RLIMIT_NOFILE)"
            );
        }
        Ok(limit) => tracing::debug!(limit, "open files allowed"),
        Err(error) => tracing::warn!(%error, "the limit of open files is not known"),
    }
}

fn listen(global: &Global, settings: &Settings) -> Result<(), Failure> {
    let usage = |error| Failure::new(ExitCode::Usage, anyhow::Error::new(error));
    let filter = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (_, 0) => "warn,p2psip=info",
        (_, 1) => "info,p2psip=debug",
        _ => "debug,p2psip=trace",
    };
    let options = Options {
        privacy: settings.telemetry.identity,
        ..Options::of_process(filter).map_err(usage)?
    };
    telemetry::init(&options).map_err(usage)
}

/// 8192 connections of phones, 2560 of other kinds.
const FEW_DESCRIPTORS: u64 = 10_752;
/// How long the last spans may take to leave.
const FLUSH: Duration = Duration::from_secs(2);
