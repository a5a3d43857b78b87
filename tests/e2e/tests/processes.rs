//! Peers whose components are processes of their own: more of them than usual, or the wrong ones.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use fleet::{Fleet, Kind, Settings, Wiring};
use p2psip_e2e::sipp::{Scenario, answered};
use p2psip_e2e::{Namespace, eventually, program};
use serde_json::Value;
use traces::Collector;

/// Peers of three processes each, in a namespace of their own.
struct Site {
    namespace: Namespace,
    fleet: Fleet,
    folder: tempfile::TempDir,
}

impl Site {
    fn open(wiring: Wiring) -> Self {
        Self::within(Namespace::new(), 2, wiring, None)
    }

    fn within(namespace: Namespace, peers: u16, wiring: Wiring, collector: Option<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let fleet = Fleet::start(Settings {
            program: program(),
            within: namespace.entrance().into(),
            folder: folder.path().join("overlay"),
            peers,
            wiring,
            collector,
        });
        Self {
            namespace,
            fleet: fleet.unwrap(),
            folder,
        }
    }

    fn scenario(&self, name: &str, local: u16, edge: u16) -> Scenario {
        let edge = format!("127.0.0.1:{edge}");
        Scenario::new(&self.namespace, name, local, &edge, self.folder.path())
    }

    fn register(&self, user: &str, edge: u16, contact: u16) {
        let contact = contact.to_string();
        self.scenario("register", 7000, edge)
            .user(user)
            .arguments(["-key", "contact_port", &contact, "-key", "expires", "600"])
            .run();
    }

    fn call(&self, from: (&str, u16), callee: &str, phone: (u16, u16)) {
        let answering = self.scenario("phone_answers", phone.0, phone.1).start();
        self.scenario("call", 7001, from.1).user(from.0).calls(callee).run();
        answering.succeeds();
    }

    /// Waits until a peer says something about itself.
    fn says(&self, peer: u16, what: &str, is_so: impl Fn(&Value) -> bool) {
        eventually(what, Duration::from_secs(20), || {
            let status = self.fleet.json(peer, &["status"]).map_err(|error| error.to_string())?;
            if is_so(&status) {
                Ok(())
            } else {
                Err(status.to_string())
            }
        });
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = std::io::stderr().write_all(self.fleet.logs().as_bytes());
        }
    }
}

fn set(command: &mut Command, key: &str, value: &str) {
    command.env(format!("P2PSIP__{key}"), value);
}

fn is_refused(status: &Value, reason: &str) -> bool {
    let reasons = status["reasons"].as_array().unwrap();
    status["ready"] == false
        && reasons
            .iter()
            .any(|one| one.as_str().is_some_and(|one| one.contains(reason)))
}

#[test]
fn several_edges_serve_on_one_overlay() {
    let site = Site::open(Wiring::Tcp);
    let second = site.fleet.launch((1, Kind::SipEdge), "peer1-sip-edge-2", |command| {
        set(command, "SIP_EDGE__BIND", "127.0.0.1:5160");
        set(command, "SIP_EDGE__EDGE_BIND", "127.0.0.1:5162");
        set(command, "SIP_EDGE__LISTEN", "tcp:127.0.0.1:7502");
        set(command, "ADMIN__BIND", "127.0.0.1:9190");
    });
    let second = second.unwrap();
    site.says(1, "two edges are attached", |status| {
        status["edges"].as_array().is_some_and(|edges| edges.len() == 2)
    });
    // Between the two edges of a peer, and from another peer to the second one.
    site.register("bob", 5060, 7101);
    site.register("alice", 5160, 7100);
    site.call(("bob", 5060), "alice", (7100, 5160));
    site.call(("bob", 5070), "alice", (7100, 5160));
    // The death of one is nothing to the other.
    drop(second);
    site.call(("alice", 5070), "bob", (7101, 5060));
}

#[test]
fn of_two_overlays_on_one_storage_the_newer_one_has_it() {
    let site = Site::open(Wiring::Unix);
    // A copy of the peer's certificates: the same node once more, as when an operator starts a container twice.
    let copied = Command::new("cp")
        .args(["-r"])
        .args([site.fleet.data("peer1-overlay/credentials"), site.fleet.data("second")])
        .status();
    std::fs::create_dir(site.fleet.data("peer1-overlay-2")).unwrap();
    std::fs::rename(
        site.fleet.data("second"),
        site.fleet.data("peer1-overlay-2/credentials"),
    )
    .unwrap();
    assert!(copied.unwrap().success());
    let second = site.fleet.launch((1, Kind::Overlay), "peer1-overlay-2", |command| {
        set(command, "OVERLAY__BIND", "127.0.0.1:6184");
        set(command, "ADMIN__BIND", "127.0.0.1:9191");
        let listen = format!("unix:{}", site.fleet.data("second.sock").display());
        set(command, "OVERLAY__LISTEN", &listen);
    });
    let _second = second.unwrap();
    site.says(1, "the older one has lost it", |status| is_refused(status, "storage"));
}

#[test]
fn a_storage_of_another_peer_is_refused() {
    let mut site = Site::open(Wiring::Unix);
    site.fleet.kill((2, Kind::Overlay)).unwrap();
    let strange = site.fleet.address((1, Kind::Storage));
    let wrong = site.fleet.launch((2, Kind::Overlay), "peer2-overlay", |command| {
        set(command, "OVERLAY__STORAGE", &strange);
    });
    let wrong = wrong.unwrap();
    site.says(2, "the storage is not its own", |status| is_refused(status, "storage"));
    // Peer 1 still has its storage.
    site.says(1, "peer 1 serves", |status| status["ready"] == true);
    drop(wrong);
    site.fleet.start_part((2, Kind::Overlay)).unwrap();
    site.fleet.wait_ready(2).unwrap();
}

#[test]
fn an_emptied_volume_is_filled_again() {
    let mut site = Site::open(Wiring::Unix);
    site.register("alice", 5060, 7100);
    site.fleet.kill((1, Kind::Storage)).unwrap();
    std::fs::remove_dir_all(site.fleet.data("peer1-storage")).unwrap();
    site.fleet.start_part((1, Kind::Storage)).unwrap();
    site.fleet.wait_ready(1).unwrap();
    // Whichever peer is asked and whoever is responsible: the other one had a copy.
    for peer in [1, 2] {
        let found = site.fleet.json(peer, &["lookup", "alice"]).unwrap();
        assert_eq!(found["edges"].as_array().map(Vec::len), Some(1), "{found}");
    }
    site.call(("bob", 5070), "alice", (7100, 5060));
}

#[test]
fn an_edge_without_its_overlay_serves_whom_it_can() {
    let mut site = Site::open(Wiring::Unix);
    site.register("alice", 5060, 7100);
    site.register("bob", 5070, 7101);
    let answering = site.scenario("phone_answers", 7101, 5070).start();
    let held = site.scenario("call_long", 7002, 5060).user("alice").calls("bob");
    let held = held.arguments(["-d", "4000", "-trace_msg"]).start();
    eventually("the call is answered", Duration::from_secs(20), || {
        answered(site.folder.path())
            .then_some(())
            .ok_or_else(|| "not yet".to_owned())
    });
    site.fleet.kill((1, Kind::Overlay)).unwrap();
    // What is within a call, to an edge that is connected, or to a phone of its own.
    held.succeeds();
    answering.succeeds();
    site.call(("alice", 5060), "bob", (7101, 5070));
    site.call(("alice", 5060), "alice", (7100, 5060));
    // Whom it would have to look up.
    let unserved = |callee| site.scenario("call_unserved", 7001, 5060).user("alice").calls(callee);
    unserved("somebody").run();
    site.fleet.start_part((1, Kind::Overlay)).unwrap();
    site.fleet.wait_ready(1).unwrap();
    let unknown = site.scenario("call_unknown", 7001, 5060);
    unknown.user("alice").calls("somebody").run();
}

#[test]
fn a_call_across_processes_is_one_trace() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _entered = runtime.enter();
    let namespace = Namespace::new();
    let collector = Collector::start(namespace.listener()).unwrap();
    let mut site = Site::within(namespace, 3, Wiring::Tcp, Some(collector.endpoint()));
    // The callee's record lies at one peer; the other two have the phones.
    let lookup = site.fleet.json(1, &["lookup", "bob"]).unwrap();
    let status = |peer| site.fleet.json(peer, &["status"]).unwrap();
    let mut peers: Vec<(u16, Value)> = (1..=3).map(|peer| (peer, status(peer))).collect();
    peers.sort_by_key(|(_, status)| status["peer_id"] == lookup["responsible_peer"]);
    let mut roles = BTreeMap::new();
    for ((_, status), role) in peers.iter().zip(["caller", "callee", "record"]) {
        for node in [&status["peer_id"], &status["edges"][0]] {
            roles.insert(node.as_str().unwrap()[..8].to_owned(), role.to_owned());
        }
    }
    let (caller, callee) = (fleet::sip_port(peers[0].0), fleet::sip_port(peers[1].0));
    site.register("alice", caller, 7100);
    site.register("bob", callee, 7101);
    site.call(("alice", caller), "bob", (7101, callee));
    // Each process sends what is left when it ends.
    site.fleet.stop().unwrap();
    let (call, expected) = traces::call_of(&collector.spans(), &roles).unwrap();
    assert_eq!(call, expected);
}
