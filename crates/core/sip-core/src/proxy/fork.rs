//! Targets become branches (RFC 3261 §16.6), as they arrive.

use std::time::Instant;

use super::api::{Answer, Event, Outcome, Output, ResolveId, Resolved, Target};
use super::branch::{Branch, BranchId, Cancel, State};
use super::context::{Context, ContextId};
use super::core::{Core, Waiting, reply};
use super::forward::Way;
use crate::flow::Hop;
use crate::message::Message;
use crate::transaction::{ClientKey, Layer, ServerId, server};

/// Branches of one request at most: ten bindings, ten edges, and as many again after a wrong cache entry.
const MAX_BRANCHES: usize = 32;

impl Core {
    pub(super) fn resolved(&mut self, now: Instant, id: ResolveId, answer: Resolved) {
        match (self.resolves.get(&id), answer) {
            (Some(Waiting::Context(context)), Resolved::Targets(targets)) => {
                let context = *context;
                self.fork(now, context, targets);
            }
            (Some(Waiting::Context(context)), Resolved::Done(outcome)) => {
                let context = *context;
                self.resolves.remove(&id);
                if let Some(context) = self
                    .contexts
                    .get_mut(&context)
                    .filter(|context| context.resolve == Some(id))
                {
                    context.resolve = None;
                    // A second look-up may fail without making the first one untrue.
                    let is_known = context.outcome == Some(Outcome::Complete { is_known: true });
                    context.outcome = context.outcome.filter(|_| is_known).or(Some(outcome));
                }
                self.evaluate(now, context);
            }
            (Some(Waiting::Ack(_)), answer) => {
                let Some(Waiting::Ack(ack)) = self.resolves.remove(&id) else {
                    return;
                };
                let Resolved::Targets(targets) = answer else { return };
                if let Some(flow) = targets.into_iter().find_map(|target| match target {
                    Target::Phone { flow, .. } => flow,
                    Target::Edge { .. } => None,
                }) {
                    self.send_ack(now, &ack, Hop::Flow(flow));
                }
                self.output(Output::Abandon(id));
            }
            (None, _) => {}
        }
    }

    /// Adds targets to the context and sends the request to those that are new.
    pub(super) fn fork(&mut self, now: Instant, id: ContextId, targets: Vec<Target>) {
        let Some(context) = self.contexts.get(&id) else { return };
        if context.is_cancelled || context.is_answered {
            return;
        }
        let own = self.settings.node;
        let mut fresh: Vec<Target> = Vec::new();
        for target in targets {
            // RFC 3261 §16.5: no target twice, and this edge itself is none.
            let is_known = context.branches.values().any(|branch| is_same(&branch.target, &target))
                || fresh.iter().any(|other| is_same(other, &target));
            let is_own = matches!(&target, Target::Edge { node, .. } if *node == own);
            if !is_known && !is_own && context.branches.len() + fresh.len() < MAX_BRANCHES {
                fresh.push(target);
            }
        }
        let count = u32::try_from(fresh.len()).unwrap_or(u32::MAX);
        for target in fresh {
            self.add_branch(now, id, target, count);
        }
        self.evaluate(now, id);
    }

    fn add_branch(&mut self, now: Instant, id: ContextId, target: Target, count: u32) {
        let number = BranchId(u32::try_from(self.number()).unwrap_or(u32::MAX));
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        let breadth = share(context, count);
        let branch = match &target {
            // RFC 5626 §5.3.1: the flow to the phone is gone, so this fails at once and not by a timer.
            Target::Phone { flow: None, .. } => Branch::stillborn(target, 430),
            // RFC 5393 §5.3.3: no breadth is left.
            _ if breadth == 0 => Branch::stillborn(target, 440),
            Target::Phone { flow: Some(flow), .. } => {
                let hop = Hop::Flow(flow.clone());
                self.send_branch(now, (id, number), (target, hop), breadth)
            }
            Target::Edge { node, home } => {
                let hop = Hop::Edge {
                    node: *node,
                    home: *home,
                };
                self.send_branch(now, (id, number), (target, hop), breadth)
            }
        };
        if let Some(context) = self.contexts.get_mut(&id) {
            context.branches.insert(number, branch);
        }
    }

    fn send_branch(
        &mut self,
        now: Instant,
        (id, number): (ContextId, BranchId),
        (target, hop): (Target, Hop),
        breadth: u32,
    ) -> Branch {
        let Some(context) = self.contexts.get(&id) else {
            return Branch::stillborn(target, 480);
        };
        let (is_invite, class, trace) = (context.is_invite(), context.class(), context.trace);
        let tag = self.branch_tag(&context.request, u64::from(number.0));
        let bytes = self.forwarded(
            context,
            &Way {
                target: &target,
                hop: &hop,
                branch: &tag,
                breadth,
            },
        );
        let key = ClientKey::new(&tag, context.method.as_str());
        let Ok(client) = self.layer.open_client(now, key, class, (hop.clone(), bytes)) else {
            return Branch::stillborn(target, 503);
        };
        self.by_client.insert(client, (id, number));
        self.event(Event::Branched {
            trace,
            hop: hop.clone(),
        });
        let timers = self.settings.branches;
        let silence = if hop.edge().is_some() {
            timers.silent_edge
        } else {
            timers.silent_phone
        };
        let deadline = is_invite.then(|| now + silence);
        if let Some(at) = deadline {
            self.deadlines.insert((at, id, number));
        }
        Branch {
            target,
            hop: Some(hop),
            client: Some(client),
            state: State::Waiting,
            cancel: Cancel::No,
            verdict: None,
            deadline,
        }
    }

    /// Sends a 100 to an INVITE that was not answered yet.
    pub(super) fn trying(&mut self, now: Instant, id: ContextId) {
        let context = self.contexts.get(&id).filter(|context| context.is_invite());
        if let Some(context) = context {
            send_trying(&mut self.layer, now, context.server, &context.request);
        }
    }

    /// Sends the 100 that a transaction says is due.
    pub(super) fn trying_due(&mut self, now: Instant, server: ServerId) {
        let context = self.by_server.get(&server).and_then(|id| self.contexts.get(id));
        let registering = || self.registers.values().find(|registering| registering.server == server);
        let request = context
            .map(|context| &context.request)
            .or_else(|| registering().map(|it| &it.request));
        if let Some(request) = request {
            send_trying(&mut self.layer, now, server, request);
        }
    }
}

fn send_trying(layer: &mut Layer, now: Instant, server: ServerId, request: &Message) {
    if layer.server_state(server) == Some(server::State::Trying) {
        let response = reply(request, &Answer::new(100));
        layer.respond(now, server, 100, response.bytes().clone());
    }
}

/// Takes one branch's share of Max-Breadth. While further targets may come, half of what is left is kept for them.
fn share(context: &mut Context, count: u32) -> u32 {
    let kept = if context.resolve.is_some() {
        context.breadth / 2
    } else {
        0
    };
    let share = ((context.breadth - kept) / count.max(1)).max(1).min(context.breadth);
    context.breadth -= share;
    share
}

fn is_same(one: &Target, other: &Target) -> bool {
    match (one, other) {
        (Target::Edge { node: one, .. }, Target::Edge { node: other, .. }) => one == other,
        (
            Target::Phone { binding: Some(one), .. },
            Target::Phone {
                binding: Some(other), ..
            },
        ) => one == other,
        _ => one == other,
    }
}
