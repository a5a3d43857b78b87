//! What storage counts.

use runtime::Component;
use runtime::metrics::Gauge;
use storage_core::Summary;

/// The gauges of the component.
pub(crate) struct Metrics {
    values: Gauge,
    bytes: Gauge,
}

impl Metrics {
    pub(crate) fn new(component: &Component) -> Self {
        let metrics = component.metrics();
        Self {
            values: metrics.register("storage_values", "Stored values, tombstones included", Gauge::default()),
            bytes: metrics.register(
                "storage_bytes",
                "Octets of the stored values and their certificates",
                Gauge::default(),
            ),
        }
    }

    pub(crate) fn show(&self, summary: &Summary) {
        self.values.set(i64::try_from(summary.values).unwrap_or(i64::MAX));
        self.bytes.set(i64::try_from(summary.bytes).unwrap_or(i64::MAX));
    }
}
