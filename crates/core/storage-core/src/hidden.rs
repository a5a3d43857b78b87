//! Values that seem to have ended while the own time is in doubt: they are held, and nobody is shown them.
//!
//! Should the downtime turn out to have been shorter, it is there again. Until then it takes part in nothing: readers and
//! other holders do not get it, and it counts for no limit. A value that comes for its place takes the place, unless it
//! is older.

use std::{borrow::Cow, cmp::Ordering};

use wire::{DataModel, KindId};

use crate::{
    check::Context,
    record::{Record, Values, precedence},
};

impl Context<'_> {
    /// Gives what a record shows.
    pub(crate) fn visible<'r>(&self, record: &'r Record) -> Cow<'r, Record> {
        self.without_hidden(record, |_| true)
    }

    /// Gives what a Store meets. Of an array it is everything: the place of an element is that behind the last one.
    pub(crate) fn mergeable<'r>(&self, record: &'r Record) -> Cow<'r, Record> {
        self.without_hidden(record, |values| values.model != DataModel::Array)
    }

    fn without_hidden<'r>(&self, record: &'r Record, may_hide: impl Fn(&Values) -> bool) -> Cow<'r, Record> {
        let mut hiding = record.kinds.iter().filter(|(_, values)| may_hide(values));
        let has_hidden =
            |(kind, values): (&KindId, &Values)| values.slots.values().any(|slot| !self.shows(*kind, slot));
        if !self.is_in_doubt || !hiding.any(has_hidden) {
            return Cow::Borrowed(record);
        }
        let mut shown = record.clone();
        for (kind, values) in &mut shown.kinds {
            if may_hide(values) {
                values.slots.retain(|_, slot| self.shows(*kind, slot));
            }
        }
        shown.kinds.retain(|_, values| !values.slots.is_empty());
        Cow::Owned(shown)
    }
}

/// Puts what was hidden from a Store back into its outcome. Tells whether something that is newer than what was stored
/// had to go into the place of it.
pub(crate) fn put_back(whole: &Record, shown: &Record, outcome: &mut Record) -> bool {
    let mut is_newer = false;
    for (kind, values) in &whole.kinds {
        let was_shown = shown.kinds.get(kind);
        for (place, hidden) in &values.slots {
            if was_shown.is_some_and(|shown| shown.slots.contains_key(place)) {
                continue;
            }
            let values = outcome.kinds.entry(*kind).or_insert_with(|| Values {
                generation: values.generation,
                ..Values::new(values.model)
            });
            match values.slots.get(place) {
                Some(stored) if precedence(&hidden.data, &stored.data) != Ordering::Greater => {}
                stored => {
                    is_newer |= stored.is_some();
                    values.slots.insert(place.clone(), hidden.clone());
                }
            }
        }
    }
    is_newer
}
