//! Sending, and the connections with other edges: reached through the overlay, dialed on request, lost.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use identity::Class;
use link::LinkError;
use runtime::warn_seldom;
use sip_core::flow::{self, FlowKind, Hop};
use wire::{NodeId, Now};

use super::lookups::node_of;
use super::{Done, Driver};
use crate::attach::{self, DIALS_ITSELF_AFTER, Verdict as Judgement};
use crate::disk;
use crate::edges::{Outgoing, Verdict};
use crate::home::{CallError, HomeEvent, HomeState};
use crate::ladder;
use crate::transport::Ended;

impl Driver {
    /// Sends one message, or tells the proxy that it cannot be sent.
    pub(super) fn send(&mut self, now: Now, hop: Hop, bytes: Bytes) {
        match hop {
            Hop::Flow(flow) => {
                ladder::sent(self.node, &flow, &bytes);
                if let Err(error) = self.hub.send(&flow, bytes) {
                    tracing::debug!(%error, "message not sent");
                    self.proxy.handle_unreachable(now.instant, &Hop::Flow(flow));
                }
            }
            Hop::Edge { node, home } => {
                let verdict = self.edges.send(
                    now.instant,
                    node,
                    home,
                    Outgoing {
                        id: Hop::Edge { node, home },
                        bytes,
                    },
                );
                self.carry_out(now, node, verdict);
            }
        }
    }

    fn carry_out(&mut self, now: Now, node: flow::NodeId, verdict: Verdict<Hop>) {
        match verdict {
            Verdict::Write(connection, message) => {
                if self.hub.write(connection, message.bytes).is_err() {
                    self.proxy.handle_unreachable(now.instant, &message.id);
                }
            }
            Verdict::Waits => {}
            Verdict::Reach(home) => self.reach(node, home),
            Verdict::Unreachable(message) => self.proxy.handle_unreachable(now.instant, &message.id),
        }
    }

    /// Asks an edge, through its home peer, to dial us.
    fn reach(&mut self, node: flow::NodeId, home: flow::NodeId) {
        let (attacher, overlay) = (self.attacher.clone(), self.home.handle.clone());
        let _entered = self.requests.span_toward(node).entered();
        let (node, home) = (NodeId::from(node.0), NodeId::from(home.0));
        self.start(async move { Done::Asked(node, attacher.ask(&overlay, home, node).await) });
    }

    /// Takes an edge's agreement to dial, or that it was not to be had.
    pub(super) fn handle_asked(&mut self, now: Now, node: NodeId, result: Result<Vec<SocketAddr>, CallError>) {
        match result {
            // Its connection is on the way; if it does not come, it is dialed, and the table's own limit ends the wait.
            Ok(candidates) => {
                self.reach.agreed(now.instant, node_of(node));
                self.start(async move {
                    tokio::time::sleep(DIALS_ITSELF_AFTER).await;
                    Done::Overdue(node, candidates)
                });
            }
            // RFC 6940 §6.5.1.2: its own request goes first, and it is dialed by us.
            Err(CallError::Refused { code }) if code == wire::ErrorCode::InProgress.number() => {}
            Err(error) => {
                tracing::info!(edge = %node.short(), %error, "edge not reached");
                let failed = self.edges.not_reached(now.instant, node_of(node));
                self.fail(now, failed);
            }
        }
    }

    /// Dials an edge that agreed to dial us and did not come: its way to us may be blocked, and ours to it open.
    pub(super) fn handle_overdue(&mut self, node: NodeId, candidates: Vec<SocketAddr>) {
        if !self.edges.is_connected(node_of(node)) && !candidates.is_empty() {
            self.dial(node, candidates);
        }
    }

    fn dial(&mut self, node: NodeId, candidates: Vec<SocketAddr>) {
        let endpoint = Arc::clone(&self.endpoint);
        self.start(async move {
            let dialed = attach::dial(&endpoint, node, &candidates).await;
            Done::Dialed(node, dialed.map(Box::new))
        });
    }

    /// Asks another edge to connect, if it is time to see whether that can be.
    pub(super) fn probe_edges(&mut self, now: Now) {
        for late in self.reach.handle_timeout(now.instant) {
            warn_seldom!(edge = %late, addresses = ?self.attacher.addresses, "an edge agreed to connect with this one and did not");
        }
        if self.is_serving()
            && let Some((node, home)) = self.reach.probe(now.instant, self.edges.is_met())
        {
            self.reach(node, home);
        }
        self.requests.metrics.met(self.reach.incoming, self.reach.outgoing);
        self.tell_health();
    }

    /// Looks which phones' connections carry anything.
    pub(super) fn review_connections(&mut self, now: Now) {
        let carried = self.requests.connections();
        let own_ms = self.clock.at(now).own_ms;
        let Self { hub, locations, .. } = self;
        hub.review(now.instant, |id| {
            carried.contains(&id) || locations.has_connection(own_ms, id)
        });
    }

    /// Gives up for a while on an edge that does not answer.
    pub(super) fn handle_silent_edge(&mut self, now: Now, node: flow::NodeId) {
        let failed = self.edges.silent(now.instant, node);
        self.fail(now, failed);
    }

    fn fail(&mut self, now: Now, messages: Vec<Outgoing<Hop>>) {
        for message in messages {
            self.proxy.handle_unreachable(now.instant, &message.id);
        }
    }

    pub(super) fn handle_edges_timeout(&mut self, now: Now) {
        let (failed, probes) = self.edges.handle_timeout(now.instant);
        self.fail(now, failed);
        for (node, home) in probes {
            self.reach(node, home);
        }
    }

    /// Takes a connection with a node of the overlay, accepted or dialed.
    pub(super) fn handle_connected(&mut self, now: Now, connection: link::Connection, is_dialer: bool) {
        let peer = Arc::clone(connection.peer());
        let node = node_of(peer.node_id());
        let is_edge = peer.class == Class::Edge;
        let kind = if is_edge {
            FlowKind::Edge(node)
        } else {
            let users = peer.user.iter().map(|user| Arc::from(user.as_str())).collect();
            FlowKind::Stranger { node, users }
        };
        let Some(id) = self.hub.add_node(connection, kind) else {
            return;
        };
        if !is_edge {
            return;
        }
        tracing::debug!(edge = %peer.node_id().short(), is_dialer, "connected with an edge");
        self.proxy.handle_edge_connected(now.instant, node);
        for replaced in self.edges.replaced(node) {
            self.hub.give_up(replaced);
        }
        let dialer = if is_dialer { node_of(self.node) } else { node };
        if !is_dialer {
            self.reach.came(node);
        }
        for message in self.edges.connected(node, id, dialer) {
            self.carry_out(now, node, Verdict::Write(id, message));
        }
    }

    /// Takes the outcome of dialing an edge.
    pub(super) fn handle_dialed(
        &mut self,
        now: Now,
        node: NodeId,
        result: Result<Box<link::Connection>, Vec<LinkError>>,
    ) {
        self.reach.dialed(node_of(node), result.is_ok());
        match result {
            Ok(connection) => self.handle_connected(now, *connection, true),
            Err(errors) => {
                let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                warn_seldom!(edge = %node.short(), ?errors, "an edge that wants a connection cannot be dialed");
            }
        }
    }

    /// Takes the end of a connection.
    pub(super) fn handle_ended(&mut self, now: Now, ended: &Ended) {
        let Ended { id, flow, reason } = ended;
        self.requests.metrics.ended(reason);
        match flow.kind {
            FlowKind::Edge(node) => {
                self.edges.closed(node, *id);
                if !self.edges.is_connected(node) {
                    self.proxy.handle_edge_lost(now.instant, node);
                }
            }
            FlowKind::Phone | FlowKind::Stranger { .. } => {
                for aor in self.locations.close(*id) {
                    self.followers.touch(&aor);
                }
                self.proxy.handle_unreachable(now.instant, &Hop::Flow(flow.clone()));
            }
        }
    }

    /// Takes the first news, before anything is served.
    pub(crate) fn handle_first(&mut self, event: HomeEvent) {
        self.handle_home(super::now(), event);
    }

    /// Takes news from the overlay peer.
    pub(super) fn handle_home(&mut self, now: Now, event: HomeEvent) {
        match event {
            HomeEvent::Attached(home) => {
                self.home.is_attached = true;
                if self.registrant.home != home {
                    tracing::info!(home = %home.short(), "home peer changed");
                    self.registrant.home = home;
                    self.proxy.set_home(node_of(home));
                    let mut batch = kv::Batch::new();
                    disk::put_home(&mut batch, home);
                    self.note(batch);
                }
            }
            HomeEvent::Detached | HomeEvent::Replaced => {
                self.home.is_attached = false;
                self.home.state = None;
            }
            HomeEvent::State(state) => self.handle_state(now, state),
            HomeEvent::Incoming(incoming) => {
                let may_dial = |node: NodeId, addresses: Vec<SocketAddr>| {
                    // RFC 6940 §6.5.1.2: of two requests at once, that of the larger Node-ID is carried out.
                    if !self.edges.yields_to(node_of(node)) {
                        return Err("our own request is under way");
                    }
                    let addresses = self.dials.begin(now.instant, node, addresses);
                    addresses.ok_or("too many connections are being made")
                };
                match self.attacher.judge(&self.verifier, now.unix_ms, incoming, may_dial) {
                    Judgement::Agree {
                        reply,
                        node,
                        candidates,
                    } => {
                        self.reply(reply);
                        self.dial(node, candidates);
                    }
                    Judgement::Answer(reply) => self.reply(reply),
                    Judgement::Told { reply, changed } => {
                        self.handle_changed(now, &changed);
                        self.reply(reply);
                    }
                    Judgement::Ignore => {}
                }
            }
        }
        self.tell_health();
    }

    fn reply(&self, reply: crate::home::Reply) {
        // A full queue means that the overlay reads nothing; the asking edge asks again.
        if self.home.replies.try_send(reply).is_err() {
            warn_seldom!("answer to another edge dropped, the overlay does not take it");
        }
    }

    fn handle_state(&mut self, now: Now, state: HomeState) {
        let known = self.document.document().sequence;
        let is_newer =
            u16::try_from(state.document_sequence).is_ok_and(|sequence| overlay_config::is_newer(sequence, known));
        if is_newer {
            let basis = overlay_config::Basis::Previous(self.document.document());
            match overlay_config::SignedDocument::parse_and_verify(state.document.clone(), basis, now.unix_ms) {
                Ok(document) => {
                    tracing::info!(sequence = document.document().sequence, "configuration document taken");
                    self.verifier.set_trust(document.document().trust());
                    let banned = &document.document().bad_nodes;
                    self.hub.retire(|node, _| banned.contains(&NodeId::from(node.0)));
                    self.document = document;
                }
                Err(error) => tracing::error!(%error, "configuration document refused"),
            }
        }
        self.home.state = Some(state);
    }
}
