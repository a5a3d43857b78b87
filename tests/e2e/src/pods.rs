//! Peers as pods are: the three containers of each in one network namespace, in any order, with nothing shared between pods but two
//! secrets.

use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Output, Stdio};

use crate::{Compose, PASSWORD};

/// The overlay's name.
pub const PODS_DOMAIN: &str = "pods.p2psip.test";

/// A site whose pods come and go; its containers, volumes and network go with it.
#[derive(Debug)]
pub struct Pods {
    project: String,
    /// Secrets and the configuration of the bootstrap service.
    given: tempfile::TempDir,
    /// The peers that run, counted from 1.
    running: BTreeSet<u16>,
}

impl Pods {
    /// Says why they cannot be run here, if so.
    pub fn missing() -> Option<&'static str> {
        Compose::missing()
    }

    /// Starts a site of one bootstrap service and `peers` peers, whose certificates live for so long.
    ///
    /// # Panics
    /// When Docker does not.
    pub fn start(peers: u16, life: &str) -> Self {
        let given = tempfile::tempdir().unwrap();
        std::fs::set_permissions(given.path(), Permissions::from_mode(0o755)).unwrap();
        for (name, contents) in [
            // As a Secret is made by hand: with a line's end, and without.
            ("token", "a token that all pods of this test share\n".to_owned()),
            ("site", "the secret of the site of this test".to_owned()),
            ("password", PASSWORD.to_owned()),
            ("bootstrap.toml", configuration(life)),
        ] {
            let path = given.path().join(name);
            std::fs::write(&path, contents).unwrap();
            std::fs::set_permissions(&path, Permissions::from_mode(0o444)).unwrap();
        }
        let kept = given.path().join("kept");
        std::fs::create_dir(&kept).unwrap();
        std::fs::set_permissions(&kept, Permissions::from_mode(0o777)).unwrap();
        let mut pods = Self {
            project: format!("p2psip-pods-{}", std::process::id()),
            given,
            running: BTreeSet::new(),
        };
        docker(&["network", "create", &pods.project]);
        pods.start_bootstrap();
        pods.scale(peers);
        pods
    }

    /// Lets so many peers run: the first ones. What goes is asked to end, as a pod is, and keeps its disks.
    pub fn scale(&mut self, peers: u16) {
        for peer in self.running.clone() {
            if peer > peers {
                self.stop_peer(peer);
            }
        }
        for peer in 1..=peers {
            if !self.running.contains(&peer) {
                self.start_peer(peer);
            }
        }
    }

    /// Ends the pod of a peer and starts another with its disks.
    pub fn restart(&mut self, peer: u16) {
        self.stop_peer(peer);
        self.start_peer(peer);
    }

    /// Ends all pods at once, with no time to end well, and starts them anew.
    pub fn restart_all(&mut self) {
        let running = std::mem::take(&mut self.running);
        let mut names = vec![self.bootstrap()];
        for peer in &running {
            names.extend(self.containers(*peer));
        }
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        docker(&[&["rm", "--force"], names.as_slice()].concat());
        for peer in running {
            self.start_peer(peer);
        }
        // Components that need it wait for it.
        self.start_bootstrap();
    }

    /// The peers that run.
    pub fn running(&self) -> Vec<u16> {
        self.running.iter().copied().collect()
    }

    /// Says what a component of a peer lacks, or nothing when it is ready.
    ///
    /// # Errors
    /// Its own words.
    pub fn health(&self, peer: u16, component: &str) -> Result<(), String> {
        let output = self.exec(&self.container(peer, component), &["health", component]);
        match output.status.success() {
            true => Ok(()),
            false => Err(format!("peer {peer}: {}", said(&output))),
        }
    }

    /// Adds a user with the password of all.
    ///
    /// # Panics
    /// When the bootstrap service does not take it.
    pub fn add_user(&self, name: &str) {
        self.tell_user("add", name, PASSWORD);
    }

    /// Adds a user, or gives one another password, at a peer: a service of its site carries it out.
    ///
    /// # Panics
    /// When the bootstrap service does not take it.
    pub fn tell_user(&self, verb: &str, name: &str, password: &str) {
        let mut child = Command::new("docker")
            .args([
                "exec",
                "-i",
                &self.container(1, "overlay"),
                "/p2psip",
                "users",
                verb,
                name,
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.take().unwrap(), "{password}").unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "users {verb} {name}: {}", said(&output));
    }

    /// Takes the keys that rule the overlay off the bootstrap service's disk, as its operator is told to.
    pub fn take_off_line(&self) {
        let from = format!("{}:/var/lib/p2psip/off-line", self.bootstrap());
        docker(&["cp", "--archive", &from, &self.kept("off-line")]);
    }

    /// Starts the bootstrap service anew, which makes a backup then.
    pub fn restart_bootstrap(&self) {
        docker(&["restart", &self.bootstrap()]);
    }

    /// The backup of the bootstrap service that a peer has.
    pub fn backup(&self, peer: u16) -> Option<Vec<u8>> {
        let from = format!(
            "{}:/var/lib/p2psip/overlay/credentials/backup.sealed",
            self.container(peer, "overlay")
        );
        let to = self.kept("backup.sealed");
        let copied = Command::new("docker").args(["cp", "--archive", &from, &to]).output();
        copied
            .is_ok_and(|output| output.status.success())
            .then(|| std::fs::read(to).unwrap())
    }

    /// Loses the bootstrap service with its disk, and makes another from the off-line keys and the backup last looked at.
    pub fn replace_bootstrap(&self) {
        let name = self.bootstrap();
        docker(&["rm", "--force", &name]);
        docker(&["volume", "rm", &name]);
        // The copies are this user's; the container reads them as its own.
        let opened = Command::new("chmod").args(["-R", "a+rwX", &self.kept("")]).status();
        assert!(opened.is_ok_and(|status| status.success()));
        let (disk, kept) = (format!("{name}:/var/lib/p2psip"), format!("{}:/kept", self.kept("")));
        let run = ["run", "--rm", "--volume", &disk, "--volume", &kept, IMAGE];
        let restore = [
            "bootstrap",
            "restore",
            "--off-line",
            "/kept/off-line",
            "--address",
            "bootstrap",
            "/kept/backup.sealed",
        ];
        docker(&[&run[..], &restore].concat());
        self.start_bootstrap();
    }

    /// When those certificates of a component begin that it renews (RFC 3339).
    pub fn certificates(&self, peer: u16, component: &str) -> Vec<String> {
        let output = self.exec(&self.container(peer, component), &["-o", "json", "cert", "info"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        let entries = report["certificates"].as_array().cloned().unwrap_or_default();
        let own = entries.iter().filter(|entry| !entry["renewal"].is_null());
        own.map(|entry| entry["not_before"].to_string()).collect()
    }

    /// Where phones reach the edge of a peer.
    pub fn edge(&self, peer: u16) -> Option<SocketAddr> {
        let address = inspect(
            &self.container(peer, PAUSE),
            "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}",
        )?;
        Some(SocketAddr::new(address.parse().ok()?, 5060))
    }

    /// The address of this host on the network of the pods.
    ///
    /// # Panics
    /// When the network has none.
    pub fn host(&self) -> IpAddr {
        let gateway = "{{range .IPAM.Config}}{{.Gateway}}{{end}}";
        let output = docker(&["network", "inspect", "--format", gateway, &self.project]);
        String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
    }

    /// The last lines of every container.
    pub fn logs(&self) -> String {
        let mut names = vec![self.bootstrap()];
        for peer in &self.running {
            names.extend(self.containers(*peer));
        }
        let mut logs = String::new();
        for name in names {
            let output = Command::new("docker").args(["logs", "--tail", "40", &name]).output();
            logs += &format!(
                "--- {name}\n{}\n",
                output.map_or_else(|error| error.to_string(), |output| said(&output))
            );
        }
        logs
    }

    fn start_bootstrap(&self) {
        let configuration = format!(
            "{}:/etc/p2psip/p2psip.toml:ro",
            self.given.path().join("bootstrap.toml").display()
        );
        let name = self.bootstrap();
        let own = [
            "--hostname",
            "bootstrap-0",
            "--network",
            &self.project,
            "--network-alias",
            "bootstrap",
            "--volume",
            &configuration,
            // The certificate of the site, also where a peer stood beside the service.
            "--env",
            "P2PSIP__PEER__FOLDER=/nowhere",
        ];
        self.run(&name, &own, &["bootstrap"]);
    }

    fn start_peer(&mut self, peer: u16) {
        let host = format!("peer-{}", peer - 1);
        let pause = self.container(peer, PAUSE);
        // It holds the namespace and does nothing: it waits for input that never comes.
        let alias = format!("{host}.peer");
        let namespace = [
            "--hostname",
            &host,
            "--network",
            &self.project,
            "--network-alias",
            &alias,
        ];
        docker(
            &[
                &["run", "-d", "-i", "--name", &pause],
                &namespace[..],
                &[IMAGE, "wire", "decode"],
            ]
            .concat(),
        );
        let network = format!("container:{pause}");
        let mut components = COMPONENTS;
        components.rotate_left(usize::from(peer % 3));
        for component in components {
            self.run(&self.container(peer, component), &["--network", &network], &[component]);
        }
        self.running.insert(peer);
    }

    fn stop_peer(&mut self, peer: u16) {
        let names = self.containers(peer);
        let [.., pause] = &names;
        let components: Vec<&str> = names.iter().filter(|name| *name != pause).map(String::as_str).collect();
        docker(&[&["stop", "--time", "60"], components.as_slice()].concat());
        docker(&[&["rm", "--force"], components.as_slice(), &[pause]].concat());
        self.running.remove(&peer);
    }

    /// Runs a component with a disk of its own and the secrets of the site.
    fn run(&self, name: &str, own: &[&str], command: &[&str]) {
        let disk = format!("{name}:/var/lib/p2psip");
        let secrets = format!("{}:/secrets:ro", self.given.path().display());
        let mut arguments = vec!["run", "-d", "--read-only", "--cap-drop", "ALL", "--name", name];
        arguments.extend(["--restart", "on-failure", "--volume", &disk, "--volume", &secrets]);
        for setting in SETTINGS {
            arguments.extend(["--env", setting]);
        }
        arguments.extend(own);
        arguments.push(IMAGE);
        arguments.extend(command);
        docker(&arguments);
    }

    /// A file that an operator keeps elsewhere.
    fn kept(&self, name: &str) -> String {
        self.given.path().join("kept").join(name).display().to_string()
    }

    fn exec(&self, container: &str, arguments: &[&str]) -> Output {
        let all = [&["exec", container, "/p2psip"], arguments].concat();
        Command::new("docker").args(all).output().unwrap()
    }

    fn bootstrap(&self) -> String {
        format!("{}-bootstrap", self.project)
    }

    fn container(&self, peer: u16, component: &str) -> String {
        format!("{}-peer-{}-{component}", self.project, peer - 1)
    }

    /// The components of a peer, and what holds their namespace.
    fn containers(&self, peer: u16) -> [String; 4] {
        let [storage, overlay, edge] = COMPONENTS.map(|component| self.container(peer, component));
        [storage, overlay, edge, self.container(peer, PAUSE)]
    }
}

impl Drop for Pods {
    fn drop(&mut self) {
        for (list, remove) in [
            (&["ps", "-aq"][..], &["rm", "--force"][..]),
            (&["volume", "ls", "-q"], &["volume", "rm"]),
        ] {
            let filter = format!("name={}", self.project);
            let found = Command::new("docker").args(list).args(["--filter", &filter]).output();
            let found = found.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            let found = found.unwrap_or_default();
            let _ = Command::new("docker").args(remove).args(found.lines()).output();
        }
        let _ = Command::new("docker").args(["network", "rm", &self.project]).output();
    }
}

/// The settings of the service, with the overlay that it makes on an empty disk.
fn configuration(life: &str) -> String {
    format!(
        r#"
        [create]
        overlay = "{PODS_DOMAIN}"
        nodes = ["peer-0.peer:6084", "peer-1.peer:6084", "peer-2.peer:6084"]
        servers = ["https://bootstrap:8443"]
        off_line = "/var/lib/p2psip/off-line"

        [bootstrap]
        names = ["bootstrap"]
        listen = "tcp:0.0.0.0:7403"
        certificate_lifetime = "{life}"
        tokens = [{{ id = "peers", secret_file = "/secrets/token" }}]
        users = [
            {{ name = "alice", password_file = "/secrets/password" }},
            {{ name = "bob", password_file = "/secrets/password" }},
        ]
        "#
    )
}

fn inspect(container: &str, format: &str) -> Option<String> {
    let output = Command::new("docker")
        .args(["inspect", "--format", format, container])
        .output();
    let text = String::from_utf8_lossy(&output.ok()?.stdout).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn docker(arguments: &[&str]) -> Output {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}: {}", said(&output));
    output
}

fn said(output: &Output) -> String {
    let texts = [&output.stdout, &output.stderr].map(|octets| String::from_utf8_lossy(octets).into_owned());
    texts.concat()
}

/// The same for every container of every pod, as a template is.
const SETTINGS: [&str; 10] = [
    "RUST_LOG=warn,p2psip=info",
    "P2PSIP__PEER__TOKEN_FILE=/secrets/token",
    "P2PSIP__PEER__SERVERS=https://bootstrap:8443",
    "P2PSIP__PEER__SITE_FILE=/secrets/site",
    "P2PSIP__STORAGE__LISTEN=tcp:127.0.0.1:7401",
    "P2PSIP__OVERLAY__LISTEN=tcp:127.0.0.1:7400",
    "P2PSIP__OVERLAY__STORAGE=tcp:127.0.0.1:7401",
    "P2PSIP__OVERLAY__BOOTSTRAP=tcp:bootstrap:7403",
    "P2PSIP__SIP_EDGE__LISTEN=tcp:127.0.0.1:7402",
    "P2PSIP__SIP_EDGE__OVERLAY=tcp:127.0.0.1:7400",
];
const COMPONENTS: [&str; 3] = ["storage", "overlay", "sip-edge"];
const PAUSE: &str = "pause";
const IMAGE: &str = "p2psip:latest";
