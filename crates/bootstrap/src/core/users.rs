//! Users: each is a sealed record with a version, as the overlay stores it.

mod merging;
mod resealing;

use std::collections::BTreeMap;
use std::ops::Bound;

use kv::{Batch, Store};
use rpc::proto::bootstrap::v1 as proto;
use usage::user::{Hashes, MAX_ALLOWED_EDGES, Public, Record, Secret, State, Strength, not_a_node, strength};
use wire::{NodeId, ResourceId};

use self::resealing::Resealing;
use super::outbox::Outbox;
use super::service::Service;
use crate::error::{Refused, StartError};
use crate::genesis::random_octets;
use crate::state::{self, Octets, USERS, UserRecord};

/// A part of the list and where it ended; `None` at the list's end.
pub(crate) type UserPage = (Vec<proto::ListUsersResponse>, Option<String>);

pub(super) struct Users {
    by_aor: BTreeMap<String, User>,
    /// While records are sealed again under another key.
    resealing: Resealing,
}

struct User {
    record: Record,
    /// The version that the overlay has acknowledged.
    published: u64,
    /// The version of the record key under which it was sealed.
    published_key: u32,
    storage_time: u64,
    signed_ms: u64,
    /// The last signer, `None` for this service.
    writer: Option<Octets>,
}

impl Users {
    pub(super) fn load(store: &Store) -> Result<Users, StartError> {
        let mut by_aor = BTreeMap::new();
        for (key, stored) in state::all::<UserRecord>(store, USERS)? {
            let aor = String::from_utf8_lossy(&key).into_owned();
            let user = User::of(stored).map_err(|error| StartError::Damaged {
                tree: USERS.name(),
                key: aor.clone(),
                reason: error.to_string(),
            })?;
            by_aor.insert(aor, user);
        }
        Ok(Users {
            by_aor,
            resealing: Resealing::default(),
        })
    }

    /// Creates or changes a user; returns the AOR as it is stored.
    pub(super) fn put(
        &mut self,
        service: &Service,
        now_ms: u64,
        request: &proto::PutUserRequest,
    ) -> Result<String, Refused> {
        let (aor, domain) = address(service, &request.aor)?;
        let known = self.by_aor.get(&aor);
        // A removed user is as good as new, but the versions go on: edges remember the highest.
        let existing = known.filter(|user| user.record.public().state != State::Removed);
        check_version(request.if_version, known.map(User::version), existing.is_none())?;
        if existing.is_none() {
            // One from before this rule can still be suspended and removed.
            not_a_node(&aor)?;
        }
        if existing.is_none() && self.by_aor.len() >= MAX_USERS {
            return Err(Refused::Full {
                what: "users",
                limit: MAX_USERS,
            });
        }
        let secret = secret(service, &aor, &domain, existing, request)?;
        let public = Public {
            state: wanted_state(request.state, existing)?,
            version: known.map_or(0, User::version).saturating_add(1),
            issued_ms: now_ms,
            allowed_edges: allowed_edges(request.allowed_edges.as_ref(), existing)?,
            record_key_version: 0,
        };
        self.replace(service, &aor, public, &secret)?;
        Ok(aor)
    }

    /// Removes a user; tells whether anything changed.
    pub(super) fn delete(
        &mut self,
        service: &Service,
        now_ms: u64,
        request: &proto::DeleteUserRequest,
    ) -> Result<(String, bool), Refused> {
        let (aor, domain) = address(service, &request.aor)?;
        let known = self
            .by_aor
            .get(&aor)
            .ok_or_else(|| Refused::NotFound(format!("user {aor}")))?;
        if known.record.public().state == State::Removed {
            return Ok((aor, false));
        }
        check_version(request.if_version, Some(known.version()), false)?;
        // Nothing of the user stays but the name and the version.
        let password = wire::hex::encode(&random_octets::<32>()?);
        let secret = Secret {
            hashes: Hashes::new(&aor, &domain, &password),
            user: aor.clone(),
            realm: domain,
            display_name: String::new(),
        };
        let public = Public {
            state: State::Removed,
            version: known.version().saturating_add(1),
            issued_ms: now_ms,
            allowed_edges: Vec::new(),
            record_key_version: 0,
        };
        self.replace(service, &aor, public, &secret)?;
        self.resealing.removed(&aor);
        Ok((aor, true))
    }

    /// The record to sign and a storage_time greater than any before.
    pub(super) fn next_signature(&self, now_ms: u64, aor: &str) -> Result<(Record, u64), Refused> {
        let user = self.known(aor)?;
        Ok((user.record.clone(), now_ms.max(user.storage_time.saturating_add(1))))
    }

    /// Remembers that a record was signed.
    pub(super) fn signed(&mut self, now_ms: u64, aor: &str, storage_time: u64, batch: &mut Batch) {
        if let Some(user) = self.by_aor.get_mut(aor) {
            user.storage_time = storage_time;
            user.signed_ms = now_ms;
            user.writer = None;
            state::put(batch, USERS, aor.as_bytes(), &UserRecord::from(&*user));
        }
    }

    /// Remembers that the overlay has a version.
    pub(super) fn published(&mut self, aor: &str, version: u64, batch: &mut Batch) {
        if let Some(user) = self.by_aor.get_mut(aor) {
            user.published = user.published.max(version);
            if version == user.version() {
                user.published_key = user.record.public().record_key_version;
                self.resealing.published(aor, user.published_key);
            }
            state::put(batch, USERS, aor.as_bytes(), &UserRecord::from(&*user));
        }
    }

    pub(super) fn version(&self, aor: &str) -> u64 {
        self.by_aor.get(aor).map_or(0, User::version)
    }

    /// Users whose last signature is old, unless a newer one already waits. What a service signed that is none of these writers, or
    /// that nobody stored since, is due too: that service is gone.
    pub(super) fn due(&self, now_ms: u64, writers: &[NodeId], outbox: &Outbox) -> Vec<String> {
        let is_gone = |writer: &Octets| !writers.iter().any(|known| known.as_bytes().as_slice() == writer.0);
        let is_due = |user: &User| {
            let is_old = is_old(now_ms, user.signed_ms) || user.writer.as_ref().is_some_and(is_gone);
            (user.record.public().state != State::Removed && is_old) || user.is_left_behind(now_ms)
        };
        let due = self
            .by_aor
            .iter()
            .filter(|(aor, user)| is_due(user) && !outbox.has(aor));
        due.take(MAX_AT_ONCE).map(|(aor, _)| aor.clone()).collect()
    }

    pub(super) fn page(&self, service: &Service, request: &proto::ListUsersRequest, after: Option<&str>) -> UserPage {
        let start = match after {
            Some(after) => Bound::Excluded(after),
            None => Bound::Included(request.prefix.as_str()),
        };
        let mut page = Vec::new();
        let users = self.by_aor.range::<str, _>((start, Bound::Unbounded));
        let mut last = None;
        for (seen, (aor, user)) in users
            .take_while(|(aor, _)| aor.starts_with(&request.prefix))
            .enumerate()
        {
            if seen >= PAGE {
                return (page, last);
            }
            if request.with_removed || user.record.public().state != State::Removed {
                page.push(listed(service, aor, user));
            }
            last = Some(aor.clone());
        }
        (page, None)
    }

    /// The AOR of the active user whose password this is.
    pub(super) fn with_password(&self, service: &Service, aor: &str, password: &str) -> Option<String> {
        let (aor, domain) = address(service, aor).ok()?;
        let secret = self.active(&aor)?.open(service, &aor).ok()?;
        let tried = Hashes::new(&aor, &domain, password);
        let (tried, known) = (tried.user_at_domain.sha256(), secret.hashes.user_at_domain.sha256());
        let is_right = aws_lc_rs::constant_time::verify_slices_are_equal(tried, known).is_ok();
        is_right.then_some(aor)
    }

    /// Checks whether this user's clients are issued certificates.
    pub(super) fn check_client(&self, aor: &str) -> Result<(), Refused> {
        // A user from before this rule may be called so.
        not_a_node(aor)?;
        match self.active(aor) {
            Some(_) => Ok(()),
            None => Err(Refused::NotFound(format!("active user {aor}"))),
        }
    }

    fn active(&self, aor: &str) -> Option<&User> {
        let user = self.by_aor.get(aor)?;
        (user.record.public().state == State::Active).then_some(user)
    }

    fn known(&self, aor: &str) -> Result<&User, Refused> {
        self.by_aor
            .get(aor)
            .ok_or_else(|| Refused::NotFound(format!("user {aor}")))
    }

    fn replace(&mut self, service: &Service, aor: &str, public: Public, secret: &Secret) -> Result<(), Refused> {
        let key = service.record_keys().sealing();
        let resource = ResourceId::of(aor.as_bytes());
        let record = key
            .seal(service.overlay(), resource, public, secret, random_octets()?)
            .map_err(|error| Refused::Invalid(error.to_string()))?;
        match self.by_aor.get_mut(aor) {
            Some(user) => user.record = record,
            None => {
                let user = User {
                    record,
                    published: 0,
                    published_key: 0,
                    storage_time: 0,
                    signed_ms: 0,
                    writer: None,
                };
                self.by_aor.insert(aor.to_owned(), user);
            }
        }
        Ok(())
    }
}

impl User {
    fn of(stored: UserRecord) -> Result<User, usage::user::RecordError> {
        Ok(User {
            record: Record::from_bytes(&stored.record.0.into())?,
            published: stored.published,
            published_key: stored.published_key,
            storage_time: stored.storage_time,
            signed_ms: stored.signed_ms,
            writer: stored.writer,
        })
    }

    fn version(&self) -> u64 {
        self.record.public().version
    }

    /// Another service signed it a while ago, and has not said since that the overlay has it.
    fn is_left_behind(&self, now_ms: u64) -> bool {
        let is_late = now_ms >= self.signed_ms.saturating_add(LEFT_BEHIND_MS);
        self.writer.is_some() && self.published < self.version() && is_late
    }

    fn open(&self, service: &Service, aor: &str) -> Result<Secret, Refused> {
        let version = self.record.public().record_key_version;
        let key = service.record_keys().of(version);
        let key = key.ok_or_else(|| Refused::Internal(format!("there is no record key of version {version}")))?;
        key.open(service.overlay(), ResourceId::of(aor.as_bytes()), &self.record)
            .map_err(|error| Refused::Internal(error.to_string()))
    }
}

impl From<&User> for UserRecord {
    fn from(user: &User) -> UserRecord {
        UserRecord {
            record: Octets::of(user.record.bytes()),
            published: user.published,
            published_key: user.published_key,
            storage_time: user.storage_time,
            signed_ms: user.signed_ms,
            writer: user.writer.clone(),
        }
    }
}

/// The AOR in the form in which it is hashed, and its domain; the domain must be allowed.
pub(super) fn address(service: &Service, aor: &str) -> Result<(String, String), Refused> {
    let Some((user, domain)) = identity::user_and_domain(aor).filter(|_| aor.len() <= MAX_AOR) else {
        return Err(Refused::Invalid(format!(
            "{aor:?} is not of the form user@domain in printable ASCII"
        )));
    };
    let domain = domain.to_ascii_lowercase();
    if !service.allows_domain(&domain) {
        return Err(Refused::Invalid(format!(
            "the overlay has no users of the domain {domain}"
        )));
    }
    Ok((format!("{user}@{domain}"), domain))
}

fn check_version(wanted: Option<u64>, current: Option<u64>, is_new: bool) -> Result<(), Refused> {
    match wanted {
        None => Ok(()),
        Some(0) if is_new => Ok(()),
        Some(wanted) if Some(wanted) == current => Ok(()),
        Some(_) => Err(Refused::Version {
            current: current.unwrap_or(0),
        }),
    }
}

fn secret(
    service: &Service,
    aor: &str,
    domain: &str,
    existing: Option<&User>,
    request: &proto::PutUserRequest,
) -> Result<Secret, Refused> {
    let hashes = request.password.as_deref().map(|password| match password.len() {
        1..=MAX_PASSWORD if strength(aor, password) == Strength::None => Err(Refused::Invalid(
            "the password is a single character, however often: anybody guesses it".to_owned(),
        )),
        1..=MAX_PASSWORD => Ok(Hashes::new(aor, domain, password)),
        _ => Err(Refused::Invalid(format!("a password has 1 to {MAX_PASSWORD} octets"))),
    });
    let mut secret = match (existing, hashes.transpose()?) {
        (None, None) => return Err(Refused::Invalid("a new user needs a password".to_owned())),
        (None, Some(hashes)) => Secret {
            user: aor.to_owned(),
            realm: domain.to_owned(),
            display_name: String::new(),
            hashes,
        },
        (Some(user), None) => user.open(service, aor)?,
        (Some(user), Some(hashes)) => Secret {
            hashes,
            ..user.open(service, aor)?
        },
    };
    if let Some(name) = &request.display_name {
        if name.len() > MAX_DISPLAY_NAME || name.chars().any(char::is_control) {
            return Err(Refused::Invalid(format!(
                "a display name is at most {MAX_DISPLAY_NAME} octets of text"
            )));
        }
        secret.display_name.clone_from(name);
    }
    Ok(secret)
}

fn wanted_state(state: i32, existing: Option<&User>) -> Result<State, Refused> {
    match proto::UserState::try_from(state) {
        Ok(proto::UserState::Unspecified) => Ok(existing.map_or(State::Active, |user| user.record.public().state)),
        Ok(proto::UserState::Active) => Ok(State::Active),
        Ok(proto::UserState::Suspended) => Ok(State::Suspended),
        Ok(proto::UserState::Removed) => Err(Refused::Invalid("a user is removed by DeleteUser".to_owned())),
        Err(_) => Err(Refused::Invalid(format!("{state} is no state of a user"))),
    }
}

fn allowed_edges(wanted: Option<&proto::AllowedEdges>, existing: Option<&User>) -> Result<Vec<NodeId>, Refused> {
    let Some(wanted) = wanted else {
        return Ok(existing
            .map(|user| user.record.public().allowed_edges.clone())
            .unwrap_or_default());
    };
    if wanted.node_ids.len() > MAX_ALLOWED_EDGES {
        return Err(Refused::Invalid(format!(
            "a user has at most {MAX_ALLOWED_EDGES} allowed edges"
        )));
    }
    let parsed: Option<Vec<NodeId>> = wanted
        .node_ids
        .iter()
        .map(|id| NodeId::try_from(id.as_ref()).ok().filter(NodeId::is_name))
        .collect();
    parsed.ok_or_else(|| Refused::Invalid("an allowed edge is a Node-ID of 16 octets".to_owned()))
}

fn listed(service: &Service, aor: &str, user: &User) -> proto::ListUsersResponse {
    let public = user.record.public();
    let state = match public.state {
        State::Active => proto::UserState::Active,
        State::Suspended => proto::UserState::Suspended,
        State::Removed => proto::UserState::Removed,
    };
    proto::ListUsersResponse {
        aor: aor.to_owned(),
        state: state.into(),
        display_name: user
            .open(service, aor)
            .map(|secret| secret.display_name)
            .unwrap_or_default(),
        allowed_edges: public
            .allowed_edges
            .iter()
            .map(|edge| edge.as_bytes().to_vec().into())
            .collect(),
        version: public.version,
        published_version: user.published,
        notice: None,
    }
}

/// The record's length fields allow 255 octets.
const MAX_AOR: usize = 255;
const MAX_DISPLAY_NAME: usize = 128;
const MAX_PASSWORD: usize = 128;
/// All of them are in memory, half a kilobyte each.
const MAX_USERS: usize = 1_000_000;
/// Entries asked for at once, so that a long list stops nobody else.
const PAGE: usize = 256;
/// A stored record lives 50 days, its signer's certificate 90: signing every 7 days leaves weeks
/// in which this service may be away.
const SIGNED_AGAIN_MS: u64 = 7 * 24 * 3600 * 1000;
/// Clocks may be a day off, so a signature that is from further ahead is from before this clock was set back.
const CLOCKS_MS: u64 = 24 * 3600 * 1000;

/// A service whose change is not in the overlay after so long is gone or cut off: another one stores it.
const LEFT_BEHIND_MS: u64 = 10 * 60 * 1000;

/// Says whether a record is to be signed again: its signature is old, or from a time that has not come yet, and would not be
/// old for so long that the record ends in the overlay.
fn is_old(now_ms: u64, signed_ms: u64) -> bool {
    now_ms >= signed_ms.saturating_add(SIGNED_AGAIN_MS) || signed_ms >= now_ms.saturating_add(CLOCKS_MS)
}

/// Signed again in one batch.
const MAX_AT_ONCE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_renewed_when_it_is_old_or_from_a_time_to_come() {
        let now = 100 * SIGNED_AGAIN_MS;
        for (signed_ms, expected) in [
            (now - SIGNED_AGAIN_MS, true),
            (now - SIGNED_AGAIN_MS + 1, false),
            (now, false),
            (now + CLOCKS_MS - 1, false),
            (now + CLOCKS_MS, true),
        ] {
            assert_eq!(is_old(now, signed_ms), expected, "{signed_ms}");
        }
    }
}
