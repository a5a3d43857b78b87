//! The operator's socket of a process that runs a whole peer: the services of its components behind one Unix socket.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::path::Path;
use std::task::{Context, Poll};
use std::time::Duration;

use rpc::proto::bootstrap::v1::bootstrap_server::BootstrapServer;
use rpc::proto::overlay::v1::overlay_server::OverlayServer;
use rpc::proto::sip_edge::v1::sip_edge_server::SipEdgeServer;
use rpc::proto::storage::v1::storage_server::StorageServer;
use rpc::{Address, BindError, Channel, Listener, Served, unbounded};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// The open socket.
#[derive(Debug)]
pub(crate) struct Operator {
    served: Served,
    task: AbortOnDropHandle<()>,
    /// Tell the health of each component; they end with the socket.
    _health: JoinSet<()>,
}

/// Ways to the components of one peer, in the operator's role.
#[derive(Clone, Debug)]
pub(crate) struct Channels {
    pub(crate) overlay: Channel,
    pub(crate) storage: Channel,
    pub(crate) sip_edge: Channel,
    /// Not every peer has one.
    pub(crate) bootstrap: Option<Channel>,
}

/// The socket before anything answers at it: whoever else wants it learns that it is taken.
#[derive(Debug)]
pub(crate) struct Bound(Listener);

impl Bound {
    /// Opens the socket at `path`.
    pub(crate) async fn at(path: &Path) -> Result<Self, BindError> {
        Listener::bind(&Address::Unix(path.to_owned()), None).await.map(Self)
    }

    /// Serves the components.
    pub(crate) fn serve(self, channels: Channels) -> Operator {
        let Self(listener) = self;
        let mut components = vec![
            (OverlayServer::<()>::NAME, channels.overlay.clone()),
            (StorageServer::<()>::NAME, channels.storage.clone()),
            (SipEdgeServer::<()>::NAME, channels.sip_edge.clone()),
        ];
        let mut builder = Served::builder()
            .service(Relay::<OverlayServer<()>>::new(channels.overlay))
            .service(Relay::<StorageServer<()>>::new(channels.storage))
            .service(Relay::<SipEdgeServer<()>>::new(channels.sip_edge));
        if let Some(bootstrap) = channels.bootstrap {
            components.push((BootstrapServer::<()>::NAME, bootstrap.clone()));
            builder = builder.service(Relay::<BootstrapServer<()>>::new(bootstrap));
        }
        let served = builder.build();
        let mut health = JoinSet::new();
        for (service, channel) in components {
            health.spawn(tell_health(channel, service, served.clone()));
        }
        let serving = served.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = serving.serve(listener).await {
                tracing::error!(%error, "the operator's socket failed");
            }
        });
        Operator {
            served,
            _health: health,
            task: AbortOnDropHandle::new(task),
        }
    }
}

impl Operator {
    /// Opens the socket at `path` and serves.
    pub(crate) async fn open(path: &Path, channels: Channels) -> Result<Self, BindError> {
        Ok(Bound::at(path).await?.serve(channels))
    }

    /// Waits until it fails.
    pub(crate) async fn join(&mut self) {
        // Why was told where it failed.
        let _ = (&mut self.task).await;
    }

    /// Ends it.
    pub(crate) async fn close(self) {
        self.served.close(GRACE).await;
        // Only its own end can fail, and that was told above.
        let _ = self.task.await;
    }
}

/// Says of a component's contract what the component says of it itself.
async fn tell_health(channel: Channel, service: &'static str, served: Served) {
    let request = unbounded(HealthCheckRequest {
        service: service.to_owned(),
    });
    if let Ok(states) = HealthClient::new(channel).watch(request).await {
        let mut states = states.into_inner();
        while let Ok(Some(state)) = states.message().await {
            let is_serving = state.status() == ServingStatus::Serving;
            served.set_health(service, is_serving).await;
        }
    }
    served.set_health(service, false).await;
}

/// Hands the calls of one contract on to the component that serves it.
struct Relay<S> {
    channel: Channel,
    contract: PhantomData<fn() -> S>,
}

impl<S> Relay<S> {
    fn new(channel: Channel) -> Self {
        Self {
            channel,
            contract: PhantomData,
        }
    }
}

impl<S> Clone for Relay<S> {
    fn clone(&self) -> Self {
        Self::new(self.channel.clone())
    }
}

impl<S: NamedService> NamedService for Relay<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Relay<S> {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.channel.call(request);
        Box::pin(async move { Ok(answer.await.unwrap_or_else(|status| status.into_http())) })
    }
}

const GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use rpc::{Deadline, Role};
    use tonic::Status;

    use super::*;

    /// Waits until the health service at a socket says so of a contract.
    async fn says(channel: &Channel, service: &str, expected: ServingStatus) {
        let said = rpc::retry(Deadline::after(Duration::from_secs(10)), |_| async {
            let request = HealthCheckRequest {
                service: service.to_owned(),
            };
            let answer = HealthClient::new(channel.clone()).check(request).await;
            match answer.map(|answer| answer.into_inner().status()) {
                Ok(status) if status == expected => Ok(()),
                other => Err(Status::unavailable(format!("{other:?}"))),
            }
        });
        said.await.unwrap();
    }

    #[tokio::test]
    async fn each_component_tells_its_health_at_the_socket() {
        let (overlay, edge) = (Served::builder().build(), Served::builder().build());
        let (of_overlay, of_edge) = (OverlayServer::<()>::NAME, SipEdgeServer::<()>::NAME);
        overlay.set_health(of_overlay, true).await;
        edge.set_health(of_edge, true).await;
        let direct = |served: &Served| Channel::direct(served.clone(), Role::Operator);
        let channels = Channels {
            overlay: direct(&overlay),
            storage: direct(&Served::builder().build()),
            sip_edge: direct(&edge),
            bootstrap: None,
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("peer.sock");
        let operator = Operator::open(&path, channels).await.unwrap();
        let channel = Channel::connect(&Address::Unix(path), Role::Overlay, None).unwrap();
        says(&channel, of_edge, ServingStatus::Serving).await;
        edge.set_health(of_edge, false).await;
        says(&channel, of_edge, ServingStatus::NotServing).await;
        says(&channel, of_overlay, ServingStatus::Serving).await;
        operator.close().await;
    }
}
