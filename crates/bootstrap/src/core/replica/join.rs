//! Two states of one record become one: the same one in whatever order, however often, and wherever that is done.

#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use identity::Certificate;
use usage::user::Record;

use crate::state::{EdgeKeysRecord, NodeRecord, Octets, SharedRecord, TokenRecord, UserRecord};

/// Records that can be joined.
pub(in crate::core) trait Join: Clone + PartialEq {
    /// Takes what the other state has more.
    fn join(&mut self, other: &Self);
}

/// The joined state, if it is another than the known one.
pub(in crate::core) fn joined<T: Join>(known: Option<&T>, come: T) -> Option<T> {
    let Some(known) = known else { return Some(come) };
    let mut both = known.clone();
    both.join(&come);
    (both != *known).then_some(both)
}

/// The higher version counts, and of one version the later storage_time, as for who reads the overlay. Within one millisecond the
/// lower writer does, until one of them signs again.
impl Join for UserRecord {
    fn join(&mut self, other: &Self) {
        let published = self.published.max(other.published);
        let published_key = self.published_key.max(other.published_key);
        if user_order(self, other) == Ordering::Less {
            *self = other.clone();
        }
        self.published = published;
        self.published_key = published_key;
    }
}

fn user_order(one: &UserRecord, other: &UserRecord) -> Ordering {
    let by_version = version(&one.record).cmp(&version(&other.record));
    by_version
        .then_with(|| one.storage_time.cmp(&other.storage_time))
        .then_with(|| other.writer.cmp(&one.writer))
        .then_with(|| (&one.record, one.signed_ms).cmp(&(&other.record, other.signed_ms)))
}

/// That of a user's sealed record.
fn version(record: &Octets) -> u64 {
    Record::from_bytes(&record.0.clone().into()).map_or(0, |record| record.public().version)
}

/// Of two tokens that were given one id, the later one is that of the id. Revoked is final for a token. Whether a configuration
/// names it is each service's own.
impl Join for TokenRecord {
    fn join(&mut self, other: &Self) {
        let identity = |token: &TokenRecord| (token.created_ms, token.secret_hash.clone());
        let revoked = self.revoked || other.revoked;
        let is_same = identity(self) == identity(other);
        let covers = |token: &TokenRecord| {
            (
                token.uses.is_none(),
                token.uses,
                token.peer,
                token.edges,
                token.user.clone(),
            )
        };
        let order = |token: &TokenRecord| (identity(token), token.expires_ms, token.lifetime_seconds, covers(token));
        if order(self) < order(other) {
            *self = TokenRecord {
                configured: self.configured,
                dropped: self.dropped,
                ..other.clone()
            };
        }
        if is_same {
            self.revoked = revoked;
        }
    }
}

/// The later certificates count; how it was enrolled stays as it was written down first.
impl Join for NodeRecord {
    fn join(&mut self, other: &Self) {
        let retired = self.retired || other.retired;
        let signer = self.signer.iter().chain(&other.signer);
        let signer = signer.max_by(|one, other| issued(one).cmp(&issued(other))).cloned();
        let certificate = std::cmp::max_by(&self.certificate, &other.certificate, |one, other| {
            issued(one).cmp(&issued(other))
        })
        .clone();
        let order = |node: &NodeRecord| (node.at_ms, node.by.clone(), node.class, node.from);
        if order(other) < order(self) {
            *self = other.clone();
        }
        self.certificate = certificate;
        self.signer = signer;
        self.retired = retired;
    }
}

/// Certificates in the order of their making.
fn issued(certificate: &Octets) -> (u64, u64, &Octets) {
    let read = Certificate::from_der(&certificate.0);
    let times = read.map_or((0, 0), |read| (read.not_before_ms(), read.not_after_ms()));
    (times.0, times.1, certificate)
}

/// The last report counts; who is left out stays so.
impl Join for EdgeKeysRecord {
    fn join(&mut self, other: &Self) {
        let left_out = self.left_out || other.left_out;
        if (self.at_ms, &self.held) < (other.at_ms, &other.held) {
            *self = other.clone();
        }
        self.left_out = left_out;
    }
}

/// A rotation goes through its phases in one order, so the later phase counts. A new service has no key yet.
impl Join for SharedRecord {
    fn join(&mut self, other: &Self) {
        let token_key = match (self.token_key.0.is_empty(), other.token_key.0.is_empty()) {
            (true, _) => &other.token_key,
            (_, true) => &self.token_key,
            _ => (&self.token_key).min(&other.token_key),
        };
        let token_key = token_key.clone();
        let backup_key = self.backup_key.clone().max(other.backup_key.clone());
        if (self.phase(), &self.record_keys) < (other.phase(), &other.record_keys) {
            *self = other.clone();
        }
        self.token_key = token_key;
        self.backup_key = backup_key;
    }
}

impl SharedRecord {
    /// Grows with each step of each rotation.
    fn phase(&self) -> (u32, usize, bool) {
        let oldest = self.record_keys.first().map_or(0, |(version, _)| *version);
        (oldest, self.record_keys.len(), self.resealing)
    }
}
