//! A network namespace with nothing but its own loopback.

use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::eventually;

/// A namespace that lives as long as this value.
#[derive(Debug)]
pub struct Namespace {
    holder: Child,
}

impl Namespace {
    /// Makes a namespace and brings its loopback up.
    ///
    /// # Panics
    /// Where namespaces cannot be made; the message says what is missing.
    pub fn new() -> Self {
        // A holder that ends by itself, should this process be killed.
        let holder = Command::new("unshare")
            .args(["--net", "sh", "-c", "ip link set lo up && exec sleep 900"])
            .stdin(Stdio::null())
            .spawn()
            .expect("unshare (package util-linux) makes the namespace");
        let namespace = Self { holder };
        eventually("loopback of the namespace", Duration::from_secs(10), || {
            let links = namespace
                .command("ip")
                .args(["-o", "link", "show", "lo", "up"])
                .output()
                .map_err(|error| error.to_string())?;
            if links.stdout.is_empty() {
                Err("lo is down; are we root, and is iproute2 installed?".into())
            } else {
                Ok(())
            }
        });
        namespace
    }

    /// A command that will run inside.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let [enter, which] = self.entrance();
        let mut command = Command::new(enter);
        command.arg(which).arg(program);
        command
    }

    /// A listening socket on its loopback, for this process.
    ///
    /// # Panics
    /// When the namespace cannot be entered.
    pub fn listener(&self) -> TcpListener {
        let path = format!("/proc/{}/ns/net", self.holder.id());
        // Only the thread that makes the socket enters.
        let entered = std::thread::spawn(move || {
            let namespace = File::open(path)?;
            nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        });
        let listener = entered.join().expect("the thread does not panic");
        listener.expect("a socket in the namespace; are we root?")
    }

    /// The command that enters it: what runs inside is its last argument.
    pub fn entrance(&self) -> [String; 2] {
        ["nsenter".to_owned(), format!("--net=/proc/{}/ns/net", self.holder.id())]
    }
}

impl Default for Namespace {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}
