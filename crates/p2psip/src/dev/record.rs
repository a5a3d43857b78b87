//! Records the messages of the demonstration call: a tracing layer that listens to the target `p2psip::ladder`.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::subscriber::Interest;
use tracing::{Event, Subscriber};
use tracing_subscriber::filter::DynFilterFn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::{Layer, Registry};

use runtime::telemetry::Listener;

/// One message, as the component that received it told it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) at: Instant,
    pub(crate) protocol: Protocol,
    /// Who told: Node-ID of a peer or an edge.
    pub(crate) node: String,
    /// The other end: a Node-ID, or a phone's `udp 127.0.0.1:7001`.
    pub(crate) other: String,
    /// Whether `node` sent it; it received it otherwise.
    pub(crate) is_sent: bool,
    /// What the message says it is: `INVITE sip:…`, `200 OK (INVITE)`, `FetchReq`.
    pub(crate) text: String,
    /// Call-ID or transaction id.
    pub(crate) id: String,
    /// The Resource-ID that a RELOAD request is for.
    pub(crate) resource: Option<String>,
    pub(crate) ttl: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Protocol {
    Sip,
    Reload,
}

/// Keeps what was told while it is on; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recorder(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    is_on: AtomicBool,
    steps: Mutex<Vec<Step>>,
}

impl Recorder {
    /// The layer to install; it costs one look at a flag for each message while the recorder is off.
    pub(crate) fn listener(&self) -> Listener {
        let shared = Arc::clone(&self.0);
        let filter = DynFilterFn::new(move |metadata, _: &Context<'_, Registry>| {
            metadata.target() == TARGET && shared.is_on.load(Ordering::Relaxed)
        });
        // Everything else is refused once for good, where it stands in the code.
        let filter = filter.with_callsite_filter(|metadata| match metadata.target() {
            TARGET => Interest::sometimes(),
            _ => Interest::never(),
        });
        Events(self.clone()).with_filter(filter).boxed()
    }

    /// Begins to record.
    pub(crate) fn start(&self) {
        self.0.is_on.store(true, Ordering::Relaxed);
    }

    /// Ends recording and takes what there is, in the order of time.
    pub(crate) fn take(&self) -> Vec<Step> {
        self.0.is_on.store(false, Ordering::Relaxed);
        let mut steps = std::mem::take(&mut *self.0.steps.lock().unwrap_or_else(PoisonError::into_inner));
        steps.sort_by_key(|step| step.at);
        steps
    }

    fn add(&self, step: Step) {
        let mut steps = self.0.steps.lock().unwrap_or_else(PoisonError::into_inner);
        if steps.len() < MAX_STEPS {
            steps.push(step);
        }
    }
}

/// The layer under its filter.
struct Events(Recorder);

impl<S: Subscriber> Layer<S> for Events {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if let Some(step) = fields.step(Instant::now()) {
            self.0.add(step);
        }
    }
}

/// The fields of one event; those it does not have stay empty.
#[derive(Default)]
struct Fields {
    protocol: String,
    node: String,
    peer: String,
    direction: String,
    text: String,
    id: String,
    resource_id: String,
    ttl: Option<u64>,
}

impl Fields {
    fn step(self, at: Instant) -> Option<Step> {
        let protocol = match self.protocol.as_str() {
            "SIP" => Protocol::Sip,
            "RELOAD" => Protocol::Reload,
            _ => return None,
        };
        Some(Step {
            at,
            protocol,
            node: self.node,
            other: self.peer,
            is_sent: self.direction == "out",
            text: self.text,
            id: self.id,
            resource: Some(self.resource_id).filter(|resource| !resource.is_empty()),
            ttl: self.ttl,
        })
    }

    fn set(&mut self, field: &Field, text: String) {
        match field.name() {
            "protocol" => self.protocol = text,
            "node" => self.node = text,
            "peer" => self.peer = text,
            "direction" => self.direction = text,
            "text" => self.text = text,
            "id" => self.id = text,
            "resource_id" => self.resource_id = text,
            _ => {}
        }
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.to_owned());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "ttl" {
            self.ttl = Some(value);
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }
}

const TARGET: &str = "p2psip::ladder";

/// More messages than one call and the overlay's own work in the meantime need; later ones are left out.
const MAX_STEPS: usize = 4096;

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn only_the_ladder_is_recorded_and_only_while_on() {
        let recorder = Recorder::default();
        let subscriber = tracing_subscriber::registry().with(recorder.listener());
        tracing::subscriber::with_default(subscriber, || {
            let tell = |id: &str| {
                let node = format_args!("{}", "ab");
                tracing::trace!(target: "p2psip::ladder", protocol = "RELOAD", %node, peer = "cd", direction = "in",
                    text = "FetchReq", id, resource_id = "ef", ttl = 31_u64, "message");
            };
            tell("before");
            recorder.start();
            tell("during");
            tracing::error!(protocol = "RELOAD", "something else");
            let steps = recorder.take();
            assert_eq!(steps.len(), 1, "{steps:?}");
            let expected = Step {
                at: steps[0].at,
                protocol: Protocol::Reload,
                node: "ab".into(),
                other: "cd".into(),
                is_sent: false,
                text: "FetchReq".into(),
                id: "during".into(),
                resource: Some("ef".into()),
                ttl: Some(31),
            };
            assert_eq!(steps[0], expected);
            tell("after");
            assert!(recorder.take().is_empty());
        });
    }
}
