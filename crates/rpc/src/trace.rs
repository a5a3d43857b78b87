//! W3C trace context between the two ends of a call. Always carried, whatever exports it.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tonic::Code;
use tracing::{Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// The current span as a `traceparent`, for work that crosses a stream; empty outside any trace.
#[must_use]
pub fn traceparent() -> String {
    of_span(&Span::current()).unwrap_or_default()
}

/// Makes `span` part of the trace that `traceparent` names. Without one, or with a malformed one, it begins a trace: that is never a
/// reason to refuse work. Call it before the span is entered.
pub fn set_parent(span: &Span, traceparent: &str) {
    let parent = parse(traceparent).unwrap_or_else(SpanContext::empty_context);
    // What else is in the current context stays: it says which service this is.
    let context = opentelemetry::Context::current().with_remote_span_context(parent);
    // Fails only for a span that no layer exports, or that has begun: there is no trace to join then.
    let _ = span.set_parent(context);
}

/// The span of a call at its caller.
pub(crate) fn client_span(path: &str) -> Span {
    tracing::info_span!(
        "rpc",
        otel.name = name(path),
        otel.kind = "client",
        rpc.system.name = "grpc",
        rpc.method = name(path),
        rpc.response.status_code = field::Empty,
    )
}

/// The span of a call at its callee. Its parent is the one that the headers name and nothing else: on the direct wiring
/// the caller's span would otherwise be found in the same process.
pub(crate) fn server_span(path: &str, headers: &HeaderMap) -> Span {
    let span = tracing::info_span!(
        parent: None,
        "rpc",
        otel.name = name(path),
        otel.kind = "server",
        rpc.system.name = "grpc",
        rpc.method = name(path),
        rpc.response.status_code = field::Empty,
    );
    let traceparent = headers.get(&TRACEPARENT).and_then(|value| value.to_str().ok());
    set_parent(&span, traceparent.unwrap_or_default());
    span
}

/// Writes the span's context into the headers of its request.
pub(crate) fn inject(span: &Span, headers: &mut HeaderMap) {
    // Without a layer that makes trace ids, what the caller itself put there goes on.
    if let Some(value) = of_span(span).and_then(|text| HeaderValue::try_from(text).ok()) {
        headers.insert(TRACEPARENT, value);
    }
}

/// Records how a call ended, from its trailers (or from the head of a refusal).
pub(crate) fn record_status(span: &Span, headers: &HeaderMap) {
    if let Some(code) = headers.get("grpc-status") {
        record_code(span, Code::from_bytes(code.as_bytes()));
    }
}

/// Records how a call ended.
pub(crate) fn record_code(span: &Span, code: Code) {
    span.record("rpc.response.status_code", code_name(code));
}

/// Names a status code as gRPC's documents do.
#[must_use]
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

fn name(path: &str) -> &str {
    path.strip_prefix('/').unwrap_or(path)
}

fn of_span(span: &Span) -> Option<String> {
    let context = span.context();
    let context = context.span().span_context().clone();
    context.is_valid().then(|| {
        format!(
            "00-{}-{}-{:02x}",
            context.trace_id(),
            context.span_id(),
            context.trace_flags().to_u8()
        )
    })
}

/// Reads `version-trace_id-span_id-flags` in hex; later versions may add fields behind.
fn parse(text: &str) -> Option<SpanContext> {
    let mut fields = text.split('-');
    let version = hex(fields.next()?, 2)?;
    let trace_id = hex(fields.next()?, 32)?;
    let span_id = hex(fields.next()?, 16)?;
    let flags = hex(fields.next()?, 2)?;
    if version == "ff" || (version == "00" && fields.next().is_some()) {
        return None;
    }
    let context = SpanContext::new(
        TraceId::from_hex(trace_id).ok()?,
        SpanId::from_hex(span_id).ok()?,
        // Only the sampled flag has a meaning in version 00.
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()?) & TraceFlags::SAMPLED,
        true,
        TraceState::default(),
    );
    context.is_valid().then_some(context)
}

fn hex(field: &str, length: usize) -> Option<&str> {
    let is_lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
    (field.len() == length && field.bytes().all(is_lower_hex)).then_some(field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traceparent_is_read() {
        let context = parse("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert_eq!(context.trace_id().to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(context.span_id().to_string(), "00f067aa0ba902b7");
        assert!(context.is_sampled() && context.is_remote());
    }

    #[test]
    fn malformed_traceparent_is_ignored() {
        for text in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
