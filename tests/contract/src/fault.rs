//! A service that misbehaves on demand. It stands beside the component's own, behind the same rules, so that no component
//! needs a way to be broken.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use rpc::Channel;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response, uri::PathAndQuery};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;
use tonic_prost::ProstCodec;

/// What a handler is asked to do.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Fault {
    /// Nothing: answer how many handlers were cancelled.
    Count,
    /// Panic.
    Panic,
    /// Never answer.
    Hang,
}

/// Asks for it, and gives the answer up after `patience`.
///
/// # Errors
/// What the seam says.
pub async fn ask(channel: &Channel, fault: Fault, patience: Duration) -> Result<u64, Status> {
    let mut client = tonic::client::Grpc::new(channel.clone());
    let mut request = tonic::Request::new(fault as u64);
    request.set_timeout(patience);
    let path = PathAndQuery::from_static("/p2psip.contract.Fault/Do");
    // Ready at once: a channel queues behind its deadline.
    client.ready().await?;
    let answer = client.unary(request, path, ProstCodec::<u64, u64>::default()).await?;
    Ok(answer.into_inner())
}

/// Makes the service.
pub(crate) fn service() -> FaultService {
    FaultService::default()
}

/// Counts the handlers that were dropped before they had answered.
#[derive(Clone, Debug, Default)]
pub(crate) struct FaultService {
    cancelled: Arc<AtomicU64>,
}

struct Guard(Arc<AtomicU64>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl FaultService {
    async fn answer(self, request: tonic::Request<u64>) -> Result<tonic::Response<u64>, Status> {
        match request.into_inner() {
            fault if fault == Fault::Panic as u64 => panic!("asked to"),
            fault if fault == Fault::Hang as u64 => {
                let _guard = Guard(self.cancelled);
                std::future::pending().await
            }
            _ => Ok(tonic::Response::new(self.cancelled.load(Ordering::SeqCst))),
        }
    }
}

impl NamedService for FaultService {
    const NAME: &'static str = "p2psip.contract.Fault";
}

impl Service<Request<Body>> for FaultService {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let service = self.clone();
        let handler = tower::service_fn(move |request| service.clone().answer(request));
        Box::pin(async move {
            let mut grpc = tonic::server::Grpc::new(ProstCodec::<u64, u64>::default());
            Ok(grpc.unary(handler, request).await)
        })
    }
}
