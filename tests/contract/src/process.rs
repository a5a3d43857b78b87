//! A component in a process of its own, with real signals.

use std::path::Path;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rpc::Address;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::Service;
use crate::calls::PATIENCE;

/// The running program of this package; killed when dropped.
pub(crate) struct Process {
    child: Child,
    pid: Pid,
    /// Where it listens.
    pub(crate) address: Address,
}

impl Process {
    /// Starts it and waits until it serves.
    pub(crate) async fn start(service: Service, address: &Address, folder: &Path, identity: Option<&Path>) -> Self {
        let mut command = Command::new(program());
        command.arg(format!("{service:?}")).arg(address.to_string()).arg(folder);
        command.args(identity);
        // It ends by itself when this end of its input is gone.
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().expect("the program of this package can be run");
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok()).map(Pid::from_raw);
        let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
        let first = timeout(PATIENCE, lines.next_line()).await.expect("it starts in time");
        let first = first.unwrap().expect("it tells its address before it ends");
        Self {
            child,
            pid: pid.expect("it runs"),
            address: first.parse().expect("it tells its address"),
        }
    }

    /// As `kill -9` does.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    /// Ends it in good order.
    pub(crate) async fn end(mut self) {
        self.signal(Signal::SIGTERM);
        let ended = timeout(PATIENCE, self.child.wait()).await.expect("it ends in time");
        let status = ended.unwrap();
        assert!(status.success(), "{status}");
    }

    /// Stops it; it has stopped when this returns.
    pub(crate) async fn stop(&self) {
        self.signal(Signal::SIGSTOP);
        let stopped = async {
            while !self.is_stopped() {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, stopped).await.expect("it stops in time");
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid, signal).unwrap();
    }

    /// Whether the system shows its state as T (proc(5)), which stands behind the name in parentheses.
    fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).unwrap();
        stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
    }
}

/// The program of this package, built beside its tests.
fn program() -> std::path::PathBuf {
    let test = std::env::current_exe().expect("a running test has a path");
    let profile = test
        .ancestors()
        .nth(2)
        .expect("tests live two folders below the profile's");
    profile.join(env!("CARGO_PKG_NAME"))
}
