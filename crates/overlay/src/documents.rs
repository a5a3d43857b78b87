//! A peer that is outside its overlay, over a document that it cannot obey, needs the next one from elsewhere: it has no links.

use std::sync::Arc;

use overlay_config::{Demand, Document, SignedDocument};
use overlay_core::Reason;
use tokio::sync::{mpsc, watch};

use crate::driver::Request;
use crate::view::View;

/// Brings a running peer documents that were fetched for it.
#[derive(Clone, Debug)]
pub struct Documents {
    pub(crate) driver: mpsc::Sender<Request>,
    pub(crate) view: watch::Receiver<Arc<View>>,
}

impl Documents {
    /// Waits until the peer is outside over a document that it cannot obey. Ends never once the peer has ended.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn wanted(&mut self) {
        let is_outside = |view: &Arc<View>| {
            let mut reasons = view.status.reasons.iter();
            reasons.any(|reason| matches!(reason, Reason::CannotObey(_)))
        };
        if self.view.wait_for(is_outside).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Gives what the document in force says.
    #[must_use]
    pub fn in_force(&self) -> Document {
        self.view.borrow().document.document().clone()
    }

    /// Gives the document in force, as it was signed.
    #[must_use]
    pub fn signed(&self) -> Arc<SignedDocument> {
        Arc::clone(&self.view.borrow().document)
    }

    /// Puts a document in force, if it is the newest that the peer has heard of, or takes note that it cannot be obeyed.
    ///
    /// # Cancel safety
    /// Dropped on the way, the peer has not got it.
    pub async fn bring(&self, document: Result<Arc<SignedDocument>, Demand>) {
        let request = document.map_or_else(Request::Demand, Request::Document);
        // A peer that has ended needs none.
        let _ = self.driver.send(request).await;
    }
}
