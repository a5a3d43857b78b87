//! A request as the overlay takes it from its client: complete and signed.

use bytes::Bytes;
use identity::{Sign, sign_message};
use wire::{
    Body, Encode, KindId, MessageContents, ResourceId, SecurityBlock, StoreKindData, StoreReq, StoredData,
    TransactionId,
};

/// A signed request; the overlay adds the forwarding header and repeats it, and never signs for its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The transaction that the signature covers.
    pub transaction_id: TransactionId,
    /// Where the request goes.
    pub resource: ResourceId,
    /// The message contents.
    pub contents: Bytes,
    /// The certificates and the signature.
    pub security: SecurityBlock,
}

impl Signed {
    pub(crate) fn new(
        signer: &dyn Sign,
        overlay: &str,
        transaction_id: TransactionId,
        resource: ResourceId,
        body: &Body,
    ) -> Self {
        let contents = MessageContents::of(body).to_bytes();
        let security = sign_message(signer, overlay, transaction_id, &contents);
        Self {
            transaction_id,
            resource,
            contents,
            security,
        }
    }

    /// Stores one value; the same certificate signs value and request, because outside of replica Stores both signers
    /// must satisfy the Kind's policy (RFC 6940 §7.3).
    pub(crate) fn store(
        signer: &dyn Sign,
        overlay: &str,
        transaction_id: TransactionId,
        resource: ResourceId,
        (kind, data): (KindId, StoredData),
    ) -> Self {
        // RFC 6940 §7.4.1.1: generation 0 stands for any. Other edges write other keys of the same Kind.
        let kind_data = vec![StoreKindData {
            kind,
            generation_counter: 0,
            values: vec![data],
        }];
        let body = Body::StoreReq(StoreReq {
            resource,
            replica_number: 0,
            kind_data,
        });
        Self::new(signer, overlay, transaction_id, resource, &body)
    }
}
