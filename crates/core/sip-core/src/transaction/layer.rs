//! The table of all transactions of one proxy core.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::client::{self, Client};
use super::key::{ClientId, ClientKey, ServerId, ServerKey};
use super::server::{self, Server};
use super::timers::{Owner, Rows, Slot};
use super::{Class, Settings};
use crate::flow::{Hop, NodeId};

/// What the transactions want their user to do or to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// These octets are to be sent there.
    Transmit(Hop, Bytes),
    /// A client transaction got no final response in time and is gone (Timers B and F).
    TimedOut(ClientId),
    /// A client transaction could not send and is gone.
    Failed(ClientId),
    /// A client transaction has done its work and is gone.
    ClientEnded(ClientId),
    /// A 100 is due.
    TryingDue(ServerId),
    /// A server transaction is gone.
    ServerEnded(ServerId),
}

/// The table has no place for another transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the table of {capacity} transactions is full")]
pub struct Full {
    /// How many it holds.
    pub capacity: usize,
}

/// What is to be done with a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseVerdict {
    /// It is news for the transaction's user.
    Pass,
    /// It repeats what the user knows.
    Absorb,
}

/// What is to be done with an ACK that found a server transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckVerdict {
    /// It acknowledged a response of this hop, and its way ends here.
    Absorb,
    /// It belongs to a 2xx, so it goes on to the callee.
    Pass,
}

/// All transactions.
#[derive(Debug)]
pub struct Layer {
    settings: Settings,
    next_id: u64,
    clients: BTreeMap<ClientId, Client>,
    servers: BTreeMap<ServerId, Server>,
    client_keys: HashMap<ClientKey, ClientId>,
    server_keys: HashMap<ServerKey, ServerId>,
    rows: Rows,
    events: VecDeque<Event>,
}

impl Layer {
    /// Makes an empty table.
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            next_id: 0,
            clients: BTreeMap::new(),
            servers: BTreeMap::new(),
            client_keys: HashMap::new(),
            server_keys: HashMap::new(),
            rows: Rows::default(),
            events: VecDeque::new(),
        }
    }

    /// Returns how many client and server transactions are held.
    pub fn len(&self) -> (usize, usize) {
        (self.clients.len(), self.servers.len())
    }

    /// Tells whether no transaction is held.
    pub fn is_empty(&self) -> bool {
        self.clients.is_empty() && self.servers.is_empty()
    }

    /// Takes out the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns when [`Self::handle_timeout`] is next due.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.rows.next()
    }

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
            state: server::State::Trying,
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
    pub fn server_state(&self, id: ServerId) -> Option<server::State> {
        self.servers.get(&id).map(|server| server.state)
    }

    /// Handles a request that arrived again: the last response is sent again (RFC 3261 §17.2.1, §17.2.2).
    pub fn handle_repeat(&mut self, id: ServerId) {
        let Some(server) = self.servers.get(&id) else {
            return;
        };
        // RFC 6026 §7.1: in Accepted the callee repeats the 2xx, not this hop.
        let is_silent = matches!(server.state, server::State::Accepted | server::State::Confirmed);
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
            server::State::Accepted => AckVerdict::Pass,
            server::State::Completed => {
                server.state = server::State::Confirmed;
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
        let is_open = matches!(server.state, server::State::Trying | server::State::Proceeding);
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
            server.state = server::State::Proceeding;
            server.response = Some(response);
            self.rows.set(&mut server.send_at, owner, Slot::Send, None);
            return;
        }
        let mut repeat_at = None;
        if is_invite_success {
            server.state = server::State::Accepted;
            server.response = None;
        } else {
            server.state = server::State::Completed;
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

    /// Ends a server transaction without an answer: the client has given up (RFC 4320 §4.2).
    pub fn close_server(&mut self, id: ServerId) {
        self.end_server(id);
    }

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
            state: client::State::Calling,
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
    pub fn client_state(&self, id: ClientId) -> Option<client::State> {
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
            client::State::Accepted if (200..300).contains(&status) => ResponseVerdict::Pass,
            client::State::Completed => {
                let repeat = client.ack.clone().filter(|_| status >= 300);
                if let Some(ack) = repeat {
                    self.events.push_back(Event::Transmit(client.hop.clone(), ack));
                }
                ResponseVerdict::Absorb
            }
            client::State::Accepted => ResponseVerdict::Absorb,
            client::State::Calling | client::State::Proceeding if status < 200 => {
                if client.state == client::State::Calling {
                    client.state = client::State::Proceeding;
                    if client.class == Class::Invite {
                        // RFC 3261 §17.1.1.2: neither repeats nor Timer B in Proceeding; Timer C is the proxy's.
                        self.rows.set(&mut client.send_at, owner, Slot::Send, None);
                        self.rows.set(&mut client.end_at, owner, Slot::End, None);
                    }
                }
                ResponseVerdict::Pass
            }
            client::State::Calling | client::State::Proceeding => {
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
            client.state = client::State::Accepted;
            // RFC 6026 §7.2: Timer M.
            self.settings.give_up()
        } else {
            client.state = client::State::Completed;
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
        let is_open = matches!(client.state, client::State::Calling | client::State::Proceeding);
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

    /// Handles passed deadlines.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((owner, slot)) = self.rows.pop_due(now) {
            match (owner, slot) {
                (Owner::Client(id), Slot::Send) => self.repeat_request(now, id),
                (Owner::Client(id), Slot::End) => self.client_deadline(id),
                (Owner::Server(id), Slot::Send) => self.server_send(now, id),
                (Owner::Server(id), Slot::End) => self.end_server(id),
            }
        }
    }

    fn repeat_request(&mut self, now: Instant, id: ClientId) {
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

    fn client_deadline(&mut self, id: ClientId) {
        let Some(client) = self.clients.get_mut(&id) else {
            return;
        };
        client.end_at = None;
        let event = match client.state {
            client::State::Calling | client::State::Proceeding => Event::TimedOut(id),
            client::State::Completed | client::State::Accepted => Event::ClientEnded(id),
        };
        self.drop_client(id);
        self.events.push_back(event);
    }

    fn server_send(&mut self, now: Instant, id: ServerId) {
        let Some(server) = self.servers.get_mut(&id) else {
            return;
        };
        server.send_at = None;
        match server.state {
            server::State::Trying => self.events.push_back(Event::TryingDue(id)),
            server::State::Completed => {
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

    fn waiting_on(&self, is_there: impl Fn(&Hop) -> bool) -> Vec<ClientId> {
        self.clients
            .iter()
            .filter(|(_, client)| client.state == client::State::Calling && is_there(&client.hop))
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

    fn end_server(&mut self, id: ServerId) {
        let Some(mut server) = self.servers.remove(&id) else {
            return;
        };
        let owner = Owner::Server(id);
        self.rows.set(&mut server.send_at, owner, Slot::Send, None);
        self.rows.set(&mut server.end_at, owner, Slot::End, None);
        self.server_keys.remove(&server.key);
        self.events.push_back(Event::ServerEnded(id));
    }

    fn full(&self) -> Full {
        Full {
            capacity: self.settings.capacity,
        }
    }

    fn number(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}
