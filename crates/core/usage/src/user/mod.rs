//! User records: what lets any edge of the overlay authenticate a user while the bootstrap service is away.
//!
//! A record is one entry of the private Kind P2PSIP-USER at the hash of the user's AOR, under the Node-ID of the user
//! signer as key. Its public part (state, version, allowed edges) is readable by everyone; the digest credentials are
//! sealed under the overlay's record key, and bound to the place and the public part, so that neither a moved nor an
//! edited record opens.

mod cursor;
mod ha1;
mod name;
mod password;
mod record;
mod seal;
mod store;

#[cfg(test)]
mod tests;

pub use ha1::{Ha1, Hashes, NameForm};
pub use name::{NodeName, not_a_node};
pub use password::{Strength, strength};
pub use record::{MAX_ALLOWED_EDGES, Public, Record, RecordError, State};
pub use seal::{RecordKey, SealError, Secret};
pub use store::{LIFETIME, store};
