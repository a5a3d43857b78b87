//! The task that owns the core: it feeds it one input, carries out what it says, and waits for the next.
//!
//! Own work comes first, the network last: timers and the answers of storage decide about what peers wait for, and a
//! flood from outside must not keep them waiting.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use bytes::Bytes;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tracing::{Span, debug, warn};

use identity::{Signer, Verifier};
use overlay_config::{Demand, SignedDocument};
use overlay_core::{
    Answer, Call, CallId, CallResult, Command, CommandId, Core, Incoming, IncomingId, Output, SessionEvent, Traced,
};
use runtime::{Gaps, Pulse, clock};
use wire::{MessageCode, NodeId, Now, SecurityBlock};

use crate::disk::Kept;
use crate::metrics::Metrics;
use crate::network::{Arrival, Network};
use crate::storage::Commands;
use crate::trace::{self, Arrived};
use crate::view::View;

/// What handlers and helpers ask of the driver.
#[derive(Debug)]
pub(crate) enum Request {
    /// Send a request through the overlay.
    Call {
        /// The request.
        call: Call,
        /// Where its result goes. Once it is closed nobody waits for one.
        done: Done,
        /// Gets the id of the call, so that it can be cancelled.
        id: Arc<AtomicU64>,
        /// The span of the call.
        span: Span,
    },
    /// Nobody waits for this call any more.
    Cancel(CallId),
    /// An edge proved its Node-ID.
    Attach(Edge),
    /// An attachment ended.
    Detach {
        /// The edge.
        node_id: NodeId,
        /// Which of its attachments.
        attachment: u64,
    },
    /// An edge answers a request.
    Reply {
        /// The request.
        id: IncomingId,
        /// The answer's contents.
        contents: Bytes,
        /// The edge's signature over them.
        security: SecurityBlock,
    },
    /// Leave the ring.
    Leave,
    /// A storage session is open.
    SessionUp {
        /// Its number.
        session: u64,
        /// The disk behind it.
        store_id: [u8; 16],
        /// Where its commands go.
        commands: Commands,
    },
    /// The storage session ended; if it will not come back by itself, why.
    SessionDown(Option<String>),
    /// Storage answered.
    Storage(CommandId, Answer),
    /// There is a newer document.
    Document(Arc<SignedDocument>),
    /// There is a newer document, which this peer cannot obey.
    Demand(Demand),
    /// The peer's certificate was renewed.
    Renewed(Arc<Signer>),
    /// The names of the bootstrap nodes were resolved.
    Bootstrap(Vec<std::net::SocketAddr>),
    /// This machine has other addresses.
    Addresses(Vec<std::net::SocketAddr>),
}

/// An edge that is attached, as the driver sees it.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) node_id: NodeId,
    /// Tells apart the attachments of one edge.
    pub(crate) attachment: u64,
    /// Where requests for it go.
    pub(crate) incoming: mpsc::Sender<Incoming>,
    /// Ends the stream: a newer attachment of the same edge wins.
    pub(crate) replaced: CancellationToken,
}

/// Why a call was not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unaccepted {
    /// Its edge is not attached.
    NotAttached,
    /// Too many calls are open.
    TooMany,
}

/// The driver's ends of its channels.
pub(crate) struct Ends {
    pub(crate) inbox: mpsc::Receiver<Request>,
    pub(crate) arrivals: mpsc::Receiver<Arrival>,
    pub(crate) view: watch::Sender<Arc<View>>,
    pub(crate) kept: watch::Sender<Kept>,
    /// When the certificate of this peer ends, in Unix milliseconds.
    pub(crate) certificate_until_ms: u64,
    pub(crate) pulse: Pulse,
    pub(crate) metrics: Metrics,
}

/// Where the result of a call goes.
type Done = oneshot::Sender<Result<CallResult, Unaccepted>>;

/// A call that waits for its result.
struct Waiting {
    done: Done,
    code: MessageCode,
    since: Instant,
    span: Span,
}

/// The owner of the core.
pub(crate) struct Driver {
    core: Core,
    network: Network,
    inbox: mpsc::Receiver<Request>,
    arrivals: mpsc::Receiver<Arrival>,
    view: watch::Sender<Arc<View>>,
    kept: watch::Sender<Kept>,
    certificate_until_ms: u64,
    pulse: Pulse,
    metrics: Metrics,
    verifier: Arc<Verifier>,
    calls: HashMap<CallId, Waiting>,
    edges: BTreeMap<NodeId, Edge>,
    storage: Option<Commands>,
    storage_refusal: Option<String>,
    arrived: Arrived,
    epoch: u64,
    was_joined: bool,
    wake: Instant,
}

impl Driver {
    pub(crate) fn new(core: Core, verifier: Arc<Verifier>, network: Network, ends: Ends) -> Self {
        let Ends {
            inbox,
            arrivals,
            view,
            kept,
            certificate_until_ms,
            pulse,
            metrics,
        } = ends;
        let arrived = Arrived::new(&core.document().document().overlay);
        Self {
            core,
            network,
            inbox,
            arrivals,
            view,
            kept,
            certificate_until_ms,
            pulse,
            metrics,
            verifier,
            calls: HashMap::new(),
            edges: BTreeMap::new(),
            storage: None,
            storage_refusal: None,
            arrived,
            epoch: 0,
            was_joined: false,
            wake: clock::now(),
        }
    }

    /// Runs until the stop signal.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        self.drain();
        let mut gaps = Gaps::begin();
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => return,
                () = self.pulse.beat() => continue,
                // Before anything is done that was due in the meantime.
                _ = gaps.next() => self.core.handle_gap(now()),
                () = clock::sleep_until(self.wake) => self.core.handle_timeout(now()),
                Some(request) = self.inbox.recv() => self.asked(request),
                Some(arrival) = self.arrivals.recv() => self.arrived(arrival),
            }
            self.drain();
        }
    }

    fn asked(&mut self, request: Request) {
        let now = now();
        match request {
            Request::Call { call, done, id, span } => self.call(call, (done, span), &id),
            Request::Cancel(call) => {
                self.calls.remove(&call);
                self.core.cancel(now, call);
            }
            Request::Attach(edge) => {
                let node_id = edge.node_id;
                if let Some(older) = self.edges.insert(node_id, edge) {
                    older.replaced.cancel();
                }
                self.core.attach_client(now, node_id);
            }
            Request::Detach { node_id, attachment } => {
                if self
                    .edges
                    .get(&node_id)
                    .is_some_and(|edge| edge.attachment == attachment)
                {
                    self.edges.remove(&node_id);
                    self.core.detach_client(now, node_id);
                }
            }
            Request::Reply { id, contents, security } => self.core.reply(now, id, contents, security),
            Request::Leave => self.core.leave(now),
            Request::SessionUp {
                session,
                store_id,
                commands,
            } => {
                self.storage = Some(commands);
                self.storage_refusal = None;
                self.core
                    .handle_storage_session(now, SessionEvent::Up { session, store_id });
            }
            Request::SessionDown(refusal) => {
                self.storage = None;
                let event = if refusal.is_some() {
                    SessionEvent::Refused
                } else {
                    SessionEvent::Down
                };
                self.storage_refusal = refusal;
                self.core.handle_storage_session(now, event);
            }
            Request::Storage(id, answer) => self.core.handle_storage(now, id, answer),
            Request::Document(document) => self.core.handle_document(now, document),
            Request::Demand(demand) => self.core.handle_demand(now, demand),
            Request::Renewed(signer) => {
                self.certificate_until_ms = signer.until_ms();
                self.core.renew(signer);
                self.show();
            }
            Request::Bootstrap(addresses) => self.core.set_bootstrap(now, addresses),
            Request::Addresses(addresses) => self.core.set_local_addresses(addresses),
        }
    }

    fn call(&mut self, call: Call, (done, span): (Done, Span), id: &AtomicU64) {
        let is_attached = |client: &NodeId| self.edges.contains_key(client);
        let refusal = if done.is_closed() {
            return;
        } else if call.from_client.as_ref().is_some_and(|client| !is_attached(client)) {
            Some(Unaccepted::NotAttached)
        } else if self.calls.len() >= MOST_CALLS {
            Some(Unaccepted::TooMany)
        } else {
            None
        };
        if let Some(refusal) = refusal {
            // Whoever closed it in between does not want to know.
            let _ = done.send(Err(refusal));
            return;
        }
        let now = now();
        let code = call.code();
        let call = self.core.call(now, call);
        id.store(call.0, Ordering::Relaxed);
        self.calls.insert(
            call,
            Waiting {
                done,
                code,
                since: now.instant,
                span,
            },
        );
    }

    fn arrived(&mut self, arrival: Arrival) {
        let now = now();
        match arrival {
            Arrival::Connected {
                link,
                connection,
                is_initiator,
            } => {
                let (peer, remote) = (Arc::clone(connection.peer()), connection.remote());
                self.network.open(link, connection);
                self.core.handle_connected(now, link, &peer, remote, is_initiator);
            }
            Arrival::Failed { link, reason } => self.core.handle_connect_failed(now, link, reason),
            Arrival::Bytes {
                link,
                bytes,
                turn: _turn,
            } => self.core.handle_received(now, link, &bytes),
            Arrival::Closed { link } => {
                self.network.close(link);
                self.core.handle_disconnected(now, link);
            }
        }
    }

    /// Carries out what the core says, until it waits.
    fn drain(&mut self) {
        let mut is_changed = false;
        loop {
            match self.core.poll_output() {
                Output::Connect {
                    link,
                    address,
                    expected,
                } => self.network.connect(link, address, expected),
                Output::Send { link, bytes } => {
                    if !self.network.send(link, bytes) {
                        debug!(link_id = link.0, "peer reads nothing");
                        self.network.close(link);
                        self.core.handle_disconnected(now(), link);
                    }
                }
                Output::Close { link } => self.network.close(link),
                Output::Storage(id, command) => self.command(id, command),
                Output::CallDone(id, result) => {
                    if let Some(Waiting { done, code, since, .. }) = self.calls.remove(&id) {
                        let took = clock::now().saturating_duration_since(since);
                        self.metrics.ended(code, took, &result);
                        // Whoever closed it in between does not want to know.
                        let _ = done.send(Ok(result));
                    }
                }
                Output::Incoming(incoming) => self.incoming(incoming),
                Output::Changed => is_changed = true,
                Output::Traced(Traced::Called(call, id)) => {
                    if let Some(Waiting { span, .. }) = self.calls.get(&call) {
                        span.record("reload.transaction_id", tracing::field::display(id));
                    }
                }
                Output::Traced(Traced::SentAgain(call)) => {
                    if let Some(Waiting { span, .. }) = self.calls.get(&call) {
                        tracing::info!(parent: span, "request sent again");
                    }
                }
                Output::Traced(traced) => self.arrived.note(&traced),
                Output::Document(xml) => {
                    self.kept.send_modify(|kept| kept.document = Some(xml));
                    self.judge_links();
                }
                Output::Remember(membership) => self.kept.send_modify(|kept| kept.membership = Some(membership)),
                Output::Timeout(at) => {
                    self.wake = at;
                    break;
                }
            }
        }
        self.metrics.count(&self.core.counters());
        if is_changed {
            self.show();
        }
    }

    /// A new document may ban a node whose link is open (RFC 6940 §11.1).
    fn judge_links(&mut self) {
        for link in self.network.refused(&self.verifier) {
            self.network.close(link);
            self.core.handle_disconnected(now(), link);
        }
    }

    fn command(&mut self, id: CommandId, command: Command) {
        let Some(storage) = &self.storage else { return };
        let traceparent = self.core.trace_of(id).map(|context| trace::to_text(&context));
        if storage
            .try_send((id, traceparent.unwrap_or_default(), command))
            .is_err()
        {
            // The session cannot take what the core may have open: it is as good as lost. Its task notices that the
            // sender is gone, opens a new one, and every open command is sent again.
            warn!("storage session does not take commands");
            self.storage = None;
        }
    }

    fn incoming(&mut self, incoming: Incoming) {
        let (client, id) = (incoming.client, incoming.id);
        let Some(edge) = self.edges.get(&client) else {
            return self.core.overlook(id);
        };
        match edge.incoming.try_send(incoming) {
            Ok(()) => {}
            // It is behind: what others ask of it must not cost it its place.
            Err(TrySendError::Full(_)) => self.core.overlook(id),
            Err(TrySendError::Closed(_)) => {
                self.edges.remove(&client);
                self.core.detach_client(now(), client);
            }
        }
    }

    fn show(&mut self) {
        let joined = self.core.status().joined;
        if joined && !self.was_joined {
            self.epoch += 1;
        }
        self.was_joined = joined;
        let view = View::of(&self.core, self.epoch)
            .with_refusal(self.storage_refusal.clone())
            .with_certificate_until(self.certificate_until_ms);
        self.metrics.show(&view.status);
        self.view.send_if_modified(|shown| {
            let is_changed = **shown != view;
            if is_changed {
                *shown = Arc::new(view);
            }
            is_changed
        });
    }
}

/// The time as the core gets it.
pub(crate) fn now() -> Now {
    Now {
        instant: clock::now(),
        unix_ms: clock::unix_ms(),
    }
}

/// Calls that wait for a result; further ones are refused. At 10 ms a call it is reached at 400 000 calls a second.
const MOST_CALLS: usize = 4096;
