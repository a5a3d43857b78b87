//! A storage that believes everything: one value a resource, the latest storage time wins.

use std::collections::BTreeMap;

use bytes::Bytes;

use p2psip_overlay_core::{Answer, Command, ReplicaStore};
use wire::{
    Decode, Encode, ErrorCode, FetchAns, FetchKindResponse, FetchReq, MessageCode, MetaData, MetaDataValue, NodeId,
    ResourceId, SignerIdentity, StatAns, StatKindResponse, StatReq, StoreAns, StoreKindData, StoreKindResponse,
    StoreReq, StoredData, StoredMetaData,
};

#[derive(Default)]
pub struct Storage {
    pub values: BTreeMap<ResourceId, StoreKindData>,
    /// How many original Stores were carried out.
    pub originals: usize,
    /// The time that was told last, and by how many clocks.
    pub clock: Option<(u64, u32)>,
    /// Drops a record whatever its owner says: a fault.
    pub forgets_blindly: bool,
}

impl Storage {
    pub fn time_of(&self, resource: ResourceId) -> Option<u64> {
        Some(self.values.get(&resource)?.values.first()?.storage_time)
    }

    pub fn execute(&mut self, command: Command) -> Answer {
        match command {
            Command::Apply { code, body, .. } if code == MessageCode::STORE_REQ.0 => {
                self.store(StoreReq::from_bytes(&body).expect("a StoreReq"))
            }
            Command::Apply { code, body, .. } if code == MessageCode::FETCH_REQ.0 => {
                self.fetch(FetchReq::from_bytes(&body).expect("a FetchReq"))
            }
            Command::Apply { code, body, .. } if code == MessageCode::STAT_REQ.0 => {
                self.stat(&StatReq::from_bytes(&body).expect("a StatReq"))
            }
            Command::Apply { .. } => refused(ErrorCode::InvalidMessage),
            Command::Scan { after, range } => self.scan(after, range),
            Command::Forget {
                resource,
                stat,
                compare_only,
            } => self.forget(resource, &stat, compare_only),
            Command::Count => Answer::Counted {
                records: u64::try_from(self.values.len()).expect("few"),
            },
            Command::Clock { unix_ms, voices } => {
                self.clock = Some((unix_ms, voices));
                Answer::Done
            }
            Command::Keep { .. } | Command::Document { .. } => Answer::Done,
        }
    }

    fn store(&mut self, store: StoreReq) -> Answer {
        self.originals += usize::from(store.replica_number == 0);
        let kind = store.kind_data.into_iter().next().expect("a Kind");
        let time = |kind: &StoreKindData| kind.values.iter().map(|value: &StoredData| value.storage_time).max();
        let held = self.values.entry(store.resource).or_insert_with(|| kind.clone());
        if time(&kind) > time(held) {
            *held = kind.clone();
        }
        let response = StoreKindResponse {
            kind: held.kind,
            generation_counter: held.generation_counter,
            replicas: Vec::new(),
        };
        let body = StoreAns {
            kind_responses: vec![response],
        }
        .to_bytes();
        let replicas = vec![replica(store.resource, held)];
        Answer::Applied {
            code: MessageCode::STORE_ANS.0,
            body,
            certificates: Vec::new(),
            replicas,
        }
    }

    fn fetch(&self, fetch: FetchReq) -> Answer {
        let responses = fetch.specifiers.iter().map(|specifier| {
            let held = self
                .values
                .get(&fetch.resource)
                .filter(|held| held.kind == specifier.kind);
            FetchKindResponse {
                kind: specifier.kind,
                generation: held.map_or(0, |held| held.generation_counter),
                values: held.map_or_else(Vec::new, |held| held.values.clone()),
            }
        });
        let body = FetchAns {
            kind_responses: responses.collect(),
        }
        .to_bytes();
        Answer::Applied {
            code: MessageCode::FETCH_ANS.0,
            body,
            certificates: Vec::new(),
            replicas: Vec::new(),
        }
    }

    fn stat(&self, stat: &StatReq) -> Answer {
        let responses = stat.specifiers.iter().map(|specifier| {
            let held = self.values.get(&stat.resource);
            let held = held.filter(|held| held.kind == specifier.kind);
            let meta_data = |value: &StoredData| StoredMetaData {
                storage_time: value.storage_time,
                lifetime: value.lifetime,
                metadata: MetaDataValue::Single(MetaData {
                    exists: true,
                    value_length: 0,
                    hash_algorithm: SignerIdentity::SHA256,
                    hash_value: Bytes::new(),
                }),
            };
            StatKindResponse {
                kind: specifier.kind,
                generation: held.map_or(0, |held| held.generation_counter),
                values: held.map_or_else(Vec::new, |held| held.values.iter().map(meta_data).collect()),
            }
        });
        let kind_responses = responses.collect();
        Answer::Applied {
            code: MessageCode::STAT_ANS.0,
            body: StatAns { kind_responses }.to_bytes(),
            certificates: Vec::new(),
            replicas: Vec::new(),
        }
    }

    fn forget(&mut self, resource: ResourceId, stat: &Bytes, compare_only: bool) -> Answer {
        let stat = StatAns::from_bytes(stat).expect("a StatAns");
        let values = stat.kind_responses.iter().flat_map(|response| &response.values);
        let theirs = values.map(|value| value.storage_time).max();
        if self.time_of(resource) > theirs && !self.forgets_blindly {
            return refused(ErrorCode::DataTooOld);
        }
        if !compare_only {
            self.values.remove(&resource);
        }
        Answer::Done
    }

    fn scan(&self, after: Option<ResourceId>, (from, until): (NodeId, NodeId)) -> Answer {
        let begin = after.map_or(from.to_u128(), ResourceId::to_u128);
        let span = match until.to_u128().wrapping_sub(begin) {
            0 if after.is_some() => {
                return Answer::Scanned {
                    stores: Vec::new(),
                    next: None,
                };
            }
            0 => u128::MAX,
            span => span,
        };
        let offset = |resource: &ResourceId| resource.to_u128().wrapping_sub(begin).wrapping_sub(1);
        let mut found: Vec<&ResourceId> = self.values.keys().filter(|resource| offset(resource) < span).collect();
        found.sort_by_key(|resource| offset(resource));
        let next = found
            .get(BATCH..)
            .and_then(|rest| rest.first())
            .and(found.get(BATCH - 1))
            .map(|last| **last);
        let stores = found
            .into_iter()
            .take(BATCH)
            .map(|resource| replica(*resource, &self.values[resource]));
        Answer::Scanned {
            stores: stores.collect(),
            next,
        }
    }
}

fn refused(code: ErrorCode) -> Answer {
    Answer::Refused {
        code: code.number(),
        info: Bytes::new(),
    }
}

fn replica(resource: ResourceId, kind: &StoreKindData) -> ReplicaStore {
    let body = StoreReq {
        resource,
        replica_number: 1,
        kind_data: vec![kind.clone()],
    }
    .to_bytes();
    ReplicaStore {
        resource,
        body,
        certificates: Vec::new(),
    }
}

/// Records of one batch.
const BATCH: usize = 3;
