//! One call is one trace, whatever lies between its two ends.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use p2psip_rpc::proto::storage::v1 as pb;
use p2psip_rpc::proto::storage::v1::storage_client::StorageClient;
use p2psip_rpc::proto::storage::v1::storage_server::{Storage, StorageServer};
use p2psip_rpc::{Address, Channel, Listener, Role, Served, set_parent, traceparent};
use tokio_stream::Empty;
use tonic::{Request, Response, Status, Streaming};
use tracing::Instrument as _;
use tracing_subscriber::layer::SubscriberExt as _;

/// One test, since the subscriber holds for the whole process.
#[tokio::test]
async fn the_handler_runs_in_the_trace_of_its_caller() {
    let provider = SdkTracerProvider::builder().build();
    let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
    tracing::subscriber::set_global_default(tracing_subscriber::registry().with(layer)).unwrap();

    let served = Served::builder().service(StorageServer::new(Stub)).build();
    let folder = tempfile::tempdir().unwrap();
    let address = Address::Unix(folder.path().join("p2psip.sock"));
    tokio::spawn(served.clone().serve(Listener::bind(&address, None).await.unwrap()));

    for channel in [
        Channel::direct(served, Role::Operator),
        Channel::connect(&address, Role::Storage, None).unwrap(),
    ] {
        let call = async {
            let mut client = StorageClient::new(channel);
            (
                traceparent(),
                client.stats(pb::StatsRequest {}).await.unwrap().into_inner().store_id,
            )
        };
        let (here, there) = call.instrument(tracing::info_span!("caller")).await;
        let there = String::from_utf8(there.into()).unwrap();
        assert_eq!(field(&there, 1), field(&here, 1), "one trace: {here} {there}");
        assert_ne!(field(&there, 2), field(&here, 2), "another span: {here} {there}");
    }

    // Work that comes over a stream carries its own context.
    let span = tracing::info_span!(parent: None, "command");
    set_parent(&span, "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    assert_eq!(
        field(&span.in_scope(traceparent), 1),
        "4bf92f3577b34da6a3ce929d0e0e4736"
    );
}

fn field(traceparent: &str, index: usize) -> &str {
    traceparent.split('-').nth(index).unwrap()
}

/// Answers with the trace context that its handler runs in.
struct Stub;

#[tonic::async_trait]
impl Storage for Stub {
    type SessionStream = Empty<Result<pb::SessionResponse, Status>>;

    async fn session(
        &self,
        _: Request<Streaming<pb::SessionRequest>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }

    async fn stats(&self, _: Request<pb::StatsRequest>) -> Result<Response<pb::StatsResponse>, Status> {
        Ok(Response::new(pb::StatsResponse {
            store_id: traceparent().into(),
            ..Default::default()
        }))
    }
}
