//! Store (RFC 6940 §7.4.1).

use std::collections::BTreeSet;

use bytes::Bytes;
use wire::{Decode, KindId, ResourceId, StoreAns, StoreKindResponse, StoreReq};

use crate::{
    api::Settings,
    certificates::Fresh,
    check::{CLOCK_SLACK, Came, Context, Sender},
    hidden::put_back,
    merge::{Conflict, Losers},
    quota::Change,
    record::{Record, Slot, Values},
    refusal::Refusal,
    state::State,
};

/// A Store that may be carried out.
pub(crate) struct Stored {
    pub(crate) resource: ResourceId,
    /// The record as it becomes; none if it stays as it is.
    pub(crate) record: Option<Record>,
    /// Certificates for it.
    pub(crate) fresh: Fresh,
    pub(crate) answer: StoreAns,
    /// The Kinds to be sent to the replica peers.
    pub(crate) replicate: Vec<KindId>,
}

/// A Store as it came.
pub(crate) struct Request<'a> {
    pub(crate) body: &'a Bytes,
    pub(crate) certificates: &'a [Bytes],
    pub(crate) signer: Option<&'a Bytes>,
}

/// Decides on a Store. All of it happens or nothing (RFC 6940 §7.4.1.1).
pub(crate) fn store(
    state: &State,
    settings: &Settings,
    context: Context<'_>,
    request: &Request<'_>,
) -> Result<Stored, Refusal> {
    let body = StoreReq::from_bytes_with(request.body, &context.in_force.kinds)?;
    let sender = match (body.replica_number, request.signer) {
        (0, signer) => Sender::Original { signer },
        (_, Some(_)) => Sender::Replica,
        (_, None) => Sender::Ourselves,
    };
    check_kinds(&context, &body)?;

    let whole = state.record(body.resource);
    let shown = whole.map(|record| context.mergeable(record));
    let held = shown.as_deref();
    let mut came = Came {
        resource: body.resource,
        sender,
        bucket: request.certificates,
        held,
        fresh: Fresh::new(),
    };
    let mut checked = Vec::with_capacity(body.kind_data.len());
    for data in &body.kind_data {
        let slots = context.check(data, &mut came)?;
        checked.push(Checked {
            kind: data.kind,
            generation: data.generation_counter,
            slots,
        });
    }

    let brings_values = checked.iter().flat_map(|each| &each.slots).any(Slot::exists);
    let record = held.cloned().unwrap_or_default();
    let mut store = Staged {
        context,
        resource: body.resource,
        record,
        asked: &body,
    };
    match sender {
        Sender::Original { .. } => store.originals(checked)?,
        Sender::Replica => store.copies(checked, Losers::Refuse)?,
        Sender::Ourselves => store.copies(checked, Losers::Ignore)?,
    }
    if let (Some(whole), Some(shown)) = (whole, held)
        && put_back(whole, shown, &mut store.record)
        && !matches!(sender, Sender::Ourselves)
    {
        return Err(Refusal::TooOld(store.answer()));
    }
    let change = Change {
        old: whole,
        new: &store.record,
        payer: &|slot| state.payer(slot, &came.fresh),
        has_writer: &|id| {
            context
                .in_force
                .kinds
                .get(id)
                .is_some_and(|kind| !kind.writers.is_empty())
        },
        brings_values,
        is_copy: !matches!(sender, Sender::Original { .. }),
    };
    if let Some(reason) = state.refusal(settings, &change) {
        return Err(Refusal::TooLarge(reason));
    }
    let replicate = match sender {
        Sender::Replica => Vec::new(),
        Sender::Original { .. } | Sender::Ourselves => body.kind_data.iter().map(|data| data.kind).collect(),
    };
    let answer = store.answer();
    let has_changed = match whole {
        Some(whole) => *whole != store.record,
        None => !store.record.kinds.is_empty(),
    };
    let record = has_changed.then_some(store.record);
    Ok(Stored {
        resource: body.resource,
        record,
        fresh: came.fresh,
        answer,
        replicate,
    })
}

struct Checked {
    kind: KindId,
    generation: u64,
    slots: Vec<Slot>,
}

/// A record that is being changed.
struct Staged<'a> {
    context: Context<'a>,
    resource: ResourceId,
    record: Record,
    asked: &'a StoreReq,
}

impl Staged<'_> {
    fn originals(&mut self, checked: Vec<Checked>) -> Result<(), Refusal> {
        // Whoever repeats a Store after its answer was lost gets that answer, whatever the counter is by now, and
        // whatever limits say: the first try may have ended between this disk and the replicas.
        let is_held = |each: &Checked| match self.record.kinds.get(&each.kind) {
            Some(values) => values.hold(&each.slots),
            None => each.slots.is_empty(),
        };
        if checked.iter().all(is_held) {
            return Ok(());
        }
        // RFC 6940 §7.4.1.1: a counter that is not zero must be the present one.
        let is_present = |each: &Checked| each.generation == 0 || each.generation == self.generation(each.kind);
        if !checked.iter().all(is_present) {
            return Err(Refusal::Generation(self.answer()));
        }
        for Checked { kind: id, slots, .. } in checked {
            let kind = self
                .context
                .in_force
                .kinds
                .get(id)
                .ok_or_else(|| Refusal::UnknownKinds(vec![id]))?;
            let mut values = self.values(id, kind.model);
            if values
                .store(kind, slots)
                .map_err(|conflict| self.refuse(id, conflict))?
            {
                // RFC 6940 §7.4.1.1: at least one more; no less than the time, so that no counter of another owner of
                // this place is met again by accident (deviation D13).
                values.generation = values.generation.saturating_add(1).max(self.context.now.unix_ms);
            }
            self.keep(id, values);
        }
        Ok(())
    }

    fn copies(&mut self, checked: Vec<Checked>, losers: Losers) -> Result<(), Refusal> {
        for Checked {
            kind: id,
            generation,
            slots,
        } in checked
        {
            // Readers compare counters, so one that no owner could have reached by now would stand for ever (deviation
            // D13).
            let now_ms = self.context.latest_ms();
            let slack = u64::try_from(CLOCK_SLACK.as_millis()).unwrap_or(u64::MAX);
            let generation = if generation > now_ms.saturating_add(slack) {
                now_ms
            } else {
                generation
            };
            // RFC 6940 §7.4.1.1: replica Stores never have the counter 0. A Fetch answer has it where nothing is.
            let generation = if losers == Losers::Ignore {
                generation.max(1)
            } else {
                generation
            };
            if generation == 0 {
                return Err(Refusal::Malformed(format!(
                    "a replica of kind {id} has the generation counter 0"
                )));
            }
            let kind = self
                .context
                .in_force
                .kinds
                .get(id)
                .ok_or_else(|| Refusal::UnknownKinds(vec![id]))?;
            let mut values = self.values(id, kind.model);
            values
                .merge(kind, generation, slots, losers)
                .map_err(|conflict| self.refuse(id, conflict))?;
            self.keep(id, values);
        }
        Ok(())
    }

    fn values(&self, kind: KindId, model: wire::DataModel) -> Values {
        self.record
            .kinds
            .get(&kind)
            .cloned()
            .unwrap_or_else(|| Values::new(model))
    }

    fn keep(&mut self, kind: KindId, values: Values) {
        if !values.slots.is_empty() {
            self.record.kinds.insert(kind, values);
        }
    }

    fn generation(&self, kind: KindId) -> u64 {
        self.record.kinds.get(&kind).map_or(0, |values| values.generation)
    }

    fn refuse(&self, kind: KindId, conflict: Conflict) -> Refusal {
        match conflict {
            Conflict::Older => Refusal::TooOld(self.answer()),
            Conflict::Large => Refusal::TooLarge(format!("kind {kind} at {} is beyond its limits", self.resource)),
            Conflict::Misplaced => Refusal::Malformed(format!("a value of kind {kind} has no place")),
        }
    }

    /// The counters as they are; the overlay adds who holds copies.
    fn answer(&self) -> StoreAns {
        let response = |kind: KindId| StoreKindResponse {
            kind,
            generation_counter: self.generation(kind),
            replicas: Vec::new(),
        };
        StoreAns {
            kind_responses: self.asked.kind_data.iter().map(|data| response(data.kind)).collect(),
        }
    }
}

fn check_kinds(context: &Context<'_>, body: &StoreReq) -> Result<(), Refusal> {
    let kinds = || body.kind_data.iter().map(|data| data.kind);
    let unknown: Vec<_> = kinds()
        .filter(|kind| context.in_force.kinds.get(*kind).is_none())
        .collect();
    if !unknown.is_empty() {
        return Err(Refusal::UnknownKinds(unknown));
    }
    // RFC 6940 §7.4.1.1: no Kind twice in one request.
    if kinds().collect::<BTreeSet<_>>().len() < body.kind_data.len() {
        return Err(Refusal::Malformed("a Kind occurs twice".to_owned()));
    }
    Ok(())
}
