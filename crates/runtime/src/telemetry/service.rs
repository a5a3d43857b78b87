//! Whose span is it? Several components may share one process, and each is a service of its own to whoever reads the traces.
//!
//! A component runs inside its [`span`](crate::Component::span), which is itself never exported. [`Services`] makes a service of each such span
//! and puts it into OpenTelemetry's context while the span is entered, whence every span below inherits it; [`Tracers`] takes it from there.

use std::cell::RefCell;
use std::fmt;

use opentelemetry::trace::{SpanBuilder, Tracer};
use opentelemetry::{Context as Ambient, ContextGuard};
use opentelemetry_sdk::trace::{SdkTracer, Span};
use tracing::Subscriber;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

use super::export::Exporter;

/// The name of the span that a component runs in, and of its field that says which component.
pub(crate) const COMPONENT: &str = "component";

/// The service that a component is; a value of OpenTelemetry's context.
#[derive(Clone)]
struct Service(SdkTracer);

/// Makes services of the spans of components.
pub(crate) struct Services(pub(crate) Exporter);

impl<S> Layer<S> for Services
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut names = Names::default();
        attributes.record(&mut names);
        if let Some(span) = context.span(id) {
            let service = Service(self.0.tracer(&names.name, &names.node_id));
            span.extensions_mut().insert(service);
        }
    }

    fn on_enter(&self, id: &Id, context: Context<'_, S>) {
        let service = context
            .span(id)
            .and_then(|span| span.extensions().get::<Service>().cloned());
        if let Some(service) = service {
            let guard = Ambient::current_with_value(service).attach();
            ENTERED.with_borrow_mut(|entered| entered.push((id.clone(), guard)));
        }
    }

    fn on_exit(&self, id: &Id, _: Context<'_, S>) {
        ENTERED.with_borrow_mut(|entered| {
            if let Some(last) = entered.iter().rposition(|(entered, _)| entered == id) {
                drop(entered.remove(last));
            }
        });
    }
}

thread_local! {
    /// The components' spans that this thread is in, each with the context that ends with it.
    static ENTERED: RefCell<Vec<(Id, ContextGuard)>> = const { RefCell::new(Vec::new()) };
}

/// The fields of a component's span.
#[derive(Default)]
struct Names {
    name: String,
    node_id: String,
}

impl Visit for Names {
    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            COMPONENT => value.clone_into(&mut self.name),
            super::field::NODE_ID => value.clone_into(&mut self.node_id),
            _ => {}
        }
    }

    fn record_debug(&mut self, _: &Field, _: &dyn fmt::Debug) {}
}

/// Begins each span at the service that it belongs to.
pub(crate) struct Tracers {
    /// For spans of no component.
    pub(crate) process: SdkTracer,
}

impl Tracer for Tracers {
    type Span = Span;

    fn build_with_context(&self, builder: SpanBuilder, parent: &Ambient) -> Span {
        // A span that is told to have no parent has an empty context: it belongs to the component that it begins in.
        let service = parent.get::<Service>().cloned().or_else(current);
        let tracer = service.as_ref().map_or(&self.process, |service| &service.0);
        tracer.build_with_context(builder, parent)
    }
}

/// The service that this thread is in.
fn current() -> Option<Service> {
    Ambient::map_current(|current| current.get::<Service>().cloned())
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::error::OTelSdkResult;
    use opentelemetry_sdk::trace::{SdkTracerProvider, SpanData, SpanProcessor};

    use super::*;

    type Told = Arc<Mutex<Vec<&'static str>>>;

    /// Notes whose spans have ended.
    #[derive(Debug)]
    struct Ended(&'static str, Told);

    impl SpanProcessor for Ended {
        fn on_start(&self, _: &mut Span, _: &Ambient) {}

        fn on_end(&self, _: SpanData) {
            self.1.lock().unwrap().push(self.0);
        }

        fn force_flush(&self) -> OTelSdkResult {
            Ok(())
        }

        fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
            Ok(())
        }
    }

    #[test]
    fn a_span_that_begins_a_trace_belongs_to_the_component_that_it_begins_in() {
        let told = Told::default();
        let tracer = |service| {
            let processor = Ended(service, Arc::clone(&told));
            let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
            provider.tracer("test")
        };
        let tracers = Tracers {
            process: tracer("process"),
        };
        let begin = |parent: &Ambient| {
            let span = SpanBuilder::from_name("chord stabilize");
            drop(tracers.build_with_context(span, parent));
        };
        begin(&Ambient::new());
        let _entered = Ambient::current_with_value(Service(tracer("overlay"))).attach();
        begin(&Ambient::current());
        // As for a span with `parent: None`.
        begin(&Ambient::new());
        assert_eq!(*told.lock().unwrap(), ["process", "overlay", "overlay"]);
    }
}
