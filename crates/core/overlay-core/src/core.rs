//! The node itself: its inputs, its commands and the one way out.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;

use overlay_config::SignedDocument;
use wire::{NodeId, Now, SecurityBlock};

use crate::api::{Call, CallId, ConnectFailure, IncomingId, LinkId, Output};
use crate::seam::{Answer, CommandId, SessionEvent};
use crate::settings::Settings;
use crate::status::{Counters, Status};

/// One RELOAD node.
pub struct Core {
    settings: Settings,
}

impl Core {
    /// Makes a node that is not yet connected to anything.
    #[must_use]
    pub fn new(now: Now, settings: Settings) -> Self {
        let _ = now;
        Self { settings }
    }

    /// A connection is up; `peer` is the Node-ID that its certificate proved.
    pub fn handle_connected(&mut self, now: Now, link: LinkId, peer: NodeId, remote: SocketAddr, is_initiator: bool) {}
    /// A connection that the core asked for did not come about.
    pub fn handle_connect_failed(&mut self, now: Now, link: LinkId, reason: ConnectFailure) {}
    /// Bytes arrived on a connection.
    pub fn handle_received(&mut self, now: Now, link: LinkId, bytes: &[u8]) {}
    /// A connection is gone.
    pub fn handle_disconnected(&mut self, now: Now, link: LinkId) {}
    /// The storage session was opened or lost.
    pub fn handle_storage_session(&mut self, now: Now, event: SessionEvent) {}
    /// Storage answered a command.
    pub fn handle_storage(&mut self, now: Now, command: CommandId, answer: Answer) {}
    /// The time named by the last [`Output::Timeout`] has come.
    pub fn handle_timeout(&mut self, now: Now) {}
    /// A configuration document arrived from the enrollment side; an older one is ignored.
    pub fn handle_document(&mut self, now: Now, document: Arc<SignedDocument>) {}
    /// Sends a request; the result comes as [`Output::CallDone`] with the same id.
    pub fn call(&mut self, now: Now, call: Call) -> CallId {
        CallId(0)
    }
    /// Forgets a call: no result will come.
    pub fn cancel(&mut self, now: Now, call: CallId) {}
    /// Makes a client, such as a SIP edge, reachable under its own Node-ID through this node.
    pub fn attach_client(&mut self, now: Now, client: NodeId) {}
    /// The client is gone.
    pub fn detach_client(&mut self, now: Now, client: NodeId) {}
    /// A client answers an [`Output::Incoming`] with contents that it signed.
    pub fn reply(&mut self, now: Now, incoming: IncomingId, contents: Bytes, security: SecurityBlock) {}
    /// Leaves the ring; the node stays up, not joined, and does not join again by itself.
    pub fn leave(&mut self, now: Now) {}
    /// What the node says about itself.
    #[must_use]
    pub fn status(&self) -> Status {
        todo!()
    }
    /// What the node has counted.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters::default()
    }
    /// The next thing to do; [`Output::Timeout`] ends the round.
    #[must_use]
    pub fn poll_output(&mut self) -> Output {
        todo!()
    }
}
