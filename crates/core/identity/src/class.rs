//! What a node may be to the overlay, as its certificate says.
//!
//! The class follows from what every certificate has carried from the beginning, so none has to be issued again. It holds because
//! Node-IDs are drawn by the enrollment CA, and because no user may be named like a node: nobody can ask for the name of a peer.

use crate::certificate::Purposes;
use crate::chain::Chain;
use crate::rules::ENROLLMENT_CA;
use crate::trust::Trust;

/// The four classes of certificates that speak or sign in an overlay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// May take a place on the ring: it has one Node-ID, and its user name is that node's own.
    Peer,
    /// The link of an edge (purpose sipDomain, RFC 5924).
    Edge,
    /// A user's own node (RFC 6940 §4.2): it asks, and takes no part in the ring.
    Client,
    /// Signs values or documents, and is no node at all.
    Signer,
}

impl Class {
    /// Finds the class of a chain that is good.
    pub(crate) fn of(chain: &Chain, trust: &Trust) -> Class {
        let leaf = &chain.leaf;
        if leaf.purposes() == Some(Purposes::DOCUMENT_SIGNING_ONLY) {
            return Class::Signer;
        }
        if leaf.is_edge() && chain.issuers.is_empty() {
            return Class::Edge;
        }
        if !trust.private_namespace {
            // RFC 6940 §11.3 knows no classes: each node of another implementation may be a peer.
            return Class::Peer;
        }
        match chain.anchor.path_length() {
            Some(length) if length == u32::from(ENROLLMENT_CA) && leaf.has_own_name() => Class::Peer,
            Some(length) if length == u32::from(ENROLLMENT_CA) => Class::Client,
            _ => Class::Signer,
        }
    }
}
