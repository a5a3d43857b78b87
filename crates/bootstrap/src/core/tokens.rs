//! One-time enrollment tokens.

use std::collections::BTreeMap;
use std::ops::Bound;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use kv::{Batch, Store};
use rpc::proto::bootstrap::v1 as proto;
use wire::NodeId;

use super::Outcome;
use super::service::Service;
use crate::error::{Refused, StartError};
use crate::genesis::random_octets;
use crate::state::{self, EdgeRecord, Octets, TOKENS, TokenRecord, UsedRecord};

/// A part of the list; empty at its end.
pub(crate) type TokenPage = Vec<proto::ListTokensResponse>;

pub(super) struct Tokens {
    by_id: BTreeMap<String, TokenRecord>,
    /// Hash of the secret → id.
    by_secret: BTreeMap<Vec<u8>, String>,
    /// Node-ID → id of the token that enrolled it.
    by_node: BTreeMap<Vec<u8>, String>,
}

impl Tokens {
    pub(super) fn load(store: &Store) -> Result<Tokens, StartError> {
        let mut tokens = Tokens {
            by_id: BTreeMap::new(),
            by_secret: BTreeMap::new(),
            by_node: BTreeMap::new(),
        };
        for (key, record) in state::all::<TokenRecord>(store, TOKENS)? {
            let id = String::from_utf8_lossy(&key).into_owned();
            tokens.by_secret.insert(record.secret_hash.0.clone(), id.clone());
            tokens.index(&id, record.used.iter());
            tokens.by_id.insert(id, record);
        }
        Ok(tokens)
    }

    pub(super) fn create(
        &mut self,
        service: &Service,
        now_ms: u64,
        request: &proto::CreateTokenRequest,
    ) -> Outcome<proto::CreateTokenResponse> {
        let proto::CreateTokenRequest {
            id,
            lifetime_seconds,
            peer,
            edges,
        } = request;
        if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Refused::Invalid(format!(
                "a token's id is 1 to {MAX_ID} printable ASCII characters"
            )));
        }
        if *lifetime_seconds == 0 || *lifetime_seconds > MAX_LIFETIME {
            return Err(Refused::Invalid(format!("a token lives 1 to {MAX_LIFETIME} seconds")));
        }
        if !*peer && *edges == 0 || *edges > MAX_EDGES {
            return Err(Refused::Invalid(format!(
                "a token enrolls a peer, or edges, at most {MAX_EDGES}"
            )));
        }
        if let Some(known) = self.by_id.get(id) {
            let is_same = (known.lifetime_seconds, known.peer, known.edges) == (*lifetime_seconds, *peer, *edges);
            if !is_same {
                return Err(Refused::Exists(id.clone()));
            }
            return Ok((created(service, String::new(), known.expires_ms), Batch::new()));
        }
        let mut batch = Batch::new();
        self.forget_old(now_ms, &mut batch);
        if self.by_id.len() >= MAX_TOKENS {
            return Err(Refused::Full {
                what: "tokens",
                limit: MAX_TOKENS,
            });
        }
        let secret = URL_SAFE_NO_PAD.encode(random_octets::<32>()?);
        let record = TokenRecord {
            secret_hash: Octets(service.token_hash(&secret)),
            lifetime_seconds: *lifetime_seconds,
            created_ms: now_ms,
            expires_ms: now_ms.saturating_add(lifetime_seconds.saturating_mul(1000)),
            peer: *peer,
            edges: *edges,
            revoked: false,
            used: None,
        };
        let answer = created(service, secret, record.expires_ms);
        state::put(&mut batch, TOKENS, id.as_bytes(), &record);
        self.by_secret.insert(record.secret_hash.0.clone(), id.clone());
        self.by_id.insert(id.clone(), record);
        Ok((answer, batch))
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

    /// Finds the token of a secret, if it may still be used or its answer repeated.
    ///
    /// The look-up compares keyed hashes, so its time tells nothing about secrets.
    pub(super) fn valid(&self, service: &Service, now_ms: u64, secret: &str) -> Option<(&str, &TokenRecord)> {
        let id = self.by_secret.get(&service.token_hash(secret))?;
        let record = self.by_id.get(id)?;
        (!record.revoked && now_ms < record.expires_ms).then_some((id.as_str(), record))
    }

    /// Remembers what a token enrolled.
    pub(super) fn used(&mut self, id: &str, used: UsedRecord) -> Batch {
        let mut batch = Batch::new();
        self.index(id, std::iter::once(&used));
        if let Some(record) = self.by_id.get_mut(id)
            && record.used.as_ref() != Some(&used)
        {
            record.used = Some(used);
            state::put(&mut batch, TOKENS, id.as_bytes(), record);
        }
        batch
    }

    /// Finds the token that enrolled a node, and all that it enrolled.
    pub(super) fn of_node(&self, node_id: NodeId) -> Option<(&str, &UsedRecord)> {
        let id = self.by_node.get(node_id.as_bytes().as_slice())?;
        Some((id, self.by_id.get(id)?.used.as_ref()?))
    }

    /// All edges that were ever enrolled.
    pub(super) fn edges(&self) -> impl Iterator<Item = &EdgeRecord> {
        let used = self.by_id.values().filter_map(|record| record.used.as_ref());
        used.flat_map(|used| &used.edges)
    }

    /// One of them.
    pub(super) fn edge(&self, node_id: NodeId) -> Option<&EdgeRecord> {
        let (_, used) = self.of_node(node_id)?;
        used.edges.iter().find(|edge| edge.node_id.0 == node_id.as_bytes())
    }

    fn index<'a>(&mut self, id: &str, used: impl Iterator<Item = &'a UsedRecord>) {
        for node_id in used.flat_map(UsedRecord::node_ids) {
            self.by_node.insert(node_id.0.clone(), id.to_owned());
        }
    }

    pub(super) fn page(&self, after: Option<&str>) -> TokenPage {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.by_id.range::<str, _>((start, Bound::Unbounded));
        range.take(PAGE).map(|(id, record)| listed(id, record)).collect()
    }

    /// Makes room: tokens that ended long ago and enrolled nobody.
    fn forget_old(&mut self, now_ms: u64, batch: &mut Batch) {
        let (by_secret, kept_ms) = (&mut self.by_secret, KEPT_AFTER_END * 1000);
        self.by_id.retain(|id, record| {
            let is_kept = record.used.is_some() || now_ms < record.expires_ms.saturating_add(kept_ms);
            if !is_kept {
                by_secret.remove(&record.secret_hash.0);
                batch.delete(TOKENS, id.as_bytes());
            }
            is_kept
        });
    }
}

fn created(service: &Service, secret: String, expires_unix_ms: u64) -> proto::CreateTokenResponse {
    proto::CreateTokenResponse {
        secret,
        expires_unix_ms,
        overlay: service.overlay().to_owned(),
        root: Bytes::copy_from_slice(service.root()),
        servers: service.document.document().enrollment_servers.clone(),
    }
}

fn listed(id: &str, record: &TokenRecord) -> proto::ListTokensResponse {
    let enrolled = record.used.iter().flat_map(UsedRecord::node_ids);
    proto::ListTokensResponse {
        id: id.to_owned(),
        peer: record.peer,
        edges: record.edges,
        created_unix_ms: record.created_ms,
        expires_unix_ms: record.expires_ms,
        used_by: enrolled.map(|node_id| node_id.0.clone().into()).collect(),
        revoked: record.revoked,
    }
}

const MAX_ID: usize = 64;
/// 90 days.
const MAX_LIFETIME: u64 = 90 * 24 * 3600;
/// Edges on one peer.
const MAX_EDGES: u32 = 16;
/// Each is a node of the overlay; beyond this an operator revokes nothing by hand any more.
const MAX_TOKENS: usize = 100_000;
/// An unused token stays in the list for a week after its end.
const KEPT_AFTER_END: u64 = 7 * 24 * 3600;
/// Entries asked for at once, so that a long list stops nobody else.
const PAGE: usize = 256;
