//! How incoming values meet those that are held: strictly for originals, as a join for everything else.

use std::{cmp::Ordering, collections::BTreeMap};

use wire::{StoredData, StoredDataValue};

use crate::{
    kind::Kind,
    record::{Place, Slot, Values, is_same, precedence},
};

/// Why values do not go together with those that are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conflict {
    /// Something as new or newer is held.
    Older,
    /// A value is larger, or there are more of them, than the Kind allows.
    Large,
    /// A value has no place in this Kind.
    Misplaced,
}

impl Values {
    /// Tells whether all of these are held, octet by octet; an appended one at whatever index.
    pub(crate) fn hold(&self, slots: &[Slot]) -> bool {
        slots.iter().all(|slot| self.find_same(&slot.data).is_some())
    }

    /// Finds the very same value; an appended one at whatever index.
    pub(crate) fn find_same(&self, data: &StoredData) -> Option<&Slot> {
        match place(data)? {
            Wanted::End => self.find_appended(data),
            Wanted::At(place) => self.slots.get(&place).filter(|held| is_same(&held.data, data)),
        }
    }

    /// Stores originals. Tells whether anything has changed; the counter is the caller's.
    // RFC 6940 §7, §7.4.1.1: a storage time that is not greater than the held one is too old. The very same value is
    // not: then an earlier try has got so far.
    pub(crate) fn store(&mut self, kind: &Kind, slots: Vec<Slot>) -> Result<bool, Conflict> {
        let mut has_changed = false;
        for mut slot in slots {
            if !fits(kind, &slot.data) {
                return Err(Conflict::Large);
            }
            let place = match place(&slot.data).ok_or(Conflict::Misplaced)? {
                Wanted::End if self.find_appended(&slot.data).is_some() => continue,
                Wanted::End => self.append(&mut slot.data),
                Wanted::At(place) => place,
            };
            match self.slots.get(&place) {
                Some(held) if is_same(&held.data, &slot.data) => continue,
                Some(held) if held.data.storage_time >= slot.data.storage_time => return Err(Conflict::Older),
                _ => self.slots.insert(place, slot),
            };
            has_changed = true;
        }
        if has_changed && !self.are_within(kind) {
            return Err(Conflict::Large);
        }
        Ok(has_changed)
    }

    /// Merges what another holder has. Tells whether a value has changed.
    ///
    /// With [`Losers::Refuse`], values that lose against a held one make the whole merge fail: the sender has to learn
    /// what is newer.
    pub(crate) fn merge(
        &mut self,
        kind: &Kind,
        generation: u64,
        slots: Vec<Slot>,
        losers: Losers,
    ) -> Result<bool, Conflict> {
        let mut incoming: BTreeMap<Place, Slot> = BTreeMap::new();
        for slot in slots {
            let Some(Wanted::At(place)) = place(&slot.data) else {
                return Err(Conflict::Misplaced);
            };
            if matches!(place, Place::Index(index) if index >= longest(kind)) {
                return Err(Conflict::Large);
            }
            match incoming.get(&place) {
                Some(other) if precedence(&other.data, &slot.data) != Ordering::Less => {}
                _ => drop(incoming.insert(place, slot)),
            }
        }
        let number = incoming.len();
        let (mut has_changed, mut has_newer) = (false, false);
        let mut existing = self.existing();
        // What is deleted makes room for the rest.
        let (values, deletions): (Vec<_>, Vec<_>) = incoming.into_iter().partition(|(_, slot)| slot.exists());
        for (place, slot) in deletions.into_iter().chain(values) {
            match self.slots.get(&place).map(|held| precedence(&held.data, &slot.data)) {
                Some(Ordering::Greater) if losers == Losers::Refuse => return Err(Conflict::Older),
                Some(Ordering::Greater) => has_newer = true,
                Some(Ordering::Equal) => {}
                // RFC 6940 §7.4.1.1: the limits hold for copies too; what its writer sent past the owner spreads no
                // further. What is held stays: a later document may have made the Kind smaller.
                Some(Ordering::Less) | None if !self.has_room(kind, existing, &place, &slot) => match losers {
                    Losers::Refuse => return Err(Conflict::Large),
                    Losers::Ignore => {}
                },
                Some(Ordering::Less) | None => {
                    existing += usize::from(slot.exists());
                    let before = self.slots.insert(place, slot);
                    existing -= usize::from(before.is_some_and(|before| before.exists()));
                    has_changed = true;
                }
            }
        }
        // The counter is never lowered (deviation D13). A union that neither side had is a state of its own.
        let is_union = has_changed && (has_newer || self.slots.len() != number);
        self.generation = self.generation.max(generation).saturating_add(is_union.into());
        Ok(has_changed)
    }

    /// Tells whether one more copy is within the limits for merging (deviation D34).
    fn has_room(&self, kind: &Kind, existing: usize, place: &Place, slot: &Slot) -> bool {
        let held = self.slots.get(place);
        let is_one_more = slot.exists() && !held.is_some_and(Slot::exists);
        let has_count = !is_one_more || existing < kind.max_count.saturating_mul(OWNERS);
        let has_place = held.is_some() || self.slots.len() < most_places(kind).saturating_mul(OWNERS);
        fits(kind, &slot.data) && has_count && has_place
    }

    fn find_appended(&self, data: &StoredData) -> Option<&Slot> {
        let StoredDataValue::Array { value, .. } = &data.value else {
            return None;
        };
        let is_it = |held: &StoredData| {
            held.storage_time == data.storage_time
                && held.signature == data.signature
                && held.value.value() == Some(value)
        };
        self.slots.values().find(|held| is_it(&held.data))
    }

    // RFC 6940 §7.4.1.1: the end of the array, whatever its length; the value then has that index.
    fn append(&self, data: &mut StoredData) -> Place {
        let end = self.length();
        if let StoredDataValue::Array { index, .. } = &mut data.value {
            *index = end;
        }
        Place::Index(end)
    }

    /// Tells whether the Kind's limits are kept (RFC 6940 §7.4.1.1). Tombstones are no values, but not free either.
    fn are_within(&self, kind: &Kind) -> bool {
        self.existing() <= kind.max_count && self.slots.len() <= most_places(kind) && self.length() <= longest(kind)
    }
}

/// What to do with values that are older than those held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Losers {
    /// Fail, and change nothing.
    Refuse,
    /// Leave them.
    Ignore,
}

enum Wanted {
    At(Place),
    /// Behind the last one of an array.
    End,
}

fn place(data: &StoredData) -> Option<Wanted> {
    match Place::of(&data.value)? {
        Place::Index(StoredDataValue::APPEND) => Some(Wanted::End),
        place => Some(Wanted::At(place)),
    }
}

/// Tells whether a value is no larger than its Kind allows.
fn fits(kind: &Kind, data: &StoredData) -> bool {
    data.value
        .value()
        .is_some_and(|value| value.value.len() <= kind.max_size)
}

/// Most values and tombstones of a Kind at one Resource.
fn most_places(kind: &Kind) -> usize {
    kind.max_count.saturating_mul(PLACES_PER_VALUE)
}

/// Greatest length of an array; it bounds the gaps that a Fetch makes up.
fn longest(kind: &Kind) -> u32 {
    u32::try_from(most_places(kind)).unwrap_or(u32::MAX - 1)
}

/// Of five places four may be tombstones or gaps: room for the values of one lifetime that moved about for days.
const PLACES_PER_VALUE: usize = 5;

/// Both owners of a ring that was parted may have filled a Kind: what they acknowledged is merged, not refused.
const OWNERS: usize = 2;
