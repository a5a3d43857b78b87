//! The load: SIPp with scenarios, and the program's own lookups.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, bail, ensure};

use super::server::Server;

/// One run of SIPp.
#[derive(Debug)]
pub(crate) struct Sipp {
    command: Command,
    name: &'static str,
    contact: u16,
    folder: PathBuf,
    log: PathBuf,
}

/// How fast the rounds of a scenario follow each other.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// So many begin in a second.
    EachSecond(u32),
    /// So many go on at a time, each begun when one has ended.
    AtOnce(u32),
}

/// A run that goes on in the background; killed when dropped.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    name: &'static str,
    log: PathBuf,
}

impl Sipp {
    /// A scenario, from a local port toward an edge of this machine.
    pub(crate) fn new(name: &'static str, local: u16, edge: u16, folder: &Path) -> Self {
        let log = folder.join(format!("{name}-{local}.log"));
        let mut command = Command::new("sipp");
        command
            .arg(format!("127.0.0.1:{edge}"))
            .arg("-sf")
            .arg(scenario(name))
            .current_dir(folder);
        command.args([
            "-i",
            "127.0.0.1",
            "-p",
            &local.to_string(),
            "-mp",
            &(local + 10_000).to_string(),
        ]);
        command
            .args([
                "-nostdin",
                "-timeout",
                TIMEOUT,
                "-timeout_error",
                "-trace_err",
                "-error_file",
            ])
            .arg(&log);
        command.args(["-key", "expires", "600"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self {
            command,
            name,
            contact: local,
            folder: folder.to_owned(),
            log,
        }
    }

    /// Who registers or calls.
    pub(crate) fn user(mut self, user: &str) -> Self {
        self.command.args(["-key", "user", user, "-au", user, "-ap", "p2psip"]);
        self
    }

    /// Who is called.
    pub(crate) fn calls(mut self, callee: &str) -> Self {
        self.command.args(["-s", callee]);
        self
    }

    /// The port that is registered, where it is not the own one.
    pub(crate) fn contact(mut self, port: u16) -> Self {
        self.contact = port;
        self
    }

    /// How often the scenario runs, and how fast.
    pub(crate) fn rounds(mut self, count: u64, pace: Pace) -> Self {
        self.command.args(["-m", &count.to_string()]);
        match pace {
            Pace::EachSecond(rate) => self.command.args(["-r", &rate.to_string(), "-l", "2000"]),
            Pace::AtOnce(phones) => self.command.args(["-r", "1000", "-l", &phones.to_string()]),
        };
        self
    }

    /// Starts it.
    pub(crate) fn start(mut self) -> anyhow::Result<Running> {
        // SIPp takes the first of two keys with one name, so it is given only now.
        self.command.args(["-key", "contact_port", &self.contact.to_string()]);
        let child = self.command.spawn().context("cannot start sipp (package sip-tester)")?;
        Ok(Running {
            child,
            name: self.name,
            log: self.log,
        })
    }

    /// Runs it to its end.
    pub(crate) fn run(self) -> anyhow::Result<()> {
        self.start()?.succeeds()
    }

    /// Runs it to its end, and returns the milliseconds that its scenario's timer measured.
    pub(crate) fn timed(mut self) -> anyhow::Result<Vec<f64>> {
        let folder = self.folder.clone();
        self.command.args(["-trace_rtt", "-rtt_freq", "1"]);
        let pid = {
            let running = self.start()?;
            let pid = running.child.id();
            running.succeeds()?;
            pid
        };
        // SIPp chooses the name: SCENARIO_PID_rtt.csv.
        let file = std::fs::read_dir(folder)?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .find(|path| path.to_string_lossy().ends_with(&format!("_{pid}_rtt.csv")));
        let text = std::fs::read_to_string(file.context("sipp wrote no times")?)?;
        Ok(text.lines().filter_map(time_of).collect())
    }
}

/// `date;milliseconds;number`, below a line of names.
fn time_of(line: &str) -> Option<f64> {
    line.split(';').nth(1)?.trim().parse().ok()
}

impl Running {
    /// Waits for a good end.
    pub(crate) fn succeeds(mut self) -> anyhow::Result<()> {
        let status = self.child.wait()?;
        if status.success() {
            return Ok(());
        }
        let words = std::fs::read_to_string(&self.log).unwrap_or_default();
        bail!(
            "sipp {} ended with {status}: {}",
            self.name,
            words.lines().take(20).collect::<Vec<_>>().join("\n")
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Looks `count` users up whom nobody knows, at as many places of the ring, over one connection.
pub(crate) fn lookups(server: &Server, count: u64) -> anyhow::Result<()> {
    let users: Vec<String> = (0..count).map(|number| format!("user{number}")).collect();
    let mut arguments = vec!["--output", "json", "lookup"];
    arguments.extend(users.iter().map(String::as_str));
    let output = server.ask(&arguments).stderr(Stdio::inherit()).output()?;
    // The exit code says that none was found, as it should be; each has its line all the same.
    let lines = output
        .stdout
        .split(|octet| *octet == b'\n')
        .filter(|line| !line.is_empty())
        .count();
    ensure!(
        u64::try_from(lines)? == count,
        "{lines} of {count} lookups were answered"
    );
    Ok(())
}

/// A folder for the overlay and for what SIPp writes.
pub(crate) fn folder() -> anyhow::Result<Folder> {
    let path = std::env::temp_dir().join(format!("p2psip-bench-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&path);
    std::fs::create_dir_all(&path)?;
    Ok(Folder(path))
}

/// Removed when dropped.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Scenarios of our own, and those of the end-to-end tests.
fn scenario(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let own = here.join(format!("src/bench/scenarios/{name}.xml"));
    if own.exists() {
        own
    } else {
        here.join(format!("../../tests/e2e/scenarios/{name}.xml"))
    }
}

/// In seconds.
const TIMEOUT: &str = "300";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_the_second_column() {
        let text = "Date_ms;response_time_ms;rtd_no\n1732406400000.123;4.250;1\n";
        assert_eq!(text.lines().filter_map(time_of).collect::<Vec<_>>(), [4.25]);
    }

    #[test]
    fn every_scenario_is_there() {
        for name in ["refresh", "first_contact", "register", "call", "phone_answers"] {
            assert!(scenario(name).exists(), "{name}");
        }
    }
}
