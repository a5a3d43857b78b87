//! New configuration documents (RFC 6940 §6.5.4, §11.1).

use std::sync::Arc;

use tracing::info;

use overlay_config::{Basis, SignedDocument, is_newer};
use wire::{ConfigUpdateAns, ConfigUpdateReq, ErrorCode, Now};

use crate::api::Output;
use crate::core::Core;
use crate::parameters::Parameters;
use crate::seam::Command;
use crate::serve::Asked;
use crate::session::Errand;

impl Core {
    /// Another node has sent a document. It is believed for its own signature, not for the sender's.
    pub(crate) fn config_update_asked(&mut self, now: Now, asked: Asked, update: ConfigUpdateReq) {
        let ConfigUpdateReq::Config(xml) = update else {
            return self.refuse(
                now,
                asked,
                ErrorCode::InvalidMessage,
                "Kinds come with the whole document",
            );
        };
        if *self.parameters.document().xml() == xml {
            return self.answer(now, asked, &ConfigUpdateAns::default().into());
        }
        let basis = Basis::Previous(self.parameters.document().document());
        match SignedDocument::parse_and_verify(xml, basis, now.unix_ms) {
            Ok(document) => {
                self.take_document(now, Arc::new(document));
                self.answer(now, asked, &ConfigUpdateAns::default().into());
            }
            Err(error) => self.refuse(now, asked, ErrorCode::InvalidMessage, error.to_string()),
        }
    }

    /// Obeys a document from now on, if it is newer than the one in force.
    pub(crate) fn take_document(&mut self, now: Now, document: Arc<SignedDocument>) {
        if !is_newer(document.document().sequence, self.parameters.sequence) {
            return;
        }
        self.settings.verifier.set_trust(document.document().trust());
        self.parameters = Parameters::of(document);
        info!(sequence = self.parameters.sequence, "new configuration document");
        let xml = self.parameters.xml();
        self.command(now, Command::Document { xml: xml.clone() }, Errand::Nothing);
        self.outputs.push_back(Output::Document(xml));
        self.outputs.push_back(Output::Changed);
    }

    /// The configuration document in force.
    #[must_use]
    pub fn document(&self) -> &Arc<SignedDocument> {
        self.parameters.document()
    }
}
