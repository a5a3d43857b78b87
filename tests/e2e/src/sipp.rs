//! SIPp: scenarios in `scenarios/`, run in a namespace.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use crate::{Namespace, PASSWORD, eventually};

/// How a SIPp phone speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// One socket for all calls.
    Udp,
    /// One connection for all calls.
    Tcp,
}

/// One run of a scenario.
#[derive(Debug)]
pub struct Scenario {
    command: Command,
    /// Shows the UDP sockets of the namespace, as proc(5) lists them.
    sockets: Command,
    port: u16,
    log: PathBuf,
    name: String,
}

/// A run that goes on in the background; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    log: PathBuf,
    name: String,
}

impl Scenario {
    /// Prepares `scenarios/NAME.xml` from `local` port toward the edge at `edge` (an `address:port`).
    pub fn new(namespace: &Namespace, name: &str, local: u16, edge: &str, folder: &Path) -> Self {
        let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("scenarios/{name}.xml"));
        let log = folder.join(format!("{name}-{local}.log"));
        let mut command = namespace.command("sipp");
        command.arg(edge).arg("-sf").arg(file).args([
            "-i",
            "127.0.0.1",
            "-p",
            &local.to_string(),
            "-mp",
            &(local + 10_000).to_string(),
        ]);
        command
            .args(["-m", "1", "-nostdin", "-trace_err", "-error_file"])
            .arg(&log)
            .args(["-timeout", "60", "-timeout_error"]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .current_dir(folder);
        let mut sockets = namespace.command("cat");
        sockets.arg("/proc/net/udp");
        Self {
            command,
            sockets,
            port: local,
            log,
            name: name.to_owned(),
        }
    }

    /// The user who registers or calls, with the demo password.
    pub fn user(mut self, user: &str) -> Self {
        self.command.args(["-key", "user", user, "-au", user, "-ap", PASSWORD]);
        self
    }

    /// The user who is called.
    pub fn calls(mut self, callee: &str) -> Self {
        self.command.args(["-s", callee]);
        self
    }

    /// Any further arguments of SIPp.
    pub fn arguments<'a>(mut self, arguments: impl IntoIterator<Item = &'a str>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Chooses the transport; UDP is SIPp's own default.
    pub fn over(self, transport: Transport) -> Self {
        match transport {
            Transport::Udp => self.arguments(["-t", "u1"]),
            Transport::Tcp => self.arguments(["-t", "t1"]),
        }
    }

    /// Starts a phone on UDP and waits until it has its port: a call before that would be told that nobody is there.
    ///
    /// # Panics
    /// When it does not get it.
    pub fn start(mut self) -> Running {
        let port = format!(":{:04X} ", self.port);
        let running = self.spawn();
        eventually("the phone has its port", Duration::from_secs(10), || {
            let listed = self.sockets.output().map_err(|error| error.to_string())?;
            let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
            if listed.contains(&port) { Ok(()) } else { Err(listed) }
        });
        running
    }

    /// Runs it to its end.
    ///
    /// # Panics
    /// When the scenario fails, with SIPp's own words.
    pub fn run(mut self) {
        self.spawn().succeeds();
    }

    fn spawn(&mut self) -> Running {
        Running {
            child: self.command.spawn().expect("sipp (package sip-tester) starts"),
            log: self.log.clone(),
            name: self.name.clone(),
        }
    }
}

impl Running {
    /// Waits for the end, which must be a good one.
    ///
    /// # Panics
    /// When the scenario fails, with SIPp's own words.
    pub fn succeeds(mut self) {
        let status = self.child.wait().expect("sipp is waited for once");
        assert!(
            status.success(),
            "sipp {} ended with {status}: {}",
            self.name,
            self.words()
        );
    }

    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("sipp can be asked")
    }

    fn words(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_else(|_| "no error file".into())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether a call that is held (`call_long`, with its messages traced) has been answered.
pub fn answered(folder: &Path) -> bool {
    let logs = std::fs::read_dir(folder).into_iter().flatten().flatten();
    logs.map(|entry| entry.path())
        .filter(|path| {
            path.to_string_lossy().contains("call_long") && path.to_string_lossy().ends_with("_messages.log")
        })
        .any(|path| {
            std::fs::read_to_string(path).is_ok_and(|log| log.contains("ACK sip:") && log.contains("SIP/2.0 200"))
        })
}
