//! The addresses at which other peers reach this one, which may change while it runs.

use runtime::addresses::Published;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::driver::Request;

/// Tells the driver when they change.
pub(crate) async fn watch(mut published: Published, driver: mpsc::Sender<Request>, stop: CancellationToken) {
    let following = async {
        loop {
            published.changed().await;
            let addresses = published.known().to_vec();
            if driver.send(Request::Addresses(addresses)).await.is_err() {
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
