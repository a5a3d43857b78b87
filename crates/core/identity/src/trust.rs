//! What a configuration document says about trust, without the document.

use std::collections::BTreeSet;

use wire::NodeId;

use crate::certificate::Certificate;
use crate::name::Domains;

/// The trust of one overlay: who may issue certificates, and which nodes are banned.
///
/// `overlay_config::Document::trust` makes it; a [`Verifier`](crate::Verifier) obeys it.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// The name of the overlay; certificates of other overlays are refused.
    pub overlay: String,
    /// The `root-cert`s of the document.
    pub anchors: Vec<Certificate>,
    /// The `bad-node`s of the document: certificates that name one of these are refused.
    pub bad_nodes: BTreeSet<NodeId>,
    /// The domains that user names under a delegated signer may have.
    pub domains: Domains,
    /// Tells whether the document has the extension element `delegated-signers`.
    pub delegated_signers: bool,
    /// Tells whether the document declares our namespace as mandatory. Without it, any PKIX chain
    /// to a `root-cert` counts, and there are no delegated signers.
    pub private_namespace: bool,
}
