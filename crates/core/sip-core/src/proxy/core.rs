//! The core itself: its tables, its inputs, and the pump between transactions and contexts.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::api::{
    Answer, AuthenticateId, Authenticated, Event, Outcome, Output, Query, RegisterId, ResolveId, Resolved,
};
use super::branch::BranchId;
use super::context::{Context, ContextId};
use super::settings::{Advertise, Settings};
use crate::aor::Domains;
use crate::flow::{Flow, Hop, NodeId};
use crate::location;
use crate::message::{Message, respond};
use crate::transaction::{self, ClientId, Layer, ServerId};

/// The proxy of one edge, or of one share of its calls: all messages with one Call-ID must meet the same core.
#[derive(Debug)]
pub struct Core {
    pub(super) settings: Settings,
    /// The edge's host name toward other edges.
    pub(super) host: String,
    pub(super) layer: Layer,
    pub(super) contexts: BTreeMap<ContextId, Context>,
    pub(super) by_server: HashMap<ServerId, ContextId>,
    pub(super) by_client: HashMap<ClientId, (ContextId, BranchId)>,
    pub(super) resolves: HashMap<ResolveId, LookUp>,
    pub(super) authentications: HashMap<AuthenticateId, ContextId>,
    pub(super) registers: HashMap<RegisterId, Registering>,
    /// Deadlines of contexts and their branches.
    pub(super) deadlines: BTreeSet<(Instant, ContextId, Due)>,
    /// When the look-ups end at the latest.
    look_ups: BTreeSet<(Instant, ResolveId)>,
    outputs: VecDeque<Output>,
    next_id: u64,
    /// Seconds of Retry-After while the edge takes no new work.
    pub(super) draining: Option<u32>,
}

/// What is due at a deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Due {
    /// A branch was silent too long, or rang too long (Timer C).
    Branch(BranchId),
    /// The targets that are less preferred have their turn.
    Turn,
}

/// A look-up that the shell was asked for.
#[derive(Debug)]
pub(super) struct LookUp {
    pub(super) waiting: Waiting,
    until: Instant,
}

/// What waits for a look-up.
#[derive(Debug)]
pub(super) enum Waiting {
    /// A request in its context.
    Context(ContextId),
    /// An ACK to a 2xx, which has no transaction.
    Ack(Box<LooseAck>),
}

/// An ACK that waits for the flow to its callee.
#[derive(Debug)]
pub(super) struct LooseAck {
    pub(super) flow: Flow,
    pub(super) message: Message,
    pub(super) popped: usize,
    /// Whether Route values are left.
    pub(super) is_routed_on: bool,
}

/// A REGISTER at the registrar.
#[derive(Debug)]
pub(super) struct Registering {
    pub(super) server: ServerId,
    pub(super) request: Message,
    pub(super) context: ContextId,
}

impl Core {
    /// Makes a proxy without any state.
    pub fn new(settings: Settings) -> Self {
        Self {
            host: settings.host(),
            layer: Layer::new(settings.transactions),
            settings,
            contexts: BTreeMap::new(),
            by_server: HashMap::new(),
            by_client: HashMap::new(),
            resolves: HashMap::new(),
            authentications: HashMap::new(),
            registers: HashMap::new(),
            deadlines: BTreeSet::new(),
            look_ups: BTreeSet::new(),
            outputs: VecDeque::new(),
            next_id: 0,
            draining: None,
        }
    }

    /// Takes other names and addresses of this edge: the machine got another one.
    pub fn set_own(&mut self, domains: Arc<Domains>, advertise: Vec<Advertise>) {
        self.settings.domains = domains;
        self.settings.advertise = advertise;
    }

    /// Takes a message from the network.
    pub fn handle_message(&mut self, now: Instant, flow: Flow, message: Message) {
        if message.is_request() {
            self.handle_request(now, flow, message);
        } else {
            self.handle_response(now, &flow, message);
        }
        self.pump(now);
    }

    /// Takes the answer to [`Output::Authenticate`].
    pub fn handle_authenticated(&mut self, now: Instant, id: AuthenticateId, answer: Authenticated) {
        if let Some(context) = self.authentications.remove(&id) {
            self.authenticated(now, context, answer);
        }
        self.pump(now);
    }

    /// Takes the registrar's answer to [`Output::Register`], where the user was authenticated.
    pub fn handle_registered(&mut self, now: Instant, id: RegisterId, answer: &Answer) {
        self.registered(id, answer, |layer, server, bytes| {
            layer.respond(now, server, answer.code, bytes)
        });
        self.pump(now);
    }

    /// Takes the registrar's answer to [`Output::Register`], where it is not known who sent the request: it is answered
    /// once and forgotten.
    pub fn handle_not_registered(&mut self, now: Instant, id: RegisterId, answer: &Answer) {
        self.registered(id, answer, |layer, server, bytes| {
            layer.respond_once(now, server, answer.code, bytes)
        });
        self.pump(now);
    }

    fn registered(&mut self, id: RegisterId, answer: &Answer, respond: impl FnOnce(&mut Layer, ServerId, Bytes)) {
        let Some(registering) = self.registers.remove(&id) else {
            return;
        };
        let echoed = match answer.code {
            200..300 => location::echo(&registering.request),
            _ => Vec::new(),
        };
        let answer = echoed
            .into_iter()
            .fold(answer.clone(), |answer, (name, value)| answer.header(name, value));
        let response = reply(&registering.request, &answer);
        respond(&mut self.layer, registering.server, response.bytes().clone());
        self.event(Event::Answered {
            context: registering.context,
            status: answer.code,
        });
    }

    /// Takes an answer to [`Output::Resolve`].
    pub fn handle_resolved(&mut self, now: Instant, id: ResolveId, answer: Resolved) {
        self.resolved(now, id, answer);
        self.pump(now);
    }

    /// Takes the news that something cannot be sent there.
    pub fn handle_unreachable(&mut self, now: Instant, hop: &Hop) {
        self.layer.handle_unreachable(hop);
        self.pump(now);
    }

    /// Takes the news that the connection to an edge is lost; what waits for a first response is sent once more.
    pub fn handle_edge_lost(&mut self, now: Instant, node: NodeId) {
        self.layer.handle_edge_lost(node);
        self.pump(now);
    }

    /// Takes the news that a connection to an edge stands: what waits for its first response has been sent only now.
    pub fn handle_edge_connected(&mut self, now: Instant, node: NodeId) {
        self.restart_silence(now, node);
        self.pump(now);
    }

    /// Handles passed deadlines.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.layer.handle_timeout(now);
        self.pump(now);
        while let Some(row) = self.deadlines.first().copied().filter(|row| row.0 <= now) {
            self.deadlines.remove(&row);
            match row.2 {
                Due::Branch(branch) => self.branch_deadline(now, row.1, branch),
                Due::Turn => self.turn_over(now, row.1),
            }
            self.pump(now);
        }
        while let Some((_, id)) = self.look_ups.first().copied().filter(|row| row.0 <= now) {
            self.output(Output::Abandon(id));
            self.resolved(now, id, Resolved::Done(Outcome::TimedOut));
            self.pump(now);
        }
    }

    /// Takes the peer that the edge is attached to from now on; calls that were set up before keep naming the old one.
    pub fn set_home(&mut self, home: NodeId) {
        self.settings.home = home;
    }

    /// Takes no new registrations and calls from phones any more, and tells them to come back after so many seconds;
    /// what has begun goes on. `None` ends that.
    pub fn set_draining(&mut self, retry_after: Option<u32>) {
        self.draining = retry_after;
    }

    /// Counts the transactions under way. Those that only absorb repeats do not count: what they would absorb,
    /// another life of this edge, or nobody, may answer as well.
    pub fn under_way(&self) -> usize {
        self.layer.under_way()
    }

    /// Tells whether new work is refused.
    pub fn is_draining(&self) -> bool {
        self.draining.is_some()
    }

    /// Returns how many client and server transactions are held.
    pub fn transactions(&self) -> (usize, usize) {
        self.layer.len()
    }

    /// Returns what is to be done next; [`Output::Timeout`] ends the round.
    #[must_use]
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| {
            let branch = self.deadlines.first().map(|row| row.0);
            let look_up = self.look_ups.first().map(|row| row.0);
            let all = [branch, look_up, self.layer.next_timeout()];
            Output::Timeout(all.into_iter().flatten().min())
        })
    }

    /// Names what is still held; empty when nothing is.
    #[cfg(test)]
    pub(super) fn leftovers(&self) -> String {
        let counts = [
            ("contexts", self.contexts.len()),
            ("servers", self.by_server.len()),
            ("clients", self.by_client.len()),
            ("transactions", self.layer.len().0 + self.layer.len().1),
            ("look-ups", self.resolves.len()),
            ("questions", self.authentications.len()),
            ("registers", self.registers.len()),
            ("deadlines", self.deadlines.len() + self.look_ups.len()),
        ];
        let left = counts.iter().filter(|(_, count)| *count > 0);
        left.map(|(name, count)| format!("{count} {name} ")).collect()
    }

    /// Carries what the transactions say to the network and to the contexts.
    pub(super) fn pump(&mut self, now: Instant) {
        while let Some(event) = self.layer.poll_event() {
            match event {
                transaction::Event::Transmit(hop, bytes) => self.output(Output::Send { hop, bytes }),
                transaction::Event::TimedOut(id) => self.client_ended(now, id, Some(408)),
                // RFC 3261 §16.9 treats it as a 503; toward the caller that means: not reachable now.
                transaction::Event::Failed(id) => self.client_ended(now, id, Some(480)),
                transaction::Event::ClientEnded(id) => self.client_ended(now, id, None),
                transaction::Event::TryingDue(id) => self.trying_due(now, id),
                transaction::Event::ServerEnded(id) => self.server_ended(id),
            }
        }
    }

    pub(super) fn output(&mut self, output: Output) {
        self.outputs.push_back(output);
    }

    pub(super) fn event(&mut self, event: Event) {
        self.output(Output::Event(event));
    }

    /// Asks for targets.
    pub(super) fn ask(&mut self, now: Instant, query: Query, waiting: Waiting) -> ResolveId {
        let id = ResolveId(self.number());
        let context = match &waiting {
            Waiting::Context(context) => Some(*context),
            Waiting::Ack(_) => None,
        };
        let until = now + self.settings.branches.look_up;
        self.look_ups.insert((until, id));
        self.resolves.insert(id, LookUp { waiting, until });
        self.output(Output::Resolve { id, query, context });
        id
    }

    /// Waits for a look-up no longer.
    pub(super) fn end_look_up(&mut self, id: ResolveId) -> Option<Waiting> {
        let LookUp { waiting, until } = self.resolves.remove(&id)?;
        self.look_ups.remove(&(until, id));
        Some(waiting)
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Makes octets that nobody outside can guess: unique ones of a fresh number, or a keyed hash of `parts`.
    pub(super) fn keyed<const N: usize>(&self, purpose: &str, parts: &[&[u8]]) -> [u8; N] {
        let mut hash = Sha256::new();
        hash.update(self.settings.seed);
        hash.update(purpose);
        for part in parts {
            // The seed and the length before each part keep two lists of parts from being mistaken for each other.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hash.finalize().first_chunk().copied().unwrap_or([0; N])
    }

    fn server_ended(&mut self, id: ServerId) {
        let Some(context) = self.by_server.remove(&id) else {
            // It was a REGISTER whose registrar never answered, or something already answered.
            let register = self.registers.iter().find(|(_, registering)| registering.server == id);
            let Some((register, context)) = register.map(|(id, registering)| (*id, registering.context)) else {
                return;
            };
            self.registers.remove(&register);
            return self.event(Event::Unanswered(context));
        };
        if let Some(context) = self.contexts.get_mut(&context) {
            context.is_server_open = false;
        }
        self.clean_up(context);
    }

    /// Drops a context when nothing can come any more.
    pub(super) fn clean_up(&mut self, id: ContextId) {
        let Some(context) = self.contexts.get(&id).filter(|context| context.is_over()) else {
            return;
        };
        let (resolve, authenticate, is_answered) = (context.resolve, context.authenticate, context.is_answered);
        for (branch, state) in &context.branches {
            if let Some(at) = state.deadline {
                self.deadlines.remove(&(at, id, Due::Branch(*branch)));
            }
        }
        if let Some(at) = context.turn_ends {
            self.deadlines.remove(&(at, id, Due::Turn));
        }
        self.contexts.remove(&id);
        if !is_answered {
            self.event(Event::Unanswered(id));
        }
        if let Some(authenticate) = authenticate {
            self.authentications.remove(&authenticate);
        }
        if let Some(resolve) = resolve {
            self.end_look_up(resolve);
            self.output(Output::Abandon(resolve));
        }
    }
}

/// Writes an answer of this edge to a request.
pub(super) fn reply(request: &Message, answer: &Answer) -> Message {
    let headers: Vec<_> = answer
        .headers
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    respond(request, answer.code, &answer.reason, &headers)
}
