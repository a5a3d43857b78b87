//! The overlay of `docker-compose.yml`, each component in a container of its own, which fail one after the other.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a test stops at the first surprise"
)]

use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use p2psip_e2e::load::{Caller, Crew, Edges, Registered, Tally};
use p2psip_e2e::{Compose, PASSWORD, eventually};

const DOMAIN: &str = "demo.p2psip.test";
const PEERS: [u16; 5] = [1, 2, 3, 4, 5];
/// Each peer's edge serves two of them.
const USERS: u16 = 10;

#[test]
fn containers_fail_apart_and_no_registration_is_lost() {
    if let Some(reason) = Compose::missing() {
        return println!("skipped: {reason}");
    }
    let began = Instant::now();
    let compose = Arc::new(Compose::up());
    let crew = first_call(&compose);
    println!("up to the first call: {:.1} s", began.elapsed().as_secs_f64());
    let overlay = Overlay { compose, crew };
    for (service, mebibytes) in overlay.memory() {
        println!("{service}: {mebibytes:.1} MiB");
    }

    for kind in ["storage", "overlay", "sip-edge"] {
        let service = format!("peer4-{kind}");
        overlay.after(&format!("kill -9 {service}"), Some(4), |compose| {
            compose.signal(&service, "KILL")
        });
    }
    overlay.after("kill -9 bootstrap", None, |compose| compose.signal("bootstrap", "KILL"));
    for kind in ["storage", "overlay", "sip-edge"] {
        let service = format!("peer3-{kind}");
        overlay.after(&format!("SIGSTOP {service} for 10 s"), Some(3), |compose| {
            compose.signal(&service, "STOP");
            std::thread::sleep(Duration::from_secs(10));
            compose.signal(&service, "CONT");
        });
    }
    overlay.after("SIGSTOP bootstrap for 10 s", None, |compose| {
        compose.signal("bootstrap", "STOP");
        std::thread::sleep(Duration::from_secs(10));
        compose.signal("bootstrap", "CONT");
    });
    for kind in ["storage", "overlay", "sip-edge"] {
        let service = format!("peer2-{kind}");
        overlay.after(&format!("restart {service}"), Some(2), |compose| {
            compose.restart(&[&service])
        });
    }
    overlay.after("kill all of peer 5", Some(5), |compose| {
        let services = ["peer5-storage", "peer5-overlay", "peer5-sip-edge"];
        compose.kill(&services);
        compose.start(&services);
    });
    overlay.after("peer 2 off the network for 20 s", Some(2), |compose| {
        let services = ["peer2-storage", "peer2-overlay", "peer2-sip-edge"];
        services.iter().for_each(|service| compose.plug(service, false));
        std::thread::sleep(Duration::from_secs(20));
        services.iter().for_each(|service| compose.plug(service, true));
    });

    overlay.rolling_restart();

    let all = overlay.compose.services();
    let all: Vec<&str> = all.iter().map(String::as_str).collect();
    overlay.compose.restart(&all);
    overlay.are_ready(Duration::from_secs(60));
    overlay.crew.all_are_callable(&PEERS, Duration::from_secs(60));
    println!("restart of all: everybody can be called");
}

/// The running overlay with its phones.
struct Overlay {
    compose: Arc<Compose>,
    crew: Crew,
}

/// Waits until a call can be made, and registers everybody.
fn first_call(compose: &Arc<Compose>) -> Crew {
    let host = compose.host();
    let edges: Edges = {
        let compose = Arc::clone(compose);
        Arc::new(move |peer| compose.edge(peer))
    };
    let mut crew = Crew::new(Caller::new(host, &format!("alice@{DOMAIN}"), edges));
    let bob = format!("bob@{DOMAIN}");
    eventually("bob registers at peer 2", Duration::from_secs(120), || {
        let edge = compose.edge(2).ok_or("no address yet")?;
        p2psip_e2e::Agent::start(&bob, host, edge)
            .register_briefly()
            .map_err(|code| code.to_string())
    });
    crew.register(Registered {
        aor: bob.clone(),
        peer: 2,
    });
    eventually("alice calls bob", Duration::from_secs(60), || {
        crew.caller().call(1, &bob).map_err(|code| code.to_string())
    });
    for number in 1..=USERS {
        let name = format!("user{number}");
        compose.add_user(&name, PASSWORD);
        let peer = PEERS[usize::from(number) % PEERS.len()];
        crew.register(Registered {
            aor: format!("{name}@{DOMAIN}"),
            peer,
        });
    }
    crew
}

impl Overlay {
    /// Breaks something while phones are busy, waits until it is whole again, and checks that nobody was lost.
    fn after(&self, what: &str, broken: Option<u16>, fault: impl FnOnce(&Compose)) {
        let load = self.crew.load(broken);
        fault(&self.compose);
        self.are_ready(Duration::from_secs(90));
        self.crew.all_are_callable(&PEERS, Duration::from_secs(5));
        let tally = load.end();
        println!("{what}:{tally}");
        self.judge(what, &tally);
    }

    fn judge(&self, what: &str, tally: &Tally) {
        assert_eq!(
            tally.unexplained(),
            0,
            "{what}: failures without the broken peer:{tally}"
        );
        for code in tally.codes() {
            assert!(STATED.contains(&code), "{what}: {code} is not among {STATED:?}:{tally}");
        }
    }

    /// One peer after the other, each only when the last one is ready again.
    fn rolling_restart(&self) {
        for peer in PEERS {
            let services = ["storage", "overlay", "sip-edge"].map(|kind| format!("peer{peer}-{kind}"));
            let services: Vec<&str> = services.iter().map(String::as_str).collect();
            let load = self.crew.load(Some(peer));
            self.compose.restart(&services);
            self.are_ready(Duration::from_secs(90));
            let tally = load.end();
            println!("rolling restart, peer {peer}:{tally}");
            self.judge("rolling restart", &tally);
        }
        self.crew.all_are_callable(&PEERS, Duration::from_secs(5));
    }

    fn are_ready(&self, limit: Duration) {
        eventually("all peers are ready", limit, || {
            for peer in PEERS {
                let status = self.compose.status(peer);
                if status["ready"] != true || status["edges"].as_array().is_none_or(Vec::is_empty) {
                    return Err(format!("peer {peer}: {status}"));
                }
            }
            Ok(())
        });
    }

    fn memory(&self) -> Vec<(String, f64)> {
        let services = self.compose.services();
        let each = services.into_iter().filter_map(|service| {
            let mebibytes = self.compose.resident_mebibytes(&service)?;
            Some((service, mebibytes))
        });
        each.collect()
    }
}

impl Drop for Overlay {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = std::io::stderr().write_all(self.compose.logs(&[]).as_bytes());
        }
    }
}

/// What a phone may be told when its own edge, or that of the phone it calls, is broken: silence, not reachable, cannot serve now,
/// look-up timed out.
const STATED: [u16; 4] = [408, 480, 503, 504];
