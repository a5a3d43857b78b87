//! What the tests store and read.

use bytes::Bytes;

use p2psip_overlay_core::CallResult;
use wire::{
    Body, Decode, Destination, FetchReq, KindId, MessageContents, ModelSpecifier, NodeId, ResourceId, Signature,
    SignatureAndHash, SignerIdentity, StoreKindData, StoreReq, StoredData, StoredDataSpecifier, StoredDataValue,
};

use super::Net;

pub fn resource(name: &str) -> ResourceId {
    ResourceId::of(name.as_bytes())
}

pub fn store(name: &str, storage_time: u64) -> Body {
    let value = StoredData {
        storage_time,
        lifetime: 3600,
        value: StoredDataValue::Single(wire::DataValue::of(Bytes::from(storage_time.to_string()))),
        signature: Signature {
            algorithm: SignatureAndHash::ED25519,
            identity: SignerIdentity::CertHash {
                hash_alg: SignerIdentity::SHA256,
                hash: Bytes::from(vec![1; 32]),
            },
            value: Bytes::from_static(b"believed"),
        },
    };
    let kind_data = vec![StoreKindData {
        kind: KindId::P2PSIP_PROBE,
        generation_counter: 1,
        values: vec![value],
    }];
    StoreReq {
        resource: resource(name),
        replica_number: 0,
        kind_data,
    }
    .into()
}

pub fn fetch(name: &str) -> Body {
    let specifier = StoredDataSpecifier {
        kind: KindId::P2PSIP_PROBE,
        generation: 0,
        model: ModelSpecifier::Single,
    };
    FetchReq {
        resource: resource(name),
        specifiers: vec![specifier],
    }
    .into()
}

pub fn at(name: &str) -> Vec<Destination> {
    vec![resource(name).into()]
}

pub fn body(result: &CallResult) -> Body {
    match result {
        CallResult::Answered { contents, .. } => MessageContents::from_bytes(contents).unwrap().body().unwrap(),
        CallResult::Refused(refusal) => panic!("refused: {} {:?}", refusal.code, refusal.info),
    }
}

pub fn fetched_time(result: &CallResult) -> Option<u64> {
    let Body::FetchAns(answer) = body(result) else {
        panic!("a FetchAns")
    };
    Some(answer.kind_responses.first()?.values.first()?.storage_time)
}

pub fn replicas(result: &CallResult) -> Vec<NodeId> {
    let Body::StoreAns(answer) = body(result) else {
        panic!("a StoreAns")
    };
    answer.kind_responses[0].replicas.clone()
}

pub fn owner(net: &Net, name: &str) -> usize {
    let place = resource(name).to_u128();
    let distance = |index: &usize| net.nodes[*index].id().to_u128().wrapping_sub(place);
    (0..net.nodes.len())
        .filter(|index| !net.nodes[*index].is_dead)
        .min_by_key(distance)
        .unwrap()
}
