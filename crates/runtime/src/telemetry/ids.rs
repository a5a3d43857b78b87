//! Ids that a core has drawn before its shell makes the span: they travel in messages.

use std::cell::Cell;

use opentelemetry::trace::{SpanId, TraceId};
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Makes and starts a span under a given id; one without a parent begins the given trace.
pub fn identified(trace_id: [u8; 16], span_id: [u8; 8], make: impl FnOnce() -> Span) -> Span {
    let span = make();
    CHOSEN.set(Some((TraceId::from_bytes(trace_id), SpanId::from_bytes(span_id))));
    // It starts here, on this thread.
    let _ = span.context();
    CHOSEN.set(None);
    span
}

/// Gives the ids that were chosen, and random ones where none were.
#[derive(Debug, Default)]
pub(super) struct Ids(RandomIdGenerator);

impl IdGenerator for Ids {
    fn new_trace_id(&self) -> TraceId {
        CHOSEN
            .get()
            .map_or_else(|| self.0.new_trace_id(), |(trace_id, _)| trace_id)
    }

    fn new_span_id(&self) -> SpanId {
        CHOSEN
            .get()
            .map_or_else(|| self.0.new_span_id(), |(_, span_id)| span_id)
    }
}

thread_local! {
    static CHOSEN: Cell<Option<(TraceId, SpanId)>> = const { Cell::new(None) };
}
