//! An overlay on the loopback whose components are processes of their own, made and started as an operator does it: a bootstrap service
//! that gives each peer its folder, then storage, overlay and sip-edge of each, over sockets of either kind.

mod process;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::Value;

pub use self::process::Process;

/// How the components of a peer reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wiring {
    /// Unix sockets.
    Unix,
    /// TCP with mutual TLS.
    Tcp,
}

/// A component of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Keeps this peer's part of the data.
    Storage,
    /// Routes.
    Overlay,
    /// Speaks with phones.
    SipEdge,
}

/// One component: its peer, counted from 1, and what it is.
pub type Part = (u16, Kind);

/// What an overlay is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The program.
    pub program: PathBuf,
    /// A command that the program is an argument of, such as one that enters a namespace; empty for none.
    pub within: Vec<String>,
    /// For all that it writes.
    pub folder: PathBuf,
    /// How many peers.
    pub peers: u16,
    /// How components reach each other.
    pub wiring: Wiring,
    /// Where traces go, if they go anywhere.
    pub collector: Option<String>,
}

/// A running overlay; its processes end with it.
#[derive(Debug)]
pub struct Fleet {
    settings: Settings,
    bootstrap: Option<Process>,
    parts: BTreeMap<Part, Process>,
}

impl Kind {
    /// All, in the order in which they start.
    pub const ALL: [Self; 3] = [Self::Storage, Self::Overlay, Self::SipEdge];

    /// The command that runs it.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Self::Storage => "storage",
            Self::Overlay => "overlay",
            Self::SipEdge => "sip-edge",
        }
    }

    fn section(self) -> &'static str {
        match self {
            Self::Storage => "STORAGE",
            Self::Overlay => "OVERLAY",
            Self::SipEdge => "SIP_EDGE",
        }
    }

    /// Its gRPC port at the first peer.
    fn port(self) -> u16 {
        match self {
            Self::Overlay => 7400,
            Self::Storage => 7401,
            Self::SipEdge => 7402,
        }
    }
}

impl Fleet {
    /// Makes an overlay, and starts all of it.
    ///
    /// # Errors
    /// When something does not start, or the ring does not form.
    pub fn start(settings: Settings) -> anyhow::Result<Self> {
        let (folder, peers) = (settings.folder.clone(), settings.peers);
        let mut fleet = Self {
            settings,
            bootstrap: None,
            parts: BTreeMap::new(),
        };
        std::fs::create_dir_all(&folder)?;
        std::fs::write(folder.join("password"), format!("{PASSWORD}\n"))?;
        let configuration = folder.join("bootstrap.toml");
        std::fs::write(&configuration, fleet.creation())?;
        fleet.bootstrap = Some(fleet.spawn("bootstrap", |command| {
            command.arg("bootstrap").arg("-c").arg(configuration);
        })?);
        for peer in 1..=peers {
            for kind in Kind::ALL {
                fleet.start_part((peer, kind))?;
            }
        }
        for peer in 1..=peers {
            fleet.wait_ready(peer)?;
        }
        Ok(fleet)
    }

    /// Starts a component that does not run.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_part(&mut self, part: Part) -> anyhow::Result<()> {
        let process = self.launch(part, &name(part), |_| {})?;
        self.parts.insert(part, process);
        Ok(())
    }

    /// Starts a component with changes to its settings; what it writes goes by `name`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(&self, part: Part, name: &str, change: impl FnOnce(&mut Command)) -> anyhow::Result<Process> {
        let (peer, kind) = part;
        let section = kind.section();
        let set = |command: &mut Command, key: &str, value: String| {
            command.env(format!("P2PSIP__{section}__{key}"), value);
        };
        self.spawn(name, |command| {
            command.arg(kind.command());
            let raised = 10 * (peer - 1);
            command.env("P2PSIP__PEER__FOLDER", self.place(peer));
            let index = Kind::ALL.iter().position(|one| *one == kind).unwrap_or_default() as u16;
            command.env("P2PSIP__ADMIN__BIND", format!("127.0.0.1:{}", 9100 + raised + index));
            set(command, "LISTEN", self.address(part));
            set(command, "DATA", self.data(name).display().to_string());
            match kind {
                Kind::Storage => {}
                Kind::Overlay => {
                    set(command, "BIND", format!("127.0.0.1:{}", 6084 + raised));
                    set(command, "STORAGE", self.address((peer, Kind::Storage)));
                    if peer == 1 {
                        set(command, "BOOTSTRAP", self.bootstrap_address());
                    }
                }
                Kind::SipEdge => {
                    set(command, "BIND", format!("127.0.0.1:{}", sip_port(peer)));
                    set(command, "EDGE_BIND", format!("127.0.0.1:{}", 5062 + raised));
                    set(command, "OVERLAY", self.address((peer, Kind::Overlay)));
                    // Phones of tests read the first challenge only, and know no other algorithm.
                    set(command, "ALGORITHMS", "MD5,SHA-256".to_owned());
                }
            }
            change(command);
        })
    }

    /// Ends a component with no warning.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, part: Part) -> anyhow::Result<()> {
        let process = self.parts.remove(&part);
        drop(process.with_context(|| format!("{} does not run", name(part)))?);
        Ok(())
    }

    /// Ends all as an operator would, edges first, and waits.
    ///
    /// # Errors
    /// When a process does not end well.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        let parts = std::mem::take(&mut self.parts);
        let order = |(_, kind): &Part| std::cmp::Reverse(Kind::ALL.iter().position(|one| one == kind));
        let mut parts: Vec<(Part, Process)> = parts.into_iter().collect();
        parts.sort_by_key(|(part, _)| order(part));
        for (part, process) in parts {
            let status = process.stop()?;
            ensure!(status.success(), "{} ended with {status}", name(part));
        }
        Ok(())
    }

    /// Waits until a peer has joined and its edge is attached.
    ///
    /// # Errors
    /// With what it said last.
    pub fn wait_ready(&self, peer: u16) -> anyhow::Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let status = self.json(peer, &["status"]);
            if let Ok(status) = &status
                && status["ready"] == true
                && status["edges"].as_array().is_some_and(|edges| !edges.is_empty())
            {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "peer {peer} is not ready: {status:?}\n{}",
                self.logs()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// One of the operator's commands to the overlay of a peer, about to be run.
    #[must_use]
    pub fn ask(&self, peer: u16, arguments: &[&str]) -> Command {
        self.ask_at(peer, &self.address((peer, Kind::Overlay)), arguments)
    }

    /// One of the operator's commands to any component of a peer.
    #[must_use]
    pub fn ask_at(&self, peer: u16, address: &str, arguments: &[&str]) -> Command {
        let mut command = self.command();
        command.args(["--peer", address, "--identity"]);
        command.arg(self.place(peer).join("operator")).args(arguments);
        command
    }

    /// What the overlay of a peer answers to a command, be it good news or bad.
    ///
    /// # Errors
    /// When it answers nothing.
    pub fn json(&self, peer: u16, arguments: &[&str]) -> anyhow::Result<Value> {
        let output = self.ask(peer, &[&["-o", "json"], arguments].concat()).output()?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            format!("{arguments:?} at peer {peer} ended with {}: {said}", output.status)
        })
    }

    /// The running processes with their names.
    pub fn processes(&self) -> impl Iterator<Item = (String, &Process)> {
        let bootstrap = self.bootstrap.iter().map(|process| ("bootstrap".to_owned(), process));
        bootstrap.chain(self.parts.iter().map(|(part, process)| (name(*part), process)))
    }

    /// The last lines that each process has logged.
    #[must_use]
    pub fn logs(&self) -> String {
        let mut logs = String::new();
        for (name, _) in self.processes() {
            let text = std::fs::read_to_string(self.data(&format!("{name}.log"))).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            for line in lines.iter().skip(lines.len().saturating_sub(LOGGED)) {
                logs.push_str(&format!("{name} | {line}\n"));
            }
        }
        logs
    }

    /// Where a component listens for the others.
    #[must_use]
    pub fn address(&self, (peer, kind): Part) -> String {
        match self.settings.wiring {
            Wiring::Unix => format!("unix:{}", self.data(&(name((peer, kind)) + ".sock")).display()),
            Wiring::Tcp => format!("tcp:127.0.0.1:{}", kind.port() + 10 * (peer - 1)),
        }
    }

    fn bootstrap_address(&self) -> String {
        match self.settings.wiring {
            Wiring::Unix => format!("unix:{}", self.data("bootstrap.sock").display()),
            Wiring::Tcp => "tcp:127.0.0.1:7403".to_owned(),
        }
    }

    /// What something in this overlay's folder is called.
    #[must_use]
    pub fn data(&self, name: &str) -> PathBuf {
        self.settings.folder.join(name)
    }

    /// The folder that the bootstrap service makes for a peer.
    fn place(&self, peer: u16) -> PathBuf {
        self.data(&format!("places/peer{peer}"))
    }

    fn command(&self) -> Command {
        match self.settings.within.split_first() {
            None => Command::new(&self.settings.program),
            Some((outer, arguments)) => {
                let mut command = Command::new(outer);
                command.args(arguments).arg(&self.settings.program);
                command
            }
        }
    }

    fn spawn(&self, name: &str, change: impl FnOnce(&mut Command)) -> anyhow::Result<Process> {
        let mut command = self.command();
        let log = std::fs::File::create(self.data(&format!("{name}.log")))?;
        command.env("RUST_LOG", "warn,p2psip=info").env_remove("SSLKEYLOGFILE");
        if let Some(collector) = &self.settings.collector {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", collector);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        change(&mut command);
        Process::spawn(command)
    }

    /// The configuration of the bootstrap service: what `docker-compose.yml` has, on the loopback.
    fn creation(&self) -> String {
        let peers = self.settings.peers;
        let folder = self.settings.folder.display();
        let names: Vec<String> = (1..=peers).map(|peer| format!("\"peer{peer}\"")).collect();
        let nodes: Vec<String> = (1..=peers.min(3))
            .map(|peer| format!("\"127.0.0.1:{}\"", 6084 + 10 * (peer - 1)))
            .collect();
        format!(
            r#"
[peer]
folder = "{folder}/places/peer1"

[bootstrap]
folder = "{folder}/bootstrap"
listen = "{listen}"
https_bind = ["127.0.0.1:8443"]
names = ["127.0.0.1"]
users = [
    {{ name = "alice", password_file = "{folder}/password" }},
    {{ name = "bob", password_file = "{folder}/password" }},
]

[admin]
bind = "127.0.0.1:9099"

[create]
overlay = "{DOMAIN}"
nodes = [{nodes}]
servers = ["https://127.0.0.1:8443"]
off_line = "{folder}/off-line"
places = "{folder}/places"
peers = [{names}]
"#,
            listen = self.bootstrap_address(),
            nodes = nodes.join(", "),
            names = names.join(", "),
        )
    }
}

/// The port for phones at the edge of a peer.
#[must_use]
pub fn sip_port(peer: u16) -> u16 {
    5060 + 10 * (peer - 1)
}

fn name((peer, kind): Part) -> String {
    format!("peer{peer}-{}", kind.command())
}

/// Overlay Name and SIP domain, as in `p2psip dev`.
pub const DOMAIN: &str = "dev.p2psip.test";

/// Of alice and bob.
pub const PASSWORD: &str = "p2psip";

/// For a peer to become ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// Lines shown of each log.
const LOGGED: usize = 20;
