//! Storing and removing an edge's own entry.

use identity::{Sign, sign_value};
use wire::{DataValue, Destination, Encode, KindId, NodeId, ResourceId, StoredData, StoredDataValue, TransactionId};

use super::SipRegistration;
use crate::request::Signed;

/// The lifetime of an entry in seconds; it has nothing to do with the phone's Expires, and the edge refreshes it at
/// its own pace.
pub const LIFETIME: u32 = 3600;

/// An edge that registers AORs at itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registrant {
    /// The name of the overlay.
    pub overlay: String,
    /// The peer that the edge is attached to, its home peer.
    pub home: NodeId,
}

impl Registrant {
    /// Builds the Store of an entry that routes to the signer's node. `signer` holds the minted certificate for
    /// (AOR, edge); `storage_time` is greater than any used before for this AOR.
    pub fn register(&self, signer: &dyn Sign, aor: &str, storage_time: u64, transaction_id: TransactionId) -> Signed {
        // RFC 7904 §3.1: the AOR leads to a destination list; an attached client is reached through its peer.
        let destination_list = vec![Destination::Node(self.home), Destination::Node(signer.node_id())];
        let registration = SipRegistration::Route {
            contact_prefs: Default::default(),
            destination_list,
        };
        self.store(
            signer,
            aor,
            DataValue::of(registration.to_bytes()),
            (storage_time, transaction_id),
        )
    }

    /// Builds the Store that removes the entry: a value that does not exist (RFC 6940 §7.4.1.3).
    pub fn unregister(&self, signer: &dyn Sign, aor: &str, storage_time: u64, transaction_id: TransactionId) -> Signed {
        self.store(signer, aor, DataValue::none(), (storage_time, transaction_id))
    }

    fn store(
        &self,
        signer: &dyn Sign,
        aor: &str,
        value: DataValue,
        (storage_time, transaction_id): (u64, TransactionId),
    ) -> Signed {
        // RFC 7904 §7: the Resource Name is the AOR without scheme, its escapes decoded; the key is the raw Node-ID.
        let resource = ResourceId::of(aor.as_bytes());
        let key = signer.node_id().as_bytes().to_vec().into();
        let value = StoredDataValue::Dictionary { key, value };
        let kind = KindId::SIP_REGISTRATION;
        let signature = sign_value(signer, resource, kind, storage_time, &value);
        let data = StoredData {
            storage_time,
            lifetime: LIFETIME,
            value,
            signature,
        };
        Signed::store(signer, &self.overlay, transaction_id, resource, (kind, data))
    }
}
