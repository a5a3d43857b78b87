//! RFC 3261 without sockets: messages, transactions, proxy, registrar, digest.

pub mod flow;
pub mod message;
mod text;
pub mod transaction;
pub mod uri;

pub use self::text::unquote;
