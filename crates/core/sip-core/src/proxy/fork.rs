//! Targets become branches (RFC 3261 §16.6), as they arrive or as others make room for them.

use std::collections::BTreeMap;
use std::time::Instant;

use super::api::{Answer, Event, Outcome, Output, ResolveId, Resolved, Target};
use super::branch::{Branch, BranchId, Cancel, State};
use super::context::{Context, ContextId};
use super::core::{Core, Due, Waiting, reply};
use super::forward::Way;
use super::route::Next;
use crate::flow::Hop;
use crate::message::Message;
use crate::transaction::{ClientKey, Layer, ServerId, server};

/// Branches of one request at most: ten bindings, ten edges, and as many again after a wrong cache entry.
const MAX_BRANCHES: usize = 32;

impl Core {
    pub(super) fn resolved(&mut self, now: Instant, id: ResolveId, answer: Resolved) {
        match (self.resolves.get(&id).map(|look_up| &look_up.waiting), answer) {
            (Some(Waiting::Context(context)), Resolved::Targets(mut targets)) => {
                let id = *context;
                let is_routed_on = |context: &Context| context.routed.next == Some(Next::Foreign);
                if self.contexts.get(&id).is_some_and(is_routed_on) {
                    targets.retain(|target| target.path().is_some());
                }
                self.fork(now, id, targets);
            }
            (Some(Waiting::Context(context)), Resolved::Done(outcome)) => {
                let context = *context;
                self.end_look_up(id);
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
                let Some(Waiting::Ack(ack)) = self.end_look_up(id) else {
                    return;
                };
                let Resolved::Targets(targets) = answer else { return };
                let may_go = |target: &Target| !ack.is_routed_on || target.path().is_some();
                if let Some(flow) = targets.into_iter().filter(may_go).find_map(|target| match target {
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

    /// Adds targets to the context; those that are new are sent the request, at once or when it is their turn.
    pub(super) fn fork(&mut self, now: Instant, id: ContextId, targets: Vec<Target>) {
        let own = self.settings.node;
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        if context.is_cancelled || context.is_answered {
            return;
        }
        for target in targets {
            // RFC 3261 §16.5: no target twice, and this edge itself is none.
            let known = context.branches.values().map(|branch| &branch.target);
            let is_known = known.chain(&context.waiting).any(|known| is_same(known, &target));
            let is_own = matches!(&target, Target::Edge { node, .. } if *node == own);
            // A phone that asks for its own user means the user's other phones.
            let is_own = is_own || context.is_to_self() && context.came_from(&target);
            if !is_known && !is_own && context.branches.len() + context.waiting.len() < MAX_BRANCHES {
                context.waiting.push(target);
            }
        }
        self.evaluate(now, id);
    }

    /// Sends the request to all that may have it now.
    pub(super) fn send_to_waiting(&mut self, now: Instant, id: ContextId) {
        let mut is_new_turn = false;
        while let Some((target, breadth)) = self.contexts.get_mut(&id).and_then(next_target) {
            self.add_branch(now, id, target, breadth);
            is_new_turn = true;
        }
        self.time_turn(now, id, is_new_turn);
    }

    /// Sees to it that those who wait for others to have had their turn do not wait for ever.
    fn time_turn(&mut self, now: Instant, id: ContextId, is_new: bool) {
        let timers = self.settings.branches;
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        let is_awaited = context.awaited().next().is_some();
        if is_awaited && context.turn_ends.is_some() && !is_new {
            return;
        }
        let turn = if context.is_invite() {
            timers.turn_to_ring
        } else {
            timers.turn_to_answer
        };
        let ends = is_awaited.then(|| now + turn);
        if let Some(old) = std::mem::replace(&mut context.turn_ends, ends) {
            self.deadlines.remove(&(old, id, Due::Turn));
        }
        if let Some(at) = ends {
            self.deadlines.insert((at, id, Due::Turn));
        }
    }

    /// Ends the turn of the phones that others wait for (RFC 3261 §16.6: a proxy may bound each step of a serial search).
    pub(super) fn turn_over(&mut self, now: Instant, id: ContextId) {
        let Some(context) = self.contexts.get_mut(&id) else {
            return;
        };
        context.turn_ends = None;
        let over: Vec<BranchId> = context.awaited().collect();
        for number in over {
            self.give_up(now, (id, number), 408);
        }
        self.evaluate(now, id);
    }

    fn add_branch(&mut self, now: Instant, id: ContextId, target: Target, breadth: u32) {
        let number = BranchId(u32::try_from(self.number()).unwrap_or(u32::MAX));
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
            // What ended before it began leaves its share to the others.
            context.breadth += breadth - branch.breadth;
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
        let (is_invite, class, of_request) = (context.is_invite(), context.class(), context.trace);
        let trace = self.trace_of_branch(of_request);
        let Some(context) = self.contexts.get(&id) else {
            return Branch::stillborn(target, 480);
        };
        let tag = self.branch_tag(&context.request, u64::from(number.0));
        let bytes = self.forwarded(
            context,
            &Way {
                target: &target,
                hop: &hop,
                branch: &tag,
                breadth,
                trace,
            },
        );
        let key = ClientKey::new(&tag, context.method.as_str());
        let Ok(client) = self.layer.open_client(now, key, class, (hop.clone(), bytes)) else {
            return Branch::stillborn(target, 503);
        };
        self.by_client.insert(client, (id, number));
        self.event(Event::Branched {
            context: id,
            branch: number,
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
            self.deadlines.insert((at, id, Due::Branch(number)));
        }
        Branch {
            target,
            hop: Some(hop),
            client: Some(client),
            state: State::Waiting,
            cancel: Cancel::No,
            verdict: None,
            breadth,
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

/// Takes the first target whose turn it is, with its share of Max-Breadth. The others wait: preferred phones are tried
/// before others (RFC 3261 §16.6), each instance over one flow at a time (RFC 5626 §7), and breadth that is used up comes back with the answers (RFC 5393 §5.3.3.1).
fn next_target(context: &mut Context) -> Option<(Target, u32)> {
    let Context { branches, waiting, .. } = context;
    waiting.retain(|target| !to_instance(branches, target).any(Branch::is_answered_by_phone));
    let is_outranked = |target: &Target| {
        branches
            .values()
            .any(|branch| branch.is_pending() && branch.target.outranks(target))
    };
    let is_free = |target: &Target| !to_instance(branches, target).any(Branch::is_pending) && !is_outranked(target);
    let free: Vec<&Target> = waiting.iter().filter(|target| is_free(target)).collect();
    // RFC 3261 §16.6: the preferred ones first, those of one rank together.
    let is_first = |target: &Target| is_free(target) && !free.iter().any(|other| other.outranks(target));
    let first = free.iter().filter(|target| is_first(target)).count();
    let at = waiting.iter().position(is_first)?;
    if context.breadth == 0 && branches.values().any(|branch| branch.breadth > 0) {
        return None;
    }
    let target = waiting.remove(at);
    let breadth = share(context, u32::try_from(first).unwrap_or(u32::MAX));
    Some((target, breadth))
}

/// The branches that lead to the same instance as `target` does, over whichever flow.
fn to_instance<'a>(branches: &'a BTreeMap<BranchId, Branch>, target: &'a Target) -> impl Iterator<Item = &'a Branch> {
    let instance = target.instance();
    let is_same = move |branch: &&Branch| instance.is_some() && branch.target.instance() == instance;
    branches.values().filter(is_same)
}

/// Takes one branch's share of Max-Breadth. While further targets may come, half of what is left is kept for them.
fn share(context: &mut Context, count: u32) -> u32 {
    let kept = if context.resolve.is_some() {
        context.breadth / 2
    } else {
        0
    };
    let share = ((context.breadth - kept) / count).max(1).min(context.breadth);
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
