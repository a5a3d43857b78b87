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
use rpc::{Address, BindError, Channel, Listener, Served};
use tokio_util::task::AbortOnDropHandle;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;

/// The open socket.
#[derive(Debug)]
pub(crate) struct Operator {
    served: Served,
    task: AbortOnDropHandle<()>,
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

impl Operator {
    /// Opens the socket at `path` and serves.
    pub(crate) async fn open(path: &Path, channels: Channels) -> Result<Self, BindError> {
        let listener = Listener::bind(&Address::Unix(path.to_owned()), None).await?;
        let mut builder = Served::builder()
            .service(Relay::<OverlayServer<()>>::new(channels.overlay))
            .service(Relay::<StorageServer<()>>::new(channels.storage))
            .service(Relay::<SipEdgeServer<()>>::new(channels.sip_edge));
        if let Some(bootstrap) = channels.bootstrap {
            builder = builder.service(Relay::<BootstrapServer<()>>::new(bootstrap));
        }
        let served = builder.build();
        let serving = served.clone();
        let task = tokio::spawn(async move {
            if let Err(error) = serving.serve(listener).await {
                tracing::error!(%error, "the operator's socket failed");
            }
        });
        Ok(Self {
            served,
            task: AbortOnDropHandle::new(task),
        })
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
