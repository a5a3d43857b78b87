//! Store (RFC 6940 §7.4.1).

use serde::Serialize;

use crate::{
    codec::{
        Decode, DecodeError, Encode, Reader, Writer,
        forms::{read_within, write_list},
    },
    id::{KindId, NodeId, ResourceId},
    stored::StoredData,
};

structure! {
    /// Stores values of several Kinds in one place, all or none.
    pub struct StoreReq {
        /// The place.
        pub resource: ResourceId,
        /// 0 for an original, from 1 for a copy.
        pub replica_number: u8,
        /// The values.
        pub kind_data: Vec<StoreKindData> = list32,
    }
}

/// Values of one Kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct StoreKindData {
    /// The Kind.
    pub kind: KindId,
    /// Generation that must be the stored one; 0 for any.
    pub generation_counter: u64,
    /// The values.
    pub values: Vec<StoredData>,
}

impl Encode for StoreKindData {
    fn encode(&self, out: &mut Writer) {
        self.kind.encode(out);
        self.generation_counter.encode(out);
        write_list(out, 4, &self.values);
    }
}

impl Decode for StoreKindData {
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let kind = KindId::decode(reader)?;
        let generation_counter = u64::decode(reader)?;
        Ok(Self {
            kind,
            generation_counter,
            values: values(reader, kind)?,
        })
    }
}

/// Takes a list of values of that Kind.
pub(super) fn values(reader: &mut Reader<'_>, kind: KindId) -> Result<Vec<StoredData>, DecodeError> {
    let model = reader.models().model(kind);
    read_within(reader, 4, |inner| {
        let mut values = Vec::new();
        while inner.left() > 0 {
            values.push(StoredData::read(inner, model)?);
        }
        Ok(values)
    })
}

structure! {
    /// Has stored the values.
    pub struct StoreAns {
        /// One for each Kind of the request.
        pub kind_responses: Vec<StoreKindResponse> = list16,
    }
}

structure! {
    /// What became of a Kind.
    pub struct StoreKindResponse {
        /// The Kind.
        pub kind: KindId,
        /// Its generation now.
        pub generation_counter: u64,
        /// Who holds copies.
        pub replicas: Vec<NodeId> = list16,
    }
}
