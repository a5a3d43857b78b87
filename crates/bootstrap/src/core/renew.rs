//! Renewal: a node that shows its certificate gets the next one, for the same Node-ID and the same key.

use ::bytes::Bytes;
use identity::issue::{Profile, renewal_due_ms};
use identity::{Certificate, PublicKey};
use rpc::proto::bootstrap::v1 as proto;
use wire::NodeId;

use super::enroll::{bytes, is_for, public_key};
use super::{Core, Outcome};
use crate::error::Refused;
use crate::state::{Octets, UsedRecord};

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
        let Some((id, used)) = self.tokens.of_node(node_id) else {
            return Err(Refused::Stranger(node_id));
        };
        let (id, mut used) = (id.to_owned(), used.clone());
        let Some(place) = place_of(&mut used, node_id) else {
            return Err(Refused::Stranger(node_id));
        };
        if !is_for(place.certificate, &key) {
            return Err(Refused::Stranger(node_id));
        }
        let issue = Issue {
            now_ms,
            is_insisted_on: request.anew,
        };
        self.renew_place(issue, place.profile, (&key, node_id), place.certificate)?;
        let certificate = bytes(place.certificate);
        let signer = match (place.signer, request.signer.is_empty()) {
            (_, true) => Bytes::new(),
            (None, false) => return Err(Refused::NotCovered("a delegated signer")),
            (Some(signer), false) => {
                let key = public_key("edge's signer", &request.signer)?;
                self.renew_place(issue, Profile::DelegatedSigner, (&key, node_id), signer)?;
                bytes(signer)
            }
        };
        let answer = proto::RenewResponse {
            node: Some(proto::Enrolled {
                node_id: Bytes::copy_from_slice(node_id.as_bytes()),
                certificate,
            }),
            signer,
            document: self.service.document.xml().clone(),
        };
        Ok((answer, self.tokens.used(&id, used)))
    }

    /// Issues a certificate anew, unless the present one is for this key and not yet due, and will do.
    fn renew_place(
        &self,
        issue: Issue,
        profile: Profile,
        (key, node_id): (&PublicKey, NodeId),
        place: &mut Octets,
    ) -> Result<(), Refused> {
        let is_current = Certificate::from_der(&place.0)
            .is_ok_and(|present| present.public_key() == key.spki() && issue.now_ms < renewal_due_ms(&present));
        if !is_current || issue.is_insisted_on {
            *place = Octets::of(self.service.issue(profile, (key, node_id), None, issue.now_ms)?.der());
        }
        Ok(())
    }
}

/// When a certificate is issued.
#[derive(Clone, Copy)]
struct Issue {
    now_ms: u64,
    /// Whether one that is not due yet will not do.
    is_insisted_on: bool,
}

/// Where a node's certificates stand.
struct Place<'a> {
    profile: Profile,
    certificate: &'a mut Octets,
    /// An edge's delegated signer.
    signer: Option<&'a mut Octets>,
}

fn place_of(used: &mut UsedRecord, node_id: NodeId) -> Option<Place<'_>> {
    let is_node = |octets: &Octets| octets.0 == node_id.as_bytes();
    match &mut used.peer {
        Some(peer) if is_node(&peer.node_id) => Some(Place {
            profile: Profile::Node,
            certificate: &mut peer.certificate,
            signer: None,
        }),
        _ => {
            let edge = used.edges.iter_mut().find(|edge| is_node(&edge.node_id))?;
            Some(Place {
                profile: Profile::Edge,
                certificate: &mut edge.link,
                signer: Some(&mut edge.signer),
            })
        }
    }
}
