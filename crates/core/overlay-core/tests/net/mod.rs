//! A few cores wired back to back under virtual time.

pub mod storage;
pub mod values;
pub mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use identity::{Identity, Sign, Signer};
use p2psip_overlay_core::{
    Call, CallId, CallResult, Command, CommandId, ConnectFailure, Core, Incoming, LinkId, Membership, Output, Rules,
    SessionEvent, Settings, Status, Traced,
};
use wire::{Body, Decode, Destination, Encode, FramedMessage, MessageCode, MessageContents, NodeId, Now, Packet};

use self::storage::Storage;
use self::world::World;

/// One way over a link, and the same for storage.
const LATENCY: Duration = Duration::from_millis(5);

pub struct Net {
    pub world: World,
    pub now: Now,
    pub nodes: Vec<Node>,
    events: BTreeMap<(Instant, u64), Event>,
    sequence: u64,
    /// How often each address was dialed.
    pub dialed: BTreeMap<SocketAddr, usize>,
    /// Links that end at a node without a program.
    intruders: BTreeSet<(usize, LinkId)>,
    /// Two sets of nodes between which nothing gets through.
    cut: Option<(Vec<usize>, Vec<usize>)>,
}

pub struct Node {
    pub core: Core,
    /// What others see of it over a link.
    pub identity: Arc<Identity>,
    pub signer: Arc<Signer>,
    pub address: SocketAddr,
    pub storage: Storage,
    pub results: BTreeMap<CallId, CallResult>,
    pub incoming: Vec<Incoming>,
    pub traced: Vec<Traced>,
    /// Neither reads nor acts, but its connections stay open.
    pub is_frozen: bool,
    pub is_dead: bool,
    ignores: Vec<MessageCode>,
    /// How far its calendar is ahead, in milliseconds.
    pub ahead_ms: i64,
    /// For how long it was paused: its other clock has stood still meanwhile.
    pub paused: Duration,
    /// What it would find on its disk at the next start.
    pub membership: Option<Membership>,
    /// Commands that storage has not read, because it hangs.
    held: Option<Vec<(CommandId, Command)>>,
    /// Where each connection ends.
    ends: BTreeMap<LinkId, (usize, LinkId)>,
    wake: Instant,
    next_link: u64,
}

enum Event {
    Connect {
        from: usize,
        link: LinkId,
        address: SocketAddr,
    },
    Accepted {
        at: usize,
        link: LinkId,
        peer: usize,
    },
    Connected {
        at: usize,
        link: LinkId,
        peer: usize,
    },
    ConnectFailed {
        at: usize,
        link: LinkId,
    },
    Bytes {
        at: usize,
        link: LinkId,
        bytes: Bytes,
    },
    Closed {
        at: usize,
        link: LinkId,
    },
    Answer {
        at: usize,
        id: CommandId,
        answer: p2psip_overlay_core::Answer,
    },
}

impl Event {
    fn node(&self) -> usize {
        match self {
            Self::Connect { from, .. } => *from,
            Self::Accepted { at, .. }
            | Self::Connected { at, .. }
            | Self::ConnectFailed { at, .. }
            | Self::Bytes { at, .. }
            | Self::Closed { at, .. }
            | Self::Answer { at, .. } => *at,
        }
    }
}

pub fn address(index: usize) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 6084 + u16::try_from(index).expect("few nodes")))
}

impl Net {
    /// A ring of so many peers, each joined.
    pub fn ring(count: usize) -> Self {
        let mut net = Self::new();
        for _ in 0..count {
            net.start();
        }
        net.eventually(30, "a ring", |net| net.nodes.iter().all(|node| node.status().ready));
        net
    }

    pub fn new() -> Self {
        let now = Now {
            instant: Instant::now(),
            unix_ms: world::EPOCH,
        };
        Self {
            world: World::new(),
            now,
            nodes: Vec::new(),
            events: BTreeMap::new(),
            sequence: 0,
            dialed: BTreeMap::new(),
            intruders: BTreeSet::new(),
            cut: None,
        }
    }

    /// Starts one more node; the first one is the founder, the others join through it.
    pub fn start(&mut self) -> usize {
        let signer = self.world.signer(self.nodes.len());
        self.start_as(signer)
    }

    /// Starts one more node with this key and certificate.
    pub fn start_as(&mut self, signer: Arc<Signer>) -> usize {
        let index = self.nodes.len();
        let core = self.core(index, &signer, None);
        self.nodes.push(Node {
            core,
            identity: self.world.identity(&signer),
            signer,
            address: address(index),
            storage: Storage::default(),
            results: BTreeMap::new(),
            incoming: Vec::new(),
            traced: Vec::new(),
            is_frozen: false,
            is_dead: false,
            ignores: Vec::new(),
            ahead_ms: 0,
            paused: Duration::ZERO,
            membership: None,
            held: None,
            ends: BTreeMap::new(),
            wake: self.now.instant,
            next_link: 1,
        });
        self.drain(index);
        index
    }

    /// Starts a killed node again, with its disk and what it remembers.
    pub fn restart(&mut self, index: usize) {
        let signer = Arc::clone(&self.nodes[index].signer);
        let core = self.core(index, &signer, self.nodes[index].membership.clone());
        let node = &mut self.nodes[index];
        (node.core, node.is_dead) = (core, false);
        node.results.clear();
        node.next_link += 1000;
        self.drain(index);
    }

    fn core(&self, index: usize, signer: &Arc<Signer>, membership: Option<Membership>) -> Core {
        let bootstrap = if index == 0 { Vec::new() } else { vec![address(0)] };
        let settings = Settings {
            node_id: signer.node_id(),
            signer: Arc::clone(signer) as Arc<dyn Sign>,
            verifier: self.world.verifier(),
            document: self.world.document(),
            seed: u64::try_from(index).expect("few nodes") + 7,
            traces: true,
            founder: index == 0,
            membership,
            rules: Rules::default(),
            local_addresses: vec![address(index)],
            bootstrap,
            neighbors: 3,
        };
        let now = self.time_at(index);
        let mut core = Core::new(now, settings);
        core.handle_storage_session(
            now,
            SessionEvent::Up {
                session: 1,
                store_id: [1; 16],
            },
        );
        core
    }

    /// Storage of a node stops to read and to answer, as a stopped process does; or goes on.
    pub fn hang_storage(&mut self, index: usize, does_hang: bool) {
        let held = &mut self.nodes[index].held;
        let waiting = if does_hang {
            held.replace(Vec::new())
        } else {
            held.take()
        };
        for (id, command) in waiting.into_iter().flatten() {
            self.carry_out(index, id, command);
        }
    }

    /// Tells a node what became of its storage session.
    pub fn session(&mut self, index: usize, event: SessionEvent) {
        self.with(index, |core, now| core.handle_storage_session(now, event));
    }

    fn carry_out(&mut self, index: usize, id: CommandId, command: Command) {
        match &mut self.nodes[index].held {
            Some(held) => held.push((id, command)),
            None => {
                let answer = self.nodes[index].storage.execute(command);
                self.later(Event::Answer { at: index, id, answer });
            }
        }
    }

    /// Links a node with one that runs no program: what that says is up to the test, and what it is told it acknowledges.
    pub fn intrude(&mut self, at: usize, signer: &Signer) -> LinkId {
        let link = LinkId(self.nodes[at].next_link);
        self.nodes[at].next_link += 2;
        self.intruders.insert((at, link));
        let identity = self.world.identity(signer);
        let remote = SocketAddr::from(([127, 0, 0, 1], 9));
        self.with(at, |core, now| {
            core.handle_connected(now, link, &identity, remote, false)
        });
        link
    }

    /// Such a node says something.
    pub fn inject(&mut self, at: usize, link: LinkId, packet: &Packet) {
        let message = packet.to_bytes();
        let frame = FramedMessage::Data { sequence: 0, message }.to_bytes();
        self.with(at, |core, now| core.handle_received(now, link, &frame));
    }

    /// A node says something over its link that its program would not say. Returns the length of it.
    pub fn say(&mut self, from: usize, to: usize, id: u64, contents: &MessageContents) -> usize {
        let destination = vec![self.nodes[to].id().into()];
        let packet = self.world.packet(&self.nodes[from].signer, id, destination, contents);
        if let [link, ..] = self.links_between(to, from)[..] {
            self.inject(to, link, &packet);
        }
        packet.to_bytes().len()
    }

    /// From now on a node acknowledges the frames of such requests, and does not answer them.
    pub fn ignore(&mut self, index: usize, codes: &[MessageCode]) {
        self.nodes[index].ignores = codes.to_vec();
    }

    fn is_ignored(&self, at: usize, bytes: &Bytes) -> bool {
        let Ok(FramedMessage::Data { message, .. }) = FramedMessage::from_bytes(bytes) else {
            return false;
        };
        let packet = Packet::from_bytes(&message).expect("honest nodes send packets");
        let is_here = packet.header.destination_list == [self.nodes[at].id().into()];
        let mut ignored = self.nodes[at].ignores.iter();
        is_here && ignored.any(|code| packet.payload.starts_with(&code.0.to_be_bytes()))
    }

    /// Ends a node at once; its connections break.
    pub fn kill(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        node.is_dead = true;
        for (_, (at, link)) in std::mem::take(&mut node.ends) {
            self.later(Event::Closed { at, link });
        }
    }

    /// The links of a node that end at another one.
    pub fn links_between(&self, one: usize, other: usize) -> Vec<LinkId> {
        let ends = self.nodes[one].ends.iter();
        ends.filter(|(_, (at, _))| *at == other)
            .map(|(link, _)| *link)
            .collect()
    }

    /// Breaks the connections between two nodes; both are told, and may connect again.
    pub fn disconnect(&mut self, one: usize, other: usize) {
        for (at, peer) in [(one, other), (other, one)] {
            for link in self.links_between(at, peer) {
                self.later(Event::Closed { at, link });
            }
        }
    }

    /// Lets nothing through between two sets of nodes; nobody is told.
    pub fn cut(&mut self, left: &[usize], right: &[usize]) {
        self.cut = Some((left.to_vec(), right.to_vec()));
    }

    /// Lets everything through again.
    pub fn heal(&mut self) {
        self.cut = None;
    }

    fn is_cut(&self, one: usize, other: usize) -> bool {
        self.cut.as_ref().is_some_and(|(left, right)| {
            left.contains(&one) && right.contains(&other) || left.contains(&other) && right.contains(&one)
        })
    }

    fn time_at(&self, index: usize) -> Now {
        let (ahead, paused) = self
            .nodes
            .get(index)
            .map_or((0, Duration::ZERO), |node| (node.ahead_ms, node.paused));
        Now {
            instant: self.now.instant.checked_sub(paused).expect("not paused for long"),
            unix_ms: self.now.unix_ms.saturating_add_signed(ahead),
        }
    }

    /// Pauses a node as a hypervisor does: nothing happens in it, and only the calendar tells.
    pub fn pause(&mut self, index: usize, time: Duration) {
        self.nodes[index].is_frozen = true;
        self.run(time);
        let node = &mut self.nodes[index];
        node.is_frozen = false;
        node.paused += time;
        node.wake += time;
    }

    /// Does something with a node's core, and what follows from it.
    pub fn with<T>(&mut self, index: usize, act: impl FnOnce(&mut Core, Now) -> T) -> T {
        let now = self.time_at(index);
        let result = act(&mut self.nodes[index].core, now);
        self.drain(index);
        result
    }

    /// Sends a request from a node and waits for its result.
    pub fn ask(&mut self, index: usize, destination: Vec<Destination>, body: &Body) -> CallResult {
        let call = self.call(index, destination, body);
        self.eventually(10, "a result", |net| net.nodes[index].results.contains_key(&call));
        self.nodes[index].results[&call].clone()
    }

    pub fn call(&mut self, index: usize, destination: Vec<Destination>, body: &Body) -> CallId {
        let contents = MessageContents::of(body).to_bytes();
        let deadline = self.time_at(index).instant + Duration::from_secs(8);
        let call = Call {
            destination,
            contents,
            signed: None,
            from_client: None,
            deadline,
            trace: None,
        };
        self.with(index, |core, now| core.call(now, call))
    }

    pub fn eventually(&mut self, seconds: u64, what: &str, mut is_so: impl FnMut(&Self) -> bool) {
        let end = self.now.instant + Duration::from_secs(seconds);
        while !is_so(self) {
            if !self.step(end) {
                let states: Vec<Status> = self
                    .nodes
                    .iter()
                    .filter(|node| !node.is_dead)
                    .map(Node::status)
                    .collect();
                panic!("no {what} within {seconds} s: {states:#?}");
            }
        }
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now.instant + time;
        while self.step(end) {}
        self.advance(end);
    }

    /// The next event or timer before `end`; tells whether there was one.
    fn step(&mut self, end: Instant) -> bool {
        let is_awake = |node: &&Node| !node.is_frozen && !node.is_dead;
        let wake = self.nodes.iter().filter(is_awake).map(|node| node.wake).min();
        let frozen: BTreeSet<usize> = (0..self.nodes.len())
            .filter(|index| self.nodes[*index].is_frozen)
            .collect();
        let event = self
            .events
            .iter()
            .find(|(_, event)| !frozen.contains(&event.node()))
            .map(|(key, _)| *key);
        let next = [wake, event.map(|(at, _)| at)].into_iter().flatten().min();
        let Some(next) = next.filter(|next| *next <= end) else {
            return false;
        };
        self.advance(next);
        match event {
            Some(key) if key.0 <= next => {
                let event = self.events.remove(&key).expect("just found");
                self.happen(event);
            }
            _ => {
                let due = self.nodes.iter().position(|node| is_awake(&node) && node.wake <= next);
                self.with(due.expect("somebody wakes"), |core, now| core.handle_timeout(now));
            }
        }
        true
    }

    fn advance(&mut self, to: Instant) {
        self.now = self.now.plus(to.saturating_duration_since(self.now.instant));
    }

    fn later(&mut self, event: Event) {
        self.sequence += 1;
        self.events.insert((self.now.instant + LATENCY, self.sequence), event);
    }

    fn happen(&mut self, event: Event) {
        let index = event.node();
        if self.nodes[index].is_dead {
            return;
        }
        match event {
            Event::Connect { from, link, address } => {
                let listener = self
                    .nodes
                    .iter()
                    .position(|node| node.address == address && !node.is_dead)
                    .filter(|at| !self.is_cut(from, *at));
                match listener {
                    Some(at) => {
                        let accepted = LinkId(self.nodes[at].next_link);
                        self.nodes[at].next_link += 2;
                        self.nodes[at].ends.insert(accepted, (from, link));
                        self.nodes[from].ends.insert(link, (at, accepted));
                        self.later(Event::Accepted {
                            at,
                            link: accepted,
                            peer: from,
                        });
                        self.later(Event::Connected {
                            at: from,
                            link,
                            peer: at,
                        });
                    }
                    None => self.later(Event::ConnectFailed { at: from, link }),
                }
            }
            Event::Accepted { at, link, peer } => self.connected(at, link, peer, false),
            Event::Connected { at, link, peer } => self.connected(at, link, peer, true),
            Event::ConnectFailed { at, link } => {
                self.with(at, |core, now| {
                    core.handle_connect_failed(now, link, ConnectFailure::Unreachable)
                });
            }
            Event::Bytes { at, link, bytes } if self.is_ignored(at, &bytes) => {
                if let Some((sender, link)) = self.nodes[at].ends.get(&link).copied() {
                    self.acknowledge(sender, link, &bytes);
                }
            }
            Event::Bytes { at, link, bytes } => {
                if self.nodes[at].ends.contains_key(&link) || self.intruders.contains(&(at, link)) {
                    self.with(at, |core, now| core.handle_received(now, link, &bytes));
                }
            }
            Event::Closed { at, link } => {
                if self.nodes[at].ends.remove(&link).is_some() {
                    self.with(at, |core, now| core.handle_disconnected(now, link));
                }
            }
            Event::Answer { at, id, answer } => self.with(at, |core, now| core.handle_storage(now, id, answer)),
        }
    }

    fn acknowledge(&mut self, at: usize, link: LinkId, bytes: &Bytes) {
        if let Ok(FramedMessage::Data { sequence, .. }) = FramedMessage::from_bytes(bytes) {
            let bytes = FramedMessage::Ack { sequence, received: 0 }.to_bytes();
            self.later(Event::Bytes { at, link, bytes });
        }
    }

    fn connected(&mut self, at: usize, link: LinkId, peer: usize, is_initiator: bool) {
        if self.nodes[at].ends.contains_key(&link) {
            let (identity, remote) = (Arc::clone(&self.nodes[peer].identity), self.nodes[peer].address);
            self.with(at, |core, now| {
                core.handle_connected(now, link, &identity, remote, is_initiator)
            });
        }
    }

    fn drain(&mut self, index: usize) {
        loop {
            match self.nodes[index].core.poll_output() {
                Output::Connect { link, address, .. } => {
                    *self.dialed.entry(address).or_default() += 1;
                    self.later(Event::Connect {
                        from: index,
                        link,
                        address,
                    });
                }
                Output::Send { link, bytes } if self.intruders.contains(&(index, link)) => {
                    self.acknowledge(index, link, &bytes);
                }
                Output::Send { link, bytes } => {
                    let end = self.nodes[index].ends.get(&link).copied();
                    if let Some((at, link)) = end.filter(|(at, _)| !self.is_cut(index, *at)) {
                        self.later(Event::Bytes { at, link, bytes });
                    }
                }
                Output::Close { link } => {
                    let end = self.nodes[index].ends.remove(&link);
                    if let Some((at, link)) = end.filter(|(at, _)| !self.is_cut(index, *at)) {
                        self.later(Event::Closed { at, link });
                    }
                }
                Output::Storage(id, command) => self.carry_out(index, id, command),
                Output::Remember(membership) => self.nodes[index].membership = Some(membership),
                Output::CallDone(id, result) => drop(self.nodes[index].results.insert(id, result)),
                Output::Incoming(incoming) => self.nodes[index].incoming.push(incoming),
                Output::Traced(traced) => self.nodes[index].traced.push(traced),
                Output::Changed | Output::Document(_) => {}
                Output::Timeout(at) => {
                    let node = &mut self.nodes[index];
                    node.wake = at + node.paused;
                    return;
                }
            }
        }
    }
}

impl Node {
    pub fn id(&self) -> NodeId {
        self.status().node_id
    }

    pub fn status(&self) -> Status {
        self.core.status()
    }
}
