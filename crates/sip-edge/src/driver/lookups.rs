//! Who is to ring: local bindings at once, and beside them the edges that the overlay names.

use std::sync::Arc;
use std::time::Duration;

use kv::Batch;
use sip_core::aor::Aor;
use sip_core::flow;
use sip_core::location::Binding;
use sip_core::proxy::{Outcome, Query, ResolveId, Resolved, Scope, Target};
use usage::sip::{Found, Judge};
use usage::user::State;
use wire::{Body, Destination, Encode as _, MessageContents, NodeId, Now};

use super::registrations::unavailable;
use super::{Done, Driver, Waiter};
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
                let binding = self.locations.find(now.unix_ms, binding);
                let target = binding.map(|(_, binding)| self.phone(binding));
                return self.resolved_at_once(now, id, target);
            }
            Query::Source { transport, address } => {
                let flow = self.hub.flow_to(transport, address);
                let target = flow.map(|flow| Target::Phone {
                    binding: None,
                    instance: None,
                    flow: Some(flow),
                    contact: String::new(),
                });
                return self.resolved_at_once(now, id, target);
            }
        };
        if scope != Scope::OverlayAgain {
            let bindings = self.locations.bindings(now.unix_ms, &aor);
            let targets: Vec<Target> = bindings.map(|binding| self.phone(binding)).collect();
            let is_known = !targets.is_empty();
            if is_known {
                self.proxy.handle_resolved(now.instant, id, Resolved::Targets(targets));
            }
            if scope == Scope::Local {
                if !is_known {
                    self.ask_directory(now, &aor, Need::Routes, Waiter::OwnEntry);
                }
                return self
                    .proxy
                    .handle_resolved(now.instant, id, Resolved::Done(Outcome::Complete { is_known }));
            }
        } else {
            self.directory.drop_routes(aor.as_str());
        }
        self.ask_directory(now, &aor, Need::Routes, Waiter::Resolve(id));
    }

    fn phone(&self, binding: &Binding) -> Target {
        Target::Phone {
            binding: Some(binding.id),
            instance: binding.instance.as_ref().map(|(instance, _)| instance.clone()),
            flow: binding.flow().map(|flow| self.hub.usable(flow)),
            contact: binding.request_uri(),
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
        let (answer, fetches) = self.directory.ask(now.instant, aor.as_str(), need, waiter);
        if fetches {
            self.fetch(aor);
        }
        match answer {
            Known::Known(waiter) => self.go_on(now, aor, waiter, Basis::Kept),
            Known::Waits => {}
            Known::Refused(Waiter::Credentials(purpose, ..)) => {
                self.refuse(now, purpose, unavailable("Too Many Look-ups"))
            }
            Known::Refused(Waiter::Resolve(id)) => {
                self.proxy
                    .handle_resolved(now.instant, id, Resolved::Done(Outcome::Unavailable))
            }
            Known::Refused(Waiter::OwnEntry) => {}
        }
    }

    /// Asks for a newer record than the one that the credentials do not fit; says whether they wait for it now.
    pub(super) fn ask_again(&mut self, now: Now, aor: &Aor, waiter: Waiter) -> bool {
        let (answer, fetches) = self.directory.ask_again(now.instant, aor.as_str(), waiter);
        if fetches {
            self.fetch(aor);
        }
        matches!(answer, Known::Waits)
    }

    fn fetch(&mut self, aor: &Aor) {
        let (fetch, aor) = (self.fetching(aor.as_str()), aor.clone());
        self.start(async move { Done::Fetched(aor, fetch.await) });
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
        let own = self.node;
        // Without the overlay a cached entry serves until its own end.
        let routes = self.directory.routes(now.unix_ms, aor.as_str());
        let edges = routes
            .into_iter()
            .flatten()
            .filter(|route| route.edge != own && !self.edges.is_silent(node_of(route.edge)));
        let targets: Vec<Target> = edges
            .map(|route| Target::Edge {
                node: node_of(route.edge),
                home: route.home.map(node_of),
            })
            .collect();
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

    fn is_known(&self, now: Now, aor: &Aor) -> bool {
        let record = self.directory.record(now.instant, aor.as_str()).flatten();
        record.is_some_and(|record| record.public().state != State::Removed)
    }

    /// Takes the outcome of a Fetch.
    pub(super) fn handle_fetched(&mut self, now: Now, aor: &Aor, result: Result<Found, CallError>) {
        let (waiting, failed) = match result {
            Ok(found) => {
                if found.refused > 0 {
                    tracing::warn!(refused = found.refused, "values in a fetch answer do not hold");
                }
                self.heal(now, aor, &found);
                (self.directory.found(now.instant, aor.as_str(), found), None)
            }
            Err(error) => {
                tracing::debug!(%error, "fetch failed");
                (self.directory.failed(aor.as_str()), Some(error))
            }
        };
        let basis = failed.as_ref().map_or(Basis::Fetched, Basis::Failed);
        for waiter in waiting {
            self.go_on(now, aor, waiter, basis);
        }
    }

    /// Puts right what the overlay holds and this edge does not, and the other way round.
    fn heal(&mut self, now: Now, aor: &Aor, found: &Found) {
        let has_bindings = self.locations.bindings(now.unix_ms, aor).next().is_some();
        if let Some(own) = found.own.filter(|own| own.exists && !has_bindings) {
            self.entries.disown(now.unix_ms, aor.as_str(), own.storage_time);
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
            disk::put_bindings(&mut batch, now.unix_ms, aor, &self.locations, None);
            self.entries.release(now.unix_ms, aor.as_str());
            self.note(batch);
        }
    }

    /// Fetches and verifies all that the overlay knows of an AOR.
    pub(super) fn fetching(&self, aor: &str) -> impl Future<Output = Result<Found, CallError>> + Send + 'static {
        let (home, aor) = (self.home.handle.clone(), aor.to_owned());
        let (verifier, own) = (Arc::clone(&self.verifier), self.node);
        let writer = self.document.document().user_signer().unwrap_or(NodeId::ZERO);
        async move {
            let answer = home.call(request(&aor), FETCH).await?;
            let judge = Judge {
                verifier: &verifier,
                writer,
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
