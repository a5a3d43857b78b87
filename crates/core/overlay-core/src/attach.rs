//! Attach: how two nodes come to a direct link (RFC 6940 §6.5.1), without ICE.
//!
//! Both sides name the addresses they listen at. The node that asked is the passive one: it is the TLS server, so the
//! node that answers connects. An Attach has succeeded when the link is up.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use chord::{AttachId, Target};
use identity::Class;
use tracing::info;
use wire::{
    AddressPort, AttachAns, AttachReq, Body, CandidateType, Destination, ErrorCode, IceCandidate, NodeId, Now,
    OverlayLink, TransactionId,
};

use crate::core::Core;
use crate::dials::Wish;
use crate::serve::Asked;
use crate::transaction::{Answered, Outcome, Purpose, Request};

/// The Attaches that the topology waits for.
#[derive(Default)]
pub(crate) struct Attaches {
    open: BTreeMap<AttachId, Pending>,
}

struct Pending {
    /// Who is wanted; none while only a place is known.
    node: Option<NodeId>,
    /// The request, while it waits for its answer.
    transaction: Option<TransactionId>,
    /// It gave way to an Attach of the other side.
    has_yielded: bool,
    until: Instant,
}

impl Attaches {
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.open.values().map(|pending| pending.until).min()
    }
}

impl Core {
    /// Starts an Attach for the topology.
    pub(crate) fn attach(&mut self, now: Now, id: AttachId, target: Target) {
        let (node, destination): (_, Vec<Destination>) = match target {
            // RFC 6940 §10.6: by way of the peer that named the new neighbour.
            Target::Node { node, via } => (
                Some(node),
                via.into_iter().chain([node]).map(Destination::Node).collect(),
            ),
            Target::Resource(resource) => (None, vec![resource.into()]),
        };
        if let Some(node) = node.filter(|node| self.links.to(*node).is_some()) {
            return self.chord.handle_attached(now, id, node);
        }
        if self.attaches.open.len() >= MOST_ATTACHES {
            return self.chord.handle_attach_failed(now, id);
        }
        // Its own Attach is about to succeed: one link is enough.
        let is_dialing = node.is_some_and(|node| self.dials.is_dialing(node));
        let pending = Pending {
            node,
            transaction: None,
            has_yielded: is_dialing,
            until: now.instant + LINK_TIME,
        };
        self.attaches.open.insert(id, pending);
        if !is_dialing {
            let body = self.attach_request(false).into();
            let transaction = self.request(now, Request::routed(destination, &body, Purpose::Attach(id)));
            if let Some(pending) = self.attaches.open.get_mut(&id) {
                pending.transaction = Some(transaction);
            }
        }
    }

    pub(crate) fn attach_request(&self, send_update: bool) -> AttachReq {
        AttachReq {
            ufrag: Bytes::new(),
            password: Bytes::new(),
            // RFC 6940 §6.5.1.1: the offerer is passive.
            role: Bytes::from_static(b"passive"),
            candidates: self.candidates(),
            send_update,
        }
    }

    /// Other addresses of this machine: what later Attaches tell. Links that stand are not touched.
    pub fn set_local_addresses(&mut self, addresses: Vec<SocketAddr>) {
        info!(node_id = %self.settings.node_id.short(), ?addresses, "addresses of this machine changed");
        self.settings.local_addresses = addresses;
    }

    fn candidates(&self) -> Vec<IceCandidate> {
        let preferences = (0..u32::from(u16::MAX)).rev();
        let addresses = self.settings.local_addresses.iter().zip(preferences);
        addresses
            .map(|(address, preference)| IceCandidate {
                address: AddressPort::from(*address),
                overlay_link: OverlayLink::TLS_TCP_FH_NO_ICE,
                foundation: Bytes::from_static(b"1"),
                // RFC 5245 §4.1.2.1: type preference 126 of a host candidate, then the local one, component 1.
                priority: (126 << 24) | (preference << 8) | 255,
                candidate_type: CandidateType::Host,
                extensions: Vec::new(),
            })
            .collect()
    }

    pub(crate) fn attach_answered(&mut self, now: Now, id: AttachId, outcome: Outcome) {
        let Some(pending) = self.attaches.open.get_mut(&id) else {
            return;
        };
        pending.transaction = None;
        match outcome {
            Outcome::Answered(answered) if answered.signer == self.settings.node_id => self.attach_failed(now, id),
            Outcome::Answered(answered) => {
                pending.node = Some(answered.signer);
                pending.until = now.instant + LINK_TIME;
                self.attach_candidates_heard(&answered);
                if self.links.to(answered.signer).is_some() {
                    self.attach_link_up(now, answered.signer);
                }
            }
            // RFC 6940 §6.5.1.2: its own Attach to us is under way.
            Outcome::Refused(refusal) if refusal.code == ErrorCode::InProgress => {
                pending.has_yielded = true;
                pending.until = now.instant + LINK_TIME;
            }
            Outcome::Refused(_) | Outcome::Silent => self.attach_failed(now, id),
        }
    }

    /// Keeps where the node listens that answered an Attach.
    pub(crate) fn attach_candidates_heard(&mut self, answered: &Answered) {
        if let Ok(Body::AttachAns(answer)) = answered.contents.body() {
            self.memory.attaches_at(answered.signer, &answer.candidates);
        }
    }

    fn attach_failed(&mut self, now: Now, id: AttachId) {
        if let Some(pending) = self.attaches.open.remove(&id) {
            if let Some(transaction) = pending.transaction {
                self.transactions.take(transaction);
            }
            self.chord.handle_attach_failed(now, id);
        }
    }

    /// A link came up: whichever Attach wanted it has succeeded.
    pub(crate) fn attach_link_up(&mut self, now: Now, node: NodeId) {
        let met: Vec<AttachId> = self
            .attaches
            .open
            .iter()
            .filter(|(_, pending)| pending.node == Some(node))
            .map(|(id, _)| *id)
            .collect();
        for id in met {
            let transaction = self.attaches.open.remove(&id).and_then(|pending| pending.transaction);
            if let Some(transaction) = transaction {
                self.transactions.take(transaction);
            }
            self.chord.handle_attached(now, id, node);
        }
    }

    pub(crate) fn attaches_due(&mut self, now: Now) {
        let late: Vec<AttachId> = self
            .attaches
            .open
            .iter()
            .filter(|(_, pending)| pending.until <= now.instant)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.attach_failed(now, id);
        }
    }

    pub(crate) fn attach_asked(&mut self, now: Now, asked: Asked, attach: &AttachReq) {
        let node = asked.signer;
        if node == self.own() || asked.class == Class::Signer {
            return self.refuse(now, asked, ErrorCode::InvalidMessage, "no node to attach to");
        }
        self.memory.attaches_at(node, &attach.candidates);
        // Who asks for this node by name, and not over its link, has none: ours has died, and we have not noticed. The
        // new one is tried against it.
        let has_no_link = matches!(asked.destination, Destination::Node(_)) && !asked.is_direct;
        if self.links.to(node).is_some() && !has_no_link {
            self.accept_attach(now, asked);
            // RFC 6940 §6.4.2.3: after the connection is complete, as it is.
            if attach.send_update {
                self.chord.send_full_update(now, node);
            }
            return;
        }
        if self.is_attach_in_progress(node) {
            return self.refuse(now, asked, ErrorCode::InProgress, "Attach is in progress");
        }
        let addresses = usable_addresses(&attach.candidates);
        if addresses.is_empty() {
            return self.refuse(
                now,
                asked,
                ErrorCode::InvalidMessage,
                "no candidate of type TLS-TCP-FH-NO-ICE",
            );
        }
        let wish = Wish::Attach {
            node,
            is_peer: asked.class == Class::Peer,
            send_update: attach.send_update,
        };
        if !self.dials.is_dialing(node) && !self.dial(now, wish, addresses) {
            return self.refuse(now, asked, ErrorCode::InProgress, "too many links are being made");
        }
        self.accept_attach(now, asked);
    }

    fn accept_attach(&mut self, now: Now, asked: Asked) {
        let answer = AttachAns {
            ufrag: Bytes::new(),
            password: Bytes::new(),
            // RFC 6940 §6.5.1.1: the answerer is active, so it connects.
            role: Bytes::from_static(b"active"),
            candidates: self.candidates(),
            send_update: false,
        };
        self.answer(now, asked, &answer.into());
    }

    /// Tells whether an own Attach to a node goes before its Attach to us. If not, the own one is withdrawn.
    // RFC 6940 §6.5.1.2: an answered one goes on; of two unanswered ones the smaller Node-ID's yields.
    fn is_attach_in_progress(&mut self, node: NodeId) -> bool {
        let is_larger = self.own() > node;
        let mut withdrawn = Vec::new();
        for pending in self
            .attaches
            .open
            .values_mut()
            .filter(|pending| pending.node == Some(node))
        {
            match pending.transaction {
                None if pending.has_yielded => {}
                None => return !self.dials.is_dialing(node),
                Some(_) if is_larger => return true,
                Some(transaction) => {
                    withdrawn.push(transaction);
                    pending.transaction = None;
                    pending.has_yielded = true;
                }
            }
        }
        for transaction in withdrawn {
            self.transactions.take(transaction);
        }
        false
    }
}

/// The addresses among candidates that can be connected to.
pub(crate) fn usable_addresses(candidates: &[IceCandidate]) -> Vec<SocketAddr> {
    let is_usable = |candidate: &&IceCandidate| candidate.overlay_link == OverlayLink::TLS_TCP_FH_NO_ICE;
    let addresses = candidates
        .iter()
        .filter(is_usable)
        .filter_map(|candidate| candidate.address.socket());
    addresses.take(MOST_CANDIDATES).collect()
}

/// How long an Attach may take, and then how long its link.
const LINK_TIME: Duration = Duration::from_secs(5);

/// Attaches at the same time: the neighbours and fingers of a large ring, twice over.
const MOST_ATTACHES: usize = 256;

/// Addresses of one node that are tried; a host has few.
const MOST_CANDIDATES: usize = 8;
