//! What phones do all day, in the background of a test: registrations and calls at a steady pace, each outcome counted.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::Agent;

/// A user with the peer whose edge serves the phone.
#[derive(Clone, Debug)]
pub struct Registered {
    /// The user's AOR.
    pub aor: String,
    /// The peer, counted from 1.
    pub peer: u16,
}

/// Where things are just now: containers change their addresses.
pub type Edges = Arc<dyn Fn(u16) -> Option<SocketAddr> + Send + Sync>;

/// One beat of a load.
type Work = Arc<dyn Fn(u32) -> Beat + Send + Sync>;

/// Which peers had part in it, who was concerned, and what came of it.
struct Beat {
    peers: Vec<u16>,
    who: String,
    outcome: Result<(), u16>,
}

/// The phones of one test.
pub struct Crew {
    caller: Caller,
    phones: Vec<(Registered, Agent)>,
}

/// Somebody on this host who calls from any edge.
#[derive(Clone)]
pub struct Caller {
    local: IpAddr,
    edges: Edges,
    aor: String,
}

/// Load that goes on until it is told to end.
pub struct Load {
    stop: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    pacers: Vec<JoinHandle<()>>,
}

/// What came of it: how often each status code, by what was asked and whether the broken peer was part of it.
#[derive(Clone, Debug, Default)]
pub struct Tally(BTreeMap<(&'static str, bool, u16), u32>);

impl Caller {
    /// `aor`, at `local` on this host.
    pub fn new(local: IpAddr, aor: &str, edges: Edges) -> Self {
        let aor = aor.to_owned();
        Self { local, edges, aor }
    }

    /// Calls once, from the edge of a peer.
    ///
    /// # Errors
    /// The status code; 503 for an edge that is off the network.
    pub fn call(&self, from: u16, callee: &str) -> Result<(), u16> {
        self.phone(&self.aor, from)?.call(callee)
    }

    /// Calls once; a phone that is busy with another call was reached too.
    ///
    /// # Errors
    /// The status code.
    fn reach(&self, from: u16, callee: &str) -> Result<(), u16> {
        match self.call(from, callee) {
            Err(BUSY) => Ok(()),
            outcome => outcome,
        }
    }

    /// Registers once, at the edge of a peer, and leaves again.
    ///
    /// # Errors
    /// The status code.
    pub fn register_briefly(&self, aor: &str, peer: u16) -> Result<(), u16> {
        self.phone(aor, peer)?.register_briefly()
    }

    /// A phone of a user at the edge of a peer.
    fn phone(&self, aor: &str, peer: u16) -> Result<Agent, u16> {
        let edge = (self.edges)(peer).ok_or(503_u16)?;
        Ok(Agent::start(aor, self.local, edge))
    }
}

impl Crew {
    /// A crew without phones yet.
    pub fn new(caller: Caller) -> Self {
        let phones = Vec::new();
        Self { caller, phones }
    }

    /// Who calls.
    pub fn caller(&self) -> &Caller {
        &self.caller
    }

    /// Registers a phone that answers.
    ///
    /// # Panics
    /// When the edge does not take it.
    pub fn register(&mut self, registered: Registered) {
        let phone = self.caller.phone(&registered.aor, registered.peer);
        let phone = phone.expect("the edge has an address");
        assert_eq!(phone.register(), Ok(()), "{registered:?}");
        self.phones.push((registered, phone));
    }

    fn registered(&self) -> Vec<Registered> {
        self.phones.iter().map(|(registered, _)| registered.clone()).collect()
    }

    /// Calls everyone from each of these peers until all have been reached, and tells how long that took.
    ///
    /// # Panics
    /// With what was last seen, when somebody was not reached within `limit`.
    pub fn reach_all(&self, from: &[u16], limit: Duration) -> Duration {
        let began = Instant::now();
        let end = began + limit;
        std::thread::scope(|scope| {
            for Registered { aor, peer: at } in self.registered() {
                let caller = self.caller.clone();
                scope.spawn(move || {
                    for peer in from {
                        while let Err(code) = caller.reach(*peer, &aor) {
                            let is_late = Instant::now() > end;
                            assert!(
                                !is_late,
                                "{aor} at peer {at} not called from peer {peer} within {limit:?}: {code}"
                            );
                            std::thread::sleep(RETRY);
                        }
                    }
                });
            }
        });
        began.elapsed()
    }

    /// Starts registrations at 5 and calls at 2 a second, from each of these peers in turn. `broken` is the one with which something
    /// happens.
    ///
    /// # Panics
    /// Without a peer.
    pub fn load(&self, peers: &[u16], broken: Option<u16>) -> Load {
        assert!(!peers.is_empty(), "nowhere to call from");
        let peers = peers.to_vec();
        let (stop, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Tally::default())));
        let registered = Arc::new(self.registered());
        let job = |what: &'static str, period, work: Work| {
            let (stop, tally) = (Arc::clone(&stop), Arc::clone(&tally));
            std::thread::spawn(move || {
                pace(&stop, period, |n| {
                    let began = Instant::now();
                    let Beat { peers, who, outcome } = work(n);
                    let is_part = broken.is_some_and(|broken| peers.contains(&broken));
                    let code = outcome.err().unwrap_or(200);
                    if code != 200 && !is_part {
                        let took = began.elapsed().as_secs_f64();
                        println!("{what}: {code} after {took:.1} s, beat {n}, {who}, peers {peers:?}");
                    }
                    *tally
                        .lock()
                        .expect("no counter panics")
                        .0
                        .entry((what, is_part, code))
                        .or_default() += 1;
                })
            })
        };
        let registering = {
            let (caller, registered) = (self.caller.clone(), Arc::clone(&registered));
            Arc::new(move |n: u32| {
                let one = &registered[n as usize % registered.len()];
                let phone = caller.phone(&one.aor, one.peer);
                Beat {
                    peers: vec![one.peer],
                    who: one.aor.clone(),
                    outcome: phone.and_then(|phone| phone.register_briefly()),
                }
            })
        };
        let caller = self.caller.clone();
        let calling = Arc::new(move |n: u32| {
            let callee = &registered[n as usize % registered.len()];
            // Each time another peer than the callee's, where there is one.
            let others: Vec<u16> = peers.iter().copied().filter(|peer| *peer != callee.peer).collect();
            let from = *others.get(n as usize / 5 % others.len().max(1)).unwrap_or(&callee.peer);
            Beat {
                peers: vec![from, callee.peer],
                who: callee.aor.clone(),
                outcome: caller.reach(from, &callee.aor),
            }
        });
        Load {
            pacers: vec![
                job("registrations", Duration::from_millis(200), registering),
                job("calls", Duration::from_millis(500), calling),
            ],
            stop,
            tally,
        }
    }
}

impl Load {
    /// Ends it, waits for what is under way, and tells what came of it.
    ///
    /// # Panics
    /// When a pacer did.
    pub fn end(mut self) -> Tally {
        self.stop();
        self.tally.lock().expect("no counter panics").clone()
    }

    fn stop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for pacer in self.pacers.drain(..) {
            pacer.join().expect("no pacer panics");
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Tally {
    /// What failed without the broken peer being part of it.
    pub fn unexplained(&self) -> u32 {
        self.0
            .iter()
            .filter(|((_, is_part, code), _)| !is_part && *code != 200)
            .map(|(_, count)| count)
            .sum()
    }

    /// The status codes with which something failed.
    pub fn codes(&self) -> Vec<u16> {
        self.0
            .keys()
            .map(|(_, _, code)| *code)
            .filter(|code| *code != 200)
            .collect()
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((what, is_part, code), count) in &self.0 {
            let part = if *is_part { " of the broken peer" } else { "" };
            write!(f, " {count}x {code} ({what}{part})")?;
        }
        Ok(())
    }
}

/// Starts `work` in a thread of its own at each beat, and waits for all at the end.
fn pace(stop: &AtomicBool, period: Duration, work: impl Fn(u32) + Send + Sync) {
    let work = &work;
    std::thread::scope(|scope| {
        let mut next = Instant::now();
        for n in 0.. {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            scope.spawn(move || work(n));
            next += period;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    });
}

/// RFC 3261 §21.4.24.
const BUSY: u16 = 486;

/// Between two tries of one call.
const RETRY: Duration = Duration::from_millis(100);
