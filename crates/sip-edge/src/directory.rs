//! What this edge knows of AORs from the overlay, how fresh that is, and what waits for more.
//!
//! One Fetch brings a user's record and the edges that serve the user, so there is one table. It decides when to fetch and what may be used
//! without; it sends nothing. Of one AOR one Fetch is under way, and one waits behind it, at most. A call joins only a Fetch that was not sent yet:
//! it finds whatever was stored before it began.

mod entry;
mod places;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use runtime::warn_seldom;
use usage::sip::{Found, Route};
use usage::user::Record;
use wire::{Changed, KindId, ResourceId};

use self::entry::{Entry, Sent};
use self::places::{Demand, Places};

/// A record is used as it is for so long, then used while it is fetched anew behind the answer.
const RECORD_FRESH: Duration = Duration::from_secs(300);
/// Without the overlay a record is used for so long.
const RECORD_USABLE: Duration = Duration::from_secs(24 * 3600);
/// A record whose password did not fit is fetched anew at most once in so long: a user who has just changed it is served at once, and guesses make
/// no load.
const AGAIN: Duration = Duration::from_secs(5);
/// "No such user" is believed for so long when the user's own credentials are judged.
const NOBODY: Duration = Duration::from_secs(2);
/// Routes are used as they are for so long; older ones ring while they are fetched anew. "No routes" is never believed.
const ROUTES: Duration = Duration::from_secs(1);
/// This edge's own entry is looked at again after so long.
const ENTRY: Duration = Duration::from_secs(2);
/// Fetches of one AOR are sent so far apart.
const APART: Duration = Duration::from_millis(50);
/// Words that a value has changed make one Fetch of an AOR in so long.
const HINTED: Duration = Duration::from_secs(1);
/// When the Fetch after such a word failed, it is tried again after so long.
const HINTED_AGAIN: Duration = Duration::from_secs(30);
/// Questions that wait for one Fetch at most.
const WAITING: usize = 64;
/// AORs remembered at most; beyond it the tenth goes for which no question came for longest.
const ENTRIES: usize = 50_000;

/// The table; `W` is what waits.
#[derive(Debug)]
pub(crate) struct Directory<W> {
    entries: BTreeMap<String, Entry<W>>,
    by_resource: BTreeMap<ResourceId, String>,
    /// AORs whose next Fetch is to be sent, by when.
    due: BTreeSet<(Instant, String)>,
    places: Places,
}

/// What a question needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The user's record.
    Record,
    /// The edges that serve the user.
    Routes {
        /// Whether what is known names one that can be called.
        are_found: bool,
    },
    /// This edge's own entry.
    Entry,
}

/// The answer to a question.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer<W> {
    /// What is known is good enough.
    Known(W),
    /// It waits for a Fetch and comes back from [`Directory::found`] or [`Directory::failed`].
    Waits,
    /// Too many questions wait.
    Refused(W),
}

impl<W> Directory<W> {
    /// An empty table.
    pub(crate) fn new() -> Self {
        Self {
            entries: BTreeMap::new(),
            by_resource: BTreeMap::new(),
            due: BTreeSet::new(),
            places: Places::default(),
        }
    }

    /// Asks about `aor`; what is to be fetched for it comes from [`Directory::next_fetch`].
    pub(crate) fn ask(&mut self, now: Instant, aor: &str, need: Need, waiter: W) -> Answer<W> {
        let entry = self.entry(now, aor);
        entry.asked_at = now;
        let (is_fresh, is_usable) = entry.state(now, need);
        if is_fresh {
            return Answer::Known(waiter);
        }
        if is_usable {
            // Nothing waits, so one that is under way will do.
            if !entry.is_busy() {
                self.want(now, aor, Demand::of(need));
            }
            return Answer::Known(waiter);
        }
        self.wait(now, aor, Demand::of(need), waiter)
    }

    /// Asks for a newer record of `aor`, because the known one did not fit. What is known has to do when that was done a moment ago.
    pub(crate) fn ask_again(&mut self, now: Instant, aor: &str, waiter: W) -> Answer<W> {
        let Some(entry) = self.entries.get_mut(aor) else {
            return Answer::Known(waiter);
        };
        let is_due = entry
            .again_at
            .is_none_or(|at| now.saturating_duration_since(at) >= AGAIN);
        if !is_due && entry.next.is_none() {
            return Answer::Known(waiter);
        }
        match self.wait(now, aor, Demand::Newer, waiter) {
            Answer::Refused(waiter) => Answer::Known(waiter),
            answer => {
                if let Some(entry) = self.entries.get_mut(aor).filter(|_| is_due) {
                    entry.again_at = Some(now);
                }
                answer
            }
        }
    }

    /// Takes the word that a value has changed: what is known of it is used no more until it is fetched anew, unless that fails. Returns the AOR if
    /// it is known here.
    pub(crate) fn changed(&mut self, now: Instant, changed: &Changed) -> Option<&str> {
        let aor = self.by_resource.get(&changed.resource)?.clone();
        let entry = self.entries.get_mut(&aor)?;
        match changed.kind {
            KindId::P2PSIP_USER | KindId::SIP_REGISTRATION => {}
            _ => return None,
        }
        entry.forget_routes();
        entry.outdated_at = Some(now);
        let soonest = entry.hinted_at.map_or(now, |at| now.max(at + HINTED));
        if entry.next.as_ref().is_none_or(|next| next.at > soonest) {
            entry.hinted_at = Some(soonest);
            self.want_at(soonest, &aor);
        }
        self.by_resource.get(&changed.resource).map(String::as_str)
    }

    /// The next Fetch to send, with the first question that waits for it.
    pub(crate) fn next_fetch(&mut self, now: Instant) -> Option<(String, Option<&W>)> {
        loop {
            if self.due.first()?.0 > now {
                return None;
            }
            let (_, aor) = self.due.pop_first()?;
            let Some(entry) = self.entries.get_mut(&aor).filter(|entry| entry.sent.is_none()) else {
                continue;
            };
            if entry.place.is_none() {
                entry.place = self.places.take(Demand::Other);
            }
            let Some(mut next) = entry.next.take() else { continue };
            if entry.place.is_none() {
                // Only what nothing waits for has no place yet.
                next.at = now + HINTED;
                self.due.insert((next.at, aor));
                entry.next = Some(next);
                continue;
            }
            entry.sent = Some(Sent {
                at: now,
                waiting: next.waiting,
            });
            let first = self
                .entries
                .get(&aor)
                .and_then(|entry| entry.sent.as_ref()?.waiting.first());
            return Some((aor, first));
        }
    }

    /// When the next Fetch is to be sent.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes what a Fetch has brought and returns what waited for it.
    pub(crate) fn found(&mut self, now: Instant, aor: &str, found: Found) -> Vec<W> {
        let Some(entry) = self.entries.get_mut(aor) else {
            return Vec::new();
        };
        let Some(sent) = entry.sent.take() else {
            return Vec::new();
        };
        if entry.take(now, sent.at, found) {
            let resource_id = ResourceId::of(aor.as_bytes());
            warn_seldom!(%resource_id, "an older user record than the known one was answered");
        }
        self.go_on(aor, sent.at);
        sent.waiting
    }

    /// Notes that a Fetch failed and returns what waited; what was known before may still be used.
    pub(crate) fn failed(&mut self, now: Instant, aor: &str) -> Vec<W> {
        let Some(entry) = self.entries.get_mut(aor) else {
            return Vec::new();
        };
        let Some(sent) = entry.sent.take() else {
            return Vec::new();
        };
        let is_outdated = entry.outdated_at.is_some();
        self.go_on(aor, sent.at);
        if is_outdated {
            self.want_at(now + HINTED_AGAIN, aor);
        }
        sent.waiting
    }

    /// The user's record, as far as it may still be used. `Some(None)`: there is no such user.
    pub(crate) fn record(&self, now: Instant, aor: &str) -> Option<Option<&Record>> {
        let entry = self.entries.get(aor)?;
        let age = now.saturating_duration_since(entry.record_at?);
        let limit = if entry.record.is_some() { RECORD_USABLE } else { NOBODY };
        (age < limit).then_some(entry.record.as_ref())
    }

    /// Uses a record no more until it is fetched anew. Its version stays the least that counts.
    pub(crate) fn doubt_record(&mut self, aor: &str) {
        if let Some(entry) = self.entries.get_mut(aor) {
            entry.record_at = None;
        }
    }

    /// The same with all records for which `is_good` does not hold.
    pub(crate) fn doubt_records(&mut self, is_good: impl Fn(&Record) -> bool) {
        for entry in self.entries.values_mut() {
            if entry.record.as_ref().is_some_and(|record| !is_good(record)) {
                entry.record_at = None;
            }
        }
    }

    /// No record counts as fresh any more: this edge has missed some time. They may be used while they are fetched anew. Routes
    /// are fresh for a second only, and end by the calendar.
    pub(crate) fn grow_stale(&mut self, now: Instant) {
        for entry in self.entries.values_mut() {
            entry.record_at = entry
                .record_at
                .and_then(|at| Some(at.min(now.checked_sub(RECORD_FRESH)?)));
        }
    }

    /// The edges that serve the user; entries whose life has ended are left out.
    pub(crate) fn routes(&self, now_ms: u64, aor: &str) -> impl Iterator<Item = &Route> {
        let routes = self.entries.get(aor).into_iter().flat_map(|entry| &entry.routes);
        routes.filter(move |route| now_ms < route.until_ms)
    }

    /// Forgets the routes of `aor`: one of them was wrong.
    pub(crate) fn drop_routes(&mut self, aor: &str) {
        if let Some(entry) = self.entries.get_mut(aor) {
            entry.forget_routes();
        }
    }

    /// Takes a record that was kept on disk; its age is known from the clock.
    pub(crate) fn restore(&mut self, now: Instant, aor: &str, record: Record, age: Duration) {
        if let Some(record_at) = now.checked_sub(age) {
            let entry = self.entry(now, aor);
            entry.record = Some(record);
            entry.record_at = Some(record_at);
        }
    }

    fn entry(&mut self, now: Instant, aor: &str) -> &mut Entry<W> {
        if !self.entries.contains_key(aor) {
            self.make_room();
            self.by_resource.insert(ResourceId::of(aor.as_bytes()), aor.to_owned());
        }
        self.entries.entry(aor.to_owned()).or_insert_with(|| Entry::new(now))
    }

    /// Has `waiter` wait for a Fetch: for the one under way if that will do, else for the one behind it.
    fn wait(&mut self, now: Instant, aor: &str, demand: Demand, waiter: W) -> Answer<W> {
        let Some(entry) = self.entries.get_mut(aor) else {
            return Answer::Refused(waiter);
        };
        let is_behind = demand != Demand::Other || !entry.is_current();
        if is_behind && !self.want(now, aor, demand) {
            return Answer::Refused(waiter);
        }
        let Some(entry) = self.entries.get_mut(aor) else {
            return Answer::Refused(waiter);
        };
        let waiting = if is_behind {
            entry.next.as_mut().map(|next| &mut next.waiting)
        } else {
            entry.sent.as_mut().map(|sent| &mut sent.waiting)
        };
        match waiting.filter(|waiting| waiting.len() < WAITING) {
            Some(waiting) => {
                waiting.push(waiter);
                Answer::Waits
            }
            None => Answer::Refused(waiter),
        }
    }

    /// Wants a Fetch that is sent from now on; says whether there is a place for it.
    fn want(&mut self, now: Instant, aor: &str, demand: Demand) -> bool {
        let Some(entry) = self.entries.get_mut(aor) else {
            return false;
        };
        if entry.place.is_none() {
            entry.place = self.places.take(demand);
        }
        let has_place = entry.place.is_some();
        if has_place {
            self.want_at(now, aor);
        }
        has_place
    }

    /// Wants a Fetch that is sent at `at`, or sooner if one is wanted sooner, but not too soon after the last one.
    fn want_at(&mut self, at: Instant, aor: &str) {
        let Some(entry) = self.entries.get_mut(aor) else {
            return;
        };
        let at = entry.last_sent().map_or(at, |last| at.max(last + APART));
        let next = entry.next.get_or_insert_with(|| entry::Next {
            at,
            waiting: Vec::new(),
        });
        self.due.remove(&(next.at, aor.to_owned()));
        next.at = next.at.min(at);
        if entry.sent.is_none() {
            self.due.insert((next.at, aor.to_owned()));
        }
    }

    /// After the end of a Fetch: the one behind it is due, or its place is free.
    fn go_on(&mut self, aor: &str, sent_at: Instant) {
        let Some(entry) = self.entries.get_mut(aor) else {
            return;
        };
        entry.sent_at = Some(sent_at);
        match &entry.next {
            Some(next) => drop(self.due.insert((next.at, aor.to_owned()))),
            None => self.places.give_back(entry.place.take()),
        }
    }

    fn make_room(&mut self) {
        if self.entries.len() < ENTRIES {
            return;
        }
        let mut asked: Vec<Instant> = self.entries.values().map(|entry| entry.asked_at).collect();
        let tenth = asked.len() / 10;
        let (_, limit, _) = asked.select_nth_unstable(tenth);
        let limit = *limit;
        self.entries
            .retain(|_, entry| entry.is_busy() || entry.asked_at > limit);
        let entries = &self.entries;
        self.by_resource.retain(|_, aor| entries.contains_key(aor));
    }
}
