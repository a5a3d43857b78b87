//! Storing a user record.

use identity::{Sign, sign_value};
use wire::{DataValue, KindId, ResourceId, StoredData, StoredDataValue, TransactionId};

use super::Record;
use crate::request::Signed;

/// The lifetime of a stored record in seconds: 50 days; the bootstrap service stores each anew long before.
pub const LIFETIME: u32 = 50 * 86_400;

/// Builds the Store of a user's record. `signer` holds the certificate of (AOR, user signer); `storage_time` is
/// greater than any used before for this AOR.
pub fn store(
    signer: &dyn Sign,
    overlay: &str,
    aor: &str,
    record: &Record,
    (storage_time, transaction_id): (u64, TransactionId),
) -> Signed {
    let resource = ResourceId::of(aor.as_bytes());
    let key = signer.node_id().as_bytes().to_vec().into();
    let value = StoredDataValue::Dictionary {
        key,
        value: DataValue::of(record.bytes().clone()),
    };
    let kind = KindId::P2PSIP_USER;
    let signature = sign_value(signer, resource, kind, storage_time, &value);
    let data = StoredData {
        storage_time,
        lifetime: LIFETIME,
        value,
        signature,
    };
    Signed::store(signer, overlay, transaction_id, resource, (kind, data))
}
