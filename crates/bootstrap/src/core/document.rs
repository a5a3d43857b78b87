//! The document in force, which an overlay may have before the service: the operator brings it to any peer.

use bytes::Bytes;
use kv::Batch;
use tracing::{info, warn};

use super::Core;

impl Core {
    /// Takes the document that an overlay has, if it is the next one. What is none leaves everything as it is: an overlay that
    /// has an older document is about to be sent the newer one.
    pub(crate) fn hear_document(&mut self, now_ms: u64, xml: &Bytes) -> Batch {
        let mut batch = Batch::new();
        // An overlay of an older version tells none.
        if xml.is_empty() || self.service.document.xml() == xml {
            return batch;
        }
        match self.service.take_document(xml.clone(), now_ms, &mut batch) {
            Ok(()) => info!(sequence = self.document().0, "new configuration document"),
            Err(overlay_config::Error::NotNewer { .. }) => {}
            Err(error) => warn!(%error, "the overlay has a document that is not taken"),
        }
        batch
    }
}
