//! One process, and what the system says of it.

use std::process::{Child, Command, ExitStatus};

use anyhow::Context as _;

/// A running process; killed when dropped.
#[derive(Debug)]
pub struct Process(Child);

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// When the program cannot be started.
    pub fn spawn(mut command: Command) -> anyhow::Result<Self> {
        let child = command.spawn().with_context(|| format!("cannot start {command:?}"))?;
        Ok(Self(child))
    }

    /// User and system time so far.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn cpu_seconds(&self) -> anyhow::Result<f64> {
        let stat = self.proc("stat")?;
        let fields = stat.rsplit_once(')').map(|(_, rest)| rest).unwrap_or_default();
        let ticks = cpu_ticks(fields).with_context(|| format!("/proc/{}/stat is unreadable", self.0.id()))?;
        Ok(ticks / TICKS)
    }

    /// Memory that it occupies.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn resident_mebibytes(&self) -> anyhow::Result<f64> {
        let status = self.proc("status")?;
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .context("no VmRSS")?;
        let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
        Ok(kibibytes / 1024.0)
    }

    /// Ends it as an operator would, and waits.
    ///
    /// # Errors
    /// When it does not take the signal.
    pub fn stop(mut self) -> anyhow::Result<ExitStatus> {
        self.terminate()?;
        Ok(self.0.wait()?)
    }

    /// Asks it to end.
    ///
    /// # Errors
    /// When there is no `kill` to be run.
    pub fn terminate(&self) -> anyhow::Result<()> {
        Command::new("kill")
            .args(["-TERM", &self.0.id().to_string()])
            .status()?;
        Ok(())
    }

    /// How it has ended, if it has.
    ///
    /// # Errors
    /// When the system does not tell.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.0.try_wait()?)
    }

    fn proc(&self, name: &str) -> anyhow::Result<String> {
        let path = format!("/proc/{}/{name}", self.0.id());
        std::fs::read_to_string(&path).with_context(|| path)
    }
}

impl From<Child> for Process {
    fn from(child: Child) -> Self {
        Self(child)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The fields behind the command's name: state is the first, utime and stime are the 12th and 13th (proc(5)).
fn cpu_ticks(fields: &str) -> Option<f64> {
    let mut fields = fields.split_ascii_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Of a second, in what the kernel tells user space (USER_HZ of proc(5)); the same on all architectures that Rust runs on.
const TICKS: f64 = 100.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added() {
        let fields = " S 1 2 3 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 12 0 100";
        assert_eq!(cpu_ticks(fields), Some(200.0));
        assert_eq!(cpu_ticks(" S 1"), None);
    }

    #[test]
    fn this_process_has_a_size() {
        let process = Process::spawn({
            let mut command = Command::new("sleep");
            command.arg("60");
            command
        });
        assert!(process.unwrap().resident_mebibytes().unwrap() > 0.0);
    }
}
