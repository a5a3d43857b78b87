//! The client side of transactions (RFC 3261 §17.1): their state and what a response does to it.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::key::{ClientId, ClientKey};
use super::layer::{Event, Full, Layer, ResponseVerdict};
use super::timers::{Owner, Slot};
use super::{Class, Settings};
use crate::flow::{Hop, NodeId};

/// Where a client transaction stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing came back yet ("Calling" for INVITE, "Trying" else).
    Calling,
    /// A provisional response came.
    Proceeding,
    /// A final response came that is not a 2xx to INVITE; repeats are absorbed.
    Completed,
    /// A 2xx to INVITE came; further ones are passed on (RFC 6026 §7.2).
    Accepted,
}

/// One request that was sent.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) key: ClientKey,
    pub(super) class: Class,
    pub(super) state: State,
    pub(super) hop: Hop,
    pub(super) request: Bytes,
    /// The ACK to a final response that is not 2xx, repeated whenever that response is.
    pub(super) ack: Option<Bytes>,
    /// Timer A or E as it stands.
    pub(super) interval: Duration,
    pub(super) send_at: Option<Instant>,
    pub(super) end_at: Option<Instant>,
    /// Whether the request was already sent again because its connection was lost.
    pub(super) is_resent: bool,
}

impl Client {
    /// Tells whether the final response has come.
    pub(super) fn is_done(&self) -> bool {
        matches!(self.state, State::Completed | State::Accepted)
    }

    /// Returns Timer A's or E's next interval, from the one that just passed.
    pub(super) fn next_interval(&self, settings: &Settings) -> Duration {
        match (self.class, self.state) {
            // RFC 3261 §17.1.1.2: Timer A doubles without bound; Timer B ends it.
            (Class::Invite, _) => self.interval * 2,
            // RFC 3261 §17.1.2.2: in Proceeding Timer E stays at T2.
            (Class::Other, State::Proceeding) => settings.t2,
            (Class::Other, _) => (self.interval * 2).min(settings.t2),
        }
    }

    /// Returns how long repeats of a final response have to be absorbed.
    pub(super) fn linger(&self, settings: &Settings) -> Duration {
        if self.hop.is_reliable() {
            // RFC 3261 §17.1.1.2 and §17.1.2.2: Timers D and K are zero on reliable transports.
            return Duration::ZERO;
        }
        match self.class {
            // RFC 3261 §17.1.1.2: Timer D, at least 32 s.
            Class::Invite => Duration::from_secs(32),
            // RFC 3261 §17.1.2.2: Timer K.
            Class::Other => settings.t4,
        }
    }
}

impl Layer {
    /// Sends a request and opens the transaction that waits for its responses.
    ///
    /// # Errors
    /// When the table is full; nothing was sent then.
    pub fn open_client(
        &mut self,
        now: Instant,
        key: ClientKey,
        class: Class,
        (hop, request): (Hop, Bytes),
    ) -> Result<ClientId, Full> {
        if self.clients.len() >= self.settings.capacity {
            return Err(self.full());
        }
        let id = ClientId(self.number());
        let mut client = Client {
            key: key.clone(),
            class,
            state: State::Calling,
            hop,
            request,
            ack: None,
            interval: self.settings.t1,
            send_at: None,
            end_at: None,
            is_resent: false,
        };
        let owner = Owner::Client(id);
        if !client.hop.is_reliable() {
            let first = now + client.interval;
            self.rows.set(&mut client.send_at, owner, Slot::Send, Some(first));
        }
        let end = now + self.settings.give_up();
        self.rows.set(&mut client.end_at, owner, Slot::End, Some(end));
        self.events
            .push_back(Event::Transmit(client.hop.clone(), client.request.clone()));
        self.clients.insert(id, client);
        self.client_keys.insert(key, id);
        Ok(id)
    }

    /// Finds the transaction that a response belongs to.
    pub fn find_client(&self, key: &ClientKey) -> Option<ClientId> {
        self.client_keys.get(key).copied()
    }

    /// Returns where a client transaction stands.
    pub fn client_state(&self, id: ClientId) -> Option<State> {
        self.clients.get(&id).map(|client| client.state)
    }

    /// Returns the request of a client transaction and where it was sent.
    pub fn client_request(&self, id: ClientId) -> Option<(&Bytes, &Hop)> {
        self.clients.get(&id).map(|client| (&client.request, &client.hop))
    }

    /// Handles a response; `ack` makes the ACK out of the request, where this hop owes one (RFC 3261 §17.1.1.3).
    pub fn handle_response(
        &mut self,
        now: Instant,
        id: ClientId,
        status: u16,
        ack: impl FnOnce(&Bytes) -> Option<Bytes>,
    ) -> ResponseVerdict {
        let Some(client) = self.clients.get_mut(&id) else {
            return ResponseVerdict::Absorb;
        };
        let owner = Owner::Client(id);
        match client.state {
            State::Accepted if (200..300).contains(&status) => ResponseVerdict::Pass,
            State::Completed => {
                let repeat = client.ack.clone().filter(|_| status >= 300);
                if let Some(ack) = repeat {
                    self.events.push_back(Event::Transmit(client.hop.clone(), ack));
                }
                ResponseVerdict::Absorb
            }
            State::Accepted => ResponseVerdict::Absorb,
            State::Calling | State::Proceeding if status < 200 => {
                if client.state == State::Calling {
                    client.state = State::Proceeding;
                    if client.class == Class::Invite {
                        // RFC 3261 §17.1.1.2: neither repeats nor Timer B in Proceeding; Timer C is the proxy's.
                        self.rows.set(&mut client.send_at, owner, Slot::Send, None);
                        self.rows.set(&mut client.end_at, owner, Slot::End, None);
                    }
                }
                ResponseVerdict::Pass
            }
            State::Calling | State::Proceeding => {
                self.finish_client(now, id, status, ack);
                ResponseVerdict::Pass
            }
        }
    }

    fn finish_client(&mut self, now: Instant, id: ClientId, status: u16, ack: impl FnOnce(&Bytes) -> Option<Bytes>) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let linger = if client.class == Class::Invite && status < 300 {
            client.state = State::Accepted;
            // RFC 6026 §7.2: Timer M.
            self.settings.give_up()
        } else {
            client.state = State::Completed;
            if client.class == Class::Invite {
                client.ack = ack(&client.request);
            }
            if let Some(ack) = client.ack.clone() {
                self.events.push_back(Event::Transmit(client.hop.clone(), ack));
            }
            client.linger(&self.settings)
        };
        let owner = Owner::Client(id);
        self.rows.set(&mut client.send_at, owner, Slot::Send, None);
        self.rows.set(&mut client.end_at, owner, Slot::End, Some(now + linger));
    }

    /// Gives an INVITE transaction at most this long for its final response, as after a CANCEL (RFC 3261 §9.1).
    pub fn limit_client(&mut self, now: Instant, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        let is_open = matches!(client.state, State::Calling | State::Proceeding);
        if is_open && client.end_at.is_none() {
            let end = now + self.settings.give_up();
            let owner = Owner::Client(id);
            self.rows.set(&mut client.end_at, owner, Slot::End, Some(end));
        }
    }

    /// Handles the loss of the connection to an edge. Requests without any response are sent once more, with the same
    /// branch, on the connection that the shell makes next; those that were, fail. All others wait: the far end
    /// returns its response over a connection of its own (RFC 3261 §18.2.2).
    pub fn handle_edge_lost(&mut self, node: NodeId) {
        for id in self.waiting_on(|hop| hop.edge() == Some(node)) {
            let Some(client) = self.clients.get_mut(&id) else {
                continue;
            };
            if client.is_resent {
                self.fail_client(id);
            } else {
                client.is_resent = true;
                self.events
                    .push_back(Event::Transmit(client.hop.clone(), client.request.clone()));
            }
        }
    }

    /// Handles a place that cannot be reached: requests to it without any response fail (RFC 3261 §17.1.4).
    pub fn handle_unreachable(&mut self, place: &Hop) {
        for id in self.waiting_on(|hop| hop.is_same_place(place)) {
            self.fail_client(id);
        }
    }

    pub(super) fn repeat_request(&mut self, now: Instant, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.send_at = None;
        client.interval = client.next_interval(&self.settings);
        let next = now + client.interval;
        self.rows
            .set(&mut client.send_at, Owner::Client(id), Slot::Send, Some(next));
        self.events
            .push_back(Event::Transmit(client.hop.clone(), client.request.clone()));
    }

    pub(super) fn client_deadline(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.end_at = None;
        let event = match client.state {
            State::Calling | State::Proceeding => Event::TimedOut(id),
            State::Completed | State::Accepted => Event::ClientEnded(id),
        };
        self.drop_client(id);
        self.events.push_back(event);
    }

    fn waiting_on(&self, is_there: impl Fn(&Hop) -> bool) -> Vec<ClientId> {
        self.clients
            .iter()
            .filter(|(_, client)| client.state == State::Calling && is_there(&client.hop))
            .map(|(id, _)| *id)
            .collect()
    }

    fn fail_client(&mut self, id: ClientId) {
        self.drop_client(id);
        self.events.push_back(Event::Failed(id));
    }

    fn drop_client(&mut self, id: ClientId) {
        let Some(mut client) = self.clients.remove(&id) else {
            return;
        };
        let owner = Owner::Client(id);
        self.rows.set(&mut client.send_at, owner, Slot::Send, None);
        self.rows.set(&mut client.end_at, owner, Slot::End, None);
        self.client_keys.remove(&client.key);
    }
}
