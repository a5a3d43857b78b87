//! `dev`: a whole overlay in one process, one call through it, and then room for phones.
//!
//! [`overlay`] starts and ends the peers, each made by [`peer`] out of what it enrolled with in a [`folder`]; [`call`] makes the
//! demonstration call with two built-in phones ([`phone`]), [`record`] listens to it and [`ladder`] draws it.

mod call;
mod door;
mod folder;
mod guide;
mod ladder;
mod overlay;
mod peer;
mod phone;
mod ports;
mod record;
mod report;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod trace;
mod users;

use std::path::Path;
use std::time::Duration;

use indicatif::ProgressBar;
use rpc::Role;
use runtime::signal::Shutdown;
use runtime::telemetry::{Options, Privacy};
use runtime::{ExitCode, telemetry};
use tokio::runtime::Builder;
use tokio_util::sync::CancellationToken;

use self::call::{Call, Edges};
use self::door::Door;
use self::folder::Folder;
use self::overlay::{Overlay, Shape};
use self::ports::{FIRST, Ports};
use self::record::Recorder;
use self::report::Report;
use crate::cli::{Dev, Global};
use crate::connect::Peer;
use crate::failure::Failure;
use crate::lookup::{self, Lookup};
use crate::node::raise_descriptors;
use crate::output::Printer;
use crate::supervisor::Supervisor;
use crate::{socket, threads};

/// Runs the overlay until it is done or asked to end.
pub(crate) fn run(arguments: &Dev, global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    let recorder = Recorder::default();
    threads::run(Builder::new_multi_thread(), async {
        listen(arguments, global, &recorder)?;
        raise_descriptors();
        let shutdown = Shutdown::listen().map_err(Failure::internal)?;
        let session = Session {
            arguments,
            global,
            printer,
            recorder: &recorder,
        };
        let outcome = session.run(shutdown.token()).await;
        telemetry::flush(FLUSH).await;
        outcome
    })
}

/// Starts the log, and the recorder where there will be something to record.
fn listen(arguments: &Dev, global: &Global, recorder: &Recorder) -> Result<(), Failure> {
    let usage = |error| Failure::new(ExitCode::Usage, anyhow::Error::new(error));
    let filter = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => "warn,p2psip=info",
        _ => "info,p2psip=debug",
    };
    // Its users are not people.
    let options = Options {
        privacy: Privacy::Full,
        ..Options::of_process(filter).map_err(usage)?
    };
    let listener = (!arguments.no_call).then(|| recorder.listener());
    telemetry::init_with(&options, listener).map_err(usage)
}

/// One run of `dev`.
struct Session<'a> {
    arguments: &'a Dev,
    global: &'a Global,
    printer: &'a Printer,
    recorder: &'a Recorder,
}

impl Session<'_> {
    /// Runs until it is done, asked to end, or a component fails; then ends whatever was started, in order.
    async fn run(&self, asked: CancellationToken) -> Result<ExitCode, Failure> {
        let folder = Folder::open(self.arguments.data.as_deref())?;
        let probe = || Ports::of(self.arguments.bind, FIRST).probe(FIRST);
        let door = Door::take(&socket::folders(), folder.path(), probe).await?;
        let socket = door.path.clone();
        let mut supervisor = Supervisor::default();
        let spinner = self.printer.spinner("starting");
        let started = tokio::select! {
            started = self.start(&folder, door, &mut supervisor, &spinner) => started.map(Some),
            () = asked.cancelled() => Ok(None),
        };
        spinner.finish_and_clear();
        let outcome = match started {
            Ok(Some(overlay)) => tokio::select! {
                outcome = self.live(&overlay, &folder, &socket) => outcome,
                error = supervisor.failure() => Err(Failure::internal(error)),
                () = asked.cancelled() => Ok(ExitCode::Ok),
            },
            Ok(None) => Ok(ExitCode::Ok),
            Err(failure) => Err(failure),
        };
        let spinner = self.printer.spinner("leaving the ring");
        let stopped = supervisor.stop().await.map_err(Failure::internal);
        spinner.finish_and_clear();
        outcome.and_then(|code| stopped.map(|()| code))
    }

    async fn start(
        &self,
        folder: &Folder,
        door: Door,
        supervisor: &mut Supervisor,
        spinner: &ProgressBar,
    ) -> Result<Overlay, Failure> {
        let shape = Shape {
            bind: self.arguments.bind,
            peers: self.arguments.peers,
            names: &self.arguments.name,
        };
        let overlay = Overlay::start(folder, shape, supervisor, |step| spinner.set_message(step)).await?;
        overlay.open_socket(door.bound, supervisor);
        spinner.set_message("the edges attach to their peers");
        overlay.attached().await?;
        spinner.set_message("storing the users");
        overlay.feed_users().await?;
        Ok(overlay)
    }

    /// Makes the call, and stays until somebody ends it.
    async fn live(&self, overlay: &Overlay, folder: &Folder, socket: &Path) -> Result<ExitCode, Failure> {
        let mut code = ExitCode::Ok;
        if !self.arguments.no_call {
            code = self.demonstrate(overlay).await?;
        }
        if self.arguments.once {
            return Ok(code);
        }
        let edges: Vec<_> = overlay.peers.iter().map(|peer| peer.ports.sip).collect();
        let kept = self.arguments.data.as_ref().map(|_| folder.path());
        self.printer.guide(&guide::guide(&edges, socket, kept))?;
        std::future::pending().await
    }

    /// Makes one call between two built-in phones and prints its ladder.
    async fn demonstrate(&self, overlay: &Overlay) -> Result<ExitCode, Failure> {
        let [first, others @ ..] = overlay.peers.as_slice() else {
            return Ok(ExitCode::Ok);
        };
        let second = others.first().unwrap_or(first);
        let edges = Edges {
            of_alice: first.ports.sip,
            of_bob: second.ports.sip,
        };
        let spinner = self.printer.spinner("alice calls bob");
        let asked = Peer {
            channel: first.overlay.clone(),
            name: "1".to_owned(),
            serves: Role::Overlay,
        };
        let mut call = Call::prepare(edges).await.map_err(Failure::internal)?;
        let made = async {
            call.register().await?;
            let found = lookup_bob(&asked, self.global.timeout).await;
            self.recorder.start();
            call.make().await?;
            Ok::<_, call::CallError>(found)
        };
        let made = made.await;
        let ladder = call.ladder(self.recorder, overlay.cast());
        let ended = call.unregister().await;
        spinner.finish_and_clear();
        let (found, failure) = match made {
            Ok(found) => (found.ok(), ended.err()),
            Err(error) => (None, Some(error)),
        };
        let report = Report::new(
            found.as_ref(),
            ladder,
            failure.map(|error| error.to_string()),
            &overlay.cast(),
        );
        let has_colours = self.printer.has_colours();
        self.printer.result(&report, |report| report.text(edges, has_colours))?;
        Ok(if report.is_good() {
            ExitCode::Ok
        } else {
            ExitCode::Negative
        })
    }
}

/// Finds the called user, for the text above the ladder.
async fn lookup_bob(peer: &Peer, timeout: Duration) -> Result<lookup::Report, Failure> {
    Lookup::prepare(peer, timeout).await?.ask("bob").await
}

/// How long the last traces may take.
const FLUSH: Duration = Duration::from_secs(2);
