//! Spans on their way to a collector, over OTLP/gRPC.
//!
//! One bounded queue and one task for the whole process. A span that finds the queue full, or whose batch the collector does not take, is dropped
//! and counted; nothing waits for a collector, ever.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use opentelemetry::trace::{TraceId, TracerProvider as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::SpanExporter as Otlp;
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    SdkTracer, SdkTracerProvider, ShouldSample, Span, SpanData, SpanExporter as _, SpanProcessor,
};
use tokio::sync::{Notify, mpsc, oneshot};
use tracing::{info, warn};

use super::environment::Environment;
use super::ids::Ids;
use super::sampling::Sampling;
use crate::metrics::Count;

/// The exporter of the process; clones share it.
#[derive(Clone, Debug)]
pub(crate) struct Exporter {
    environment: Arc<Environment>,
    sampling: Sampling,
    services: Arc<AtomicUsize>,
    queue: mpsc::Sender<Ended>,
    due: Arc<Notify>,
    flushes: mpsc::Sender<oneshot::Sender<()>>,
}

/// A component, as a collector gets to know it.
#[derive(Debug)]
struct Service {
    number: usize,
    resource: Resource,
}

/// A span that has ended, and whose it is.
struct Ended {
    service: Arc<Service>,
    span: SpanData,
}

impl Exporter {
    /// Starts the task; the collector need not be there.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn start(environment: Environment) -> Self {
        let environment = Arc::new(environment);
        let (queue, ended) = mpsc::channel(environment.queue);
        let (flushes, asked) = mpsc::channel(FLUSHES);
        let due = Arc::new(Notify::new());
        let batches = Batches {
            environment: Arc::clone(&environment),
            ended,
            due: Arc::clone(&due),
            asked,
            exporters: BTreeMap::new(),
            is_failing: false,
        };
        tokio::spawn(batches.run());
        Self {
            environment,
            sampling: Sampling::of_process(),
            services: Arc::default(),
            queue,
            due,
            flushes,
        }
    }

    /// A tracer for a component of a node.
    pub(crate) fn tracer(&self, component: &str, node_id: &str) -> SdkTracer {
        let mut resource =
            Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
        if !node_id.is_empty() {
            resource = resource.with_attribute(KeyValue::new("service.instance.id", node_id.to_owned()));
        }
        if !self.environment.names_service {
            resource = resource.with_service_name(format!("p2psip-{component}"));
        }
        let resource = resource.build();
        let service = Service {
            number: self.services.fetch_add(1, Ordering::Relaxed),
            resource: resource.clone(),
        };
        SdkTracerProvider::builder()
            .with_resource(resource)
            .with_sampler(Box::new(self.sampling.clone()) as Box<dyn ShouldSample>)
            .with_id_generator(Ids::default())
            .with_span_processor(Queue {
                exporter: self.clone(),
                service: Arc::new(service),
            })
            .build()
            .tracer("p2psip")
    }

    /// Whether a trace that begins here is recorded.
    pub(crate) fn records(&self, trace_id: TraceId) -> bool {
        self.sampling.records(trace_id)
    }

    /// Sends what has ended, and waits at most so long until it is sent or dropped.
    pub(crate) async fn flush(&self, within: Duration) {
        let (done, is_done) = oneshot::channel();
        let flushed = async {
            // If the task is gone, so is what it should send.
            let _ = self.flushes.send(done).await;
            let _ = is_done.await;
        };
        if tokio::time::timeout(within, flushed).await.is_err() {
            warn!(?within, "the last traces were not taken in time");
        }
    }
}

/// The way of one service's spans into the queue.
#[derive(Debug)]
struct Queue {
    exporter: Exporter,
    service: Arc<Service>,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        let Exporter {
            environment,
            queue,
            due,
            ..
        } = &self.exporter;
        let service = Arc::clone(&self.service);
        if queue.try_send(Ended { service, span }).is_err() {
            dropped().inc();
        }
        if queue.max_capacity() - queue.capacity() >= environment.batch {
            due.notify_one();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// The task that sends.
struct Batches {
    environment: Arc<Environment>,
    ended: mpsc::Receiver<Ended>,
    due: Arc<Notify>,
    asked: mpsc::Receiver<oneshot::Sender<()>>,
    /// One for each service, by its number: an exporter speaks for one.
    exporters: BTreeMap<usize, Otlp>,
    /// So that a collector that is away is told of once.
    is_failing: bool,
}

impl Batches {
    /// Runs as long as the process.
    async fn run(mut self) {
        let mut tick = tokio::time::interval(self.environment.delay);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let flush = tokio::select! {
                _ = tick.tick() => None,
                () = self.due.notified() => None,
                Some(done) = self.asked.recv() => Some(done),
            };
            self.send_all().await;
            if let Some(done) = flush {
                // Whoever asked may have stopped waiting.
                let _ = done.send(());
            }
        }
    }

    /// Sends what waits, in batches.
    async fn send_all(&mut self) {
        loop {
            let mut batch: BTreeMap<usize, (Arc<Service>, Vec<SpanData>)> = BTreeMap::new();
            for Ended { service, span } in
                std::iter::from_fn(|| self.ended.try_recv().ok()).take(self.environment.batch)
            {
                let (_, spans) = batch.entry(service.number).or_insert_with(|| (service, Vec::new()));
                spans.push(span);
            }
            if batch.is_empty() {
                return;
            }
            for (service, spans) in batch.into_values() {
                self.send(&service, spans).await;
            }
        }
    }

    async fn send(&mut self, service: &Service, spans: Vec<SpanData>) {
        let count = u64::try_from(spans.len()).unwrap_or(u64::MAX);
        let timeout = self.environment.timeout;
        let sent = match self.exporter(service) {
            Ok(exporter) => {
                let sending = tokio::time::timeout(timeout, exporter.export(spans));
                sending.await.map_or(Err("no answer in time".to_owned()), |sent| {
                    sent.map_err(|error| error.to_string())
                })
            }
            Err(error) => Err(error.to_string()),
        };
        match sent {
            Ok(()) if self.is_failing => info!("the collector takes traces again"),
            Ok(()) => {}
            Err(error) => {
                dropped().inc_by(count);
                if !self.is_failing {
                    warn!(error, "the collector takes no traces; they are dropped");
                }
                self.is_failing = true;
                return;
            }
        }
        self.is_failing = false;
    }

    fn exporter(&mut self, service: &Service) -> Result<&Otlp, opentelemetry_otlp::ExporterBuildError> {
        match self.exporters.entry(service.number) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(place) => {
                // Endpoint, headers and compression come from the environment.
                let mut exporter = Otlp::builder().with_tonic().build()?;
                exporter.set_resource(&service.resource);
                Ok(place.insert(exporter))
            }
        }
    }
}

/// The spans that never reached a collector.
pub(crate) fn dropped() -> &'static Count {
    static DROPPED: OnceLock<Count> = OnceLock::new();
    DROPPED.get_or_init(Count::default)
}

/// Ends of the process that want a flush: one.
const FLUSHES: usize = 1;

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Span as _, Tracer as _};

    use super::*;

    /// No collector is at the port that the standard variables name by default.
    #[tokio::test]
    async fn a_collector_that_is_away_costs_a_counter_and_keeps_nobody_waiting() {
        let exporter = Exporter::start(Environment {
            queue: 4,
            batch: 2,
            delay: Duration::from_secs(3600),
            timeout: Duration::from_secs(5),
            names_service: false,
        });
        let tracer = exporter.tracer("overlay", "");
        let before = dropped().total();
        // One thread and no await: what does not fit has nowhere to go.
        for _ in 0..10 {
            tracer.start("reload fetch").end();
        }
        assert_eq!(dropped().total() - before, 6);
        exporter.flush(Duration::from_secs(30)).await;
        assert_eq!(dropped().total() - before, 10);
        // It is tried again.
        tracer.start("reload fetch").end();
        exporter.flush(Duration::from_secs(30)).await;
        assert_eq!(dropped().total() - before, 11);
    }
}
