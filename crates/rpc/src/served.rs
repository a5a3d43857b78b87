//! The one server stack: caller's role, deadline, trace, panic guard, then the services. Every wiring ends here, so the
//! rules are the same on all of them.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::{Request, Response};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic_health::server::HealthReporter;
use tower::{Service, ServiceExt as _};
use tracing::{Instrument as _, Span};

use crate::body::ServedBody;
use crate::role::Caller;
use crate::{Deadline, proto, trace};

/// Services behind the rules of the seam; clones share them.
#[derive(Clone)]
pub struct Served {
    routes: Routes,
    health: HealthReporter,
    life: Arc<Life>,
    /// What it was built in: requests come from anywhere, and their spans are those of the component all the same.
    home: Span,
}

/// Collects the services of one [`Served`].
pub struct Builder {
    routes: Routes,
    health: HealthReporter,
    life: Arc<Life>,
    home: Span,
}

/// Where a server stands between its start and its end.
#[derive(Default)]
pub(crate) struct Life {
    /// No new calls; streams are asked to end.
    pub(crate) draining: CancellationToken,
    /// Whatever is still open is cut.
    pub(crate) ended: CancellationToken,
    /// Counts the calls and streams in progress. Those of the seam itself (health, reflection) are not among them: they watch the
    /// server, have no end of their own, and would hold up its end for the whole grace period.
    calls: TaskTracker,
}

impl Served {
    /// Starts a server with the health service and reflection in it.
    ///
    /// # Panics
    /// Never: the descriptors were made by the build.
    #[must_use]
    pub fn builder() -> Builder {
        let (health, service) = tonic_health::server::health_reporter();
        let reflection = tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
            .build_v1()
            .expect("the descriptors were made by the build");
        let routes = Routes::new(service).add_service(reflection);
        Builder {
            routes,
            health,
            life: Arc::default(),
            home: Span::current(),
        }
    }

    /// Goes on building: what is added stands behind the same rules, and ends with the same [`close`](Self::close).
    #[must_use]
    pub fn extend(&self) -> Builder {
        Builder {
            routes: self.routes.clone(),
            health: self.health.clone(),
            life: Arc::clone(&self.life),
            home: self.home.clone(),
        }
    }

    /// Sets what the health service says of one service, by the full name of its contract.
    pub async fn set_health(&self, service: &str, is_serving: bool) {
        let status = if is_serving {
            tonic_health::ServingStatus::Serving
        } else {
            tonic_health::ServingStatus::NotServing
        };
        self.health.set_service_status(service, status).await;
    }

    /// Ends the server on every wiring: refuses new calls with UNAVAILABLE, tells the streams to end
    /// ([`Builder::draining`]), waits at most `grace` for what is in progress, and cuts the rest. Streams of the health and
    /// reflection services are not waited for.
    ///
    /// # Cancel safety
    /// Dropping it leaves the server draining, with nothing cut.
    pub async fn close(&self, grace: Duration) {
        self.set_health("", false).await;
        self.life.draining.cancel();
        self.life.calls.close();
        if tokio::time::timeout(grace, self.life.calls.wait()).await.is_err() {
            tracing::warn!(
                open = self.life.calls.len(),
                ?grace,
                "calls cut at the end of the grace period"
            );
        }
        self.life.ended.cancel();
    }

    pub(crate) fn life(&self) -> &Life {
        &self.life
    }

    /// Answers one request; its caller is in the extensions.
    pub(crate) async fn answer(self, mut request: Request<Body>) -> Response<Body> {
        let path = request.uri().path().to_owned();
        let span = self.home.in_scope(|| trace::server_span(&path, request.headers()));
        let call = (!path.starts_with(SEAM)).then(|| self.life.calls.token());
        let outcome = async {
            let deadline = self.admit(&path, &mut request)?;
            self.run(&path, deadline, request).await
        };
        match outcome.instrument(span.clone()).await {
            Ok(response) => {
                trace::record_status(&span, response.headers());
                let ended = self.life.ended.clone().cancelled_owned();
                response.map(|body| Body::new(ServedBody::new(body, span, call, ended)))
            }
            Err(status) => {
                let response = status.into_http();
                trace::record_status(&span, response.headers());
                response
            }
        }
    }

    /// Checks what can be checked before a handler runs.
    fn admit(&self, path: &str, request: &mut Request<Body>) -> Result<Deadline, Status> {
        // Health is what tells the world that a server is draining.
        if self.life.draining.is_cancelled() && !path.starts_with(HEALTH) {
            return Err(Status::unavailable("draining"));
        }
        let caller = request.extensions().get::<Caller>();
        let caller = caller.ok_or_else(|| Status::internal("the connection names no caller"))?;
        if !caller.may_call(path) {
            return Err(Status::permission_denied(format!("{caller:?} may not call {path}")));
        }
        let deadline = Deadline::from_headers(request.headers())?;
        request.extensions_mut().insert(deadline);
        Ok(deadline)
    }

    /// Runs the handler until its head, the deadline, or the end of the server.
    async fn run(&self, path: &str, deadline: Deadline, request: Request<Body>) -> Result<Response<Body>, Status> {
        let handler = AssertUnwindSafe(self.routes.clone().oneshot(request)).catch_unwind();
        tokio::select! {
            biased;
            () = deadline.passed() => Err(Status::deadline_exceeded("the deadline passed before an answer")),
            () = self.life.ended.cancelled() => Err(Status::unavailable("the server has ended")),
            outcome = handler => match outcome {
                Ok(Ok(response)) => Ok(response),
                Ok(Err(never)) => match never {},
                // The panic itself has been reported by the panic hook.
                Err(_) => {
                    tracing::error!(method = path, "handler panicked");
                    Err(Status::internal("the handler panicked"))
                }
            },
        }
    }
}

impl Builder {
    /// The signal at which streams end themselves, with UNAVAILABLE "draining".
    #[must_use]
    pub fn draining(&self) -> CancellationToken {
        self.life.draining.clone()
    }

    /// Adds a generated service.
    #[must_use]
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
        S: NamedService + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        self.routes = self.routes.add_service(service);
        self
    }

    /// Finishes the server. Nothing runs yet: a channel or a socket brings requests to it.
    #[must_use]
    pub fn build(self) -> Served {
        Served {
            routes: self.routes.prepare(),
            health: self.health,
            life: self.life,
            home: self.home,
        }
    }
}

impl Service<Request<Body>> for Served {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let served = self.clone();
        Box::pin(async move { Ok(served.answer(request).await) })
    }
}

impl std::fmt::Debug for Served {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Served")
            .field("open", &self.life.calls.len())
            .finish_non_exhaustive()
    }
}

const HEALTH: &str = "/grpc.health.v1.Health/";
/// The services that every server has: health and reflection.
const SEAM: &str = "/grpc.";
