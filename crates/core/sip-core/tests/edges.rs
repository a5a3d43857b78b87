//! Two scripted agents at two edges: registration with digest, a call, and its end, over a network that loses datagrams.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail by panicking too"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use p2psip_sip_core::aor::{Aor, Domains};
use p2psip_sip_core::digest::{self, Authenticator, Failure, Received, Secrets, Side, Verdict};
use p2psip_sip_core::flow::{Flow, FlowKind, Hop, NodeId, Transport};
use p2psip_sip_core::location::{Binding, Table};
use p2psip_sip_core::message::{Message, Name, Reply};
use p2psip_sip_core::proxy::{
    self, Answer, Authenticated, BranchTimers, Core, Outcome, Output, Query, Resolved, Scope, Target,
};
use p2psip_sip_core::token::TokenKey;
use p2psip_sip_core::ua::{self, Agent, Event, Password};

const DOMAIN: &str = "example.org";
const UNIX_MS: u64 = 1_000_000;

#[allow(
    clippy::disallowed_methods,
    reason = "an instant cannot be made otherwise; the tests only add to it"
)]
fn start() -> Instant {
    Instant::now()
}

fn edge_address(edge: usize) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, edge as u8 + 1], 5060))
}

fn agent_address(agent: usize) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, agent as u8 + 1], 5060))
}

fn node(edge: usize) -> NodeId {
    NodeId([edge as u8 + 1; 16])
}

fn user(agent: usize) -> Aor {
    Aor::new(["alice", "bob"][agent], DOMAIN).unwrap()
}

/// One edge: the cores with the little that a shell adds.
struct Edge {
    place: usize,
    core: Core,
    table: Table,
    authenticator: Authenticator,
}

impl Edge {
    fn new(place: usize, now: Instant) -> Self {
        let domains = Arc::new(Domains::new([DOMAIN.to_owned()]));
        let core = Core::new(proxy::Settings {
            node: node(place),
            home: NodeId([0xee; 16]),
            overlay: "overlay.test".to_owned(),
            domains: Arc::clone(&domains),
            advertise: Vec::new(),
            token_key: Arc::new(TokenKey::new(&[place as u8; 32])),
            seed: [place as u8; 32],
            transactions: p2psip_sip_core::transaction::Settings::default(),
            branches: BranchTimers::default(),
            traces: None,
            max_breadth: 60,
        });
        let authenticator = Authenticator::new(now, digest::Settings::default(), domains, &[place as u8 + 7; 32]);
        Self {
            place,
            core,
            table: Table::default(),
            authenticator,
        }
    }

    /// Authenticates a request, or makes the challenge.
    fn authenticate(&mut self, now: Instant, received: Received<'_>, side: Side) -> Result<Aor, Box<Message>> {
        let request = received.request;
        let aor = Domains::new([DOMAIN.to_owned()])
            .aor(request.from().unwrap().uri)
            .unwrap();
        let verdict = self.authenticator.claim(now, received, side, &aor).map(|claim| {
            self.authenticator
                .judge(request, (&claim, side), &Secrets::of(&aor, "p2psip"))
        });
        match verdict {
            Ok(Verdict::Right) => Ok(aor),
            other => {
                let is_stale = matches!(other, Ok(Verdict::Stale) | Err(Failure::Stale));
                let challenge = self
                    .authenticator
                    .challenge_response(now, received, (DOMAIN, side), is_stale);
                Err(Box::new(challenge))
            }
        }
    }

    fn register(&mut self, now: Instant, request: &Message, flow: &Flow) -> Message {
        let source = flow.remote;
        match self.authenticate(now, Received { request, source }, Side::Registrar) {
            Ok(aor) => match self.table.register(UNIX_MS, &aor, request, flow) {
                Ok(_) => self
                    .table
                    .listing(UNIX_MS, UNIX_MS, &aor)
                    .iter()
                    .fold(Reply::new(request, 200), |reply, (name, value)| {
                        reply.header(*name, value)
                    })
                    .build(),
                Err(refusal) => refusal.to_response(request),
            },
            Err(challenge) => *challenge,
        }
    }

    /// Looks an AOR up: bindings here, and the other edge as the overlay would name it.
    fn resolve(&self, query: &Query) -> Vec<Target> {
        match query {
            Query::Aor { aor, scope } => {
                let mut targets: Vec<Target> = self.table.bindings(UNIX_MS, aor).map(target).collect();
                if *scope != Scope::Local {
                    targets.push(Target::Edge {
                        node: node(1 - self.place),
                        home: None,
                    });
                }
                targets
            }
            Query::Binding(id) => self
                .table
                .find(UNIX_MS, *id)
                .map(|(_, binding)| target(binding))
                .into_iter()
                .collect(),
            Query::Source { transport, address } => {
                let flow = Flow {
                    transport: *transport,
                    ..phone_flow(self.place, *address)
                };
                vec![Target::without_binding(flow)]
            }
        }
    }
}

fn target(binding: &Binding) -> Target {
    Target::Phone {
        binding: Some(binding.id),
        instance: binding.instance.as_ref().map(|(instance, _)| instance.clone()),
        flow: binding.flow(),
        contact: binding.request_uri(),
        q: binding.q,
        path: binding.path.to_string(),
    }
}

fn phone_flow(edge: usize, remote: SocketAddr) -> Flow {
    Flow {
        transport: Transport::Udp,
        local: edge_address(edge),
        remote,
        connection: None,
        kind: FlowKind::Phone,
    }
}

/// Takes the headers that a shell adds to an answer out of a whole response.
fn answer(response: &Message) -> Answer {
    let answer = Answer::new(response.status().unwrap());
    [Name::Contact, Name::WwwAuthenticate, Name::ProxyAuthenticate]
        .into_iter()
        .fold(answer, |answer, name| {
            response
                .lines(name)
                .fold(answer, |answer, line| answer.header(name, line))
        })
}

struct World {
    now: Instant,
    edges: Vec<Edge>,
    agents: Vec<Agent>,
    events: Vec<(usize, Event)>,
    /// Datagrams sent so far; each n-th is lost.
    sent: usize,
    lost_each: usize,
}

impl World {
    fn new(lost_each: usize) -> Self {
        let now = start();
        let agent = |place: usize| {
            Agent::new(ua::Settings {
                aor: user(place),
                password: Password("p2psip".to_owned()),
                local: agent_address(place),
                edge: edge_address(place),
                media: agent_address(place),
                ring: Duration::from_millis(500),
                seed: [place as u8; 32],
            })
        };
        let edges = (0..2).map(|place| Edge::new(place, now)).collect();
        Self {
            now,
            edges,
            agents: (0..2).map(agent).collect(),
            events: Vec::new(),
            sent: 0,
            lost_each,
        }
    }

    fn is_lost(&mut self) -> bool {
        self.sent += 1;
        self.sent.is_multiple_of(self.lost_each)
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            let timeouts = [self.drain_agents(), self.drain_edges()];
            let Some(timeouts) = timeouts.into_iter().collect::<Option<Vec<_>>>() else {
                continue;
            };
            let next = timeouts.into_iter().flatten().min().unwrap_or(end);
            if next >= end {
                self.now = end;
                return;
            }
            self.now = self.now.max(next);
            let now = self.now;
            self.agents.iter_mut().for_each(|agent| agent.handle_timeout(now));
            self.edges.iter_mut().for_each(|edge| edge.core.handle_timeout(now));
        }
    }

    /// Returns the next deadline; nothing when something was sent, so that all have to be asked again.
    fn drain_agents(&mut self) -> Option<Option<Instant>> {
        let mut next: Option<Instant> = None;
        let mut is_quiet = true;
        for place in 0..2 {
            loop {
                match self.agents[place].poll_output() {
                    ua::Output::Send { to, bytes } => {
                        is_quiet = false;
                        if !self.is_lost() {
                            let edge = (0..2)
                                .find(|edge| edge_address(*edge) == to)
                                .expect("agents know edges only");
                            self.deliver(edge, phone_flow(edge, agent_address(place)), bytes);
                        }
                    }
                    ua::Output::Event(event) => self.events.push((place, event)),
                    ua::Output::Timeout(at) => {
                        next = next.into_iter().chain(at).min();
                        break;
                    }
                }
            }
        }
        is_quiet.then_some(next)
    }

    fn drain_edges(&mut self) -> Option<Option<Instant>> {
        let mut next: Option<Instant> = None;
        let mut is_quiet = true;
        for place in 0..2 {
            loop {
                match self.edges[place].core.poll_output() {
                    Output::Timeout(at) => {
                        next = next.into_iter().chain(at).min();
                        break;
                    }
                    output => {
                        is_quiet = false;
                        self.serve(place, output);
                    }
                }
            }
        }
        is_quiet.then_some(next)
    }

    fn serve(&mut self, place: usize, output: Output) {
        let now = self.now;
        match output {
            Output::Send {
                hop: Hop::Flow(flow),
                bytes,
            } => {
                if let Some(agent) = (0..2).find(|agent| agent_address(*agent) == flow.remote)
                    && !self.is_lost()
                {
                    self.agents[agent].handle_datagram(now, flow.local, bytes);
                }
            }
            Output::Send {
                hop: Hop::Edge { node: to, .. },
                bytes,
            } => {
                let other = (0..2).find(|edge| node(*edge) == to).unwrap();
                let flow = Flow {
                    transport: Transport::Tls,
                    kind: FlowKind::Edge(node(place)),
                    ..phone_flow(other, edge_address(place))
                };
                self.deliver(other, flow, bytes);
            }
            Output::Authenticate { id, flow, request, .. } => {
                let edge = &mut self.edges[place];
                let received = Received {
                    request: &request,
                    source: flow.remote,
                };
                let answer = match edge.authenticate(now, received, Side::Proxy) {
                    Ok(aor) => Authenticated::Allowed {
                        binding: edge.table.on_flow(UNIX_MS, &aor, &flow).map(|binding| binding.id),
                        aor,
                        display: String::new(),
                    },
                    Err(challenge) => Authenticated::Refused(answer(&challenge)),
                };
                edge.core.handle_authenticated(now, id, answer);
            }
            Output::Register { id, flow, request, .. } => {
                let edge = &mut self.edges[place];
                let response = edge.register(now, &request, &flow);
                if response.status() == Some(401) {
                    edge.core.handle_not_registered(now, id, &answer(&response));
                } else {
                    edge.core.handle_registered(now, id, &answer(&response));
                }
            }
            Output::Resolve { id, query, .. } => {
                let edge = &mut self.edges[place];
                let targets = edge.resolve(&query);
                edge.core.handle_resolved(now, id, Resolved::Targets(targets));
                edge.core
                    .handle_resolved(now, id, Resolved::Done(Outcome::Complete { is_known: true }));
            }
            _ => {}
        }
    }

    fn deliver(&mut self, edge: usize, flow: Flow, bytes: Bytes) {
        let message = Message::parse_datagram(bytes).unwrap();
        self.edges[edge].core.handle_message(self.now, flow, message);
    }

    fn take_events(&mut self, agent: usize) -> Vec<Event> {
        let (own, others) = std::mem::take(&mut self.events)
            .into_iter()
            .partition(|(place, _)| *place == agent);
        self.events = others;
        own.into_iter().map(|(_, event): (usize, Event)| event).collect()
    }

    fn register_both(&mut self) {
        for agent in 0..2 {
            self.agents[agent].register(self.now).unwrap();
        }
        self.run(Duration::from_secs(30));
        for agent in 0..2 {
            assert_eq!(self.take_events(agent), [Event::Registered { expires: 3600 }]);
        }
    }
}

#[test]
fn a_call_between_two_edges_comes_up_and_ends() {
    // A 2xx and its ACK take four datagrams, so that no call comes up when each 4th is lost.
    for lost_each in [usize::MAX, 11, 7, 5] {
        for hangs_up in 0..2 {
            let mut world = World::new(lost_each);
            world.register_both();
            world.agents[0].call(world.now, "sip:bob@example.org").unwrap();
            world.run(Duration::from_secs(30));
            let caller = world.take_events(0);
            assert_eq!(
                caller.last(),
                Some(&Event::Established),
                "each {lost_each}th lost: {caller:?}"
            );
            let callee = world.take_events(1);
            assert_eq!(
                callee.last(),
                Some(&Event::Established),
                "each {lost_each}th lost: {callee:?}"
            );
            world.agents[hangs_up].hang_up(world.now).unwrap();
            world.run(Duration::from_secs(40));
            assert_eq!(world.take_events(0), [Event::Ended]);
            assert_eq!(world.take_events(1), [Event::Ended]);
            for agent in 0..2 {
                world.agents[agent].unregister(world.now).unwrap();
            }
            world.run(Duration::from_secs(40));
            assert_eq!(world.take_events(0), [Event::Unregistered]);
            assert_eq!(world.take_events(1), [Event::Unregistered]);
            assert!(
                world
                    .edges
                    .iter()
                    .all(|edge| edge.table.is_empty() && edge.core.transactions() == (0, 0))
            );
        }
    }
}

#[test]
fn a_call_is_cancelled_across_two_edges() {
    let mut world = World::new(usize::MAX);
    world.register_both();
    world.agents[0].call(world.now, "sip:bob@example.org").unwrap();
    world.run(Duration::from_millis(200));
    world.agents[0].hang_up(world.now).unwrap();
    world.run(Duration::from_secs(40));
    let failed = Event::CallFailed {
        code: 487,
        reason: "Request Terminated".to_owned(),
    };
    assert_eq!(world.take_events(0).last(), Some(&failed));
    assert_eq!(world.take_events(1).last(), Some(&failed));
}

#[test]
fn a_call_to_nobody_fails() {
    let mut world = World::new(usize::MAX);
    world.agents[0].register(world.now).unwrap();
    world.run(Duration::from_secs(10));
    world.take_events(0);
    world.agents[0].call(world.now, "sip:bob@example.org").unwrap();
    world.run(Duration::from_secs(60));
    let events = world.take_events(0);
    assert!(
        matches!(events.last(), Some(Event::CallFailed { code: 480, .. })),
        "{events:?}"
    );
}
