//! Spans of messages that belong to a trace (docs/deviations.md D10).

use overlay_core::{Traced, TracedKind};
use wire::TraceContext;

/// Records what this peer did with a message: one span, over as soon as it is begun.
pub(crate) fn record(traced: &Traced) {
    let transaction_id = traced.transaction_id;
    let span = match traced.kind {
        TracedKind::Served => tracing::info_span!(
            parent: None,
            "reload",
            otel.name = traced.code.map(|code| format!("reload {code}")),
            otel.kind = "server",
            reload.transaction_id = %transaction_id,
            reload.ttl = traced.ttl,
        ),
        TracedKind::Forwarded(next_hop) => tracing::info_span!(
            parent: None,
            "reload forward",
            reload.transaction_id = %transaction_id,
            reload.ttl = traced.ttl,
            reload.next_hop = %next_hop,
        ),
    };
    rpc::set_parent(&span, &to_text(&traced.parent));
    span.in_scope(|| {});
}

/// The trace that the current span belongs to, if any.
pub(crate) fn current() -> Option<TraceContext> {
    let text = rpc::traceparent();
    let mut fields = text.split('-').skip(1);
    let trace_id = u128::from_str_radix(fields.next()?, 16).ok()?;
    let span_id = u64::from_str_radix(fields.next()?, 16).ok()?;
    let flags = u8::from_str_radix(fields.next()?, 16).ok()?;
    Some(TraceContext {
        trace_id: trace_id.to_be_bytes(),
        span_id: span_id.to_be_bytes(),
        flags,
    })
}

fn to_text(context: &TraceContext) -> String {
    let (trace_id, span_id) = (
        u128::from_be_bytes(context.trace_id),
        u64::from_be_bytes(context.span_id),
    );
    format!("00-{trace_id:032x}-{span_id:016x}-{:02x}", context.flags)
}

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
