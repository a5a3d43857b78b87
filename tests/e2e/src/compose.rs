//! The containers of `docker-compose.yml` as one overlay: started, broken and mended.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long an address is believed.
const FRESH: Duration = Duration::from_secs(1);

const ADDRESS: &str = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";

/// Images of others, which take a registry: see the file itself.
const LEFT_OUT: [&str; 3] = ["jaeger", "prometheus", "grafana"];

/// A running project; its containers, volumes and networks go with it.
#[derive(Debug)]
pub struct Compose {
    tool: Vec<&'static str>,
    project: String,
    /// Container ids; they outlive restarts.
    containers: BTreeMap<String, String>,
    /// Addresses as they were a moment ago: restarts may change them, and asking costs a process.
    addresses: Mutex<BTreeMap<String, (Instant, Option<IpAddr>)>>,
}

impl Compose {
    /// Says why the containers cannot be run here, if so.
    pub fn missing() -> Option<&'static str> {
        let works = |command: &mut Command| command.output().is_ok_and(|output| output.status.success());
        if !works(Command::new("docker").args(["version", "--format", "{{.Server.Version}}"])) {
            return Some("Docker does not run here");
        }
        if !works(Command::new("docker").args(["image", "inspect", "p2psip:latest"])) {
            return Some("there is no image p2psip:latest; `cargo xtask image` builds it");
        }
        tool()
            .is_none()
            .then_some("neither `docker compose` nor `docker-compose` is here")
    }

    /// Starts all services that need no registry.
    ///
    /// # Panics
    /// When they do not start.
    pub fn up() -> Self {
        let mut compose = Self {
            tool: tool().expect("asked before"),
            project: format!("p2psip-test-{}", std::process::id()),
            containers: BTreeMap::new(),
            addresses: Mutex::default(),
        };
        let services = compose.services();
        let named = services.iter().map(String::as_str);
        let arguments: Vec<&str> = ["up", "-d", "--no-build"].into_iter().chain(named).collect();
        compose.run(&arguments);
        for service in services {
            let output = compose.run(&["ps", "-q", &service]);
            let id = String::from_utf8_lossy(&output.stdout).trim().to_owned();
            compose.containers.insert(service, id);
        }
        compose
    }

    /// The services that run.
    pub fn services(&self) -> Vec<String> {
        let output = self.run(&["config", "--services"]);
        let names = String::from_utf8_lossy(&output.stdout).into_owned();
        let names = names.lines().filter(|service| !LEFT_OUT.contains(service));
        names.map(str::to_owned).collect()
    }

    /// Adds a user to the overlay.
    ///
    /// # Panics
    /// When the bootstrap service does not take it.
    pub fn add_user(&self, name: &str, password: &str) {
        let mut command = self.command("exec");
        command.args(["-T", "bootstrap", "p2psip", "users", "add", name]);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("compose runs");
        let mut input = child.stdin.take().expect("piped above");
        writeln!(input, "{password}").expect("the command reads");
        drop(input);
        let output = child.wait_with_output().expect("it ends");
        assert!(
            output.status.success(),
            "users add {name}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Runs one of the operator's commands inside a service's container.
    pub fn exec(&self, service: &str, arguments: &[&str]) -> Output {
        self.command("exec")
            .args(["-T", service, "p2psip"])
            .args(arguments)
            .output()
            .expect("compose runs")
    }

    /// Sends a signal to the process of a service, whose container the engine then starts again where its restart policy says so.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, service: &str, signal: &str) {
        let pid = self.inspect(service, "{{.State.Pid}}");
        assert_ne!(pid, "0", "{service} does not run");
        let status = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(
            status.is_ok_and(|status| status.success()),
            "kill -s {signal} {service}"
        );
    }

    /// Restarts services and waits until they run again.
    pub fn restart(&self, services: &[&str]) {
        self.run(&[&["restart"], services].concat());
    }

    /// Kills containers for good, until [`Compose::start`].
    pub fn kill(&self, services: &[&str]) {
        self.run(&[&["kill"], services].concat());
    }

    /// Starts containers that were killed.
    pub fn start(&self, services: &[&str]) {
        self.run(&[&["start"], services].concat());
    }

    /// Takes a service off the network, or puts it back.
    pub fn plug(&self, service: &str, is_in: bool) {
        let network = format!("{}_default", self.project);
        let verb = if is_in { "connect" } else { "disconnect" };
        let mut command = Command::new("docker");
        command.args(["network", verb]);
        if is_in {
            // The name under which the others know it.
            command.args(["--alias", service]);
        }
        check(command.args([&network, self.container(service)]));
    }

    /// Where phones reach the edge of a peer, if it is on the network.
    ///
    /// # Panics
    /// When another caller did.
    pub fn edge(&self, peer: u16) -> Option<SocketAddr> {
        let service = format!("peer{peer}-sip-edge");
        let mut addresses = self.addresses.lock().expect("nobody panics with it");
        let known = addresses.get(&service).filter(|(asked, _)| asked.elapsed() < FRESH);
        let address = match known {
            Some((_, address)) => *address,
            None => {
                let address = self.inspect(&service, ADDRESS).parse().ok();
                addresses.insert(service, (Instant::now(), address));
                address
            }
        };
        Some(SocketAddr::new(address?, 5060))
    }

    /// The address of this host on the network of the containers.
    ///
    /// # Panics
    /// When the network has none.
    pub fn host(&self) -> IpAddr {
        let text = self.inspect("bootstrap", "{{range .NetworkSettings.Networks}}{{.Gateway}}{{end}}");
        text.parse()
            .unwrap_or_else(|_| panic!("the network has no gateway: {text:?}"))
    }

    /// What a peer's overlay says of itself.
    pub fn status(&self, peer: u16) -> Value {
        let output = self.operator(peer, &["-o", "json", "status"]);
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// Asks the overlay of a peer as its operator.
    pub fn operator(&self, peer: u16, arguments: &[&str]) -> Output {
        self.exec(&format!("peer{peer}-overlay"), arguments)
    }

    /// Resident memory of a service's process, in MiB.
    pub fn resident_mebibytes(&self, service: &str) -> Option<f64> {
        let pid = self.inspect(service, "{{.State.Pid}}");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kibibytes: f64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
        Some(kibibytes / 1024.0)
    }

    /// The last lines that services have logged.
    pub fn logs(&self, services: &[&str]) -> String {
        let output = self
            .command("logs")
            .args(["--no-color", "--tail", "60"])
            .args(services)
            .output();
        output.map_or_else(
            |error| error.to_string(),
            |output| String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    }

    fn container(&self, service: &str) -> &str {
        self.containers
            .get(service)
            .unwrap_or_else(|| panic!("there is no service {service}"))
    }

    fn inspect(&self, service: &str, format: &str) -> String {
        let output = check(Command::new("docker").args(["inspect", "--format", format, self.container(service)]));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let (verb, rest) = arguments.split_first().expect("a verb");
        check(self.command(verb).args(rest))
    }

    fn command(&self, verb: &str) -> Command {
        let (program, arguments) = self.tool.split_first().expect("a program");
        let mut command = Command::new(program);
        command
            .args(arguments)
            .args(["--project-name", &self.project, verb])
            .current_dir(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../.."));
        command
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        let _ = self.command("down").args(["--volumes", "--timeout", "1"]).output();
    }
}

fn tool() -> Option<Vec<&'static str>> {
    let works = |tool: &[&str]| {
        let version = Command::new(tool[0]).args(&tool[1..]).arg("version").output();
        version.is_ok_and(|output| output.status.success())
    };
    [vec!["docker", "compose"], vec!["docker-compose"]]
        .into_iter()
        .find(|tool| works(tool))
}

fn check(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?} ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    output
}
