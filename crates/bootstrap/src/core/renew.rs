//! Renewal: a node that shows its certificate gets the next one, for the same Node-ID and the same key.
//!
//! The certificate is the whole credential: this service may never have heard of the node, because another one enrolled it or
//! because its own disk was lost. A password is the exception, for it may have been changed: its clients enroll again.

use ::bytes::Bytes;
use identity::issue::{Profile, renewal_due_ms};
use identity::{Certificate, Class, PublicKey, Use};
use kv::Batch;
use rpc::proto::bootstrap::v1 as proto;
use wire::NodeId;

use super::enroll::{bytes, certificate_of, public_key};
use super::nodes::is_for;
use super::{Core, Outcome};
use crate::error::Refused;
use crate::state::{Credential, NodeClass, NodeRecord, Octets};

/// A node that has shown a certificate of this overlay.
pub(super) struct Shown {
    pub(super) node_id: NodeId,
    pub(super) key: PublicKey,
    /// The node as it is known here, or from its certificate.
    pub(super) record: NodeRecord,
    /// The user whose client it is.
    user: Option<String>,
}

impl Core {
    /// Renews the certificate that a node shows, and an edge's delegated signer if it asks for that.
    pub(crate) fn renew(
        &mut self,
        now_ms: u64,
        shown: &Certificate,
        request: &proto::RenewRequest,
    ) -> Outcome<proto::RenewResponse> {
        let shown = self.shown(now_ms, shown)?;
        if let Credential::Password(_) = shown.record.by {
            // The password is asked for again, which may have been changed.
            return Err(Refused::Stranger(shown.node_id));
        }
        if let Some(aor) = shown.user.as_deref().filter(|aor| self.users.version(aor) > 0) {
            self.users.check_client(aor)?;
        }
        let (node_id, key) = (shown.node_id, &shown.key);
        let mut record = shown.record.clone();
        if request.anew || is_due(&record.certificate, key, now_ms) {
            record.certificate = self.next_certificate(now_ms, &shown)?;
        }
        if !request.signer.is_empty() {
            if record.class != NodeClass::Edge {
                return Err(Refused::NotCovered("a delegated signer"));
            }
            let key = public_key("edge's signer", &request.signer)?;
            let is_in_order = |signer: &Octets| !request.anew && !is_due(signer, &key, now_ms);
            if !record.signer.as_ref().is_some_and(is_in_order) {
                let subject = (&key, node_id);
                let issued = self.service.issue(Profile::DelegatedSigner, subject, None, now_ms)?;
                record.signer = Some(Octets::of(issued.der()));
            }
        }
        let signer = record.signer.as_ref().filter(|_| !request.signer.is_empty());
        let answer = proto::RenewResponse {
            node: Some(proto::Enrolled {
                node_id: Bytes::copy_from_slice(node_id.as_bytes()),
                certificate: bytes(&record.certificate),
            }),
            signer: signer.map(bytes).unwrap_or_default(),
            document: self.service.document.xml().clone(),
        };
        let batch = self.remember(now_ms, Shown { record, ..shown });
        Ok((answer, batch))
    }

    /// Judges the certificate that a node shows. One that is known here has the key that it was enrolled with, and was not
    /// replaced.
    pub(super) fn shown(&self, now_ms: u64, certificate: &Certificate) -> Result<Shown, Refused> {
        let node_id = certificate.node_ids().first().copied().unwrap_or(NodeId::ZERO);
        let stranger = || Refused::Stranger(node_id);
        let identity = self
            .service
            .verifier()
            .verify(certificate.der(), &[], now_ms, Use::Node);
        let identity = identity.map_err(|_| stranger())?;
        let class = match identity.class {
            Class::Peer => NodeClass::Peer,
            Class::Edge => NodeClass::Edge,
            Class::Client => NodeClass::Client,
            Class::Signer => return Err(stranger()),
        };
        let key = PublicKey::from_spki(certificate.public_key())?;
        let mut record = match self.nodes.get(node_id) {
            Some(known) if known.retired || known.class != class || !is_for(&known.certificate, &key) => {
                return Err(stranger());
            }
            Some(known) => known.clone(),
            None => NodeRecord {
                by: Credential::Certificate,
                class,
                certificate: Octets::of(certificate.der()),
                signer: None,
                from: None,
                at_ms: None,
                retired: false,
            },
        };
        // Another service may have renewed it meanwhile.
        if Certificate::from_der(&record.certificate.0)
            .is_ok_and(|known| known.not_after_ms() < certificate.not_after_ms())
        {
            record.certificate = Octets::of(certificate.der());
        }
        Ok(Shown {
            node_id,
            key,
            record,
            user: identity.user.clone().filter(|_| class == NodeClass::Client),
        })
    }

    /// Writes down what is new of a node. One that was unknown is served also if there is no room for it: it may come again.
    pub(super) fn remember(&mut self, now_ms: u64, shown: Shown) -> Batch {
        let mut batch = Batch::new();
        match self.nodes.get(shown.node_id) {
            Some(known) if *known == shown.record => return batch,
            Some(_) => {}
            None => match self.room_for(now_ms, 1) {
                Ok(room) => batch = room,
                Err(_) => return batch,
            },
        }
        self.nodes.put(shown.node_id, &shown.key, shown.record, &mut batch);
        batch
    }

    fn next_certificate(&self, now_ms: u64, shown: &Shown) -> Result<Octets, Refused> {
        let class = certificate_of(shown.record.class);
        let subject = (&shown.key, shown.node_id);
        let issued = self.service.issue(class, subject, shown.user.as_deref(), now_ms)?;
        Ok(Octets::of(issued.der()))
    }

    /// The next certificate of a client that its user's password enrolled, as long as the user is there.
    pub(super) fn issue_again(
        &self,
        now_ms: u64,
        (node_id, key): (NodeId, &PublicKey),
        aor: &str,
    ) -> Result<Octets, Refused> {
        self.users.check_client(aor)?;
        let issued = self.service.issue(Profile::Node, (key, node_id), Some(aor), now_ms)?;
        Ok(Octets::of(issued.der()))
    }
}

/// Whether a certificate is another key's, or a third of its life is over.
pub(super) fn is_due(certificate: &Octets, key: &PublicKey, now_ms: u64) -> bool {
    Certificate::from_der(&certificate.0).map_or(true, |present| {
        present.public_key() != key.spki() || now_ms >= renewal_due_ms(&present)
    })
}
