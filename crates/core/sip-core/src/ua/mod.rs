//! A scripted user agent over UDP: registers, calls or is called, hangs up, un-registers.
//!
//! `p2psip dev` runs two of them for its demonstration call. It is a whole user agent as far as one call at a time asks:
//! digest, reliable 2xx, dialogs with route sets, CANCEL. It offers PCMU and sends no media. Like all cores it owns no
//! socket and no clock: give it one input, then poll until [`Output::Timeout`].

mod api;
mod call;
mod callee;
mod caller;
mod identifiers;
mod sdp;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;

pub use self::api::{CommandError, Event, Output, Password, Settings};

use self::call::Call;
use self::identifiers::Identifiers;
use crate::digest::Answerer;
use crate::flow::{Flow, FlowKind, Hop, Transport};
use crate::message::{Edit, Message, Method, Name, Request, Via, ack_for, sent_by_of};
use crate::transaction::{self, Class, ClientId, ClientKey, Event as LayerEvent, Layer, ResponseVerdict, ServerId};

/// The agent.
#[derive(Debug)]
pub struct Agent {
    settings: Settings,
    identifiers: Identifiers,
    answerer: Answerer,
    layer: Layer,
    sent: BTreeMap<ClientId, Sent>,
    received: BTreeMap<ServerId, Message>,
    registration: Registration,
    call: Option<Call>,
    outputs: VecDeque<Output>,
}

/// What all REGISTERs of one agent share (RFC 3261 §10.2).
#[derive(Debug)]
struct Registration {
    call_id: String,
    tag: String,
    cseq: u32,
}

/// A request whose final response is awaited.
#[derive(Clone, Debug)]
struct Sent {
    request: Message,
    to: SocketAddr,
    purpose: Purpose,
    is_authenticated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Register { expires: u32 },
    Invite,
    Bye,
    Cancel,
}

/// The lifetime that registrations ask for.
const EXPIRES: u32 = 3600;

impl Agent {
    /// Makes an agent that does nothing yet.
    pub fn new(settings: Settings) -> Self {
        let mut identifiers = Identifiers::new(settings.seed);
        let answerer = Answerer::new(settings.aor.user(), &settings.password.0, &identifiers.next());
        let registration = Registration {
            call_id: identifiers.next(),
            tag: identifiers.next(),
            cseq: 0,
        };
        Self {
            identifiers,
            answerer,
            layer: Layer::new(transaction::Settings::default()),
            sent: BTreeMap::new(),
            received: BTreeMap::new(),
            registration,
            call: None,
            outputs: VecDeque::new(),
            settings,
        }
    }

    /// Tells whether a call is up, or being set up or ended.
    #[must_use]
    pub fn is_in_call(&self) -> bool {
        self.call.is_some()
    }

    /// Registers; ends in [`Event::Registered`] or [`Event::RegisterFailed`].
    ///
    /// # Errors
    ///
    /// Fails when the table of transactions is full.
    pub fn register(&mut self, now: Instant) -> Result<(), CommandError> {
        self.send_register(now, EXPIRES)
    }

    /// Takes the registration back; ends in [`Event::Unregistered`] or [`Event::RegisterFailed`].
    ///
    /// # Errors
    ///
    /// Fails when the table of transactions is full.
    pub fn unregister(&mut self, now: Instant) -> Result<(), CommandError> {
        self.send_register(now, 0)
    }

    /// Handles a datagram.
    pub fn handle_datagram(&mut self, now: Instant, source: SocketAddr, datagram: Bytes) {
        let Ok(message) = Message::parse_datagram(datagram) else {
            return;
        };
        if message.is_request() {
            self.handle_request(now, source, message);
        } else {
            self.handle_response(now, &message);
        }
        self.drain_layer(now);
    }

    /// Handles passed deadlines.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.layer.handle_timeout(now);
        self.handle_call_timeout(now);
        self.drain_layer(now);
    }

    /// Takes out what is to be done next.
    #[must_use]
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or_else(|| {
            let call = self.call.as_ref().and_then(Call::next_timeout);
            Output::Timeout([self.layer.next_timeout(), call].into_iter().flatten().min())
        })
    }

    fn send_register(&mut self, now: Instant, expires: u32) -> Result<(), CommandError> {
        let uri = self.settings.aor.to_uri();
        let contact = format!("{};expires={expires}", self.contact());
        self.registration.cseq += 1;
        let request = Request::new(&Method::Register, &format!("sip:{}", self.settings.aor.domain()))
            .header(Name::Via, &self.via())
            .header(Name::MaxForwards, "70")
            .header(Name::From, &format!("<{uri}>;tag={}", self.registration.tag))
            .header(Name::To, &format!("<{uri}>"))
            .header(Name::CallId, &self.registration.call_id)
            .header(Name::CSeq, &format!("{} REGISTER", self.registration.cseq))
            .header(Name::Contact, &contact)
            .build();
        let to = self.settings.edge;
        self.send(
            now,
            Sent {
                request,
                to,
                purpose: Purpose::Register { expires },
                is_authenticated: false,
            },
        )
    }

    /// Sends a request within a transaction.
    fn send(&mut self, now: Instant, sent: Sent) -> Result<(), CommandError> {
        let key = ClientKey::new(
            sent.request.branch().unwrap_or_default(),
            sent.request.method().as_str(),
        );
        let class = if sent.purpose == Purpose::Invite {
            Class::Invite
        } else {
            Class::Other
        };
        let bytes = sent.request.bytes().clone();
        let id = self.layer.open_client(now, key, class, (self.hop(sent.to), bytes))?;
        self.sent.insert(id, sent);
        self.drain_layer(now);
        Ok(())
    }

    fn handle_response(&mut self, now: Instant, response: &Message) {
        let (Some(code), Some(branch)) = (response.status(), response.branch()) else {
            return;
        };
        let key = ClientKey::new(branch, response.method().as_str());
        let Some(id) = self.layer.find_client(&key) else { return };
        let Some(sent) = self.sent.get(&id).cloned() else {
            return;
        };
        let ack = |_: &Bytes| Some(ack_for(&sent.request, response).bytes().clone());
        if self.layer.handle_response(now, id, code, ack) == ResponseVerdict::Absorb {
            return;
        }
        if matches!(code, 401 | 407) && !sent.is_authenticated && self.authenticate(now, &sent, response) {
            return;
        }
        match sent.purpose {
            Purpose::Register { .. } if code < 200 => {}
            Purpose::Register { expires } => self.handle_registered(response, expires, code),
            Purpose::Invite => self.handle_invite_response(now, response, code),
            Purpose::Bye if code >= 200 => self.end_call(),
            Purpose::Bye | Purpose::Cancel => {}
        }
    }

    fn handle_registered(&mut self, response: &Message, expires: u32, code: u16) {
        self.tell(match (code, expires) {
            (200..300, 0) => Event::Unregistered,
            (200..300, asked) => {
                let own = self.settings.aor.user();
                let granted = response
                    .values(Name::Contact)
                    .filter(|contact| contact.contains(own))
                    .filter_map(crate::message::Address::parse)
                    .find_map(|contact| contact.params.value("expires").and_then(crate::text::number));
                Event::Registered {
                    expires: granted.unwrap_or(asked),
                }
            }
            _ => Event::RegisterFailed { code },
        });
    }

    /// Sends a challenged request again, with credentials, a higher number and a new branch (RFC 3261 §22.2).
    fn authenticate(&mut self, now: Instant, sent: &Sent, challenge: &Message) -> bool {
        let Some(cseq) = sent.request.cseq() else { return false };
        let Some((name, value)) = self.answerer.answer(challenge, &sent.request) else {
            return false;
        };
        let number = cseq.number + 1;
        match (sent.purpose, &mut self.call) {
            (Purpose::Register { .. }, _) => self.registration.cseq = number,
            (_, Some(call)) => call.cseq = number,
            (_, None) => return false,
        }
        let request = Edit::new(&sent.request)
            .replace_first(Name::Via, self.via())
            .set(Name::CSeq, format!("{number} {}", cseq.method))
            .add(name, value)
            .apply();
        if let (Purpose::Invite, Some(call)) = (sent.purpose, &mut self.call) {
            call.invite = request.clone();
        }
        self.send(
            now,
            Sent {
                request,
                is_authenticated: true,
                ..sent.clone()
            },
        )
        .is_ok()
    }

    fn drain_layer(&mut self, now: Instant) {
        while let Some(event) = self.layer.poll_event() {
            match event {
                LayerEvent::Transmit(Hop::Flow(flow), bytes) => {
                    self.outputs.push_back(Output::Send { to: flow.remote, bytes });
                }
                LayerEvent::Transmit(Hop::Edge { .. }, _) | LayerEvent::TryingDue(_) => {}
                LayerEvent::TimedOut(id) | LayerEvent::Failed(id) => self.handle_no_answer(now, id),
                LayerEvent::ClientEnded(id) => {
                    self.sent.remove(&id);
                }
                LayerEvent::ServerEnded(id) => {
                    self.received.remove(&id);
                }
            }
        }
    }

    /// RFC 3261 §8.1.3.1: a timeout is treated like a 408.
    fn handle_no_answer(&mut self, _now: Instant, id: ClientId) {
        match self.sent.remove(&id).map(|sent| sent.purpose) {
            Some(Purpose::Register { .. }) => self.tell(Event::RegisterFailed { code: 408 }),
            Some(Purpose::Invite) => self.fail_call(408, "Request Timeout"),
            Some(Purpose::Bye) => self.end_call(),
            Some(Purpose::Cancel) | None => {}
        }
    }

    fn tell(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Makes a Via value with a new branch.
    fn via(&mut self) -> String {
        let branch = format!("{}{}", crate::message::MAGIC_COOKIE, self.identifiers.next());
        format!("{};rport", Via::write("UDP", &sent_by_of(self.settings.local), &branch))
    }

    fn contact(&self) -> String {
        let uri = self.settings.aor.to_uri();
        let user = uri.split_once('@').map_or(uri.as_str(), |(user, _)| user);
        format!("<{user}@{}>", sent_by_of(self.settings.local))
    }

    fn hop(&self, remote: SocketAddr) -> Hop {
        Hop::Flow(Flow {
            transport: Transport::Udp,
            local: self.settings.local,
            remote,
            connection: None,
            kind: FlowKind::Phone,
        })
    }
}

#[cfg(test)]
mod tests;
