//! What goes in and what comes out.

use std::time::Instant;

use bytes::Bytes;

use wire::{NodeId, ResourceId};

/// Names a command; its answer repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommandId(pub u64);

/// Names a batch of writes. Batches rise by one, and are to be flushed in that order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId(pub u64);

/// What a core is made with.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Identity for a new store, drawn at random; a store that was loaded keeps its own.
    pub store_id: [u8; 16],
    /// Most octets of values and their certificates, which signers, Kinds and copies share.
    pub capacity: u64,
    /// Most values and tombstones of one signer. Copies count three times as much: they are those of three owners.
    pub signer_slots: u64,
    /// Most octets of one batch of a [`Command::Scan`], unless a single record has more.
    pub scan_batch: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            store_id: [0; 16],
            capacity: 1 << 30,
            signer_slots: 20_000,
            scan_batch: 256 << 10,
        }
    }
}

/// What the overlay asks for. Commands are carried out, and answered, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Carries out one RELOAD request.
    Apply {
        /// Its message code: Store 7, Fetch 9, Find 13, Stat 25.
        code: u16,
        /// Its encoded body.
        body: Bytes,
        /// The certificates of its security block.
        certificates: Vec<Bytes>,
        /// DER of the verified certificate that signed the request. None for a merge that this peer itself asks for,
        /// with what it fetched from another holder: such a Store takes what is newer, value by value, and is never
        /// refused because the peer holds something newer.
        signer: Option<Bytes>,
    },
    /// Reads records in the order of the ring, one batch at a time.
    Scan {
        /// The last Resource of the previous batch; none to begin.
        after: Option<ResourceId>,
        /// From the first, exclusive, to the second, inclusive; equal ends mean the whole ring.
        range: (NodeId, NodeId),
    },
    /// Says which ranges this peer answers for and keeps copies of, each from exclusive to inclusive.
    Keep {
        /// The range that it is responsible for.
        own: (NodeId, NodeId),
        /// The range of its predecessors whose replicas it holds.
        replica: (NodeId, NodeId),
    },
    /// Drops a record that this peer need not keep, if its owner has each value, the same or newer. Otherwise nothing
    /// changes, and the command is refused.
    Forget {
        /// The Resource.
        resource: ResourceId,
        /// The owner's encoded StatAns, about all Kinds of the Resource.
        stat: Bytes,
        /// Compares and drops nothing; then it does not matter whether this peer keeps the record.
        compare_only: bool,
    },
    /// Counts the Resources.
    Count,
    /// Tells the time of the overlay: the middle of what the own clock and those of linked peers say.
    Clock {
        /// Milliseconds since 1970.
        unix_ms: u64,
        /// How many clocks were weighed, the own one included.
        voices: u32,
    },
    /// Puts a signed overlay configuration document in force, unless the present one is as new.
    Document {
        /// The signed document.
        xml: Bytes,
    },
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The request was carried out.
    Applied {
        /// Message code of the answer.
        code: u16,
        /// Its encoded body.
        body: Bytes,
        /// The certificates that vouch for the values in it.
        certificates: Vec<Bytes>,
        /// After an original Store or a merge of one's own: the Kinds concerned, whole, for the replica peers.
        replicas: Vec<ReplicaStore>,
    },
    /// The command was refused; nothing has changed.
    Refused {
        /// Number of a [`wire::ErrorCode`].
        code: u16,
        /// error_info (RFC 6940 §6.3.3.1).
        info: Bytes,
    },
    /// One batch of records.
    Scanned {
        /// Whole Kinds, record by record.
        stores: Vec<ReplicaStore>,
        /// The last Resource of the batch, to continue after; none when the range is exhausted.
        next: Option<ResourceId>,
    },
    /// Resources with at least one value.
    Counted {
        /// How many there are.
        records: u64,
    },
    /// The command has nothing to say.
    Done,
}

/// A Kind of a Resource, or a part of it if it is large, as a replica Store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaStore {
    /// The Resource.
    pub resource: ResourceId,
    /// Encoded StoreReq with replica number 1.
    pub body: Bytes,
    /// The certificates that vouch for its values.
    pub certificates: Vec<Bytes>,
}

/// The parts of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tree {
    /// Facts about the store itself.
    Meta,
    /// All Kinds of a Resource under its Resource-ID, so that each change of a Resource is atomic.
    Records,
    /// Certificates under their hashes.
    Certificates,
}

impl Tree {
    /// All of them, in the order in which they are loaded.
    pub const ALL: [Self; 3] = [Self::Meta, Self::Certificates, Self::Records];
}

/// A change to the disk: tree, key and value; without a value the key is removed.
pub type Put = (Tree, Bytes, Option<Bytes>);

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Write these changes, all or none and after earlier batches, then call [`Core::handle_flushed`].
    ///
    /// [`Core::handle_flushed`]: crate::Core::handle_flushed
    Write {
        /// The batch.
        batch: BatchId,
        /// Its changes.
        puts: Vec<Put>,
    },
    /// Tell the overlay how its command ended.
    Answer(CommandId, Answer),
    /// Nothing more to do before this time, if no input comes; always the last output.
    Timeout(Instant),
}

/// What is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Resources with at least one value.
    pub records: u64,
    /// Values, tombstones included.
    pub values: u64,
    /// Octets of the values and their certificates.
    pub bytes: u64,
    /// Storage time of the oldest value, in milliseconds since 1970; 0 when there is none.
    pub oldest_unix_ms: u64,
    /// Records in the range that the peer answers for.
    pub own: u64,
    /// Records in the range of its predecessors.
    pub replicas: u64,
    /// Records on the disk that could not be read; they are left alone.
    pub damaged: u64,
}
