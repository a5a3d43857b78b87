//! Enrollment: from a credential and certificate requests to certificates.
//!
//! Of a request only the public key counts. Node-IDs are drawn here at random (RFC 6940 §11.3), so nobody chooses a place on the
//! ring, and who comes again with the same key gets the same Node-ID. What a credential may enroll is counted by the nodes that
//! it has enrolled, and they are in the batch that is written before a certificate leaves.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::Instant;

use bytes::Bytes;
use identity::issue::{Profile, random_node_id};
use identity::{Certificate, PublicKey};
use kv::Batch;
use rpc::proto::bootstrap::v1 as proto;
use rpc::proto::bootstrap::v1::enroll_request::Credential as Shown;
use runtime::site;
use wire::NodeId;

use super::nodes::{MAX_NODES, is_for};
use super::renew::is_due;
use super::tokens::Token;
use super::{Core, Outcome};
use crate::error::Refused;
use crate::state::{Credential, NodeClass, NodeRecord, Octets};

/// When a request came, by the clock of durations and by the calendar, and where from; an operator's comes from nowhere.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) now: Instant,
    pub(crate) now_ms: u64,
    pub(crate) from: Option<IpAddr>,
}

/// The public keys of one request, in the order in which it is answered.
struct Keys {
    nodes: Vec<NodeKeys>,
    /// Whether the peer among them may form the ring.
    may_found: bool,
}

/// Those of one node.
struct NodeKeys {
    class: NodeClass,
    key: PublicKey,
    /// An edge's second one.
    signer: Option<PublicKey>,
    /// The Node-ID that it had under a certificate that has ended.
    kept: Option<NodeId>,
}

impl Core {
    pub(crate) fn enroll(
        &mut self,
        arrival: Arrival,
        request: &proto::EnrollRequest,
    ) -> Outcome<proto::EnrollResponse> {
        match &request.credential {
            Some(Shown::Token(secret)) => self.enroll_by_token(arrival, secret, request),
            Some(Shown::Password(password)) => self.enroll_by_password(arrival, password, request),
            None => Err(Refused::Invalid("a token or a password is needed".to_owned())),
        }
    }

    /// Enrolls nodes that a token covers: a peer and its edges, together or each by itself, or a user's client.
    fn enroll_by_token(
        &mut self,
        arrival: Arrival,
        secret: &str,
        request: &proto::EnrollRequest,
    ) -> Outcome<proto::EnrollResponse> {
        let Arrival { now, now_ms, from } = arrival;
        // Looked up before anything is counted: who has a token is not kept out by those who share an address and guess.
        let Some(token) = self.tokens.valid(&self.service, now_ms, secret) else {
            self.wrong_by_address(now, from)?;
            return Err(Refused::Credential);
        };
        let mut keys = Keys::read(request)?;
        if !request.ended.is_empty() {
            self.keep_place(now_ms, &request.ended, &mut keys)?;
        }
        for (class, what) in [
            (NodeClass::Peer, "a peer"),
            (NodeClass::Edge, "so many edges"),
            (NodeClass::Client, "a user's client"),
        ] {
            if keys.count(class) > usize::try_from(token.record.places(class)).unwrap_or(0) {
                return Err(Refused::NotCovered(what));
            }
        }
        if let Some(aor) = &token.record.user {
            self.users.check_client(aor)?;
        }
        self.take_places(arrival, &token, &keys)
    }

    /// Notes which of the nodes had a certificate that has ended, and with it a Node-ID.
    fn keep_place(&self, now_ms: u64, ended: &[u8], keys: &mut Keys) -> Result<(), Refused> {
        let ended = Certificate::from_der(ended).map_err(|error| Refused::Invalid(error.to_string()))?;
        let shown = self.shown(now_ms.min(ended.not_after_ms()), &ended)?;
        let of_key = keys.nodes.iter_mut().find(|node| node.key.spki() == shown.key.spki());
        match of_key {
            Some(node) if node.class == shown.record.class => node.kept = Some(shown.node_id),
            _ => {
                return Err(Refused::Invalid(
                    "the ended certificate is for none of the requests".to_owned(),
                ));
            }
        }
        if self.is_left_out(shown.node_id) {
            return Err(Refused::LeftOut(shown.node_id));
        }
        Ok(())
    }

    /// Gives each node of a request its place, or the one that it has.
    fn take_places(&mut self, arrival: Arrival, token: &Token, keys: &Keys) -> Outcome<proto::EnrollResponse> {
        let Arrival { now, now_ms, .. } = arrival;
        let by = Credential::Token(token.id.clone());
        let (mut nodes, mut new) = (Vec::new(), Vec::new());
        for node in &keys.nodes {
            match self.nodes.of_key(&by, &node.key) {
                // The answer was lost: the same keys get it again.
                Some((node_id, known)) if known.class == node.class && node.has_signer_of(known) => {
                    nodes.push((node_id, known.clone()));
                }
                Some(_) => return Err(Refused::Credential),
                None => new.push(node),
            }
        }
        for class in [NodeClass::Peer, NodeClass::Edge, NodeClass::Client] {
            let more = new.iter().filter(|node| node.class == class).count();
            if more > 0 {
                self.tokens.has_places(now, token, (class, more), &self.nodes)?;
            }
        }
        for node in &new {
            self.tokens.take(now, token, node.class);
        }
        let user = token.record.user.as_deref();
        let issue = |node: &&NodeKeys| self.new_node(arrival, &by, node, user);
        let issued: Result<Vec<_>, Refused> = new.iter().map(issue).collect();
        let issued = issued?;
        let mut batch = self.room_for(now_ms, new.len())?;
        for (node, (node_id, record)) in new.iter().zip(issued) {
            if record.class == NodeClass::Peer && keys.may_found {
                self.service.found(node_id, &mut batch);
            }
            self.nodes.put(node_id, &node.key, record.clone(), &mut batch);
            nodes.push((node_id, record));
        }
        Ok((self.answer(now_ms, &keys.in_order(nodes)), batch))
    }

    /// A user's own client, with the user's password, if the operator allows that at all.
    fn enroll_by_password(
        &mut self,
        arrival: Arrival,
        password: &proto::Password,
        request: &proto::EnrollRequest,
    ) -> Outcome<proto::EnrollResponse> {
        let Arrival { now, now_ms, from } = arrival;
        if !self.has_password_enrollment {
            return Err(Refused::NoPasswords);
        }
        if !request.peer.is_empty() || !request.edges.is_empty() {
            return Err(Refused::NotCovered("peers and edges"));
        }
        let aor = self.check_password(now, from, password)?;
        self.users.check_client(&aor)?;
        let keys = Keys::read(request)?;
        let [client] = keys.nodes.as_slice() else {
            return Err(Refused::Invalid("a password enrolls one client".to_owned()));
        };
        let by = Credential::Password(aor.clone());
        let clients = self.newest_first(&by);
        let known = self.nodes.of_key(&by, &client.key);
        // There may be more of them from before there was a bound.
        let known = known.filter(|(node_id, _)| clients.iter().take(LIVING).any(|kept| kept == node_id));
        let known = known.map(|(node_id, record)| (node_id, record.clone()));
        let (node, mut batch) = match known {
            Some(known) if !is_due(&known.1.certificate, &client.key, now_ms) => {
                return Ok((self.answer(now_ms, &[known]), Batch::new()));
            }
            Some((node_id, record)) => {
                let certificate = self.issue_again(now_ms, (node_id, &client.key), &aor)?;
                ((node_id, NodeRecord { certificate, ..record }), Batch::new())
            }
            None if self.accounts.count(now, &aor) >= A_DAY => return Err(Refused::TooFast("4 in a day")),
            None => {
                self.accounts.note(now, aor.clone());
                let node = self.new_node(arrival, &by, client, Some(&aor))?;
                let mut batch = self.room_for(now_ms, 1)?;
                let replaced = clients.into_iter().skip(LIVING - 1);
                replaced.for_each(|node_id| self.nodes.retire(node_id, &mut batch));
                (node, batch)
            }
        };
        self.nodes.put(node.0, &client.key, node.1.clone(), &mut batch);
        Ok((self.answer(now_ms, &[node]), batch))
    }

    /// Verifies a user's password, and counts wrong ones by user and by address.
    fn check_password(
        &mut self,
        now: Instant,
        from: Option<IpAddr>,
        password: &proto::Password,
    ) -> Result<String, Refused> {
        let name: String = password.user.chars().take(MAX_TRIED_NAME).collect();
        self.wrong_names.check(now, &name)?;
        if let Some(from) = from {
            self.wrong_addresses.check(now, &site(from))?;
        }
        let aor = self
            .users
            .with_password(&self.service, &password.user, &password.password);
        if aor.is_none() {
            self.wrong_names.failed(now, name);
            self.wrong_by_address(now, from)?;
        }
        aor.ok_or(Refused::Credential)
    }

    /// Counts a wrong credential from an address; refuses if there were too many before.
    fn wrong_by_address(&mut self, now: Instant, from: Option<IpAddr>) -> Result<(), Refused> {
        let Some(from) = from.map(site) else { return Ok(()) };
        self.wrong_addresses.check(now, &from)?;
        self.wrong_addresses.failed(now, from);
        Ok(())
    }

    /// The clients of an account.
    fn newest_first(&self, by: &Credential) -> Vec<NodeId> {
        let clients = self.nodes.of(by, None);
        let mut clients: Vec<_> = clients.map(|(node_id, client)| (client.at_ms, node_id)).collect();
        clients.sort_unstable_by(|one, other| other.cmp(one));
        clients.into_iter().map(|(_, node_id)| node_id).collect()
    }

    /// Makes room for so many more nodes; the batch says how.
    pub(super) fn room_for(&mut self, now_ms: u64, more: usize) -> Result<Batch, Refused> {
        let tokens = &self.tokens;
        let is_usable = |by: &Credential| tokens.enrolls(now_ms, by);
        let most = MAX_NODES.saturating_sub(more);
        self.nodes.shrink_to(most, now_ms, is_usable).ok_or(Refused::Full {
            what: "nodes",
            limit: MAX_NODES,
        })
    }

    fn new_node(
        &self,
        Arrival { now_ms, from, .. }: Arrival,
        by: &Credential,
        node: &NodeKeys,
        user: Option<&str>,
    ) -> Result<(NodeId, NodeRecord), Refused> {
        let node_id = match node.kept {
            Some(kept) => kept,
            None => random_node_id()?,
        };
        let issue = |class, key| {
            let certificate = self.service.issue(class, (key, node_id), user, now_ms)?;
            Ok::<_, Refused>(Octets::of(certificate.der()))
        };
        let signer = node.signer.as_ref().map(|key| issue(Profile::DelegatedSigner, key));
        let record = NodeRecord {
            by: by.clone(),
            class: node.class,
            certificate: issue(certificate_of(node.class), &node.key)?,
            signer: signer.transpose()?,
            from,
            at_ms: Some(now_ms),
            retired: false,
        };
        Ok((node_id, record))
    }

    fn answer(&self, now_ms: u64, nodes: &[(NodeId, NodeRecord)]) -> proto::EnrollResponse {
        let of = |class| nodes.iter().filter(move |(_, record)| record.class == class);
        let edges: Vec<_> = of(NodeClass::Edge).collect();
        let peer = of(NodeClass::Peer).next();
        proto::EnrollResponse {
            founder: peer.is_some_and(|(node_id, _)| self.service.is_founder(*node_id)),
            peer: peer.map(enrolled),
            edges: edges.iter().copied().map(enrolled_edge).collect(),
            client: of(NodeClass::Client).next().map(enrolled),
            document: self.service.document.xml().clone(),
            record_keys: self.keys_for(now_ms, &edges),
        }
    }
}

impl Keys {
    fn read(request: &proto::EnrollRequest) -> Result<Keys, Refused> {
        let single = |class, what, request: &Bytes| {
            let node = |key| NodeKeys {
                class,
                key,
                signer: None,
                kept: None,
            };
            (!request.is_empty()).then(|| public_key(what, request).map(node))
        };
        let edge = |edge: &proto::EdgeRequest| {
            Ok(NodeKeys {
                class: NodeClass::Edge,
                key: public_key("edge's link", &edge.link)?,
                signer: Some(public_key("edge's signer", &edge.signer)?),
                kept: None,
            })
        };
        let nodes: Result<Vec<_>, Refused> = single(NodeClass::Peer, "peer", &request.peer)
            .into_iter()
            .chain(request.edges.iter().map(edge))
            .chain(single(NodeClass::Client, "client", &request.client))
            .collect();
        let keys = Keys {
            nodes: nodes?,
            may_found: request.bootstrap_node,
        };
        let all = || {
            keys.nodes
                .iter()
                .flat_map(|node| std::iter::once(&node.key).chain(&node.signer))
        };
        let distinct: BTreeSet<&[u8]> = all().map(PublicKey::spki).collect();
        match all().count() {
            0 => Err(Refused::Invalid("nothing is to be enrolled".to_owned())),
            count if distinct.len() < count => Err(Refused::Invalid("each request needs a key of its own".to_owned())),
            _ => Ok(keys),
        }
    }

    fn count(&self, class: NodeClass) -> usize {
        self.nodes.iter().filter(|node| node.class == class).count()
    }

    /// Nodes as they were asked for.
    fn in_order(&self, mut nodes: Vec<(NodeId, NodeRecord)>) -> Vec<(NodeId, NodeRecord)> {
        nodes.sort_by_key(|(_, record)| {
            self.nodes
                .iter()
                .position(|node| is_for(&record.certificate, &node.key))
        });
        nodes
    }
}

impl NodeKeys {
    fn has_signer_of(&self, known: &NodeRecord) -> bool {
        match (&self.signer, &known.signer) {
            (None, None) => true,
            (Some(key), Some(certificate)) => is_for(certificate, key),
            _ => false,
        }
    }
}

/// The sort of certificate that a node has.
pub(super) fn certificate_of(class: NodeClass) -> Profile {
    match class {
        NodeClass::Peer | NodeClass::Client => Profile::Node,
        NodeClass::Edge => Profile::Edge,
    }
}

pub(super) fn public_key(what: &str, request: &[u8]) -> Result<PublicKey, Refused> {
    PublicKey::from_request(request).map_err(|error| Refused::Invalid(format!("request of the {what}: {error}")))
}

fn enrolled((node_id, record): &(NodeId, NodeRecord)) -> proto::Enrolled {
    proto::Enrolled {
        node_id: Bytes::copy_from_slice(node_id.as_bytes()),
        certificate: bytes(&record.certificate),
    }
}

fn enrolled_edge((node_id, record): &(NodeId, NodeRecord)) -> proto::EnrolledEdge {
    proto::EnrolledEdge {
        node_id: Bytes::copy_from_slice(node_id.as_bytes()),
        link: bytes(&record.certificate),
        signer: record.signer.as_ref().map(bytes).unwrap_or_default(),
    }
}

pub(super) fn bytes(octets: &Octets) -> Bytes {
    Bytes::copy_from_slice(&octets.0)
}

/// Names are cut to this in the table of failures.
const MAX_TRIED_NAME: usize = 320;
/// Clients that a password keeps: a phone and a computer.
const LIVING: usize = 2;
/// New ones in a day. A certificate lives for 90: so many times as many are valid at most, whoever has the password.
const A_DAY: usize = 4;
