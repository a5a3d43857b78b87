//! A storage that believes everything: one value a resource, the latest storage time wins.

use std::collections::BTreeMap;

use bytes::Bytes;

use p2psip_overlay_core::{Answer, Command, ReplicaStore};
use wire::{
    Decode, Encode, ErrorCode, FetchAns, FetchKindResponse, FetchReq, MessageCode, NodeId, ResourceId, StoreAns,
    StoreKindData, StoreKindResponse, StoreReq, StoredData,
};

#[derive(Default)]
pub struct Storage {
    pub values: BTreeMap<ResourceId, StoreKindData>,
    /// How many original Stores were carried out.
    pub originals: usize,
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
            Command::Apply { .. } => Answer::Refused {
                code: ErrorCode::InvalidMessage.number(),
                info: Bytes::new(),
            },
            Command::Scan { after, range } => self.scan(after, range),
            Command::Keep { .. } | Command::Clock { .. } | Command::Document { .. } => Answer::Done,
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
