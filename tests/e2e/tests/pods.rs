//! A site whose peers are pods: scaled, replaced one by one, and all started anew, with phones that register and call meanwhile.

#![allow(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use p2psip_e2e::load::{Caller, Crew, Edges, Registered, Tally};
use p2psip_e2e::{PODS_DOMAIN, Pods, eventually};

#[test]
fn pods_that_come_and_go_cost_nobody_else_a_call() {
    if let Some(reason) = Pods::missing() {
        println!("skipped: {reason}");
        return;
    }
    let mut site = Site::start(1, "90d");
    for peers in [3, 5] {
        site.during(&format!("scaled to {peers}"), None, |pods| pods.scale(peers));
    }
    site.register_more();
    site.during("scaled back to 3", None, |pods| pods.scale(3));
    for peer in 1..=3 {
        site.during(&format!("peer {peer} replaced"), Some(peer), |pods| pods.restart(peer));
    }
    site.all_anew();
    // The peers come back with their old disks, and phones find everybody.
    site.during("scaled to 5 again", None, |pods| pods.scale(5));
}

#[test]
fn a_bootstrap_service_that_is_lost_is_replaced_while_phones_go_on() {
    if let Some(reason) = Pods::missing() {
        println!("skipped: {reason}");
        return;
    }
    // Minutes instead of months: nodes renew after 40 s, edges' signers after 13 s.
    let mut site = Site::start(3, "2m");
    site.pods.lock().unwrap().take_off_line();
    for name in ["carol", "erin"] {
        site.pods.lock().unwrap().add_user(name);
    }
    site.register("carol", 2);
    let old = site.pods.lock().unwrap().backup(1);
    site.pods.lock().unwrap().restart_bootstrap();
    eventually("peer 1 fetches the next backup", Duration::from_secs(120), || {
        let backup = site.pods.lock().unwrap().backup(1);
        (backup.is_some() && backup != old)
            .then_some(())
            .ok_or("it has the old one".to_owned())
    });
    let certificates = |site: &Site| {
        let pods = site.pods.lock().unwrap();
        let each = [1, 2, 3].map(|peer| [pods.certificates(peer, "overlay"), pods.certificates(peer, "sip-edge")]);
        each.into_iter().flatten().flatten().collect::<Vec<_>>()
    };
    let before = certificates(&site);
    assert_eq!(before.len(), 9, "of each peer one, of its edge two");
    site.during("bootstrap service lost and replaced", None, |pods| {
        pods.replace_bootstrap()
    });

    site.pods.lock().unwrap().add_user("dave");
    site.register("dave", 3);
    site.pods
        .lock()
        .unwrap()
        .tell_user("passwd", "erin", "another password");
    eventually("the old password is refused", Duration::from_secs(30), || {
        let old = site.crew.caller().register_briefly(&format!("erin@{PODS_DOMAIN}"), 2);
        old.err().map(drop).ok_or("it is taken".to_owned())
    });
    site.during("a fourth peer", None, |pods| pods.scale(4));
    let began = Instant::now();
    eventually("every certificate is renewed", Duration::from_secs(180), || {
        let now = certificates(&site);
        let kept = before.iter().zip(&now).filter(|(before, now)| before == now).count();
        (kept == 0 && now.len() == before.len())
            .then_some(())
            .ok_or(format!("{kept} are as before"))
    });
    println!("every certificate renewed after {:.1} s", began.elapsed().as_secs_f64());
    site.during("all renewed", None, |_| {});
}

/// The pods and their phones.
struct Site {
    pods: Arc<Mutex<Pods>>,
    crew: Crew,
}

impl Site {
    /// The first peers, and the first call.
    fn start(peers: u16, life: &str) -> Self {
        let began = Instant::now();
        let pods = Pods::start(peers, life);
        let host = pods.host();
        let pods = Arc::new(Mutex::new(pods));
        let edges: Edges = {
            // Asked for at each call: a pod that was replaced may have another address. Who replaces one holds the lock for long.
            let pods = Arc::clone(&pods);
            let known = Mutex::new(std::collections::BTreeMap::new());
            Arc::new(move |peer| {
                let mut known = known.lock().unwrap();
                let now = match known.contains_key(&peer) {
                    true => pods.try_lock().ok(),
                    false => pods.lock().ok(),
                };
                if let Some(pods) = now {
                    known.insert(peer, pods.edge(peer));
                }
                known.get(&peer).copied().flatten()
            })
        };
        let site = |crew| Self { pods, crew };
        let mut site = site(Crew::new(Caller::new(host, &format!("alice@{PODS_DOMAIN}"), edges)));
        site.ready(Duration::from_secs(120));
        site.register("bob", 1);
        let bob = format!("bob@{PODS_DOMAIN}");
        eventually("alice calls bob", Duration::from_secs(30), || {
            site.crew.caller().call(1, &bob).map_err(|code| code.to_string())
        });
        println!("first call after {:.1} s", began.elapsed().as_secs_f64());
        site
    }

    fn register(&mut self, name: &str, peer: u16) {
        let aor = format!("{name}@{PODS_DOMAIN}");
        self.crew.register(Registered { aor, peer });
    }

    /// Users at the peers that stay.
    fn register_more(&mut self) {
        for number in 1..=6 {
            let name = format!("user{number}");
            self.pods.lock().unwrap().add_user(&name);
            self.register(&name, number % 3 + 1);
        }
    }

    /// Waits until every component of every pod is ready.
    fn ready(&self, limit: Duration) {
        eventually("all pods are ready", limit, || {
            let pods = self.pods.lock().unwrap();
            for peer in pods.running() {
                for component in ["storage", "overlay", "sip-edge"] {
                    pods.health(peer, component)?;
                }
            }
            Ok(())
        });
    }

    /// Does something while phones are busy, and checks that nobody was lost.
    fn during(&self, what: &str, broken: Option<u16>, change: impl FnOnce(&mut Pods)) {
        let began = Instant::now();
        let stay: Vec<u16> = self.peers_of_phones();
        let load = self.crew.load(&stay, broken);
        change(&mut self.pods.lock().unwrap());
        self.ready(Duration::from_secs(120));
        let took = began.elapsed();
        let peers = self.pods.lock().unwrap().running();
        self.crew.reach_all(&peers, REACH);
        let tally = load.end();
        println!("{what}: ready after {:.1} s;{tally}", took.as_secs_f64());
        judge(what, &tally);
    }

    fn peers_of_phones(&self) -> Vec<u16> {
        let running = self.pods.lock().unwrap().running();
        running.into_iter().filter(|peer| *peer <= 3).collect()
    }

    /// All at once, as when the machines lose power.
    fn all_anew(&self) {
        let began = Instant::now();
        self.pods.lock().unwrap().restart_all();
        self.ready(Duration::from_secs(120));
        self.crew.reach_all(&self.peers_of_phones(), Duration::from_secs(60));
        println!("all anew: all called after {:.1} s", began.elapsed().as_secs_f64());
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Ok(pods) = self.pods.lock()
        {
            let _ = std::io::stderr().write_all(pods.logs().as_bytes());
        }
    }
}

fn judge(what: &str, tally: &Tally) {
    assert_eq!(
        tally.unexplained(),
        0,
        "{what}: failures without the replaced peer:{tally}"
    );
    for code in tally.codes() {
        assert!(STATED.contains(&code), "{what}: {code} is not among {STATED:?}:{tally}");
    }
}

/// The codes that a phone may get while its own edge, or that of the phone it calls, is away.
const STATED: [u16; 4] = [408, 480, 503, 504];
/// On a machine with nothing else to do it takes seconds; the figure is printed.
const REACH: Duration = Duration::from_secs(30);
