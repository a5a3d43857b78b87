//! The wiring inside one process: no HTTP/2, no sockets. The server's future runs in its own task, so that it moves while
//! nobody polls the caller, and a panic stays on its side.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use http::response::Parts;
use http::{Extensions, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;
use tonic::Status;
use tonic::body::Body;
use tower::Service;

use crate::role::{Caller, Role};
use crate::served::Served;

/// Calls a [`Served`] in a fixed role.
#[derive(Clone)]
pub(crate) struct Direct {
    served: Served,
    caller: Caller,
}

impl Direct {
    pub(crate) fn new(served: Served, role: Role) -> Self {
        Self {
            served,
            caller: Caller::Direct(role),
        }
    }
}

impl Service<Request<Body>> for Direct {
    type Response = Response<Body>;
    type Error = Status;
    type Future = BoxFuture<'static, Result<Response<Body>, Status>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        // Nothing but octets and headers crosses a socket, so nothing else does here.
        *request.extensions_mut() = Extensions::new();
        request.extensions_mut().insert(self.caller);

        let served = self.served.clone();
        Box::pin(async move {
            let (head, answered) = oneshot::channel();
            let (frames, body) = mpsc::channel(FRAMES);
            let task = AbortOnDropHandle::new(tokio::spawn(serve(served, request, head, frames)));
            let mut head: Parts = answered
                .await
                .map_err(|_| Status::unavailable("the server has ended"))?;
            head.extensions = Extensions::new();
            Ok(Response::from_parts(
                head,
                Body::new(DirectBody {
                    frames: body,
                    _task: task,
                }),
            ))
        })
    }
}

/// Runs the server's side of one call: the head first, then the body frame by frame.
async fn serve(
    served: Served,
    request: Request<Body>,
    head: oneshot::Sender<Parts>,
    frames: mpsc::Sender<Result<Frame<Bytes>, Status>>,
) {
    let (parts, mut body) = served.answer(request).await.into_parts();
    if head.send(parts).is_err() {
        return;
    }
    while let Some(frame) = body.frame().await {
        if frames.send(frame).await.is_err() {
            return;
        }
    }
}

/// The body at the caller; dropping it aborts the server's task.
struct DirectBody {
    frames: mpsc::Receiver<Result<Frame<Bytes>, Status>>,
    _task: AbortOnDropHandle<()>,
}

impl http_body::Body for DirectBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.get_mut().frames.poll_recv(cx)
    }
}

/// Frames on their way to the caller; when full, the handler's stream waits, as behind a full HTTP/2 window.
const FRAMES: usize = 4;
