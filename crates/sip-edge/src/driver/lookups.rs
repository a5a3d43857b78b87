//! Who is to ring: local bindings at once, and beside them the edges that the overlay names.

use std::sync::Arc;
use std::time::Duration;

use kv::Batch;
use runtime::warn_seldom;
use sip_core::aor::Aor;
use sip_core::flow;
use sip_core::location::Binding;
use sip_core::proxy::{Outcome, Query, ResolveId, Resolved, Scope, Target};
use tracing::Span;
use usage::sip::{Found, Judge, Route};
use usage::user::State;
use wire::{Body, Changed, Destination, Encode as _, MessageContents, NodeId, Now};

use super::registrations::unavailable;
use super::{Asking, Done, Driver, Waiter};
use crate::directory::{Answer as Known, Need};
use crate::disk;
use crate::home::{CallError, Request};

/// A Fetch takes at most so long: the overlay's own retransmissions end before.
const FETCH: Duration = Duration::from_secs(4);

/// What the directory's knowledge of an AOR rests on.
#[derive(Debug, Clone, Copy)]
pub(super) enum Basis<'a> {
    /// On earlier days.
    Kept,
    /// On a Fetch that has just come back.
    Fetched,
    /// A Fetch was made and failed; on what is left.
    Failed(&'a CallError),
}

impl Driver {
    /// Answers the proxy's question where a request may go.
    pub(super) fn resolve(&mut self, now: Now, id: ResolveId, query: Query) {
        let (aor, scope) = match query {
            Query::Aor { aor, scope } => (aor, scope),
            Query::Binding(binding) => {
                let binding = self.locations.find(self.clock.at(now).own_ms, binding);
                let target = binding.map(|(_, binding)| self.phone(binding));
                return self.resolved_at_once(now, id, target);
            }
            Query::Source { transport, address } => {
                let flow = self.hub.flow_to(transport, address);
                let target = flow.map(Target::without_binding);
                return self.resolved_at_once(now, id, target);
            }
        };
        let mut is_local = false;
        if scope != Scope::OverlayAgain {
            let bindings = self.locations.bindings(self.clock.at(now).own_ms, &aor);
            let targets: Vec<Target> = bindings.map(|binding| self.phone(binding)).collect();
            is_local = !targets.is_empty();
            if is_local {
                self.proxy.handle_resolved(now.instant, id, Resolved::Targets(targets));
            }
            if scope == Scope::Local {
                if !is_local {
                    self.ask_directory(now, &aor, Need::Entry, Waiter::OwnEntry);
                }
                let outcome = Outcome::Complete { is_known: is_local };
                return self.proxy.handle_resolved(now.instant, id, Resolved::Done(outcome));
            }
        } else {
            self.directory.drop_routes(aor.as_str());
        }
        // What is known rings at once, whatever its age; what a Fetch brings beside joins it.
        let targets = self.known_edges(now, &aor);
        let is_own = |route: &Route| route.edge == self.node;
        let is_own_route = is_local
            && self
                .directory
                .routes(self.clock.at(now).own_ms, aor.as_str())
                .any(is_own);
        let are_found = is_own_route || !targets.is_empty();
        if !targets.is_empty() {
            self.proxy.handle_resolved(now.instant, id, Resolved::Targets(targets));
        }
        self.ask_directory(now, &aor, Need::Routes { are_found }, Waiter::Resolve(id));
    }

    fn phone(&self, binding: &Binding) -> Target {
        Target::Phone {
            binding: Some(binding.id),
            instance: binding.instance.as_ref().map(|(instance, _)| instance.clone()),
            flow: binding.flow().map(|flow| self.hub.usable(flow)),
            contact: binding.request_uri(),
            q: binding.q,
            path: binding.path.to_string(),
        }
    }

    fn resolved_at_once(&mut self, now: Now, id: ResolveId, target: Option<Target>) {
        if let Some(target) = target {
            self.proxy
                .handle_resolved(now.instant, id, Resolved::Targets(vec![target]));
        }
        self.proxy
            .handle_resolved(now.instant, id, Resolved::Done(Outcome::Complete { is_known: true }));
    }

    /// Asks the directory; goes on at once if it knows, or when the Fetch is back.
    pub(super) fn ask_directory(&mut self, now: Now, aor: &Aor, need: Need, waiter: Waiter) {
        match self.directory.ask(now.instant, aor.as_str(), need, Asking::new(waiter)) {
            Known::Known(asking) => self.go_on(now, aor, asking.waiter, Basis::Kept),
            Known::Waits => {}
            Known::Refused(Asking { waiter, .. }) => match waiter {
                Waiter::Credentials(purpose, ..) => self.refuse(now, purpose, unavailable("Too Many Look-ups")),
                Waiter::Resolve(id) => {
                    self.proxy
                        .handle_resolved(now.instant, id, Resolved::Done(Outcome::Unavailable))
                }
                Waiter::OwnEntry => {}
            },
        }
    }

    /// Asks for a newer record than the one that the credentials do not fit; says whether they wait for it now.
    pub(super) fn ask_again(&mut self, now: Now, aor: &Aor, waiter: Waiter) -> bool {
        let asking = Asking::new(waiter);
        let answer = self.directory.ask_again(now.instant, aor.as_str(), asking);
        matches!(answer, Known::Waits)
    }

    /// Sends the Fetches that are due, each inside the span of the first request that waits for it.
    pub(super) fn send_fetches(&mut self, now: Now) {
        while let Some((aor, first)) = self.directory.next_fetch(now.instant) {
            let span = first.map_or_else(Span::none, |asking| asking.span.clone());
            let Ok(aor) = Aor::parse(&aor) else {
                drop(self.directory.failed(now.instant, &aor));
                continue;
            };
            let _entered = span.entered();
            let fetch = self.fetching(aor.as_str());
            self.start(async move { Done::Fetched(aor, fetch.await) });
        }
    }

    /// Takes the word of another node that values have changed.
    pub(super) fn handle_changed(&mut self, now: Now, changed: &[Changed]) {
        for change in changed {
            let is_known = self.directory.changed(now.instant, change).is_some();
            let (resource_id, kind_id) = (change.resource, change.kind);
            let generation = change.generation_counter;
            tracing::debug!(%resource_id, reload.kind_id = %kind_id, generation, is_known, "told of a change");
        }
    }

    fn go_on(&mut self, now: Now, aor: &Aor, waiter: Waiter, basis: Basis<'_>) {
        match waiter {
            Waiter::Credentials(purpose, flow, asked) => self.judge(now, (purpose, flow), *asked, basis),
            Waiter::Resolve(id) => self.resolved(now, aor, id, basis),
            Waiter::OwnEntry => {}
        }
    }

    /// Gives the proxy the edges that serve an AOR.
    fn resolved(&mut self, now: Now, aor: &Aor, id: ResolveId, basis: Basis<'_>) {
        // Without the overlay a cached entry serves until its own end.
        let targets = self.known_edges(now, aor);
        let outcome = match basis {
            _ if !targets.is_empty() => Outcome::Complete { is_known: true },
            Basis::Failed(CallError::TimedOut) => Outcome::TimedOut,
            Basis::Failed(_) => Outcome::Unavailable,
            Basis::Kept | Basis::Fetched => Outcome::Complete {
                is_known: self.is_known(now, aor),
            },
        };
        if !targets.is_empty() {
            self.proxy.handle_resolved(now.instant, id, Resolved::Targets(targets));
        }
        self.proxy.handle_resolved(now.instant, id, Resolved::Done(outcome));
    }

    /// The other edges that the directory names for an AOR, without those that do not answer.
    fn known_edges(&self, now: Now, aor: &Aor) -> Vec<Target> {
        let routes = self.directory.routes(self.clock.at(now).own_ms, aor.as_str());
        let edges = routes.filter(|route| route.edge != self.node && !self.edges.is_silent(node_of(route.edge)));
        let target = |route: &Route| Target::Edge {
            node: node_of(route.edge),
            home: route.home.map(node_of),
        };
        edges.map(target).collect()
    }

    fn is_known(&self, now: Now, aor: &Aor) -> bool {
        let record = self.directory.record(now.instant, aor.as_str()).flatten();
        record.is_some_and(|record| record.public().state != State::Removed)
    }

    /// Takes the outcome of a Fetch.
    pub(super) fn handle_fetched(&mut self, now: Now, aor: &Aor, result: Result<Found, CallError>) {
        let (waiting, failed) = match result {
            Ok(mut found) => {
                if found.refused > 0 {
                    warn_seldom!(refused = found.refused, "values in a fetch answer do not hold");
                }
                self.heal(now, aor, &found);
                let moment = self.clock.at(now);
                for route in &mut found.routes {
                    route.until_ms = moment.on_own_clock(route.until_ms);
                }
                for route in found.routes.iter().filter(|route| route.edge != self.node) {
                    if let Some(home) = route.home {
                        self.reach.know(node_of(route.edge), node_of(home));
                    }
                }
                let before = self.record_version(now, aor);
                let waiting = self.directory.found(now.instant, aor.as_str(), found);
                // Refreshes are seldom written, and must not be judged by an old password after a restart.
                if before != self.record_version(now, aor) && !self.locations.copy(aor).is_empty() {
                    self.note_change(now, aor, false);
                }
                (waiting, None)
            }
            Err(error) => {
                tracing::debug!(%error, "fetch failed");
                (self.directory.failed(now.instant, aor.as_str()), Some(error))
            }
        };
        let basis = failed.as_ref().map_or(Basis::Fetched, Basis::Failed);
        for asking in waiting {
            self.go_on(now, aor, asking.waiter, basis);
        }
    }

    fn record_version(&self, now: Now, aor: &Aor) -> Option<u64> {
        let record = self.directory.record(now.instant, aor.as_str()).flatten();
        record.map(|record| record.public().version)
    }

    /// Puts right what the overlay holds and this edge does not, and the other way round.
    fn heal(&mut self, now: Now, aor: &Aor, found: &Found) {
        let moment = self.clock.at(now);
        let has_bindings = self.locations.bindings(moment.own_ms, aor).next().is_some();
        if let Some(own) = found.own.filter(|own| own.exists && !has_bindings) {
            self.entries.disown(moment, aor.as_str(), own.storage_time);
        }
        // A disabled user loses the bindings at once. Only a record says so: its absence may be somebody's lie, or a gap in the ring.
        let is_barred = found
            .record
            .as_ref()
            .is_some_and(|record| record.public().state != State::Active || !record.public().allows(self.node));
        if has_bindings && is_barred {
            self.locations.remove(aor);
            self.followers.touch(aor);
            let mut batch = Batch::new();
            disk::put_bindings(&mut batch, moment, aor, &mut self.locations, None);
            self.entries.release(moment, aor.as_str());
            self.write(batch);
        }
    }

    /// Fetches and verifies all that the overlay knows of an AOR.
    pub(super) fn fetching(&self, aor: &str) -> impl Future<Output = Result<Found, CallError>> + Send + 'static {
        let (home, aor) = (self.home.handle.clone(), aor.to_owned());
        let (verifier, own) = (Arc::clone(&self.verifier), self.node);
        let writers = self.document.document().user_signers().to_vec();
        async move {
            let answer = home.call(request(&aor), FETCH).await?;
            let judge = Judge {
                verifier: &verifier,
                writers: &writers,
                own,
                now_ms: super::now().unix_ms,
            };
            judge
                .read(&aor, &answer.contents.body, &answer.certificates)
                .map_err(|usage::sip::ReadError::Body(error)| error.into())
        }
    }
}

/// Asks for all that the overlay knows of an AOR; the home peer signs it.
fn request(aor: &str) -> Request {
    let request = usage::sip::fetch(aor);
    let destinations = vec![Destination::Resource(request.resource)];
    Request {
        destinations,
        contents: MessageContents::of(&Body::FetchReq(request)).to_bytes(),
        signed: None,
    }
}

/// The overlay's Node-ID in SIP's terms.
pub(super) fn node_of(node: NodeId) -> flow::NodeId {
    flow::NodeId(*node.as_bytes())
}
