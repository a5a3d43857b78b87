//! The overlay configuration document (RFC 6940 §11.1): what all members of an overlay agree on.
//!
//! The document is the root of trust: it names the CAs, the parameters every node must share, and
//! the Kinds of data with their rules. A first document is pinned by the hash of its configuration
//! root; a later one is believed because a signer of the one before signed it. [`Document`] is the
//! typed content, [`SignedDocument`] the file with its signatures as it travels between nodes.

mod document;
mod error;
pub mod instant;
mod kind;
mod obey;
mod parse;
mod signed;
#[cfg(test)]
mod tests;
mod tree;
mod value;
mod write;

pub use document::{BootstrapNode, Chord, Document, Genesis, NAMESPACE, Service};
pub use error::{Demand, Error, SignatureError};
pub use kind::{AccessPolicy, KindDefinition};
pub use signed::{Basis, MAX_DOCUMENT, SignedDocument, is_newer};
