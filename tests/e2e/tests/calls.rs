//! Calls through two different peers of one overlay, made by phones that know nothing of it.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::time::Duration;

use p2psip_e2e::phone::{Phone, Setup};
use p2psip_e2e::sipp::{Scenario, Transport, answered};
use p2psip_e2e::{Dev, Namespace, eventually, sip_port};

/// One overlay for all SIPp scenarios of this file: starting one costs seconds.
struct Bench {
    namespace: Namespace,
    dev: Dev,
    folder: tempfile::TempDir,
}

impl Bench {
    fn start() -> Self {
        let namespace = Namespace::new();
        let folder = tempfile::tempdir().unwrap();
        let dev = Dev::start(&namespace, &folder.path().join("overlay"), &["--peers", "5"]);
        Self { namespace, dev, folder }
    }

    fn scenario(&self, name: &str, local: u16, peer: u16) -> Scenario {
        Scenario::new(
            &self.namespace,
            name,
            local,
            &format!("127.0.0.1:{}", sip_port(peer)),
            self.folder.path(),
        )
    }

    /// Registers `user` at `peer` with the Contact of a phone that will listen on `port`.
    fn register(&self, user: &str, peer: u16, port: u16, transport: Transport) {
        let port_text = port.to_string();
        self.scenario("register", port + 1000, peer)
            .user(user)
            .over(transport)
            .arguments(["-key", "contact_port", &port_text, "-key", "expires", "600"])
            .run();
    }

    fn unregister(&self, user: &str, peer: u16, port: u16) {
        let port_text = port.to_string();
        self.scenario("register", port + 1000, peer)
            .user(user)
            .arguments(["-key", "contact_port", &port_text, "-key", "expires", "0"])
            .run();
    }
}

#[test]
fn scripted_phones_meet_every_outcome_of_a_call() {
    let bench = Bench::start();

    // Nobody is there yet.
    bench
        .scenario("call_unknown", 7001, 1)
        .user("alice")
        .calls("nobody")
        .run();
    bench.scenario("call_offline", 7002, 1).user("alice").calls("bob").run();
    bench
        .scenario("register_refused", 7003, 1)
        .arguments([
            "-key",
            "user",
            "alice",
            "-au",
            "alice",
            "-ap",
            "wrong",
            "-key",
            "contact_port",
            "7003",
            "-key",
            "expires",
            "600",
        ])
        .run();

    // A call is answered at another peer, and 300 more.
    bench.register("bob", 2, 7100, Transport::Udp);
    let phone = bench
        .scenario("phone_answers", 7100, 2)
        .arguments(["-m", "301", "-l", "400"])
        .start();
    bench.scenario("call", 7004, 1).user("alice").calls("bob").run();
    bench
        .scenario("call", 7005, 1)
        .user("alice")
        .calls("bob")
        .arguments(["-m", "300", "-r", "20", "-l", "400"])
        .run();
    phone.succeeds();

    // A From that is not the caller's own.
    bench.scenario("call_foreign", 7006, 1).user("alice").calls("bob").run();

    // Busy, given up, and a phone that says nothing.
    let phone = bench.scenario("phone_busy", 7100, 2).start();
    bench.scenario("call_busy", 7007, 1).user("alice").calls("bob").run();
    phone.succeeds();
    let phone = bench.scenario("phone_rings", 7100, 2).start();
    bench
        .scenario("call_cancelled", 7008, 1)
        .user("alice")
        .calls("bob")
        .run();
    phone.succeeds();
    // One that has gone: its host says so, and nobody waits.
    bench.scenario("call_offline", 7010, 1).user("alice").calls("bob").run();
    let phone = bench.scenario("phone_silent", 7100, 2).start();
    bench
        .scenario("call_no_answer", 7009, 1)
        .user("alice")
        .calls("bob")
        .run();
    drop(phone);

    // Two phones of one user at two peers: both ring, one answers, the other is cancelled.
    bench.register("bob", 3, 7200, Transport::Udp);
    let loser = bench.scenario("phone_rings", 7200, 3).start();
    let winner = bench.scenario("phone_answers_late", 7100, 2).start();
    bench.scenario("call", 7010, 1).user("alice").calls("bob").run();
    winner.succeeds();
    loser.succeeds();

    bench.unregister("bob", 2, 7100);
    bench.unregister("bob", 3, 7200);
    bench.dev.stop();
}

#[test]
fn a_caller_whose_edge_was_started_again_can_hang_up() {
    let namespace = Namespace::new();
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("overlay");
    let dev = Dev::start(&namespace, &data, &["--peers", "5"]);
    let scenario = |name: &str, local: u16, peer: u16| {
        Scenario::new(
            &namespace,
            name,
            local,
            &format!("127.0.0.1:{}", sip_port(peer)),
            folder.path(),
        )
    };
    scenario("register", 8100, 2)
        .user("bob")
        .arguments(["-key", "contact_port", "7100", "-key", "expires", "600"])
        .run();
    let phone = scenario("phone_answers", 7100, 2).start();
    // The hold is long enough for the overlay to come back; the test ends when the call does.
    let mut call = scenario("call_long", 7001, 1)
        .user("alice")
        .calls("bob")
        .arguments(["-d", "20000", "-trace_msg"])
        .start();
    eventually("the call is answered", Duration::from_secs(20), || {
        if answered(folder.path()) {
            Ok(())
        } else {
            Err(format!("ended: {:?}", call.ended()))
        }
    });
    dev.kill();
    let dev = Dev::start(&namespace, &data, &["--peers", "5", "--no-call"]);
    assert_eq!(
        call.ended(),
        None,
        "the overlay took longer to come back than the call was held"
    );
    call.succeeds();
    phone.succeeds();
    dev.stop();
}

fn softphones_hear_each_other(transport: Transport) {
    let bench = Bench::start();
    let folder = |name: &str| bench.folder.path().join(name);
    let bob = Setup {
        user: "bob",
        port: 7100,
        edge: sip_port(2),
        transport,
        hertz: 880.0,
        dials: None,
    };
    let bob = Phone::start(&bench.namespace, &folder("bob"), &bob);
    let alice = Setup {
        user: "alice",
        port: 7200,
        edge: sip_port(1),
        transport,
        hertz: 440.0,
        dials: Some("bob"),
    };
    let alice = Phone::start(&bench.namespace, &folder("alice"), &alice);
    alice.hears(880.0);
    bob.hears(440.0);
}

#[test]
fn softphones_hear_each_other_over_udp() {
    softphones_hear_each_other(Transport::Udp);
}

#[test]
fn softphones_hear_each_other_over_tcp() {
    softphones_hear_each_other(Transport::Tcp);
}
