//! The tasks that take in connections: one for each listener of phones, one for each of nodes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use link::LinkError;
use runtime::listen::Listener;
use runtime::warn_seldom;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Arrival;
use super::places::site;

/// TLS handshakes at the same time; further dialers wait in the kernel's queue.
const HANDSHAKES: usize = 64;
/// Of these, with one address: a stranger that connects and says nothing must not keep the others out.
const HANDSHAKES_OF_ONE: usize = 32;

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
    let mut handshakes = JoinSet::new();
    let mut sites: HashMap<IpAddr, usize> = HashMap::new();
    loop {
        tokio::select! {
            (stream, remote) = listener.accept(), if handshakes.len() < HANDSHAKES => {
                let site = site(remote.ip());
                let open = sites.entry(site).or_default();
                if *open >= HANDSHAKES_OF_ONE {
                    tracing::debug!(%remote, "too many handshakes with one address, one more closed");
                    continue;
                }
                *open += 1;
                let (endpoint, arrivals) = (Arc::clone(&endpoint), arrivals.clone());
                handshakes.spawn(async move { (site, shake(stream, &endpoint, &arrivals).await) });
            }
            Some(ended) = handshakes.join_next() => {
                let Ok((site, result)) = ended else { continue };
                if let Some(open) = sites.get_mut(&site) {
                    *open -= 1;
                    if *open == 0 {
                        sites.remove(&site);
                    }
                }
                match result {
                    Err(error @ LinkError::Peer { .. }) => warn_seldom!(%error, "node refused"),
                    Err(error) => tracing::debug!(%error, "no connection with a node"),
                    Ok(()) => {}
                }
            }
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
