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
const KINDS: [&str; 3] = ["storage", "overlay", "sip-edge"];
/// Each peer's edge serves two of them.
const USERS: u16 = 10;

#[test]
fn a_killed_component_costs_nobody_else_a_call() {
    let Some(overlay) = Overlay::start() else { return };
    for (service, mebibytes) in overlay.memory() {
        println!("{service}: {mebibytes:.1} MiB");
    }
    for kind in KINDS {
        let service = format!("peer4-{kind}");
        overlay.after(&format!("kill -9 {service}"), Some(4), |compose| {
            compose.signal(&service, "KILL")
        });
    }
    overlay.after("kill -9 bootstrap", None, |compose| compose.signal("bootstrap", "KILL"));
}

#[test]
fn components_that_hang_or_restart_lose_no_registration() {
    let Some(overlay) = Overlay::start() else { return };
    for service in ["bootstrap", "peer3-storage", "peer3-overlay", "peer3-sip-edge"] {
        let broken = service.starts_with("peer").then_some(3);
        overlay.after(&format!("SIGSTOP {service} for 10 s"), broken, |compose| {
            compose.signal(service, "STOP");
            std::thread::sleep(Duration::from_secs(10));
            compose.signal(service, "CONT");
        });
    }
    for service in ["bootstrap", "peer2-storage", "peer2-overlay", "peer2-sip-edge"] {
        let broken = service.starts_with("peer").then_some(2);
        overlay.after(&format!("restart {service}"), broken, |compose| {
            compose.restart(&[service])
        });
    }
}

#[test]
fn whole_peers_that_go_and_come_back_lose_no_registration() {
    let Some(overlay) = Overlay::start() else { return };
    overlay.after("kill all of peer 5", Some(5), |compose| {
        let services = services_of(5);
        compose.kill(&services.each_ref().map(String::as_str));
        compose.start(&services.each_ref().map(String::as_str));
    });
    overlay.after("peer 2 off the network for 20 s", Some(2), |compose| {
        services_of(2).iter().for_each(|service| compose.plug(service, false));
        std::thread::sleep(Duration::from_secs(20));
        services_of(2).iter().for_each(|service| compose.plug(service, true));
    });
    overlay.rolling_restart();
    overlay.restart_of_all();
}

/// The running overlay with its phones.
struct Overlay {
    compose: Arc<Compose>,
    crew: Crew,
}

/// The services of a peer.
fn services_of(peer: u16) -> [String; 3] {
    KINDS.map(|kind| format!("peer{peer}-{kind}"))
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
    // Until then a phone at a peer that still joins may be asked to come again.
    are_ready(compose, Duration::from_secs(60));
    for number in 1..=USERS {
        let name = format!("user{number}");
        compose.add_user(&format!("{name}@{DOMAIN}"), PASSWORD);
        let peer = PEERS[usize::from(number) % PEERS.len()];
        crew.register(Registered {
            aor: format!("{name}@{DOMAIN}"),
            peer,
        });
    }
    crew
}

/// Waits until each peer is joined and its edge attached.
fn are_ready(compose: &Compose, limit: Duration) {
    eventually("all peers are ready", limit, || {
        for peer in PEERS {
            let status = compose.status(peer);
            if status["ready"] != true || status["edges"].as_array().is_none_or(Vec::is_empty) {
                return Err(format!("peer {peer}: {status}"));
            }
        }
        Ok(())
    });
}

impl Overlay {
    /// Starts it and makes the first call; tells why, if that is not possible here.
    fn start() -> Option<Self> {
        if let Some(reason) = Compose::missing() {
            println!("skipped: {reason}");
            return None;
        }
        let began = Instant::now();
        let compose = Arc::new(Compose::up());
        let crew = first_call(&compose);
        println!("everybody is registered after {:.1} s", began.elapsed().as_secs_f64());
        Some(Self { compose, crew })
    }

    /// Breaks something while phones are busy, waits until it is whole again, and checks that nobody was lost.
    fn after(&self, what: &str, broken: Option<u16>, fault: impl FnOnce(&Compose)) {
        let load = self.crew.load(&PEERS, broken);
        fault(&self.compose);
        are_ready(&self.compose, Duration::from_secs(90));
        let took = self.crew.reach_all(&PEERS, REACH);
        let tally = load.end();
        println!("{what}: all called after {:.1} s;{tally}", took.as_secs_f64());
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
            let load = self.crew.load(&PEERS, Some(peer));
            self.compose.restart(&services_of(peer).each_ref().map(String::as_str));
            are_ready(&self.compose, Duration::from_secs(90));
            let tally = load.end();
            println!("rolling restart, peer {peer}:{tally}");
            self.judge("rolling restart", &tally);
        }
        let took = self.crew.reach_all(&PEERS, REACH);
        println!("rolling restart: all called after {:.1} s", took.as_secs_f64());
    }

    /// All at once, as after a power cut.
    fn restart_of_all(&self) {
        let all = self.compose.services();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        self.compose.restart(&all);
        let began = Instant::now();
        are_ready(&self.compose, Duration::from_secs(60));
        self.crew.reach_all(&PEERS, Duration::from_secs(60));
        println!(
            "restart of all: all called after {:.1} s",
            began.elapsed().as_secs_f64()
        );
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

/// Five edges call twelve users, one after the other. On a machine with nothing else to do it takes 1 to 5 s; the figure is printed.
const REACH: Duration = Duration::from_secs(20);
