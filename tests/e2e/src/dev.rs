//! `p2psip dev` as a process of its own.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tempfile::TempDir;

use crate::{Namespace, eventually, program};

/// A running demo overlay; killed when dropped.
#[derive(Debug)]
pub struct Dev {
    child: Child,
    output: Arc<Mutex<String>>,
    socket: PathBuf,
    /// The user's runtime folder, so that many can run on one machine.
    _runtime: TempDir,
}

impl Dev {
    /// Starts `p2psip dev` with its data in `folder` and waits until phones may register.
    ///
    /// # Panics
    /// When it does not become ready, with what it printed.
    pub fn start(namespace: &Namespace, folder: &Path, arguments: &[&str]) -> Self {
        let runtime = tempfile::tempdir().expect("a folder for the socket");
        let mut command = namespace.command(program());
        command
            .arg("dev")
            .arg("--data")
            .arg(folder)
            .args(arguments)
            .env("XDG_RUNTIME_DIR", runtime.path());
        command.env(
            "RUST_LOG",
            std::env::var("P2PSIP_E2E_LOG").unwrap_or_else(|_| "warn".into()),
        );
        command.env("SSLKEYLOGFILE", folder.join("keys.log"));
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().expect("p2psip starts");
        let output = Arc::new(Mutex::new(String::new()));
        collect(child.stdout.take().expect("piped above"), &output);
        collect(child.stderr.take().expect("piped above"), &output);
        let mut dev = Self {
            child,
            output,
            socket: runtime.path().join("p2psip/dev.sock"),
            _runtime: runtime,
        };
        dev.wait_until_ready();
        dev
    }

    fn wait_until_ready(&mut self) {
        eventually("p2psip dev is ready", Duration::from_secs(60), || {
            let printed = self.printed();
            if let Some(status) = self.child.try_wait().map_err(|error| error.to_string())? {
                panic!("p2psip dev ended with {status}:\n{printed}");
            }
            if printed.contains("Ctrl-C") {
                Ok(())
            } else {
                Err(printed)
            }
        });
    }

    /// What it has printed so far.
    pub fn printed(&self) -> String {
        self.output.lock().expect("no reader panics").clone()
    }

    /// Runs an operator's command against it.
    ///
    /// # Panics
    /// When the program cannot be started.
    pub fn ask(&self, namespace: &Namespace, arguments: &[&str]) -> Output {
        let mut command = namespace.command(program());
        command
            .args(["--peer", &self.address()])
            .args(arguments)
            .output()
            .expect("p2psip starts")
    }

    /// The address for `--peer`.
    pub fn address(&self) -> String {
        format!("unix:{}", self.socket.display())
    }

    /// Ends it the way an operator would, and waits.
    ///
    /// # Panics
    /// When it does not end well.
    pub fn stop(mut self) {
        let id = self.child.id().to_string();
        std::process::Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .expect("kill (package procps)");
        let mut ended = None;
        eventually("p2psip dev ends", Duration::from_secs(40), || {
            ended = self.child.try_wait().map_err(|error| error.to_string())?;
            if ended.is_some() { Ok(()) } else { Err(self.printed()) }
        });
        assert!(
            ended.is_some_and(|status| status.success()),
            "p2psip dev ended with {ended:?}:\n{}",
            self.printed()
        );
    }

    /// Ends it with no warning.
    pub fn kill(mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Gathers what a process prints, in a thread that ends with it.
pub(crate) fn collect(mut stream: impl Read + Send + 'static, into: &Arc<Mutex<String>>) {
    let into = Arc::clone(into);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok(length @ 1..) = stream.read(&mut buffer) {
            into.lock()
                .expect("no reader panics")
                .push_str(&String::from_utf8_lossy(&buffer[..length]));
        }
    });
}
