//! What a peer counts.

use std::time::Duration;

use overlay_core::{CallResult, Counters, Status};
use runtime::Component;
use runtime::metrics::{Count, Family, Gauge, Histogram, Histograms, Labels, Ratio, durations};
use wire::{ErrorCode, MessageCode, NodeId};

/// The counters and gauges of the component.
pub(crate) struct Metrics {
    neighbors: Family<Labels<1>, Gauge>,
    fingers: Gauge,
    links: Gauge,
    responsible: Ratio,
    replicas_missing: Gauge,
    requests: Family<Labels<2>, Count>,
    durations: Histograms<1>,
    hops: Histogram,
    forwarded: Count,
    handed_over: Count,
}

impl Metrics {
    pub(crate) fn new(component: &Component) -> Self {
        let metrics = component.metrics();
        Self {
            neighbors: metrics.register("overlay_neighbors", "Neighbors in the routing table", Family::default()),
            fingers: metrics.register(
                "overlay_fingers",
                "Distinct peers in the finger table",
                Gauge::default(),
            ),
            links: metrics.register("overlay_links", "Nodes with a direct link", Gauge::default()),
            responsible: metrics.register(
                "overlay_responsible_fraction",
                "Share of all Resource-IDs that this peer is responsible for",
                Ratio::default(),
            ),
            replicas_missing: metrics.register(
                "storage_replicas_missing",
                "Successors that have not received all copies yet",
                Gauge::default(),
            ),
            requests: metrics.register(
                "overlay_requests_total",
                "Requests of edges and operators that this peer sent, by how they ended",
                Family::default(),
            ),
            durations: metrics.register(
                "overlay_request_duration_seconds",
                "Time until an answer to such a request",
                Histograms::new_with_constructor(durations as fn() -> Histogram),
            ),
            hops: metrics.register(
                "overlay_hops",
                "Links that such an answer crossed",
                Histogram::new([0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 16.0, 32.0]),
            ),
            forwarded: metrics.register(
                "overlay_forwarded_total",
                "Messages passed on for other nodes",
                Count::default(),
            ),
            handed_over: metrics.register(
                "storage_handoff_values_total",
                "Records that other holders took over",
                Count::default(),
            ),
        }
    }

    /// Shows where the peer stands.
    pub(crate) fn show(&self, status: &Status) {
        let set = |gauge: &Gauge, number: usize| {
            gauge.set(i64::try_from(number).unwrap_or(i64::MAX));
        };
        for (side, nodes) in [("successor", &status.successors), ("predecessor", &status.predecessors)] {
            set(&self.neighbors.get_or_create(&[("side", side)]), nodes.len());
        }
        set(&self.fingers, status.fingers.len());
        set(&self.links, status.links.len());
        set(&self.replicas_missing, status.replicas_missing);
        self.responsible.set(fraction(status.range));
    }

    /// Takes over what the core has counted.
    pub(crate) fn count(&self, counters: &Counters) {
        self.forwarded.set_total(counters.forwarded);
        self.handed_over.set_total(counters.handed_over);
    }

    /// Counts a request that ended.
    pub(crate) fn ended(&self, code: MessageCode, took: Duration, result: &CallResult) {
        let method = code.method();
        let outcome = match result {
            CallResult::Answered { hops, .. } => {
                self.durations
                    .get_or_create(&[("method", method)])
                    .observe(took.as_secs_f64());
                self.hops.observe(f64::from(*hops));
                "answered"
            }
            CallResult::Refused(refusal) if refusal.code == ErrorCode::RequestTimeout => "timed_out",
            CallResult::Refused(_) => "refused",
        };
        self.requests
            .get_or_create(&[("method", method), ("result", outcome)])
            .inc();
    }
}

/// The share of the ring from the first Node-ID, exclusive, to the second, inclusive.
fn fraction(range: Option<(NodeId, NodeId)>) -> f64 {
    match range {
        None => 0.0,
        Some((after, until)) if after == until => 1.0,
        Some((after, until)) => {
            let length = until.to_u128().wrapping_sub(after.to_u128());
            // Exact enough: a double has 53 bits, and the point is which peer has how much more than another.
            #[allow(clippy::cast_precision_loss, reason = "a share")]
            let share = length as f64 / u128::MAX as f64;
            share
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_a_share_of_the_ring() {
        let node = |number: u128| NodeId::from(number.to_be_bytes());
        assert!(fraction(None) == 0.0 && fraction(Some((node(7), node(7)))) == 1.0);
        let quarter = fraction(Some((node(u128::MAX / 8 * 7), node(u128::MAX / 8))));
        assert!((quarter - 0.25).abs() < 1e-9, "{quarter}");
    }
}
