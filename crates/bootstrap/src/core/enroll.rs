//! Enrollment: from a credential and certificate requests to certificates.
//!
//! Of a request only the public key counts. Node-IDs are drawn here at random (RFC 6940 §11.3), so
//! nobody chooses a place on the ring.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use identity::issue::{Class, random_node_id};
use identity::{Certificate, PublicKey};
use kv::{Batch, Store};
use rpc::proto::bootstrap::v1 as proto;
use rpc::proto::bootstrap::v1::enroll_request::Credential;
use wire::NodeId;

use super::{Core, Outcome, users};
use crate::error::{Refused, StartError};
use crate::state::{self, CLIENTS, EdgeRecord, NodeRecord, Octets, UsedRecord};

/// Users' own clients: `AOR NUL key id` → what they got.
pub(super) struct Clients {
    by_key: BTreeMap<Vec<u8>, NodeRecord>,
}

/// The public keys of one request.
struct Keys {
    peer: Option<PublicKey>,
    /// Link and delegated signer of each edge.
    edges: Vec<(PublicKey, PublicKey)>,
}

impl Clients {
    pub(super) fn load(store: &Store) -> Result<Clients, StartError> {
        let records = state::all::<NodeRecord>(store, CLIENTS)?;
        Ok(Clients {
            by_key: records
                .into_iter()
                .map(|(key, record)| (key.to_vec(), record))
                .collect(),
        })
    }
}

impl Core {
    pub(crate) fn enroll(&mut self, now_ms: u64, request: &proto::EnrollRequest) -> Outcome<proto::EnrollResponse> {
        match &request.credential {
            Some(Credential::Token(secret)) => self.enroll_nodes(now_ms, secret, request),
            Some(Credential::Password(password)) => self.enroll_client(now_ms, password, request),
            None => Err(Refused::Invalid("a token or a password is needed".to_owned())),
        }
    }

    /// A peer and its edges, with a token.
    fn enroll_nodes(
        &mut self,
        now_ms: u64,
        secret: &str,
        request: &proto::EnrollRequest,
    ) -> Outcome<proto::EnrollResponse> {
        self.limiter.check(now_ms, TOKEN_TRIES)?;
        let Some((id, token)) = self.tokens.valid(&self.service, now_ms, secret) else {
            self.limiter.failed(now_ms, TOKEN_TRIES);
            return Err(Refused::Credential);
        };
        if !request.client.is_empty() {
            return Err(Refused::NotCovered("a user's client"));
        }
        let keys = Keys::read(request)?;
        match &token.used {
            // The answer was lost: the same keys get it again.
            Some(used) if used.keys.0 == keys.hash() => {
                let answer = self.answer(used.peer.as_ref(), &used.edges, None);
                return Ok((answer, Batch::new()));
            }
            Some(_) => return Err(Refused::Credential),
            None => {}
        }
        if keys.peer.is_some() && !token.peer {
            return Err(Refused::NotCovered("a peer"));
        }
        if keys.edges.len() > usize::try_from(token.edges).unwrap_or(0) {
            return Err(Refused::NotCovered("so many edges"));
        }
        let used = self.issue(now_ms, &keys)?;
        let answer = self.answer(used.peer.as_ref(), &used.edges, None);
        let id = id.to_owned();
        Ok((answer, self.tokens.used(&id, used)))
    }

    /// A user's own client, with the user's password.
    fn enroll_client(
        &mut self,
        now_ms: u64,
        password: &proto::Password,
        request: &proto::EnrollRequest,
    ) -> Outcome<proto::EnrollResponse> {
        if !request.peer.is_empty() || !request.edges.is_empty() {
            return Err(Refused::NotCovered("peers and edges"));
        }
        let tries: String = password.user.chars().take(MAX_TRIED_NAME).collect();
        self.limiter.check(now_ms, &tries)?;
        if !self
            .users
            .has_password(&self.service, &password.user, &password.password)
        {
            self.limiter.failed(now_ms, &tries);
            return Err(Refused::Credential);
        }
        let (aor, _) = users::address(&self.service, &password.user)?;
        let key = public_key("client", &request.client)?;
        let place = [aor.as_bytes(), &[0], &key.key_id()].concat();
        let known = self.clients.by_key.get(&place);
        if let Some(known) = known.filter(|known| is_fresh(known, now_ms)) {
            return Ok((self.answer(None, &[], Some(known)), Batch::new()));
        }
        // RFC 6940 §11.3: who returns with the same key should get the same Node-ID.
        let node_id = match known {
            Some(known) => NodeId::try_from(known.node_id.0.as_slice()).map_err(|_| damaged_node_id())?,
            None if self.clients.by_key.len() >= MAX_CLIENTS => {
                return Err(Refused::Full {
                    what: "clients",
                    limit: MAX_CLIENTS,
                });
            }
            None => random_node_id()?,
        };
        let certificate = self.service.issue(Class::Node, (&key, node_id), Some(&aor), now_ms)?;
        let record = node_record(node_id, &certificate);
        let mut batch = Batch::new();
        state::put(&mut batch, CLIENTS, &place, &record);
        let answer = self.answer(None, &[], Some(&record));
        self.clients.by_key.insert(place, record);
        Ok((answer, batch))
    }

    fn issue(&self, now_ms: u64, keys: &Keys) -> Result<UsedRecord, Refused> {
        let issue = |class, key, node_id| self.service.issue(class, (key, node_id), None, now_ms);
        let mut used = UsedRecord {
            keys: Octets(keys.hash()),
            peer: None,
            edges: Vec::new(),
        };
        if let Some(key) = &keys.peer {
            let node_id = random_node_id()?;
            used.peer = Some(node_record(node_id, &issue(Class::Node, key, node_id)?));
        }
        for (link, signer) in &keys.edges {
            let node_id = random_node_id()?;
            used.edges.push(EdgeRecord {
                node_id: Octets::of(node_id.as_bytes()),
                link: Octets::of(issue(Class::Edge, link, node_id)?.der()),
                signer: Octets::of(issue(Class::DelegatedSigner, signer, node_id)?.der()),
            });
        }
        Ok(used)
    }

    fn answer(
        &self,
        peer: Option<&NodeRecord>,
        edges: &[EdgeRecord],
        client: Option<&NodeRecord>,
    ) -> proto::EnrollResponse {
        let record_keys = self.service.record_keys().iter().map(|key| proto::RecordKey {
            version: key.version(),
            key: key.octets().to_vec().into(),
        });
        proto::EnrollResponse {
            peer: peer.map(enrolled),
            edges: edges.iter().map(enrolled_edge).collect(),
            client: client.map(enrolled),
            document: self.service.document.xml().clone(),
            // Only edges open records.
            record_keys: if edges.is_empty() {
                Vec::new()
            } else {
                record_keys.collect()
            },
        }
    }
}

impl Keys {
    fn read(request: &proto::EnrollRequest) -> Result<Keys, Refused> {
        let peer = (!request.peer.is_empty())
            .then(|| public_key("peer", &request.peer))
            .transpose()?;
        let edges: Result<Vec<_>, Refused> = request
            .edges
            .iter()
            .map(|edge| {
                Ok((
                    public_key("edge's link", &edge.link)?,
                    public_key("edge's signer", &edge.signer)?,
                ))
            })
            .collect();
        let keys = Keys { peer, edges: edges? };
        let distinct: BTreeSet<&[u8]> = keys.all().map(PublicKey::spki).collect();
        match keys.all().count() {
            0 => Err(Refused::Invalid("nothing is to be enrolled".to_owned())),
            count if distinct.len() < count => Err(Refused::Invalid("each request needs a key of its own".to_owned())),
            _ => Ok(keys),
        }
    }

    fn all(&self) -> impl Iterator<Item = &PublicKey> {
        self.peer
            .iter()
            .chain(self.edges.iter().flat_map(|(link, signer)| [link, signer]))
    }

    /// Stands for these keys in these parts.
    fn hash(&self) -> Vec<u8> {
        let mut context = aws_lc_rs::digest::Context::new(&aws_lc_rs::digest::SHA256);
        context.update(&[u8::from(self.peer.is_some())]);
        for key in self.all() {
            let length = u32::try_from(key.spki().len()).unwrap_or(u32::MAX);
            context.update(&length.to_be_bytes());
            context.update(key.spki());
        }
        context.finish().as_ref().to_vec()
    }
}

fn public_key(what: &str, request: &[u8]) -> Result<PublicKey, Refused> {
    PublicKey::from_request(request).map_err(|error| Refused::Invalid(format!("request of the {what}: {error}")))
}

fn node_record(node_id: NodeId, certificate: &Certificate) -> NodeRecord {
    NodeRecord {
        node_id: Octets::of(node_id.as_bytes()),
        certificate: Octets::of(certificate.der()),
    }
}

fn enrolled(record: &NodeRecord) -> proto::Enrolled {
    proto::Enrolled {
        node_id: bytes(&record.node_id),
        certificate: bytes(&record.certificate),
    }
}

fn enrolled_edge(record: &EdgeRecord) -> proto::EnrolledEdge {
    proto::EnrolledEdge {
        node_id: bytes(&record.node_id),
        link: bytes(&record.link),
        signer: bytes(&record.signer),
    }
}

fn bytes(octets: &Octets) -> Bytes {
    Bytes::copy_from_slice(&octets.0)
}

/// A certificate that is given again has most of its life before it.
fn is_fresh(record: &NodeRecord, now_ms: u64) -> bool {
    let certificate = Certificate::from_der(&record.certificate.0);
    certificate.is_ok_and(|certificate| certificate.not_after_ms() >= now_ms.saturating_add(FRESH_MS))
}

fn damaged_node_id() -> Refused {
    Refused::Internal("the stored Node-ID is damaged".to_owned())
}

/// What the limiter calls tries of tokens; no AOR is spelt so.
const TOKEN_TRIES: &str = "(token)";
/// Names are cut to this in the limiter's table.
const MAX_TRIED_NAME: usize = 320;
/// Renewal is due after 30 of 90 days.
const FRESH_MS: u64 = 60 * 24 * 3600 * 1000;
const MAX_CLIENTS: usize = 100_000;
