//! The program under load: `p2psip dev`, and what the system says of its process.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, bail};

/// A running overlay; ended when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    program: PathBuf,
    socket: PathBuf,
    ticks: f64,
}

impl Server {
    /// Starts it and waits until phones may register.
    pub(crate) fn start(program: &Path, folder: &Path, peers: u8) -> anyhow::Result<Self> {
        let mut command = Command::new(program);
        command
            .args(["dev", "--no-call", "--peers", &peers.to_string(), "--data"])
            .arg(folder);
        command
            .env_remove("XDG_RUNTIME_DIR")
            .env_remove("SSLKEYLOGFILE")
            .env("RUST_LOG", "error");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("its output is piped")?;
        let server = Self {
            child,
            program: program.to_owned(),
            socket: folder.join("dev.sock"),
            ticks: ticks_of_a_second()?,
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

    /// SIP port of a peer, counted from 1.
    pub(crate) fn sip_port(&self, peer: u16) -> u16 {
        5060 + 10 * (peer - 1)
    }

    /// One of the operator's commands, about to be run.
    pub(crate) fn ask(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .arg("--peer")
            .arg(format!("unix:{}", self.socket.display()))
            .args(arguments);
        command
    }

    /// User and system time of the process so far.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = self.proc("stat")?;
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        let ticks = cpu_ticks(fields).with_context(|| format!("/proc/{}/stat is unreadable", self.child.id()))?;
        Ok(ticks / self.ticks)
    }

    /// Memory that the process occupies.
    pub(crate) fn resident_mebibytes(&self) -> anyhow::Result<f64> {
        let status = self.proc("status")?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kibibytes / 1024.0)
    }

    fn proc(&self, name: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{name}", self.child.id());
        std::fs::read_to_string(&path).with_context(|| path)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = Command::new("kill")
            .args(["-TERM", &self.child.id().to_string()])
            .status();
        let _ = self.child.wait();
    }
}

/// The fields behind the command's name: state is the first, utime and stime are the 12th and 13th (proc(5)).
fn cpu_ticks(fields: &str) -> Option<f64> {
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn ticks_of_a_second() -> anyhow::Result<f64> {
    let output = Command::new("getconf")
        .arg("CLK_TCK")
        .output()
        .context("getconf (package libc-bin)")?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match text.parse() {
        Ok(ticks) => Ok(ticks),
        Err(_) => bail!("getconf CLK_TCK said {text:?}"),
    }
}

const PATIENCE: Duration = Duration::from_secs(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let fields = " S 1 2 3 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 12 0 100";
        assert_eq!(cpu_ticks(fields), Some(200.0));
        assert_eq!(cpu_ticks(" S 1"), None);
    }
}
