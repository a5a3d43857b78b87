//! The stage: edges that are real cores, an overlay and registrars that are tables, phones that are inboxes.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::aor::{Aor, Domains};
use crate::flow::{ConnectionId, Flow, FlowKind, Hop, NodeId, Transport};
use crate::message::{Message, Name, respond};
use crate::proxy::{
    Answer, Authenticated, BranchTimers, ContextId, Core, Event, Outcome, Output, Query, ResolveId, Resolved, Scope,
    Settings, Target,
};
use crate::token::{BindingId, TokenKey};
use crate::transaction;

pub(super) const DOMAIN: &str = "example.org";
/// A name that DNS has for each edge.
pub(super) const OTHER_NAME: &str = "proxy.example.net";
/// One way through the network.
const LATENCY: Duration = Duration::from_millis(1);
/// How long the overlay takes to answer a look-up.
const LOOKUP: Duration = Duration::from_millis(50);

/// A phone: its user, its address by number, and the edge it talks to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Phone {
    pub(super) user: &'static str,
    pub(super) number: u8,
    pub(super) edge: usize,
}

impl Phone {
    pub(super) fn address(self) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, self.number], 5060))
    }

    pub(super) fn contact(self) -> String {
        format!("sip:{}@192.0.2.{}:5060", self.user, self.number)
    }

    fn binding(self) -> BindingId {
        BindingId::of_contact(&aor(self.user), &self.contact())
    }

    pub(super) fn flow(self) -> Flow {
        Flow {
            transport: Transport::Udp,
            local: address_of(self.edge),
            remote: self.address(),
            connection: None,
            kind: FlowKind::Phone,
        }
    }
}

/// What is on its way.
enum Delivery {
    ToPhone(SocketAddr, Bytes),
    ToEdge(usize, Flow, Bytes),
    Found(usize, ResolveId, Resolved),
}

pub(super) struct Scene {
    pub(super) start: Instant,
    pub(super) now: Instant,
    pub(super) edges: Vec<Core>,
    wire: BTreeMap<(Instant, u64), Delivery>,
    sent: u64,
    inboxes: BTreeMap<SocketAddr, Vec<(u64, Message)>>,
    pub(super) bindings: Vec<Phone>,
    /// Bindings whose connection is gone.
    pub(super) gone: BTreeSet<Phone>,
    /// How much those are preferred that are not preferred most.
    pub(super) preference: BTreeMap<Phone, u16>,
    /// The proxies through which some are reached.
    pub(super) paths: BTreeMap<Phone, String>,
    /// Those that are flows of one instance.
    pub(super) flows: BTreeSet<Phone>,
    /// What the overlay says: user and edge.
    pub(super) entries: Vec<(&'static str, usize)>,
    /// How the overlay ends its look-ups, if not well.
    pub(super) overlay_fails: Option<Outcome>,
    /// Whether look-ups in the overlay stay open until [`Scene::bring`] and [`Scene::end_look_up`] answer them.
    pub(super) holds_look_ups: bool,
    /// Those that are open.
    pub(super) held: Vec<(usize, ResolveId)>,
    /// Edges that hear nothing.
    pub(super) deaf: BTreeSet<usize>,
    pub(super) silent: Vec<NodeId>,
    pub(super) forgotten: Vec<(Aor, NodeId)>,
    /// Hosts of Route headers that were asked for.
    pub(super) looked_up: Vec<String>,
    pub(super) dropped: Vec<&'static str>,
    /// Requests that were told and whose answer was not.
    pub(super) open: BTreeSet<(usize, ContextId)>,
    /// Calls that were asked for, as from and to.
    pub(super) calls: Vec<[String; 2]>,
    pub(super) between: Vec<Message>,
}

impl Scene {
    #[expect(clippy::disallowed_methods, reason = "any instant will do as zero")]
    pub(super) fn new(edges: usize, phones: &[Phone]) -> Self {
        let start = Instant::now();
        let mut scene = Self {
            start,
            now: start,
            edges: Vec::new(),
            wire: BTreeMap::new(),
            sent: 0,
            inboxes: BTreeMap::new(),
            bindings: phones.to_vec(),
            gone: BTreeSet::new(),
            preference: BTreeMap::new(),
            paths: BTreeMap::new(),
            flows: BTreeSet::new(),
            entries: phones.iter().map(|phone| (phone.user, phone.edge)).collect(),
            overlay_fails: None,
            holds_look_ups: false,
            held: Vec::new(),
            deaf: BTreeSet::new(),
            silent: Vec::new(),
            forgotten: Vec::new(),
            looked_up: Vec::new(),
            dropped: Vec::new(),
            open: BTreeSet::new(),
            calls: Vec::new(),
            between: Vec::new(),
        };
        for edge in 0..edges {
            scene.edges.push(core(edge, 1));
        }
        scene
    }

    /// Restarts an edge: all state in memory is lost, the token key is not.
    pub(super) fn restart(&mut self, edge: usize) {
        self.edges[edge] = core(edge, 2);
        self.open.retain(|(at, _)| *at != edge);
    }

    /// Tells whether nothing is left of what happened.
    pub(super) fn is_forgotten(&self) -> bool {
        let mut edges = self.edges.iter();
        edges.all(|edge| edge.contexts.is_empty() && edge.transactions() == (0, 0))
    }

    /// Sends a message from a phone to its edge.
    pub(super) fn say(&mut self, phone: Phone, message: &Message) {
        self.say_on(phone.flow(), message);
    }

    /// Sends a message over a flow to the edge at its local address.
    pub(super) fn say_on(&mut self, flow: Flow, message: &Message) {
        let edge = (0..self.edges.len())
            .find(|edge| address_of(*edge) == flow.local)
            .unwrap();
        self.post(LATENCY, Delivery::ToEdge(edge, flow, message.bytes().clone()));
    }

    /// Answers a request as its phone.
    pub(super) fn answer(&mut self, phone: Phone, request: &Message, code: u16) -> Message {
        let contact = format!("<{}>", phone.contact());
        let mut response = respond(request, code, "", &[(Name::Contact, &contact)]);
        // What forms a dialog carries the route back (RFC 3261 §12.1.1).
        let mut edit = crate::message::Edit::new(&response);
        for line in request.lines(Name::RecordRoute) {
            edit = edit.add(Name::RecordRoute, line);
        }
        response = edit.apply();
        self.say(phone, &response);
        response
    }

    /// Returns what a phone has heard since it was last asked.
    pub(super) fn heard(&mut self, phone: Phone) -> Vec<Message> {
        let inbox = self.inboxes.remove(&phone.address()).unwrap_or_default();
        inbox.into_iter().map(|(_, message)| message).collect()
    }

    /// Returns the status codes and methods that a phone has heard, with their time in milliseconds.
    pub(super) fn log(&mut self, phone: Phone) -> Vec<(u64, String)> {
        let inbox = self.inboxes.remove(&phone.address()).unwrap_or_default();
        inbox.into_iter().map(|(at, message)| (at, name_of(&message))).collect()
    }

    /// Returns when a phone first heard this, in milliseconds.
    pub(super) fn first(&mut self, phone: Phone, name: &str) -> u64 {
        let log = self.log(phone);
        log.iter()
            .find(|entry| entry.1 == name)
            .unwrap_or_else(|| panic!("no {name} in {log:?}"))
            .0
    }

    pub(super) fn names(&mut self, phone: Phone) -> Vec<String> {
        self.log(phone).into_iter().map(|(_, name)| name).collect()
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, millis: u64) {
        let end = self.now + Duration::from_millis(millis);
        loop {
            self.drain();
            let delivery = self.wire.first_key_value().map(|(key, _)| key.0);
            let timers = self.edges.iter_mut().filter_map(|edge| match edge.poll_output() {
                Output::Timeout(at) => at,
                _ => panic!("drained"),
            });
            let Some(next) = delivery.into_iter().chain(timers).min().filter(|next| *next <= end) else {
                break;
            };
            self.now = self.now.max(next);
            if let Some(entry) = self.wire.first_entry().filter(|entry| entry.key().0 <= self.now) {
                let delivery = entry.remove();
                self.deliver(delivery);
            } else {
                for edge in &mut self.edges {
                    edge.handle_timeout(self.now);
                }
            }
        }
        self.now = end;
    }

    fn deliver(&mut self, delivery: Delivery) {
        let now = self.now;
        match delivery {
            Delivery::ToPhone(address, bytes) => {
                let at = u64::try_from((now - self.start).as_millis()).unwrap();
                let message = Message::parse_datagram(bytes).unwrap();
                self.inboxes.entry(address).or_default().push((at, message));
            }
            Delivery::ToEdge(edge, _, _) if self.deaf.contains(&edge) => {}
            Delivery::ToEdge(edge, flow, bytes) => {
                self.edges[edge].handle_message(now, flow, Message::parse_datagram(bytes).unwrap());
            }
            Delivery::Found(edge, id, resolved) => self.edges[edge].handle_resolved(now, id, resolved),
        }
    }

    fn drain(&mut self) {
        for edge in 0..self.edges.len() {
            loop {
                match self.edges[edge].poll_output() {
                    Output::Timeout(_) => break,
                    output => self.perform(edge, output),
                }
            }
        }
    }

    fn perform(&mut self, edge: usize, output: Output) {
        let now = self.now;
        match output {
            Output::Send {
                hop: Hop::Flow(flow),
                bytes,
            } => self.post(LATENCY, Delivery::ToPhone(flow.remote, bytes)),
            Output::Send {
                hop: Hop::Edge { node, .. },
                bytes,
            } => {
                let to = usize::from(node.0[0]) - 1;
                self.between.push(Message::parse_datagram(bytes.clone()).unwrap());
                self.post(LATENCY, Delivery::ToEdge(to, edge_flow(edge, to), bytes));
            }
            Output::Authenticate { id, flow, request, .. } => {
                let mut answer = self.authenticate(&flow, &request);
                let is_allowed = matches!(answer, Authenticated::Allowed { .. });
                if let Some(host) = self.edges[edge].unknown_route(&flow, &request).filter(|_| is_allowed) {
                    self.looked_up.push(host.clone());
                    if host != OTHER_NAME {
                        answer = Authenticated::Refused(Answer::new(403).reason("Route Not Allowed"));
                    }
                }
                self.edges[edge].handle_authenticated(now, id, answer);
            }
            Output::Register { id, .. } => self.edges[edge].handle_registered(now, id, &Answer::new(200)),
            Output::Resolve { id, query, .. } => self.look_up(edge, id, query),
            Output::Forget { aor, node } => self.forgotten.push((aor, node)),
            Output::EdgeSilent(node) => self.silent.push(node),
            Output::Event(Event::Dropped { why, .. }) => self.dropped.push(why),
            Output::Event(Event::Received { context, call, .. }) => {
                self.open.insert((edge, context));
                self.calls.extend(call.map(|call| [call.from, call.to]));
            }
            Output::Event(Event::Answered { context, .. } | Event::Unanswered(context)) => {
                self.open.remove(&(edge, context));
            }
            Output::Event(_) | Output::Abandon(_) => {}
            Output::Timeout(_) => unreachable!("ends the round"),
        }
    }

    /// Takes the user name in the credentials for who it is.
    fn authenticate(&self, flow: &Flow, request: &Message) -> Authenticated {
        match request.header(Name::ProxyAuthorization) {
            Some(user) => {
                let phone = self.bindings.iter().find(|phone| phone.address() == flow.remote);
                let (aor, binding) = (aor(user), phone.map(|phone| phone.binding()));
                Authenticated::Allowed {
                    aor,
                    display: "The \"Name\"".into(),
                    binding,
                }
            }
            None => Authenticated::Refused(Answer::new(407).header(Name::ProxyAuthenticate, "Digest realm=\"x\"")),
        }
    }

    fn look_up(&mut self, edge: usize, id: ResolveId, query: Query) {
        let now = self.now;
        let target = |phone: &Phone| Target::Phone {
            binding: Some(phone.binding()),
            instance: self.flows.contains(phone).then(|| "urn:uuid:1".into()),
            flow: (!self.gone.contains(phone)).then(|| phone.flow()),
            contact: phone.contact(),
            q: self.preference.get(phone).copied().unwrap_or(1000),
            path: self.paths.get(phone).cloned().unwrap_or_default(),
        };
        let own = self.bindings.iter().filter(|phone| phone.edge == edge);
        let (targets, scope) = match &query {
            Query::Aor { aor, scope } => {
                let mine = own.filter(|phone| phone.user == aor.user() && *scope != Scope::OverlayAgain);
                (mine.map(target).collect(), *scope)
            }
            Query::Binding(binding) => (
                own.filter(|phone| phone.binding() == *binding).map(target).collect(),
                Scope::Local,
            ),
            Query::Source { transport, address } => {
                let flow = Flow {
                    transport: *transport,
                    remote: *address,
                    ..phone_flow(edge)
                };
                (vec![Target::without_binding(flow)], Scope::Local)
            }
        };
        self.edges[edge].handle_resolved(now, id, Resolved::Targets(targets));
        let done = |is_known| Resolved::Done(Outcome::Complete { is_known });
        let Query::Aor { aor, .. } = query else {
            return self.edges[edge].handle_resolved(now, id, done(true));
        };
        if scope == Scope::Local {
            return self.edges[edge].handle_resolved(now, id, done(true));
        }
        if self.holds_look_ups {
            return self.held.push((edge, id));
        }
        if let Some(outcome) = self.overlay_fails {
            return self.post(LOOKUP, Delivery::Found(edge, id, Resolved::Done(outcome)));
        }
        let entries = self.entries.iter().filter(|(user, _)| *user == aor.user());
        let targets: Vec<Target> = entries
            .map(|(_, edge)| Target::Edge {
                node: node_of(*edge),
                home: Some(NodeId([0xee; 16])),
            })
            .collect();
        let is_known = !targets.is_empty() || self.bindings.iter().any(|phone| phone.user == aor.user());
        self.post(LOOKUP, Delivery::Found(edge, id, Resolved::Targets(targets)));
        self.post(LOOKUP, Delivery::Found(edge, id, done(is_known)));
    }

    /// Answers the last look-up that is held with these edges; it stays open.
    pub(super) fn bring(&mut self, edges: &[usize]) {
        let (at, id) = *self.held.last().unwrap();
        let targets = edges.iter().map(|edge| Target::Edge {
            node: node_of(*edge),
            home: Some(NodeId([0xee; 16])),
        });
        self.edges[at].handle_resolved(self.now, id, Resolved::Targets(targets.collect()));
    }

    /// Ends the last look-up that is held.
    pub(super) fn end_look_up(&mut self, outcome: Outcome) {
        let (at, id) = self.held.pop().unwrap();
        self.edges[at].handle_resolved(self.now, id, Resolved::Done(outcome));
    }

    fn post(&mut self, after: Duration, delivery: Delivery) {
        self.sent += 1;
        self.wire.insert((self.now + after, self.sent), delivery);
    }
}

/// Writes a request of a phone, with credentials.
pub(super) fn request(method: &str, from: Phone, to: &str, more: &str) -> Message {
    let (user, address) = (from.user, from.address());
    let text = format!(
        "{method} sip:{to}@{DOMAIN} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {address};branch=z9hG4bK{user}{method};rport\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:{user}@{DOMAIN}>;tag={user}\r\n\
         To: <sip:{to}@{DOMAIN}>\r\n\
         Call-ID: call-of-{user}\r\n\
         CSeq: 1 {method}\r\n\
         Contact: <{}>\r\n\
         Proxy-Authorization: {user}\r\n\
         {more}\
         Content-Length: 0\r\n\r\n",
        from.contact()
    );
    Message::parse_datagram(text.into()).unwrap()
}

pub(super) fn invite(from: Phone, to: &str) -> Message {
    request("INVITE", from, to, "")
}

/// Writes a request within the dialog that `success` made, from its caller or its callee.
pub(super) fn in_dialog(method: &str, number: u32, invite: &Message, success: &Message, is_caller: bool) -> Message {
    let mut routes: Vec<&str> = success.values(Name::RecordRoute).collect();
    let (from, to) = (success.header(Name::From).unwrap(), success.header(Name::To).unwrap());
    let contact = |message: &Message| {
        message
            .header(Name::Contact)
            .unwrap()
            .trim_matches(['<', '>'])
            .to_owned()
    };
    let (target, source, from, to) = if is_caller {
        routes.reverse();
        (contact(success), contact(invite), from, to)
    } else {
        (contact(invite), contact(success), to, from)
    };
    let host = source.split('@').nth(1).unwrap();
    let call_id = invite.call_id().unwrap();
    let route = routes.join(", ");
    let text = format!(
        "{method} {target} SIP/2.0\r\n\
         Via: SIP/2.0/UDP {host};branch=z9hG4bKdialog{method}{number}{is_caller};rport\r\n\
         Max-Forwards: 70\r\n\
         Route: {route}\r\n\
         From: {from}\r\n\
         To: {to}\r\n\
         Call-ID: {call_id}\r\n\
         CSeq: {number} {method}\r\n\
         Content-Length: 0\r\n\r\n"
    );
    Message::parse_datagram(text.into()).unwrap()
}

/// Names a message by its method or status code.
pub(super) fn name_of(message: &Message) -> String {
    message
        .status()
        .map_or_else(|| message.method().as_str().to_owned(), |status| status.to_string())
}

pub(super) fn aor(user: &str) -> Aor {
    Aor::new(user, DOMAIN).unwrap()
}

pub(super) fn node_of(edge: usize) -> NodeId {
    NodeId([u8::try_from(edge).unwrap() + 1; 16])
}

fn address_of(edge: usize) -> SocketAddr {
    SocketAddr::from(([198, 51, 100, u8::try_from(edge).unwrap() + 1], 5060))
}

fn phone_flow(edge: usize) -> Flow {
    Phone {
        user: "",
        number: 0,
        edge,
    }
    .flow()
}

/// The connection on which one edge hears another.
pub(super) fn edge_flow(from: usize, to: usize) -> Flow {
    Flow {
        transport: Transport::Tls,
        remote: SocketAddr::from(([203, 0, 113, 1], 40_000)),
        connection: Some(ConnectionId(7)),
        kind: FlowKind::Edge(node_of(from)),
        ..phone_flow(to)
    }
}

fn core(edge: usize, life: u8) -> Core {
    let domains = Domains::new([DOMAIN.to_owned()]).with_address(address_of(edge).ip());
    Core::new(Settings {
        node: node_of(edge),
        home: NodeId([0xee; 16]),
        overlay: "overlay-of-thirty.example.test".into(),
        domains: Arc::new(domains),
        advertise: Vec::new(),
        token_key: Arc::new(TokenKey::new(&[u8::try_from(edge).unwrap(); 32])),
        seed: [life; 32],
        transactions: transaction::Settings::default(),
        branches: BranchTimers::default(),
        traces: Some(|_| true),
        max_breadth: 60,
    })
}
