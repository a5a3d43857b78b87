//! Enrollment over HTTPS (RFC 6940 §11.2, §11.3): the listeners and the bounds on whoever connects.
//!
//! One connection carries one request, so one limit bounds it whole: its handshake, its body and its answer. Strangers may
//! fetch the document and enroll with a credential; a node that shows its certificate may renew it. They cannot keep others
//! out: how often an address connects is bounded (`throttle`), and a connection gives way to newer ones.

mod certificate;
mod form;
mod routes;
mod services;
mod throttle;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use identity::Verifier;
use runtime::{Handshakes, clock, listen, site};
use rustls::ServerConfig;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::backup;
use crate::error::StartError;
use crate::grpc::Handler;
use throttle::Throttle;

pub(crate) use certificate::{Certificates, keep};
pub(crate) use services::{AskError, ServiceClient};

/// Bound, and not yet serving.
pub(crate) struct Listener {
    listener: listen::Listener,
    address: SocketAddr,
}

/// Who sent a request.
#[derive(Clone, Debug)]
struct Client {
    from: IpAddr,
    /// The certificate that it showed; the handshake proved its key.
    leaf: Option<Bytes>,
}

/// What all connections share.
#[derive(Clone)]
pub(crate) struct Https {
    routes: Router,
    configs: watch::Receiver<Arc<ServerConfig>>,
}

impl Listener {
    /// Binds each address, or none.
    pub(crate) fn bind(addresses: &[SocketAddr]) -> Result<Vec<Listener>, StartError> {
        let bound = listen::Listener::bind_all(addresses);
        let failed = |listen::Error { address, source }| StartError::Https { address, source };
        let each = bound.map_err(failed)?.into_iter().zip(addresses);
        each.map(|(listener, address)| {
            let address = listener.address().map_err(|source| {
                failed(listen::Error {
                    address: *address,
                    source,
                })
            })?;
            Ok(Listener { listener, address })
        })
        .collect()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Https {
    pub(crate) fn new(
        handler: Handler,
        (verifier, backup): (Arc<Verifier>, backup::Latest),
        certificates: &Certificates,
    ) -> Https {
        Https {
            routes: routes::router(handler, verifier, backup),
            configs: certificates.configs(),
        }
    }

    /// Serves whoever connects until the stop signal; connections that are open then are cut.
    pub(crate) async fn serve(self, Listener { mut listener, address }: Listener, stop: CancellationToken) {
        let (mut connections, mut throttle) = (Handshakes::default(), Throttle::default());
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = connections.next() => {}
                (stream, remote) = listener.accept() => {
                    if !throttle.admits(clock::now(), site(remote.ip())) {
                        debug!(%address, "too many connections from one address, one more closed");
                        continue;
                    }
                    // One request is little more than the handshake before it.
                    connections.begin(remote.ip(), self.clone().connection(stream, remote.ip().to_canonical()));
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, from: IpAddr) {
        match tokio::time::timeout(WHOLE_REQUEST, self.serve_one(stream, from)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => debug!(%error, "HTTPS connection failed"),
            Err(_) => debug!("HTTPS request took too long"),
        }
    }

    async fn serve_one(self, stream: TcpStream, from: IpAddr) -> io::Result<()> {
        let config = Arc::clone(&self.configs.borrow());
        let handshake = tokio::time::timeout(HANDSHAKE, TlsAcceptor::from(config).accept(stream));
        let stream = handshake.await.map_err(io::Error::from)??;
        let (_, session) = stream.get_ref();
        let leaf = session.peer_certificates().and_then(<[_]>::first);
        let client = Client {
            from,
            leaf: leaf.map(|leaf| Bytes::copy_from_slice(leaf)),
        };
        let service = TowerToHyperService::new(self.routes.layer(Extension(client)));
        let mut http = http1::Builder::new();
        http.keep_alive(false).timer(TokioTimer::new()).max_buf_size(MAX_HEAD);
        let served = http.serve_connection(TokioIo::new(stream), service).await;
        served.map_err(io::Error::other)
    }
}

/// For the handshake, which has nothing to wait for but the network.
const HANDSHAKE: Duration = Duration::from_secs(3);
/// For handshake, request and answer together; the disk flush in between takes milliseconds.
const WHOLE_REQUEST: Duration = Duration::from_secs(10);
/// Request line and headers; the least that hyper allows is 8 KiB.
const MAX_HEAD: usize = 16 * 1024;
