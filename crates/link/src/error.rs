//! Why there is no link.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use wire::NodeId;

/// Why an [`Endpoint`](crate::Endpoint) could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The key cannot be used, or does not belong to the certificate.
    #[error("cannot use the link key and its certificate: {0}")]
    Key(rustls::Error),
    /// No certificate was given.
    #[error("no link certificate")]
    NoCertificate,
}

/// Why the other end's certificate was refused. It was told so by a TLS alert.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// A good certificate, of another node.
    #[error("expected node {expected}, found {}", list(found))]
    OtherNode {
        /// Who should be there.
        expected: NodeId,
        /// Who is.
        found: Vec<NodeId>,
    },
    /// The overlay does not accept the certificate.
    #[error("certificate of node {} refused (expected {}): {source}", list(found), expected_or_any(expected.as_ref()))]
    Refused {
        /// Who should be there; `None` for an incoming link.
        expected: Option<NodeId>,
        /// Whom the certificate names, if it could be read.
        found: Vec<NodeId>,
        /// Why.
        source: identity::Error,
    },
}

/// Why a link was not made.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LinkError {
    /// Nobody answers there.
    #[error("cannot connect to {remote}: {source}")]
    Connect {
        /// The address.
        remote: SocketAddr,
        /// What the system said.
        source: Arc<io::Error>,
    },
    /// It took too long.
    #[error("no link with {remote} within {limit:?}")]
    TimedOut {
        /// The address.
        remote: SocketAddr,
        /// The time allowed.
        limit: Duration,
    },
    /// The wrong node, or a certificate that does not count.
    #[error("wrong certificate at {remote}: {source}")]
    Peer {
        /// The address.
        remote: SocketAddr,
        /// Which node was expected and which found.
        source: PeerError,
    },
    /// The other end refused us, or does not speak TLS as we do.
    #[error("no TLS with {remote}: {source}")]
    Tls {
        /// The address.
        remote: SocketAddr,
        /// What went wrong.
        source: Arc<io::Error>,
    },
}

fn list(nodes: &[NodeId]) -> String {
    let nodes: Vec<_> = nodes.iter().map(NodeId::to_string).collect();
    if nodes.is_empty() {
        "(unreadable)".into()
    } else {
        nodes.join(", ")
    }
}

fn expected_or_any(expected: Option<&NodeId>) -> String {
    expected.map_or_else(|| "any".into(), NodeId::to_string)
}
