//! The side that is called, and all other requests.

use std::net::SocketAddr;
use std::time::Instant;

use super::call::{Accepted, Call, State};
use super::{Agent, Event, Output, sdp};
use crate::message::{Acting, Address, Fault, Message, Method, Name, Reply, reason_phrase};
use crate::transaction::{AckVerdict, Class, ServerId, ServerKey, Settings};

/// The methods that the agent understands.
pub(super) const ALLOW: &str = "INVITE, ACK, CANCEL, BYE, OPTIONS";

impl Agent {
    pub(super) fn handle_request(&mut self, now: Instant, source: SocketAddr, request: Message) {
        let key = {
            let Some(via) = request.top_via() else { return };
            ServerKey::new(via.branch().unwrap_or_default(), via.sent_by, request.method().as_str())
        };
        let found = self.layer.find_server(&key);
        if request.method() == Method::Ack {
            if found.is_none_or(|id| self.layer.handle_ack(now, id) == AckVerdict::Pass) {
                self.handle_ack(&request);
            }
            return;
        }
        if let Some(id) = found {
            self.layer.handle_repeat(id);
            return;
        }
        let class = if request.method() == Method::Invite {
            Class::Invite
        } else {
            Class::Other
        };
        // A full table drops the request; the other side repeats it.
        let Ok(id) = self.layer.open_server(now, key, class, self.hop(source)) else {
            return;
        };
        self.received.insert(id, request.clone());
        match request.validate(Acting::Server(&[])) {
            Ok(()) => self.dispatch(now, (id, source), &request),
            Err(Fault::Refuse(refusal)) => {
                let response = refusal.to_response(&request);
                self.layer.respond(now, id, refusal.code, response.bytes().clone());
            }
            Err(Fault::Silence(_)) => self.layer.close_server(id),
        }
    }

    fn dispatch(&mut self, now: Instant, origin: (ServerId, SocketAddr), request: &Message) {
        let (id, source) = origin;
        match request.method() {
            Method::Invite if request.to_tag().is_some() => self.respond(now, id, request, (488, "")),
            Method::Invite if self.call.is_some() => self.respond(now, id, request, (486, "")),
            Method::Invite => self.ring(now, (id, source), request),
            Method::Cancel => self.handle_cancel(now, id, request),
            Method::Bye if self.call.as_ref().is_some_and(|call| call.is_of(request)) => {
                self.respond(now, id, request, (200, ""));
                self.end_call();
            }
            Method::Bye => self.respond(now, id, request, (481, "")),
            Method::Options => self.respond(now, id, request, (200, "")),
            _ => self.respond(now, id, request, (405, "")),
        }
    }

    /// Answers a request finally, without a body.
    pub(super) fn respond(&mut self, now: Instant, id: ServerId, request: &Message, status: (u16, &str)) {
        let (code, reason) = status;
        let reply = Reply::new(request, code);
        let reply = if reason.is_empty() { reply } else { reply.reason(reason) };
        // RFC 3261 §21.4.6 asks for Allow in a 405, §11.2 for one in the answer to OPTIONS.
        let reply = if matches!(code, 200 | 405) {
            reply.header(Name::Allow, ALLOW)
        } else {
            reply
        };
        self.layer.respond(now, id, code, reply.build().bytes().clone());
    }

    fn ring(&mut self, now: Instant, origin: (ServerId, SocketAddr), invite: &Message) {
        let (id, peer) = origin;
        let tag = self.identifiers.next();
        let ringing = Reply::new(invite, 180)
            .tag(&tag)
            .copy(Name::RecordRoute)
            .header(Name::Contact, &self.contact());
        self.layer.respond(now, id, 180, ringing.build().bytes().clone());
        let contact = invite
            .values(Name::Contact)
            .next()
            .and_then(Address::parse)
            .map(|contact| contact.uri);
        let from = invite.from().map(|from| from.uri).unwrap_or_default();
        self.call = Some(Call {
            state: State::Calling,
            invite: invite.clone(),
            call_id: invite.call_id().unwrap_or_default().to_owned(),
            local: format!("{};tag={tag}", invite.header(Name::To).unwrap_or_default()),
            remote: invite.header(Name::From).unwrap_or_default().to_owned(),
            cseq: 0,
            target: contact.unwrap_or(from).to_owned(),
            // RFC 3261 §12.1.1: the callee takes the route set as it stands.
            route: invite.values(Name::RecordRoute).map(str::to_owned).collect(),
            peer,
            server: Some(id),
            answer_at: Some(now + self.settings.ring),
            accepted: None,
            ack: None,
            is_progressing: true,
        });
        self.tell(Event::Incoming { from: from.to_owned() });
    }

    pub(super) fn handle_call_timeout(&mut self, now: Instant) {
        let Some(call) = &mut self.call else { return };
        if call.answer_at.is_some_and(|at| at <= now) {
            call.answer_at = None;
            self.accept(now);
            return;
        }
        let Some(accepted) = &mut call.accepted else { return };
        if accepted.give_up_at <= now {
            // RFC 3261 §13.3.1.4: without an ACK the session ends with a BYE. A full table leaves that to the caller.
            let _ = self.send_bye(now);
        } else if accepted.repeat_at <= now {
            let settings = Settings::default();
            accepted.interval = (accepted.interval * 2).min(settings.t2);
            accepted.repeat_at = now + accepted.interval;
            let output = Output::Send {
                to: call.peer,
                bytes: accepted.response.bytes().clone(),
            };
            self.outputs.push_back(output);
        }
    }

    /// Answers the ringing call with 200, which is then repeated until its ACK comes (RFC 3261 §13.3.1.4).
    fn accept(&mut self, now: Instant) {
        let contact = self.contact();
        let sdp = sdp::describe(self.settings.media);
        let Some(call) = &mut self.call else { return };
        let Some(server) = call.server else { return };
        let tag = Address::parse(&call.local).and_then(Address::tag).unwrap_or_default();
        let response = Reply::new(&call.invite, 200)
            .tag(tag)
            .copy(Name::RecordRoute)
            .header(Name::Contact, &contact)
            .header(Name::Allow, ALLOW)
            .body(sdp::CONTENT_TYPE, sdp)
            .build();
        let settings = Settings::default();
        call.state = State::Up;
        call.accepted = Some(Accepted {
            response: response.clone(),
            interval: settings.t1,
            repeat_at: now + settings.t1,
            give_up_at: now + settings.t1 * 64,
        });
        self.layer.respond(now, server, 200, response.bytes().clone());
    }

    fn handle_ack(&mut self, ack: &Message) {
        let Some(call) = self.call.as_mut().filter(|call| call.is_of(ack)) else {
            return;
        };
        if call.accepted.take().is_some() {
            self.tell(Event::Established);
        }
    }

    /// RFC 3261 §9.2: the CANCEL is answered for itself, the INVITE with 487.
    fn handle_cancel(&mut self, now: Instant, id: ServerId, cancel: &Message) {
        let key = cancel
            .top_via()
            .map(|via| ServerKey::new(via.branch().unwrap_or_default(), via.sent_by, Method::Invite.as_str()));
        let invite = key.and_then(|key| self.layer.find_server(&key));
        let Some(server) = invite else {
            return self.respond(now, id, cancel, (481, ""));
        };
        self.respond(now, id, cancel, (200, ""));
        if self
            .call
            .as_ref()
            .is_some_and(|call| call.server == Some(server) && call.state == State::Calling)
        {
            self.refuse_ringing(now, 487);
        }
    }

    /// Ends an incoming call that was not answered yet.
    pub(super) fn refuse_ringing(&mut self, now: Instant, code: u16) {
        let Some((call, server)) = self.call.as_ref().and_then(|call| Some((call, call.server?))) else {
            return;
        };
        let tag = Address::parse(&call.local).and_then(Address::tag).unwrap_or_default();
        let response = Reply::new(&call.invite, code).tag(tag).build();
        self.layer.respond(now, server, code, response.bytes().clone());
        self.fail_call(code, reason_phrase(code));
    }
}
