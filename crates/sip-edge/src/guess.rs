//! Limits on guessing passwords.
//!
//! Wrong responses are counted for a user from one site, for a site, and for a user from everywhere. Whoever is over a limit is answered as if the
//! password were wrong, without a look at it, so that a list of words takes hours instead of seconds and shows nothing of where it stands. A phone
//! whose registration stands is never limited on its own flow, and where the user has a phone only its own mistakes count; so a flood from
//! elsewhere locks nobody out.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use aws_lc_rs::digest::{Context, SHA256};
use sip_core::flow::Site;
use sip_core::recent::Recent;

/// Rows kept: one for each user and site, for each site and for each user with wrong responses. The oldest goes; to bring it about takes thousands of
/// sites, each of them limited.
const ROWS: usize = 65_536;
/// Limits that stand and are told of in the log. Further ones hold all the same, but no line tells when they begin or end.
const TOLD: usize = 4096;

/// Wrong responses for one user from one site before it has to wait.
const PAIR: u32 = 5;
/// The same where the user has a phone: its neighbours share its address.
const PAIR_AT_HOME: u32 = 50;
/// The wait after that; it doubles with each further wrong response.
const PAIR_WAIT: Duration = Duration::from_secs(10);
/// The longest wait, and that of a site where the user never was while the user is being attacked from many.
const LONGEST_WAIT: Duration = Duration::from_secs(300);
/// After so long without a wrong response a site's past with a user is forgotten.
const PAIR_FORGOTTEN: Duration = Duration::from_secs(3600);

/// What a site may get wrong at once, for all users, and how soon one more is forgiven.
const SITE: Bucket = Bucket {
    size: 20,
    regain: Duration::from_secs(10),
};
/// What may be got wrong for one user from everywhere: a hundred an hour.
const USER: Bucket = Bucket {
    size: 100,
    regain: Duration::from_secs(36),
};

/// A limit on guessing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Limit {
    /// For one user from one site.
    UserAndSite,
    /// For all users from one site.
    Site,
    /// For one user from everywhere.
    User,
}

impl Limit {
    /// Its name in the log.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::UserAndSite => "user_and_source",
            Self::Site => "source",
            Self::User => "user",
        }
    }

    /// Why a response was not looked at, for the counters.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::UserAndSite => "limited_user_and_source",
            Self::Site => "limited_source",
            Self::User => "limited_user",
        }
    }
}

/// How well a sender is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It is on the flow of a registration of this user.
    Registered,
    /// A phone of this user is registered from the same site.
    AtHome,
    /// Neither.
    Stranger,
}

/// Who tries whose password.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Try<'a> {
    pub(crate) user: &'a str,
    pub(crate) source: IpAddr,
    pub(crate) standing: Standing,
}

/// A limit that has begun or ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) limit: Limit,
    /// Whose password; none where it is about a site.
    pub(crate) user: Option<String>,
    /// The address of whoever went too far; none where it is about a user.
    pub(crate) source: Option<IpAddr>,
}

/// What was got wrong.
#[derive(Debug)]
pub(crate) struct Guesses {
    rows: Recent<Key, Row>,
    told: BTreeMap<Key, Told>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Key([u8; 16]);

#[derive(Debug, Clone, Copy)]
struct Row {
    wrong: u32,
    at: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    size: u32,
    regain: Duration,
}

impl Guesses {
    /// Nothing wrong yet.
    pub(crate) fn new() -> Self {
        Self {
            rows: Recent::new(ROWS),
            told: BTreeMap::new(),
        }
    }

    /// Says whether a response may be judged.
    ///
    /// # Errors
    /// With the limit that stands against it.
    pub(crate) fn admit(&self, now: Instant, attempt: &Try<'_>) -> Result<(), Limit> {
        if attempt.standing == Standing::Registered {
            return Ok(());
        }
        let row = |limit| self.rows.peek(&Key::of(limit, attempt)).copied();
        let pair = row(Limit::UserAndSite);
        if pair.is_some_and(|pair| now < pair.at + pair_wait(pair.known_wrong(now), attempt.standing)) {
            return Err(Limit::UserAndSite);
        }
        if attempt.standing == Standing::AtHome {
            return Ok(());
        }
        if row(Limit::Site).is_some_and(|site| SITE.used(now, site) >= SITE.size) {
            return Err(Limit::Site);
        }
        let is_attacked = row(Limit::User).is_some_and(|user| USER.used(now, user) >= USER.size);
        if is_attacked && pair.is_some_and(|pair| now < pair.at + LONGEST_WAIT) {
            return Err(Limit::User);
        }
        Ok(())
    }

    /// Notes a wrong response; returns the limits that begin with it.
    pub(crate) fn wrong(&mut self, now: Instant, attempt: &Try<'_>) -> Vec<Told> {
        if attempt.standing == Standing::Registered {
            return Vec::new();
        }
        let pair = self.count(now, (Limit::UserAndSite, attempt), |row| row.known_wrong(now));
        let site = self.count(now, (Limit::Site, attempt), |row| SITE.used(now, *row));
        let user = self.count(now, (Limit::User, attempt), |row| USER.used(now, *row));
        let reached = [
            (Limit::UserAndSite, pair >= allowed(attempt.standing)),
            (Limit::Site, site >= SITE.size && attempt.standing == Standing::Stranger),
            (Limit::User, user >= USER.size),
        ];
        let begun = reached.into_iter().filter(|(_, is_reached)| *is_reached);
        begun.filter_map(|(limit, _)| self.begin(limit, attempt)).collect()
    }

    /// Notes a right response: the user is there, and what was mistyped before is forgiven. Returns the limit that ends with it.
    pub(crate) fn right(&mut self, attempt: &Try<'_>) -> Option<Told> {
        let key = Key::of(Limit::UserAndSite, attempt);
        self.rows.remove(&key);
        self.told.remove(&key)
    }

    /// Returns the limits that have ended.
    pub(crate) fn expire(&mut self, now: Instant) -> Vec<Told> {
        let rows = &self.rows;
        let has_ended = |key: &Key, told: &mut Told| {
            rows.peek(key).is_none_or(|row| match told.limit {
                // Nothing was tried for as long again as it had to wait.
                Limit::UserAndSite => now >= row.at + 2 * pair_wait(row.wrong, Standing::Stranger),
                Limit::Site => SITE.used(now, *row) <= SITE.size / 2,
                Limit::User => USER.used(now, *row) <= USER.size / 2,
            })
        };
        self.told.extract_if(.., has_ended).map(|(_, told)| told).collect()
    }

    /// Counts one more and returns how many that makes.
    fn count(&mut self, now: Instant, (limit, attempt): (Limit, &Try<'_>), known: impl Fn(&Row) -> u32) -> u32 {
        let key = Key::of(limit, attempt);
        let wrong = self.rows.peek(&key).map_or(0, known).saturating_add(1);
        self.rows.insert(key, Row { wrong, at: now });
        wrong
    }

    fn begin(&mut self, limit: Limit, attempt: &Try<'_>) -> Option<Told> {
        let key = Key::of(limit, attempt);
        if self.told.contains_key(&key) || self.told.len() >= TOLD {
            return None;
        }
        let told = Told {
            limit,
            user: (limit != Limit::Site).then(|| attempt.user.to_owned()),
            source: (limit != Limit::User).then_some(attempt.source.to_canonical()),
        };
        self.told.insert(key, told.clone());
        Some(told)
    }
}

impl Key {
    fn of(limit: Limit, attempt: &Try<'_>) -> Self {
        let site = Site::of(attempt.source).octets();
        let mut hash = Context::new(&SHA256);
        hash.update(&[limit as u8]);
        if limit != Limit::User {
            hash.update(&site);
        }
        if limit != Limit::Site {
            hash.update(attempt.user.as_bytes());
        }
        Self(hash.finish().as_ref().first_chunk().copied().unwrap_or_default())
    }
}

impl Row {
    /// What counts against a user and site still.
    fn known_wrong(self, now: Instant) -> u32 {
        if now < self.at + PAIR_FORGOTTEN { self.wrong } else { 0 }
    }
}

impl Bucket {
    fn used(self, now: Instant, row: Row) -> u32 {
        let regained = now.saturating_duration_since(row.at).as_millis() / self.regain.as_millis();
        row.wrong.saturating_sub(u32::try_from(regained).unwrap_or(u32::MAX))
    }
}

const fn allowed(standing: Standing) -> u32 {
    match standing {
        Standing::Registered | Standing::AtHome => PAIR_AT_HOME,
        Standing::Stranger => PAIR,
    }
}

/// How long a site has to wait for a user after so many wrong responses.
fn pair_wait(wrong: u32, standing: Standing) -> Duration {
    let Some(over) = wrong.checked_sub(allowed(standing)) else {
        return Duration::ZERO;
    };
    match standing {
        // A phone next to whoever guesses has its turn as well.
        Standing::Registered | Standing::AtHome => PAIR_WAIT,
        Standing::Stranger => (PAIR_WAIT * 2_u32.saturating_pow(over.min(8))).min(LONGEST_WAIT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(source: &str, user: &'static str) -> Try<'static> {
        Try {
            user,
            source: source.parse().unwrap(),
            standing: Standing::Stranger,
        }
    }

    /// Guesses as fast as it is let, and returns how many responses were judged.
    fn guess(guesses: &mut Guesses, (start, seconds): (Instant, u64), attempt: &Try<'_>) -> usize {
        let mut judged = 0;
        for tenth in 0..seconds * 10 {
            let now = start + Duration::from_millis(tenth * 100);
            if guesses.admit(now, attempt).is_ok() {
                judged += 1;
                guesses.wrong(now, attempt);
            }
        }
        judged
    }

    #[test]
    fn one_site_guesses_slower_and_slower_at_one_user() {
        let (mut guesses, now) = (Guesses::new(), Instant::now());
        let attempt = from("192.0.2.66", "alice");
        // Five at once, then after 10, 20, 40, 80, 160 s and every 5 minutes.
        assert_eq!(guess(&mut guesses, (now, 9), &attempt), 5);
        assert_eq!(
            guesses.admit(now + Duration::from_secs(9), &attempt),
            Err(Limit::UserAndSite)
        );
        let (mut guesses, hour) = (Guesses::new(), 3600);
        let judged = guess(&mut guesses, (now, 2 * hour), &attempt);
        assert!((25..35).contains(&judged), "{judged}");
    }

    #[test]
    fn one_site_guesses_slowly_at_many_users() {
        let (mut guesses, now) = (Guesses::new(), Instant::now());
        let users: Vec<String> = (0..1000).map(|number| format!("user{number}")).collect();
        let judged = |guesses: &mut Guesses, now| {
            let tries = users.iter().map(|user| Try {
                user,
                ..from("192.0.2.66", "")
            });
            let judge = |attempt: &Try<'_>| {
                let is_judged = guesses.admit(now, attempt).is_ok();
                if is_judged {
                    guesses.wrong(now, attempt);
                }
                is_judged
            };
            tries.filter(judge).count()
        };
        assert_eq!(judged(&mut guesses, now), 20);
        assert_eq!(judged(&mut guesses, now + Duration::from_secs(60)), 6);
        assert_eq!(guesses.admit(now, &from("192.0.2.67", "user0")), Ok(()));
    }

    #[test]
    fn a_user_attacked_from_everywhere_can_still_come_from_somewhere_new() {
        let (mut guesses, now) = (Guesses::new(), Instant::now());
        let source = |number: u32| format!("198.51.{}.{}", number / 250, number % 250);
        let mut begun = Vec::new();
        for number in 0..200 {
            let source = source(number);
            let attempt = from(&source, "alice");
            assert_eq!(guesses.admit(now, &attempt), Ok(()), "the first try is judged");
            begun.extend(guesses.wrong(now, &attempt));
        }
        let told = Told {
            limit: Limit::User,
            user: Some("alice".to_owned()),
            source: None,
        };
        assert_eq!(begun, std::slice::from_ref(&told));
        let again = source(7);
        assert_eq!(guesses.admit(now, &from(&again, "alice")), Err(Limit::User));
        assert_eq!(guesses.admit(now + LONGEST_WAIT, &from(&again, "alice")), Ok(()));
        assert_eq!(guesses.admit(now, &from(&again, "bob")), Ok(()));
        let at_home = Try {
            standing: Standing::AtHome,
            ..from(&again, "alice")
        };
        assert_eq!(guesses.admit(now, &at_home), Ok(()));
        assert_eq!(guesses.expire(now + Duration::from_secs(1800)), []);
        assert_eq!(guesses.expire(now + Duration::from_secs(36 * 150)), [told]);
    }

    #[test]
    fn a_registered_phone_is_never_limited_and_its_neighbours_are() {
        let (mut guesses, now) = (Guesses::new(), Instant::now());
        let [registered, at_home] = [Standing::Registered, Standing::AtHome].map(|standing| Try {
            standing,
            ..from("192.0.2.4", "alice")
        });
        assert_eq!(guess(&mut guesses, (now, 10), &at_home), 50);
        let later = now + Duration::from_secs(10);
        assert_eq!(guesses.admit(later, &at_home), Err(Limit::UserAndSite));
        assert_eq!(guesses.admit(later, &registered), Ok(()));
        assert_eq!(guess(&mut guesses, (later, 100), &at_home), 10, "one every ten seconds");
        assert_eq!(guesses.wrong(later, &registered), []);
    }

    #[test]
    fn a_limit_begins_once_and_ends_once() {
        let (mut guesses, now) = (Guesses::new(), Instant::now());
        let attempt = from("2001:db8::66", "alice");
        let told = Told {
            limit: Limit::UserAndSite,
            user: Some("alice".to_owned()),
            source: Some("2001:db8::66".parse().unwrap()),
        };
        let begun: Vec<Told> = (0..6).flat_map(|_| guesses.wrong(now, &attempt)).collect();
        assert_eq!(begun, std::slice::from_ref(&told));
        let neighbour = from("2001:db8::67", "alice");
        assert_eq!(
            guesses.admit(now, &neighbour),
            Err(Limit::UserAndSite),
            "it is one host's network"
        );
        assert_eq!(guesses.expire(now + Duration::from_secs(39)), []);
        assert_eq!(
            guesses.expire(now + Duration::from_secs(40)),
            std::slice::from_ref(&told)
        );
        assert_eq!(guesses.expire(now + Duration::from_secs(40)), []);
        assert_eq!(
            guesses.wrong(now + Duration::from_secs(40), &attempt),
            std::slice::from_ref(&told)
        );
        assert_eq!(guesses.right(&attempt), Some(told));
        assert_eq!(guesses.admit(now + Duration::from_secs(40), &attempt), Ok(()));
        let hour = now + Duration::from_secs(3600);
        assert_eq!(guess(&mut guesses, (hour, 9), &neighbour), 5);
    }

    #[test]
    fn the_tables_are_bounded() {
        let (mut guesses, now) = (Guesses::new(), Instant::now());
        for number in 0..30_000_u32 {
            let source = IpAddr::from(number.to_be_bytes());
            let user = (number / 3).to_string();
            let attempt = Try {
                user: &user,
                source,
                standing: Standing::Stranger,
            };
            (0..5).for_each(|_| drop(guesses.wrong(now, &attempt)));
        }
        assert_eq!((guesses.rows.len(), guesses.told.len()), (ROWS, TOLD));
    }
}
