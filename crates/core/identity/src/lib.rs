//! Who a node is: certificates, Node-IDs, user names, signing and verifying.
//!
//! A RELOAD overlay knows its members by certificates that the CAs of the configuration document
//! issued (RFC 6940 §11.3). This crate reads such a certificate ([`Certificate`]), decides whether
//! and for what it counts ([`Verifier`], [`Use`]), makes and checks the two signatures of the
//! protocol (messages, RFC 6940 §6.3.4, and stored values, §7.1), and issues every certificate of
//! the overlay ([`issue`]). It owns no clock: every check takes the time as an argument.

mod cache;
mod certificate;
mod chain;
mod class;
mod error;
pub mod issue;
mod key;
mod name;
mod rules;
mod sign;
mod sort;
#[cfg(test)]
mod tests;
mod trust;
mod verifier;
mod voucher;

pub use certificate::{Certificate, CertificateError};
pub use class::Class;
pub use error::Error;
pub use key::{Key, KeyError, PublicKey};
pub use name::{DomainPattern, DomainPatternError, Domains, ReloadUri, user_and_domain};
pub use sign::{Sign, Signer, bucket, sign_blob, sign_message, sign_value, verify_blob, verify_message, verify_value};
pub use sort::Sort;
pub use trust::Trust;
pub use verifier::{Identity, Use, Verifier};
pub use voucher::{Root, SHORTEST_SECRET, Voucher, draw_nonce};
