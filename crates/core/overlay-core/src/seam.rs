//! What overlay and storage say to each other.
//!
//! Commands are sent in order on one session and answered in the same order. `storage-core` has its own,
//! equal shapes: the two cores know nothing of each other, the session carries bytes between them.

use bytes::Bytes;

use wire::{NodeId, ResourceId};

/// Names one command of the storage session, so that its answer finds the way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// What the overlay asks of storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Carries out a Store, Fetch, Find or Stat.
    Apply {
        /// The message code of the request: 7 Store, 9 Fetch, 13 Find, 25 Stat.
        code: u16,
        /// The encoded request body.
        body: Bytes,
        /// The certificates that came with the request.
        certificates: Vec<Bytes>,
        /// The verified leaf that signed the request; none for a merge that the overlay itself asks for.
        signer: Option<Bytes>,
    },
    /// Reads the next batch of a range, as whole-Kind replica Stores.
    Scan {
        /// The last Resource-ID of the batch before; none at the beginning.
        after: Option<ResourceId>,
        /// From the first Node-ID, exclusive, to the second, inclusive, around the ring.
        range: (NodeId, NodeId),
    },
    /// Declares which ranges this peer answers for and which it holds copies of.
    Keep {
        /// The own range: exclusive, inclusive.
        own: (NodeId, NodeId),
        /// The range of which this peer holds copies: exclusive, inclusive.
        replica: (NodeId, NodeId),
    },
    /// Drops a record outside of these ranges, if its owner has each value, the same or newer.
    Forget {
        /// The resource.
        resource: ResourceId,
        /// The owner's encoded StatAns, about all Kinds of the resource.
        stat: Bytes,
        /// Compares and drops nothing; then it does not matter whether this peer keeps the record.
        compare_only: bool,
    },
    /// Counts the resources.
    Count,
    /// Tells the time of the overlay: the middle of what the own clock and those of linked peers say.
    Clock {
        /// Unix milliseconds.
        unix_ms: u64,
        /// How many clocks were weighed, the own one included.
        voices: u32,
    },
    /// Hands over the signed configuration document.
    Document {
        /// The document as it was signed.
        xml: Bytes,
    },
}

/// What storage says to a [`Command`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// An [`Command::Apply`] was carried out, and is on disk.
    Applied {
        /// The message code of the answer.
        code: u16,
        /// The encoded answer body.
        body: Bytes,
        /// The certificates that verify the values in the body.
        certificates: Vec<Bytes>,
        /// After a Store: the whole-Kind state for the replicas.
        replicas: Vec<ReplicaStore>,
    },
    /// An [`Command::Apply`] or [`Command::Forget`] was refused.
    Refused {
        /// A RELOAD error code.
        code: u16,
        /// The error information that goes with it.
        info: Bytes,
    },
    /// One batch of a [`Command::Scan`].
    Scanned {
        /// The records, in the order of their Resource-IDs.
        stores: Vec<ReplicaStore>,
        /// Where the next batch begins; none at the end.
        next: Option<ResourceId>,
    },
    /// What a [`Command::Count`] found.
    Counted {
        /// Resources with at least one value.
        records: u64,
    },
    /// Any other command was carried out.
    Done,
}

/// A complete Kind of one resource, ready to be sent to another holder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStore {
    /// The resource.
    pub resource: ResourceId,
    /// An encoded StoreReq body; its replica number is a place-holder that the overlay fills in.
    pub body: Bytes,
    /// The certificates that verify its values.
    pub certificates: Vec<Bytes>,
}

/// What happens to the storage session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEvent {
    /// A new session is open; whatever was sent on an older one has an unknown outcome.
    Up {
        /// Counts the sessions of this process.
        session: u64,
        /// Names the disk; another one means that the data of before is not there.
        store_id: [u8; 16],
    },
    /// The session ended.
    Down,
    /// Storage is not to be had any more: another process has taken it, or it belongs to another node. There is another
    /// peer of this Node-ID, or there should be.
    Refused,
}
