//! The addresses of the bootstrap nodes: a host name is resolved again as long as this peer looks for the ring
//! (docs/deviations.md D22).

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use overlay_config::BootstrapNode;

use crate::driver::Request;
use crate::view::View;

/// Tells the driver the addresses, now, while it has not joined, and when a document names others.
pub(crate) async fn keep(driver: mpsc::Sender<Request>, mut view: watch::Receiver<Arc<View>>, stop: CancellationToken) {
    loop {
        let nodes = named(&view.borrow()).to_vec();
        let work = async {
            let addresses = resolve(&nodes).await;
            driver.send(Request::Bootstrap(addresses)).await.is_ok()
        };
        let goes_on = tokio::select! {
            () = stop.cancelled() => return,
            sent = work => sent,
        };
        let wait = async {
            tokio::time::sleep(AGAIN).await;
            let is_due = |view: &Arc<View>| !view.status.joined || named(view) != nodes;
            view.wait_for(is_due).await.is_ok()
        };
        let goes_on = goes_on
            && tokio::select! {
                () = stop.cancelled() => return,
                is_alive = wait => is_alive,
            };
        if !goes_on {
            // The driver is gone: the component is ending.
            return stop.cancelled().await;
        }
    }
}

fn named(view: &View) -> &[BootstrapNode] {
    &view.document.document().bootstrap_nodes
}

async fn resolve(nodes: &[BootstrapNode]) -> Vec<SocketAddr> {
    let mut addresses = BTreeSet::new();
    for node in nodes {
        match tokio::net::lookup_host((node.host.as_str(), node.port)).await {
            Ok(found) => addresses.extend(found.take(MOST_ADDRESSES)),
            Err(error) => debug!(host = node.host, %error, "bootstrap node has no address"),
        }
    }
    addresses.into_iter().collect()
}

/// Between two looks.
const AGAIN: Duration = Duration::from_secs(5);

/// Addresses of one name that are tried.
const MOST_ADDRESSES: usize = 8;
