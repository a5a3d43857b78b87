//! Attached clients: nodes that are reached through this one (RFC 6940 §4.2), here over gRPC instead of a link.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;

use wire::{ErrorCode, Message, NodeId, Now, SecurityBlock, TraceContext};

use crate::answers::{Kept, Seen};
use crate::api::{Incoming, IncomingId, Output};
use crate::core::Core;
use crate::ladder;
use crate::serve::Asked;
use crate::share::may_take;

/// The clients and what they have been asked.
#[derive(Default)]
pub(crate) struct Clients {
    attached: BTreeSet<NodeId>,
    incoming: BTreeMap<IncomingId, Pending>,
    next_id: u64,
}

struct Pending {
    client: NodeId,
    asked: Asked,
    until: Instant,
}

impl Clients {
    pub(crate) fn is_attached(&self, node: NodeId) -> bool {
        self.attached.contains(&node)
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = NodeId> {
        self.attached.iter().copied()
    }

    /// Whether one more request of a signer may wait for a client.
    fn has_room(&self, client: NodeId, signer: NodeId) -> bool {
        let waiting = || self.incoming.values().filter(|pending| pending.client == client);
        let of_signer = waiting().filter(|pending| pending.asked.signer == signer);
        may_take(of_signer.count(), waiting().count(), MOST_INCOMING)
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.incoming.values().map(|pending| pending.until).min()
    }
}

impl Core {
    /// Makes a client, such as a SIP edge, reachable under its own Node-ID through this node.
    pub fn attach_client(&mut self, now: Now, client: NodeId) {
        if client.is_name() && client != self.own() {
            self.clients.attached.insert(client);
            self.outputs.push_back(Output::Changed);
        }
        self.settle(now);
    }

    /// The client is gone.
    pub fn detach_client(&mut self, now: Now, client: NodeId) {
        if self.clients.attached.remove(&client) {
            let lost: Vec<IncomingId> = self
                .clients
                .incoming
                .iter()
                .filter(|(_, pending)| pending.client == client)
                .map(|(id, _)| *id)
                .collect();
            for id in lost {
                if let Some(pending) = self.clients.incoming.remove(&id) {
                    self.refuse(now, pending.asked, ErrorCode::NotFound, "client is gone");
                }
            }
            self.outputs.push_back(Output::Changed);
        }
        self.settle(now);
    }

    /// A request for a client has come. What it means is for the client to judge.
    pub(crate) fn deliver_to_client(&mut self, now: Now, message: Message, from: Option<NodeId>, client: NodeId) {
        let Some(mut asked) = self.asked_of_client(now, &message, from) else {
            return;
        };
        if let Some((code, info)) = self.unacceptable(&message) {
            return self.refuse_header(now, asked, code, info);
        }
        match self.answers.arrived(now.instant, (asked.signer, asked.transaction_id)) {
            Seen::First => {}
            Seen::Pending => return,
            Seen::Answered(kept) => return self.send_answer(now, &asked, kept.contents, kept.security),
        }
        if !self.clients.has_room(client, asked.signer) {
            self.counters.shed += 1;
            return self.leave_unanswered(&asked);
        }
        self.trace_arrived(&mut asked, &message);
        self.clients.next_id += 1;
        let id = IncomingId(self.clients.next_id);
        self.clients.incoming.insert(
            id,
            Pending {
                client,
                asked,
                until: now.instant + PATIENCE,
            },
        );
        self.outputs.push_back(Output::Incoming(Incoming {
            id,
            client,
            transaction_id: message.header.transaction_id,
            contents: message.signed_contents,
            security: message.security,
            trace: message.header.options.iter().find_map(TraceContext::from_option),
        }));
    }

    /// A client answers an [`Output::Incoming`] with contents that it signed.
    pub fn reply(&mut self, now: Now, incoming: IncomingId, contents: Bytes, security: SecurityBlock) {
        if let Some(Pending { client, asked, .. }) = self.clients.incoming.remove(&incoming) {
            ladder::reply(self.own(), client, (asked.transaction_id, &contents));
            let kept = Kept {
                contents: contents.clone(),
                security: security.clone(),
            };
            self.answers.answered((asked.signer, asked.transaction_id), kept);
            self.send_answer(now, &asked, contents, security);
        }
        self.settle(now);
    }

    /// A client did not take an [`Output::Incoming`]: it has more to read than it can. Whoever asked asks again.
    pub fn overlook(&mut self, incoming: IncomingId) {
        if let Some(Pending { asked, .. }) = self.clients.incoming.remove(&incoming) {
            self.counters.shed += 1;
            self.leave_unanswered(&asked);
        }
    }

    pub(crate) fn clients_due(&mut self, now: Now) {
        let late = self
            .clients
            .incoming
            .extract_if(.., |_, pending| pending.until <= now.instant);
        for (_, Pending { asked, .. }) in late.collect::<Vec<_>>() {
            self.leave_unanswered(&asked);
        }
    }
}

/// Requests that wait for one client; further ones are left unanswered, and come again.
const MOST_INCOMING: usize = 256;

// RFC 6940 §6.2.1: after the longest lifetime of a request nobody waits for its answer.
const PATIENCE: Duration = Duration::from_secs(15);
