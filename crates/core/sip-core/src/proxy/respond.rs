//! What comes back on a branch (RFC 3261 §16.7): provisional responses and 2xx go on at once.

use std::time::Instant;

use super::api::{Event, Output, Target};
use super::branch::{Branch, BranchId, Cancel, State, Verdict};
use super::context::{Context, ContextId, Retry};
use super::core::{Core, Due};
use crate::flow::{Flow, Hop, NodeId};
use crate::message::{Acting, Edit, Message, Method, Name, ack_for};
use crate::transaction::{ClientId, ClientKey, ResponseVerdict};
use crate::uri::{DEFAULT_PORT, Host};

/// RFC 3326: what a callee's phone shows instead of a missed call.
const ELSEWHERE: &str = "SIP;cause=200;text=\"Call completed elsewhere\"";

impl Core {
    pub(super) fn handle_response(&mut self, now: Instant, flow: &Flow, message: Message) {
        let is_usable = message.validate(Acting::Proxy(&[])).is_ok() && message.values(Name::Via).nth(1).is_some();
        let key = ClientKey::new(message.branch().unwrap_or_default(), message.method().as_str());
        let (Some(client), Some(status)) = (self.layer.find_client(&key), message.status()) else {
            // RFC 6026 §7.3: a response without a transaction is not forwarded.
            return self.event(Event::Dropped {
                flow: flow.clone(),
                why: "response to nothing",
            });
        };
        if !self.is_for_us(client, &message) {
            return self.event(Event::Dropped {
                flow: flow.clone(),
                why: "response for somebody else",
            });
        }
        let Some((context, branch)) = self.by_client.get(&client).copied() else {
            // It answers a CANCEL of ours.
            self.layer.handle_response(now, client, status, |_| None);
            return;
        };
        if !is_usable {
            return self.event(Event::Dropped {
                flow: flow.clone(),
                why: "malformed response",
            });
        }
        let verdict = self.layer.handle_response(now, client, status, |request| {
            let invite = Message::parse_datagram(request.clone()).ok()?;
            Some(ack_for(&invite, &message).bytes().clone())
        });
        if verdict == ResponseVerdict::Pass {
            self.branch_answered(now, (context, branch), message, status);
        }
    }

    /// RFC 3261 §18.1.2: a response whose topmost sent-by is not what this edge wrote is discarded.
    fn is_for_us(&self, client: ClientId, response: &Message) -> bool {
        let Some((_, hop)) = self.layer.client_request(client) else {
            return true;
        };
        let written = self.sent_by(hop);
        let ours = Host::parse_with_port(&written);
        response.top_via().zip(ours).is_some_and(|(via, (host, port))| {
            // Some phones leave the default port out, or write the name in their own case.
            let is_same_port = via.port.unwrap_or(DEFAULT_PORT) == port.unwrap_or(DEFAULT_PORT);
            is_same_port && via.host.to_string().eq_ignore_ascii_case(&host.to_string())
        })
    }

    fn branch_answered(&mut self, now: Instant, (id, branch): (ContextId, BranchId), message: Message, status: u16) {
        match status {
            100..200 => self.provisional(now, (id, branch), &message, status),
            200..300 => self.success(now, (id, branch), &message),
            _ => self.failure(now, (id, branch), Verdict::Theirs(Box::new(message))),
        }
    }

    fn provisional(&mut self, now: Instant, (id, number): (ContextId, BranchId), message: &Message, status: u16) {
        let timers = self.settings.branches;
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        let (is_invite, is_answered) = (context.is_invite(), context.is_answered);
        let Some(branch) = context.branches.get_mut(&number) else {
            return;
        };
        let is_first = branch.state == State::Waiting;
        if is_first {
            branch.state = State::Ringing;
        }
        let (state, cancel, is_edge) = (branch.state, branch.cancel, branch.is_edge());
        if is_invite && state == State::Ringing && (is_first || status > 100) {
            // RFC 3261 §16.7 step 2: each provisional but 100 starts Timer C anew; whichever comes first ends the
            // silence that was timed before.
            let ringing = if is_edge {
                timers.ringing_edge
            } else {
                timers.ringing_phone
            };
            self.set_deadline((id, number), Some(now + ringing));
        }
        if cancel == Cancel::Wanted {
            self.send_cancel(now, (id, number));
        }
        // RFC 4320 §4.1: a request other than INVITE has no provisional response but 100, which goes one hop only.
        if is_invite && status > 100 && !is_answered && state != State::GivenUp {
            self.pass_back(now, id, message, status);
            self.event(Event::Progressed { context: id, status });
        }
    }

    fn success(&mut self, now: Instant, (id, number): (ContextId, BranchId), message: &Message) {
        self.set_deadline((id, number), None);
        let status = message.status().unwrap_or(200);
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        let was_answered = context.is_answered;
        let was_pending = context.branches.get_mut(&number).is_some_and(|branch| {
            let was_pending = branch.is_pending();
            branch.state = State::Done;
            was_pending
        });
        // RFC 3261 §16.7 step 5: every 2xx to INVITE goes back, the first to any other request.
        if context.is_invite() || !was_answered {
            self.pass_back(now, id, message, status);
        }
        if was_pending {
            self.branch_ended((id, number), status);
        }
        if !was_answered {
            self.settled(id, status);
            self.cancel_branches(now, id, Some(ELSEWHERE));
        }
    }

    fn failure(&mut self, now: Instant, (id, number): (ContextId, BranchId), verdict: Verdict) {
        self.set_deadline((id, number), None);
        let code = verdict.code();
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        let is_from_phone = context.is_from_phone();
        let Some(branch) = context
            .branches
            .get(&number)
            .filter(|branch| branch.state != State::GivenUp)
        else {
            return;
        };
        let stale = match &branch.target {
            Target::Edge { node, .. } if code == 430 && is_from_phone => Some(*node),
            _ => None,
        };
        context.end_branch(number, State::Done, verdict);
        if let (Some(node), Some(aor)) = (stale, context.aor.clone()) {
            if context.retry == Retry::Unneeded {
                context.retry = Retry::Wanted;
            }
            self.output(Output::Forget { aor, node });
        }
        self.branch_ended((id, number), code);
        if code >= 600 {
            // RFC 3261 §16.7 step 5: a 6xx ends the search, but waits for the branches it cancels.
            self.stop_looking(id);
            self.cancel_branches(now, id, None);
        }
        self.evaluate(now, id);
    }

    /// Takes the end of a client transaction: with the code that this edge concludes, or after its work was done.
    pub(super) fn client_ended(&mut self, now: Instant, client: ClientId, code: Option<u16>) {
        let Some((id, number)) = self.by_client.remove(&client) else {
            return;
        };
        let branch = self
            .contexts
            .get_mut(&id)
            .and_then(|context| context.branches.get_mut(&number));
        if let Some(branch) = branch {
            branch.client = None;
            if let Some(code) = code.filter(|_| branch.is_pending()) {
                self.failure(now, (id, number), Verdict::Own(code));
            }
        }
        self.clean_up(id);
    }

    /// Handles a branch that was silent or rang too long.
    pub(super) fn branch_deadline(&mut self, now: Instant, id: ContextId, number: BranchId) {
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        let Some(branch) = context.branches.get_mut(&number) else {
            return;
        };
        branch.deadline = None;
        match branch.state {
            State::Waiting => {
                let edge = branch.hop.as_ref().and_then(Hop::edge);
                if let Some(node) = edge {
                    self.output(Output::EdgeSilent(node));
                }
                self.give_up(now, (id, number), if edge.is_some() { 480 } else { 408 });
                self.evaluate(now, id);
            }
            // RFC 3261 §16.8: Timer C ends a branch that rings with a CANCEL.
            State::Ringing => self.send_cancel(now, (id, number)),
            State::GivenUp | State::Done => {}
        }
    }

    /// Goes on without a branch. It is cancelled, or will be should it wake up; a late success still counts.
    pub(super) fn give_up(&mut self, now: Instant, (id, number): (ContextId, BranchId), code: u16) {
        self.set_deadline((id, number), None);
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        let Some(branch) = context.branches.get_mut(&number) else {
            return;
        };
        // RFC 3261 §9.1: nothing but INVITE is cancelled.
        let is_invite = context.method == Method::Invite;
        let is_ringing = is_invite && branch.state == State::Ringing;
        if is_invite && branch.state == State::Waiting {
            branch.cancel = Cancel::Wanted;
        }
        context.end_branch(number, State::GivenUp, Verdict::Own(code));
        if is_ringing {
            self.send_cancel(now, (id, number));
        }
        self.branch_ended((id, number), code);
    }

    /// Lets the silence of branches to an edge begin now.
    pub(super) fn restart_silence(&mut self, now: Instant, node: NodeId) {
        let is_there = |branch: &Branch| {
            branch.state == State::Waiting
                && branch.deadline.is_some()
                && branch.hop.as_ref().and_then(Hop::edge) == Some(node)
        };
        let mut waiting = Vec::new();
        for (id, context) in &self.contexts {
            let branches = context.branches.iter().filter(|(_, branch)| is_there(branch));
            waiting.extend(branches.map(|(number, _)| (*id, *number)));
        }
        let deadline = now + self.settings.branches.silent_edge;
        for branch in waiting {
            self.set_deadline(branch, Some(deadline));
        }
    }

    /// Forwards a response that does not wait for others.
    fn pass_back(&mut self, now: Instant, id: ContextId, message: &Message, status: u16) {
        let Some(context) = self.contexts.get(&id) else { return };
        let mut edit = Edit::new(message).pop(Name::Via, 1);
        if self.came_from_phone(context, message) {
            edit = edit.remove(Name::PAssertedIdentity);
        }
        let bytes = edit.to_bytes();
        if context.is_server_open {
            self.layer.respond(now, context.server, status, bytes);
        } else {
            // RFC 3261 §16.7 step 9: without the transaction, a 2xx still finds its way by the Via below.
            let hop = context.reply_to.clone();
            self.output(Output::Send { hop, bytes });
        }
    }

    /// Tells whether a response came from a phone, which may assert nothing (RFC 3325 §5).
    pub(super) fn came_from_phone(&self, context: &Context, response: &Message) -> bool {
        let key = ClientKey::new(response.branch().unwrap_or_default(), context.method.as_str());
        let client = self
            .layer
            .find_client(&key)
            .and_then(|client| self.layer.client_request(client));
        response.has(Name::PAssertedIdentity) && client.is_none_or(|(_, hop)| hop.edge().is_none())
    }

    fn branch_ended(&mut self, (context, branch): (ContextId, BranchId), status: u16) {
        self.event(Event::BranchEnded {
            context,
            branch,
            status,
        });
    }

    pub(super) fn set_deadline(&mut self, (id, number): (ContextId, BranchId), at: Option<Instant>) {
        let Some(branch) = self
            .contexts
            .get_mut(&id)
            .and_then(|context| context.branches.get_mut(&number))
        else {
            return;
        };
        if let Some(old) = branch.deadline.take() {
            self.deadlines.remove(&(old, id, Due::Branch(number)));
        }
        if let Some(new) = at {
            self.deadlines.insert((new, id, Due::Branch(number)));
        }
        branch.deadline = at;
    }
}
