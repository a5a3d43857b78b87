//! The requests that pass this edge, as counters and spans show them.
//!
//! The proxy tells what happens to a request; its span lasts from its arrival to its final answer, and each of its branches has one below it. What
//! is done for it meanwhile (look-ups, AppAttach, the overlay's hops) runs inside its span, so that one call is one trace.

use std::collections::{HashMap, HashSet};
use std::time::Instant;

use opentelemetry::trace::{SpanId, TraceId};
use runtime::telemetry::{Pii, identified};
use sip_core::flow::{ConnectionId, Flow, Hop, NodeId};
use sip_core::message::Method;
use sip_core::proxy::{self, BranchId, ContextId, Event, Trace, Traced};
use tracing::{Span, field};
use wire::Now;

use crate::dialogs::Dialogs;
use crate::driver::now;
use crate::feed::{Feed, Listed, TooMany};
use crate::listed::{Call, Stage, source, target};
use crate::metrics::Metrics;

/// Requests under way at most that are followed; further ones go without, which costs nothing but the picture.
const OPEN: usize = 16_384;

/// The requests under way.
#[derive(Debug)]
pub(crate) struct Requests {
    pub(crate) metrics: Metrics,
    open: HashMap<ContextId, Request>,
    /// Those who follow the calls.
    followers: Feed<ContextId, Call>,
    dialogs: Dialogs<ContextId>,
}

#[derive(Debug)]
struct Request {
    method: Method,
    /// The call that it asks for.
    call: Option<Box<proxy::Call>>,
    /// The Call-ID of the call that it ends.
    ends: Option<Box<str>>,
    flow: Flow,
    since: Now,
    /// Whether a provisional response other than 100 went back.
    has_rung: bool,
    /// Where a 2xx came from.
    answered_by: Option<String>,
    /// The connection of the phone that answered it, where it has one.
    answered_on: Option<ConnectionId>,
    /// Disabled if nobody records it.
    span: Span,
    branches: HashMap<BranchId, Branch>,
}

#[derive(Debug)]
struct Branch {
    span: Span,
    hop: Hop,
}

impl Requests {
    pub(crate) fn new(metrics: Metrics) -> Self {
        Self {
            metrics,
            open: HashMap::new(),
            followers: Feed::default(),
            dialogs: Dialogs::default(),
        }
    }

    /// Takes what the proxy tells.
    pub(crate) fn note(&mut self, event: Event) {
        match event {
            Event::Received {
                context,
                method,
                flow,
                call,
                ends,
                traced,
            } => {
                let span = traced.map_or_else(Span::none, |traced| request_span(&method, &flow, &traced));
                let request = Request {
                    method,
                    call,
                    ends,
                    flow,
                    since: now(),
                    has_rung: false,
                    answered_by: None,
                    answered_on: None,
                    span,
                    branches: HashMap::new(),
                };
                self.open(context, request);
            }
            Event::Repeated(context) => {
                if let Some(request) = self.open.get(&context) {
                    tracing::info!(parent: &request.span, "request came again");
                }
            }
            Event::Branched {
                context,
                branch,
                trace,
                hop,
            } => self.branch((context, branch), trace, hop),
            Event::BranchEnded {
                context,
                branch,
                status,
            } => {
                if let Some(request) = self.open.get_mut(&context)
                    && let Some(Branch { span, hop }) = request.branches.remove(&branch)
                {
                    if is_success(status) {
                        request.answered_by = Some(target(&hop));
                        request.answered_on = connection_of(&hop);
                    }
                    span.record("sip.response.status_code", status);
                    end(span);
                }
                self.followers.touch(&context);
            }
            Event::Progressed { context, status } => self.progressed(context, status),
            Event::Answered { context, status } => self.answered(context, status),
            Event::Unanswered(context) => {
                if let Some(request) = self.open.remove(&context) {
                    self.followers.touch(&context);
                    self.note_dialog(context, &request, None);
                    request.end();
                }
            }
            Event::Dropped { flow, why } => {
                tracing::debug!(network.peer.address = %Pii(flow.remote), why, "message dropped");
            }
        }
    }

    /// The span of the request that a question of the proxy belongs to.
    pub(crate) fn span(&self, context: ContextId) -> Span {
        let request = self.open.get(&context);
        request.map_or_else(Span::none, |request| request.span.clone())
    }

    /// The connections that requests under way and standing calls depend on.
    pub(crate) fn connections(&self) -> HashSet<ConnectionId> {
        let under_way = self.open.values().flat_map(|request| {
            let branches = request.branches.values();
            let targets = branches.filter_map(|branch| connection_of(&branch.hop));
            targets.chain(request.flow.connection)
        });
        under_way.chain(self.dialogs.connections()).collect()
    }

    /// The span of a branch toward an edge: a connection to it is made for the first request that needs it.
    pub(crate) fn span_toward(&self, edge: NodeId) -> Span {
        let branches = self.open.values().flat_map(|request| request.branches.values());
        let leads_there = |branch: &&Branch| !branch.span.is_none() && branch.hop.edge() == Some(edge);
        branches
            .into_iter()
            .find(leads_there)
            .map_or_else(Span::none, |branch| branch.span.clone())
    }

    /// Lists the calls, for somebody who will follow them or not.
    ///
    /// # Errors
    /// When too many follow.
    pub(crate) fn list(&mut self, follow: bool) -> Result<Listed<Call>, TooMany> {
        let coming = self.open.iter().filter_map(|(context, request)| {
            let call = request.call(*context)?;
            Some((*context, call))
        });
        let standing = self.dialogs.calls().map(|(context, call)| (context, call.clone()));
        self.followers.list(standing.chain(coming).collect(), follow)
    }

    /// Tells those who follow the calls what is new.
    pub(crate) fn tell_followers(&mut self) {
        self.followers.tell(|context| match self.open.get(context) {
            Some(request) => request.call(*context),
            None => self.dialogs.call(*context).cloned(),
        });
    }

    /// Forgets the calls that have stood too long without a BYE, and counts the others.
    pub(crate) fn count_dialogs(&mut self, now: Instant) -> usize {
        for context in self.dialogs.expire(now) {
            self.followers.touch(&context);
        }
        self.dialogs.count()
    }

    fn open(&mut self, context: ContextId, request: Request) {
        self.metrics.received(&request.method);
        if self.open.len() < OPEN {
            self.open.insert(context, request);
            self.followers.touch(&context);
        }
    }

    fn branch(&mut self, (context, branch): (ContextId, BranchId), trace: Option<Trace>, hop: Hop) {
        let Some(request) = self.open.get_mut(&context) else {
            return;
        };
        let span = trace.map_or_else(Span::none, |trace| branch_span(request, trace, &hop));
        request.branches.insert(branch, Branch { span, hop });
        self.followers.touch(&context);
    }

    fn progressed(&mut self, context: ContextId, status: u16) {
        let Some(request) = self.open.get_mut(&context) else {
            return;
        };
        tracing::debug!(parent: &request.span, status, "progress");
        if request.method == Method::Invite && !request.has_rung {
            request.has_rung = true;
            self.metrics
                .rings(now().instant.saturating_duration_since(request.since.instant));
            self.followers.touch(&context);
        }
    }

    fn answered(&mut self, context: ContextId, status: u16) {
        let Some(request) = self.open.remove(&context) else {
            return;
        };
        self.followers.touch(&context);
        self.note_dialog(context, &request, Some(status));
        let took = now().instant.saturating_duration_since(request.since.instant);
        self.metrics.answered(&request.method, status, took, request.has_rung);
        request.span.record("sip.response.status_code", status);
        request.end();
    }

    /// Takes the end of a request into account; without a status nobody answered it.
    fn note_dialog(&mut self, context: ContextId, request: &Request, status: Option<u16>) {
        if status.is_some_and(is_success)
            && let Some(call) = request.call(context)
        {
            let now = now();
            let connections = request.flow.connection.into_iter().chain(request.answered_on).collect();
            self.dialogs
                .answered(now.instant, context, call.answered(now.unix_ms), connections);
        } else if let Some(call_id) = &request.ends {
            // Whatever becomes of it: the sender of a BYE has left the call (RFC 3261 §15.1.1).
            if let Some(ended) = self.dialogs.ended(call_id) {
                self.followers.touch(&ended);
            }
        }
    }
}

impl Request {
    /// The call that it asks for, as the operator sees it.
    fn call(&self, context: ContextId) -> Option<Call> {
        let proxy::Call { call_id, from, to } = &**self.call.as_ref()?;
        let targets = match &self.answered_by {
            Some(target) => vec![target.clone()],
            None => {
                let mut targets: Vec<_> = self.branches.values().map(|branch| target(&branch.hop)).collect();
                targets.sort();
                targets
            }
        };
        Some(Call {
            id: context.number(),
            call_id: call_id.clone(),
            from: from.clone(),
            to: to.clone(),
            stage: if self.has_rung { Stage::Ringing } else { Stage::Trying },
            since_ms: self.since.unix_ms,
            answered_ms: 0,
            source: source(&self.flow),
            targets,
        })
    }

    /// Ends its spans.
    fn end(self) {
        // Those that are being cancelled have no end of their own that anyone would wait for.
        for branch in self.branches.into_values() {
            end(branch.span);
        }
        end(self.span);
    }
}

fn connection_of(hop: &Hop) -> Option<ConnectionId> {
    match hop {
        Hop::Flow(flow) => flow.connection,
        Hop::Edge { .. } => None,
    }
}

fn is_success(status: u16) -> bool {
    (200..300).contains(&status)
}

fn branch_span(request: &Request, trace: Trace, hop: &Hop) -> Span {
    let (transport, target) = match hop {
        Hop::Flow(flow) => (flow.transport.via_name(), Pii(flow.remote).to_string()),
        Hop::Edge { node, .. } => ("TLS", node.to_string()),
    };
    identified(trace.trace_id, trace.span_id, || {
        tracing::info_span!(
            parent: &request.span,
            "branch",
            otel.name = format!("{} branch", request.method.label()),
            otel.kind = "client",
            network.protocol.name = "sip",
            network.transport = transport.to_ascii_lowercase(),
            network.peer.address = target,
            sip.request.method = request.method.as_str(),
            sip.response.status_code = field::Empty,
        )
    })
}

fn request_span(method: &Method, flow: &Flow, traced: &Traced) -> Span {
    let Traced {
        trace,
        call_id,
        cseq,
        user_agent,
    } = traced;
    identified(trace.trace_id, trace.span_id, || {
        let span = tracing::info_span!(
            parent: None,
            "request",
            otel.name = format!("{} request", method.label()),
            otel.kind = "server",
            network.protocol.name = "sip",
            network.transport = flow.transport.via_name().to_ascii_lowercase(),
            network.peer.address = %Pii(flow.remote),
            sip.request.method = method.as_str(),
            sip.call_id = call_id,
            sip.cseq = cseq,
            user_agent.original = user_agent,
            sip.response.status_code = field::Empty,
        );
        let parent = trace.parent.map(|parent| traceparent(trace.trace_id, parent));
        rpc::set_parent(&span, &parent.unwrap_or_default());
        span
    })
}

/// Ends a span now: one that was entered would end where it was left last.
fn end(span: Span) {
    drop(span.entered());
}

/// W3C Trace Context §3.2: version, trace, parent, sampled.
fn traceparent(trace_id: [u8; 16], parent: [u8; 8]) -> String {
    format!("00-{}-{}-01", TraceId::from_bytes(trace_id), SpanId::from_bytes(parent))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_traceparent_is_written_as_the_standard_wants_it() {
        let text = traceparent([0xab; 16], [1; 8]);
        assert_eq!(text, "00-abababababababababababababababab-0101010101010101-01");
    }
}
