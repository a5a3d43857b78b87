//! The side that calls.

use std::time::Instant;

use super::call::{Call, State};
use super::{Agent, CommandError, Event, Output, Purpose, Sent, sdp};
use crate::message::{Address, Message, Method, Name, Request, cancel_for};

impl Agent {
    /// Calls a user; ends in [`Event::Established`] or [`Event::CallFailed`].
    ///
    /// # Errors
    ///
    /// Fails when there is a call already, or the table of transactions is full.
    pub fn call(&mut self, now: Instant, uri: &str) -> Result<(), CommandError> {
        if self.call.is_some() {
            return Err(CommandError::Busy);
        }
        let (call_id, tag) = (self.identifiers.next(), self.identifiers.next());
        let local = format!("<{}>;tag={tag}", self.settings.aor.to_uri());
        let remote = format!("<{uri}>");
        let invite = Request::new(&Method::Invite, uri)
            .header(Name::Via, &self.via())
            .header(Name::MaxForwards, "70")
            .header(Name::From, &local)
            .header(Name::To, &remote)
            .header(Name::CallId, &call_id)
            .header(Name::CSeq, "1 INVITE")
            .header(Name::Contact, &self.contact())
            .header(Name::Allow, super::callee::ALLOW)
            .body(sdp::CONTENT_TYPE, sdp::describe(self.settings.media))
            .build();
        self.call = Some(Call {
            state: State::Calling,
            invite: invite.clone(),
            call_id,
            local,
            remote,
            cseq: 1,
            target: uri.to_owned(),
            route: Vec::new(),
            peer: self.settings.edge,
            server: None,
            answer_at: None,
            accepted: None,
            ack: None,
            is_progressing: false,
        });
        let to = self.settings.edge;
        self.send(
            now,
            Sent {
                request: invite,
                to,
                purpose: Purpose::Invite,
                is_authenticated: false,
            },
        )
    }

    pub(super) fn handle_invite_response(&mut self, now: Instant, response: &Message, code: u16) {
        let Some(call) = &mut self.call else { return };
        if response.call_id() != Some(call.call_id.as_str()) {
            return;
        }
        match code {
            100 => call.is_progressing = true,
            101..200 => {
                call.is_progressing = true;
                self.tell(Event::Progress { code });
            }
            200..300 => return self.handle_accepted(now, response),
            _ => {
                let reason = response.reason().unwrap_or_default().to_owned();
                return self.fail_call(code, &reason);
            }
        }
        // A full table only delays the CANCEL until the next response.
        let _ = self.cancel_when_possible(now);
    }

    /// RFC 3261 §9.1: a CANCEL waits for the first provisional response.
    pub(super) fn cancel_when_possible(&mut self, now: Instant) -> Result<(), CommandError> {
        let Some(call) = &self.call else { return Ok(()) };
        let is_cancelled = self.sent.values().any(|sent| sent.purpose == Purpose::Cancel);
        if call.state != State::Cancelling || !call.is_progressing || is_cancelled {
            return Ok(());
        }
        let request = cancel_for(&call.invite);
        let to = self.settings.edge;
        // RFC 3261 §22.1: a CANCEL cannot be challenged.
        self.send(
            now,
            Sent {
                request,
                to,
                purpose: Purpose::Cancel,
                is_authenticated: true,
            },
        )
    }

    /// Acknowledges a 2xx; the first one makes the dialog, a repeated one gets the same ACK again (RFC 3261 §13.2.2.4).
    fn handle_accepted(&mut self, now: Instant, response: &Message) {
        let Some(call) = &mut self.call else { return };
        if let Some(ack) = call.ack.clone() {
            let to = self.next_hop();
            self.outputs.push_back(Output::Send {
                to,
                bytes: ack.bytes().clone(),
            });
            return;
        }
        let was_cancelled = call.state == State::Cancelling;
        response
            .header(Name::To)
            .unwrap_or_default()
            .clone_into(&mut call.remote);
        // RFC 3261 §12.1.2: the caller takes the route set in reverse order.
        call.route = response.values(Name::RecordRoute).map(str::to_owned).collect();
        call.route.reverse();
        let contact = response.values(Name::Contact).next().and_then(Address::parse);
        if let Some(contact) = contact {
            contact.uri.clone_into(&mut call.target);
        }
        call.state = State::Up;
        let ack = self.in_dialog(&Method::Ack);
        let to = self.next_hop();
        self.outputs.push_back(Output::Send {
            to,
            bytes: ack.bytes().clone(),
        });
        if let Some(call) = &mut self.call {
            call.ack = Some(ack);
        }
        if was_cancelled {
            // The callee answered before the CANCEL reached him. A full table leaves the call to the callee's timers.
            let _ = self.send_bye(now);
        } else {
            self.tell(Event::Established);
        }
    }
}
