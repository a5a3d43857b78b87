//! What an edge signs when it attaches: both ends of `Overlay.Attach` must agree on it, and it must never be mistaken for a
//! RELOAD message.

/// The contents that a `Hello` signs, as if it were a message with transaction id 0.
///
/// They begin with `p2`, which read as a message code is 28722: RFC 6940 §14.8 leaves it unassigned, so an overlay cannot
/// present a request as a nonce and get a signature that a peer would accept.
#[must_use]
pub fn attach_contents(nonce: &[u8]) -> Vec<u8> {
    let mut contents = LABEL.to_vec();
    contents.extend_from_slice(nonce);
    contents
}

/// Octets in a challenge's nonce.
pub const NONCE_LENGTH: usize = 32;

const LABEL: &[u8] = b"p2psip.overlay.v1 attach\0";
