//! Where values stand: dictionary keys and array indices, some of them for a short time.

use std::time::Duration;

use bytes::Bytes;
use identity::{Sign, sign_value};
use wire::{
    ArrayRange, Body, DataValue, Destination, Encode, FetchAns, FetchReq, KindId, MessageContents, ModelSpecifier,
    NodeId, ResourceId, SignerIdentity, StoreKindData, StoreReq, StoredData, StoredDataSpecifier, StoredDataValue,
};

use super::credentials::{LIST, user_name};

/// A place for one value after the other, all of one writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Slot {
    /// The registration of a user at an edge: a dictionary key.
    Registration { user: usize, edge: NodeId },
    /// An entry in a peer's list: an array index.
    Entry { node: NodeId, index: u32 },
}

impl Slot {
    pub(super) fn resource(self) -> ResourceId {
        match self {
            Self::Registration { user, .. } => ResourceId::of(user_name(user).as_bytes()),
            Self::Entry { node, .. } => ResourceId::of(node.as_bytes()),
        }
    }

    /// The client that stores there; none where the peer itself does.
    pub(super) fn client(self) -> Option<NodeId> {
        match self {
            Self::Registration { edge, .. } => Some(edge),
            Self::Entry { .. } => None,
        }
    }

    /// How long its values live: always the same, so that none comes back after a later one has ended.
    pub(super) fn lifetime(self) -> Duration {
        match self {
            Self::Registration { user, .. } if user % SHORT_LIVED == 0 => SHORT,
            Self::Registration { .. } | Self::Entry { .. } => LONG,
        }
    }

    fn kind(self) -> KindId {
        match self {
            Self::Registration { .. } => KindId::SIP_REGISTRATION,
            Self::Entry { .. } => LIST,
        }
    }

    fn value(self, value: DataValue) -> StoredDataValue {
        match self {
            Self::Registration { edge, .. } => StoredDataValue::Dictionary { key: key(edge), value },
            Self::Entry { index, .. } => StoredDataValue::Array { index, value },
        }
    }

    fn specifier(self) -> ModelSpecifier {
        match self {
            Self::Registration { edge, .. } => ModelSpecifier::Dictionary(vec![key(edge)]),
            Self::Entry { index, .. } => ModelSpecifier::Array(vec![ArrayRange {
                first: index,
                last: index,
            }]),
        }
    }

    fn is_of(self, value: &StoredDataValue) -> bool {
        match (self, value) {
            (Self::Registration { edge, .. }, StoredDataValue::Dictionary { key, .. }) => **key == *edge.as_bytes(),
            (Self::Entry { index, .. }, StoredDataValue::Array { index: theirs, .. }) => index == *theirs,
            _ => false,
        }
    }
}

/// Stores a value, or deletes what is there.
pub(super) fn store_request(
    slot: Slot,
    storage_time: u64,
    value: Option<Bytes>,
    signer: &dyn Sign,
) -> (Destination, Bytes) {
    let (resource, kind) = (slot.resource(), slot.kind());
    let value = slot.value(value.map_or_else(DataValue::none, DataValue::of));
    let signature = sign_value(signer, resource, kind, storage_time, &value);
    let values = vec![StoredData {
        storage_time,
        lifetime: u32::try_from(slot.lifetime().as_secs()).unwrap_or(u32::MAX),
        value,
        signature,
    }];
    let kind_data = vec![StoreKindData {
        kind,
        generation_counter: 0,
        values,
    }];
    let body = Body::StoreReq(StoreReq {
        resource,
        replica_number: 0,
        kind_data,
    });
    (Destination::Resource(resource), MessageContents::of(&body).to_bytes())
}

/// Asks for one slot.
pub(super) fn fetch_request(slot: Slot) -> FetchReq {
    let specifier = StoredDataSpecifier {
        kind: slot.kind(),
        generation: 0,
        model: slot.specifier(),
    };
    FetchReq {
        resource: slot.resource(),
        specifiers: vec![specifier],
    }
}

/// Finds what a Fetch answer has in a slot.
pub(super) fn found(slot: Slot, answer: FetchAns) -> Option<StoredData> {
    let mut values = answer.kind_responses.into_iter().flat_map(|response| response.values);
    // RFC 6940 §7.4.2.2: what was asked for and never stored comes as a value without a signer.
    values.find(|data| slot.is_of(&data.value) && data.signature.identity != SignerIdentity::None)
}

fn key(edge: NodeId) -> Bytes {
    Bytes::copy_from_slice(edge.as_bytes())
}

/// Entries of a list.
pub(super) const ENTRIES: usize = 4;

/// Longer than any run.
const LONG: Duration = Duration::from_secs(3600);

/// So short that values end in the middle of a run, and all of them before its last checks.
const SHORT: Duration = Duration::from_secs(15);

/// Users whose number this divides are registered for a short time.
const SHORT_LIVED: usize = 4;
