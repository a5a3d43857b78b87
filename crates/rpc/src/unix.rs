//! The wiring over a Unix socket, for the operator's commands and for components of one host.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{UnixListener, UnixStream};
use tonic::Status;
use tonic::transport::server::Connected;
use tonic::transport::{Endpoint, Server};
use tower::util::BoxCloneSyncService;
use tower::{ServiceExt as _, service_fn};

use crate::body::unavailable;
use crate::channel::Wiring;
use crate::role::Caller;
use crate::served::Served;

/// A Unix socket that nobody but this user and root may use. Its file is removed when this is dropped.
#[derive(Debug)]
pub struct UnixSocket {
    listener: UnixListener,
    path: PathBuf,
    uid: u32,
}

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Another process answers there.
    #[error("{path} is in use by a running process")]
    InUse {
        /// The socket.
        path: PathBuf,
    },
    /// The path names something else.
    #[error("{path} exists and is not a socket")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The system refused.
    #[error("cannot open the socket {path}: {source}")]
    Io {
        /// The socket.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
}

impl UnixSocket {
    /// Opens a socket at `path` with mode 0600. A file left behind by a process that is gone is replaced.
    ///
    /// # Errors
    /// When something else is there or the system refuses.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn bind(path: impl Into<PathBuf>) -> Result<Self, BindError> {
        let path = path.into();
        remove_stale(&path)?;
        let failed = |source| BindError::Io {
            path: path.clone(),
            source,
        };
        // Under a name of its own until the mode is set: at no time can anybody else connect.
        let mut temporary = path.clone().into_os_string();
        temporary.push(format!(".{}", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let _ = std::fs::remove_file(&temporary);
        let listener = UnixListener::bind(&temporary).map_err(failed)?;
        let publish = || {
            std::fs::set_permissions(&temporary, std::fs::Permissions::from_mode(0o600))?;
            // The owner of a file just made is the user that this process acts as.
            let uid = std::fs::metadata(&temporary)?.uid();
            std::fs::rename(&temporary, &path)?;
            Ok(uid)
        };
        match publish() {
            Ok(uid) => Ok(Self { listener, path, uid }),
            Err(source) => {
                let _ = std::fs::remove_file(&temporary);
                Err(failed(source))
            }
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Waits for the next caller who may use it.
    async fn accept(&self) -> Peer {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => match self.admit(&stream) {
                    Ok(caller) => return Peer { stream, caller },
                    Err(uid) => tracing::warn!(?uid, path = %self.path.display(), "caller of another user refused"),
                },
                // Out of descriptors, most likely: trying again at once would only burn time.
                Err(error) => {
                    tracing::warn!(%error, path = %self.path.display(), "cannot accept");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn admit(&self, stream: &UnixStream) -> Result<Caller, Option<u32>> {
        let credentials = stream.peer_cred().map_err(|_| None)?;
        let uid = credentials.uid();
        if uid == self.uid || uid == 0 {
            Ok(Caller::Unix {
                uid,
                pid: credentials.pid(),
            })
        } else {
            Err(Some(uid))
        }
    }
}

impl Drop for UnixSocket {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn remove_stale(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Io {
        path: path.into(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(BindError::NotASocket { path: path.into() });
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => std::fs::remove_file(path).map_err(failed),
        Err(error) => Err(failed(error)),
        Ok(_) => Err(BindError::InUse { path: path.into() }),
    }
}

impl Served {
    /// Serves a socket until [`close`](Served::close) has run, then removes it.
    ///
    /// # Errors
    /// When the server cannot go on.
    ///
    /// # Cancel safety
    /// Dropping it closes the socket; connections end with the runtime.
    pub async fn serve_unix(self, socket: UnixSocket) -> Result<(), tonic::transport::Error> {
        let draining = self.life().draining.clone();
        let ended = self.life().ended.clone();
        let incoming = async_stream(&socket);
        let serving = Server::builder()
            .http2_keepalive_interval(Some(PING_INTERVAL))
            .http2_keepalive_timeout(Some(PING_TIMEOUT))
            // A server that stalled for a moment finds the calls given up meanwhile; with the default of 20 it would
            // drop the whole connection.
            .http2_max_pending_accept_reset_streams(Some(1024))
            .max_concurrent_streams(1024)
            .serve_with_incoming_shutdown(self, incoming, draining.cancelled_owned());
        tokio::select! {
            outcome = serving => outcome,
            // After the end every stream has been told; a caller that does not read gets no more time.
            () = async { ended.cancelled().await; tokio::time::sleep(LAST_FRAMES).await } => Ok(()),
        }
    }
}

fn async_stream(socket: &UnixSocket) -> impl tokio_stream::Stream<Item = Result<Peer, io::Error>> {
    futures_util::stream::unfold(
        socket,
        |socket| async move { Some((Ok(socket.accept().await), socket)) },
    )
}

/// One accepted connection.
struct Peer {
    stream: UnixStream,
    caller: Caller,
}

impl Connected for Peer {
    type ConnectInfo = Caller;

    fn connect_info(&self) -> Caller {
        self.caller
    }
}

impl AsyncRead for Peer {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for Peer {
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

/// The client's end.
pub(crate) fn connect(path: &Path) -> Wiring {
    let path = path.to_owned();
    let connector = service_fn(move |_| {
        let path = path.clone();
        async move {
            let stream = UnixStream::connect(&path).await;
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
            stream.map(TokioIo::new).map_err(named)
        }
    });
    // The authority goes nowhere: it is what HTTP/2 demands.
    let channel = Endpoint::from_static("http://localhost")
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_with_connector_lazy(connector);
    BoxCloneSyncService::new(channel.map_err(|error| -> Status { unavailable(&error) }))
}

/// A peer that was stopped still has a kernel that takes our octets; only pings tell.
const PING_INTERVAL: Duration = Duration::from_secs(2);
const PING_TIMEOUT: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// For the last frames to reach callers before connections are dropped.
const LAST_FRAMES: Duration = Duration::from_millis(500);
