//! Documents that do not come through the overlay: a peer that is outside, over one that it cannot obey, needs the next from
//! elsewhere, for it has no links; and the operator brings new ones.

use std::sync::Arc;

use bytes::Bytes;
use overlay_config::{Basis, Demand, Document, Error, SignedDocument, is_newer};
use overlay_core::Reason;
use tokio::sync::{mpsc, watch};
use tonic::Status;

use crate::driver::{Request, now};
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

    /// Puts a document of the operator in force and gives its number. One that this peer cannot obey takes it out of no overlay:
    /// the operator is told, and nobody else has it.
    pub(crate) async fn put(mut self, xml: Bytes) -> Result<u16, Status> {
        let in_force = Arc::clone(&self.view.borrow().document);
        if *in_force.xml() == xml {
            return Ok(in_force.document().sequence);
        }
        let basis = Basis::Previous(in_force.document());
        let document = SignedDocument::parse_and_verify(xml, basis, now().unix_ms).map_err(|error| refused(&error))?;
        let document = Arc::new(document);
        let sequence = document.document().sequence;
        let request = Request::Document(Arc::clone(&document));
        self.driver.send(request).await.map_err(|_| ending())?;
        let has_come = |view: &Arc<View>| !is_newer(sequence, view.document.document().sequence);
        let view = self.view.wait_for(has_come).await.map_err(|_| ending())?;
        // Another one of the same number, or a newer one, may have been faster.
        match view.document.xml() == document.xml() {
            true => Ok(sequence),
            false => Err(refused(&Error::NotNewer {
                sequence,
                in_force: view.document.document().sequence,
            })),
        }
    }
}

fn refused(error: &Error) -> Status {
    match error {
        Error::NotNewer { in_force, .. } => Status::failed_precondition(format!(
            "{error}: change the document of sequence {in_force}, and sign the next one"
        )),
        Error::CannotObey(_) | Error::Expired { .. } => Status::failed_precondition(error.to_string()),
        _ => Status::invalid_argument(error.to_string()),
    }
}

fn ending() -> Status {
    Status::unavailable("the overlay is ending")
}
