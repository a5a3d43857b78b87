//! The one client type. What is behind it, the same process or a socket, is decided where it is made and shows nowhere else.

use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceExt as _};
use tracing::Instrument as _;

use crate::body::ChannelBody;
use crate::deadline::{self, Unbounded};
use crate::dial::Servers;
use crate::direct::Direct;
use crate::role::Role;
use crate::served::Served;
use crate::{Address, ComponentIdentity, trace};

/// A way to another component; clones share it. Generated clients take it as it is.
#[derive(Clone)]
pub struct Channel {
    wiring: Wiring,
    default: Duration,
}

/// Why there is no channel to an address: TCP goes with mutual TLS only.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{address}: TCP needs component certificates: name their folder, or use unix:/path")]
pub struct ConnectError {
    address: Address,
}

/// What carries a request: its errors are already UNAVAILABLE.
pub(crate) type Wiring = BoxCloneSyncService<Request<Body>, Response<Body>, Status>;

impl Channel {
    /// A channel to a server in the same process, called in `role`. The handler runs in its own task, as behind a socket.
    #[must_use]
    pub fn direct(served: Served, role: Role) -> Self {
        Self::new(BoxCloneSyncService::new(Direct::new(served, role)))
    }

    /// A channel to the server behind a socket, which over TCP must prove that it plays `server`, and is shown `identity`. It
    /// connects at the first call, and again at the first after a loss.
    ///
    /// # Errors
    /// When the address is TCP and there is no identity to show. Whether anybody is there, a call finds out.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect(
        address: &Address,
        server: Role,
        identity: Option<&ComponentIdentity>,
    ) -> Result<Self, ConnectError> {
        Self::connect_any(std::slice::from_ref(address), server, identity)
    }

    /// A channel to one of several servers that are alike, in the order of preference; as [`connect`](Self::connect) otherwise. It
    /// stays with one until that is gone, and then goes to the next.
    ///
    /// # Errors
    /// When an address is TCP and there is no identity to show.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect_any(
        addresses: &[Address],
        server: Role,
        identity: Option<&ComponentIdentity>,
    ) -> Result<Self, ConnectError> {
        let servers = Servers::at(addresses, server, identity).map_err(|address| ConnectError { address })?;
        Ok(Self::new(servers.wiring()))
    }

    /// The same channel with another deadline for calls that name none (5 s otherwise).
    #[must_use]
    pub fn with_default_deadline(mut self, timeout: Duration) -> Self {
        self.default = timeout;
        self
    }

    fn new(wiring: Wiring) -> Self {
        Self {
            wiring,
            default: DEFAULT_DEADLINE,
        }
    }
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        // The wiring is awaited in `call`, under the deadline: while a socket connects, calls queue in front of it.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let wiring = self.wiring.clone();
        let deadline = deadline::complete(&mut request, self.default);
        let span = trace::client_span(request.uri().path());
        trace::inject(&span, request.headers_mut());
        let is_stream = request.extensions().get::<Unbounded>().is_some();
        let call = async move {
            let deadline = deadline?;
            // Ours first: tonic's own timer fires in the same tick and says CANCELLED.
            tokio::select! {
                biased;
                () = deadline.passed() => Err(Status::deadline_exceeded("no answer before the deadline")),
                response = wiring.oneshot(request) => response,
            }
        };
        let called = span.clone();
        Box::pin(async move {
            let outcome = call.instrument(span.clone()).await;
            let response = match outcome {
                Ok(response) => response,
                Err(status) => {
                    trace::record_code(&span, status.code());
                    return Err(status);
                }
            };
            trace::record_status(&span, response.headers());
            // A stream may stay open for days; its span ends with its head.
            let span = if is_stream { tracing::Span::none() } else { called };
            Ok(response.map(|body| Body::new(ChannelBody::new(body, span))))
        })
    }
}

impl std::fmt::Debug for Channel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Channel")
            .field("default", &self.default)
            .finish_non_exhaustive()
    }
}

/// Long enough for a Store across a ring that is being repaired, short enough for a phone that waits.
const DEFAULT_DEADLINE: Duration = Duration::from_secs(5);
