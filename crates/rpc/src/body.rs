//! Response bodies on either side of the seam: what a stream does when something breaks after its head was sent.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Frame, SizeHint};
use tokio_util::sync::WaitForCancellationFutureOwned;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::Status;
use tonic::body::Body;
use tracing::Span;

use crate::other::OtherComponent;
use crate::trace;

/// A response on its way out of [`Served`](crate::Served): a panic becomes INTERNAL, the end of the server UNAVAILABLE.
pub(crate) struct ServedBody {
    inner: Body,
    span: Span,
    /// Keeps the call counted until its body is gone; `None` for a call that is not counted.
    _call: Option<TaskTrackerToken>,
    ended: Pin<Box<WaitForCancellationFutureOwned>>,
    is_done: bool,
}

impl ServedBody {
    pub(crate) fn new(
        inner: Body,
        span: Span,
        call: Option<TaskTrackerToken>,
        ended: WaitForCancellationFutureOwned,
    ) -> Self {
        Self {
            inner,
            span,
            _call: call,
            ended: Box::pin(ended),
            is_done: false,
        }
    }

    /// Ends the stream with `status`.
    fn end(&mut self, status: &Status) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        self.is_done = true;
        let mut trailers = HeaderMap::new();
        // Fails only for a message that is no header, and ours are.
        let _ = status.add_header(&mut trailers);
        trace::record_status(&self.span, &trailers);
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

impl http_body::Body for ServedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.is_done {
            return Poll::Ready(None);
        }
        if this.ended.as_mut().poll(cx).is_ready() {
            return this.end(&Status::unavailable("the server has ended"));
        }
        let span = this.span.clone();
        let polled = span.in_scope(|| catch_unwind(AssertUnwindSafe(|| Pin::new(&mut this.inner).poll_frame(cx))));
        match polled {
            Ok(Poll::Ready(Some(Ok(frame)))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    trace::record_status(&this.span, trailers);
                }
                Poll::Ready(Some(Ok(frame)))
            }
            Ok(other) => other,
            Err(_) => {
                tracing::error!(parent: &this.span, "stream panicked");
                this.end(&Status::internal("the stream panicked"))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.is_done || self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        // An early end would break an exact promise.
        SizeHint::default()
    }
}

/// A response on its way into a caller: whatever breaks on the way is UNAVAILABLE, on every wiring.
pub(crate) struct ChannelBody {
    inner: Body,
    span: Span,
}

impl ChannelBody {
    pub(crate) fn new(inner: Body, span: Span) -> Self {
        Self { inner, span }
    }
}

impl http_body::Body for ChannelBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        Pin::new(&mut this.inner).poll_frame(cx).map(|polled| {
            polled.map(|frame| {
                let frame = frame.map_err(|status| unavailable(&status))?;
                if let Some(trailers) = frame.trailers_ref() {
                    trace::record_status(&this.span, trailers);
                }
                Ok(frame)
            })
        })
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// Makes UNAVAILABLE of a transport error, with the reason at the bottom of it.
pub(crate) fn unavailable(error: &(dyn std::error::Error + 'static)) -> Status {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let line = source.to_string();
        if !text.contains(&line) {
            text.push_str(": ");
            text.push_str(&line);
        }
        next = source.source();
    }
    let mut status = Status::unavailable(text);
    if let Some(other) = OtherComponent::behind(error) {
        other.note(&mut status);
    }
    status
}
