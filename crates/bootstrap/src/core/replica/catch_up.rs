//! How a new service comes to the state of the others: it takes all of one's, before it serves anybody.

use kv::{Batch, Tree};
use rpc::proto::bootstrap::v1 as proto;
use rpc::proto::bootstrap::v1::replicated::Sort;

use crate::error::StartError;
use crate::state::{
    self, EDGE_KEYS, EdgeKeysRecord, NODES, NodeRecord, SERVICE, SERVICE_KEY, ServiceRecord, SharedRecord, TOKENS,
    TokenRecord, USERS, UserRecord,
};

/// All that one service has told so far.
#[derive(Default)]
pub(crate) struct CatchUp {
    log: bytes::Bytes,
    next: u64,
    shared: Option<SharedRecord>,
}

impl CatchUp {
    /// The next request.
    pub(crate) fn request(&self) -> proto::ReplicateRequest {
        proto::ReplicateRequest {
            log: self.log.clone(),
            next: self.next,
        }
    }

    /// Takes an answer. The last one completes the record of the service itself: only then is it one of the overlay.
    pub(crate) fn take(
        &mut self,
        answer: &proto::ReplicateResponse,
        service: &mut ServiceRecord,
    ) -> Result<Batch, StartError> {
        let mut batch = Batch::new();
        for change in &answer.changes {
            match change.sort() {
                Sort::Shared => self.shared = Some(state::decode(SERVICE, &change.key, &change.record)?),
                Sort::User => copy(USERS, state::decode::<UserRecord>, change, &mut batch)?,
                Sort::Token => copy(TOKENS, state::decode::<TokenRecord>, change, &mut batch)?,
                Sort::Node => copy(NODES, state::decode::<NodeRecord>, change, &mut batch)?,
                Sort::EdgeKeys => copy(EDGE_KEYS, state::decode::<EdgeKeysRecord>, change, &mut batch)?,
                Sort::Unspecified => {}
            }
        }
        self.log = answer.log.clone();
        self.next = answer.next;
        if !answer.has_more
            && let Some(shared) = self.shared.take()
        {
            service.record_keys = shared.record_keys;
            service.resealing = shared.resealing;
            service.token_key = shared.token_key;
            service.backup_key = shared.backup_key;
            state::put(&mut batch, SERVICE, SERVICE_KEY, service);
        }
        Ok(batch)
    }
}

/// Takes a record as it is, if it can be read.
fn copy<T>(
    tree: Tree,
    read: impl FnOnce(Tree, &[u8], &[u8]) -> Result<T, StartError>,
    change: &proto::Replicated,
    batch: &mut Batch,
) -> Result<(), StartError> {
    read(tree, &change.key, &change.record)?;
    batch.put(tree, &change.key, change.record.clone());
    Ok(())
}
