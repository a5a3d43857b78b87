//! Requests of this node and of its clients, from the first transmission to the answer.
//!
//! RFC 6940 §6.2.1: a request is sent up to five times, at a constant interval, under one transaction id; then it
//! has failed. Who asked is written down as a [`Purpose`], so that the answer finds its way without a callback.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;

use tracing::debug;

use chord::AttachId;
use identity::sign_message;
use wire::{
    Body, CONFIGURATION_ANY, Destination, Encode, ErrorCode, ForwardingHeader, Fragment, GenericCertificate,
    MessageContents, MessageExtension, NodeId, Now, Packet, ResourceId, SecurityBlock, TooLong, TransactionId, VERSION,
    Writer,
};

use crate::api::{CallId, Output, Refusal, Traced};
use crate::core::Core;
use crate::keep::Walk;
use crate::link::Carried;
use crate::push::PushId;
use crate::stand_in::StandInId;
use crate::store::StoreId;

/// Why a request was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A user of this node called.
    Call(CallId),
    /// The topology wants a link.
    Attach(AttachId),
    /// A joining node looks for its place.
    Seek,
    /// A joining node asks to be admitted.
    Join,
    /// Is anybody there?
    Ping(NodeId),
    /// A replica of a Store that waits to be acknowledged.
    Replica(StoreId, NodeId),
    /// The holder of something newer is asked for it.
    Newer(StoreId, NodeId),
    /// A record on its way to another holder.
    Push(PushId, ResourceId),
    /// The receiver of a record is asked for what it has newer.
    PushNewer(PushId, ResourceId),
    /// A holder is asked what it has of a resource.
    Pull(ResourceId, NodeId),
    /// The owner of a record that is not kept is asked what it has of it.
    Surplus(Walk, ResourceId),
    /// A holder reads what the own storage cannot.
    StandIn(StandInId),
    /// Where does it listen?
    Whereabouts,
    /// Who owns the own place, asked through this node?
    ProbeRing(NodeId),
    /// The answer changes nothing.
    Notice,
}

/// How a request of this node ended.
pub(crate) enum Outcome {
    /// It was answered.
    Answered(Answered),
    /// It was refused.
    Refused(Refusal),
    /// Nobody answered.
    Silent,
}

/// An answer whose signature and signer are as they should be.
pub(crate) struct Answered {
    pub(crate) contents: MessageContents,
    pub(crate) encoded: Bytes,
    pub(crate) certificates: Vec<Bytes>,
    pub(crate) signer: NodeId,
    pub(crate) hops: u8,
}

/// A request to be made.
pub(crate) struct Request {
    destination: Vec<Destination>,
    body: Bytes,
    code: wire::MessageCode,
    extensions: Vec<MessageExtension>,
    certificates: Vec<Bytes>,
    over: Option<NodeId>,
    purpose: Purpose,
    sends: u8,
    is_bulk: bool,
    is_any_sequence: bool,
}

impl Request {
    /// A request that is routed.
    pub(crate) fn routed(destination: Vec<Destination>, body: &Body, purpose: Purpose) -> Self {
        Self::encoded(destination, body.code(), body.to_bytes(), purpose)
    }

    /// A request for a node, over the link to it if there is one.
    pub(crate) fn to(node: NodeId, body: &Body, purpose: Purpose) -> Self {
        Self::routed(vec![node.into()], body, purpose)
    }

    /// A request whose body is already encoded.
    pub(crate) fn encoded(
        destination: Vec<Destination>,
        code: wire::MessageCode,
        body: Bytes,
        purpose: Purpose,
    ) -> Self {
        Self {
            destination,
            body,
            code,
            extensions: Vec::new(),
            certificates: Vec::new(),
            over: None,
            purpose,
            sends: MOST_SENDS,
            is_bulk: false,
            is_any_sequence: false,
        }
    }

    /// Adds certificates of the values in the body (RFC 6940 §6.3.4).
    pub(crate) fn with_certificates(self, certificates: Vec<Bytes>) -> Self {
        Self { certificates, ..self }
    }

    /// Adds message extensions.
    pub(crate) fn with_extensions(self, extensions: Vec<MessageExtension>) -> Self {
        Self { extensions, ..self }
    }

    /// Takes this link, wherever the destination is.
    pub(crate) fn over(self, node: NodeId) -> Self {
        Self {
            over: Some(node),
            ..self
        }
    }

    /// Is sent once: a repetition would come too late to be of use.
    pub(crate) fn once(self) -> Self {
        Self { sends: 1, ..self }
    }

    /// Is accepted whatever document its receiver has.
    // RFC 6940 §6.3.2.1: for ConfigUpdate only.
    pub(crate) fn any_sequence(self) -> Self {
        Self {
            is_any_sequence: true,
            ..self
        }
    }

    /// Goes after everything else.
    pub(crate) fn bulk(self) -> Self {
        Self { is_bulk: true, ..self }
    }
}

/// The requests that wait for an answer.
#[derive(Default)]
pub(crate) struct Transactions {
    open: BTreeMap<TransactionId, Transaction>,
}

/// A request that waits for its answer.
pub(crate) struct Transaction {
    pub(crate) purpose: Purpose,
    pub(crate) packet: Packet,
    pub(crate) client: Option<NodeId>,
    over: Option<NodeId>,
    sent_over: Option<NodeId>,
    sends_left: u8,
    resend_at: Instant,
    deadline: Option<Instant>,
    is_bulk: bool,
    is_any_sequence: bool,
}

impl Transactions {
    pub(crate) fn get(&self, id: TransactionId) -> Option<&Transaction> {
        self.open.get(&id)
    }

    pub(crate) fn take(&mut self, id: TransactionId) -> Option<Transaction> {
        self.open.remove(&id)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.open.len() >= MOST_OPEN
    }

    /// Notes which link a request took.
    pub(crate) fn took(&mut self, id: TransactionId, node: NodeId) {
        if let Some(transaction) = self.open.get_mut(&id) {
            transaction.sent_over = Some(node);
        }
    }

    pub(crate) fn find(&self, purpose: Purpose) -> Option<TransactionId> {
        self.open
            .iter()
            .find(|(_, transaction)| transaction.purpose == purpose)
            .map(|(id, _)| *id)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.open.values().map(Transaction::due).min()
    }
}

impl Transaction {
    fn due(&self) -> Instant {
        self.deadline
            .map_or(self.resend_at, |deadline| deadline.min(self.resend_at))
    }

    pub(crate) fn may_be_sent_again(&self) -> bool {
        self.sends_left > 0
    }

    /// The last entry of the destination list: who has to answer.
    pub(crate) fn target(&self) -> Option<&Destination> {
        self.packet.header.destination_list.last()
    }
}

impl Core {
    /// Signs and sends a request of this node.
    pub(crate) fn request(&mut self, now: Now, request: Request) -> TransactionId {
        let id = self.random.transaction_id();
        let contents = MessageContents {
            code: request.code,
            body: request.body,
            extensions: request.extensions,
        };
        let contents = contents.to_bytes();
        let security = self.sign(id, &contents, request.certificates);
        let packet = self.packet(id, request.destination, &contents, &security);
        let Some(packet) = packet.ok().filter(|packet| self.fits(packet)) else {
            debug!(reload.method = %request.code, "request is too large");
            let refusal = Refusal {
                code: ErrorCode::MessageTooLarge,
                info: Bytes::new(),
            };
            self.finished(now, request.purpose, Outcome::Refused(refusal));
            return id;
        };
        self.transactions.open.insert(
            id,
            Transaction {
                purpose: request.purpose,
                packet,
                client: None,
                over: request.over,
                sent_over: None,
                sends_left: request.sends,
                resend_at: now.instant,
                deadline: None,
                is_bulk: request.is_bulk,
                is_any_sequence: request.is_any_sequence,
            },
        );
        self.transmit(now, id);
        id
    }

    /// Sends a request that is ready, for a user of this node.
    pub(crate) fn originate(&mut self, now: Now, call: CallId, carried: Carried, deadline: Instant) {
        let id = carried.packet.header.transaction_id;
        let transaction = Transaction {
            purpose: Purpose::Call(call),
            packet: carried.packet,
            client: carried.from,
            over: None,
            sent_over: None,
            sends_left: MOST_SENDS,
            resend_at: now.instant,
            deadline: Some(deadline),
            is_bulk: false,
            is_any_sequence: false,
        };
        if let Some(older) = self.transactions.open.insert(id, transaction) {
            // The same signed request again: whoever sent it first has given up waiting.
            let info = Bytes::from_static(b"the same request was sent again");
            let outcome = Outcome::Refused(Refusal {
                code: ErrorCode::InProgress,
                info,
            });
            self.finished(now, older.purpose, outcome);
        }
        self.transmit(now, id);
    }

    /// Signs contents under the own Node-ID, and adds the certificates of the values in them, each once.
    pub(crate) fn sign(&self, id: TransactionId, contents: &[u8], certificates: Vec<Bytes>) -> SecurityBlock {
        let mut security = sign_message(self.settings.signer.as_ref(), &self.parameters.overlay, id, contents);
        for certificate in certificates.into_iter().map(GenericCertificate::x509) {
            if !security.certificates.contains(&certificate) {
                security.certificates.push(certificate);
            }
        }
        security
    }

    /// Puts a forwarding header before signed contents.
    pub(crate) fn packet(
        &self,
        transaction_id: TransactionId,
        destination_list: Vec<Destination>,
        contents: &[u8],
        security: &SecurityBlock,
    ) -> Result<Packet, TooLong> {
        let mut payload = Writer::new();
        payload.octets(contents);
        security.encode(&mut payload);
        let longest = u32::try_from(self.parameters.longest_message).unwrap_or(u32::MAX);
        let header = ForwardingHeader {
            overlay: self.parameters.overlay_hash,
            configuration_sequence: self.newest_sequence(),
            version: VERSION,
            ttl: self.parameters.initial_ttl,
            fragment: Fragment::WHOLE,
            transaction_id,
            max_response_length: longest,
            via_list: Vec::new(),
            destination_list,
            options: Vec::new(),
        };
        Ok(Packet {
            header,
            payload: payload.checked()?,
        })
    }

    /// Whether a packet is short enough for the overlay, with what it gathers on its way.
    pub(crate) fn fits(&self, packet: &Packet) -> bool {
        packet.payload.len() + ROUTE_ROOM <= self.parameters.longest_message
    }

    fn transmit(&mut self, now: Now, id: TransactionId) {
        let timer = self.parameters.reliability_timer;
        let sequence = self.newest_sequence();
        let Some(transaction) = self.transactions.open.get_mut(&id) else {
            return;
        };
        transaction.sends_left = transaction.sends_left.saturating_sub(1);
        transaction.resend_at = now.instant + timer;
        // A document may have come since the last time (RFC 6940 §6.3.2.1).
        transaction.packet.header.configuration_sequence = if transaction.is_any_sequence {
            CONFIGURATION_ANY
        } else {
            sequence
        };
        let carried = Carried {
            packet: transaction.packet.clone(),
            from: transaction.client,
            is_bulk: transaction.is_bulk,
        };
        match transaction.over.filter(|node| self.links.to(*node).is_some()) {
            Some(node) => self.forward(now, node, carried),
            None => self.route(now, carried),
        }
    }

    pub(crate) fn transactions_due(&mut self, now: Now) {
        let due: Vec<TransactionId> = self
            .transactions
            .open
            .iter()
            .filter(|(_, transaction)| transaction.due() <= now.instant)
            .map(|(id, _)| *id)
            .collect();
        for id in due {
            let Some(transaction) = self.transactions.open.get(&id) else {
                continue;
            };
            let is_late = transaction.deadline.is_some_and(|deadline| deadline <= now.instant);
            if transaction.sends_left > 0 && !is_late {
                self.counters.retransmitted += 1;
                if let Purpose::Call(call) = transaction.purpose {
                    self.outputs.push_back(Output::Traced(Traced::SentAgain(call)));
                }
                self.transmit(now, id);
            } else if let Some(transaction) = self.transactions.take(id) {
                self.finished(now, transaction.purpose, Outcome::Silent);
            }
        }
    }

    /// A node is not connected any more: what was for it fails now, what went by it is sent again now.
    pub(crate) fn transactions_link_down(&mut self, now: Now, peer: NodeId) {
        let is_for_it = |transaction: &Transaction| {
            transaction.over == Some(peer) || transaction.target() == Some(&Destination::Node(peer))
        };
        let is_internal = |transaction: &Transaction| !matches!(transaction.purpose, Purpose::Call(_));
        let lost: Vec<TransactionId> = self
            .transactions
            .open
            .iter()
            .filter(|(_, transaction)| is_internal(transaction) && is_for_it(transaction))
            .map(|(id, _)| *id)
            .collect();
        for id in lost {
            if let Some(transaction) = self.transactions.take(id) {
                self.finished(now, transaction.purpose, Outcome::Silent);
            }
        }
        let rest: Vec<TransactionId> = self
            .transactions
            .open
            .iter()
            .filter(|(_, transaction)| transaction.sent_over == Some(peer) && transaction.sends_left > 0)
            .map(|(id, _)| *id)
            .collect();
        for id in rest {
            self.transmit(now, id);
        }
    }

    /// Tells whoever sent a request how it ended.
    pub(crate) fn finished(&mut self, now: Now, purpose: Purpose, outcome: Outcome) {
        match purpose {
            Purpose::Call(call) => self.call_done(call, outcome),
            Purpose::Attach(attach) => self.attach_answered(now, attach, outcome),
            Purpose::Seek => self.seek_answered(now, outcome),
            Purpose::Join => self.join_answered(now, outcome),
            Purpose::Ping(node) => self.ping_answered(now, node, &outcome),
            Purpose::Replica(store, node) => self.replica_answered(now, store, node, outcome),
            Purpose::Newer(store, node) => self.newer_answered(now, store, node, outcome),
            Purpose::Push(push, resource) => self.push_answered(now, push, resource, outcome),
            Purpose::PushNewer(push, resource) => self.push_newer_answered(now, push, resource, outcome),
            Purpose::Pull(resource, node) => self.pull_answered(now, resource, node, outcome),
            Purpose::Surplus(walk, resource) => self.owner_answered(now, walk, resource, outcome),
            Purpose::StandIn(id) => self.stand_in_answered(now, id, outcome),
            Purpose::Whereabouts => self.whereabouts_answered(now, &outcome),
            Purpose::ProbeRing(through) => self.probe_ring_answered(now, through, &outcome),
            Purpose::Notice => {}
        }
    }
}

// RFC 6940 §6.2.1: five transmissions in all.
const MOST_SENDS: u8 = 5;

/// What the header and the lists take on the way: 32 hops, and some.
const ROUTE_ROOM: usize = 1024;

/// Requests that wait for an answer; beyond this calls are refused, so that the upkeep of the ring has room.
const MOST_OPEN: usize = 8192;
