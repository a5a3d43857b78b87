//! The addresses at which other peers reach this one: those of the machine, which may change while it runs, unless the configuration
//! names them.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::driver::Request;

/// Gives the addresses behind those that are bound.
///
/// # Errors
/// When the system does not tell its interfaces.
pub(crate) fn reachable(bound: &[SocketAddr]) -> io::Result<Vec<SocketAddr>> {
    let each = bound.iter().map(|address| runtime::addresses::reachable(*address));
    Ok(each.collect::<io::Result<Vec<_>>>()?.concat())
}

/// Tells the driver when they change. A machine that has none just now keeps its last ones: it is off the network, and may come back.
pub(crate) async fn watch(
    bound: Vec<SocketAddr>,
    mut known: Vec<SocketAddr>,
    driver: mpsc::Sender<Request>,
    stop: CancellationToken,
) {
    let following = async {
        loop {
            tokio::time::sleep(LOOK).await;
            let Ok(now) = reachable(&bound) else { continue };
            let is_off_line = now.iter().all(|address| address.ip().is_loopback());
            if now == known || is_off_line && known.iter().any(|address| !address.ip().is_loopback()) {
                continue;
            }
            known.clone_from(&now);
            if driver.send(Request::Addresses(now)).await.is_err() {
                // The component is ending.
                return std::future::pending().await;
            }
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = following => {}
    }
}

/// Between two looks; each costs some microseconds.
const LOOK: Duration = Duration::from_secs(1);
