//! The ring's share of the work: what the topology asks for, and what peers say about it.

use bytes::Bytes;
use wire::{
    Body, ChordRouteQueryAns, ChordUpdate, Destination, ErrorCode, LeaveAns, LeaveReq, MessageExtension, NodeId, Now,
    PingAns, PingReq, ProbeAns, ProbeInformation, ProbeReq, RouteQueryReq, UpdateAns,
};

use chord::{Place, Route};

use crate::api::Output;
use crate::core::Core;
use crate::seam::{Answer, Command};
use crate::serve::Asked;
use crate::session::Errand;
use crate::software;
use crate::transaction::{Outcome, Purpose, Request};

impl Core {
    /// Does what the topology wants done.
    pub(crate) fn obey_chord(&mut self, now: Now) {
        loop {
            match self.chord.poll_output() {
                chord::Output::Attach { id, target, .. } => self.attach(now, id, target),
                chord::Output::SendUpdate { to, update } => self.send_update(now, to, update),
                chord::Output::SendLeave { to, leave } => {
                    let leave = LeaveReq {
                        leaving_peer_id: self.own(),
                        overlay_specific_data: leave,
                    };
                    self.request(now, Request::to(to, &leave.into(), Purpose::Notice).over(to).once());
                }
                chord::Output::RequestUpdate(of) => self.request_update(now, of),
                chord::Output::Probe(node) => self.ping_link(now, node),
                chord::Output::ReadyToJoin { admitting } => self.send_join(now, admitting),
                chord::Output::Joined => self.joined(now),
                chord::Output::JoinFailed => self.join_failed(now),
                chord::Output::Isolated => self.isolated(now),
                chord::Output::RangeChanged { old, new } => self.range_changed(now, old, new),
                chord::Output::ReplicasChanged => self.replicas_changed(now),
                chord::Output::Timeout(at) => {
                    self.chord_due = at;
                    return;
                }
            }
            self.has_ring_news = true;
            self.outputs.push_back(Output::Changed);
        }
    }

    fn send_update(&mut self, now: Now, to: NodeId, update: ChordUpdate) {
        let mut extensions = self.range_notes(to);
        extensions.push(software::own());
        let request = Request::to(to, &Body::UpdateReq(update), Purpose::Notice)
            .over(to)
            .with_extensions(extensions);
        self.request(now, request);
    }

    // RFC 6940 §10.8: the query itself asks for nothing; the Update that follows its answer is wanted.
    pub(crate) fn request_update(&mut self, now: Now, of: NodeId) {
        let query = RouteQueryReq {
            send_update: true,
            destination: Destination::Node(of),
            overlay_specific_data: Bytes::new(),
        };
        self.request(now, Request::to(of, &query.into(), Purpose::Notice).over(of));
    }

    pub(crate) fn update_asked(
        &mut self,
        now: Now,
        asked: Asked,
        update: &ChordUpdate,
        extensions: &[MessageExtension],
    ) {
        if !asked.is_of_linked_peer() {
            return self.refuse(
                now,
                asked,
                ErrorCode::Forbidden,
                "Update not of a peer over its own link",
            );
        }
        let from = asked.signer;
        self.answer(now, asked, &UpdateAns::default().into());
        self.chord.handle_update(now, from, update);
        // The range that the notes speak of may begin with this Update.
        self.obey_chord(now);
        self.range_notes_received(now, from, extensions);
        self.software_heard(from, extensions);
        self.owner_heard(now, from);
        self.supply_to(now, from);
        self.peer_heard(now);
    }

    pub(crate) fn leave_asked(&mut self, now: Now, asked: Asked, leave: &LeaveReq) {
        // RFC 6940 §6.4.2.2: the signer leaves, and says so over the link bound to its Node-ID.
        if leave.leaving_peer_id != asked.signer || !asked.is_of_linked_peer() {
            return self.refuse(
                now,
                asked,
                ErrorCode::Forbidden,
                "Leave not over a link of the leaving peer",
            );
        }
        let from = asked.signer;
        self.answer(now, asked, &LeaveAns::default().into());
        self.chord.handle_leave(now, from);
    }

    pub(crate) fn route_query_asked(&mut self, now: Now, asked: Asked, query: &RouteQueryReq) {
        let next = match &query.destination {
            // RFC 6940 §6.1.2: a client too is reached directly by who is connected to it.
            Destination::Node(node) if self.links.to(*node).is_some() => Route::Next(*node),
            Destination::Node(node) => self.chord.route(Place::Node(*node), &[]),
            Destination::Resource(resource) => self.chord.route(Place::Resource(*resource), &[]),
            Destination::Opaque(_) | Destination::Compact(_) | Destination::Other { .. } => Route::None,
        };
        let asker = asked.signer;
        let send_update = query.send_update && asked.is_direct;
        match next {
            Route::Here => self.answer(now, asked, &ChordRouteQueryAns { next_peer: self.own() }.into()),
            Route::Next(next_peer) => self.answer(now, asked, &ChordRouteQueryAns { next_peer }.into()),
            Route::None => self.refuse(now, asked, ErrorCode::NotFound, "no way to destination"),
        }
        // RFC 6940 §10.8: the Update follows at once.
        if send_update {
            self.chord.send_full_update(now, asker);
        }
    }

    /// Asks whether the node at the other end of a link is there.
    pub(crate) fn ping_link(&mut self, now: Now, node: NodeId) {
        if self.links.to(node).is_some() && self.transactions.find(Purpose::Ping(node)).is_none() {
            self.request(
                now,
                Request::to(node, &PingReq::default().into(), Purpose::Ping(node))
                    .over(node)
                    .once(),
            );
        }
    }

    pub(crate) fn ping_answered(&mut self, now: Now, node: NodeId, outcome: &Outcome) {
        if let Outcome::Answered(answered) = outcome
            && let Ok(Body::PingAns(answer)) = answered.contents.body()
        {
            self.calendar.clear(node);
            self.session.clocks.hear(now, node, answer.time);
        }
    }

    pub(crate) fn ping_asked(&mut self, now: Now, asked: Asked, extensions: &[MessageExtension]) {
        let is_waiting = |extension: &MessageExtension| extension.kind == MessageExtension::WAITING_FOR_RING;
        let waiting = asked.is_of_linked_peer().then_some(asked.signer);
        // RFC 6940 §6.5.3.2: a random number, and the time in milliseconds.
        let answer = PingAns {
            response_id: self.random.next_u64(),
            time: now.unix_ms,
        };
        self.answer(now, asked, &answer.into());
        if let Some(node) = waiting.filter(|_| extensions.iter().any(is_waiting)) {
            self.waiting_heard(now, node);
        }
    }

    pub(crate) fn probe_asked(&mut self, now: Now, asked: Asked, probe: ProbeReq) {
        let wants_number = probe.requested_info.contains(&ProbeInformation::NUM_RESOURCES);
        if wants_number && self.session.is_usable() && self.session.has_room(asked.signer) {
            // Storage alone knows.
            self.command(now, Command::Count, Errand::Count(Box::new(asked), probe));
        } else {
            self.answer_probe(now, asked, &probe, None);
        }
    }

    pub(crate) fn counted(&mut self, now: Now, asked: Asked, probe: &ProbeReq, answer: &Answer) {
        let number = match answer {
            Answer::Counted { records } => Some(u32::try_from(*records).unwrap_or(u32::MAX)),
            _ => None,
        };
        self.answer_probe(now, asked, probe, number);
    }

    fn answer_probe(&mut self, now: Now, asked: Asked, probe: &ProbeReq, number: Option<u32>) {
        let uptime = now.instant.saturating_duration_since(self.born).as_secs();
        let known = |kind: &u8| match *kind {
            ProbeInformation::RESPONSIBLE_SET => Some(ProbeInformation::ResponsibleSet(self.responsible_ppb())),
            ProbeInformation::NUM_RESOURCES => number.map(ProbeInformation::NumResources),
            ProbeInformation::UPTIME => Some(ProbeInformation::Uptime(u32::try_from(uptime).unwrap_or(u32::MAX))),
            _ => None,
        };
        // RFC 6940 §6.4.2.5.2: in the order asked; what is not known is left out.
        let probe_info = probe
            .requested_info
            .iter()
            .take(MOST_PROBED)
            .filter_map(known)
            .collect();
        self.answer(now, asked, &ProbeAns { probe_info }.into());
    }

    /// The share of the ring that this peer is responsible for, in parts per billion.
    fn responsible_ppb(&self) -> u32 {
        const BILLION: u128 = 1_000_000_000;
        let Some(range) = self.chord.own_range() else { return 0 };
        let share = match range.until.to_u128().wrapping_sub(range.after.to_u128()) {
            0 => BILLION,
            span => span / (u128::MAX / BILLION),
        };
        u32::try_from(share).unwrap_or(u32::MAX)
    }
}

/// Entries of a Probe that are answered: there are three kinds of information.
const MOST_PROBED: usize = 8;
