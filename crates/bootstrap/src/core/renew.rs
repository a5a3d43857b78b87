//! Renewal: a node that shows its certificate gets the next one, for the same Node-ID and the same key.

use ::bytes::Bytes;
use identity::issue::{Profile, renewal_due_ms};
use identity::{Certificate, PublicKey};
use kv::Batch;
use rpc::proto::bootstrap::v1 as proto;
use wire::NodeId;

use super::enroll::{bytes, certificate_of, public_key};
use super::nodes::is_for;
use super::{Core, Outcome};
use crate::error::Refused;
use crate::state::{Credential, NodeClass, NodeRecord, Octets};

impl Core {
    /// Renews the certificate that a node shows, and an edge's delegated signer if it asks for that.
    pub(crate) fn renew(
        &mut self,
        now_ms: u64,
        shown: &Certificate,
        request: &proto::RenewRequest,
    ) -> Outcome<proto::RenewResponse> {
        let node_id = shown.node_ids().first().copied().unwrap_or(NodeId::ZERO);
        let key = PublicKey::from_spki(shown.public_key())?;
        let known = self.nodes.get(node_id).filter(|known| is_for(&known.certificate, &key));
        let known = known.ok_or(Refused::Stranger(node_id))?.clone();
        if let Credential::Password(_) = known.by {
            // The password is asked for again, which may have been changed.
            return Err(Refused::Stranger(node_id));
        }
        let mut renewed = known.clone();
        if request.anew || is_due(&known.certificate, &key, now_ms) {
            renewed.certificate = self.issue_again(now_ms, (node_id, &key), &known)?;
        }
        let signer = match (&known.signer, request.signer.is_empty()) {
            (_, true) => Bytes::new(),
            (None, false) => return Err(Refused::NotCovered("a delegated signer")),
            (Some(signer), false) => {
                let key = public_key("edge's signer", &request.signer)?;
                let mut signer = signer.clone();
                if request.anew || is_due(&signer, &key, now_ms) {
                    let issued = self
                        .service
                        .issue(Profile::DelegatedSigner, (&key, node_id), None, now_ms)?;
                    signer = Octets::of(issued.der());
                }
                renewed.signer = Some(signer.clone());
                bytes(&signer)
            }
        };
        let answer = proto::RenewResponse {
            node: Some(proto::Enrolled {
                node_id: Bytes::copy_from_slice(node_id.as_bytes()),
                certificate: bytes(&renewed.certificate),
            }),
            signer,
            document: self.service.document.xml().clone(),
        };
        let mut batch = Batch::new();
        if renewed != known {
            self.nodes.put(node_id, &key, renewed, &mut batch);
        }
        Ok((answer, batch))
    }

    /// The next certificate of a node that was enrolled here; a client's only as long as its user is there.
    pub(super) fn issue_again(
        &self,
        now_ms: u64,
        (node_id, key): (NodeId, &PublicKey),
        known: &NodeRecord,
    ) -> Result<Octets, Refused> {
        let present =
            Certificate::from_der(&known.certificate.0).map_err(|error| Refused::Internal(error.to_string()))?;
        let user = present.user().filter(|_| known.class == NodeClass::Client);
        if let Some(aor) = user {
            self.users.check_client(aor)?;
        }
        let class = certificate_of(known.class);
        let issued = self.service.issue(class, (key, node_id), user, now_ms)?;
        Ok(Octets::of(issued.der()))
    }
}

/// Whether a certificate is another key's, or a third of its life is over.
pub(super) fn is_due(certificate: &Octets, key: &PublicKey, now_ms: u64) -> bool {
    Certificate::from_der(&certificate.0).map_or(true, |present| {
        present.public_key() != key.spki() || now_ms >= renewal_due_ms(&present)
    })
}
