//! Attach: whom a request reaches by the routes of the nodes on its way.

use chord::{AttachId, Place, Route, Target};
use wire::NodeId;

use super::{Event, World};

impl World {
    pub(super) fn attach(&mut self, node: NodeId, id: AttachId, target: Target) {
        let found = match target {
            Target::Node { node: peer, via } => self.find(node, via, peer.into()).filter(|found| *found == peer),
            Target::Resource(resource) => self.find(node, None, resource.into()),
        };
        let wait = if found.is_some() {
            self.random.millis(4, 200)
        } else {
            self.random.millis(200, 2500)
        };
        let life = self.nodes.get(&node).map_or(0, |state| state.life);
        self.queue.after(wait, Event::AttachEnds { node, life, id, found });
    }

    /// Follows the routes of the nodes on the way to whom a request reaches.
    pub(super) fn find(&self, origin: NodeId, via: Option<NodeId>, place: Place) -> Option<NodeId> {
        let mut at = via.unwrap_or(origin);
        if via.is_some() && !self.links.is_up(origin, at) {
            return None;
        }
        let mut visited = vec![origin];
        for _ in 0..TTL {
            match self.nodes.get(&at)?.chord.as_ref()?.route(place, &visited) {
                Route::Here => return Some(at),
                Route::Next(next) if self.links.is_up(at, next) => {
                    visited.push(at);
                    at = next;
                }
                Route::Next(_) | Route::None => return None,
            }
        }
        None
    }

    pub(super) fn end_attach(&mut self, (node, life): (NodeId, u32), id: AttachId, found: Option<NodeId>) {
        let now = self.queue.now();
        if !self.is_alive(node, life) {
            return;
        }
        match found {
            Some(peer) if peer == node || self.connect(node, peer) => {
                self.with(node, |chord| chord.handle_attached(now, id, peer));
            }
            Some(_) | None => self.with(node, |chord| chord.handle_attach_failed(now, id)),
        }
    }
}

/// RFC 6940 §10's rings are walked with the initial TTL of our configuration document.
const TTL: usize = 32;
