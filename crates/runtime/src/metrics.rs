//! The metrics of a process, in the text format that Prometheus reads.
//!
//! Components register what they count; the names are theirs without the prefix `p2psip_`. Labels are bounded: methods and results, never
//! an id, name or address.

use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::{Metric, Registry};

pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;

/// The metrics of a process; clones share them.
#[derive(Clone)]
pub struct Metrics(Arc<Mutex<Registry>>);

/// Labels of a metric, each with a value from a short list.
pub type Labels<const N: usize> = [(&'static str, &'static str); N];

/// A number that is no integer.
pub type Ratio = Gauge<f64, std::sync::atomic::AtomicU64>;

/// A histogram for each combination of labels.
pub type Histograms<const N: usize> = Family<Labels<N>, Histogram, fn() -> Histogram>;

/// A number that only grows. Its registered name ends in `_total`, as Prometheus' own format wants it.
#[derive(Clone, Debug, Default)]
pub struct Count(Counter);

impl Metrics {
    /// No metrics yet.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(Registry::with_prefix("p2psip"))))
    }

    /// Adds a metric, and returns it to be changed.
    #[must_use]
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.registry().register(name, help, metric.clone());
        metric
    }

    /// All metrics, as they are now.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut out = String::new();
        text::encode_registry(&mut out, &self.registry())?;
        Ok(out)
    }

    fn registry(&self) -> MutexGuard<'_, Registry> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Count {
    /// Adds one.
    pub fn inc(&self) {
        self.0.inc();
    }

    /// Adds some.
    pub fn inc_by(&self, number: u64) {
        self.0.inc_by(number);
    }

    /// What it stands at.
    #[cfg(test)]
    pub(crate) fn total(&self) -> u64 {
        self.0.get()
    }

    /// Takes over what somebody else has counted from the same beginning.
    pub fn set_total(&self, number: u64) {
        self.0.inner().fetch_max(number, Ordering::Relaxed);
    }
}

impl EncodeMetric for Count {
    // The library's counter is that of OpenMetrics, which names `x` what has the sample `x_total`. Here both have one name.
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        encoder.encode_gauge(&self.0.get())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Counter
    }
}

impl prometheus_client::metrics::TypedMetric for Count {
    const TYPE: MetricType = MetricType::Counter;
}

/// Makes a histogram for durations: from a message on one machine to the longest wait of a phone.
#[must_use]
pub fn durations() -> Histogram {
    Histogram::new([
        0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_as_prometheus_reads_them() {
        let metrics = Metrics::new();
        let requests = metrics.register("sip_requests_total", "Requests", Family::<Labels<1>, Count>::default());
        requests.get_or_create(&[("method", "INVITE")]).inc_by(2);
        let flows: Gauge = metrics.register("sip_flows", "Connections", Gauge::default());
        flows.set(3);
        let text = metrics.text().unwrap();
        for line in [
            "# HELP p2psip_sip_requests_total Requests.\n# TYPE p2psip_sip_requests_total counter\n",
            "\np2psip_sip_requests_total{method=\"INVITE\"} 2\n",
            "\n# TYPE p2psip_sip_flows gauge\np2psip_sip_flows 3\n",
        ] {
            assert!(text.contains(line), "{line:?} is not in:\n{text}");
        }
    }

    #[test]
    fn a_count_never_falls() {
        let count = Count::default();
        count.set_total(5);
        count.set_total(3);
        assert_eq!(count.0.get(), 5);
    }
}
