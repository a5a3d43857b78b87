//! Branches that nobody waits for any more (RFC 3261 §9, §16.10).

use std::time::Instant;

use super::branch::{BranchId, Cancel, State};
use super::context::ContextId;
use super::core::Core;
use crate::message::{Edit, Message, Name, cancel_for};
use crate::transaction::{Class, ClientKey};

impl Core {
    /// Takes the caller's CANCEL (RFC 3261 §16.10).
    pub(super) fn cancel(&mut self, now: Instant, id: ContextId, reason: Option<String>) {
        let Some(context) = self.contexts.get_mut(&id).filter(|context| !context.is_answered) else {
            return;
        };
        context.is_cancelled = true;
        context.cancel_reason = reason.clone();
        self.stop_looking(id);
        self.cancel_branches(now, id, reason.as_deref());
        self.evaluate(now, id);
    }

    pub(super) fn cancel_branches(&mut self, now: Instant, id: ContextId, reason: Option<&str>) {
        let Some(context) = self.contexts.get_mut(&id).filter(|context| context.is_invite()) else {
            return;
        };
        if context.cancel_reason.is_none() {
            context.cancel_reason = reason.map(str::to_owned);
        }
        let mut ringing = Vec::new();
        for (number, branch) in &mut context.branches {
            match (branch.state, branch.cancel) {
                (State::Waiting, Cancel::No) => branch.cancel = Cancel::Wanted,
                (State::Ringing, Cancel::No) => ringing.push(*number),
                _ => {}
            }
        }
        for number in ringing {
            self.send_cancel(now, (id, number));
        }
    }

    pub(super) fn send_cancel(&mut self, now: Instant, (id, number): (ContextId, BranchId)) {
        self.set_deadline((id, number), None);
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        let reason = context.cancel_reason.clone();
        let Some(branch) = context
            .branches
            .get_mut(&number)
            .filter(|branch| branch.cancel != Cancel::Sent)
        else {
            return;
        };
        branch.cancel = Cancel::Sent;
        let Some(client) = branch.client else { return };
        let Some((request, hop)) = self
            .layer
            .client_request(client)
            .map(|(request, hop)| (request.clone(), hop.clone()))
        else {
            return;
        };
        let Ok(invite) = Message::parse_datagram(request) else {
            return;
        };
        let mut cancel = cancel_for(&invite);
        if let Some(reason) = reason {
            cancel = Edit::new(&cancel).set(Name::Reason, reason).apply();
        }
        let key = ClientKey::new(cancel.branch().unwrap_or_default(), "CANCEL");
        let bytes = cancel.bytes().clone();
        // When the table is full, the limit below ends the branch all the same.
        let _ = self.layer.open_client(now, key, Class::Other, (hop, bytes));
        // RFC 3261 §9.1: an INVITE that is not answered 64 T1 after its CANCEL is over.
        self.layer.limit_client(now, client);
    }
}
