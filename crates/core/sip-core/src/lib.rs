//! RFC 3261 without sockets: messages, transactions, proxy, registrar, digest.

pub mod aor;
pub mod date;
pub mod digest;
pub mod flow;
pub mod location;
pub mod message;
pub mod proxy;
pub mod recent;
pub mod stun;
mod text;
pub mod token;
pub mod transaction;
pub mod ua;
pub mod uri;

pub use self::text::unquote;
