//! The operator's commands against a running overlay, as people and scripts use them.

#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test stops at the first surprise"
)]

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use p2psip_e2e::sipp::Scenario;
use p2psip_e2e::{DOMAIN, Dev, Namespace, eventually, program, sip_port};
use serde_json::Value;

/// An overlay and its operator.
struct Office {
    namespace: Namespace,
    dev: Dev,
    folder: tempfile::TempDir,
}

impl Office {
    fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("overlay");
        Self::at(folder, &data)
    }

    fn at(folder: tempfile::TempDir, data: &Path) -> Self {
        let namespace = Namespace::new();
        let dev = Dev::start(&namespace, data, &["--peers", "3", "--no-call"]);
        Self { namespace, dev, folder }
    }

    fn ask(&self, arguments: &[&str]) -> Output {
        self.dev.ask(&self.namespace, arguments)
    }

    /// The exit code of a command and what it says, on whichever stream.
    fn said(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.ask(arguments);
        let text = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(text).unwrap())
    }

    /// The result of a command that must succeed, for programs.
    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.ask(&[&["-o", "json"], arguments].concat());
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {output:?}"))
    }

    /// A file that holds a password.
    fn password(&self, password: &str) -> String {
        let path = self.folder.path().join(format!("{password}.txt"));
        std::fs::write(&path, format!("{password}\n")).unwrap();
        path.display().to_string()
    }

    /// Registers a phone at a peer.
    fn register(&self, peer: u16, user: &str, password: &str) {
        let edge = format!("127.0.0.1:{}", sip_port(peer));
        Scenario::new(&self.namespace, "register", 7000 + peer, &edge, self.folder.path())
            .arguments(["-key", "user", user, "-au", user, "-ap", password])
            .arguments(["-key", "contact_port", "7100", "-key", "expires", "600"])
            .run();
    }
}

#[test]
fn users_come_and_go() {
    let office = Office::open();
    let (old, new) = (office.password("old-secret"), office.password("new-secret"));

    // Nothing but the record in the overlay lets a phone register at another peer.
    let added = office.json(&[
        "users",
        "add",
        "carol",
        "--password-file",
        &old,
        "--display-name",
        "Carol",
    ]);
    assert_eq!(
        (&added["state"], &added["display_name"]),
        (&"active".into(), &"Carol".into())
    );
    assert_eq!(added["published_version"], added["version"]);
    office.register(2, "carol", "old-secret");
    assert_eq!(office.said(&["users", "add", "carol", "--password-file", &old]).0, 1);
    // Said before anybody is asked for a password.
    assert_eq!(office.said(&["users", "add", &"ab".repeat(16)]).0, 2);

    office.json(&["users", "passwd", "carol", "--password-file", &new]);
    // At an edge that has not seen the user yet, and at the one that knows the old password.
    office.register(3, "carol", "new-secret");
    office.register(2, "carol", "new-secret");

    let disabled = office.json(&["users", "disable", &format!("carol@{DOMAIN}")]);
    assert_eq!(disabled["state"], "disabled");
    assert_eq!(office.json(&["users", "enable", "carol"])["state"], "active");

    let (code, list) = office.said(&["users", "list"]);
    assert_eq!(code, 0);
    let expected = [
        "AOR",
        "alice@dev.p2psip.test",
        "bob@dev.p2psip.test",
        "carol@dev.p2psip.test",
    ];
    let first = |line: &str| line.split_whitespace().next().unwrap_or_default().to_owned();
    assert_eq!(list.lines().map(first).collect::<Vec<_>>(), expected, "{list}");

    let removed = office.json(&["users", "rm", "carol"]);
    assert_eq!(
        (&removed["state"], &removed["published_version"]),
        (&"removed".into(), &removed["version"])
    );
    assert_eq!(office.said(&["users", "passwd", "carol", "--password-file", &new]).0, 1);
    assert_eq!(office.said(&["lookup", "carol"]).0, 1);
    assert_eq!(office.said(&["users", "show", "nobody"]).0, 1);
}

#[test]
fn a_password_is_asked_for_without_being_shown() {
    let office = Office::open();
    let mut typist = Typist::at(&office, &["users", "add", "dave"]);
    typist.waits_for("Password for dave@dev.p2psip.test: ");
    typist.types("hush-hush\n");
    typist.waits_for("The same again: ");
    typist.types("hush-hush\n");
    let seen = typist.leaves(0);
    assert!(!seen.contains("hush"), "{seen}");
    assert!(seen.contains("dave@dev.p2psip.test"), "{seen}");

    let mut typist = Typist::at(&office, &["users", "rm", "dave"]);
    typist.waits_for("[y/N] ");
    typist.types("n\n");
    typist.leaves(1);
    assert_eq!(office.json(&["users", "show", "dave"])["state"], "active");

    // Nothing is interpreted while the password is typed, but giving up is.
    let mut typist = Typist::at(&office, &["users", "passwd", "dave"]);
    typist.waits_for("Password for dave@dev.p2psip.test: ");
    typist.types("\u{3}");
    typist.leaves(1);
}

#[test]
fn an_edge_is_drained_before_it_is_stopped() {
    let office = Office::open();
    assert_eq!(office.json(&["calls"])["calls"], Value::Array(Vec::new()));
    assert_eq!(office.said(&["health"]).0, 0);
    assert_eq!(office.json(&["drain", "--wait"])["transactions"], 0);
    // What is followed ends, what is there can still be looked at, and nobody is sent here any more.
    let (code, said) = office.said(&["registrations", "--follow"]);
    assert!(code == 5 && said.contains("draining"), "{code}: {said}");
    office.json(&["registrations"]);
    let not_ready = || match office.said(&["health"]) {
        (3, _) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually("the page tells of the drain", Duration::from_secs(10), not_ready);
}

#[test]
fn a_full_disk_refuses_what_is_new_and_has_room_again() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Disk::new());
    let office = Office::at(folder, &disk.folder.path().join("overlay"));
    let password = office.password("secret");
    let add = |user: &str| office.said(&["--timeout", "10s", "users", "add", user, "--password-file", &password]);
    assert_eq!(add("carol").0, 0);
    office.register(1, "carol", "secret");

    disk.fill();
    // What had begun still has room, so the first one or two may get through.
    let mut users = (0..).map(|number| format!("user{number}"));
    let refused = || match add(&users.next().unwrap()) {
        (code, said) if code != 0 && said.contains("disk is full") => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually("nothing new is taken on", Duration::from_secs(30), refused);
    let (code, said) = office.said(&["health"]);
    assert!(
        code == 3 && said.contains("disk is full") && said.contains("octets free"),
        "{code}: {said}"
    );
    // Reads and a refresh need no disk.
    assert_eq!(office.json(&["users", "show", "carol"])["state"], "active");
    office.register(1, "carol", "secret");

    disk.empty();
    let ready = || match office.said(&["health"]) {
        (0, _) => Ok(()),
        other => Err(format!("{other:?}")),
    };
    eventually("it is ready again by itself", Duration::from_secs(60), ready);
    assert_eq!(add("dave").0, 0);
    office.register(2, "dave", "secret");
}

/// A volume of its own.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        mount
            .args(["-t", "tmpfs", "-o", "size=200m", "tmpfs"])
            .arg(folder.path());
        assert!(mount.status().unwrap().success(), "are we root?");
        Self { folder }
    }

    fn fill(&self) {
        let mut file = std::fs::File::create(self.folder.path().join("filler")).unwrap();
        for size in [1 << 16, 512] {
            while file.write_all(&vec![7; size]).is_ok() {}
        }
    }

    fn empty(&self) {
        std::fs::remove_file(self.folder.path().join("filler")).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // It goes when the last file in it is closed.
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(self.folder.path())
            .status();
    }
}

#[test]
fn the_overlay_is_seen_from_one_peer() {
    let office = Office::open();
    let status = office.json(&["status"]);
    let neighbor = status["successors"][0]["peer_id"].as_str().unwrap();

    let ping = office.json(&["ping", "-c", "2", "-i", "10ms", &neighbor[..8]]);
    assert_eq!((&ping["node_id"], &ping["answered"]), (&neighbor.into(), &2.into()));
    assert_eq!(ping["attempts"][0]["answer"]["responder"], neighbor);
    let lookup = office.json(&["lookup", "alice"]);
    let edge = status["edges"][0].as_str().unwrap();
    let ping = office.json(&["ping", "-c", "1", edge]);
    assert_eq!(ping["attempts"][0]["answer"]["responder"], edge);

    let ping = office.json(&["ping", "-c", "1", "alice"]);
    assert_eq!(ping["resource_id"], lookup["resource_id"]);
    assert_eq!(ping["attempts"][0]["answer"]["responder"], lookup["responsible_peer"]);
    // A node that does not exist.
    let (code, said) = office.said(&["--timeout", "2s", "ping", "-c", "1", &"0123".repeat(8)]);
    assert_eq!(code, 1, "{said}");

    // A phone at the first peer, which is the one that is asked.
    let edge = format!("127.0.0.1:{}", sip_port(1));
    Scenario::new(&office.namespace, "register", 7001, &edge, office.folder.path())
        .user("alice")
        .arguments(["-key", "contact_port", "7100", "-key", "expires", "600"])
        .run();
    let registrations = office.json(&["registrations", "alice"]);
    let binding = &registrations["registrations"][0];
    assert_eq!(binding["contact"], "sip:alice@127.0.0.1:7100;transport=UDP");
    assert_eq!(office.said(&["registrations", "bob"]).0, 1);
    assert_eq!(
        office.json(&["registrations"])["registrations"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn the_record_key_is_rotated_while_phones_register() {
    let office = Office::open();
    let settled = office.json(&["record-key", "status"]);
    assert_eq!(
        (&settled["versions"], &settled["rotation"]),
        (&serde_json::json!([1]), &"settled".into())
    );
    let begun = office.json(&["record-key", "rotate"]);
    assert_eq!(begun["versions"], serde_json::json!([1, 2]));
    let (code, said) = office.said(&["record-key", "rotate"]);
    assert!(
        code == 1 && said.contains("a rotation to version 2 goes on"),
        "{code}: {said}"
    );
    office.register(1, "alice", "p2psip");
    let ended = office.json(&["record-key", "status", "--wait", "1m"]);
    assert_eq!(
        (&ended["versions"], &ended["rotation"]),
        (&serde_json::json!([2]), &"settled".into())
    );
    office.register(2, "bob", "p2psip");
}

#[test]
fn a_peer_tells_what_it_lives_by() {
    let office = Office::open();
    let data = office.folder.path().join("overlay");

    let created = office.json(&["token", "create", "--id", "berlin", "--edges", "2", "--lifetime", "7d"]);
    assert!(created["token"].as_str().unwrap().len() > 32, "{created}");
    assert_eq!(
        office
            .said(&["token", "create", "--id", "berlin", "--edges", "2", "--lifetime", "7d"])
            .0,
        1
    );
    office.json(&["token", "revoke", "ber"]);
    let (_, list) = office.said(&["token", "list"]);
    let row = list
        .lines()
        .find(|line| line.starts_with("berlin "))
        .unwrap_or_else(|| panic!("{list}"));
    assert!(
        row.contains("revoked") && !list.contains(created["token"].as_str().unwrap()),
        "{list}"
    );

    let certificates = office.json(&["cert", "info", &data.display().to_string()]);
    let status = office.json(&["status"]);
    let entries = certificates["certificates"].as_array().unwrap();
    let peer = entries
        .iter()
        .find(|entry| entry["node_ids"][0] == status["peer_id"])
        .unwrap();
    assert_eq!((&peer["what"], &peer["valid"]), (&"peer".into(), &true.into()));
    for what in ["edge link", "delegated signer", "enrollment CA", "configuration root"] {
        assert!(
            entries.iter().any(|entry| entry["what"] == what),
            "no {what} in {certificates}"
        );
    }

    let health = office.json(&["health", "--address", &office.dev.address()]);
    assert_eq!(health["ready"], true);
    let nobody = format!("unix:{}", data.join("nobody.sock").display());
    assert_eq!(office.said(&["health", "--address", &nobody]).0, 5);
}

#[test]
fn settings_are_checked_before_they_hurt() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p2psip.toml");
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(program());
        command.args(["config"]).args(arguments).output().unwrap()
    };
    let defaults = run(&["print", "--default"]);
    std::fs::write(&file, &defaults.stdout).unwrap();
    let path = file.display().to_string();
    assert_eq!(run(&["check", "-c", &path]).status.code(), Some(0));
    std::fs::write(&file, "[sip_edge]\nbnid = []\n").unwrap();
    let refused = run(&["check", "-c", &path]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("bnid"), "{refused:?}");
}

/// Somebody at a terminal.
struct Typist {
    child: Child,
    keys: ChildStdin,
    screen: Receiver<String>,
    seen: String,
}

impl Typist {
    /// Starts a command on a terminal of its own.
    fn at(office: &Office, arguments: &[&str]) -> Self {
        let quoted = |path: PathBuf| path.display().to_string();
        let command = format!(
            "{} --peer {} {}",
            quoted(program()),
            office.dev.address(),
            arguments.join(" ")
        );
        let mut script = office.namespace.command("script");
        script
            .args(["--quiet", "--return", "--flush", "--command", &command])
            .arg(Path::new("/dev/null"));
        script
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut child = script.spawn().expect("script (package bsdutils) starts");
        let keys = child.stdin.take().unwrap();
        let mut output = child.stdout.take().unwrap();
        let (send, screen) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 1024];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if send.send(text).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            keys,
            screen,
            seen: String::new(),
        }
    }

    fn waits_for(&mut self, question: &str) {
        while !self.seen.contains(question) {
            match self.screen.recv_timeout(PATIENCE) {
                Ok(text) => self.seen.push_str(&text),
                Err(_) => panic!("no {question:?} in {:?}", self.seen),
            }
        }
    }

    fn types(&mut self, text: &str) {
        self.keys.write_all(text.as_bytes()).unwrap();
        self.keys.flush().unwrap();
    }

    /// Waits for the end; returns all that was on the screen.
    fn leaves(mut self, code: i32) -> String {
        loop {
            match self.screen.recv_timeout(PATIENCE) {
                Ok(text) => self.seen.push_str(&text),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("it does not end: {:?}", self.seen),
            }
        }
        let status = self.child.wait().unwrap();
        assert_eq!(status.code(), Some(code), "{:?}", self.seen);
        std::mem::take(&mut self.seen)
    }
}

impl Drop for Typist {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// For one answer of the program.
const PATIENCE: Duration = Duration::from_secs(20);
