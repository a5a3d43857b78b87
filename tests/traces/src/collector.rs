//! An OTLP receiver that keeps what it gets.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{TraceService, TraceServiceServer};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Request, Response, Status};

/// The receiver, until it is dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    kept: Kept,
    _server: AbortOnDropHandle<()>,
}

/// One span, as it came.
#[derive(Clone, Debug)]
pub struct Span {
    /// The component: `p2psip-overlay` and so on.
    pub service: String,
    /// The short Node-ID.
    pub instance: String,
    /// Its name.
    pub name: String,
    /// Server, client or internal.
    pub kind: &'static str,
    /// Of its trace.
    pub trace_id: Vec<u8>,
    /// Its own.
    pub span_id: Vec<u8>,
    /// Of the span above it; empty for none.
    pub parent_id: Vec<u8>,
    /// In nanoseconds since 1970.
    pub start: u64,
    /// All of them, as text.
    pub attributes: String,
}

#[derive(Clone, Debug, Default)]
struct Kept(Arc<Mutex<Vec<Span>>>);

impl Collector {
    /// Receives what comes to a socket that is bound already.
    ///
    /// # Errors
    /// When the socket is not usable.
    pub fn start(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let kept = Kept::default();
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(kept.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        // If it fails, the spans that a test waits for are missing.
        let server = tokio::spawn(async move { drop(server.await) });
        Ok(Self {
            address,
            kept,
            _server: AbortOnDropHandle::new(server),
        })
    }

    /// For `OTEL_EXPORTER_OTLP_ENDPOINT`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What has come so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.kept.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[tonic::async_trait]
impl TraceService for Kept {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        for of_resource in request.into_inner().resource_spans {
            let resource = of_resource.resource.unwrap_or_default().attributes;
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                let kind = match span.kind() {
                    SpanKind::Server => "server",
                    SpanKind::Client => "client",
                    _ => "internal",
                };
                self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Span {
                    service: text(&resource, "service.name"),
                    instance: text(&resource, "service.instance.id"),
                    kind,
                    name: span.name,
                    trace_id: span.trace_id,
                    span_id: span.span_id,
                    parent_id: span.parent_span_id,
                    start: span.start_time_unix_nano,
                    attributes: format!("{:?} {:?}", span.attributes, span.events),
                });
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn text(attributes: &[KeyValue], key: &str) -> String {
    let value = attributes.iter().find(|attribute| attribute.key == key);
    match value.and_then(|attribute| attribute.value.clone()?.value) {
        Some(any_value::Value::StringValue(text)) => text,
        _ => String::new(),
    }
}
