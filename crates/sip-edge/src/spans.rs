//! The spans of requests that pass this edge, and of the branches they take.
//!
//! The proxy reports what happens to a request; its span opens when the request comes and closes with its final answer. Work that is done for it
//! (look-ups, AppAttach, the overlay's hops) runs inside that span, so that one call is one trace.

use std::collections::HashMap;

use opentelemetry::trace::{SpanId, TraceId};
use runtime::telemetry::Pii;
use sip_core::flow::{Flow, Hop};
use sip_core::message::Method;
use sip_core::proxy::{Event, Trace};
use tracing::{Span, field};

/// Requests under way at most that have a span; further ones go without, which costs nothing but the picture.
const OPEN: usize = 16_384;

/// The open spans, by the proxy's name for the request.
#[derive(Debug, Default)]
pub(crate) struct Spans(HashMap<[u8; 8], Request>);

#[derive(Debug)]
struct Request {
    span: Span,
    method: Method,
    /// Closed with the request: a branch has no end of its own that anyone would wait for.
    branches: Vec<Span>,
}

impl Spans {
    /// Takes what the proxy reports.
    pub(crate) fn note(&mut self, event: &Event) {
        match event {
            Event::Received {
                trace,
                method,
                call_id,
                flow,
            } => self.open(trace, method, call_id, flow),
            Event::Branched { trace, hop } => self.branch(trace, hop),
            Event::Answered { trace, status } => {
                if let Some(request) = self.0.remove(&trace.span_id) {
                    request.span.record("sip.response.status_code", status);
                    tracing::debug!(parent: &request.span, status, branches = request.branches.len(), "answered");
                }
            }
            Event::Dropped { flow, why } => {
                tracing::debug!(network.peer.address = %Pii(flow.remote), why, "message dropped");
            }
        }
    }

    /// The span of the request that a question of the proxy belongs to.
    pub(crate) fn of(&self, trace: &Trace) -> Span {
        self.0
            .get(&trace.span_id)
            .map_or_else(Span::none, |request| request.span.clone())
    }

    fn open(&mut self, trace: &Trace, method: &Method, call_id: &str, flow: &Flow) {
        if self.0.len() >= OPEN {
            return;
        }
        let span = tracing::info_span!(
            parent: None,
            "request",
            otel.name = format!("{} request", method.as_str()),
            otel.kind = "server",
            network.protocol.name = "sip",
            network.transport = flow.transport.via_name().to_ascii_lowercase(),
            network.peer.address = %Pii(flow.remote),
            sip.request.method = method.as_str(),
            sip.call_id = call_id,
            sip.response.status_code = field::Empty,
        );
        // A request that begins a trace has no span above it; its own name in the proxy stands there, as the next edge sees it.
        rpc::set_parent(
            &span,
            &traceparent(trace.trace_id, trace.parent.unwrap_or(trace.span_id)),
        );
        tracing::debug!(parent: &span, "received");
        let request = Request {
            span,
            method: method.clone(),
            branches: Vec::new(),
        };
        self.0.insert(trace.span_id, request);
    }

    fn branch(&mut self, trace: &Trace, hop: &Hop) {
        let Some(request) = self.0.get_mut(&trace.span_id) else {
            return;
        };
        let target = match hop {
            Hop::Flow(flow) => Pii(flow.remote).to_string(),
            Hop::Edge { node, .. } => node.to_string(),
        };
        let span = tracing::info_span!(
            parent: &request.span,
            "branch",
            otel.name = format!("{} branch", request.method.as_str()),
            otel.kind = "client",
            network.protocol.name = "sip",
            sip.request.method = request.method.as_str(),
            network.peer.address = target,
        );
        request.branches.push(span);
    }
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
