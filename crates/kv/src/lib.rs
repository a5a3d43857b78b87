//! Durable key-value storage: batches, and one flush for many writers.
//!
//! Every component keeps its state in a folder of its own through this crate, the only one that names the database
//! below. A [`Store`] holds named [`Tree`]s of keys and values. Reads go straight to it; writes are [`Batch`]es that one
//! thread takes from a bounded queue: it drains what waits there, writes all of it at once, flushes once, and then
//! answers everyone. So nothing is acknowledged before it is on the disk, and a hundred writers cost one flush.
//!
//! A batch is atomic across its trees: the trees are prefixes of the keys of one tree below, which applies a batch as a
//! whole or not at all.
//!
//! A store keeps [`Room`] on its disk, so that a full disk is noticed before a write begins. What an interrupted start left
//! does not stop the next one, and a store that cannot be read can be moved aside ([`Store::open_or_replace`]).

mod batch;
mod error;
mod leftovers;
mod open;
mod room;
mod store;
mod writer;

pub use batch::{Batch, Tree};
pub use error::{FlushError, OpenError, OwnerError, ReadError};
pub use open::{Durability, Options};
pub use room::{Full, Room};
pub use store::{Entries, Store};
