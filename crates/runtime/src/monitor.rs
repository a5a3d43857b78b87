//! What a process shows its operator: whether it lives, whether it is ready, what it has counted.

use std::sync::Arc;

use serde::Serialize;
use tracing::Span;

use crate::health::{Health, Reporter, State};
use crate::metrics::{Family, Gauge, Labels, Metrics};
use crate::pulse::{Pulse, Pulses};
use crate::telemetry;

/// The monitor of one peer, or of the part of it that this process is; clones share it.
#[derive(Clone, Debug)]
pub struct Monitor {
    health: Health,
    pulses: Pulses,
    metrics: Metrics,
    ready: Gauge,
    certificates: Family<Labels<1>, Gauge>,
}

/// What a component is given: the voice with which it tells of itself.
#[derive(Clone, Debug)]
pub struct Component {
    name: &'static str,
    instance: Arc<str>,
    reporter: Reporter,
    monitor: Monitor,
}

/// Whether the process is ready, and why not; `/readyz?verbose`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Readiness {
    /// Whether nothing is missing in any component.
    pub ready: bool,
    /// The place in the ring, where the overlay is part of this process.
    #[serde(flatten)]
    pub ring: Option<crate::Ring>,
    /// Why it is not ready, as `component: reason`.
    pub reasons: Vec<String>,
}

impl Monitor {
    /// A monitor of no components yet.
    #[must_use]
    pub fn new() -> Self {
        let metrics = Metrics::new();
        let build = metrics.register(
            "build_info",
            "The running program",
            Family::<Labels<1>, Gauge>::default(),
        );
        build.get_or_create(&[("version", env!("CARGO_PKG_VERSION"))]).set(1);
        let _ = metrics.register(
            "otlp_dropped_total",
            "Spans of this process that no collector took",
            telemetry::dropped().clone(),
        );
        Self {
            health: Health::new(),
            pulses: Pulses::default(),
            ready: metrics.register("ready", "Whether nothing is missing: 1 or 0", Gauge::default()),
            certificates: metrics.register(
                "certificate_expiry_seconds",
                "When a certificate of this peer ends, in seconds since 1970",
                Family::default(),
            ),
            metrics,
        }
    }

    /// Adds a component, of the node with the short id `instance`. It is not ready until it says so.
    #[must_use]
    pub fn component(&self, name: &'static str, instance: &str) -> Component {
        Component {
            name,
            instance: instance.into(),
            reporter: self.health.component(name),
            monitor: self.clone(),
        }
    }

    /// Notes that the process is about to end. It is not ready from now on, so that whoever sends it work stops before its parts
    /// do.
    pub fn stop(&self) {
        self.health.stop();
    }

    /// What the components say of themselves.
    #[must_use]
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Whether the process is ready.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness {
            ready: self.health.is_ready(),
            ring: self.health.components().into_values().find_map(|state| state.ring),
            reasons: self.health.reasons(),
        }
    }

    /// Names the loops that do not turn; the process lives if there are none.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn stuck(&self) -> Vec<String> {
        self.pulses.silent().await
    }

    /// The metrics in Prometheus' text format.
    ///
    /// # Errors
    /// Never, in truth: writing to memory does not fail.
    pub fn metrics(&self) -> Result<String, std::fmt::Error> {
        self.ready.set(self.health.is_ready().into());
        self.metrics.text()
    }
}

impl Default for Monitor {
    fn default() -> Self {
        Self::new()
    }
}

impl Component {
    /// Makes the span for what the component does for a node, where it did not know at its start whose it is.
    #[must_use]
    pub fn span_for(&self, instance: &str) -> Span {
        // At this level so that every line is told of, whose it is.
        tracing::error_span!(telemetry::COMPONENT, component = self.name, node_id = instance)
    }

    /// Makes the span that the component runs in: its log lines name it, and its traces are those of a service of its own.
    #[must_use]
    pub fn span(&self) -> Span {
        self.span_for(&self.instance)
    }

    /// Tells the component's health; only a change wakes anybody.
    pub fn tell(&self, state: State) {
        self.reporter.set(state);
    }

    /// Makes the ear of a loop that has to turn for as long as the component runs.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.monitor.pulses.add(self.name.to_owned())
    }

    /// Where the component registers what it counts.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.monitor.metrics
    }

    /// Tells when a certificate ends: at the start, and again when it was renewed.
    pub fn certificate(&self, which: &'static str, until_unix_ms: u64) {
        let seconds = i64::try_from(until_unix_ms / 1000).unwrap_or(i64::MAX);
        self.monitor
            .certificates
            .get_or_create(&[("certificate", which)])
            .set(seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Ring;

    #[test]
    fn readiness_names_the_place_in_the_ring_and_what_is_missing() {
        let monitor = Monitor::new();
        let overlay = monitor.component("overlay", "a1b2c3d4");
        let storage = monitor.component("storage", "a1b2c3d4");
        storage.tell(State::ready());
        overlay.tell(State {
            is_serving: true,
            is_ready: false,
            reasons: vec!["replicas are missing".into()],
            ring: Some(Ring {
                joined: true,
                successors: 3,
                predecessors: 3,
                fingers: 16,
            }),
        });
        let json = serde_json::to_string(&monitor.readiness()).unwrap();
        assert_eq!(
            json,
            r#"{"ready":false,"joined":true,"successors":3,"predecessors":3,"fingers":16,"reasons":["overlay: replicas are missing"]}"#
        );
    }

    #[test]
    fn the_process_counts_itself() {
        let monitor = Monitor::new();
        let component = monitor.component("overlay", "a1b2c3d4");
        component.tell(State::ready());
        component.certificate("node", 1_800_000_000_999);
        let text = monitor.metrics().unwrap();
        for line in [
            concat!("p2psip_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1\n"),
            "p2psip_ready 1\n",
            "p2psip_certificate_expiry_seconds{certificate=\"node\"} 1800000000\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in:\n{text}");
        }
    }
}
