//! Whole nodes: `overlay-core` and `storage-core` of many peers, with certificates, bytes and disks.
//!
//! Both cores of a peer crash alone; what was not flushed is lost with the power; links are late, or cut, or end. Users
//! store, delete and read registrations all the time. After each event the ring's invariants hold; each read gives what
//! was acknowledged before it began, or something newer; at the end everything is where it should be.

mod check;
pub mod credentials;
mod disk;
mod fault;
mod host;
mod ladder;
mod network;
mod plan;
mod seam;
mod slot;
mod view;
mod workload;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
    time::Duration,
};

use bytes::Bytes;
use overlay_core::{LinkId, Rules};
use wire::NodeId;

pub use self::workload::Tally;
use self::{
    credentials::Credentials,
    host::Host,
    network::{Network, Side, WireId},
    plan::Plan,
    workload::Model,
};
use crate::{
    invariants::{Member, Violation},
    log,
    queue::Queue,
    random::Random,
    scope::Scope,
    sweep::Failure,
};

/// The simulated peers, and what is between them.
pub struct World<'a> {
    credentials: &'a Credentials,
    queue: Queue<Event>,
    random: Random,
    hosts: BTreeMap<NodeId, Host>,
    network: Network,
    model: Model,
    /// What each live overlay says of its tables.
    views: BTreeMap<NodeId, View>,
    has_new_view: bool,
    /// Since when each member is one.
    settled: BTreeMap<NodeId, Duration>,
    is_i2_due: bool,
    has_faults: bool,
    plan: Plan,
    rules: Rules,
    /// The ring may be several from now on, or none; a deadline says until when.
    torn_until: Option<Duration>,
    fault_percent: u64,
    calm_until: Duration,
    disks_lost: usize,
    /// Peers without storage, which may be about to leave the ring, and until when.
    ailing: BTreeMap<NodeId, Duration>,
    /// Peers that were out of order since all was well the last time.
    troubled: BTreeSet<NodeId>,
    /// Whether more peers may be in trouble than there are copies besides one: then a value may be out of reach until
    /// the end.
    is_cruel: bool,
    /// What storages said when they were asked directly.
    own_answers: BTreeMap<u64, storage_core::Answer>,
    violation: Option<Violation>,
    log: Vec<String>,
    /// Folds all that happened into a number, to compare two runs.
    digest: u64,
    events: u64,
}

#[derive(Clone, PartialEq)]
struct View {
    is_member: bool,
    /// The peer that is to let it in.
    admitting: Option<NodeId>,
    member: Member,
}

#[derive(Debug)]
enum Event {
    Dial {
        host: NodeId,
        life: u32,
        link: LinkId,
        address: SocketAddr,
        expected: Option<NodeId>,
    },
    Opened {
        wire: WireId,
    },
    Bytes {
        wire: WireId,
        side: Side,
        bytes: Bytes,
    },
    Closed {
        wire: WireId,
        side: Side,
    },
    OverlayTimer {
        host: NodeId,
        life: u32,
        at: Duration,
    },
    StorageTimer {
        host: NodeId,
        life: u32,
        at: Duration,
    },
    Session {
        host: NodeId,
        lives: (u32, u32),
    },
    Command {
        host: NodeId,
        session: u64,
        id: storage_core::CommandId,
        command: storage_core::Command,
    },
    Answer {
        host: NodeId,
        session: u64,
        id: overlay_core::CommandId,
        answer: overlay_core::Answer,
    },
    Flush {
        host: NodeId,
        life: u32,
    },
    StartOverlay(NodeId),
    StartStorage(NodeId),
    Operate,
    Faults,
    Calamity,
    Heal,
}

/// What a good run did.
#[derive(Clone, Copy, Debug)]
pub struct Summary {
    /// Equal for two runs in which the same happened.
    pub digest: u64,
    /// Events handled.
    pub events: u64,
    /// Outcomes of calls.
    pub tally: Tally,
}

impl<'a> World<'a> {
    /// Runs one seed: the overlay forms, faults happen for the time of the scope, everything comes back and to rest.
    ///
    /// # Errors
    /// The first [`Failure`].
    pub fn run(seed: u64, scope: &Scope, credentials: &'a Credentials) -> Result<Summary, Failure> {
        Self::run_with(seed, scope, credentials, Rules::default())
    }

    /// The same with some of the rules switched off.
    ///
    /// # Errors
    /// The first [`Failure`], which is hoped for.
    pub fn run_with(seed: u64, scope: &Scope, credentials: &'a Credentials, rules: Rules) -> Result<Summary, Failure> {
        let mut world = Self::new(seed, scope.peers, credentials);
        world.rules = rules;
        match world.live(scope) {
            Ok(()) => Ok(Summary {
                digest: world.digest,
                events: world.events,
                tally: world.model.tally,
            }),
            Err(violation) => {
                world.describe();
                Err(Failure {
                    seed,
                    elapsed: world.queue.elapsed(),
                    violation,
                    log: world.log,
                })
            }
        }
    }

    fn new(seed: u64, peers: usize, credentials: &'a Credentials) -> Self {
        let mut random = Random::new(seed);
        let mut queue = Queue::new();
        let mut hosts = BTreeMap::new();
        let mut pool: Vec<usize> = (0..POOL.max(peers)).collect();
        for number in 0..peers {
            let index = pool.swap_remove(random.below(pool.len()));
            let peer = credentials.peer(index);
            let wait = if number == 0 {
                Duration::ZERO
            } else {
                random.millis(500, 5000)
            };
            queue.after(wait, Event::StartStorage(peer.node_id));
            queue.after(wait, Event::StartOverlay(peer.node_id));
            hosts.insert(peer.node_id, Host::new(peer, index));
        }
        queue.at(BEGINS, Event::Operate);
        queue.at(BEGINS, Event::Faults);
        let plan = Plan::of(seed);
        if plan != Plan::Faults {
            queue.at(CALAMITY, Event::Calamity);
        }
        let fault_percent = 4 + random.next() % 30;
        let is_cruel = random.is_lucky(50) || plan != Plan::Faults;
        Self {
            credentials,
            queue,
            random,
            hosts,
            network: Network::default(),
            model: Model::default(),
            views: BTreeMap::new(),
            has_new_view: false,
            settled: BTreeMap::new(),
            is_i2_due: false,
            has_faults: true,
            plan,
            rules: Rules::default(),
            torn_until: None,
            fault_percent,
            calm_until: Duration::ZERO,
            disks_lost: 0,
            ailing: BTreeMap::new(),
            troubled: BTreeSet::new(),
            is_cruel,
            own_answers: BTreeMap::new(),
            violation: None,
            log: Vec::new(),
            digest: 0,
            events: 0,
        }
    }

    fn live(&mut self, scope: &Scope) -> Result<(), Violation> {
        self.run_until(BEGINS.saturating_sub(Duration::from_millis(1)))?;
        self.check_complete(scope.peers)?;
        self.run_until(scope.duration)?;
        self.has_faults = false;
        self.run_until(scope.duration + CALM)?;
        self.check_rest(scope)?;
        // Minutes of quiet cost as much as the faults before: one run of four goes on.
        if self.random.is_lucky(75) {
            return Ok(());
        }
        self.check_surplus()?;
        self.lose_disks();
        let end = self.queue.elapsed() + CALM;
        self.run_until(end)?;
        self.check_rest(scope)
    }

    fn run_until(&mut self, end: Duration) -> Result<(), Violation> {
        while let Some(event) = self.queue.pop(end) {
            self.fold(&event);
            log::set_elapsed(self.queue.elapsed());
            self.handle(event);
            self.check_ring()?;
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
        }
        Ok(())
    }

    fn fold(&mut self, event: &Event) {
        self.events += 1;
        let what = match event {
            Event::Bytes { bytes, .. } => bytes
                .iter()
                .fold(0, |sum: u64, octet| sum.rotate_left(5) ^ u64::from(*octet)),
            _ => 1,
        };
        let time = u64::try_from(self.queue.elapsed().as_micros()).unwrap_or(0);
        self.digest = (self.digest.rotate_left(7) ^ what ^ time).wrapping_mul(0x0100_0000_01b3);
    }

    fn handle(&mut self, event: Event) {
        let now = self.queue.now();
        match event {
            Event::Dial {
                host,
                life,
                link,
                address,
                expected,
            } => self.handle_dial((host, life), link, address, expected),
            Event::Opened { wire } => self.opened(wire),
            Event::Bytes { wire, side, bytes } => self.receive(wire, side, &bytes),
            Event::Closed { wire, side } => self.closed(wire, side),
            Event::OverlayTimer { host, life, at } => self.overlay_timer(host, life, at),
            Event::StorageTimer { host, life, at } => self.storage_timer(host, life, at),
            Event::Session { host, lives } => self.session_opened(host, lives),
            Event::Command {
                host,
                session,
                id,
                command,
            } if self.has_session(host, session) => match self.hangs_until(host) {
                Some(until) => {
                    let event = Event::Command {
                        host,
                        session,
                        id,
                        command,
                    };
                    self.queue.at(until, event);
                }
                None => {
                    ladder::show(host, &command, self.credentials);
                    self.with_storage(host, |core| core.handle_command(now, id, command));
                }
            },
            Event::Answer {
                host,
                session,
                id,
                answer,
            } if self.has_session(host, session) => {
                self.with_overlay(host, |core| core.handle_storage(now, id, answer));
            }
            Event::Command { .. } | Event::Answer { .. } => {}
            Event::Flush { host, life } => match self.hangs_until(host) {
                Some(until) => self.queue.at(until, Event::Flush { host, life }),
                None => self.flush(host, life),
            },
            Event::StartOverlay(host) => self.start_overlay(host),
            Event::StartStorage(host) => self.start_storage(host),
            Event::Operate => self.operate(),
            Event::Faults => self.inject(),
            Event::Calamity => self.strike(),
            Event::Heal => self.heal(),
        }
    }

    /// Writes into the log that a failure shows.
    fn note(&mut self, what: impl FnOnce() -> String) {
        let what = what();
        tracing::info!("{what}");
        self.log.push(format!("{:?} {what}", self.queue.elapsed()));
    }

    /// A message takes some milliseconds, and now and then much longer.
    fn latency(&mut self) -> Duration {
        if self.random.next().is_multiple_of(500) {
            self.random.millis(50, 200)
        } else {
            self.random.millis(1, 20)
        }
    }
}

/// Peers to choose from: their places on the ring differ from seed to seed.
const POOL: usize = 64;

/// When users and faults begin: the overlay is complete.
const BEGINS: Duration = Duration::from_secs(20);

/// When the one thing happens that a run with a plan has besides its faults.
const CALAMITY: Duration = Duration::from_secs(40);

/// Time without faults before the last checks.
const CALM: Duration = Duration::from_secs(40);
