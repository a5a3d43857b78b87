//! The location table: which phones of this edge answer for an AOR, and by which flow each is reached.
//!
//! The table is a value. Its owner stores what [`Table::encode`] returns for an AOR that changed and gives it
//! back to [`Table::restore`] after a restart. Contacts are kept as registered and never resolved: where a request
//! goes is fixed by the flow that the REGISTER came on.
//!
//! A lifetime is a duration (RFC 3261 §10.3, §20.19). `now_ms` is the edge's own clock: milliseconds that it has run, sleep
//! included, continued at each start. The calendar has no say in it. What is on disk outlives a binding a few times, so
//! that a mere refresh is seldom written; after a restart each binding has the whole lifetime that it was granted, from then.

mod binding;
mod codec;
mod path;
mod register;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

pub use self::binding::Binding;
pub use self::codec::DecodeError;
pub use self::path::{EXTENSIONS, echo};

use crate::aor::Aor;
use crate::date::date;
use crate::flow::{ConnectionId, Flow};
use crate::message::Name;
use crate::token::BindingId;

/// What registrations may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The shortest lifetime in seconds; a shorter one is answered 423.
    pub min_expires: u32,
    /// The lifetime where none is asked for.
    pub default_expires: u32,
    /// The longest lifetime.
    pub max_expires: u32,
    /// The longest lifetime of a binding whose flow may die unseen: behind a translator, or on a stream that the
    /// phone does not keep alive as RFC 5626 asks.
    pub max_fragile_expires: u32,
    /// How many bindings an AOR has here; a further one replaces the oldest.
    pub bindings: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            min_expires: 60,
            default_expires: 3600,
            max_expires: 3600,
            max_fragile_expires: 300,
            bindings: 10,
        }
    }
}

/// When the record of an AOR on disk has to follow a change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Recording {
    /// It says enough as it is.
    #[default]
    Unneeded,
    /// Soon, and nothing waits for it: only lifetimes have gone on.
    Soon,
    /// Before the change is acknowledged.
    First,
}

/// What a registration or the passing of time did to an AOR.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The AOR had no binding here before and has one now.
    pub is_first: bool,
    /// The AOR had a binding here before and has none now.
    pub is_last: bool,
    /// Bindings that are new or refreshed; empty for a mere query.
    pub kept: Vec<BindingId>,
    /// Bindings that are gone.
    pub removed: Vec<BindingId>,
    /// When the record on disk has to follow.
    pub recording: Recording,
}

impl Change {
    /// Says whether anything is different.
    pub fn is_change(&self) -> bool {
        !self.kept.is_empty() || !self.removed.is_empty()
    }
}

/// The bindings of an edge.
#[derive(Debug, Default)]
pub struct Table {
    limits: Limits,
    entries: BTreeMap<Aor, Vec<Binding>>,
    ids: BTreeMap<BindingId, Aor>,
    /// The first deadline of each AOR, on the edge's own clock.
    deadlines: BTreeSet<(u64, Aor)>,
    /// Which AORs were registered over a connection; more than there are is harmless.
    connections: BTreeMap<ConnectionId, BTreeSet<Aor>>,
    /// How many bindings keep the flow to a UDP address (RFC 5626).
    kept_flows: BTreeMap<SocketAddr, usize>,
}

impl Table {
    /// Makes an empty table.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Iterates over the bindings of an AOR that have not expired, most preferred first; of equals, the one that was
    /// heard from last, whose flow is the likeliest to work.
    pub fn bindings(&self, now_ms: u64, aor: &Aor) -> impl Iterator<Item = &Binding> {
        let mut live: Vec<&Binding> = self
            .of(aor)
            .iter()
            .filter(|binding| binding.expires_ms > now_ms)
            .collect();
        live.sort_by_key(|binding| std::cmp::Reverse((binding.q, binding.updated_ms)));
        live.into_iter()
    }

    /// Finds a binding that has not expired.
    pub fn find(&self, now_ms: u64, id: BindingId) -> Option<(&Aor, &Binding)> {
        let aor = self.ids.get(&id)?;
        let binding = self
            .of(aor)
            .iter()
            .find(|binding| binding.id == id && binding.expires_ms > now_ms)?;
        Some((aor, binding))
    }

    /// Says whether an AOR was registered over this very connection, which speaks for later requests on it.
    pub fn is_registered_on(&self, now_ms: u64, aor: &Aor, connection: ConnectionId) -> bool {
        self.bindings(now_ms, aor)
            .any(|binding| binding.connection == Some(connection))
    }

    /// Says whether anything is registered over this connection.
    pub fn has_connection(&self, now_ms: u64, connection: ConnectionId) -> bool {
        let aors = self.connections.get(&connection);
        aors.is_some_and(|aors| aors.iter().any(|aor| self.is_registered_on(now_ms, aor, connection)))
    }

    /// Finds the binding of an AOR that was made over this flow; over UDP, from the same address.
    pub fn on_flow(&self, now_ms: u64, aor: &Aor, flow: &Flow) -> Option<&Binding> {
        self.bindings(now_ms, aor).find(|binding| binding.is_on(flow))
    }

    /// Says whether a phone that keeps its flow open is registered from this UDP address.
    pub fn keeps_flow(&self, source: SocketAddr) -> bool {
        self.kept_flows.contains_key(&source)
    }

    /// Iterates over all AORs and their bindings.
    pub fn iter(&self) -> impl Iterator<Item = (&Aor, &[Binding])> {
        self.entries.iter().map(|(aor, bindings)| (aor, bindings.as_slice()))
    }

    /// Returns how many AORs have bindings.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Returns how many bindings there are, of all AORs.
    pub fn bindings_len(&self) -> usize {
        self.ids.len()
    }

    /// Says whether there are no bindings.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns what the 200 to a REGISTER says: all bindings of this edge, and the time for phones without a clock
    /// (RFC 3261 §10.3 step 8), which is the calendar's.
    pub fn listing(&self, now_ms: u64, unix_ms: u64, aor: &Aor) -> Vec<(Name<'static>, String)> {
        let bindings = self.bindings(now_ms, aor);
        let contacts = bindings.map(|binding| (Name::Contact, binding.to_contact(now_ms)));
        contacts.chain([(Name::Date, date(unix_ms / 1000))]).collect()
    }

    /// Copies what is bound to an AOR, to be put back if a change of it cannot be kept.
    pub fn copy(&self, aor: &Aor) -> Vec<Binding> {
        self.of(aor).to_vec()
    }

    /// Takes a change back: `bindings` were those of the AOR before.
    pub fn put_back(&mut self, aor: &Aor, bindings: Vec<Binding>) {
        self.replace(aor, bindings, Change::default());
    }

    /// Removes all bindings of an AOR: its user was disabled, or a Store for it failed.
    pub fn remove(&mut self, aor: &Aor) -> Change {
        let removed = self.of(aor).iter().map(|binding| binding.id).collect();
        self.replace(
            aor,
            Vec::new(),
            Change {
                removed,
                recording: Recording::First,
                ..Change::default()
            },
        )
    }

    /// Marks the bindings of a connection that closed: they stay, but have no flow until their phones return.
    /// Returns the AORs concerned.
    pub fn close(&mut self, connection: ConnectionId) -> Vec<Aor> {
        let closed = self.connections.remove(&connection).unwrap_or_default();
        for aor in &closed {
            for binding in self.entries.get_mut(aor).into_iter().flatten() {
                if binding.connection == Some(connection) {
                    binding.connection = None;
                }
            }
        }
        closed.into_iter().collect()
    }

    /// Drops what has expired and returns what that did to each AOR.
    pub fn expire(&mut self, now_ms: u64) -> Vec<(Aor, Change)> {
        let mut changes = Vec::new();
        while let Some((_, aor)) = self
            .deadlines
            .first()
            .filter(|(deadline, _)| *deadline <= now_ms)
            .cloned()
        {
            let (kept, gone): (Vec<Binding>, Vec<Binding>) = self
                .of(&aor)
                .iter()
                .cloned()
                .partition(|binding| binding.expires_ms > now_ms);
            let removed = gone.iter().map(|binding| binding.id).collect();
            let change = self.replace(
                &aor,
                kept,
                Change {
                    removed,
                    recording: Recording::Soon,
                    ..Change::default()
                },
            );
            changes.push((aor, change));
        }
        changes
    }

    /// Returns when the next binding expires, on the edge's own clock.
    pub fn next_expiry(&self) -> Option<u64> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Writes the record of an AOR for the disk; `None` when there is nothing to keep.
    pub fn encode(&mut self, now_ms: u64, aor: &Aor) -> Option<Vec<u8>> {
        let bindings = self.entries.get_mut(aor)?;
        for binding in bindings.iter_mut() {
            binding.recorded_ms = now_ms.saturating_add(binding.granted_ms().saturating_mul(RECORDED));
        }
        Some(codec::encode(bindings))
    }

    /// Takes the record of an AOR from the disk. Bindings of datagram transports work at once; those of streams have
    /// no flow until their phones return (RFC 5626 §5.3.1). Each has the whole lifetime that it was granted: the phone may
    /// have refreshed it a moment before the end of the last run, and been told so.
    ///
    /// # Errors
    ///
    /// Fails when the record is damaged or of a newer version.
    pub fn restore(&mut self, now_ms: u64, aor: &Aor, record: &[u8]) -> Result<(), DecodeError> {
        let mut bindings = codec::decode(aor, record, now_ms)?;
        bindings.retain(|binding| binding.recorded_ms > now_ms);
        for binding in &mut bindings {
            let granted = now_ms.saturating_add(binding.granted_ms());
            binding.expires_ms = granted.min(binding.recorded_ms);
            binding.updated_ms = binding.updated_ms.min(now_ms);
        }
        self.replace(aor, bindings, Change::default());
        Ok(())
    }

    fn of(&self, aor: &Aor) -> &[Binding] {
        self.entries.get(aor).map(Vec::as_slice).unwrap_or_default()
    }

    /// Puts new bindings in the place of an AOR's old ones and keeps the indexes right.
    fn replace(&mut self, aor: &Aor, bindings: Vec<Binding>, mut change: Change) -> Change {
        let old = self.entries.remove(aor).unwrap_or_default();
        if let Some(deadline) = first_deadline(&old) {
            self.deadlines.remove(&(deadline, aor.clone()));
        }
        for binding in &old {
            self.ids.remove(&binding.id);
            if let Some(source) = binding.kept_flow()
                && let Entry::Occupied(mut count) = self.kept_flows.entry(source)
            {
                *count.get_mut() -= 1;
                if *count.get() == 0 {
                    count.remove();
                }
            }
        }
        change.is_first = old.is_empty() && !bindings.is_empty();
        change.is_last = !old.is_empty() && bindings.is_empty();
        if let Some(deadline) = first_deadline(&bindings) {
            self.deadlines.insert((deadline, aor.clone()));
        }
        for binding in &bindings {
            self.ids.insert(binding.id, aor.clone());
            if let Some(source) = binding.kept_flow() {
                *self.kept_flows.entry(source).or_default() += 1;
            }
            if let Some(connection) = binding.connection {
                self.connections.entry(connection).or_default().insert(aor.clone());
            }
        }
        if !bindings.is_empty() {
            self.entries.insert(aor.clone(), bindings);
        }
        change
    }
}

/// A record on disk outlives the lifetime that a binding was granted so many times. What nobody refreshes is gone after so long
/// at the latest, however often the edge starts meanwhile.
const RECORDED: u64 = 4;

fn first_deadline(bindings: &[Binding]) -> Option<u64> {
    bindings.iter().map(|binding| binding.expires_ms).min()
}

#[cfg(test)]
mod tests;
