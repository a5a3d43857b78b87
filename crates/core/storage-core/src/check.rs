//! What must be true of a value and its signers, wherever it is stored (RFC 6940 §7.4.1.1).

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use identity::{Identity, verify_value};
use sha2::{Digest, Sha256};
use wire::{Encode, KindId, Now, Reader, ResourceId, SignatureAndHash, SignerIdentity, StoreKindData, StoredData};

use crate::{
    certificates::Fresh,
    document::InForce,
    kind::Kind,
    record::{Hash, Slot, exists},
    refusal::Refusal,
};

/// What a check depends on.
#[derive(Clone, Copy)]
pub(crate) struct Context<'a> {
    pub(crate) in_force: &'a InForce,
    pub(crate) now: Now,
    /// The store's own time.
    pub(crate) own_ms: u64,
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

impl Context<'_> {
    /// Checks all values of a Kind, and makes slots of them.
    pub(crate) fn check(
        &self,
        resource: ResourceId,
        data: &StoreKindData,
        bucket: &[Bytes],
        sender: Sender<'_>,
        fresh: &mut Fresh,
    ) -> Result<Vec<Slot>, Refusal> {
        let kind = self.in_force.kinds.get(data.kind).ok_or_else(|| Refusal::UnknownKinds(vec![data.kind]))?;
        let requester = match sender {
            Sender::Original { signer } => Some(self.requester(kind, signer, bucket)?),
            Sender::Replica | Sender::Ourselves => None,
        };
        let mut slots = Vec::with_capacity(data.values.len());
        for value in &data.values {
            self.check_form(value)?;
            self.check_time(kind, value)?;
            let signer = self.signer(resource, data.kind, kind, value, bucket)?;
            for signer in [Some(&signer), requester.as_ref()].into_iter().flatten() {
                if !kind.permits(signer, resource, &value.value) {
                    let (node, kind) = (signer.node_id(), data.kind);
                    return Err(Refusal::Forbidden(format!("{node} may not write kind {kind} at {resource}")));
                }
            }
            slots.push(self.slot(kind, value, &signer, sender, fresh));
        }
        Ok(slots)
    }

    // RFC 6940 §7.3: in an original Store the signer of the request must conform to the policy, too.
    fn requester(
        &self,
        kind: &Kind,
        signer: Option<&Bytes>,
        bucket: &[Bytes],
    ) -> Result<Arc<Identity>, Refusal> {
        let signer = signer.ok_or_else(|| Refusal::Forbidden("an original Store needs a signer".to_owned()))?;
        let verified = self.in_force.verifier.verify(signer, bucket, self.now.unix_ms, kind.use_());
        verified.map_err(|error| Refusal::Forbidden(format!("request signer: {error}")))
    }

    fn signer(
        &self,
        resource: ResourceId,
        id: KindId,
        kind: &Kind,
        value: &StoredData,
        bucket: &[Bytes],
    ) -> Result<Arc<Identity>, Refusal> {
        let verifier = &self.in_force.verifier;
        let verified = verify_value(verifier, resource, id, value, bucket, self.now.unix_ms, kind.use_());
        verified.map_err(|error| Refusal::Forbidden(format!("value of kind {id} at {resource}: {error}")))
    }

    fn check_form(&self, data: &StoredData) -> Result<(), Refusal> {
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

    /// Bounds the storage time: replays end, and nobody locks a place for ever (deviation D15).
    pub(crate) fn check_time(&self, kind: &Kind, data: &StoredData) -> Result<(), Refusal> {
        let slack = milliseconds(CLOCK_SLACK);
        // The own time stands in for a calendar that was lost.
        let latest = self.now.unix_ms.max(self.own_ms).saturating_add(slack);
        if data.storage_time > latest {
            return Err(Refusal::Forbidden(format!("storage time {} is in the future", data.storage_time)));
        }
        let end = kind.longest_life(exists(data)).map(|longest| data.storage_time.saturating_add(milliseconds(longest)));
        if end.is_some_and(|end| end.saturating_add(slack) < self.now.unix_ms.min(self.own_ms)) {
            return Err(Refusal::Forbidden(format!("storage time {} is long past", data.storage_time)));
        }
        Ok(())
    }

    fn slot(&self, kind: &Kind, data: &StoredData, signer: &Identity, sender: Sender<'_>, fresh: &mut Fresh) -> Slot {
        let mut life = Duration::from_secs(data.lifetime.into());
        if let Some(longest) = kind.longest_life(exists(data)) {
            // A deletion must outlive every copy that it could have missed, whatever its signer asked for.
            let is_new_tombstone = matches!(sender, Sender::Original { .. }) && !exists(data);
            life = if is_new_tombstone { longest } else { life.min(longest) };
        }
        // RFC 6940 §7.1: a signature is worth nothing after its certificate's end.
        let valid = signer.until_ms.saturating_sub(self.now.unix_ms);
        let chain = signer.chain.iter().map(|der| (Sha256::digest(der).into(), der.clone()));
        let chain: Vec<(Hash, Bytes)> = chain.collect();
        let hashes = chain.iter().map(|(hash, _)| *hash).collect();
        fresh.extend(chain);
        Slot {
            data: compact(data),
            expires: self.own_ms.saturating_add(milliseconds(life).min(valid)),
            chain: hashes,
        }
    }
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
