//! A secured connection to a Node-ID: mutual TLS over TCP.
//!
//! Both ends show a certificate of the overlay, and one verifier type, around [`identity::Verifier`], judges it at both. An
//! [`Endpoint`] is one node's end of all its links; a [`Connection`] is a stream of octets whose other end is a known
//! [`identity::Identity`]. Framing, acknowledgements and their timers are overlay-core's; SIP between edges is sip-core's.

mod certificate;
mod connection;
mod endpoint;
mod error;
mod verifier;

pub use connection::Connection;
pub use endpoint::Endpoint;
pub use error::{LinkError, PeerError, SetupError};
pub use verifier::client_verifier;
