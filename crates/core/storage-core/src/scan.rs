//! Reading whole records along the ring, for hand-over and repair.

use wire::{NodeId, ResourceId};

use crate::{
    api::{Answer, ReplicaStore},
    check::Context,
    replica,
    state::State,
};

/// Gives the records of a range after the given one, as many as go into a batch, and at least one.
pub(crate) fn scan(
    state: &State,
    context: Context<'_>,
    largest: usize,
    after: Option<ResourceId>,
    range: (NodeId, NodeId),
) -> Answer {
    let (begin, until) = (ResourceId::from(range.0), ResourceId::from(range.1));
    let records = match after {
        // Going on after the end of the range would be the whole ring once more.
        Some(after) if after == until => None,
        after => Some(state.range(after.unwrap_or(begin), until)),
    };
    let mut batch: Vec<ReplicaStore> = Vec::new();
    let (mut size, mut last) = (0, None);
    for (resource, record) in records.into_iter().flatten() {
        let shown = context.visible(record);
        let stores = replica::stores(resource, &shown, &state.certificates, context.own_ms, |_| true);
        let stores: Vec<_> = stores.collect();
        let more: usize = stores.iter().map(replica::size).sum();
        if !batch.is_empty() && size + more > largest {
            return Answer::Scanned {
                stores: batch,
                next: last,
            };
        }
        size += more;
        last = Some(resource);
        batch.extend(stores);
    }
    Answer::Scanned {
        stores: batch,
        next: None,
    }
}
