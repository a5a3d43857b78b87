//! What one holder has becomes a Store that another one merges.

use bytes::{BufMut, Bytes, BytesMut};

use wire::{Body, Encode, FetchAns, MessageCode, NodeId, Now, ResourceId, SignerIdentity, StoreKindData, StoreReq};

use crate::core::Core;
use crate::seam::{Command, CommandId};
use crate::session::Errand;
use crate::transaction::{Answered, Outcome};

impl Core {
    /// Merges what a holder answered to a Fetch into the own storage. None if there is nothing to merge.
    pub(crate) fn merge_answer(
        &mut self,
        now: Now,
        resource: ResourceId,
        outcome: Outcome,
        errand: Errand,
    ) -> Option<CommandId> {
        let Outcome::Answered(Answered {
            contents, certificates, ..
        }) = outcome
        else {
            return None;
        };
        let Ok(Body::FetchAns(fetched)) = contents.body_with(&self.parameters.models()) else {
            return None;
        };
        let store = as_store(resource, fetched)?;
        let command = Command::Apply {
            code: MessageCode::STORE_REQ.0,
            body: store.to_bytes(),
            certificates,
            signer: None,
        };
        Some(self.command(now, command, errand))
    }
}

/// The values of a Fetch answer as a Store.
// RFC 6940 §7.4.2.2: a value that does not exist is answered with one that nobody signed; that is no value.
fn as_store(resource: ResourceId, fetched: FetchAns) -> Option<StoreReq> {
    let kinds = fetched.kind_responses.into_iter().map(|response| StoreKindData {
        kind: response.kind,
        generation_counter: response.generation,
        values: response
            .values
            .into_iter()
            .filter(|value| value.signature.identity != SignerIdentity::None)
            .collect(),
    });
    let kind_data: Vec<StoreKindData> = kinds.filter(|kind| !kind.values.is_empty()).collect();
    (!kind_data.is_empty()).then_some(StoreReq {
        resource,
        replica_number: MERGE,
        kind_data,
    })
}

/// A StoreReq body with another replica number.
// RFC 6940 §7.4.1.1: the Resource-ID, with its length octet, comes first.
pub(crate) fn numbered(body: &Bytes, number: u8) -> Bytes {
    let (Some(before), Some(after)) = (body.get(..REPLICA_NUMBER_AT), body.get(REPLICA_NUMBER_AT + 1..)) else {
        return body.clone();
    };
    let mut numbered = BytesMut::with_capacity(body.len());
    numbered.put_slice(before);
    numbered.put_u8(number);
    numbered.put_slice(after);
    numbered.freeze()
}

/// The range that holds one resource and nothing else.
pub(crate) fn around(resource: ResourceId) -> (NodeId, NodeId) {
    (NodeId::from_u128(resource.to_u128().wrapping_sub(1)), resource.into())
}

/// Where the replica number stands in a StoreReq.
const REPLICA_NUMBER_AT: usize = 17;

/// Any replica number but 0 asks for a merge (RFC 6940 §10.4).
pub(crate) const MERGE: u8 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use wire::Decode;

    #[test]
    fn only_the_replica_number_changes() {
        let store = StoreReq {
            resource: ResourceId::of(b"a"),
            replica_number: 1,
            kind_data: Vec::new(),
        };
        let second = StoreReq::from_bytes(&numbered(&store.to_bytes(), 2)).unwrap();
        assert_eq!(
            second,
            StoreReq {
                replica_number: 2,
                ..store
            }
        );
    }
}
