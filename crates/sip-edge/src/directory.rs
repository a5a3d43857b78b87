//! What this edge knows of AORs from the overlay, how fresh that is, and who waits for more.
//!
//! One Fetch brings a user's record and the edges that serve the user, so there is one table. It decides when to fetch and what may be used
//! without; it sends nothing. Concurrent questions about one AOR share one Fetch.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use usage::sip::{Found, Route};
use usage::user::Record;

/// A record is used as it is for so long, then used while it is fetched anew behind the answer.
const RECORD_FRESH: Duration = Duration::from_secs(300);
/// Without the overlay a record is used for so long.
const RECORD_USABLE: Duration = Duration::from_secs(24 * 3600);
/// A record whose password did not fit is fetched anew at most once in so long: a user who has just changed it is served at once, and who guesses makes
/// no load.
const AGAIN: Duration = Duration::from_secs(5);
/// "No such user" is believed for so long.
const NOBODY: Duration = Duration::from_secs(30);
/// Routes are used for so long.
const ROUTES: Duration = Duration::from_secs(5);
/// "No routes" is believed for so long.
const NO_ROUTES: Duration = Duration::from_secs(2);
/// Fetches under way at most; further questions are refused, so that a flood of unknown names stays here.
const FETCHES: usize = 256;
/// Questions that wait for one Fetch at most.
const WAITING: usize = 64;
/// AORs remembered at most; beyond it the tenth that nobody asked for longest goes.
const ENTRIES: usize = 50_000;

/// The table; `W` is what waits.
#[derive(Debug)]
pub(crate) struct Directory<W> {
    entries: BTreeMap<String, Entry<W>>,
    fetches: usize,
}

#[derive(Debug)]
struct Entry<W> {
    record: Option<Record>,
    record_at: Option<Instant>,
    routes: Vec<Route>,
    routes_at: Option<Instant>,
    is_fetching: bool,
    waiting: Vec<W>,
    asked_at: Instant,
    /// When a record that was known was last fetched because it did not fit.
    again_at: Option<Instant>,
}

/// What a question needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// The user's record.
    Record,
    /// The edges that serve the user.
    Routes,
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
            fetches: 0,
        }
    }

    /// Asks about `aor`; the second value says whether to fetch it now.
    pub(crate) fn ask(&mut self, now: Instant, aor: &str, need: Need, waiter: W) -> (Answer<W>, bool) {
        let is_full = self.fetches >= FETCHES;
        self.make_room_for(aor);
        let entry = self.entries.entry(aor.to_owned()).or_insert_with(|| Entry::new(now));
        entry.asked_at = now;
        let (is_fresh, is_usable) = entry.state(now, need);
        let wants_fetch = !is_fresh && !entry.is_fetching && !is_full;
        let answer = if is_usable {
            Answer::Known(waiter)
        } else if entry.waiting.len() < WAITING && (entry.is_fetching || wants_fetch) {
            entry.waiting.push(waiter);
            Answer::Waits
        } else {
            Answer::Refused(waiter)
        };
        let fetches = wants_fetch && !matches!(answer, Answer::Refused(_));
        if fetches {
            entry.is_fetching = true;
            self.fetches += 1;
        }
        (answer, fetches)
    }

    /// Asks for a newer record of `aor`, because the known one did not fit; the second value says whether to fetch it now. What is known has to do when
    /// that was done a moment ago.
    pub(crate) fn ask_again(&mut self, now: Instant, aor: &str, waiter: W) -> (Answer<W>, bool) {
        let is_full = self.fetches >= FETCHES;
        let Some(entry) = self.entries.get_mut(aor) else {
            return (Answer::Known(waiter), false);
        };
        let is_due = entry
            .again_at
            .is_none_or(|at| now.saturating_duration_since(at) >= AGAIN);
        let fetches = !entry.is_fetching && is_due && !is_full;
        if entry.waiting.len() >= WAITING || !(fetches || entry.is_fetching) {
            return (Answer::Known(waiter), false);
        }
        entry.waiting.push(waiter);
        if fetches {
            entry.again_at = Some(now);
            entry.is_fetching = true;
            self.fetches += 1;
        }
        (Answer::Waits, fetches)
    }

    /// Takes what a Fetch has brought and returns who waited for it.
    pub(crate) fn found(&mut self, now: Instant, aor: &str, found: Found) -> Vec<W> {
        let Some(entry) = self.entries.get_mut(aor) else {
            return Vec::new();
        };
        self.fetches = self.fetches.saturating_sub(usize::from(entry.is_fetching));
        entry.is_fetching = false;
        // An older version than one seen before is a roll-back by whoever answered.
        let is_older = match (&entry.record, &found.record) {
            (Some(known), Some(new)) => new.public().version < known.public().version,
            (Some(_), None) => entry.record_at.is_some_and(|at| now < at + RECORD_USABLE),
            (None, _) => false,
        };
        if is_older {
            tracing::warn!(resource_id = %wire::ResourceId::of(aor.as_bytes()), "an older user record than the known one was answered");
        } else {
            entry.record = found.record;
        }
        entry.record_at = Some(now);
        entry.routes = found.routes;
        entry.routes_at = Some(now);
        std::mem::take(&mut entry.waiting)
    }

    /// Notes that a Fetch failed and returns who waited; what was known before may still be used.
    pub(crate) fn failed(&mut self, aor: &str) -> Vec<W> {
        let Some(entry) = self.entries.get_mut(aor) else {
            return Vec::new();
        };
        self.fetches = self.fetches.saturating_sub(usize::from(entry.is_fetching));
        entry.is_fetching = false;
        std::mem::take(&mut entry.waiting)
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

    /// The edges that serve the user; entries whose life has ended are left out.
    pub(crate) fn routes(&self, now_ms: u64, aor: &str) -> Option<impl Iterator<Item = &Route>> {
        let entry = self.entries.get(aor)?;
        entry.routes_at?;
        Some(entry.routes.iter().filter(move |route| now_ms < route.until_ms))
    }

    /// Forgets the routes of `aor`: one of them was wrong.
    pub(crate) fn drop_routes(&mut self, aor: &str) {
        if let Some(entry) = self.entries.get_mut(aor) {
            entry.routes_at = None;
            entry.routes.clear();
        }
    }

    /// Takes a record that was kept on disk; its age is known from the clock.
    pub(crate) fn restore(&mut self, now: Instant, aor: &str, record: Record, age: Duration) {
        if let Some(record_at) = now.checked_sub(age) {
            let entry = self.entries.entry(aor.to_owned()).or_insert_with(|| Entry::new(now));
            entry.record = Some(record);
            entry.record_at = Some(record_at);
        }
    }

    fn make_room_for(&mut self, aor: &str) {
        if self.entries.len() < ENTRIES || self.entries.contains_key(aor) {
            return;
        }
        let mut asked: Vec<Instant> = self.entries.values().map(|entry| entry.asked_at).collect();
        let tenth = asked.len() / 10;
        let (_, limit, _) = asked.select_nth_unstable(tenth);
        let limit = *limit;
        self.entries
            .retain(|_, entry| entry.is_fetching || entry.asked_at > limit);
    }
}

impl<W> Entry<W> {
    fn new(now: Instant) -> Self {
        Self {
            record: None,
            record_at: None,
            routes: Vec::new(),
            routes_at: None,
            is_fetching: false,
            waiting: Vec::new(),
            asked_at: now,
            again_at: None,
        }
    }

    /// Whether what is known is fresh, and whether it may be used at all.
    fn state(&self, now: Instant, need: Need) -> (bool, bool) {
        let age = |at: Option<Instant>| at.map(|at| now.saturating_duration_since(at));
        match need {
            Need::Record => {
                let (fresh, usable) = if self.record.is_some() {
                    (RECORD_FRESH, RECORD_USABLE)
                } else {
                    (NOBODY, NOBODY)
                };
                age(self.record_at).map_or((false, false), |age| (age < fresh, age < usable))
            }
            Need::Routes => {
                let fresh = if self.routes.is_empty() { NO_ROUTES } else { ROUTES };
                let is_fresh = age(self.routes_at).is_some_and(|age| age < fresh);
                (is_fresh, is_fresh)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use usage::user::{Hashes, Public, RecordKey, Secret, State};

    use super::*;

    const AOR: &str = "bob@example.org";

    fn nothing() -> Found {
        Found::default()
    }

    fn record(version: u64) -> Found {
        let public = Public {
            state: State::Active,
            version,
            issued_ms: 0,
            allowed_edges: Vec::new(),
            record_key_version: 1,
        };
        let secret = Secret {
            user: AOR.to_owned(),
            realm: "example.org".to_owned(),
            display_name: String::new(),
            hashes: Hashes::new(AOR, "example.org", "secret"),
        };
        let key = RecordKey::new(1, [1; 32]);
        let place = wire::ResourceId::of(AOR.as_bytes());
        let sealed = key.seal("example.org", place, public, &secret, [0; 12]);
        Found {
            record: sealed.ok(),
            ..Found::default()
        }
    }

    #[test]
    fn concurrent_questions_share_one_fetch() {
        let (mut directory, now) = (Directory::new(), Instant::now());
        assert_eq!(directory.ask(now, AOR, Need::Record, 1), (Answer::Waits, true));
        assert_eq!(directory.ask(now, AOR, Need::Routes, 2), (Answer::Waits, false));
        assert_eq!(directory.found(now, AOR, nothing()), [1, 2]);
        assert_eq!(directory.ask(now, AOR, Need::Record, 3), (Answer::Known(3), false));
        assert_eq!(directory.record(now, AOR), Some(None));
    }

    #[test]
    fn absence_is_believed_for_a_short_while() {
        let (mut directory, now) = (Directory::new(), Instant::now());
        directory.ask(now, AOR, Need::Routes, 1);
        directory.found(now, AOR, nothing());
        assert_eq!(
            directory.ask(now + NO_ROUTES, AOR, Need::Routes, 2),
            (Answer::Waits, true)
        );
        assert_eq!(directory.failed(AOR), [2]);
        assert_eq!(directory.ask(now + NOBODY, AOR, Need::Record, 3), (Answer::Waits, true));
        assert_eq!(directory.record(now + NOBODY, AOR), None);
    }

    #[test]
    fn a_doubted_record_is_fetched_anew_and_stays_the_least_that_counts() {
        let (mut directory, now) = (Directory::new(), Instant::now());
        directory.ask(now, AOR, Need::Record, 1);
        directory.found(now, AOR, record(2));
        directory.doubt_records(|record| record.public().version != 2);
        assert_eq!(directory.record(now, AOR), None);
        assert_eq!(directory.ask(now, AOR, Need::Record, 2), (Answer::Waits, true));
        directory.found(now, AOR, record(1));
        let version = |directory: &Directory<i32>| directory.record(now, AOR).flatten().map(|it| it.public().version);
        assert_eq!(version(&directory), Some(2));
        directory.doubt_record(AOR);
        directory.ask(now, AOR, Need::Record, 3);
        directory.found(now, AOR, record(3));
        assert_eq!(version(&directory), Some(3));
    }

    #[test]
    fn a_flood_of_names_stays_here() {
        let (mut directory, now) = (Directory::new(), Instant::now());
        for n in 0..FETCHES {
            assert_eq!(
                directory.ask(now, &format!("{n}@example.org"), Need::Record, n).0,
                Answer::Waits
            );
        }
        assert_eq!(directory.ask(now, AOR, Need::Record, 0), (Answer::Refused(0), false));
        directory.failed("0@example.org");
        assert_eq!(directory.ask(now, AOR, Need::Record, 0), (Answer::Waits, true));
    }

    #[test]
    fn a_record_that_did_not_fit_is_fetched_again_once_in_a_while() {
        let (mut directory, now) = (Directory::new(), Instant::now());
        assert_eq!(directory.ask_again(now, AOR, 0), (Answer::Known(0), false));
        directory.ask(now, AOR, Need::Record, 1);
        directory.found(now, AOR, nothing());

        assert_eq!(directory.ask_again(now, AOR, 2), (Answer::Waits, true));
        assert_eq!(directory.ask_again(now, AOR, 3), (Answer::Waits, false));
        assert_eq!(directory.failed(AOR), [2, 3]);
        let soon = now + AGAIN / 2;
        assert_eq!(directory.ask_again(soon, AOR, 4), (Answer::Known(4), false));
        assert_eq!(directory.ask_again(now + AGAIN, AOR, 5), (Answer::Waits, true));
    }
}
