//! The one call of an agent, and its dialog (RFC 3261 §12).

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::{Agent, CommandError, Event, Purpose, Sent};
use crate::message::{Address, Message, Method, Name, Request};
use crate::transaction::ServerId;
use crate::uri::Uri;

/// Where the call stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// The INVITE is out, or in.
    Calling,
    /// A CANCEL is wanted or out.
    Cancelling,
    /// A 2xx is out or in.
    Up,
    /// A BYE is out.
    Ending,
}

/// A 2xx that is repeated until its ACK arrives.
#[derive(Clone, Debug)]
pub(super) struct Accepted {
    pub(super) response: Message,
    pub(super) interval: Duration,
    pub(super) repeat_at: Instant,
    pub(super) give_up_at: Instant,
}

/// One call.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) state: State,
    /// The INVITE as sent or received last.
    pub(super) invite: Message,
    pub(super) call_id: String,
    /// Our own From value within the dialog, with its tag.
    pub(super) local: String,
    /// The other side's value, with its tag once it is known.
    pub(super) remote: String,
    /// The last number that we used.
    pub(super) cseq: u32,
    /// The remote target.
    pub(super) target: String,
    /// The route set, first hop first.
    pub(super) route: Vec<String>,
    /// Where the INVITE came from or went to.
    pub(super) peer: SocketAddr,
    /// The transaction of an incoming INVITE.
    pub(super) server: Option<ServerId>,
    /// When an incoming call is answered.
    pub(super) answer_at: Option<Instant>,
    /// Our 2xx, until it is acknowledged.
    pub(super) accepted: Option<Accepted>,
    /// Our ACK, repeated for each repeated 2xx.
    pub(super) ack: Option<Message>,
    pub(super) is_progressing: bool,
}

impl Call {
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        let accepted = self
            .accepted
            .as_ref()
            .map(|accepted| accepted.repeat_at.min(accepted.give_up_at));
        [self.answer_at, accepted].into_iter().flatten().min()
    }

    /// Says whether a request belongs to this dialog.
    pub(super) fn is_of(&self, request: &Message) -> bool {
        request.call_id() == Some(self.call_id.as_str())
            && request.from_tag() == tag_of(&self.remote)
            && request.to_tag() == tag_of(&self.local)
    }
}

fn tag_of(value: &str) -> Option<&str> {
    Address::parse(value).and_then(Address::tag)
}

impl Agent {
    /// Ends the call: a BYE when it is up, a CANCEL while it rings; ends in [`Event::Ended`] or [`Event::CallFailed`].
    ///
    /// # Errors
    ///
    /// Fails when there is no call, or the table of transactions is full.
    pub fn hang_up(&mut self, now: Instant) -> Result<(), CommandError> {
        let Some(call) = &mut self.call else {
            return Err(CommandError::NoCall);
        };
        match (call.state, call.server) {
            (State::Up, _) => self.send_bye(now),
            (State::Calling, Some(_)) => {
                self.refuse_ringing(now, 603);
                Ok(())
            }
            (State::Calling, None) => {
                call.state = State::Cancelling;
                self.cancel_when_possible(now)
            }
            (State::Cancelling | State::Ending, _) => Ok(()),
        }
    }

    pub(super) fn send_bye(&mut self, now: Instant) -> Result<(), CommandError> {
        let request = self.in_dialog(&Method::Bye);
        if let Some(call) = &mut self.call {
            call.state = State::Ending;
            call.accepted = None;
        }
        let to = self.next_hop();
        self.send(
            now,
            Sent {
                request,
                to,
                purpose: Purpose::Bye,
                is_authenticated: false,
            },
        )
    }

    /// Makes a request within the dialog (RFC 3261 §12.2.1.1); an ACK keeps the number of its INVITE.
    pub(super) fn in_dialog(&mut self, method: &Method) -> Message {
        let via = self.via();
        let contact = self.contact();
        let Some(call) = &mut self.call else {
            return Request::new(method, "").build();
        };
        let number = if *method == Method::Ack {
            call.invite.cseq().map_or(call.cseq, |cseq| cseq.number)
        } else {
            call.cseq += 1;
            call.cseq
        };
        let request = Request::new(method, &call.target)
            .header(Name::Via, &via)
            .header(Name::MaxForwards, "70");
        let request = call
            .route
            .iter()
            .fold(request, |request, route| request.header(Name::Route, route));
        request
            .header(Name::From, &call.local)
            .header(Name::To, &call.remote)
            .header(Name::CallId, &call.call_id)
            .header(Name::CSeq, &format!("{number} {method}"))
            .header(Name::Contact, &contact)
            .build()
    }

    /// Returns the address that an in-dialog request goes to: the first Route's, or the edge where that is a name.
    pub(super) fn next_hop(&self) -> SocketAddr {
        let first = self.call.as_ref().and_then(|call| call.route.first());
        let uri = first
            .and_then(|route| Address::parse(route))
            .and_then(|route| Uri::parse(route.uri))
            .and_then(Uri::sip);
        let address = uri.and_then(|uri| {
            uri.host
                .address()
                .map(|host| SocketAddr::new(host, uri.port_or_default()))
        });
        address.unwrap_or(self.settings.edge)
    }

    pub(super) fn end_call(&mut self) {
        if self.call.take().is_some() {
            self.tell(Event::Ended);
        }
    }

    pub(super) fn fail_call(&mut self, code: u16, reason: &str) {
        if self.call.take().is_some() {
            self.tell(Event::CallFailed {
                code,
                reason: reason.to_owned(),
            });
        }
    }
}
