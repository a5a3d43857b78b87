//! What finds a transaction: its number inside, its branch on the wire.

/// A client transaction (a request that this edge sent).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub(super) u64);

/// A server transaction (a request that this edge received).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub(super) u64);

/// Finds a server transaction (RFC 3261 §17.2.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ServerKey(Box<str>);

impl ServerKey {
    /// Makes the key of a request from its topmost Via. An ACK finds the INVITE that it acknowledges.
    pub fn new(branch: &str, sent_by: &str, method: &str) -> Self {
        // RFC 3261 §17.2.3: the method is compared too, except for ACK, where the method is that of the INVITE.
        let method = if method == "ACK" { "INVITE" } else { method };
        let sent_by = sent_by.to_ascii_lowercase();
        Self(format!("{branch}\n{sent_by}\n{method}").into())
    }
}

/// Finds a client transaction (RFC 3261 §17.1.3).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClientKey(Box<str>);

impl ClientKey {
    /// Makes the key from the branch of the topmost Via and the method of the CSeq.
    pub fn new(branch: &str, method: &str) -> Self {
        // A CANCEL carries the branch of the request that it cancels, so the method must be compared.
        Self(format!("{branch}\n{method}").into())
    }
}
