//! The one final answer of a context, when nothing is left to wait for (RFC 3261 §16.7 steps 6 to 8).

use std::time::Instant;

use super::api::{Answer, Event, Outcome, Output, Query, Scope};
use super::best;
use super::branch::Verdict;
use super::context::{Context, ContextId, Retry};
use super::core::{Core, reply};
use crate::message::{Edit, Message, Method, Name};

/// The packages that phones serve, for a 489.
pub(super) const ALLOW_EVENTS: &str = "dialog, presence, refer";

/// Seconds after which a caller may try again when this edge cannot look anybody up.
const RETRY_WHEN_ISOLATED: &str = "10";

impl Core {
    /// Goes on with the targets that wait, and answers when nothing is left to wait for.
    pub(super) fn evaluate(&mut self, now: Instant, id: ContextId) {
        self.send_to_waiting(now, id);
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
        let verdict = match best.filter(|best| best.code() != 430 || !is_served_by_nobody(context)) {
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
                match code {
                    503 => answer = answer.header(Name::RetryAfter, RETRY_WHEN_ISOLATED),
                    // RFC 6665 §8.3.2.
                    489 => answer = answer.header(Name::AllowEvents, ALLOW_EVENTS),
                    _ => {}
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
        let (server, bytes) = (context.server, response.bytes().clone());
        if context.is_vetted {
            self.layer.respond(now, server, status, bytes);
        } else {
            // RFC 3261 §26.3.2.4: a flood of requests from nobody knows whom must not leave state behind.
            self.layer.respond_once(now, server, status, bytes);
        }
        self.settled(id, status);
    }

    /// Notes that the request has its final answer: nobody looks for targets any more.
    pub(super) fn settled(&mut self, id: ContextId, status: u16) {
        self.stop_looking(id);
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        context.is_answered = true;
        self.event(Event::Answered { context: id, status });
    }

    /// Ends the search for targets: the look-up that is under way, the one that would follow it, and the targets that wait.
    pub(super) fn stop_looking(&mut self, id: ContextId) {
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        context.waiting.clear();
        context.retry = Retry::Done;
        if let Some(resolve) = context.resolve.take() {
            self.end_look_up(resolve);
            self.output(Output::Abandon(resolve));
        }
    }
}

/// Concludes from the look-up alone, when there was nobody to ask.
fn without_target(context: &Context) -> u16 {
    match context.outcome {
        // A request that came from an edge is told that the binding is gone (RFC 5626 §5.3.1).
        _ if !context.is_from_phone() => 430,
        Some(Outcome::Complete { .. }) | None if is_served_by_nobody(context) => 489,
        Some(Outcome::Complete { is_known: false }) => 404,
        Some(Outcome::Complete { is_known: true }) | None => 480,
        Some(Outcome::TimedOut) => 504,
        Some(Outcome::Unavailable) => 503,
    }
}

/// Tells whether a phone subscribes to its own user, and no other phone of the user is there to serve that. This edge
/// serves no package itself (RFC 6665 §4.2.1.1: 489), and 480 would have the phone try again and again.
fn is_served_by_nobody(context: &Context) -> bool {
    context.method == Method::Subscribe && context.is_to_self()
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
