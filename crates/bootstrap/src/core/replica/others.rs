//! The other services of the overlay: which there are, and how far a rotation of the record key is at each.
//!
//! The first service of the document rotates, and takes a step when all others have taken the one before: a service that does not
//! hold the new key could not open a record under it, and one that still seals under the old key would bring such records back.

use std::collections::BTreeMap;

use overlay_config::Service;
use rpc::proto::bootstrap::v1 as proto;
use wire::NodeId;

use crate::core::Core;
use crate::core::keys::RecordKeys;

/// How far a rotation is: the oldest key, how many there are, and whether the newer one seals. It grows with each step.
type Position = (u32, usize, bool);

/// How far each was when all that had changed there was here.
#[derive(Default)]
pub(in crate::core) struct Others {
    by_url: BTreeMap<String, Position>,
}

impl Core {
    /// The URLs of the other services that are there.
    pub(crate) fn other_services(&self) -> Vec<String> {
        let own = self.service.authority_hash();
        let others = self.services().filter(|service| service.authority != own);
        others.map(|service| service.url).collect()
    }

    /// The signers of users' records: those of a service that has left are signed anew by another.
    pub(in crate::core) fn writers(&self) -> Vec<NodeId> {
        self.services().map(|service| service.writer).collect()
    }

    /// The services of the document. One that has left is named as long as what it issued and signed counts, but nobody is there.
    fn services(&self) -> impl Iterator<Item = Service> {
        let document = self.service.document.document();
        let is_there = |service: &Service| document.enrollment_servers.contains(&service.url);
        document.bootstrap_services().into_iter().filter(is_there)
    }

    /// Notes how far another service is, if there is nothing more to be asked there.
    pub(crate) fn heard_of(&mut self, url: String, answer: &proto::ReplicateResponse) {
        if !answer.has_more {
            let oldest = answer.record_keys.first().copied().unwrap_or(0);
            let position = (oldest, answer.record_keys.len(), answer.resealing);
            self.others.by_url.insert(url, position);
        }
    }

    /// The service that rotates the record key, if it is another one: the first that is there.
    pub(in crate::core) fn rotated_by(&self) -> Option<String> {
        let first = self.services().next()?;
        (first.authority != self.service.authority_hash()).then_some(first.url)
    }

    /// The first of the other services that has not taken the step of a rotation that was taken here.
    pub(in crate::core) fn service_behind(&self) -> Option<String> {
        let keys = self.service.record_keys();
        let is_resealing = matches!(keys, RecordKeys::Resealing { .. });
        let versions = keys.versions();
        let position = (versions.first().copied().unwrap_or(0), versions.len(), is_resealing);
        let is_behind = |url: &String| self.others.by_url.get(url).is_none_or(|known| *known < position);
        self.other_services().into_iter().find(is_behind)
    }
}
