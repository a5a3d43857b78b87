//! Who may have what done: the rules before any target is looked for.

use std::sync::Arc;
use std::time::Instant;

use super::api::{Answer, AuthenticateId, Authenticated, Output, Query, RegisterId, Scope, Target};
use super::conclude::ALLOW_EVENTS;
use super::context::{Asserted, ContextId};
use super::core::{Core, Registering, Waiting, reply};
use super::forward::wants_identity_hidden;
use super::request::query_of;
use super::route::Next;
use crate::aor::{Aor, Domains};
use crate::flow::FlowKind;
use crate::location;
use crate::message::{Message, Method, Name};
use crate::token;
use crate::uri::{Host, Uri};

/// Event packages that phones subscribe to on their own AOR at start; forwarded, they would reach each other
/// (RFC 6665 §4.2.1.1: 489 for a package that is not served).
const OWN_PACKAGES: [&str; 3] = ["message-summary", "reg", "ua-profile"];

/// What a proxy and registrar of this kind does, for OPTIONS and 405.
const ALLOW: &str =
    "INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, MESSAGE, REFER, INFO, UPDATE, PRACK, SUBSCRIBE, NOTIFY";

impl Core {
    /// Decides what becomes of a new request.
    pub(super) fn admit(&mut self, now: Instant, id: ContextId) {
        let Some(context) = self.contexts.get(&id) else { return };
        if self.is_loop(&context.request) {
            return self.answer(now, id, &Answer::new(482));
        }
        let kind = context.flow.kind.clone();
        match kind {
            FlowKind::Phone => self.admit_phone(now, id),
            FlowKind::Edge(_) => self.admit_edge(now, id),
            FlowKind::Stranger { users, .. } => self.admit_stranger(now, id, &users),
        }
    }

    fn admit_phone(&mut self, now: Instant, id: ContextId) {
        let Some(context) = self.contexts.get(&id) else { return };
        // Within a dialog, a token that this edge made for this call stands for the credentials that the call began with.
        // Neither does alone: a tag proves nothing, and outside a dialog a token would open a new call under any name.
        let leads_somewhere = context.routed.token.is_some() || context.routed.next.is_some();
        let is_in_dialog = context.request.to_tag().is_some();
        if is_in_dialog && context.routed.has_token && leads_somewhere {
            return self.follow_route(now, id);
        }
        if context.routed.next.is_some() && context.routed.unknown.is_none() {
            return self.answer(now, id, &Answer::new(403).reason("Route Not Allowed"));
        }
        if let Some(answer) = self.own_answer(&context.request) {
            return self.answer(now, id, &answer);
        }
        let is_new_work = matches!(context.method, Method::Invite | Method::Register);
        if let Some(after) = self.draining.filter(|_| is_new_work) {
            let answer = Answer::new(503).header(Name::RetryAfter, after.to_string());
            return self.answer(now, id, &answer);
        }
        if context.method == Method::Register {
            return self.register(now, id);
        }
        let (flow, request) = (context.flow.clone(), context.request.clone());
        let question = AuthenticateId(self.number());
        self.authentications.insert(question, id);
        if let Some(context) = self.contexts.get_mut(&id) {
            context.authenticate = Some(question);
        }
        self.output(Output::Authenticate {
            id: question,
            flow,
            request,
            context: id,
        });
    }

    fn admit_edge(&mut self, now: Instant, id: ContextId) {
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        context.asserted = Asserted::Keep;
        if context.routed.token.is_some() || context.routed.next.is_some() {
            return self.follow_route(now, id);
        }
        self.admit_peer(now, id);
    }

    fn admit_stranger(&mut self, now: Instant, id: ContextId, users: &[std::sync::Arc<str>]) {
        let from = self
            .contexts
            .get(&id)
            .and_then(|context| self.aor_in_from(&context.request));
        // RFC 3325 §5, RFC 7904 §7: whose certificate is not an edge's speaks for the users that it names.
        let Some(from) = from.filter(|from| users.iter().any(|user| user.as_ref() == from.as_str())) else {
            return self.answer(now, id, &Answer::new(403).reason("From Not Allowed"));
        };
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        context.is_vetted = true;
        context.asserted = Asserted::Set(format!("<{}>", from.to_uri()));
        if context.routed.next.is_some() {
            return self.answer(now, id, &Answer::new(403).reason("Route Not Allowed"));
        }
        if context.routed.token.is_some() {
            return self.follow_route(now, id);
        }
        self.admit_peer(now, id);
    }

    /// Goes on with a request that begins something and came from another node: only own bindings serve it.
    fn admit_peer(&mut self, now: Instant, id: ContextId) {
        let Some(context) = self.contexts.get(&id) else { return };
        if let Some(answer) = self.own_answer(&context.request) {
            return self.answer(now, id, &answer);
        }
        if context.method == Method::Register {
            return self.register(now, id);
        }
        self.look_up(now, id, Scope::Local);
    }

    /// Goes on with a request of a phone whose user is known now.
    pub(super) fn authenticated(&mut self, now: Instant, id: ContextId, answer: Authenticated) {
        let (aor, display, binding) = match answer {
            Authenticated::Allowed { aor, display, binding } => (aor, display, binding),
            Authenticated::Refused(answer) => return self.answer(now, id, &answer),
        };
        let domains = Arc::clone(&self.settings.domains);
        let Some(context) = self.contexts.get_mut(&id).filter(|context| !context.is_answered) else {
            return;
        };
        context.is_vetted = true;
        context.user = Some(aor.clone());
        let from = context.request.from().and_then(|from| domains.aor(from.uri).ok());
        if from.as_ref() != Some(&aor) && !is_anonymous(&domains, &context.request) {
            return self.answer(now, id, &Answer::new(403).reason("From Not Allowed"));
        }
        if context.routed.unknown.take().is_some() {
            // It is a name of this edge, so the value has done its work (RFC 3261 §16.4).
            context.routed.next = None;
            context.routed.popped += 1;
        }
        context.asserted = Asserted::Set(asserted(&aor, &display));
        let (transport, address) = (context.flow.transport, context.flow.remote);
        let source = token::Target::Source { transport, address };
        context.caller = Some(binding.map_or(source, token::Target::Binding));
        self.look_up(now, id, Scope::Everywhere);
    }

    /// Looks for the user whom the Request-URI names.
    fn look_up(&mut self, now: Instant, id: ContextId, scope: Scope) {
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        let uri = context.request.request_uri().unwrap_or_default();
        if matches!(Uri::parse(uri), Some(Uri::Sip(uri)) if uri.is_secure) {
            // RFC 5630 §5.3: sips is delivered over TLS all the way or not at all.
            let warning = format!("380 {} \"SIPS Not Available\"", self.host);
            return self.answer(now, id, &Answer::new(480).header(Name::Warning, warning));
        }
        let aor = self.settings.domains.aor(uri).ok();
        let Some(aor) = aor.filter(|aor| self.settings.domains.serves(aor.domain())) else {
            return self.answer(now, id, &Answer::new(404));
        };
        context.aor = Some(aor.clone());
        self.resolve(now, id, Query::Aor { aor, scope });
    }

    /// Sends a request where its Route leads.
    fn follow_route(&mut self, now: Instant, id: ContextId) {
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        context.is_vetted = true;
        match (context.routed.next.clone(), context.routed.token) {
            (Some(Next::Edge { node, home }), _) => {
                context.outcome = Some(super::api::Outcome::Complete { is_known: true });
                self.trying(now, id);
                self.fork(now, id, vec![Target::Edge { node, home }]);
            }
            // What is left of the route may be the path of the phone that the token names; nothing else is followed.
            (Some(Next::Foreign) | None, Some(token)) => self.resolve(now, id, query_of(token)),
            (Some(Next::Foreign) | None, None) => self.answer(now, id, &Answer::new(480)),
        }
    }

    pub(super) fn resolve(&mut self, now: Instant, id: ContextId, query: Query) {
        if !self.contexts.contains_key(&id) {
            return;
        }
        self.trying(now, id);
        let resolve = self.ask(now, query, Waiting::Context(id));
        if let Some(context) = self.contexts.get_mut(&id) {
            context.resolve = Some(resolve);
        }
    }

    fn register(&mut self, now: Instant, id: ContextId) {
        let Some(context) = self.contexts.get(&id) else { return };
        let uri = context.request.request_uri().and_then(Uri::parse).and_then(Uri::sip);
        if !uri.is_some_and(|uri| self.settings.domains.is_own(uri.host)) {
            // RFC 3261 §10.3 step 1: this registrar serves its own domains, and forwards to no other.
            return self.answer(now, id, &Answer::new(403).reason("Domain Not Served"));
        }
        let Some(context) = self.contexts.remove(&id) else {
            return;
        };
        self.by_server.remove(&context.server);
        let register = RegisterId(self.number());
        let (flow, server, request) = (context.flow, context.server, context.request.clone());
        self.registers.insert(
            register,
            Registering {
                server,
                request,
                context: id,
            },
        );
        self.output(Output::Register {
            id: register,
            flow,
            request: context.request,
            context: id,
        });
    }

    /// Returns the answer that this edge gives itself, without asking who wants to know.
    fn own_answer(&self, request: &Message) -> Option<Answer> {
        let method = request.method();
        let uri = request.request_uri().and_then(Uri::parse)?.sip();
        let is_own = uri.is_some_and(|uri| self.settings.domains.is_own(uri.host));
        let event = request
            .header(Name::Event)
            .and_then(|event| event.split(';').next())
            .unwrap_or_default();
        match method {
            Method::Options if self.is_to_edge(request) => Some(match self.draining {
                Some(after) => Answer::new(503).header(Name::RetryAfter, after.to_string()),
                None => Answer::new(200)
                    .header(Name::Allow, ALLOW)
                    .header(Name::Accept, "application/sdp")
                    .header(Name::Supported, location::EXTENSIONS.join(", ")),
            }),
            Method::Publish if is_own => Some(Answer::new(405).header(Name::Allow, ALLOW)),
            Method::Subscribe if is_own && OWN_PACKAGES.contains(&event.trim()) => {
                Some(Answer::new(489).header(Name::AllowEvents, ALLOW_EVENTS))
            }
            _ => None,
        }
    }

    /// Tells whether a request is for the edge or its domain and no user.
    pub(super) fn is_to_edge(&self, request: &Message) -> bool {
        let uri = request.request_uri().and_then(Uri::parse).and_then(Uri::sip);
        uri.is_some_and(|uri| {
            let is_edge_host = matches!(uri.host, Host::Name(name) if name.eq_ignore_ascii_case(&self.host));
            uri.user.is_none() && (is_edge_host || self.settings.domains.is_own(uri.host))
        })
    }

    fn aor_in_from(&self, request: &Message) -> Option<Aor> {
        self.settings.domains.aor(request.from()?.uri).ok()
    }

    /// Answers a request finally.
    pub(super) fn answer(&mut self, now: Instant, id: ContextId, answer: &Answer) {
        let Some(context) = self.contexts.get(&id) else { return };
        let response = reply(&context.request, answer);
        self.finish(now, id, &response);
    }
}

/// Tells whether From hides the caller: RFC 3323 §4.1.1.3 has one URI for that. Many phones write their own domain into it,
/// and say by Privacy what they mean.
fn is_anonymous(domains: &Domains, request: &Message) -> bool {
    let uri = request.from().and_then(|from| from.parsed_uri()).and_then(Uri::sip);
    uri.is_some_and(|uri| {
        let is_nowhere = matches!(uri.host, Host::Name(name) if name.eq_ignore_ascii_case("anonymous.invalid"));
        let is_nobody = uri.user.is_some_and(|user| user.eq_ignore_ascii_case("anonymous"));
        is_nowhere || is_nobody && domains.is_own(uri.host) && wants_identity_hidden(request)
    })
}

/// Writes P-Asserted-Identity (RFC 3325 §9.1).
fn asserted(aor: &Aor, display: &str) -> String {
    let quoted: String = display
        .chars()
        .filter(|character| !character.is_control())
        .flat_map(|character| {
            matches!(character, '"' | '\\')
                .then_some('\\')
                .into_iter()
                .chain([character])
        })
        .collect();
    if quoted.is_empty() {
        format!("<{}>", aor.to_uri())
    } else {
        format!("\"{quoted}\" <{}>", aor.to_uri())
    }
}
