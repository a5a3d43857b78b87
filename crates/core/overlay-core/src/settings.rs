//! What a node is told once, when it is made.

use std::net::SocketAddr;
use std::sync::Arc;

use identity::{Sign, Verifier};
use overlay_config::SignedDocument;
use wire::NodeId;

use crate::core::Core;
use crate::membership::Membership;

/// What a [`Core`] is made of.
#[derive(Clone)]
pub struct Settings {
    /// The own Node-ID; the signer's certificate carries it.
    pub node_id: NodeId,
    /// Signs messages under the own Node-ID.
    pub signer: Arc<dyn Sign>,
    /// Checks what others signed; shared with the links.
    pub verifier: Arc<Verifier>,
    /// The overlay configuration document.
    pub document: Arc<SignedDocument>,
    /// Where all randomness comes from.
    pub seed: u64,
    /// Whether this node forms the ring if it was never a member of one (RFC 6940 §6.4.2.1 leaves the mechanism to the
    /// implementation).
    pub founder: bool,
    /// What it knew of the ring when it was a member the last time; none if it never was.
    pub membership: Option<Membership>,
    /// The addresses at which other peers can connect to this one: its candidates in an Attach.
    pub local_addresses: Vec<SocketAddr>,
    /// The bootstrap nodes, own addresses left out.
    pub bootstrap: Vec<SocketAddr>,
    /// Whether the traces that requests belong to are followed; they pass as they came otherwise.
    pub traces: bool,
    /// The length of the successor list and of the predecessor list: at least 3.
    pub neighbors: usize,
    /// Rules that only a test may switch off, to see whether it would notice.
    #[doc(hidden)]
    pub rules: Rules,
}

/// Each `false` is a known way to lose something.
#[doc(hidden)]
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Peers look for other rings.
    pub rings_are_probed: bool,
}

impl Default for Rules {
    fn default() -> Self {
        Self { rings_are_probed: true }
    }
}

impl Core {
    /// Signs under a renewed certificate of the same node from now on.
    pub fn renew(&mut self, signer: Arc<dyn Sign>) {
        debug_assert_eq!(
            signer.node_id(),
            self.settings.node_id,
            "the certificate of another node"
        );
        self.settings.signer = signer;
    }
}
