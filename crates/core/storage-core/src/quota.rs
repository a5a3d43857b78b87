//! How much of the store one signer, one Kind and copies may fill (RFC 6940 §13.5.2).
//!
//! The node pays: certificates change, and an edge mints one for each of its users, but all of them name the one node that
//! the enrollment service let in. Octets are those of the values and of their certificates.
//!
//! A node at its quota keeps what it has, and may refresh or remove it; all others go on storing. Copies are taken
//! when originals are not any more, since an owner has answered for them.

use std::{collections::BTreeMap, ops::AddAssign};

use wire::{Encode, KindId, NodeId};

use crate::{
    api::Settings,
    record::{Record, Slot},
    state::count,
};

/// What somebody has stored here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Values and tombstones.
    pub(crate) slots: u64,
    pub(crate) octets: u64,
}

/// Sums over records, or over certificates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    nodes: BTreeMap<NodeId, Usage>,
    kinds: BTreeMap<KindId, u64>,
    octets: u64,
}

/// What a Store would make of a record.
pub(crate) struct Change<'a> {
    pub(crate) old: Option<&'a Record>,
    pub(crate) new: &'a Record,
    /// Tells who pays for a value.
    pub(crate) payer: &'a dyn Fn(&Slot) -> NodeId,
    /// Kinds whose writers the document names: they may write for everybody.
    pub(crate) has_writer: &'a dyn Fn(KindId) -> bool,
    /// It brings values, not only removals.
    pub(crate) brings_values: bool,
    pub(crate) is_copy: bool,
}

impl Tally {
    pub(crate) fn of(record: &Record, payer: impl Fn(&Slot) -> NodeId) -> Self {
        Self::of_kinds(record, payer, |_| true)
    }

    fn of_kinds(record: &Record, payer: impl Fn(&Slot) -> NodeId, counts: impl Fn(KindId) -> bool) -> Self {
        let mut tally = Self::default();
        for (kind, slot) in record.slots_by_kind().filter(|(kind, _)| counts(*kind)) {
            let octets = octets(slot);
            tally.add(payer(slot), kind, Usage { slots: 1, octets });
        }
        tally
    }

    pub(crate) fn add(&mut self, node: NodeId, kind: KindId, usage: Usage) {
        *self.nodes.entry(node).or_default() += usage;
        *self.kinds.entry(kind).or_default() += usage.octets;
        self.octets += usage.octets;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (node, usage) in &other.nodes {
            *self.nodes.entry(*node).or_default() += *usage;
        }
        for (kind, octets) in &other.kinds {
            *self.kinds.entry(*kind).or_default() += octets;
        }
        self.octets += other.octets;
    }

    /// Takes out what was merged before.
    pub(crate) fn subtract(&mut self, other: &Self) {
        for (node, usage) in &other.nodes {
            if let Some(sum) = self.nodes.get_mut(node) {
                sum.slots = sum.slots.saturating_sub(usage.slots);
                sum.octets = sum.octets.saturating_sub(usage.octets);
            }
        }
        for (kind, octets) in &other.kinds {
            if let Some(sum) = self.kinds.get_mut(kind) {
                *sum = sum.saturating_sub(*octets);
            }
        }
        self.nodes.retain(|_, usage| *usage != Usage::default());
        self.kinds.retain(|_, octets| *octets > 0);
        self.octets = self.octets.saturating_sub(other.octets);
    }

    pub(crate) fn octets(&self) -> u64 {
        self.octets
    }

    fn node(&self, node: NodeId) -> Usage {
        self.nodes.get(&node).copied().unwrap_or_default()
    }

    fn kind(&self, kind: KindId) -> u64 {
        self.kinds.get(&kind).copied().unwrap_or_default()
    }
}

impl AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.slots += other.slots;
        self.octets += other.octets;
    }
}

impl Change<'_> {
    /// Tells why there is no room for what the record grows by.
    pub(crate) fn refusal(&self, settings: &Settings, records: &Tally, certificates: &Tally) -> Option<String> {
        let percent = |percent: u64| settings.capacity / 100 * percent;
        // A peer holds the values of three owners, each of which grants the share for itself.
        let shares = if self.is_copy { OWNERS } else { 1 };
        let (old, new) = self.tallies(|kind| !(self.has_writer)(kind));
        for (node, after) in &new.nodes {
            let (before, used, paid) = (old.node(*node), records.node(*node), certificates.node(*node));
            let slots = after.slots.saturating_sub(before.slots);
            let octets = after.octets.saturating_sub(before.octets);
            let has_many = slots > 0 && used.slots + slots > settings.signer_slots * shares;
            let has_much = octets > 0 && used.octets + paid.octets + octets > percent(SIGNER_PERCENT) * shares;
            if has_many || has_much {
                return Some(format!("{node} has stored as much here as one signer may"));
            }
        }
        let (old, new) = self.tallies(|_| true);
        for (kind, after) in &new.kinds {
            let grows = after.saturating_sub(old.kind(*kind));
            let held = records.kind(*kind) + certificates.kind(*kind);
            if !self.is_copy && grows > 0 && held + grows > percent(KIND_PERCENT) {
                return Some(format!("kind {kind} has its share of this store"));
            }
        }
        let grows = new.octets.saturating_sub(old.octets);
        let most = percent(if self.is_copy {
            COPIES_PERCENT
        } else {
            ORIGINALS_PERCENT
        });
        let is_full = self.brings_values && grows > 0 && records.octets + certificates.octets + grows > most;
        is_full.then(|| "this store is nearly full".to_owned())
    }

    /// What the record takes before and after, as far as some Kinds go.
    fn tallies(&self, counts: impl Fn(KindId) -> bool) -> (Tally, Tally) {
        let old = self.old.map(|old| Tally::of_kinds(old, self.payer, &counts));
        (old.unwrap_or_default(), Tally::of_kinds(self.new, self.payer, &counts))
    }
}

/// What a value takes on the disk.
fn octets(slot: &Slot) -> u64 {
    let chain: usize = slot.chain.iter().map(|hash| hash.len()).sum();
    count(slot.data.to_bytes().len() + chain + size_of::<u64>() + size_of::<u8>())
}

/// Share of the capacity that one signer may fill.
const SIGNER_PERCENT: u64 = 10;

/// Share of the capacity that the values of one Kind may fill.
const KIND_PERCENT: u64 = 50;

/// Beyond this share of the capacity no original is stored: the rest is for copies of what was stored elsewhere.
const ORIGINALS_PERCENT: u64 = 80;

/// Beyond this share of the capacity nothing is stored.
const COPIES_PERCENT: u64 = 95;

/// A peer holds its own values and those of two predecessors (RFC 6940 §10.4).
const OWNERS: u64 = 3;
