//! A world of topology plug-ins alone: links, Attach and Join are simulated, Updates travel as values.

mod attach;
mod fault;
mod join;
mod liar;
mod link;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use chord::{Chord, Output, Settings, Standing};
use wire::{ChordUpdate, NodeId};

use crate::{
    invariants::{self, Member, Members, Violation},
    queue::Queue,
    random::Random,
    ring::link::Links,
    scope::Scope,
    sweep::Failure,
};

/// The simulated peers and what is between them.
pub struct World {
    queue: Queue<Event>,
    random: Random,
    settings: Settings,
    nodes: BTreeMap<NodeId, Node>,
    links: Links,
    /// Nodes that may not be peers, and say that they are.
    liars: BTreeSet<NodeId>,
    /// Whether I2 has held once; from then on it must.
    is_i2_due: bool,
    has_faults: bool,
    /// Chance of a crash each half second: some runs are calm, some cruel.
    crash_percent: u64,
    /// No fault before this time.
    calm_until: Duration,
    /// Since when each member is one.
    settled: BTreeMap<NodeId, Duration>,
    log: Vec<String>,
}

/// One process.
struct Node {
    chord: Option<Chord>,
    /// Counts the processes that had this Node-ID.
    life: u32,
    timer: Option<Duration>,
    /// Whom it is handing values to.
    handing: Option<NodeId>,
    /// Counts its tries to join.
    attempt: u32,
}

#[derive(Debug)]
enum Event {
    Timer(NodeId),
    Deliver {
        from: NodeId,
        to: NodeId,
        link: u64,
        message: Message,
    },
    LinkLost {
        node: NodeId,
        peer: NodeId,
        link: u64,
    },
    AttachEnds {
        node: NodeId,
        life: u32,
        id: chord::AttachId,
        found: Option<NodeId>,
    },
    Join {
        node: NodeId,
        attempt: u32,
    },
    Bootstrap {
        node: NodeId,
        attempt: u32,
        bootstrap: NodeId,
    },
    Admitting {
        node: NodeId,
        attempt: u32,
        admitting: Option<NodeId>,
    },
    JoinTimeout {
        node: NodeId,
        attempt: u32,
    },
    HandedOver {
        node: NodeId,
        life: u32,
        joining: NodeId,
    },
    Restart(NodeId),
    Faults,
    Lie(NodeId),
}

#[derive(Clone, Debug)]
enum Message {
    Update(ChordUpdate),
    RequestUpdate,
    Leave,
    Join,
    JoinRefused,
}

impl World {
    /// Makes the world of one seed: the first peer forms a ring, the others join it.
    #[must_use]
    pub fn new(seed: u64, peers: usize, settings: Settings) -> Self {
        let mut random = Random::new(seed);
        let mut queue = Queue::new();
        let mut nodes = BTreeMap::new();
        for index in 0..peers {
            let node = NodeId::from_u128(random.wide());
            nodes.insert(
                node,
                Node {
                    chord: None,
                    life: 0,
                    timer: None,
                    handing: None,
                    attempt: 0,
                },
            );
            let wait = if index == 0 {
                Duration::ZERO
            } else {
                random.millis(100, 5000)
            };
            queue.after(wait, Event::Restart(node));
        }
        queue.at(FAULTS_BEGIN, Event::Faults);
        let links = Links::default();
        let crash_percent = 2 + random.next() % 20;
        Self {
            queue,
            random,
            settings,
            nodes,
            links,
            liars: BTreeSet::new(),
            is_i2_due: false,
            has_faults: true,
            crash_percent,
            calm_until: Duration::ZERO,
            settled: BTreeMap::new(),
            log: Vec::new(),
        }
    }

    /// Runs the faults for the time of the scope, beside so many liars, then lets the ring come to rest and checks that it is
    /// right.
    ///
    /// # Errors
    ///
    /// The first [`Failure`].
    pub fn run(seed: u64, scope: &Scope, settings: Settings, liars: usize) -> Result<(), Failure> {
        let mut world = Self::new(seed, scope.peers, settings);
        world.add_liars(liars);
        world
            .run_until(scope.duration)
            .map_err(|violation| world.failure(seed, violation))?;
        world.has_faults = false;
        world
            .run_until(scope.duration + CALM)
            .map_err(|violation| world.failure(seed, violation))?;
        let members = world.members();
        let quiet = if members.len() < scope.peers {
            Err(Violation::new(
                "P4",
                format!("{} of {} are members", members.len(), scope.peers),
            ))
        } else {
            invariants::check_quiet(&members, world.settings.list_length)
        };
        quiet.map_err(|violation| world.failure(seed, violation))
    }

    fn failure(&mut self, seed: u64, violation: Violation) -> Failure {
        Failure {
            seed,
            elapsed: self.queue.elapsed(),
            violation,
            log: std::mem::take(&mut self.log),
        }
    }

    fn run_until(&mut self, end: Duration) -> Result<(), Violation> {
        while let Some(event) = self.queue.pop(end) {
            self.note(&event);
            self.handle(event);
            self.check()?;
        }
        Ok(())
    }

    fn note(&mut self, event: &Event) {
        if matches!(event, Event::Timer(_)) {
            return;
        }
        if self.log.len() == LOG {
            self.log.remove(0);
        }
        self.log.push(format!("{:?} {event:?}", self.queue.elapsed()));
    }

    fn handle(&mut self, event: Event) {
        let now = self.queue.now();
        match event {
            Event::Timer(node) => self.handle_timer(node),
            Event::Deliver {
                from,
                to,
                link,
                message,
            } => self.deliver(from, to, link, message),
            Event::LinkLost { node, peer, link } => self.lose_link(node, peer, link),
            Event::AttachEnds { node, life, id, found } => self.end_attach((node, life), id, found),
            Event::Join { node, attempt } if self.is_outside(node, attempt) => self.begin_join(node),
            Event::Bootstrap {
                node,
                attempt,
                bootstrap,
            } => self.bootstrap(node, attempt, bootstrap),
            Event::Admitting {
                node,
                attempt,
                admitting,
            } => self.choose(node, attempt, admitting),
            Event::JoinTimeout { node, attempt } => self.time_out_join(node, attempt),
            Event::HandedOver { node, life, joining } => self.hand_over(node, life, joining),
            Event::Restart(node) => self.start(node),
            Event::Faults => self.inject(),
            Event::Lie(liar) => self.lie(liar),
            Event::Join { .. } => {}
        }
        debug_assert!(now.instant <= self.queue.now().instant, "time only moves forward");
    }

    fn check(&mut self) -> Result<(), Violation> {
        let members = self.members();
        invariants::check(&members)?;
        let enough = invariants::unskipped(&members).count() > self.settings.list_length;
        if self.is_i2_due && !enough {
            return Err(Violation::new(
                "I2",
                format!("{} members unskipped", invariants::unskipped(&members).count()),
            ));
        }
        // A list that is under way may still skip a peer that has just joined: start when the first ring is quiet.
        self.is_i2_due |= enough && invariants::check_quiet(&members, self.settings.list_length).is_ok();
        self.settled.retain(|node, _| members.contains_key(node));
        for node in members.keys() {
            self.settled.entry(*node).or_insert(self.queue.elapsed());
        }
        Ok(())
    }

    /// Lists the live members, and who is entering: admitted, and not told yet.
    fn members(&self) -> Members {
        let mut members = Members::new();
        for (node, chord) in self.chords() {
            match chord.standing() {
                Standing::Member => {
                    let (successors, predecessors) = (chord.successors().to_vec(), chord.predecessors().to_vec());
                    members.insert(
                        node,
                        Member {
                            successors,
                            predecessors,
                            after: chord.own_range().map(|range| range.after),
                        },
                    );
                }
                Standing::Joining => {
                    // Only the next member admits; others may still name an earlier process of the node.
                    let next = self
                        .chords()
                        .filter(|(_, peer)| peer.is_member())
                        .min_by_key(|(peer, _)| peer.to_u128().wrapping_sub(node.to_u128()));
                    let admitting = next
                        .filter(|(peer, chord)| chord.predecessors().contains(&node) && self.links.is_up(node, *peer));
                    if let Some((peer, _)) = admitting {
                        members.insert(
                            node,
                            Member {
                                successors: vec![peer],
                                predecessors: Vec::new(),
                                after: None,
                            },
                        );
                    }
                }
                Standing::Outside | Standing::Isolated => {}
            }
        }
        members
    }

    fn chords(&self) -> impl Iterator<Item = (NodeId, &Chord)> {
        self.nodes
            .iter()
            .filter_map(|(node, state)| Some((*node, state.chord.as_ref()?)))
    }

    fn is_alive(&self, node: NodeId, life: u32) -> bool {
        self.nodes
            .get(&node)
            .is_some_and(|state| state.life == life && state.chord.is_some())
    }

    fn start(&mut self, node: NodeId) {
        let now = self.queue.now();
        let seed = self.random.next();
        let is_first = self.nodes.values().all(|state| state.life == 0);
        let Some(state) = self.nodes.get_mut(&node) else { return };
        let mut chord = Chord::new(now, node, self.settings.clone(), seed);
        if is_first {
            chord.form(now);
        }
        (state.chord, state.timer, state.handing) = (Some(chord), None, None);
        state.life += 1;
        if is_first {
            self.drain(node)
        } else {
            self.begin_join(node)
        }
    }

    /// Gives a node something to do, and does what it asks.
    fn with(&mut self, node: NodeId, act: impl FnOnce(&mut Chord)) {
        if let Some(chord) = self.nodes.get_mut(&node).and_then(|state| state.chord.as_mut()) {
            act(chord);
            self.drain(node);
        }
    }

    fn drain(&mut self, node: NodeId) {
        loop {
            let Some(chord) = self.nodes.get_mut(&node).and_then(|state| state.chord.as_mut()) else {
                return;
            };
            match chord.poll_output() {
                Output::Timeout(at) => return self.set_timer(node, self.queue.time_of(at)),
                Output::Attach { id, target, .. } => self.attach(node, id, target),
                Output::SendUpdate { to, update } => self.send(node, to, Message::Update(update)),
                Output::RequestUpdate(to) => self.send(node, to, Message::RequestUpdate),
                Output::SendLeave { to, .. } => self.send(node, to, Message::Leave),
                Output::ReadyToJoin { admitting } => self.send(node, admitting, Message::Join),
                Output::JoinFailed | Output::Isolated => self.join_later(node),
                Output::Joined | Output::RangeChanged { .. } | Output::ReplicasChanged | Output::Probe(_) => {}
            }
        }
    }

    fn set_timer(&mut self, node: NodeId, at: Duration) {
        let Some(state) = self.nodes.get_mut(&node) else { return };
        if state.timer.is_none_or(|timer| at < timer) {
            state.timer = Some(at);
            self.queue.at(at, Event::Timer(node));
        }
    }

    fn handle_timer(&mut self, node: NodeId) {
        let now = self.queue.now();
        let elapsed = self.queue.elapsed();
        let Some(state) = self.nodes.get_mut(&node) else { return };
        // Only the latest timer counts; an earlier one found its work done.
        if state.timer.is_some_and(|timer| timer <= elapsed) {
            state.timer = None;
            self.with(node, |chord| chord.handle_timeout(now));
        }
    }

    fn deliver(&mut self, from: NodeId, to: NodeId, link: u64, message: Message) {
        let now = self.queue.now();
        if !self.links.carries(from, to, link) {
            return;
        }
        match message {
            Message::Update(update) => self.with(to, |chord| chord.handle_update(now, from, &update)),
            Message::RequestUpdate => self.with(to, |chord| chord.send_full_update(now, from)),
            Message::Leave => self.with(to, |chord| chord.handle_leave(now, from)),
            Message::Join => self.handle_join(to, from),
            Message::JoinRefused => self.join_later(to),
        }
    }
}

/// When the first fault may happen: the ring is complete.
const FAULTS_BEGIN: Duration = Duration::from_secs(15);

/// Time without faults before the last checks.
const CALM: Duration = Duration::from_secs(40);

/// Events kept for the report of a failure.
const LOG: usize = 60;
