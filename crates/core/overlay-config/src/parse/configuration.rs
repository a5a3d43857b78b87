//! A configuration before it is believed: who may have signed it is looked at before what it says.

use std::collections::BTreeSet;

use identity::Certificate;
use wire::{KindId, NodeId};

use super::{
    BASE, MAX_BAD_NODES, MAX_SIGNERS, document, each, expiration, kinds, known, node_ids, overlay, sequence,
    unsupported,
};
use crate::document::{Document, NAMESPACE};
use crate::error::Error;
use crate::tree::Element;
use crate::value::{self, Fields};

/// One `configuration` of a file, its parts readable one by one.
pub(crate) struct Configuration {
    pub(super) element: Element,
    /// Whether all that its names mean is covered by the signature.
    pub(super) is_closed: bool,
    /// The bytes that the signature covers (RFC 6940 §11.1).
    pub(crate) raw: String,
    /// The contents of the `signature` elements that follow it.
    pub(crate) signatures: Vec<String>,
}

/// The bytes of a `kind` element, and its signature if there is one.
pub(crate) struct SignedKind {
    pub(crate) id: KindId,
    pub(crate) raw: String,
    pub(crate) signature: Option<String>,
}

impl Configuration {
    /// The name of its overlay.
    pub(crate) fn overlay(&self) -> Result<String, Error> {
        overlay(&self.element)
    }

    pub(crate) fn sequence(&self) -> Result<u16, Error> {
        sequence(&self.element)
    }

    /// When it ceases to hold, in Unix milliseconds.
    pub(crate) fn expiration_ms(&self) -> Result<Option<u64>, Error> {
        expiration(&self.element)
    }

    pub(crate) fn root_certs(&self) -> Result<Vec<Certificate>, Error> {
        each(self.base(), "root-cert", value::certificate)
    }

    pub(crate) fn configuration_signers(&self) -> Result<BTreeSet<NodeId>, Error> {
        node_ids(self.base(), "configuration-signer", MAX_SIGNERS)
    }

    pub(crate) fn bad_nodes(&self) -> Result<BTreeSet<NodeId>, Error> {
        node_ids(self.base(), "bad-node", MAX_BAD_NODES)
    }

    /// Whether it declares our extension as mandatory.
    pub(crate) fn is_ours(&self) -> bool {
        let mut extensions = self.element.all(BASE, "mandatory-extension");
        extensions.any(|extension| extension.text.trim() == NAMESPACE)
    }

    /// What it says, and what covers its Kinds.
    pub(crate) fn content(&self) -> Result<(Document, Vec<SignedKind>), Error> {
        unsupported(self.base())?;
        let (kinds, signed) = kinds::kinds(&self.element, &self.raw)?;
        Ok((
            Document {
                kinds,
                ..document(self)?
            },
            signed,
        ))
    }

    /// Something in it that this implementation has never heard of, but is to know: whatever stands in the namespaces of the
    /// standards, and in ours, is for all members.
    pub(crate) fn unknown(&self) -> Option<String> {
        // Where the names' meanings are not signed, anybody on the way could make up something unknown.
        self.is_closed.then(|| known::first_unknown(&self.element)).flatten()
    }

    pub(super) fn base(&self) -> Fields<'_> {
        Fields {
            element: &self.element,
            namespace: BASE,
        }
    }
}
