//! HTTP/2 over a socket, whichever it is: the settings of both ends.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_stream::Stream;
use tonic::Status;
use tonic::transport::server::Connected;
use tonic::transport::{Endpoint, Server};
use tower::util::BoxCloneSyncService;
use tower::{ServiceExt as _, service_fn};

use crate::Address;
use crate::body::unavailable;
use crate::channel::Wiring;
use crate::role::Caller;
use crate::served::Served;

/// The client's end: connects at the first call, and again at the first after a loss.
///
/// # Panics
/// Outside a tokio runtime.
pub(crate) fn wiring<S, F>(connect: impl Fn() -> F + Clone + Send + 'static) -> Wiring
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = Result<S, ConnectFailure>> + Send + 'static,
{
    let connector = service_fn(move |_| {
        let connecting = connect();
        async move { connecting.await.map(TokioIo::new) }
    });
    // The authority goes nowhere: it is what HTTP/2 demands.
    let channel = Endpoint::from_static("http://localhost")
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector);
    BoxCloneSyncService::new(channel.map_err(|error| -> Status { unavailable(&error) }))
}

/// No connection came about, with the address in front of the reason.
#[derive(Debug, thiserror::Error)]
#[error("{address}: {source}")]
pub(crate) struct ConnectFailure {
    address: String,
    source: io::Error,
}

impl ConnectFailure {
    pub(crate) fn at(address: &Address, source: io::Error) -> Self {
        Self {
            address: address.to_string(),
            source,
        }
    }

    /// No address was named, or its name leads nowhere.
    pub(crate) fn nowhere() -> Self {
        Self {
            address: "no address".to_owned(),
            source: io::ErrorKind::AddrNotAvailable.into(),
        }
    }
}

/// The server's end: serves connections until the server is closed. New ones are refused from the moment it drains.
pub(crate) async fn serve<S>(
    served: Served,
    incoming: impl Stream<Item = io::Result<Accepted<S>>>,
) -> Result<(), tonic::transport::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let draining = served.life().draining.clone();
    let ended = served.life().ended.clone();
    let serving = Server::builder()
        .http2_keepalive_interval(Some(PING_INTERVAL))
        .http2_keepalive_timeout(Some(PING_TIMEOUT))
        // A server that stalled for a moment finds the calls given up meanwhile; with the default of 20 it would drop the
        // whole connection.
        .http2_max_pending_accept_reset_streams(Some(1024))
        // More than all calls and streams that one component has open; the next one waits at its caller.
        .max_concurrent_streams(1024)
        .serve_with_incoming_shutdown(served, incoming, draining.cancelled_owned());
    tokio::select! {
        outcome = serving => outcome,
        // After the end every stream has been told; a caller that does not read gets no more time.
        () = async { ended.cancelled().await; tokio::time::sleep(LAST_FRAMES).await } => {
            tracing::warn!(grace = ?LAST_FRAMES, "connections cut whose callers read nothing more");
            Ok(())
        }
    }
}

/// A connection whose caller is known.
pub(crate) struct Accepted<S> {
    pub(crate) stream: S,
    pub(crate) caller: Caller,
}

impl<S> Connected for Accepted<S> {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Accepted<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Accepted<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buffer)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

/// A peer that was stopped still has a kernel that takes our octets; only pings tell.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(1);
/// For the last frames to reach callers before connections are dropped.
const LAST_FRAMES: Duration = Duration::from_millis(500);
/// Out of descriptors, most likely: to accept again at once would only burn time.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
