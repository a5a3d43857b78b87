//! All records sealed again under another record key: which are left, which are next.

use std::collections::BTreeSet;

use usage::user::{Public, State};

use super::{MAX_AT_ONCE, User, Users};
use crate::core::outbox::Outbox;
use crate::core::service::Service;
use crate::error::Refused;

/// What is left to do until nothing is under the old record key any more.
#[derive(Default)]
pub(super) struct Resealing {
    /// The version of the new key.
    target: u32,
    /// Users of whom the overlay has not acknowledged a record under it.
    left: BTreeSet<String>,
}

impl Resealing {
    /// The overlay has acknowledged a user's newest record, sealed under the key of this version.
    pub(super) fn published(&mut self, aor: &str, key_version: u32) {
        if key_version == self.target {
            self.left.remove(aor);
        }
    }

    /// No edge opens the record of a removed user, and there is nothing in it.
    pub(super) fn removed(&mut self, aor: &str) {
        self.left.remove(aor);
    }
}

impl Users {
    /// Begins to seal all records again, under the record key of this version.
    pub(in crate::core) fn reseal_under(&mut self, target: u32) {
        let left = self.by_aor.iter().filter(|(_, user)| user.is_left(target));
        self.resealing = Resealing {
            target,
            left: left.map(|(aor, _)| aor.clone()).collect(),
        };
    }

    /// Looks at a record again that another service has changed.
    pub(super) fn look_again(&mut self, aor: &str) {
        let target = self.resealing.target;
        let is_left = self.by_aor.get(aor).is_some_and(|user| user.is_left(target));
        match target > 0 && is_left {
            true => self.resealing.left.insert(aor.to_owned()),
            false => self.resealing.left.remove(aor),
        };
    }

    /// Records that the overlay may hold under another key than that of this version.
    pub(in crate::core) fn count_left(&self, target: u32) -> usize {
        self.by_aor.values().filter(|user| user.is_left(target)).count()
    }

    /// Records that the overlay may still hold under the old key.
    pub(in crate::core) fn left_to_reseal(&self) -> usize {
        self.resealing.left.len()
    }

    /// Users whose records are next, so many as keep the outbox short.
    pub(in crate::core) fn to_reseal(&self, outbox: &Outbox) -> Vec<String> {
        let is_old = |aor: &&String| {
            let user = self.by_aor.get(*aor);
            user.is_some_and(|user| user.record.public().record_key_version != self.resealing.target)
        };
        let room = MAX_AT_ONCE.saturating_sub(outbox.len());
        self.resealing.left.iter().filter(is_old).take(room).cloned().collect()
    }

    /// Seals a record again as it is, under the key that seals now.
    pub(in crate::core) fn reseal(&mut self, service: &Service, now_ms: u64, aor: &str) -> Result<(), Refused> {
        let user = self.known(aor)?;
        let secret = user.open(service, aor)?;
        let public = Public {
            version: user.version().saturating_add(1),
            issued_ms: now_ms,
            ..user.record.public().clone()
        };
        self.replace(service, aor, public, &secret)
    }
}

impl User {
    /// Whether the overlay may hold a secret under another key than that of this version: it may also have stored what it never
    /// acknowledged.
    fn is_left(&self, target: u32) -> bool {
        let public = self.record.public();
        public.state != State::Removed && (self.published_key != target || public.record_key_version != target)
    }
}
