//! What other holders are sent: whole Kinds, as replica Stores.

use bytes::Bytes;
use wire::{Encode, KindId, ResourceId, StoreKindData, StoreReq, StoredData};

use crate::{
    api::ReplicaStore,
    certificates::Certificates,
    record::{Hash, Record, Slot, Values},
};

/// Makes the replica Stores of some Kinds of a record.
///
/// A replica Store carries all values of a Kind, tombstones and the counter included, not only what has changed: a
/// replica that has missed one Store is then whole again with the next. Where that is too large, each value goes alone
/// with the counter 1, and the last one with the counter.
pub(crate) fn stores<'a>(
    resource: ResourceId,
    record: &'a Record,
    certificates: &'a Certificates,
    own_ms: u64,
    kinds: impl Fn(KindId) -> bool + 'a,
) -> impl Iterator<Item = ReplicaStore> + 'a {
    let copies = Copies {
        resource,
        certificates,
        own_ms,
    };
    let wanted = record.kinds.iter().filter(move |(kind, _)| kinds(**kind));
    wanted.flat_map(move |(kind, values)| copies.kind(*kind, values))
}

/// Octets that a replica Store takes on the way.
pub(crate) fn size(store: &ReplicaStore) -> usize {
    store
        .certificates
        .iter()
        .fold(store.body.len(), |sum, der| sum + der.len())
}

struct Copies<'a> {
    resource: ResourceId,
    certificates: &'a Certificates,
    own_ms: u64,
}

impl Copies<'_> {
    fn kind(&self, kind: KindId, values: &Values) -> Vec<ReplicaStore> {
        let slots: Vec<_> = values.slots.values().collect();
        let whole = self.store(kind, values.generation, &slots);
        if size(&whole) <= LARGEST {
            return vec![whole];
        }
        let last = slots.len().saturating_sub(1);
        let generation = |place: usize| if place == last { values.generation } else { 1 };
        slots
            .iter()
            .enumerate()
            .map(|(place, slot)| self.store(kind, generation(place), &[slot]))
            .collect()
    }

    fn store(&self, kind: KindId, generation: u64, slots: &[&Slot]) -> ReplicaStore {
        let values = slots
            .iter()
            .map(|slot| StoredData {
                lifetime: slot.lifetime(self.own_ms),
                ..slot.data.clone()
            })
            .collect();
        let kind_data = vec![StoreKindData {
            kind,
            generation_counter: generation,
            values,
        }];
        let body = StoreReq {
            resource: self.resource,
            replica_number: 1,
            kind_data,
        }
        .to_bytes();
        let hashes = slots.iter().flat_map(|slot| slot.chain.iter());
        ReplicaStore {
            resource: self.resource,
            body,
            certificates: ders(self.certificates, hashes),
        }
    }
}

/// Gives the certificates behind hashes, each once.
pub(crate) fn ders<'a>(certificates: &Certificates, hashes: impl Iterator<Item = &'a Hash>) -> Vec<Bytes> {
    let hashes: std::collections::BTreeSet<_> = hashes.collect();
    hashes
        .into_iter()
        .filter_map(|hash| certificates.der(hash))
        .cloned()
        .collect()
}

/// Half of a message of the size that our documents allow: the other half is for the message around it.
const LARGEST: usize = 32 << 10;
