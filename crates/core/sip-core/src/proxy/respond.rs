//! What comes back (RFC 3261 §16.7): provisional responses and 2xx at once, else one best answer at the end.

use std::time::Instant;

use super::api::{Answer, Event, Outcome, Output, Query, Scope, Target};
use super::best;
use super::branch::{BranchId, Cancel, State, Verdict};
use super::context::{Context, ContextId, Retry};
use super::core::{Core, reply};
use crate::flow::{Flow, Hop};
use crate::message::{Acting, Edit, Message, Name, ack_for, cancel_for};
use crate::transaction::{Class, ClientId, ClientKey, ResponseVerdict};

/// Seconds after which a caller may try again when this edge cannot look anybody up.
const RETRY_WHEN_ISOLATED: &str = "10";

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
        if branch.state == State::Waiting {
            branch.state = State::Ringing;
        }
        let (state, cancel, is_edge) = (branch.state, branch.cancel, branch.is_edge());
        if is_invite && state == State::Ringing {
            // RFC 3261 §16.7 step 2: each provisional but 100 starts Timer C anew.
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
        }
    }

    fn success(&mut self, now: Instant, (id, number): (ContextId, BranchId), message: &Message) {
        self.set_deadline((id, number), None);
        let status = message.status().unwrap_or(200);
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        let was_answered = context.is_answered;
        if let Some(branch) = context.branches.get_mut(&number) {
            branch.state = State::Done;
        }
        // RFC 3261 §16.7 step 5: every 2xx to INVITE goes back, the first to any other request.
        if context.is_invite() || !was_answered {
            self.pass_back(now, id, message, status);
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
            .get_mut(&number)
            .filter(|branch| branch.state != State::GivenUp)
        else {
            return;
        };
        branch.state = State::Done;
        branch.verdict = Some(verdict);
        let stale = match &branch.target {
            Target::Edge { node, .. } if code == 430 && is_from_phone => Some(*node),
            _ => None,
        };
        if let (Some(node), Some(aor)) = (stale, context.aor.clone()) {
            if context.retry == Retry::Unneeded {
                context.retry = Retry::Wanted;
            }
            self.output(Output::Forget { aor, node });
        }
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
        let Some(branch) = self
            .contexts
            .get_mut(&id)
            .and_then(|context| context.branches.get_mut(&number))
        else {
            return;
        };
        branch.deadline = None;
        match branch.state {
            State::Waiting => {
                branch.state = State::GivenUp;
                // Should it wake up, it is told that nobody waits.
                branch.cancel = Cancel::Wanted;
                let edge = branch.hop.as_ref().and_then(Hop::edge);
                branch.verdict = Some(Verdict::Own(if edge.is_some() { 480 } else { 408 }));
                if let Some(node) = edge {
                    self.output(Output::EdgeSilent(node));
                }
                self.evaluate(now, id);
            }
            // RFC 3261 §16.8: Timer C ends a branch that rings with a CANCEL.
            State::Ringing => self.send_cancel(now, (id, number)),
            State::GivenUp | State::Done => {}
        }
    }

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

    fn cancel_branches(&mut self, now: Instant, id: ContextId, reason: Option<&str>) {
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

    fn send_cancel(&mut self, now: Instant, (id, number): (ContextId, BranchId)) {
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

    fn stop_looking(&mut self, id: ContextId) {
        let resolve = self.contexts.get_mut(&id).and_then(|context| context.resolve.take());
        if let Some(resolve) = resolve {
            self.resolves.remove(&resolve);
            self.output(Output::Abandon(resolve));
        }
    }

    /// Answers when nothing is left to wait for.
    pub(super) fn evaluate(&mut self, now: Instant, id: ContextId) {
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        let is_open = !context.is_answered && !context.is_cancelled;
        if is_open && context.retry == Retry::Wanted && context.resolve.is_none() {
            context.retry = Retry::Done;
            if let Some(aor) = context.aor.clone() {
                return self.resolve(
                    now,
                    id,
                    Query::Aor {
                        aor,
                        scope: Scope::OverlayAgain,
                    },
                );
            }
        }
        if context.is_answered || context.is_waiting() {
            return;
        }
        let best = best::choose(context.branches.values().filter_map(|branch| branch.verdict.as_ref())).cloned();
        let verdict = match best {
            // RFC 3261 §16.10: what was cancelled ends with 487 unless somebody refused before.
            Some(verdict) if context.is_cancelled && verdict.code() == 408 => Verdict::Own(487),
            None if context.is_cancelled => Verdict::Own(487),
            None => Verdict::Own(without_target(context)),
            Some(verdict) => verdict,
        };
        self.conclude(now, id, &verdict);
    }

    fn conclude(&mut self, now: Instant, id: ContextId, verdict: &Verdict) {
        let Some(context) = self.contexts.get(&id) else { return };
        let code = toward_caller(context, verdict.code());
        match verdict {
            // RFC 4320 §4.2: no 408 to a request other than INVITE; its client has given up by then.
            _ if code == 408 && !context.is_invite() => {
                let server = context.server;
                self.settled(id, 408);
                self.layer.close_server(server);
            }
            Verdict::Theirs(response) if code == verdict.code() => {
                let challenges = other_challenges(context, code, response);
                let mut edit = Edit::new(response).pop(Name::Via, 1);
                if self.came_from_phone(context, response) {
                    edit = edit.remove(Name::PAssertedIdentity);
                }
                for (name, value) in challenges {
                    edit = edit.add(name, value);
                }
                let response = edit.apply();
                self.finish(now, id, &response);
            }
            Verdict::Theirs(_) | Verdict::Own(_) => {
                let mut answer = Answer::new(code);
                if code == 503 {
                    answer = answer.header(Name::RetryAfter, RETRY_WHEN_ISOLATED);
                }
                let response = reply(&context.request, &answer);
                self.finish(now, id, &response);
            }
        }
    }

    /// Sends the final response.
    pub(super) fn finish(&mut self, now: Instant, id: ContextId, response: &Message) {
        let status = response.status().unwrap_or(500);
        let Some(context) = self.contexts.get(&id).filter(|context| !context.is_answered) else {
            return;
        };
        self.layer
            .respond(now, context.server, status, response.bytes().clone());
        self.settled(id, status);
    }

    /// Notes that the request has its final answer: nobody looks for targets any more.
    fn settled(&mut self, id: ContextId, status: u16) {
        self.stop_looking(id);
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        context.is_answered = true;
        let trace = context.trace;
        self.event(Event::Answered { trace, status });
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
    fn came_from_phone(&self, context: &Context, response: &Message) -> bool {
        let key = ClientKey::new(response.branch().unwrap_or_default(), context.method.as_str());
        let client = self
            .layer
            .find_client(&key)
            .and_then(|client| self.layer.client_request(client));
        response.has(Name::PAssertedIdentity) && client.is_none_or(|(_, hop)| hop.edge().is_none())
    }

    fn set_deadline(&mut self, (id, number): (ContextId, BranchId), at: Option<Instant>) {
        let Some(branch) = self
            .contexts
            .get_mut(&id)
            .and_then(|context| context.branches.get_mut(&number))
        else {
            return;
        };
        if let Some(old) = branch.deadline.take() {
            self.deadlines.remove(&(old, id, number));
        }
        if let Some(new) = at {
            self.deadlines.insert((new, id, number));
        }
        branch.deadline = at;
    }
}

/// Concludes from the look-up alone, when there was nobody to ask.
fn without_target(context: &Context) -> u16 {
    match context.outcome {
        // A request that came from an edge is told that the binding is gone (RFC 5626 §5.3.1).
        _ if !context.is_from_phone() => 430,
        Some(Outcome::Complete { is_known: false }) => 404,
        Some(Outcome::Complete { is_known: true }) | None => 480,
        Some(Outcome::TimedOut) => 504,
        Some(Outcome::Unavailable) => 503,
    }
}

/// Translates a code for who gets it.
fn toward_caller(context: &Context, code: u16) -> u16 {
    match code {
        // RFC 5626 §11.5: a 430 is between edges.
        430 if context.is_from_phone() => 480,
        // RFC 3261 §16.7 step 6: a branch's 503 would make the phone leave this edge. Only this edge's own counts.
        503 if !context.branches.is_empty() => 500,
        other => other,
    }
}

/// RFC 3261 §16.7 step 7: the challenges of all other branches go with the chosen one.
fn other_challenges(context: &Context, code: u16, chosen: &Message) -> Vec<(Name<'static>, String)> {
    if !matches!(code, 401 | 407) {
        return Vec::new();
    }
    let mut challenges = Vec::new();
    for branch in context.branches.values() {
        let Some(Verdict::Theirs(response)) = &branch.verdict else {
            continue;
        };
        if !matches!(response.status(), Some(401 | 407)) || response.bytes() == chosen.bytes() {
            continue;
        }
        for name in [Name::WwwAuthenticate, Name::ProxyAuthenticate] {
            challenges.extend(response.lines(name).map(|value| (name, value.to_owned())));
        }
    }
    challenges
}
