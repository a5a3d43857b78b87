//! Where messages go: symmetric recursive routing (RFC 6940 §6.1, §6.2).
//!
//! Forwarding keeps no state. A request collects the way back in its via list, an answer spends that list as its
//! destination list, and the TTL bounds what goes wrong.

use tracing::trace;

use chord::{Place, Route};
use wire::{Destination, Encode, ErrorCode, ForwardingOption, MessageCode, NodeId, Now, Packet, TraceContext, VERSION};

use crate::core::Core;
use crate::fragments::{self, Key};
use crate::ladder;
use crate::link::{Cargo, Carried};

impl Core {
    /// A message arrived over the link to `from`.
    // RFC 6940 §6.1: first the header is examined, then the first entry of the destination list.
    pub(crate) fn packet_received(&mut self, now: Now, packet: Packet, from: NodeId) {
        let header = &packet.header;
        let is_ours = header.overlay == self.parameters.overlay_hash;
        if !is_ours || header.version != VERSION {
            self.counters.malformed += 1;
            let info = if is_ours { "another version" } else { "another overlay" };
            return self.refuse_packet(now, &packet, Some(from), (ErrorCode::IncompatibleWithOverlay, info));
        }
        // RFC 6940 §6.3.2: nothing may live longer than the overlay allows.
        if header.ttl > self.parameters.initial_ttl {
            self.counters.malformed += 1;
            let why = (ErrorCode::TtlExceeded, "TTL above initial-ttl");
            return self.refuse_packet(now, &packet, Some(from), why);
        }
        if !is_sound(&header.destination_list, self.parameters.initial_ttl) {
            self.counters.malformed += 1;
            let why = (
                ErrorCode::InvalidMessage,
                "destination list goes in circles, or is too long",
            );
            return self.refuse_packet(now, &packet, Some(from), why);
        }
        ladder::step(self.own(), from, &packet);
        self.route(
            now,
            Carried {
                packet,
                from: Some(from),
                is_bulk: false,
            },
        );
    }

    /// Takes a message one step further: to this node, to a client, or over a link.
    pub(crate) fn route(&mut self, now: Now, mut carried: Carried) {
        let mut was_for_us = false;
        loop {
            let list = &carried.packet.header.destination_list;
            let is_only = list.len() == 1;
            match list.first() {
                // RFC 6940 §6.1.1: the wildcard is whoever receives it.
                Some(Destination::Node(node)) if *node == NodeId::WILDCARD => {
                    return self.deliver(now, carried.packet, carried.from, self.own());
                }
                Some(Destination::Node(node)) if *node == self.own() => {
                    if is_only {
                        return self.deliver(now, carried.packet, carried.from, self.own());
                    }
                    carried.packet.header.destination_list.remove(0);
                    was_for_us = true;
                }
                Some(Destination::Node(node)) => {
                    return self.route_to_node(now, *node, carried, was_for_us);
                }
                // RFC 6940 §6.1.1, §6.3.2.2: a resource stands alone at the end of a destination list.
                Some(Destination::Resource(resource)) if is_only => {
                    let place = Place::Resource(*resource);
                    return self.route_to_place(now, place, carried);
                }
                // RFC 6940 §6.1.3: this node replaces no via list by an opaque id, so none can be its own.
                Some(
                    Destination::Resource(_)
                    | Destination::Opaque(_)
                    | Destination::Compact(_)
                    | Destination::Other { .. },
                )
                | None => {
                    self.counters.malformed += 1;
                    return;
                }
            }
        }
    }

    fn route_to_node(&mut self, now: Now, node: NodeId, carried: Carried, was_for_us: bool) {
        if self.clients.is_attached(node) {
            if carried.packet.header.destination_list.len() == 1 {
                return self.deliver(now, carried.packet, carried.from, node);
            }
            self.counters.malformed += 1;
            return;
        }
        // RFC 6940 §6.1.2: who is directly connected is reached directly.
        if self.links.to(node).is_some() {
            return self.forward(now, node, carried);
        }
        if was_for_us && message_code(&carried.packet) == Some(MessageCode::APP_ATTACH_REQ) {
            // The list named this node as the home of a client: who follows it learns that the client is gone.
            let why = (ErrorCode::NotFound, "client is not attached");
            return self.refuse_packet(now, &carried.packet, carried.from, why);
        }
        self.route_to_place(now, Place::Node(node), carried);
    }

    fn route_to_place(&mut self, now: Now, place: Place, carried: Carried) {
        let header = &carried.packet.header;
        let mut been: Vec<NodeId> = header.via_list.iter().filter_map(node_of).collect();
        been.extend(carried.from);
        match self.chord.route(place, &been) {
            Route::Here => self.deliver(now, carried.packet, carried.from, self.own()),
            Route::Next(node) => self.forward(now, node, carried),
            Route::None => trace!(transaction_id = %header.transaction_id, "no way to destination"),
        }
    }

    /// Sends a message over a link.
    pub(crate) fn forward(&mut self, now: Now, node: NodeId, carried: Carried) {
        let Carried { packet, from, is_bulk } = &carried;
        if let Some(from) = from.filter(|from| !self.clients.is_attached(*from)) {
            // RFC 6940 §6.3.2: what arrived with TTL 0 goes no further.
            if packet.header.ttl == 0 {
                return self.refuse_packet(now, packet, Some(from), (ErrorCode::TtlExceeded, "TTL exceeded"));
            }
            if packet.header.options.iter().any(is_critical_to_forward) {
                let why = (
                    ErrorCode::UnsupportedForwardingOption,
                    "forwarding option is not supported",
                );
                return self.refuse_packet(now, packet, Some(from), why);
            }
            self.counters.forwarded += 1;
        }
        let code = message_code(packet);
        // A later piece may be of an answer, which is never shed.
        let cargo = if code.is_none_or(MessageCode::is_response) {
            Cargo::Answer
        } else if *is_bulk {
            Cargo::Bulk
        } else if from.is_none_or(|from| self.clients.is_attached(from)) {
            self.transactions.took(packet.header.transaction_id, node);
            Cargo::Own
        } else {
            Cargo::Forwarded(Box::new(carried.clone()))
        };
        let packet = self.next_hop(carried, node, code);
        for piece in fragments::split(packet) {
            match piece.checked_bytes() {
                Ok(message) => drop(self.send_over(now, node, message, cargo.clone())),
                // A via list that others filled up has no room for one more.
                Err(_) => self.counters.malformed += 1,
            }
        }
    }

    /// Changes the header as a hop has to.
    fn next_hop(&mut self, carried: Carried, node: NodeId, code: Option<MessageCode>) -> Packet {
        let Carried { mut packet, from, .. } = carried;
        let is_answer = code.is_some_and(MessageCode::is_response);
        // RFC 6940 §6.1.2: the way back goes through whoever sent it here. Answers need none.
        // Only the first piece of an answer can be told from a request, and all pieces must be alike.
        if let Some(from) = from.filter(|_| !is_answer || !packet.header.fragment.is_whole()) {
            packet.header.via_list.push(Destination::Node(from));
        }
        // RFC 6940 §6.3.2: decremented at every hop, just before transmission.
        packet.header.ttl = packet.header.ttl.saturating_sub(1);
        if from.is_some_and(|from| !self.clients.is_attached(from)) {
            self.trace_forwarded(&mut packet, code, node);
        }
        packet
    }

    /// The message ends here, at this node or at one of its clients.
    fn deliver(&mut self, now: Now, packet: Packet, from: Option<NodeId>, to: NodeId) {
        let whole = if packet.header.fragment.is_whole() {
            packet
        } else {
            let origin = packet.header.via_list.first().and_then(node_of).or(from).unwrap_or(to);
            let key = Key {
                transaction: packet.header.transaction_id,
                from: origin,
                to,
            };
            let link = from.unwrap_or(self.own());
            match self.reassembly.add(now.instant, link, key, packet) {
                Some(whole) => whole,
                None => return,
            }
        };
        let message = match whole.open() {
            Ok(message) => message,
            Err(error) => {
                trace!(%error, "message is malformed");
                self.counters.malformed += 1;
                return;
            }
        };
        match (message.contents.code.is_request(), to == self.own()) {
            (true, true) => self.serve(now, message, from),
            (true, false) => self.deliver_to_client(now, message, from, to),
            (false, _) => self.answer_received(now, message, to),
        }
    }
}

/// Whether a destination list names each node once, and no more of them than a message can reach.
// RFC 6940 §13.6.5: a list that leads around would multiply what its sender spends.
fn is_sound(list: &[Destination], initial_ttl: u8) -> bool {
    let is_new = |(index, entry): (usize, &Destination)| !list.iter().take(index).any(|earlier| earlier == entry);
    list.len() <= usize::from(initial_ttl) && list.iter().enumerate().all(is_new)
}

/// The code of a message, in the piece that has it.
// RFC 6940 §6.3.3: the contents begin with it.
pub(crate) fn message_code(packet: &Packet) -> Option<MessageCode> {
    let octets = packet
        .payload
        .first_chunk::<2>()
        .filter(|_| packet.header.fragment.offset == 0)?;
    Some(MessageCode(u16::from_be_bytes(*octets)))
}

pub(crate) fn node_of(destination: &Destination) -> Option<NodeId> {
    match destination {
        Destination::Node(node) => Some(*node),
        Destination::Resource(_) | Destination::Opaque(_) | Destination::Compact(_) | Destination::Other { .. } => None,
    }
}

// RFC 6940 §6.3.2.3: whoever passes on a message has to understand such an option.
fn is_critical_to_forward(option: &ForwardingOption) -> bool {
    option.kind != TraceContext::OPTION && option.has(ForwardingOption::FORWARD_CRITICAL)
}
