//! Enrollment: from a credential and certificate requests to certificates.
//!
//! Of a request only the public key counts. Node-IDs are drawn here at random (RFC 6940 §11.3), so
//! nobody chooses a place on the ring.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use bytes::Bytes;
use identity::issue::{Profile, random_node_id};
use identity::{Certificate, PublicKey};
use kv::{Batch, Store};
use rpc::proto::bootstrap::v1 as proto;
use rpc::proto::bootstrap::v1::enroll_request::Credential;
use usage::user::not_a_node;
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
    edges: Vec<EdgeKeys>,
}

/// Those of one edge.
struct EdgeKeys {
    link: PublicKey,
    signer: PublicKey,
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
    /// `from` is where the request came from; an operator's comes from nowhere.
    pub(crate) fn enroll(
        &mut self,
        now_ms: u64,
        from: Option<IpAddr>,
        request: &proto::EnrollRequest,
    ) -> Outcome<proto::EnrollResponse> {
        match &request.credential {
            Some(Credential::Token(secret)) => self.enroll_nodes(now_ms, (from, secret), request),
            Some(Credential::Password(password)) => self.enroll_client(now_ms, password, request),
            None => Err(Refused::Invalid("a token or a password is needed".to_owned())),
        }
    }

    /// A peer and its edges, with a token: together, or each by itself.
    fn enroll_nodes(
        &mut self,
        now_ms: u64,
        (from, secret): (Option<IpAddr>, &str),
        request: &proto::EnrollRequest,
    ) -> Outcome<proto::EnrollResponse> {
        // Secrets of tokens cannot be guessed; who tries all the same keeps nobody else out.
        let tries = from.map_or_else(String::new, |from| from.to_string());
        self.limiter.check(now_ms, &tries)?;
        let Some((id, token)) = self.tokens.valid(&self.service, now_ms, secret) else {
            self.limiter.failed(now_ms, &tries);
            return Err(Refused::Credential);
        };
        if !request.client.is_empty() {
            return Err(Refused::NotCovered("a user's client"));
        }
        let keys = Keys::read(request)?;
        if keys.peer.is_some() && !token.peer {
            return Err(Refused::NotCovered("a peer"));
        }
        let places = usize::try_from(token.edges).unwrap_or(0);
        if keys.edges.len() > places {
            return Err(Refused::NotCovered("so many edges"));
        }
        let mut used = token.used.clone().unwrap_or_default();
        let peer = keys.peer.as_ref().map(|key| self.place_of_peer(now_ms, key, &mut used));
        let peer = peer.transpose()?;
        let mut edges = Vec::new();
        for keys in &keys.edges {
            edges.push(self.place_of_edge(now_ms, keys, (&mut used, places))?);
        }
        let answer = self.answer(now_ms, peer.as_ref(), &edges, None);
        let id = id.to_owned();
        Ok((answer, self.tokens.used(&id, used)))
    }

    /// The peer's place in a token: its own if this key has it, else it is taken.
    fn place_of_peer(&self, now_ms: u64, key: &PublicKey, used: &mut UsedRecord) -> Result<NodeRecord, Refused> {
        match &used.peer {
            // The answer was lost: the same key gets it again.
            Some(known) if is_for(&known.certificate, key) => Ok(known.clone()),
            Some(_) => Err(Refused::Credential),
            None => {
                let node_id = random_node_id()?;
                let certificate = self.service.issue(Profile::Node, (key, node_id), None, now_ms)?;
                Ok(used.peer.insert(node_record(node_id, &certificate)).clone())
            }
        }
    }

    /// An edge's place in a token, known by its link key.
    fn place_of_edge(
        &self,
        now_ms: u64,
        keys: &EdgeKeys,
        (used, places): (&mut UsedRecord, usize),
    ) -> Result<EdgeRecord, Refused> {
        match used.edges.iter().find(|known| is_for(&known.link, &keys.link)) {
            Some(known) if is_for(&known.signer, &keys.signer) => Ok(known.clone()),
            Some(_) => Err(Refused::Credential),
            None if used.edges.len() >= places => Err(Refused::Credential),
            None => {
                let node_id = random_node_id()?;
                let issue = |profile, key| self.service.issue(profile, (key, node_id), None, now_ms);
                let edge = EdgeRecord {
                    node_id: Octets::of(node_id.as_bytes()),
                    link: Octets::of(issue(Profile::Edge, &keys.link)?.der()),
                    signer: Octets::of(issue(Profile::DelegatedSigner, &keys.signer)?.der()),
                };
                used.edges.push(edge.clone());
                Ok(edge)
            }
        }
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
        // A user from before this rule may be called so.
        not_a_node(&aor)?;
        let key = public_key("client", &request.client)?;
        let place = [aor.as_bytes(), &[0], &key.key_id()].concat();
        let known = self.clients.by_key.get(&place);
        if let Some(known) = known.filter(|known| is_fresh(known, now_ms)) {
            return Ok((self.answer(now_ms, None, &[], Some(known)), Batch::new()));
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
        let certificate = self.service.issue(Profile::Node, (&key, node_id), Some(&aor), now_ms)?;
        let record = node_record(node_id, &certificate);
        let mut batch = Batch::new();
        state::put(&mut batch, CLIENTS, &place, &record);
        let answer = self.answer(now_ms, None, &[], Some(&record));
        self.clients.by_key.insert(place, record);
        Ok((answer, batch))
    }

    fn answer(
        &self,
        now_ms: u64,
        peer: Option<&NodeRecord>,
        edges: &[EdgeRecord],
        client: Option<&NodeRecord>,
    ) -> proto::EnrollResponse {
        proto::EnrollResponse {
            peer: peer.map(enrolled),
            edges: edges.iter().map(enrolled_edge).collect(),
            client: client.map(enrolled),
            document: self.service.document.xml().clone(),
            record_keys: self.keys_for(now_ms, edges),
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
                Ok(EdgeKeys {
                    link: public_key("edge's link", &edge.link)?,
                    signer: public_key("edge's signer", &edge.signer)?,
                })
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
            .chain(self.edges.iter().flat_map(|edge| [&edge.link, &edge.signer]))
    }
}

pub(super) fn public_key(what: &str, request: &[u8]) -> Result<PublicKey, Refused> {
    PublicKey::from_request(request).map_err(|error| Refused::Invalid(format!("request of the {what}: {error}")))
}

/// Whether a stored certificate is this key's.
pub(super) fn is_for(certificate: &Octets, key: &PublicKey) -> bool {
    Certificate::from_der(&certificate.0).is_ok_and(|certificate| certificate.public_key() == key.spki())
}

pub(super) fn node_record(node_id: NodeId, certificate: &Certificate) -> NodeRecord {
    NodeRecord {
        node_id: Octets::of(node_id.as_bytes()),
        certificate: Octets::of(certificate.der()),
    }
}

pub(super) fn enrolled(record: &NodeRecord) -> proto::Enrolled {
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

pub(super) fn bytes(octets: &Octets) -> Bytes {
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

/// Names are cut to this in the limiter's table.
const MAX_TRIED_NAME: usize = 320;
/// Renewal is due after 30 of 90 days.
const FRESH_MS: u64 = 60 * 24 * 3600 * 1000;
const MAX_CLIENTS: usize = 100_000;
