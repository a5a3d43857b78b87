//! Enrollment tokens: what each covers, and how often it can be used.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use kv::{Batch, Store};
use rpc::proto::bootstrap::v1 as proto;
use wire::NodeId;

use super::configured::Configured;
use super::nodes::Nodes;
use super::pace::Pace;
use super::replica::joined;
use super::service::Service;
use super::{Core, Outcome, users};
use crate::error::{Refused, StartError};
use crate::genesis::random_octets;
use crate::state::{self, Credential, NodeClass, NodeRecord, Octets, TOKENS, TokenRecord};

/// A part of the list, and where it ended; `None` at the list's end.
pub(crate) type TokenPage = (Vec<proto::ListTokensResponse>, Option<Cursor>);

/// Where a page of the list ended: the token, and the last of its nodes if there are more.
pub(crate) type Cursor = (String, Option<NodeId>);

pub(super) struct Tokens {
    by_id: BTreeMap<String, TokenRecord>,
    /// Hash of the secret → id.
    by_secret: BTreeMap<Vec<u8>, String>,
    /// First enrollments with tokens of any number of uses.
    pace: Pace<(String, NodeClass)>,
}

/// A token in use.
pub(super) struct Token {
    pub(super) id: String,
    pub(super) record: TokenRecord,
}

impl Tokens {
    pub(super) fn load(store: &Store) -> Result<Tokens, StartError> {
        let mut tokens = Tokens {
            by_id: BTreeMap::new(),
            by_secret: BTreeMap::new(),
            pace: Pace::new(PACE),
        };
        for (key, record) in state::all::<TokenRecord>(store, TOKENS)? {
            let id = String::from_utf8_lossy(&key).into_owned();
            tokens.by_secret.insert(record.secret_hash.0.clone(), id.clone());
            tokens.by_id.insert(id, record);
        }
        Ok(tokens)
    }

    fn create(
        &mut self,
        (service, nodes): (&Service, &Nodes),
        now_ms: u64,
        wanted: &proto::CreateTokenRequest,
    ) -> Outcome<proto::CreateTokenResponse> {
        let record = new_record(now_ms, wanted)?;
        let id = &wanted.id;
        if let Some(known) = self.by_id.get(id) {
            if !known.is_as(&record) {
                return Err(Refused::Exists(id.clone()));
            }
            return Ok((created(service, String::new(), known.expires_ms), Batch::new()));
        }
        let mut batch = Batch::new();
        self.forget_old(now_ms, nodes, &mut batch);
        if self.by_id.len() >= MAX_TOKENS {
            return Err(Refused::Full {
                what: "tokens",
                limit: MAX_TOKENS,
            });
        }
        let secret = URL_SAFE_NO_PAD.encode(random_octets::<32>()?);
        let record = TokenRecord {
            secret_hash: Octets(service.token_hash(&secret)),
            ..record
        };
        let answer = created(service, secret, record.expires_ms);
        self.put(id, record, &mut batch);
        Ok((answer, batch))
    }

    /// Puts a token whose secret is given. It is as it was unless it is asked for in other words or with another secret.
    pub(super) fn configure(
        &mut self,
        service: &Service,
        now_ms: u64,
        token: &Configured,
        batch: &mut Batch,
    ) -> Result<(), Refused> {
        let record = TokenRecord {
            secret_hash: Octets(service.token_hash(&token.secret)),
            configured: true,
            ..new_record(now_ms, &token.wanted)?
        };
        let id = &token.wanted.id;
        if self
            .by_secret
            .get(&record.secret_hash.0)
            .is_some_and(|other| other != id)
        {
            return Err(Refused::Invalid("another token has the same secret".to_owned()));
        }
        if let Some(known) = self.by_id.get(id) {
            let has_same_secret = known.secret_hash == record.secret_hash;
            // With the same secret it is another service's, which has it in its configuration too.
            if !known.configured && !has_same_secret {
                return Err(Refused::Exists(id.clone()));
            }
            if known.is_as(&record) && has_same_secret && !known.dropped {
                if !known.configured {
                    let known = TokenRecord {
                        configured: true,
                        ..known.clone()
                    };
                    self.put(id, known, batch);
                }
                return Ok(());
            }
            self.by_secret.remove(&known.secret_hash.0);
        }
        self.put(id, record, batch);
        Ok(())
    }

    /// Ends the tokens of the configuration that it does not name any more.
    pub(super) fn revoke_configured(&mut self, is_named: impl Fn(&str) -> bool, batch: &mut Batch) {
        for (id, record) in &mut self.by_id {
            if record.configured && !record.revoked && !is_named(id) {
                record.revoked = true;
                record.dropped = true;
                state::put(batch, TOKENS, id.as_bytes(), record);
            }
        }
    }

    fn put(&mut self, id: &str, record: TokenRecord, batch: &mut Batch) {
        state::put(batch, TOKENS, id.as_bytes(), &record);
        self.by_secret.insert(record.secret_hash.0.clone(), id.to_owned());
        self.by_id.insert(id.to_owned(), record);
    }

    pub(super) fn revoke(&mut self, id: &str) -> Outcome<proto::RevokeTokenResponse> {
        let record = self
            .by_id
            .get_mut(id)
            .ok_or_else(|| Refused::NotFound(format!("token {id:.64}")))?;
        record.revoked = true;
        let mut batch = Batch::new();
        state::put(&mut batch, TOKENS, id.as_bytes(), record);
        Ok((proto::RevokeTokenResponse {}, batch))
    }

    /// Takes a token as another service has it.
    pub(super) fn merge(&mut self, id: String, come: TokenRecord, batch: &mut Batch) -> Result<(), Refused> {
        let known = self.by_id.get(&id);
        let known_secret = known.map(|known| known.secret_hash.clone());
        if known.is_none() && (id.is_empty() || id.len() > MAX_ID || self.by_id.len() >= MAX_TOKENS) {
            return Err(Refused::Invalid(format!("there is no room for token {id:.64}")));
        }
        let come = TokenRecord {
            configured: false,
            dropped: false,
            ..come
        };
        let Some(record) = joined(known, come) else {
            return Ok(());
        };
        if let Some(replaced) = known_secret.filter(|known| *known != record.secret_hash) {
            tracing::warn!(
                token = id,
                "two services made a token of this id at once: the older one counts"
            );
            self.by_secret.remove(&replaced.0);
        }
        state::put(batch, TOKENS, id.as_bytes(), &record);
        self.by_secret.insert(record.secret_hash.0.clone(), id.clone());
        self.by_id.insert(id, record);
        Ok(())
    }

    /// Whether more nodes of a class were enrolled with a token than it covers: at several services that did not hear of each other.
    pub(super) fn is_overused(&self, id: &str, class: NodeClass, nodes: &Nodes) -> bool {
        let Some(record) = self.by_id.get(id) else { return false };
        let Some(uses) = record.uses else { return false };
        let covered = u64::from(record.places(class)).saturating_mul(uses.into());
        let by = Credential::Token(id.to_owned());
        let taken = nodes.of(&by, None).filter(|(_, node)| node.class == class).count();
        u64::try_from(taken).unwrap_or(u64::MAX) > covered
    }

    /// Finds the token of a secret, if it may still be used or its answer repeated.
    ///
    /// The look-up compares keyed hashes, so its time tells nothing about secrets.
    pub(super) fn valid(&self, service: &Service, now_ms: u64, secret: &str) -> Option<Token> {
        let id = self.by_secret.get(&service.token_hash(secret))?;
        let record = self.by_id.get(id).filter(|record| record.is_usable(now_ms))?;
        Some(Token {
            id: id.clone(),
            record: record.clone(),
        })
    }

    /// Whether the token with this id may still be used.
    pub(super) fn is_usable(&self, now_ms: u64, id: &str) -> bool {
        self.by_id.get(id).is_some_and(|record| record.is_usable(now_ms))
    }

    /// Whether a node can come back by the token that it was enrolled with.
    pub(super) fn enrolls(&self, now_ms: u64, by: &Credential) -> bool {
        match by {
            Credential::Token(id) => self.is_usable(now_ms, id),
            Credential::Password(_) | Credential::Certificate => false,
        }
    }

    /// Checks whether a token has places left for so many more of a class.
    pub(super) fn has_places(
        &self,
        now: Instant,
        token: &Token,
        (class, more): (NodeClass, usize),
        nodes: &Nodes,
    ) -> Result<(), Refused> {
        let per_use = usize::try_from(token.record.places(class)).unwrap_or(usize::MAX);
        match token.record.uses {
            Some(uses) => {
                let uses = usize::try_from(uses).unwrap_or(usize::MAX);
                let by = Credential::Token(token.id.clone());
                let taken = nodes.of(&by, None).filter(|(_, node)| node.class == class).count();
                let is_free = taken.saturating_add(more) <= per_use.saturating_mul(uses);
                is_free.then_some(()).ok_or(Refused::Credential)
            }
            None => {
                let recent = self.pace.count(now, &(token.id.clone(), class));
                let is_slow = recent.saturating_add(more) <= per_use.saturating_mul(AN_HOUR);
                is_slow.then_some(()).ok_or(Refused::TooFast("20 in an hour"))
            }
        }
    }

    /// Counts what takes a place of a token with any number of uses.
    pub(super) fn take(&mut self, now: Instant, token: &Token, class: NodeClass) {
        if token.record.uses.is_none() {
            self.pace.note(now, (token.id.clone(), class));
        }
    }

    /// A page of the list; a token with many nodes goes on in the next.
    fn page(&self, nodes: &Nodes, after: Option<&Cursor>) -> TokenPage {
        let start = match after {
            None => Bound::Unbounded,
            Some((id, None)) => Bound::Excluded(id.as_str()),
            Some((id, Some(_))) => Bound::Included(id.as_str()),
        };
        let mut from = after.and_then(|(_, node_id)| *node_id);
        let (mut page, mut room) = (Vec::new(), PAGE);
        for (id, record) in self.by_id.range::<str, _>((start, Bound::Unbounded)) {
            let by = Credential::Token(id.clone());
            let enrolled: Vec<_> = nodes.of(&by, from.take()).take(room).collect();
            let last = enrolled.last().map(|(node_id, _)| *node_id);
            let is_cut = last.is_some_and(|last| nodes.of(&by, Some(last)).next().is_some());
            room = room.saturating_sub(enrolled.len().max(1));
            let classes = [NodeClass::Peer, NodeClass::Edge, NodeClass::Client];
            page.push(proto::ListTokensResponse {
                overused: classes.into_iter().any(|class| self.is_overused(id, class, nodes)),
                ..listed(id, record, &enrolled)
            });
            if room == 0 {
                return (page, Some((id.clone(), last.filter(|_| is_cut))));
            }
        }
        (page, None)
    }

    /// Makes room: tokens that ended long ago and of whose nodes none is known.
    fn forget_old(&mut self, now_ms: u64, nodes: &Nodes, batch: &mut Batch) {
        let (by_secret, kept_ms) = (&mut self.by_secret, KEPT_AFTER_END * 1000);
        self.by_id.retain(|id, record| {
            let has_nodes = || nodes.of(&Credential::Token(id.clone()), None).next().is_some();
            let is_kept = now_ms < record.expires_ms.saturating_add(kept_ms) || has_nodes();
            if !is_kept {
                by_secret.remove(&record.secret_hash.0);
                batch.delete(TOKENS, id.as_bytes());
            }
            is_kept
        });
    }
}

impl Core {
    pub(crate) fn create_token(
        &mut self,
        now_ms: u64,
        request: &proto::CreateTokenRequest,
    ) -> Outcome<proto::CreateTokenResponse> {
        let mut request = request.clone();
        if !request.user.is_empty() {
            // As it stands in certificates; one that is not there would be a slip of the pen.
            (request.user, _) = users::address(&self.service, &request.user)?;
            self.users.check_client(&request.user)?;
        }
        self.tokens.create((&self.service, &self.nodes), now_ms, &request)
    }

    pub(crate) fn list_tokens(&self, after: Option<&Cursor>) -> TokenPage {
        self.tokens.page(&self.nodes, after)
    }
}

impl TokenRecord {
    /// How many nodes of a class one use enrolls.
    pub(super) fn places(&self, class: NodeClass) -> u32 {
        match class {
            NodeClass::Peer => self.peer.into(),
            NodeClass::Edge => self.edges,
            NodeClass::Client => self.user.is_some().into(),
        }
    }

    fn is_usable(&self, now_ms: u64) -> bool {
        !self.revoked && now_ms < self.expires_ms
    }

    /// Whether both were asked for in the same words.
    fn is_as(&self, other: &TokenRecord) -> bool {
        let words = |record: &TokenRecord| (record.lifetime_seconds, record.peer, record.edges, record.uses);
        words(self) == words(other) && self.user == other.user
    }
}

/// The record of a token as it is asked for, without a secret.
fn new_record(now_ms: u64, wanted: &proto::CreateTokenRequest) -> Result<TokenRecord, Refused> {
    let invalid = |text: String| Err(Refused::Invalid(text));
    if wanted.id.is_empty() || wanted.id.len() > MAX_ID || !wanted.id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return invalid(format!("a token's id is 1 to {MAX_ID} printable ASCII characters"));
    }
    let expires_ms = match (wanted.unending, wanted.lifetime_seconds) {
        (true, 0) => NEVER,
        (false, seconds @ 1..=MAX_LIFETIME) => now_ms.saturating_add(seconds.saturating_mul(1000)),
        _ => return invalid(format!("a token lives 1 to {MAX_LIFETIME} seconds, or for ever")),
    };
    let (has_nodes, has_user) = (wanted.peer || wanted.edges > 0, !wanted.user.is_empty());
    if has_nodes == has_user || wanted.edges > MAX_EDGES {
        return invalid(format!(
            "a token enrolls a peer, edges, at most {MAX_EDGES}, or both; or clients of a user"
        ));
    }
    let uses = match (wanted.unlimited, wanted.uses) {
        (true, 0) => None,
        // An older program knows of one use only, and asks for none.
        (false, 0) => Some(1),
        (false, uses) if uses <= MAX_USES => Some(uses),
        _ => return invalid(format!("a token has 1 to {MAX_USES} uses, or any number of them")),
    };
    Ok(TokenRecord {
        secret_hash: Octets::default(),
        lifetime_seconds: wanted.lifetime_seconds,
        created_ms: now_ms,
        expires_ms,
        peer: wanted.peer,
        edges: wanted.edges,
        user: has_user.then(|| wanted.user.clone()),
        uses,
        revoked: false,
        configured: false,
        dropped: false,
    })
}

fn created(service: &Service, secret: String, expires_ms: u64) -> proto::CreateTokenResponse {
    proto::CreateTokenResponse {
        secret,
        expires_unix_ms: end_of(expires_ms),
        overlay: service.overlay().to_owned(),
        root: Bytes::copy_from_slice(service.root()),
        servers: service.document.document().enrollment_servers.clone(),
    }
}

fn listed(id: &str, record: &TokenRecord, enrolled: &[(NodeId, &NodeRecord)]) -> proto::ListTokensResponse {
    proto::ListTokensResponse {
        id: id.to_owned(),
        peer: record.peer,
        edges: record.edges,
        user: record.user.clone().unwrap_or_default(),
        uses: record.uses.unwrap_or(0),
        unlimited: record.uses.is_none(),
        created_unix_ms: record.created_ms,
        expires_unix_ms: end_of(record.expires_ms),
        enrolled: enrolled
            .iter()
            .map(|(node_id, node)| listed_node(*node_id, node))
            .collect(),
        used_by: enrolled.iter().map(|(node_id, _)| bytes_of(*node_id)).collect(),
        revoked: record.revoked,
        overused: false,
    }
}

fn listed_node(node_id: NodeId, node: &NodeRecord) -> proto::TokenUse {
    let class = match node.class {
        NodeClass::Peer => proto::NodeClass::Peer,
        NodeClass::Edge => proto::NodeClass::Edge,
        NodeClass::Client => proto::NodeClass::Client,
    };
    proto::TokenUse {
        node_id: bytes_of(node_id),
        class: class.into(),
        from: node.from.map(|from| from.to_string()).unwrap_or_default(),
        unix_ms: node.at_ms.unwrap_or(0),
    }
}

/// The end of a token in the contract, where 0 is never.
fn end_of(expires_ms: u64) -> u64 {
    if expires_ms == NEVER { 0 } else { expires_ms }
}

fn bytes_of(node_id: NodeId) -> Bytes {
    Bytes::copy_from_slice(node_id.as_bytes())
}

/// The end of a token that has none.
const NEVER: u64 = u64::MAX;
const MAX_ID: usize = 64;
/// 90 days.
const MAX_LIFETIME: u64 = 90 * 24 * 3600;
/// Edges on one peer.
const MAX_EDGES: u32 = 16;
/// As many hosts as an operator may set up with one token; who needs more has any number, at a pace.
const MAX_USES: u32 = 1000;
/// First enrollments in an hour with a token of any number of uses: whoever steals it is seen before there are many.
const AN_HOUR: usize = 20;
const PACE: Duration = Duration::from_secs(3600);
/// Each is a node of the overlay; beyond this an operator revokes nothing by hand any more.
const MAX_TOKENS: usize = 100_000;
/// An unused token stays in the list for a week after its end.
const KEPT_AFTER_END: u64 = 7 * 24 * 3600;
/// Tokens and nodes asked for at once, so that a long list stops nobody else.
const PAGE: usize = 256;
