//! Which traces are recorded: as `OTEL_TRACES_SAMPLER` says, and of the overlay's own upkeep few.

use std::sync::Arc;

use opentelemetry::trace::{Link, SpanKind, TraceContextExt as _, TraceId};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::trace::{Config, Sampler, SamplingDecision, SamplingResult, ShouldSample};

/// The sampler of the process.
#[derive(Clone, Debug)]
pub(crate) struct Sampling {
    asked_for: Arc<dyn ShouldSample>,
    upkeep: Sampler,
}

impl Sampling {
    /// The sampler that the environment asks for; parent-based, and all else, without it.
    pub(crate) fn of_process() -> Self {
        Self {
            asked_for: Arc::from(Config::default().sampler),
            upkeep: Sampler::TraceIdRatioBased(UPKEEP_SHARE),
        }
    }

    /// Whether a trace that begins here is recorded.
    pub(crate) fn records(&self, trace_id: TraceId) -> bool {
        let result = self
            .asked_for
            .should_sample(None, trace_id, "", &SpanKind::Server, &[], &[]);
        result.decision == SamplingDecision::RecordAndSample
    }
}

impl ShouldSample for Sampling {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        trace_id: TraceId,
        name: &str,
        kind: &SpanKind,
        attributes: &[KeyValue],
        links: &[Link],
    ) -> SamplingResult {
        // A context without a valid span in it says which service this is, and nothing about a trace.
        let parent = parent.filter(|parent| parent.span().span_context().is_valid());
        let asked_for = self
            .asked_for
            .should_sample(parent, trace_id, name, kind, attributes, links);
        if parent.is_none() && UPKEEP.contains(&name) && asked_for.decision == SamplingDecision::RecordAndSample {
            return self
                .upkeep
                .should_sample(parent, trace_id, name, kind, attributes, links);
        }
        asked_for
    }
}

/// Spans that begin traces by themselves, all the time.
const UPKEEP: [&str; 3] = ["chord stabilize", "storage replicate", "storage handoff"];

/// One in a hundred shows how they fare.
const UPKEEP_SHARE: f64 = 0.01;

#[cfg(test)]
mod tests {
    use opentelemetry::trace::SpanContext;

    use super::*;

    #[test]
    fn a_context_without_a_span_is_no_parent_that_records_nothing() {
        let sampling = Sampling::of_process();
        let empty = Context::new().with_remote_span_context(SpanContext::empty_context());
        let id = TraceId::from(7);
        let result = sampling.should_sample(Some(&empty), id, "INVITE request", &SpanKind::Server, &[], &[]);
        assert_eq!(result.decision, SamplingDecision::RecordAndSample);
    }

    #[test]
    fn upkeep_is_recorded_seldom_and_calls_as_asked() {
        let sampling = Sampling::of_process();
        let recorded = |name: &str| {
            // Ratios look at the last eight octets.
            let ids = (0..1000_u64).map(|n| TraceId::from(u128::from(n.wrapping_mul(0x9E37_79B9_7F4A_7C15))));
            ids.filter(|id| {
                let result = sampling.should_sample(None, *id, name, &SpanKind::Internal, &[], &[]);
                result.decision == SamplingDecision::RecordAndSample
            })
            .count()
        };
        assert_eq!(recorded("INVITE request"), 1000);
        assert!(
            (1..50).contains(&recorded("storage replicate")),
            "{}",
            recorded("storage replicate")
        );
    }
}
