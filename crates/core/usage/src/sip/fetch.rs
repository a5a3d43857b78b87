//! Asking for an AOR, and judging what comes back.

use std::cmp::Reverse;

use bytes::Bytes;
use identity::{Use, Verifier, verify_value};
use wire::{
    DataValue, Decode, Destination, FetchAns, FetchReq, KindId, ModelSpecifier, NodeId, ResourceId, StoredData,
    StoredDataSpecifier, StoredDataValue,
};

use super::SipRegistration;
use crate::user::{Record, State};

/// More edges than this for one AOR are not tried: each would get a branch of every call.
pub const MAX_EDGES: usize = 10;
/// Edges of one AOR that are told of a change at most: more than the Kind's max-count leaves room for.
const MAX_SERVING: usize = 32;

/// Builds the Fetch of an AOR's registrations and user record.
pub fn fetch(aor: &str) -> FetchReq {
    // RFC 7904 §4.2: no dictionary keys, so that all entries come.
    let specifiers = [KindId::SIP_REGISTRATION, KindId::P2PSIP_USER]
        .map(|kind| StoredDataSpecifier {
            kind,
            generation: 0,
            model: ModelSpecifier::Dictionary(Vec::new()),
        })
        .to_vec();
    FetchReq {
        resource: ResourceId::of(aor.as_bytes()),
        specifiers,
    }
}

/// A way to an edge that serves an AOR.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The edge.
    pub edge: NodeId,
    /// The peer that it is attached to, unless it is a peer itself.
    pub home: Option<NodeId>,
    /// When the entry was made, by the edge's clock.
    pub storage_time: u64,
    /// When the entry ends, by the clock of who asked.
    pub until_ms: u64,
}

impl Route {
    /// Returns the destination list that leads to the edge.
    pub fn destination_list(&self) -> Vec<Destination> {
        self.home
            .into_iter()
            .chain([self.edge])
            .map(Destination::Node)
            .collect()
    }
}

/// What the asking edge itself has stored there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnEntry {
    /// When it was made; the next one must be later.
    pub storage_time: u64,
    /// Whether it is a registration and no tombstone.
    pub exists: bool,
}

/// What is known of an AOR.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The user's record; without one there is no such user.
    pub record: Option<Record>,
    /// The edges that serve the user, own one included; none that the record disallows, and none at all unless the
    /// user is active.
    pub routes: Vec<Route>,
    /// The asking edge's own entry, whatever the record says.
    pub own: Option<OwnEntry>,
    /// How many values were ignored because their signature, signer or form did not hold.
    pub refused: usize,
}

/// Which edges have registered an AOR.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Serving {
    /// The ways to them, the newest first.
    pub routes: Vec<Route>,
    /// The generation of the user's record.
    pub generation: u64,
}

/// Why an answer cannot be used at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// It is no answer to a Fetch.
    #[error("the body of the fetch answer: {0}")]
    Body(#[from] wire::DecodeError),
}

/// Judges the values of a Fetch.
pub struct Judge<'a> {
    /// Knows whose certificates count.
    pub verifier: &'a Verifier,
    /// The user signers that the configuration document names as writers of user records, in order of precedence.
    pub writers: &'a [NodeId],
    /// The edge that asks.
    pub own: NodeId,
    /// The time in Unix milliseconds.
    pub now_ms: u64,
}

impl Judge<'_> {
    /// Reads the body of a Fetch answer for an AOR; `bucket` holds the certificates that came with it.
    ///
    /// # Errors
    /// When the body is malformed. A value that does not hold only counts as refused.
    pub fn read(&self, aor: &str, body: &Bytes, bucket: &[Bytes]) -> Result<Found, ReadError> {
        let mut found = self.gather(aor, &FetchAns::from_bytes(body)?, bucket);
        // Entries of edges that may not serve the user, or of a user who is not active, do not count.
        let public = found.record.as_ref().map(Record::public);
        let active = public.filter(|public| public.state == State::Active);
        found
            .routes
            .retain(|route| active.is_some_and(|public| public.allows(route.edge)));
        found.routes.truncate(MAX_EDGES);
        Ok(found)
    }

    /// Reads from a Fetch answer which edges have registered an AOR, whatever the user's record says of them: a change of the record concerns them all.
    ///
    /// # Errors
    /// When the body is malformed.
    pub fn serving(&self, aor: &str, body: &Bytes, bucket: &[Bytes]) -> Result<Serving, ReadError> {
        let answer = FetchAns::from_bytes(body)?;
        let mut routes = self.gather(aor, &answer, bucket).routes;
        routes.truncate(MAX_SERVING);
        let mut responses = answer.kind_responses.iter();
        let record = responses.find(|response| response.kind == KindId::P2PSIP_USER);
        let generation = record.map_or(0, |response| response.generation);
        Ok(Serving { routes, generation })
    }

    /// Takes all values that hold, the newest routes first.
    fn gather(&self, aor: &str, answer: &FetchAns, bucket: &[Bytes]) -> Found {
        let resource = ResourceId::of(aor.as_bytes());
        let mut found = Found::default();
        let mut rank = None;
        for response in &answer.kind_responses {
            for data in &response.values {
                let is_good = match response.kind {
                    KindId::SIP_REGISTRATION => self.registration(resource, data, bucket, &mut found),
                    KindId::P2PSIP_USER => self.record(resource, data, bucket).map(|(its_rank, record)| {
                        if rank.is_none_or(|best| best < its_rank) {
                            rank = Some(its_rank);
                            found.record = Some(record);
                        }
                    }),
                    _ => None,
                };
                found.refused += usize::from(is_good.is_none());
            }
        }
        found.routes.sort_by_key(|route| Reverse(route.storage_time));
        found
    }

    fn registration(&self, resource: ResourceId, data: &StoredData, bucket: &[Bytes], found: &mut Found) -> Option<()> {
        let (node, value) = entry(data)?;
        let kind = KindId::SIP_REGISTRATION;
        let signer = verify_value(
            self.verifier,
            resource,
            kind,
            data,
            bucket,
            self.now_ms,
            Use::UserNodeStore,
        )
        .ok()?;
        is_user_node_match(&signer, resource, node).then_some(())?;
        if node == self.own {
            found.own = Some(OwnEntry {
                storage_time: data.storage_time,
                exists: value.exists,
            });
        }
        if !value.exists {
            return Some(());
        }
        let SipRegistration::Route { destination_list, .. } = SipRegistration::from_bytes(&value.value).ok()? else {
            return None;
        };
        let (edge, home) = ends(&destination_list)?;
        // What a delegated signer issued speaks for its own node only, so it may route nowhere else.
        if signer.delegated_by.is_some_and(|delegate| delegate != edge) {
            return None;
        }
        let until_ms = self
            .now_ms
            .saturating_add(u64::from(data.lifetime) * 1000)
            .min(signer.until_ms);
        found.routes.push(Route {
            edge,
            home,
            storage_time: data.storage_time,
            until_ms,
        });
        Some(())
    }

    fn record(&self, resource: ResourceId, data: &StoredData, bucket: &[Bytes]) -> Option<(Rank, Record)> {
        let (node, value) = entry(data)?;
        let precedence = self.writers.iter().position(|writer| *writer == node)?;
        if !value.exists {
            return None;
        }
        let kind = KindId::P2PSIP_USER;
        let signer = verify_value(
            self.verifier,
            resource,
            kind,
            data,
            bucket,
            self.now_ms,
            Use::UserNodeStore,
        )
        .ok()?;
        // An edge can mint a certificate for any user; it must not be able to write a record.
        let is_writer = signer.delegated_by.is_none() && is_user_node_match(&signer, resource, node);
        is_writer.then_some(())?;
        let record = Record::from_bytes(&value.value).ok()?;
        let rank = Rank {
            version: record.public().version,
            storage_time: data.storage_time,
            precedence: Reverse(precedence),
        };
        Some((rank, record))
    }
}

/// Which of several records of one user counts: each service signs its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    version: u64,
    storage_time: u64,
    precedence: Reverse<usize>,
}

/// Takes the key, which must be a Node-ID, and the value of a dictionary entry.
fn entry(data: &StoredData) -> Option<(NodeId, &DataValue)> {
    let StoredDataValue::Dictionary { key, value } = &data.value else {
        return None;
    };
    Some((NodeId::try_from(key.as_ref()).ok()?, value))
}

/// RFC 6940 §7.3.3: the user name hashes to the Resource-ID and the Node-ID is the dictionary key.
fn is_user_node_match(signer: &identity::Identity, resource: ResourceId, node: NodeId) -> bool {
    let is_user = signer
        .user
        .as_ref()
        .is_some_and(|user| ResourceId::of(user.as_bytes()) == resource);
    is_user && signer.is_node(&node)
}

/// Takes the node that a destination list ends at and the peer before it; longer ways are nobody's here.
fn ends(list: &[Destination]) -> Option<(NodeId, Option<NodeId>)> {
    match list {
        [Destination::Node(edge)] => Some((*edge, None)),
        [Destination::Node(home), Destination::Node(edge)] => Some((*edge, Some(*home))),
        _ => None,
    }
}
