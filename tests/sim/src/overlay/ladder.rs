//! What each storage is told of a resource, one line a command, for the replay of a run.
//!
//! `RUST_LOG=p2psip_sim::overlay::ladder=trace` shows the life of all values; a Resource-ID finds one of them.

use storage_core::Command;
use tracing::{Level, trace};
use wire::{Decode, MessageCode, NodeId, StoreReq};

use super::credentials::Credentials;

/// Shows a command that reaches the storage of a peer.
pub(super) fn show(host: NodeId, command: &Command, credentials: &Credentials) {
    if !tracing::enabled!(Level::TRACE) {
        return;
    }
    let host = host.short();
    match command {
        Command::Apply { code, body, signer, .. } if *code == MessageCode::STORE_REQ.0 => {
            let models = credentials.document.document().models();
            let Ok(store) = StoreReq::from_bytes_with(body, &models) else {
                return;
            };
            let times: Vec<u64> = store
                .kind_data
                .iter()
                .flat_map(|kind| kind.values.iter().map(|value| value.storage_time))
                .collect();
            let (resource, number) = (store.resource.short(), store.replica_number);
            trace!(host, resource, number, is_own_merge = signer.is_none(), ?times, "store");
        }
        Command::Forget {
            resource, compare_only, ..
        } => trace!(host, resource = resource.short(), compare_only, "forget"),
        Command::Keep { own, replica } => {
            trace!(host, own = ?(own.0.short(), own.1.short()), replica = ?(replica.0.short(), replica.1.short()), "keep");
        }
        Command::Scan { after, range } => {
            trace!(host, after = ?after.map(|after| after.short()), range = ?(range.0.short(), range.1.short()), "scan");
        }
        Command::Apply { .. } | Command::Count | Command::Clock { .. } | Command::Document { .. } => {}
    }
}
