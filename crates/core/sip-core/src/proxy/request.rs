//! What a request meets first: its own transaction, or a new context.

use std::time::Instant;

use super::api::{Answer, Call, Event, Output, Query};
use super::context::{Asserted, Context, ContextId, Retry, class_of};
use super::core::{Core, LooseAck, Waiting, reply};
use super::route::Next;
use super::trace::traced;
use crate::flow::{Flow, FlowKind, Hop};
use crate::location;
use crate::message::{Acting, Address, Edit, Fault, Message, Method, Name, ReplyTarget, Via, stateless_tag};
use crate::token;
use crate::transaction::{AckVerdict, Class, ServerId, ServerKey};

/// ACKs that wait for the way to their callee. Each waits for one look-up in memory; beyond this the newest is
/// dropped, and the callee's repeated 2xx brings it again.
const MAX_LOOSE_ACKS: usize = 1024;

/// Seconds after which a phone that found the edge full may try again.
const RETRY_WHEN_FULL: &str = "5";

impl Core {
    pub(super) fn handle_request(&mut self, now: Instant, flow: Flow, message: Message) {
        let Some(message) = stamp(&flow, message) else {
            return self.event(Event::Dropped {
                flow,
                why: "request without usable Via",
            });
        };
        let method = message.method();
        let key = server_key(&message, method.as_str());
        if method == Method::Ack {
            let known = self.layer.find_server(&key);
            match known.map(|id| self.layer.handle_ack(now, id)) {
                Some(AckVerdict::Absorb) => {}
                // It acknowledges an answer that this edge has given and forgotten.
                None if message.to_tag() == Some(&stateless_tag(&message)) => {}
                Some(AckVerdict::Pass) | None => self.forward_ack(now, flow, message),
            }
            return;
        }
        if let Some(id) = self.layer.find_server(&key) {
            if let Some(context) = self.by_server.get(&id) {
                self.event(Event::Repeated(*context));
            }
            return self.layer.handle_repeat(id);
        }
        if method == Method::Cancel {
            return self.handle_cancel(now, &flow, &message, key);
        }
        let reply_to = self.reply_hop(&flow, &message);
        let refusal = match message.validate(self.acting(&method, &message)) {
            Ok(()) => None,
            Err(Fault::Silence(why)) => return self.event(Event::Dropped { flow, why }),
            Err(Fault::Refuse(refusal)) => Some(refusal),
        };
        let is_known = || matches!(flow.kind, FlowKind::Edge(_)) || self.route(&flow, &message).has_token;
        if let Some(refusal) = refusal.as_ref().filter(|_| !is_known()) {
            let bytes = refusal.to_response(&message).bytes().clone();
            return self.output(Output::Send { hop: reply_to, bytes });
        }
        let Ok(server) = self.layer.open_server(now, key, class_of(&method), reply_to.clone()) else {
            return self.refuse_without_state(reply_to, &message);
        };
        if let Some(refusal) = refusal {
            let bytes = refusal.to_response(&message).bytes().clone();
            return self.layer.respond(now, server, refusal.code, bytes);
        }
        let id = self.open_context(server, flow, reply_to, message);
        self.admit(now, id);
    }

    fn open_context(&mut self, server: ServerId, flow: Flow, reply_to: Hop, request: Message) -> ContextId {
        let request = self.unwind_strict_route(request);
        let id = ContextId(self.number());
        let trace = self.trace_of(&flow, &request);
        let method = request.method();
        // RFC 5393 §5.3.3: a request without Max-Breadth may make as many branches as the recommended default.
        let breadth = request.header(Name::MaxBreadth).and_then(crate::text::number);
        let context = Context {
            server,
            is_server_open: true,
            routed: self.route(&flow, &request),
            reply_to,
            trace,
            asserted: Asserted::Remove,
            is_vetted: matches!(flow.kind, FlowKind::Edge(_)),
            user: None,
            caller: None,
            aor: None,
            authenticate: None,
            resolve: None,
            outcome: None,
            branches: Default::default(),
            waiting: Vec::new(),
            turn_ends: None,
            breadth: breadth
                .unwrap_or(self.settings.max_breadth)
                .min(self.settings.max_breadth),
            is_cancelled: false,
            is_answered: false,
            retry: Retry::Unneeded,
            cancel_reason: None,
            method: method.clone(),
            flow: flow.clone(),
            request,
        };
        let call = self.call_of(&context.request);
        let ends = (method == Method::Bye).then(|| context.request.call_id().unwrap_or_default().into());
        let traced = traced(trace, &context.request);
        self.contexts.insert(id, context);
        self.by_server.insert(server, id);
        self.event(Event::Received {
            context: id,
            method,
            flow,
            call,
            ends,
            traced,
        });
        id
    }

    /// The call that a request asks for. RFC 3261 §14: an INVITE with a To tag changes a call that stands.
    fn call_of(&self, request: &Message) -> Option<Box<Call>> {
        let asks_for_one = request.method() == Method::Invite && request.to_tag().is_none();
        let user = |address: Option<Address<'_>>| {
            let uri = address.map(|address| address.uri).unwrap_or_default();
            let aor = self.settings.domains.aor(uri);
            aor.map_or_else(|_| uri.to_owned(), |aor| aor.to_string())
        };
        asks_for_one.then(|| {
            Box::new(Call {
                call_id: request.call_id().unwrap_or_default().to_owned(),
                from: user(request.from()),
                to: user(request.to()),
            })
        })
    }

    /// Tells in which part a request is judged: REGISTER and OPTIONS to the edge itself are answered here.
    fn acting(&self, method: &Method, message: &Message) -> Acting<'static> {
        let is_server = *method == Method::Register || *method == Method::Options && self.is_to_edge(message);
        if is_server {
            Acting::Server(location::EXTENSIONS)
        } else {
            Acting::Proxy(&[])
        }
    }

    fn refuse_without_state(&mut self, hop: Hop, message: &Message) {
        let answer = Answer::new(503).header(Name::RetryAfter, RETRY_WHEN_FULL);
        let bytes = reply(message, &answer).bytes().clone();
        self.output(Output::Send { hop, bytes });
    }

    fn handle_cancel(&mut self, now: Instant, flow: &Flow, message: &Message, key: ServerKey) {
        let invite = self.layer.find_server(&server_key(message, "INVITE"));
        let context = invite.and_then(|invite| self.by_server.get(&invite)).copied();
        let reply_to = self.reply_hop(flow, message);
        // RFC 3261 §9.2: 481 when no transaction matches, else 200 whatever becomes of the INVITE.
        let code = if invite.is_some() { 200 } else { 481 };
        let bytes = reply(message, &Answer::new(code)).bytes().clone();
        let server = invite.map(|_| self.layer.open_server(now, key, Class::Other, reply_to.clone()));
        match server {
            Some(Ok(server)) => self.layer.respond(now, server, code, bytes),
            // What matches nothing leaves nothing behind.
            Some(Err(_)) | None => self.output(Output::Send { hop: reply_to, bytes }),
        }
        if let Some(context) = context {
            let reason = message.header(Name::Reason).map(str::to_owned);
            self.cancel(now, context, reason);
        }
    }

    /// Sends an ACK to a 2xx along its Route; there is no transaction to keep (RFC 3261 §16.11 leaves no other way).
    fn forward_ack(&mut self, now: Instant, flow: Flow, message: Message) {
        let message = self.unwind_strict_route(message);
        if message.validate(Acting::Proxy(&[])).is_err() {
            return self.event(Event::Dropped {
                flow,
                why: "malformed ACK",
            });
        }
        let routed = self.route(&flow, &message);
        let is_trusted = routed.has_token || matches!(flow.kind, FlowKind::Edge(_));
        let ack = LooseAck {
            flow,
            message,
            popped: routed.popped,
            is_routed_on: routed.next.is_some(),
        };
        match (routed.next, routed.token) {
            _ if !is_trusted => self.event(Event::Dropped {
                flow: ack.flow,
                why: "ACK without a token",
            }),
            (Some(Next::Edge { node, home }), _) => self.send_ack(now, &ack, Hop::Edge { node, home }),
            (Some(Next::Foreign) | None, Some(token)) if self.loose_acks() < MAX_LOOSE_ACKS => {
                self.ask(now, query_of(token), Waiting::Ack(Box::new(ack)));
            }
            _ => self.event(Event::Dropped {
                flow: ack.flow,
                why: "ACK that leads nowhere",
            }),
        }
    }

    fn loose_acks(&self) -> usize {
        // Contexts keep their own look-ups; what is more than those are ACKs.
        self.resolves.len().saturating_sub(self.contexts.len())
    }

    /// Finds the way back (RFC 3261 §18.2.2).
    fn reply_hop(&self, flow: &Flow, message: &Message) -> Hop {
        if let FlowKind::Edge(node) = flow.kind {
            // Should the connection be gone by then, the edge is found through its home peer.
            return Hop::Edge {
                node,
                home: self.home_of(node, message),
            };
        }
        let mut flow = flow.clone();
        if !flow.transport.is_reliable() {
            // RFC 3581 §4: to the source port when asked for, else to the port of sent-by; always to the source
            // address.
            let target = message.top_via().map(Via::reply_target);
            if let Some(ReplyTarget::Address(address)) = target {
                flow.remote.set_port(address.port());
            }
        }
        Hop::Flow(flow)
    }
}

/// Returns the look-up that finds what a token names.
pub(super) fn query_of(token: token::Target) -> Query {
    match token {
        token::Target::Binding(id) => Query::Binding(id),
        token::Target::Source { transport, address } => Query::Source { transport, address },
    }
}

/// Writes the source of a request into its topmost Via (RFC 3261 §18.2.1, RFC 3581 §4). Edges are known by name, so
/// their Via stays short.
fn stamp(flow: &Flow, message: Message) -> Option<Message> {
    let via = message.top_via()?;
    if matches!(flow.kind, FlowKind::Edge(_)) {
        return Some(message);
    }
    let stamped = via.stamped(flow.remote);
    if stamped == via.text() {
        return Some(message);
    }
    Some(Edit::new(&message).replace_first(Name::Via, stamped).apply())
}

/// Makes the key of a request's transaction.
fn server_key(message: &Message, method: &str) -> ServerKey {
    let via = message.top_via();
    let sent_by = via.map(|via| via.sent_by).unwrap_or_default();
    match via.filter(|via| via.has_magic_branch()).and_then(Via::branch) {
        Some(branch) => ServerKey::new(branch, sent_by, method),
        None => {
            // RFC 3261 §17.2.3: elements older than the branch cookie are told apart by all of these; the tag of To
            // is left out, because an ACK has one and its INVITE has none.
            let parts = [
                message.request_uri().unwrap_or_default(),
                message.from_tag().unwrap_or_default(),
                message.call_id().unwrap_or_default(),
                &message.cseq().map(|cseq| cseq.number.to_string()).unwrap_or_default(),
                via.map(|via| via.text()).unwrap_or_default(),
            ];
            ServerKey::new(&parts.join("\n"), sent_by, method)
        }
    }
}
