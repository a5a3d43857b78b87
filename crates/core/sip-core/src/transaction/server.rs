//! The server side of transactions (RFC 3261 §17.2): their state and how long they stay.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::key::{ServerId, ServerKey};
use super::layer::{AckVerdict, Event, Full, Layer};
use super::timers::{Owner, Slot};
use super::{Class, Settings};
use crate::flow::Hop;

/// Where a server transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing was answered yet.
    Trying,
    /// A provisional response was sent.
    Proceeding,
    /// A final response was sent that is not a 2xx to INVITE.
    Completed,
    /// The ACK to that response came.
    Confirmed,
    /// A 2xx to INVITE was sent; further ones pass (RFC 6026 §7.1).
    Accepted,
}

/// One request that was received.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) key: ServerKey,
    pub(super) class: Class,
    pub(super) state: State,
    pub(super) reply_to: Hop,
    /// What was answered last; sent again when the request is.
    pub(super) response: Option<Bytes>,
    /// Timer G as it stands.
    pub(super) interval: Duration,
    pub(super) send_at: Option<Instant>,
    pub(super) end_at: Option<Instant>,
}

impl Server {
    /// Tells whether the client has all that it waits for. A refused INVITE waits for its ACK, and is answered again
    /// until it comes.
    pub(super) fn is_done(&self) -> bool {
        match self.state {
            State::Trying | State::Proceeding => false,
            State::Completed => self.class == Class::Other,
            State::Confirmed | State::Accepted => true,
        }
    }

    /// Returns how long repeats of the request have to be recognised after the final response.
    pub(super) fn linger(&self, settings: &Settings) -> Duration {
        match (self.class, &self.reply_to) {
            // RFC 3261 §17.2.1: Timer H; the far end has that long to acknowledge.
            (Class::Invite, _) => settings.give_up(),
            // An edge that lost its connection sends the request once more on a new one.
            (Class::Other, Hop::Edge { .. }) => settings.t4,
            // RFC 3261 §17.2.2: Timer J, zero on reliable transports.
            (Class::Other, hop) if hop.is_reliable() => Duration::ZERO,
            (Class::Other, _) => settings.give_up(),
        }
    }
}

impl Layer {
    /// Opens a transaction for a request that arrived and matches none.
    ///
    /// # Errors
    /// When the table is full; the request is then to be refused without state.
    pub fn open_server(&mut self, now: Instant, key: ServerKey, class: Class, reply_to: Hop) -> Result<ServerId, Full> {
        if self.servers.len() >= self.settings.capacity {
            return Err(self.full());
        }
        let id = ServerId(self.number());
        let mut server = Server {
            key: key.clone(),
            class,
            state: State::Trying,
            reply_to,
            response: None,
            interval: self.settings.t1,
            send_at: None,
            end_at: None,
        };
        let trying = match class {
            Class::Invite => self.settings.trying_after,
            Class::Other => self.settings.trying_after_other(),
        };
        let owner = Owner::Server(id);
        self.rows
            .set(&mut server.send_at, owner, Slot::Send, Some(now + trying));
        if class == Class::Other {
            // RFC 4320 §4.2: after that the client has timed out, and an answer would only be stray.
            let end = now + self.settings.give_up();
            self.rows.set(&mut server.end_at, owner, Slot::End, Some(end));
        }
        self.servers.insert(id, server);
        self.server_keys.insert(key, id);
        Ok(id)
    }

    /// Finds the transaction that a request belongs to.
    pub fn find_server(&self, key: &ServerKey) -> Option<ServerId> {
        self.server_keys.get(key).copied()
    }

    /// Returns where a server transaction stands.
    pub fn server_state(&self, id: ServerId) -> Option<State> {
        self.servers.get(&id).map(|server| server.state)
    }

    /// Handles a request that arrived again: the last response is sent again (RFC 3261 §17.2.1, §17.2.2).
    pub fn handle_repeat(&mut self, id: ServerId) {
        let Some(server) = self.servers.get(&id) else {
            return;
        };
        // RFC 6026 §7.1: in Accepted the callee repeats the 2xx, not this hop.
        let is_silent = matches!(server.state, State::Accepted | State::Confirmed);
        if let Some(response) = server.response.as_ref().filter(|_| !is_silent) {
            let transmit = Event::Transmit(server.reply_to.clone(), response.clone());
            self.events.push_back(transmit);
        }
    }

    /// Handles an ACK that matches an INVITE transaction.
    pub fn handle_ack(&mut self, now: Instant, id: ServerId) -> AckVerdict {
        let Some(server) = self.servers.get_mut(&id) else {
            return AckVerdict::Pass;
        };
        match server.state {
            State::Accepted => AckVerdict::Pass,
            State::Completed => {
                server.state = State::Confirmed;
                // RFC 3261 §17.2.1: Timer I absorbs repeats of the ACK; zero on reliable transports.
                let linger = if server.reply_to.is_reliable() {
                    Duration::ZERO
                } else {
                    self.settings.t4
                };
                let owner = Owner::Server(id);
                self.rows.set(&mut server.send_at, owner, Slot::Send, None);
                self.rows.set(&mut server.end_at, owner, Slot::End, Some(now + linger));
                AckVerdict::Absorb
            }
            _ => AckVerdict::Absorb,
        }
    }

    /// Sends a response. A 2xx to INVITE passes in every state; any other after a final response is dropped.
    pub fn respond(&mut self, now: Instant, id: ServerId, status: u16, response: Bytes) {
        let Some(server) = self.servers.get_mut(&id) else {
            return;
        };
        let is_open = matches!(server.state, State::Trying | State::Proceeding);
        let is_invite_success = server.class == Class::Invite && (200..300).contains(&status);
        if !is_open && !is_invite_success {
            return;
        }
        let transmit = Event::Transmit(server.reply_to.clone(), response.clone());
        self.events.push_back(transmit);
        if !is_open {
            // RFC 3261 §16.7 step 5: a late 2xx is forwarded even after another final response.
            return;
        }
        let owner = Owner::Server(id);
        if status < 200 {
            server.state = State::Proceeding;
            server.response = Some(response);
            self.rows.set(&mut server.send_at, owner, Slot::Send, None);
            return;
        }
        let mut repeat_at = None;
        if is_invite_success {
            server.state = State::Accepted;
            server.response = None;
        } else {
            server.state = State::Completed;
            server.response = Some(response);
            if server.class == Class::Invite && !server.reply_to.is_reliable() {
                // RFC 3261 §17.2.1: Timer G.
                repeat_at = Some(now + server.interval);
            }
        }
        // RFC 6026 §7.1: Timer L equals Timer H.
        let end = now + server.linger(&self.settings);
        self.rows.set(&mut server.send_at, owner, Slot::Send, repeat_at);
        self.rows.set(&mut server.end_at, owner, Slot::End, Some(end));
    }

    /// Sends a final response and forgets the request, as a stateless server does (RFC 3261 §8.2.7): should it come again,
    /// it is answered anew, and its ACK matches nothing. A client that has a provisional response repeats its request no
    /// more, so the response to that one is kept and repeated for it.
    pub fn respond_once(&mut self, now: Instant, id: ServerId, status: u16, response: Bytes) {
        if self.server_state(id) != Some(State::Trying) {
            return self.respond(now, id, status, response);
        }
        if let Some(server) = self.servers.get(&id) {
            let transmit = Event::Transmit(server.reply_to.clone(), response);
            self.events.push_back(transmit);
            self.end_server(id);
        }
    }

    /// Ends a server transaction without an answer: the client has given up (RFC 4320 §4.2).
    pub fn close_server(&mut self, id: ServerId) {
        self.end_server(id);
    }

    pub(super) fn server_send(&mut self, now: Instant, id: ServerId) {
        let Some(server) = self.servers.get_mut(&id) else {
            return;
        };
        server.send_at = None;
        match server.state {
            State::Trying => self.events.push_back(Event::TryingDue(id)),
            State::Completed => {
                // RFC 3261 §17.2.1: Timer G doubles up to T2.
                server.interval = (server.interval * 2).min(self.settings.t2);
                let next = now + server.interval;
                self.rows
                    .set(&mut server.send_at, Owner::Server(id), Slot::Send, Some(next));
                if let Some(response) = server.response.clone() {
                    self.events
                        .push_back(Event::Transmit(server.reply_to.clone(), response));
                }
            }
            _ => {}
        }
    }

    pub(super) fn end_server(&mut self, id: ServerId) {
        let Some(mut server) = self.servers.remove(&id) else {
            return;
        };
        let owner = Owner::Server(id);
        self.rows.set(&mut server.send_at, owner, Slot::Send, None);
        self.rows.set(&mut server.end_at, owner, Slot::End, None);
        self.server_keys.remove(&server.key);
        self.events.push_back(Event::ServerEnded(id));
    }
}
