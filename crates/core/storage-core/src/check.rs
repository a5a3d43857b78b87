//! What must be true of a value and its signers, wherever it is stored (RFC 6940 §7.4.1.1).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use identity::{Identity, verify_value};
use sha2::{Digest, Sha256};
use wire::{Encode, KindId, Now, Reader, ResourceId, SignatureAndHash, SignerIdentity, StoreKindData, StoredData};

use crate::{
    certificates::Fresh,
    clock::Clock,
    document::InForce,
    kind::Kind,
    record::{Hash, Record, Slot, exists},
    refusal::Refusal,
};

/// What a check depends on.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) in_force: &'a InForce,
    pub(crate) now: Now,
    /// The store's own time.
    pub(crate) own_ms: u64,
    /// The own time may be wrong: what has ended is still held.
    pub(crate) is_in_doubt: bool,
}

/// Who sent a Store.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Sender<'a> {
    /// A user or node that stores its own data.
    Original {
        /// DER of the certificate that signed the request.
        signer: Option<&'a Bytes>,
    },
    /// A peer that copies what it holds.
    Replica,
    /// This peer, with what it fetched elsewhere.
    Ourselves,
}

/// What came with a Store, and what it meets.
pub(crate) struct Came<'a> {
    pub(crate) resource: ResourceId,
    pub(crate) sender: Sender<'a>,
    /// Certificates of its security block.
    pub(crate) bucket: &'a [Bytes],
    /// The record that is held.
    pub(crate) held: Option<&'a Record>,
    /// Certificates of its values, as far as they were verified.
    pub(crate) fresh: Fresh,
}

impl<'a> Context<'a> {
    pub(crate) fn new(in_force: &'a InForce, clock: &Clock, now: Now) -> Self {
        Self {
            in_force,
            now,
            own_ms: clock.own_ms(now),
            is_in_doubt: clock.is_in_doubt(),
        }
    }

    /// Tells whether a value that is held has neither ended nor a storage time that a Store would be refused for.
    pub(crate) fn shows(&self, kind: KindId, slot: &Slot) -> bool {
        slot.expires > self.own_ms && self.is_timely(kind, slot)
    }

    pub(crate) fn is_timely(&self, kind: KindId, slot: &Slot) -> bool {
        let kind = self.in_force.kinds.get(kind);
        kind.is_none_or(|kind| self.check_time(kind, &slot.data).is_ok())
    }
}

impl Context<'_> {
    /// Checks all values of a Kind, and makes slots of them.
    pub(crate) fn check(&self, data: &StoreKindData, came: &mut Came<'_>) -> Result<Vec<Slot>, Refusal> {
        let kind = self
            .in_force
            .kinds
            .get(data.kind)
            .ok_or_else(|| Refusal::UnknownKinds(vec![data.kind]))?;
        let requester = match came.sender {
            Sender::Original { signer } => Some(self.requester(kind, signer, came.bucket)?),
            Sender::Replica | Sender::Ourselves => None,
        };
        let held = came.held.and_then(|record| record.kinds.get(&data.kind));
        let mut slots = Vec::with_capacity(data.values.len());
        for value in &data.values {
            let about = About {
                id: data.kind,
                kind,
                value,
            };
            if let Some(requester) = &requester {
                about.permit(requester, came.resource)?;
            }
            // What is held was verified when it came: whole Kinds are sent again and again for one new value.
            if let Some(slot) = held.and_then(|held| held.find_same(value)) {
                slots.push(slot.clone());
                continue;
            }
            match (self.slot(&about, came), came.sender) {
                (Ok(slot), _) => slots.push(slot),
                // RFC 6940 §7.4.2.2: of what was fetched, values that do not verify are discarded; so are those that
                // the other peer made up for gaps.
                (Err(refusal), Sender::Ourselves) => {
                    tracing::debug!(kind_id = %data.kind, ?refusal, "a fetched value is left out of the merge");
                }
                (Err(refusal), _) => return Err(refusal),
            }
        }
        Ok(slots)
    }

    // RFC 6940 §7.3: in an original Store the signer of the request must conform to the policy, too.
    fn requester(&self, kind: &Kind, signer: Option<&Bytes>, bucket: &[Bytes]) -> Result<Arc<Identity>, Refusal> {
        let signer = signer.ok_or_else(|| Refusal::Forbidden("an original Store needs a signer".to_owned()))?;
        let verified = self
            .in_force
            .verifier
            .verify(signer, bucket, self.now.unix_ms, kind.use_());
        verified.map_err(|error| Refusal::Forbidden(format!("request signer: {error}")))
    }

    /// The calendar; the own time stands in for one that was lost.
    pub(crate) fn latest_ms(&self) -> u64 {
        self.now.unix_ms.max(self.own_ms)
    }

    /// Bounds the storage time: replays end, and nobody locks a place for ever (deviation D15).
    pub(crate) fn check_time(&self, kind: &Kind, data: &StoredData) -> Result<(), Refusal> {
        let slack = milliseconds(CLOCK_SLACK);
        let latest = self.latest_ms().saturating_add(slack);
        if data.storage_time > latest {
            return Err(Refusal::Forbidden(format!(
                "storage time {} is in the future",
                data.storage_time
            )));
        }
        let longest = kind.longest_life(exists(data)).map(milliseconds);
        let end = longest.map(|longest| data.storage_time.saturating_add(longest).saturating_add(slack));
        if end.is_some_and(|end| end < self.now.unix_ms.min(self.own_ms)) {
            return Err(Refusal::Forbidden(format!(
                "storage time {} is long past",
                data.storage_time
            )));
        }
        Ok(())
    }

    fn slot(&self, about: &About<'_>, came: &mut Came<'_>) -> Result<Slot, Refusal> {
        let About { id, kind, value } = *about;
        let (verifier, resource) = (&self.in_force.verifier, came.resource);
        check_form(value)?;
        self.check_time(kind, value)?;
        let verified = verify_value(
            verifier,
            resource,
            id,
            value,
            came.bucket,
            self.now.unix_ms,
            kind.use_(),
        );
        let signer =
            verified.map_err(|error| Refusal::Forbidden(format!("value of kind {id} at {resource}: {error}")))?;
        about.permit(&signer, resource)?;

        let mut life = Duration::from_secs(value.lifetime.into());
        if let Some(longest) = kind.longest_life(exists(value)) {
            // A deletion must outlive every copy that it could have missed, whatever its signer asked for.
            let is_new_tombstone = matches!(came.sender, Sender::Original { .. }) && !exists(value);
            life = if is_new_tombstone { longest } else { life.min(longest) };
        }
        // RFC 6940 §7.1: a signature is worth nothing after its certificate's end.
        let valid = signer.until_ms.saturating_sub(self.now.unix_ms);
        let chain: Vec<(Hash, Bytes)> = signer
            .chain
            .iter()
            .map(|der| (Sha256::digest(der).into(), der.clone()))
            .collect();
        let hashes = chain.iter().map(|(hash, _)| *hash).collect();
        came.fresh.extend(chain);
        let expires = self.own_ms.saturating_add(milliseconds(life).min(valid));
        Ok(Slot {
            data: compact(value),
            expires,
            chain: hashes,
        })
    }
}

/// A value and its Kind.
#[derive(Clone, Copy)]
struct About<'a> {
    id: KindId,
    kind: &'a Kind,
    value: &'a StoredData,
}

impl About<'_> {
    fn permit(&self, signer: &Identity, resource: ResourceId) -> Result<(), Refusal> {
        if self.kind.permits(signer, resource, &self.value.value) {
            return Ok(());
        }
        let (node, kind) = (signer.node_id(), self.id);
        Err(Refusal::Forbidden(format!(
            "{node} may not write kind {kind} at {resource}"
        )))
    }
}

fn check_form(data: &StoredData) -> Result<(), Refusal> {
    // RFC 6940 §7.4.1.1: only a storing peer may make up values that nobody signed.
    if data.signature.identity == SignerIdentity::None || data.signature.algorithm == SignatureAndHash::ANONYMOUS {
        return Err(Refusal::Forbidden("a value is not signed".to_owned()));
    }
    // RFC 6940 §7.4.1.3: a tombstone has no value.
    let is_full = data.value.value().is_some_and(|value| !value.value.is_empty());
    if is_full && !exists(data) {
        return Err(Refusal::Forbidden("a value that does not exist has octets".to_owned()));
    }
    Ok(())
}

/// Copies a value out of the message that it came in, which it would otherwise keep in memory.
fn compact(data: &StoredData) -> StoredData {
    let octets = data.to_bytes();
    StoredData::read(&mut Reader::new(&octets), data.value.model()).unwrap_or_else(|_| data.clone())
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Clocks may be a day off at either end, and an hour is left for the way.
pub(crate) const CLOCK_SLACK: Duration = Duration::from_secs(49 * 3600);
