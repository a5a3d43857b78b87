//! The tasks that take in connections: one for each listener of phones, one for each of nodes.

use std::sync::Arc;

use link::LinkError;
use runtime::listen::Listener;
use runtime::{Handshakes, warn_seldom};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use super::Arrival;

/// Takes in phones.
pub(super) async fn phones(mut listener: Listener, arrivals: mpsc::Sender<Arrival>) {
    loop {
        let (stream, _) = listener.accept().await;
        // The driver knows which places are free. While it is busy, phones wait in the kernel's queue.
        if arrivals.send(Arrival::Phone(stream)).await.is_err() {
            return;
        }
    }
}

/// Takes in nodes, each after its handshake.
pub(super) async fn nodes(mut listener: Listener, endpoint: Arc<link::Endpoint>, arrivals: mpsc::Sender<Arrival>) {
    let mut handshakes = Handshakes::default();
    loop {
        tokio::select! {
            (stream, remote) = listener.accept() => {
                let (endpoint, arrivals) = (Arc::clone(&endpoint), arrivals.clone());
                handshakes.begin(remote.ip(), async move { shake(stream, &endpoint, &arrivals).await });
            }
            outcome = handshakes.next() => match outcome {
                Err(error @ LinkError::Peer { .. }) => warn_seldom!(%error, "node refused"),
                Err(error) => tracing::debug!(%error, "no connection with a node"),
                Ok(()) => {}
            },
        }
        if arrivals.is_closed() {
            return;
        }
    }
}

async fn shake(
    stream: TcpStream,
    endpoint: &link::Endpoint,
    arrivals: &mpsc::Sender<Arrival>,
) -> Result<(), LinkError> {
    let connection = Box::new(endpoint.accept(stream).await?);
    // If the driver is gone, so is the connection.
    let _ = arrivals
        .send(Arrival::Node {
            connection,
            is_dialer: false,
        })
        .await;
    Ok(())
}
