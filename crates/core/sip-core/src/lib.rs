//! RFC 3261 without sockets: messages, transactions, proxy, registrar, digest.

pub mod flow;
pub mod transaction;
