//! The request as it goes on (RFC 3261 §16.6), and the marks by which a loop is known.

use std::time::Instant;

use bytes::Bytes;

use super::api::{Output, Target, Trace};
use super::context::{Asserted, Context};
use super::core::{Core, LooseAck};
use crate::digest::Credentials;
use crate::flow::{Flow, FlowKind, Hop};
use crate::message::{Edit, Message, Method, Name, Via};
use crate::token;

/// RFC 3261 §8.1.1.6: the hops of a request that does not say.
const MAX_FORWARDS: u32 = 70;

/// One branch to be: where it goes, under which branch, with how much breadth.
pub(super) struct Way<'a> {
    pub(super) target: &'a Target,
    pub(super) hop: &'a Hop,
    pub(super) branch: &'a str,
    pub(super) breadth: u32,
    pub(super) trace: Option<Trace>,
}

impl Core {
    /// Writes the request for one target.
    pub(super) fn forwarded(&self, context: &Context, way: &Way<'_>) -> Bytes {
        let request = &context.request;
        let mut edit = self
            .passed_on(request, way.hop, way.branch)
            .max_forwards(hops_left(request));
        // RFC 3261 §16.6 step 2: only the edge that holds the phone replaces the Request-URI, with the Contact.
        if let Target::Phone { contact, .. } = way.target
            && !contact.is_empty()
            && context.routed.next.is_none()
        {
            edit = edit.request_uri(contact.as_str());
        }
        if context.routed.popped > 0 {
            edit = edit.pop(Name::Route, context.routed.popped);
        }
        // RFC 3327 §5.4: a phone that registered through proxies is reached through them, unless a route is left.
        if let Some(path) = way.target.path().filter(|_| context.routed.next.is_none()) {
            edit = edit.prepend(Name::Route, path);
        }
        edit = edit.set(Name::MaxBreadth, way.breadth.to_string());
        if is_dialog_forming(context) {
            // One line for both, because some paths carry UDP and each octet counts.
            let sides = format!("{}, {}", self.callee_side(context, way), self.caller_side(context));
            edit = edit.prepend(Name::RecordRoute, sides);
        }
        edit = self.without_credentials(with_identity(edit, context, way.hop), request);
        if let Some(trace) = way.trace.filter(|_| way.hop.edge().is_some()) {
            edit = edit.add(Name::Traceparent, trace.header());
        }
        edit.to_bytes()
    }

    /// Sends an ACK to a 2xx on.
    pub(super) fn send_ack(&mut self, _now: Instant, ack: &LooseAck, hop: Hop) {
        let number = self.number();
        let branch = self.branch_tag(&ack.message, number);
        let mut edit = self
            .passed_on(&ack.message, &hop, &branch)
            .max_forwards(hops_left(&ack.message));
        if ack.popped > 0 {
            edit = edit.pop(Name::Route, ack.popped);
        }
        if ack.flow.kind == FlowKind::Phone {
            edit = edit.remove(Name::PAssertedIdentity).remove(Name::PPreferredIdentity);
        }
        let bytes = edit.to_bytes();
        self.output(Output::Send { hop, bytes });
    }

    /// Makes what every forwarded request has: our Via on top, and no trace of others.
    fn passed_on<'a>(&self, request: &'a Message, hop: &Hop, branch: &str) -> Edit<'a> {
        let transport = match hop {
            Hop::Edge { .. } => "TLS",
            Hop::Flow(flow) => flow.transport.via_name(),
        };
        let via = Via::write(transport, &self.sent_by(hop), branch);
        Edit::new(request)
            .prepend(Name::Via, via)
            .remove(Name::Traceparent)
            .remove(Name::Tracestate)
    }

    /// Names this edge as the next hop is told.
    pub(super) fn sent_by(&self, hop: &Hop) -> String {
        match hop {
            Hop::Edge { .. } => self.host.clone(),
            Hop::Flow(flow) => crate::message::sent_by_of(self.settings.public(flow.local)),
        }
    }

    /// RFC 3261 §22.3: credentials for this realm have done their work; those for others go on.
    fn without_credentials<'a>(&self, edit: Edit<'a>, request: &'a Message) -> Edit<'a> {
        let is_ours = |line: &&str| Credentials::parse(line).is_some_and(|it| self.settings.domains.serves(&it.realm));
        if !request.lines(Name::ProxyAuthorization).any(|line| is_ours(&line)) {
            return edit;
        }
        let others = request.lines(Name::ProxyAuthorization).filter(|line| !is_ours(line));
        others.fold(edit.remove(Name::ProxyAuthorization), |edit, line| {
            edit.add(Name::ProxyAuthorization, line)
        })
    }

    /// Names, for the way back to the caller, what the request came from.
    fn caller_side(&self, context: &Context) -> String {
        let flow = &context.flow;
        match (&flow.kind, context.caller) {
            (FlowKind::Phone, Some(caller)) => self.phone_side(flow, &caller, &context.request),
            _ => self.edge_side(),
        }
    }

    fn callee_side(&self, context: &Context, way: &Way<'_>) -> String {
        match (way.hop, way.target) {
            (Hop::Flow(flow), Target::Phone { binding, .. }) => {
                let source = token::Target::Source {
                    transport: flow.transport,
                    address: flow.remote,
                };
                let callee = binding.map_or(source, token::Target::Binding);
                self.phone_side(flow, &callee, &context.request)
            }
            _ => self.edge_side(),
        }
    }

    /// RFC 5626 §5.2: the user part names the flow; the address is the one that the phone uses.
    fn phone_side(&self, flow: &Flow, target: &token::Target, request: &Message) -> String {
        let token = self
            .settings
            .token_key
            .seal(target, request.call_id().unwrap_or_default());
        let address = crate::message::sent_by_of(self.settings.public(flow.local));
        let transport = if flow.transport.is_reliable() {
            ";transport=tcp"
        } else {
            ""
        };
        format!("<sip:{token}@{address}{transport};lr>")
    }

    /// The home peer is part of it, because the edge is reached through it only (RFC 6940 §4.2.1).
    fn edge_side(&self) -> String {
        format!("<sip:{};p={};lr>", self.host, self.settings.home)
    }

    /// Makes the branch of a forwarded request: a unique part that nobody can guess, and the mark of the loop check.
    pub(super) fn branch_tag(&self, request: &Message, number: u64) -> String {
        let unique: [u8; 8] = self.keyed("branch", &[&number.to_be_bytes()]);
        let cookie = crate::message::MAGIC_COOKIE;
        format!("{cookie}{}.{}", crate::text::to_hex(&unique), self.loop_mark(request))
    }

    /// RFC 5393 §4.2: a hash of all that decides where this edge sends the request.
    fn loop_mark(&self, request: &Message) -> String {
        let mut parts = vec![request.request_uri().unwrap_or_default().as_bytes()];
        parts.extend(request.values(Name::Route).map(str::as_bytes));
        crate::text::to_hex(&self.keyed::<4>("loop", &parts))
    }

    /// Tells whether the request was here before, and would be sent the same way again.
    pub(super) fn is_loop(&self, request: &Message) -> bool {
        // The mark is keyed, so a Via that ends in it is our own.
        let mark = format!(".{}", self.loop_mark(request));
        let branches = request
            .values(Name::Via)
            .skip(1)
            .filter_map(|via| Via::parse(via)?.branch());
        branches.into_iter().any(|branch| branch.ends_with(&mark))
    }
}

fn hops_left(request: &Message) -> u32 {
    request
        .max_forwards()
        .map_or(MAX_FORWARDS, |hops| hops.saturating_sub(1))
}

/// RFC 3261 §16.6 step 4: a proxy that wants to see the rest of a dialog says so when it begins.
fn is_dialog_forming(context: &Context) -> bool {
    let can = matches!(
        context.method,
        Method::Invite | Method::Subscribe | Method::Refer | Method::Other(_)
    );
    can && context.request.to_tag().is_none()
}

/// RFC 3325 §9.3: what a caller asks for who is to be known to this domain only.
pub(super) fn wants_identity_hidden(request: &Message) -> bool {
    let words = request.values(Name::Privacy).flat_map(|value| value.split(';'));
    words.into_iter().any(|word| word.trim().eq_ignore_ascii_case("id"))
}

/// Sets or removes who the caller is (RFC 3325 §5, §7).
fn with_identity<'a>(mut edit: Edit<'a>, context: &Context, hop: &Hop) -> Edit<'a> {
    let request = &context.request;
    if context.asserted != Asserted::Keep {
        edit = edit.remove(Name::PPreferredIdentity);
    }
    let is_hidden = hop.edge().is_none() && wants_identity_hidden(request);
    match &context.asserted {
        _ if is_hidden => edit.remove(Name::PAssertedIdentity),
        Asserted::Keep => edit,
        Asserted::Remove => edit.remove(Name::PAssertedIdentity),
        Asserted::Set(value) => edit.set(Name::PAssertedIdentity, value.clone()),
    }
}
