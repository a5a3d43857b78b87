//! Fetch, Stat and Find (RFC 6940 §7.4.2 to §7.4.4).

use std::collections::BTreeSet;

use bytes::Bytes;
use wire::{
    ArrayRange, DataValue, Decode, Encode, FetchAns, FetchKindResponse, FetchReq, FindAns, FindKindData, FindReq,
    KindId, MetaDataValue, ModelSpecifier, NodeId, ResourceId, Signature, StatAns, StatKindResponse, StatReq,
    StoredData, StoredDataSpecifier, StoredDataValue, StoredMetaData,
};

use crate::{
    check::Context,
    forget::meta_data,
    record::{Hash, Place, Record, Slot, Values},
    refusal::Refusal,
    state::State,
};

/// An answer to a reader.
pub(crate) struct Read {
    pub(crate) body: Bytes,
    /// Hashes of the certificates that vouch for the values in it.
    pub(crate) chain: BTreeSet<Hash>,
}

pub(crate) fn fetch(state: &State, context: Context<'_>, body: &Bytes) -> Result<Read, Refusal> {
    let request = FetchReq::from_bytes_with(body, &context.in_force.kinds)?;
    let mut chain = BTreeSet::new();
    let record = state.record(request.resource).map(|record| context.visible(record));
    let kind_responses = select(record.as_deref(), context, &request.specifiers)?
        .into_iter()
        .map(
            |Selected {
                 kind,
                 generation,
                 values,
             }| {
                let values = values.into_iter().map(|value| {
                    if let Selection::Held(slot) = &value {
                        chain.extend(slot.chain.iter().copied());
                    }
                    value.data(context.own_ms)
                });
                FetchKindResponse {
                    kind,
                    generation,
                    values: values.collect(),
                }
            },
        )
        .collect();
    Ok(Read {
        body: encode(&FetchAns { kind_responses })?,
        chain,
    })
}

pub(crate) fn stat(state: &State, context: Context<'_>, body: &Bytes) -> Result<Read, Refusal> {
    let request = StatReq::from_bytes_with(body, &context.in_force.kinds)?;
    let record = state.record(request.resource).map(|record| context.visible(record));
    let kind_responses = select(record.as_deref(), context, &request.specifiers)?
        .into_iter()
        .map(
            |Selected {
                 kind,
                 generation,
                 values,
             }| {
                let values = values
                    .into_iter()
                    .map(|value| stored_meta_data(&value.data(context.own_ms)))
                    .collect();
                StatKindResponse {
                    kind,
                    generation,
                    values,
                }
            },
        )
        .collect();
    Ok(Read {
        body: encode(&StatAns { kind_responses })?,
        chain: BTreeSet::new(),
    })
}

/// Answers a Find from the range between the two ids, the first exclusive; equal ends mean the whole ring.
pub(crate) fn find(state: &State, context: Context<'_>, own: (NodeId, NodeId), body: &Bytes) -> Result<Read, Refusal> {
    let request = FindReq::from_bytes(body)?;
    // RFC 6940 §7.4.4.1: each Kind only once.
    if request.kinds.iter().collect::<BTreeSet<_>>().len() < request.kinds.len() {
        return Err(Refusal::Malformed("a Kind occurs twice".to_owned()));
    }
    // RFC 6940 §7.4.4.2: zero for a Kind that is not known, and where nothing is.
    // Only the own range is searched, from the Resource onward: what lies behind its end is the successor's to tell,
    // and an answer from before the Resource would send nearest(1 + R) round the ring for ever.
    let is_own = is_within(own, request.resource);
    let has_values = |kind: KindId, values: &Values| {
        let mut slots = values.slots.values();
        slots.any(|slot| slot.exists() && context.shows(kind, slot))
    };
    let search = |kind: KindId| state.closest(kind, request.resource, own.1.into(), &|values| has_values(kind, values));
    let closest = |kind: KindId| is_own.then(|| search(kind)).flatten().unwrap_or(ResourceId::ZERO);
    let results = request
        .kinds
        .iter()
        .map(|kind| FindKindData {
            kind: *kind,
            closest: closest(*kind),
        })
        .collect();
    Ok(Read {
        body: encode(&FindAns { results })?,
        chain: BTreeSet::new(),
    })
}

/// Tells whether a place lies on the arc behind the first id, up to and including the second.
pub(crate) fn is_within((after, until): (NodeId, NodeId), place: ResourceId) -> bool {
    let distance = |to: u128| to.wrapping_sub(after.to_u128()).wrapping_sub(1);
    distance(place.to_u128()) <= distance(until.to_u128())
}

/// What a specifier asks for.
struct Selected<'a> {
    kind: KindId,
    generation: u64,
    values: Vec<Selection<'a>>,
}

enum Selection<'a> {
    Held(&'a Slot),
    /// Asked for, but not there.
    Missing(Place),
}

// RFC 6940 §7.4.2.2: one response for each Kind asked for.
fn select<'a>(
    record: Option<&'a Record>,
    context: Context<'_>,
    specifiers: &[StoredDataSpecifier],
) -> Result<Vec<Selected<'a>>, Refusal> {
    let kinds: BTreeSet<_> = specifiers.iter().map(|specifier| specifier.kind).collect();
    let unknown: Vec<_> = kinds
        .iter()
        .copied()
        .filter(|kind| context.in_force.kinds.get(*kind).is_none())
        .collect();
    if !unknown.is_empty() {
        return Err(Refusal::UnknownKinds(unknown));
    }
    if kinds.len() < specifiers.len() {
        return Err(Refusal::Malformed("a Kind occurs twice".to_owned()));
    }
    let select = |specifier: &StoredDataSpecifier| {
        let values = record.and_then(|record| record.kinds.get(&specifier.kind));
        let generation = values.map_or(0, |values| values.generation);
        // RFC 6940 §7.4.2.1: who has seen this generation gets no values; 0 means that nothing was seen.
        let is_current = generation != 0 && specifier.generation == generation;
        let values = if is_current {
            Vec::new()
        } else {
            pick(values, &specifier.model)?
        };
        Ok(Selected {
            kind: specifier.kind,
            generation,
            values,
        })
    };
    specifiers.iter().map(select).collect()
}

fn pick<'a>(values: Option<&'a Values>, model: &ModelSpecifier) -> Result<Vec<Selection<'a>>, Refusal> {
    let at = |place: Place| match values.and_then(|values| values.slots.get(&place)) {
        Some(slot) => Selection::Held(slot),
        None => Selection::Missing(place),
    };
    match model {
        ModelSpecifier::Single => Ok(vec![at(Place::Single)]),
        // RFC 6940 §7.4.2.1: without keys, all.
        ModelSpecifier::Dictionary(keys) if keys.is_empty() => Ok(values
            .into_iter()
            .flat_map(|values| values.slots.values())
            .map(Selection::Held)
            .collect()),
        ModelSpecifier::Dictionary(keys) => {
            let keys: BTreeSet<_> = keys.iter().cloned().collect();
            Ok(keys.into_iter().map(|key| at(Place::Key(key))).collect())
        }
        ModelSpecifier::Array(ranges) => {
            let length = values.map_or(0, Values::length);
            Ok(indices(ranges, length)?
                .into_iter()
                .map(|index| at(Place::Index(index)))
                .collect())
        }
        ModelSpecifier::Opaque(_) => Err(Refusal::Malformed("a Kind without a data model".to_owned())),
    }
}

/// Indices within ranges, of an array of that length. Its gaps are made up; of what lies behind its end, only an index
/// that is asked for by itself is.
// RFC 6940 §7.4.2.1: 0xffffffff stands for the last element, the first index is not greater than the last, and ranges
// do not overlap.
fn indices(ranges: &[ArrayRange], length: u32) -> Result<BTreeSet<u32>, Refusal> {
    let mut sorted: Vec<_> = ranges.iter().map(|range| (range.first, range.last)).collect();
    sorted.sort_unstable();
    let is_good = sorted.iter().all(|(first, last)| first <= last);
    let is_apart = sorted
        .iter()
        .zip(sorted.iter().skip(1))
        .all(|(left, right)| left.1 < right.0);
    if !is_good || !is_apart {
        return Err(Refusal::Malformed(
            "ranges of an array are turned or overlap".to_owned(),
        ));
    }
    let each = |(first, last): (u32, u32)| match (first, last) {
        (u32::MAX, _) => length.saturating_sub(1)..length,
        (first, last) if first == last => first..last + 1,
        (first, last) => first..last.saturating_add(1).min(length),
    };
    Ok(sorted.into_iter().flat_map(each).collect())
}

impl Selection<'_> {
    fn data(&self, own_ms: u64) -> StoredData {
        match self {
            Self::Held(slot) => StoredData {
                lifetime: slot.lifetime(own_ms),
                ..slot.data.clone()
            },
            // RFC 6940 §7.4.2.2: what is not there is shown as a value that nobody signed.
            Self::Missing(place) => StoredData {
                storage_time: 0,
                lifetime: 0,
                value: match place {
                    Place::Single => StoredDataValue::Single(DataValue::none()),
                    Place::Index(index) => StoredDataValue::Array {
                        index: *index,
                        value: DataValue::none(),
                    },
                    Place::Key(key) => StoredDataValue::Dictionary {
                        key: key.clone(),
                        value: DataValue::none(),
                    },
                },
                signature: Signature::none(),
            },
        }
    }
}

fn stored_meta_data(data: &StoredData) -> StoredMetaData {
    let metadata = match &data.value {
        StoredDataValue::Single(value) => MetaDataValue::Single(meta_data(value)),
        StoredDataValue::Array { index, value } => MetaDataValue::Array {
            index: *index,
            value: meta_data(value),
        },
        StoredDataValue::Dictionary { key, value } => MetaDataValue::Dictionary {
            key: key.clone(),
            value: meta_data(value),
        },
        StoredDataValue::Opaque(octets) => MetaDataValue::Opaque(octets.clone()),
    };
    StoredMetaData {
        storage_time: data.storage_time,
        lifetime: data.lifetime,
        metadata,
    }
}

fn encode(body: &impl Encode) -> Result<Bytes, Refusal> {
    body.checked_bytes()
        .map_err(|error| Refusal::TooLarge(error.to_string()))
}
