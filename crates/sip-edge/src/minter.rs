//! Certificates for (AOR, this edge), made by the edge's delegated signer after a user has authenticated.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use identity::issue::{Authority, IssueError, Profile, Serial, Subject};
use identity::{Key, Signer};
use wire::NodeId;

/// Certificates kept for another use; the oldest names go first. One more costs a signature.
const KEPT: usize = 20_000;

/// The delegated signer at work.
#[derive(Debug)]
pub(crate) struct Minter {
    delegated: Authority,
    /// Signs the values; the delegated signer's own key signs certificates only.
    key: Key,
    node: NodeId,
    overlay: String,
    kept: BTreeMap<String, (u64, Arc<Signer>)>,
}

impl Minter {
    /// Takes the delegated signer and the key for values.
    pub(crate) fn new(delegated: Authority, key: Key, node: NodeId, overlay: String) -> Self {
        Self {
            delegated,
            key,
            node,
            overlay,
            kept: BTreeMap::new(),
        }
    }

    /// Mints under another delegated signer. What the old one minted stays good until its own end.
    pub(crate) fn renew(&mut self, delegated: Authority, key: Key) {
        (self.delegated, self.key) = (delegated, key);
    }

    /// A signer for `aor` whose certificate still lives for `needed`.
    ///
    /// # Errors
    /// When the AOR cannot stand in a certificate, or the delegated signer has run out.
    pub(crate) fn signer(&mut self, now_ms: u64, aor: &str, needed: Duration) -> Result<Arc<Signer>, IssueError> {
        if let Some((until_ms, signer)) = self.kept.get(aor)
            && usage::sip::is_reusable(now_ms, *until_ms, needed)
        {
            return Ok(Arc::clone(signer));
        }
        let subject = Subject {
            key: &self.key.public(),
            node_id: self.node,
            overlay: &self.overlay,
            user: Some(aor),
        };
        let certificate = self
            .delegated
            .issue(Profile::Minted, &subject, now_ms, Serial::generate()?)?;
        tracing::info!(serial_of = %self.node.short(), aor_hash = %wire::ResourceId::of(aor.as_bytes()), "certificate minted");
        let issuers = [Bytes::clone(self.delegated.certificate().der())];
        let signer = Arc::new(Signer::new(self.key.clone(), &certificate, &issuers)?);
        if self.kept.len() >= KEPT {
            self.kept.pop_first();
        }
        self.kept
            .insert(aor.to_owned(), (certificate.not_after_ms(), Arc::clone(&signer)));
        Ok(signer)
    }
}
