//! Everything that is held, with the indexes over it.

use std::collections::{BTreeMap, BTreeSet};

use wire::{KindId, NodeId, ResourceId};

use crate::{
    api::{Settings, Summary, Tree},
    certificates::{Certificates, Fresh, named_node},
    disk,
    puts::Puts,
    quota::{Change, Tally},
    record::{Hash, Record, Slot, Values},
};

/// Records by Resource-ID.
#[derive(Debug, Default)]
pub(crate) struct State {
    records: BTreeMap<ResourceId, Held>,
    /// Which Resources hold a Kind, for Find.
    by_kind: BTreeSet<(KindId, ResourceId)>,
    /// When a record's next value ends, in own milliseconds.
    due: BTreeSet<(u64, ResourceId)>,
    pub(crate) certificates: Certificates,
    /// What all records take.
    tally: Tally,
}

#[derive(Debug)]
struct Held {
    record: Record,
    /// What it was counted as.
    tally: Tally,
}

impl State {
    pub(crate) fn record(&self, resource: ResourceId) -> Option<&Record> {
        self.records.get(&resource).map(|held| &held.record)
    }

    /// Counts the Resources.
    pub(crate) fn records(&self) -> u64 {
        count(self.records.len())
    }

    /// Puts a record in the place of the one before; one without values is removed.
    pub(crate) fn replace(&mut self, resource: ResourceId, record: Record, fresh: &Fresh, puts: &mut Puts) {
        // Counted in before the old one is counted out, so that what both use is never dropped in between.
        for (kind, slot) in record.slots_by_kind() {
            self.certificates.acquire(kind, slot, fresh, puts);
        }
        if let Some(old) = self.take(resource) {
            for slot in old.slots() {
                self.certificates.release(slot, puts);
            }
        }
        if record.slots().next().is_none() {
            puts.delete(Tree::Records, resource.as_bytes());
        } else {
            puts.put(Tree::Records, resource.as_bytes(), disk::encode(&record));
            self.insert(resource, record);
        }
    }

    /// Takes a record from the disk.
    pub(crate) fn load(&mut self, resource: ResourceId, record: Record) {
        let mut nothing = Puts::default();
        for (kind, slot) in record.slots_by_kind() {
            self.certificates.acquire(kind, slot, &Fresh::new(), &mut nothing);
        }
        self.insert(resource, record);
    }

    /// Drops the values whose time is over.
    pub(crate) fn expire(&mut self, own_ms: u64, puts: &mut Puts) {
        while let Some((due, resource)) = self.due.first().copied() {
            if due > own_ms {
                break;
            }
            self.retain(resource, &mut |_, slot| slot.expires > own_ms, puts);
        }
    }

    /// Drops the values of all records that do not satisfy the condition. Gives their number.
    pub(crate) fn retain_all(&mut self, keep: &mut dyn FnMut(KindId, &Slot) -> bool, puts: &mut Puts) {
        let resources: Vec<_> = self.records.keys().copied().collect();
        for resource in resources {
            self.retain(resource, keep, puts);
        }
    }

    /// Gives values another end.
    pub(crate) fn reschedule(&mut self, end: impl Fn(KindId, &Slot) -> u64, puts: &mut Puts) {
        let resources: Vec<_> = self.records.keys().copied().collect();
        for resource in resources {
            let Some(held) = self.record(resource) else { continue };
            let mut record = held.clone();
            for (kind, values) in &mut record.kinds {
                values
                    .slots
                    .values_mut()
                    .for_each(|slot| slot.expires = end(*kind, slot));
            }
            if record != *held {
                self.replace(resource, record, &Fresh::new(), puts);
            }
        }
    }

    fn retain(&mut self, resource: ResourceId, keep: &mut dyn FnMut(KindId, &Slot) -> bool, puts: &mut Puts) {
        let Some(held) = self.records.get(&resource) else {
            return;
        };
        if held
            .record
            .kinds
            .iter()
            .all(|(kind, values)| values.slots.values().all(|slot| keep(*kind, slot)))
        {
            return;
        }
        let mut record = held.record.clone();
        record.retain(keep);
        self.replace(resource, record, &Fresh::new(), puts);
    }

    /// Goes through records along the ring: after the first id up to and including the second.
    pub(crate) fn range(
        &self,
        after: ResourceId,
        until: ResourceId,
    ) -> impl Iterator<Item = (ResourceId, &Record)> + use<'_> {
        use std::ops::Bound::{Excluded, Included, Unbounded};
        // An arc that passes zero has two parts; with equal ends it is the whole ring.
        let wraps = after >= until;
        let first = self
            .records
            .range((Excluded(after), if wraps { Unbounded } else { Included(until) }));
        let second = wraps
            .then(|| self.records.range((Unbounded, Included(until))))
            .into_iter()
            .flatten();
        first.chain(second).map(|(resource, held)| (*resource, &held.record))
    }

    /// Finds the first Resource with values of a Kind that are there, from the given place on along the ring and up to
    /// the given end, both inclusive.
    // RFC 6940 §7.4.4: nearest(1 + R) walks the overlay, so nearest is the next one clockwise.
    pub(crate) fn closest(
        &self,
        kind: KindId,
        resource: ResourceId,
        until: ResourceId,
        is_there: &dyn Fn(&Values) -> bool,
    ) -> Option<ResourceId> {
        // An arc that passes zero has two parts.
        let passes_zero = resource > until;
        let end = if passes_zero {
            ResourceId::from(NodeId::WILDCARD)
        } else {
            until
        };
        let ahead = self.by_kind.range((kind, resource)..=(kind, end));
        let beyond_zero = passes_zero.then(|| self.by_kind.range((kind, ResourceId::ZERO)..=(kind, until)));
        let has_values = |resource: &ResourceId| {
            let values = self.record(*resource).and_then(|record| record.kinds.get(&kind));
            values.is_some_and(is_there)
        };
        ahead
            .chain(beyond_zero.into_iter().flatten())
            .map(|(_, resource)| *resource)
            .find(has_values)
    }

    pub(crate) fn summary(&self) -> Summary {
        let slots = || self.records.values().flat_map(|held| held.record.slots());
        Summary {
            records: self.records(),
            values: count(slots().count()),
            bytes: self.tally.octets() + self.certificates.tally().octets(),
            oldest_unix_ms: slots().map(|slot| slot.data.storage_time).min().unwrap_or(0),
            ..Summary::default()
        }
    }

    /// The node that pays for a value that is held, or that came with these certificates.
    pub(crate) fn payer(&self, slot: &Slot, fresh: &Fresh) -> NodeId {
        let payer = slot.chain.first().and_then(|leaf| {
            let held = self.certificates.payer(leaf);
            held.or_else(|| fresh.get(leaf).map(|der| named_node(der)))
        });
        payer.unwrap_or(NodeId::ZERO)
    }

    /// Tells why there is no room for a change.
    pub(crate) fn refusal(&self, settings: &Settings, change: &Change<'_>) -> Option<String> {
        change.refusal(settings, &self.tally, self.certificates.tally())
    }

    /// Lists who signed what is held: each chain once for each Kind.
    pub(crate) fn chains(&self) -> BTreeSet<(KindId, Vec<Hash>)> {
        let kinds = self.records.values().flat_map(|held| &held.record.kinds);
        kinds
            .flat_map(|(kind, values)| values.slots.values().map(|slot| (*kind, slot.chain.clone())))
            .collect()
    }

    fn take(&mut self, resource: ResourceId) -> Option<Record> {
        let Held { record, tally } = self.records.remove(&resource)?;
        self.tally.subtract(&tally);
        for kind in record.kinds.keys() {
            self.by_kind.remove(&(*kind, resource));
        }
        if let Some(due) = record.due() {
            self.due.remove(&(due, resource));
        }
        Some(record)
    }

    fn insert(&mut self, resource: ResourceId, record: Record) {
        let tally = Tally::of(&record, |slot| self.payer(slot, &Fresh::new()));
        self.tally.merge(&tally);
        self.by_kind.extend(record.kinds.keys().map(|kind| (*kind, resource)));
        self.due.extend(record.due().map(|due| (due, resource)));
        self.records.insert(resource, Held { record, tally });
    }
}

pub(crate) fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
