//! Spans of requests that belong to a trace (docs/deviations.md D10). The core draws their ids, because they travel in messages.

use std::collections::HashMap;

use overlay_core::{Ending, Step, Target, Traced};
use runtime::telemetry::identified;
use tracing::{Span, field};
use wire::{KindId, NodeId, TraceContext};

/// The requests that arrived here and are not answered yet, by their span ids.
#[derive(Default)]
pub(crate) struct Arrived {
    overlay: String,
    open: HashMap<[u8; 8], Span>,
}

impl Arrived {
    pub(crate) fn new(overlay: &str) -> Self {
        Self {
            overlay: overlay.to_owned(),
            open: HashMap::new(),
        }
    }

    /// Records what the core says of a request.
    pub(crate) fn note(&mut self, traced: &Traced) {
        match traced {
            Traced::Forwarded(step, next_hop) => drop(begin(step, || self.forward(step, *next_hop))),
            Traced::Arrived(step, kinds) => {
                if self.open.len() >= OPEN {
                    self.open.clear();
                }
                let span = begin(step, || self.serve(step, kinds));
                self.open.insert(step.context.span_id, span);
            }
            Traced::Ended(span_id, ending) => {
                let Some(span) = self.open.remove(span_id) else { return };
                match ending {
                    Ending::Answered => {}
                    Ending::Refused(code) => drop(span.record("error.type", field::display(code))),
                    Ending::Unanswered => drop(span.record("error.type", "unanswered")),
                }
            }
            // The call itself knows.
            Traced::Called(..) | Traced::SentAgain(_) => {}
        }
    }

    fn serve(&self, step: &Step, kinds: &[KindId]) -> Span {
        let span = tracing::info_span!(
            parent: None,
            "reload",
            otel.name = step.code.map(|code| format!("reload {}", code.method())),
            otel.kind = "server",
            reload.overlay = self.overlay,
            reload.transaction_id = %step.transaction_id,
            reload.resource_id = field::Empty,
            reload.kind_id = field::Empty,
            reload.node_id = field::Empty,
            reload.ttl = step.ttl,
            error.type = field::Empty,
        );
        record_kinds(&span, kinds);
        match step.target {
            Some(Target::Resource(resource)) => drop(span.record("reload.resource_id", field::display(resource))),
            Some(Target::Node(node)) => drop(span.record("reload.node_id", field::display(node))),
            None => {}
        }
        span
    }

    fn forward(&self, step: &Step, next_hop: NodeId) -> Span {
        tracing::info_span!(
            parent: None,
            "reload forward",
            reload.overlay = self.overlay,
            reload.transaction_id = %step.transaction_id,
            reload.ttl = step.ttl,
            reload.next_hop = %next_hop,
        )
    }
}

/// Records the Kinds that a request names, if it names any.
pub(crate) fn record_kinds(span: &Span, kinds: &[KindId]) {
    if !kinds.is_empty() {
        let kinds: Vec<String> = kinds.iter().map(ToString::to_string).collect();
        span.record("reload.kind_id", kinds.join(","));
    }
}

/// Begins the span of a step, below the one that the request came with.
fn begin(step: &Step, make: impl FnOnce() -> Span) -> Span {
    let parent = TraceContext {
        span_id: step.parent,
        ..step.context
    };
    identified(step.context.trace_id, step.context.span_id, || {
        let span = make();
        rpc::set_parent(&span, &to_text(&parent));
        span
    })
}

/// The trace that the current span belongs to, if somebody records it.
pub(crate) fn current() -> Option<TraceContext> {
    let text = rpc::traceparent();
    let mut fields = text.split('-').skip(1);
    let trace_id = u128::from_str_radix(fields.next()?, 16).ok()?;
    let span_id = u64::from_str_radix(fields.next()?, 16).ok()?;
    let flags = u8::from_str_radix(fields.next()?, 16).ok()?;
    let context = TraceContext {
        trace_id: trace_id.to_be_bytes(),
        span_id: span_id.to_be_bytes(),
        flags,
    };
    // W3C Trace Context §3.2.2.5.1: bit 0. What is not recorded need not travel.
    (flags & 1 != 0).then_some(context)
}

/// Writes a context as a `traceparent`.
pub(crate) fn to_text(context: &TraceContext) -> String {
    let (trace_id, span_id) = (
        u128::from_be_bytes(context.trace_id),
        u64::from_be_bytes(context.span_id),
    );
    format!("00-{trace_id:032x}-{span_id:016x}-{:02x}", context.flags)
}

/// Requests that are being answered at most; should there be more, those on record have been forgotten, and end now.
const OPEN: usize = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_written_as_a_traceparent() {
        let context = TraceContext {
            trace_id: [0xab; 16],
            span_id: [1; 8],
            flags: 1,
        };
        assert_eq!(
            to_text(&context),
            "00-abababababababababababababababab-0101010101010101-01"
        );
    }
}
