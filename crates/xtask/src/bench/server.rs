//! The program under load: a whole overlay in one process, or one whose components are processes of their own.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::Context as _;
use fleet::{Fleet, Process, Wiring};

/// How an overlay runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `p2psip dev`.
    OneProcess,
    /// A process for each component.
    Processes(Wiring),
}

/// A running overlay; ended when dropped.
#[derive(Debug)]
pub(crate) enum Server {
    OneProcess {
        process: Process,
        program: PathBuf,
        socket: PathBuf,
    },
    Processes(Fleet),
}

impl Server {
    /// Starts it and waits until phones may register.
    pub(crate) fn start(program: &Path, folder: &Path, peers: u16, form: Form) -> anyhow::Result<Self> {
        match form {
            Form::OneProcess => one_process(program, folder, peers),
            Form::Processes(wiring) => {
                let settings = fleet::Settings {
                    program: program.to_owned(),
                    within: Vec::new(),
                    folder: folder.to_owned(),
                    peers,
                    wiring,
                    collector: None,
                };
                Ok(Self::Processes(Fleet::start(settings)?))
            }
        }
    }

    /// One of the operator's commands, about to be run.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Command {
        match self {
            Self::OneProcess { program, socket, .. } => {
                let mut command = Command::new(program);
                command.arg("--peer").arg(format!("unix:{}", socket.display()));
                command.args(arguments);
                command
            }
            Self::Processes(fleet) => fleet.ask(1, arguments),
        }
    }

    /// User and system time of all processes so far.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.processes().iter().map(|(_, process)| process.cpu_seconds()).sum()
    }

    /// The processes with their names.
    pub(crate) fn processes(&self) -> Vec<(String, &Process)> {
        match self {
            Self::OneProcess { process, .. } => vec![("all".to_owned(), process)],
            Self::Processes(fleet) => fleet.processes().collect(),
        }
    }
}

fn one_process(program: &Path, folder: &Path, peers: u16) -> anyhow::Result<Server> {
    let mut command = Command::new(program);
    command
        .args(["dev", "--no-call", "--peers", &peers.to_string(), "--data"])
        .arg(folder);
    // Its socket is not that of a `dev` of the user.
    let runtime = folder.parent().context("the folder has one above it")?;
    command
        .env("XDG_RUNTIME_DIR", runtime)
        .env_remove("SSLKEYLOGFILE")
        .env("RUST_LOG", "error");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let stdout = child.stdout.take().context("its output is piped")?;
    let server = Server::OneProcess {
        process: Process::from(child),
        program: program.to_owned(),
        socket: runtime.join("p2psip/dev.sock"),
    };
    let (ready, is_ready) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if line.contains("Ctrl-C") {
                // Who waits may have given up.
                let _ = ready.send(());
            }
        }
    });
    // The sender is dropped when the program ends.
    is_ready
        .recv_timeout(PATIENCE)
        .context("p2psip dev did not become ready")?;
    Ok(server)
}

const PATIENCE: Duration = Duration::from_secs(120);
