//! The one task that owns an edge's state: proxy, location table, entries, directory, connections.
//!
//! Everything that happens comes in as an event and is handled to its end before the next one. What takes time (a call into the overlay, a flush, a
//! dial) becomes a job whose result is an event again.

mod guessing;
mod links;
mod lookups;
mod operator;
mod registrations;
mod routes;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use identity::Verifier;
use kv::{Batch, Full, Store};
use overlay_config::SignedDocument;
use runtime::{Component, Gaps, Pulse, clock, warn_seldom};
use sip_core::aor::{Aor, Domains};
use sip_core::flow::{Flow, FlowKind, Hop};
use sip_core::location::Table;
use sip_core::proxy::{self, Answer, AuthenticateId, Output, RegisterId, ResolveId};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument as _, Span};
use usage::sip::{Found, Registrant};
use usage::user::RecordKey;
use wire::{NodeId, Now};

use crate::attach::Attacher;
use crate::config::Credentials;
use crate::dials::Dials;
use crate::directory::{Directory, Need};
use crate::edges::Edges;
use crate::entries::{Entries, Job};
use crate::feed::{Feed, Listed, TooMany};
use crate::guess::Guesses;
use crate::home::{CallError, Home, HomeEvent, HomeState, Reply};
use crate::hosts::Hosts;
use crate::listed::{Call, Registration};
use crate::minter::Minter;
use crate::own::{Names, Own};
use crate::reach::Reach;
use crate::requests::Requests;
use crate::throttle::Throttle;
use crate::transport::{Arrival, Arrivals, Hub};
use crate::unstored::Unstored;
use crate::uptime::{Moment, Uptime};
use crate::users::{Asked, Users};
use crate::{disk, ladder};

/// How often bindings expire and due entries are looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often the own clock is written down.
const CLOCK_KEPT_EVERY_MS: u64 = 60_000;
/// Events of the overlay that wait at most; beyond it its streams are held back.
pub(crate) const HOME_EVENTS: usize = 64;
/// Commands of the server and the operator that wait at most.
pub(crate) const COMMANDS: usize = 16;

/// What the driver is told from inside the component.
#[derive(Debug)]
pub(crate) enum Command {
    /// Says how many transactions are under way.
    UnderWay(oneshot::Sender<usize>),
    /// Answers when none is.
    Idle(oneshot::Sender<()>),
    /// The machine is called otherwise, or reached at other addresses.
    Own(Own),
    /// Certificates of the edge were renewed.
    Renewed(Box<Credentials>),
    /// The record keys are others; answers when records are opened under them.
    RecordKeys(Vec<RecordKey>, oneshot::Sender<()>),
    /// Gives the document that the edge obeys.
    Document(oneshot::Sender<SignedDocument>),
    /// Lists the bindings, by AOR, and goes on with their changes if they are followed.
    Registrations {
        follow: bool,
        answer: oneshot::Sender<Result<Listed<Vec<Registration>>, TooMany>>,
    },
    /// Lists the calls that are being set up or stand, likewise.
    Calls {
        follow: bool,
        answer: oneshot::Sender<Result<Listed<Call>, TooMany>>,
    },
}

/// The state of an edge.
pub(crate) struct Driver {
    pub(crate) node: NodeId,
    pub(crate) proxy: proxy::Core,
    pub(crate) names: Names,
    /// What `names` comes to; the proxy and the digest share it.
    pub(crate) domains: Arc<Domains>,
    /// Names in Route headers that may be this edge's.
    pub(crate) hosts: Hosts<Routed>,
    pub(crate) users: Users,
    pub(crate) locations: Table,
    pub(crate) entries: Entries,
    pub(crate) directory: Directory<Asking>,
    pub(crate) edges: Edges<Hop>,
    /// Whether this edge and others can meet.
    pub(crate) reach: Reach,
    pub(crate) dials: Dials,
    pub(crate) hub: Hub,
    pub(crate) endpoint: Arc<link::Endpoint>,
    pub(crate) attacher: Attacher,
    pub(crate) home: HomeLink,
    pub(crate) minter: Minter,
    pub(crate) registrant: Registrant,
    pub(crate) verifier: Arc<Verifier>,
    pub(crate) document: SignedDocument,
    pub(crate) store: Store,
    /// The clock by which bindings and entries end.
    pub(crate) clock: Uptime,
    pub(crate) clock_kept_ms: u64,
    /// REGISTERs that wait until the overlay has acknowledged this edge's entry for their AOR.
    pub(crate) unstored: Unstored<RegisterId>,
    /// AORs whose registrations are on their way to the disk, and in how many batches.
    pub(crate) unflushed: BTreeMap<Aor, usize>,
    pub(crate) jobs: JoinSet<Done>,
    pub(crate) requests: Requests,
    pub(crate) component: Component,
    pub(crate) throttle: Throttle,
    pub(crate) guesses: Guesses,
    /// Those who follow the bindings.
    pub(crate) followers: Feed<Aor, Vec<Registration>>,
    pub(crate) idle: Option<oneshot::Sender<()>>,
}

/// The overlay peer, as the driver knows it.
#[derive(Debug)]
pub(crate) struct HomeLink {
    pub(crate) handle: Home,
    pub(crate) replies: mpsc::Sender<Reply>,
    pub(crate) is_attached: bool,
    pub(crate) state: Option<HomeState>,
}

/// What the driver reads from.
#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) arrivals: Arrivals,
    pub(crate) home: mpsc::Receiver<HomeEvent>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) pulse: Pulse,
    /// Asks the edge to take no new work.
    pub(crate) draining: CancellationToken,
    /// Ends the driver.
    pub(crate) stop: CancellationToken,
}

/// A question to the directory.
#[derive(Debug)]
pub(crate) struct Asking {
    waiter: Waiter,
    /// The span of the request that it is asked for.
    span: Span,
}

impl Asking {
    fn new(waiter: Waiter) -> Self {
        let span = Span::current();
        Self { waiter, span }
    }
}

/// What waits for a look-up in the directory.
#[derive(Debug)]
pub(crate) enum Waiter {
    /// Credentials wait for the user's record.
    Credentials(Purpose, Flow, Box<Asked>),
    /// A call waits for the edges that serve its callee.
    Resolve(ResolveId),
    /// This edge wants to see its own entry for an AOR that it does not serve.
    OwnEntry,
}

/// Why a user is authenticated.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    /// To pass a request.
    Proxy(AuthenticateId),
    /// To register.
    Register(RegisterId),
}

/// What waits for the addresses of a host name in a Route header.
#[derive(Debug)]
pub(crate) enum Routed {
    /// A request whose sender is known by now: the user, and the name to show.
    Caller(AuthenticateId, Flow, (Aor, String)),
    /// A REGISTER whose credentials are right.
    Phone(RegisterId, Flow, Box<Asked>),
}

/// The result of a job.
pub(crate) enum Done {
    /// The registrations of an AOR are on the disk.
    Flushed(Aor, Vec<RegisterId>, Answer),
    /// State without anybody waiting is on the disk.
    Noted,
    /// The disk failed: nothing can be acknowledged any more.
    DiskFailed(kv::FlushError),
    /// A Fetch has ended.
    Fetched(Aor, Result<Found, CallError>),
    /// A Store of an entry or a tombstone has ended.
    Published(Job, Result<u64, CallError>),
    /// An edge has agreed to dial us and says where it listens, or not.
    Asked(NodeId, Result<Vec<SocketAddr>, CallError>),
    /// An edge that agreed has had its time to dial us.
    Overdue(NodeId, Vec<SocketAddr>),
    /// An edge was dialed, because it asked for it or did not come itself.
    Dialed(NodeId, Result<Box<link::Connection>, Vec<link::LinkError>>),
    /// DNS has answered, with these addresses.
    HostFound(String, Vec<IpAddr>),
}

/// Why an edge stopped by itself.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fatal {
    #[error("the edge's disk failed: {0}")]
    Disk(#[from] kv::FlushError),
}

impl Driver {
    /// Runs until it is told to stop, or the disk fails.
    ///
    /// # Errors
    /// When nothing can be acknowledged any more.
    pub(crate) async fn run(mut self, mut inbox: Inbox) -> Result<(), Fatal> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut arrivals = Vec::new();
        let mut room = self.store.room().watch();
        let mut gaps = Gaps::begin();
        loop {
            let due = self.settle(now());
            self.tell_followers(now());
            self.finish_drain();
            tokio::select! {
                biased;
                () = inbox.stop.cancelled() => break,
                () = inbox.draining.cancelled(), if !self.proxy.is_draining() => {
                    // RFC 3261 §21.5.4: when to come back; a restart is over by then.
                    self.proxy.set_draining(Some(10));
                    self.tell_health();
                }
                Some(command) = inbox.commands.recv() => self.handle_command(now(), command),
                () = inbox.pulse.beat() => {}
                _ = gaps.next() => {
                    let now = now();
                    self.entries.hasten(self.clock.at(now));
                    self.directory.grow_stale(now.instant);
                }
                Ok(()) = room.changed() => self.tell_health(),
                Some(done) = self.jobs.join_next() => self.handle_done(now(), done)?,
                () = clock::sleep_until(due) => {
                    let now = now();
                    self.proxy.handle_timeout(now.instant);
                    self.handle_edges_timeout(now);
                }
                Some(event) = inbox.home.recv() => self.handle_home(now(), event),
                ended = self.hub.ended() => self.handle_ended(now(), &ended),
                _ = tick.tick() => {
                    let dropped = inbox.arrivals.take_dropped();
                    if dropped > 0 {
                        warn_seldom!(dropped, "datagrams dropped that are no SIP");
                    }
                    self.handle_tick(now());
                }
                () = inbox.arrivals.read(&mut arrivals) => {
                    for arrival in arrivals.drain(..) {
                        let now = now();
                        self.handle_arrival(now, arrival);
                        self.settle(now);
                    }
                }
            }
        }
        self.hub.close().await;
        Ok(())
    }

    /// Carries out what the proxy wants until it wants nothing more; says when it is to be woken.
    fn settle(&mut self, now: Now) -> Instant {
        let proxy_due = loop {
            match self.proxy.poll_output() {
                Output::Send { hop, bytes } => self.send(now, hop, bytes),
                Output::Authenticate {
                    id,
                    flow,
                    request,
                    context,
                } => {
                    let _entered = self.requests.span(context).entered();
                    self.authenticate(now, id, flow, request);
                }
                Output::Register {
                    id,
                    flow,
                    request,
                    context,
                } => {
                    let _entered = self.requests.span(context).entered();
                    self.register(now, id, flow, request);
                }
                Output::Resolve { id, query, context } => {
                    let span = context.map_or_else(Span::none, |context| self.requests.span(context));
                    let _entered = span.entered();
                    self.resolve(now, id, query);
                }
                // Its answers will find nobody, which the proxy bears.
                Output::Abandon(_) => {}
                Output::Forget { aor, .. } => self.directory.drop_routes(aor.as_str()),
                Output::EdgeSilent(node) => self.handle_silent_edge(now, node),
                Output::Event(event) => self.requests.note(event),
                Output::Timeout(due) => break due,
            }
        };
        self.send_fetches(now);
        let far = now.instant + Duration::from_secs(3600);
        [proxy_due, self.edges.next_timeout(), self.directory.next_timeout()]
            .into_iter()
            .flatten()
            .min()
            .unwrap_or(far)
    }

    fn handle_arrival(&mut self, now: Now, arrival: Arrival) {
        match arrival {
            Arrival::Message { flow, message } => {
                ladder::received(self.node, &flow, &message);
                self.hub.heard(now.instant, &flow);
                self.learn_address(&flow);
                if let FlowKind::Edge(node) = flow.kind {
                    self.edges.heard(node);
                }
                self.proxy.handle_message(now.instant, flow, *message);
            }
            Arrival::KeepAlive { flow, answer } if self.locations.keeps_flow(flow.remote) => {
                // A lost answer is asked for again, as on any network.
                let _ = self.hub.send(&flow, answer);
            }
            Arrival::KeepAlive { .. } => {}
            Arrival::Undelivered(flow) => self.proxy.handle_unreachable(now.instant, &Hop::Flow(flow)),
            Arrival::Phone(stream) => self.hub.add_phone(now.instant, stream),
            Arrival::Node { connection, is_dialer } => self.handle_connected(now, *connection, is_dialer),
        }
    }

    fn handle_done(&mut self, now: Now, done: Result<Done, tokio::task::JoinError>) -> Result<(), Fatal> {
        match done {
            Ok(Done::Flushed(aor, ids, answer)) => {
                if let Entry::Occupied(mut batches) = self.unflushed.entry(aor) {
                    *batches.get_mut() -= 1;
                    if *batches.get() == 0 {
                        batches.remove();
                    }
                }
                for id in ids {
                    self.proxy.handle_registered(now.instant, id, &answer);
                }
            }
            Ok(Done::Noted) => {}
            Ok(Done::DiskFailed(error)) => return Err(error.into()),
            Ok(Done::Fetched(aor, result)) => self.handle_fetched(now, &aor, result),
            Ok(Done::Published(job, result)) => self.handle_published(now, &job, result),
            Ok(Done::Asked(node, result)) => self.handle_asked(now, node, result),
            Ok(Done::Overdue(node, candidates)) => self.handle_overdue(node, candidates),
            Ok(Done::Dialed(node, result)) => self.handle_dialed(now, node, result),
            Ok(Done::HostFound(host, addresses)) => self.handle_host_found(now, &host, addresses),
            // A job does nothing that may panic; if one does all the same, whoever waits for it runs into his own limit.
            Err(error) => tracing::error!(%error, "a job of the edge failed"),
        }
        Ok(())
    }

    fn handle_tick(&mut self, now: Now) {
        let moment = self.clock.at(now);
        self.keep_clock(moment);
        for (aor, change) in self.locations.expire(moment.own_ms) {
            self.followers.touch(&aor);
            self.note_change(now, &aor, change.is_last);
        }
        for job in self.entries.due(moment) {
            // With each refresh goes a look at the user's record: a disabled user is seen here if the phone never asks.
            if let Ok(aor) = Aor::parse(&job.aor) {
                self.ask_directory(now, &aor, Need::Entry, Waiter::OwnEntry);
            }
            self.publish(now, job);
        }
        self.expire_guesses(now);
        self.hub.retire(|_, until_ms| until_ms <= now.unix_ms);
        self.review_connections(now);
        self.probe_edges(now);
        if self.proxy.is_draining() {
            self.tell_health();
        }
        let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let dialogs = self.requests.count_dialogs(now.instant);
        let metrics = &self.requests.metrics;
        metrics.dialogs.set(gauge(dialogs));
        metrics.registrations.set(gauge(self.locations.bindings_len()));
        for (end, number) in self.hub.flows() {
            metrics.flows.get_or_create(&[("end", end)]).set(gauge(number));
        }
    }

    /// Starts what takes time, inside the span of the request that it is done for.
    pub(crate) fn start(&mut self, job: impl Future<Output = Done> + Send + 'static) {
        self.jobs.spawn(job.in_current_span());
    }

    /// Writes a batch that nothing waits for. On a full disk it is left out: what it would have said is found out again, and
    /// the room that is kept is for what is waited for.
    fn note(&mut self, batch: Batch) {
        if self.full().is_none() {
            self.write(batch);
        }
    }

    /// Writes a batch in the background, whatever room there is.
    fn write(&mut self, batch: Batch) {
        let store = self.store.clone();
        self.start(async move {
            match store.apply(batch).await {
                Ok(()) => Done::Noted,
                Err(error) => Done::DiskFailed(error),
            }
        });
    }

    /// Writes the own clock down now and then: what is lost of it adds to lifetimes.
    fn keep_clock(&mut self, now: Moment) {
        if now.own_ms >= self.clock_kept_ms + CLOCK_KEPT_EVERY_MS {
            self.clock_kept_ms = now.own_ms;
            let mut batch = Batch::new();
            disk::put_clock(&mut batch, now);
            self.note(batch);
        }
    }

    /// Whether the disk has too little room for anything new.
    fn full(&self) -> Option<Full> {
        self.store.room().full()
    }

    /// Follows a change of an AOR's bindings on the disk and, when the last one has gone, in the overlay.
    fn note_change(&mut self, now: Now, aor: &Aor, is_last: bool) {
        let mut batch = Batch::new();
        self.put_change(&mut batch, now, aor, is_last);
        self.note(batch);
    }

    fn put_change(&mut self, batch: &mut Batch, now: Now, aor: &Aor, is_last: bool) {
        let moment = self.clock.at(now);
        if is_last {
            self.entries.release(moment, aor.as_str());
            disk::put_entry(batch, aor.as_str(), self.entries.of(aor.as_str()));
        }
        let record = self.directory.record(now.instant, aor.as_str()).flatten();
        disk::put_bindings(batch, moment, aor, &mut self.locations, record);
    }

    /// Whether the overlay can be asked: joined, not isolated, and reachable.
    fn is_serving(&self) -> bool {
        self.home.state.as_ref().is_some_and(|state| state.is_serving)
    }
}

/// The time as the cores take it.
pub(crate) fn now() -> Now {
    Now {
        instant: clock::now(),
        unix_ms: clock::unix_ms(),
    }
}
