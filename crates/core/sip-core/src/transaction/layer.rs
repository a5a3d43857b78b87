//! The table of all transactions of one proxy core.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use super::Settings;
use super::client::Client;
use super::key::{ClientId, ClientKey, ServerId, ServerKey};
use super::server::Server;
use super::timers::{Owner, Rows, Slot};
use crate::flow::Hop;

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
    pub(super) settings: Settings,
    next_id: u64,
    pub(super) clients: BTreeMap<ClientId, Client>,
    pub(super) servers: BTreeMap<ServerId, Server>,
    pub(super) client_keys: HashMap<ClientKey, ClientId>,
    pub(super) server_keys: HashMap<ServerKey, ServerId>,
    pub(super) rows: Rows,
    pub(super) events: VecDeque<Event>,
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

    /// Counts those that somebody waits for; what is left beside them only absorbs repeats.
    pub fn under_way(&self) -> usize {
        let clients = self.clients.values().filter(|client| !client.is_done());
        let servers = self.servers.values().filter(|server| !server.is_done());
        clients.count() + servers.count()
    }

    /// Takes out the next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Returns when [`Self::handle_timeout`] is next due.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.rows.next()
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

    pub(super) fn full(&self) -> Full {
        Full {
            capacity: self.settings.capacity,
        }
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}
