//! The one task that owns the core and the disk.

use std::{
    collections::BTreeMap,
    pin::Pin,
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesOrdered};
use kv::{Batch, FlushError, Full, OwnerError, Store, Tree};
use rpc::proto::storage::v1 as pb;
use runtime::{Component, Gaps, Pulse, State, clock};
use storage_core::{Answer, BatchId, Command, CommandId, Core, Output, Put};
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::Span;
use wire::{ErrorCode, MessageCode, NodeId, Now};

use crate::{metrics::Metrics, proto};

/// What the tasks of the gRPC side ask for.
pub(crate) enum Input {
    Open(Opening),
    Command(Given),
    /// The caller has left.
    Close(Line),
    Stats(oneshot::Sender<pb::StatsResponse>),
}

/// A session that wants to begin.
pub(crate) struct Opening {
    pub(crate) id: u64,
    pub(crate) node_id: NodeId,
    pub(crate) instance: u64,
    pub(crate) document: Bytes,
    pub(crate) line: Line,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// The way back to a session's caller.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) answers: mpsc::Sender<Told>,
    /// Cancelled when the session is over.
    pub(crate) over: CancellationToken,
}

impl Line {
    fn is(&self, other: &Self) -> bool {
        self.answers.same_channel(&other.answers)
    }
}

/// An answer with its place in the session's bound on commands in progress.
pub(crate) type Told = (Result<pb::SessionResponse, Status>, Option<OwnedSemaphorePermit>);

/// A command of a session.
pub(crate) struct Given {
    pub(crate) id: u64,
    pub(crate) command: Command,
    /// Tells which session it belongs to.
    pub(crate) line: Line,
    pub(crate) permit: OwnedSemaphorePermit,
    pub(crate) span: Span,
}

pub(crate) struct Driver {
    core: Core,
    store: Store,
    inputs: mpsc::Receiver<Input>,
    stop: CancellationToken,
    pulse: Pulse,
    component: Component,
    metrics: Metrics,
    room: watch::Receiver<Option<Full>>,
    flushing: FuturesOrdered<Flushing>,
    /// The session that may write, if any.
    open: Option<Session>,
    sessions: u64,
    next_id: u64,
    pending: BTreeMap<CommandId, Pending>,
    wake: Instant,
    gaps: Gaps,
}

/// What connects the driver with the rest of the component.
pub(crate) struct Ends {
    pub(crate) inputs: mpsc::Receiver<Input>,
    pub(crate) stop: CancellationToken,
    pub(crate) pulse: Pulse,
    pub(crate) component: Component,
    pub(crate) metrics: Metrics,
}

type Flushing = Pin<Box<dyn Future<Output = (BatchId, Result<(), FlushError>)> + Send>>;

/// The holder of the lease.
struct Session {
    number: u64,
    node_id: NodeId,
    instance: u64,
    line: Line,
}

struct Pending {
    session: u64,
    id: u64,
    is_open: bool,
    permit: OwnedSemaphorePermit,
    /// Ends with the answer.
    span: Span,
}

impl Driver {
    pub(crate) fn new(core: Core, store: Store, ends: Ends) -> Self {
        let Ends {
            inputs,
            stop,
            pulse,
            component,
            metrics,
        } = ends;
        Self {
            core,
            room: store.room().watch(),
            store,
            inputs,
            stop,
            pulse,
            component,
            metrics,
            flushing: FuturesOrdered::new(),
            open: None,
            sessions: 0,
            next_id: 0,
            pending: BTreeMap::new(),
            wake: clock::now(),
            gaps: Gaps::begin(),
        }
    }

    /// Works until it is stopped or the disk fails.
    pub(crate) async fn run(mut self) -> Result<(), FlushError> {
        let mut count = tokio::time::interval(COUNT_EVERY);
        count.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.tell_health();
        loop {
            self.drain().await?;
            tokio::select! {
                biased;
                Some((batch, result)) = self.flushing.next() => {
                    result?;
                    self.core.handle_flushed(now(), batch);
                }
                () = self.stop.cancelled() => break,
                () = self.pulse.beat() => {}
                gap = self.gaps.next() => self.core.handle_gap(now(), gap.since),
                Ok(()) = self.room.changed() => self.tell_health(),
                _ = count.tick() => self.metrics.show(&self.core.summary()),
                input = self.inputs.recv() => match input {
                    Some(input) => self.take(input).await?,
                    None => break,
                },
                () = clock::sleep_until(self.wake) => self.core.handle_timeout(now()),
            }
        }
        // What was begun is finished, though nobody waits for the answers any more.
        while let Some((_, result)) = self.flushing.next().await {
            result?;
        }
        Ok(())
    }

    /// A store without room serves what it has, but is not ready.
    fn tell_health(&mut self) {
        self.component.tell(match &*self.room.borrow_and_update() {
            Some(full) => State::lacking(full),
            None => State::ready(),
        });
    }

    async fn drain(&mut self) -> Result<(), FlushError> {
        loop {
            match self.core.poll_output() {
                Output::Write { batch, puts } => {
                    let flushed = self.store.submit(of_puts(puts)).await?;
                    self.flushing.push_back(Box::pin(async move { (batch, flushed.await) }));
                }
                Output::Answer(id, answer) => self.answer(id, answer),
                Output::Timeout(wake) => {
                    self.wake = wake;
                    return Ok(());
                }
            }
        }
    }

    async fn take(&mut self, input: Input) -> Result<(), FlushError> {
        match input {
            Input::Open(opening) => self.begin(opening).await?,
            Input::Command(given) => self.give(given),
            Input::Close(line) => {
                self.open.take_if(|session| session.line.is(&line));
            }
            Input::Stats(reply) => {
                let holder = self.open.as_ref().map(|session| pb::SessionHolder {
                    node_id: Bytes::copy_from_slice(session.node_id.as_bytes()),
                    instance: session.instance,
                    session: session.number,
                });
                // Whoever asked may have gone.
                let _ = reply.send(proto::stats(&self.core.summary(), self.core.store_id(), holder));
            }
        }
        Ok(())
    }

    /// Begins a session and ends the one before; its answer comes after every write of the older one.
    async fn begin(&mut self, opening: Opening) -> Result<(), FlushError> {
        let Opening {
            id,
            node_id,
            instance,
            document,
            line,
            permit,
        } = opening;
        match self.store.claim(*node_id.as_bytes()).await {
            Ok(()) => {}
            Err(OwnerError::Flush(error)) => return Err(error),
            Err(error) => {
                tracing::warn!(%error, "session refused");
                end(&line, Status::failed_precondition(error.to_string()));
                return Ok(());
            }
        }
        self.sessions += 1;
        if let Some(older) = self.open.take() {
            tracing::info!(older = older.instance, newer = instance, "session taken over");
            let text = format!("storage taken by instance {instance} of {node_id}");
            end(&older.line, Status::failed_precondition(text));
        }
        tracing::info!(session = self.sessions, node_id = node_id.short(), "session opened");
        self.open = Some(Session {
            number: self.sessions,
            node_id,
            instance,
            line,
        });
        let session = self.sessions;
        let pending = Pending {
            session,
            id,
            is_open: true,
            permit,
            span: Span::none(),
        };
        self.command(Command::Document { xml: document }, pending);
        Ok(())
    }

    fn give(&mut self, given: Given) {
        let Given {
            id,
            command,
            line,
            permit,
            span,
        } = given;
        // Commands of a session that is over are not carried out: it is the lease.
        let holder = self.open.as_ref().filter(|session| session.line.is(&line));
        let Some(session) = holder.map(|session| session.number) else {
            return;
        };
        // Nothing is acknowledged that cannot be kept. What is asked for is served all the same.
        if let Some(full) = self.store.room().full().filter(|_| is_store(&command)) {
            return self.refuse(id, &full, permit);
        }
        let entered = span.clone().entered();
        self.command(
            command,
            Pending {
                session,
                id,
                is_open: false,
                permit,
                span,
            },
        );
        drop(entered);
    }

    /// Refuses a Store before the core has seen it: what it has taken in has to reach the disk.
    fn refuse(&self, id: u64, full: &Full, permit: OwnedSemaphorePermit) {
        let Some(open) = &self.open else { return };
        let answer = Answer::Refused {
            code: ErrorCode::DataTooLarge.number(),
            info: full.to_string().into(),
        };
        let response = pb::SessionResponse {
            id,
            document_sequence: self.core.document_sequence().unwrap_or_default().into(),
            answer: Some(proto::answer(answer)),
        };
        let _ = open.line.answers.try_send((Ok(response), Some(permit)));
    }

    fn command(&mut self, command: Command, pending: Pending) {
        let id = CommandId(self.next_id);
        self.next_id += 1;
        self.pending.insert(id, pending);
        self.core.handle_command(now(), id, command);
    }

    fn answer(&mut self, id: CommandId, answer: Answer) {
        let Some(Pending {
            session,
            id,
            is_open,
            permit,
            span,
        }) = self.pending.remove(&id)
        else {
            return;
        };
        // A span that was entered ends where it was left last.
        drop(span.entered());
        let Some(open) = self.open.as_ref().filter(|open| open.number == session) else {
            return;
        };
        let answer = if is_open {
            match refusal_of(&answer) {
                Some(text) => {
                    end(
                        &open.line,
                        Status::invalid_argument(format!("configuration document: {text}")),
                    );
                    self.open = None;
                    return;
                }
                None => pb::session_response::Answer::Opened(self.opened(session)),
            }
        } else {
            proto::answer(answer)
        };
        let document_sequence = self.core.document_sequence().unwrap_or_default().into();
        let response = pb::SessionResponse {
            id,
            document_sequence,
            answer: Some(answer),
        };
        // There is a place for each permit. If the caller has gone, its session ends by itself.
        let _ = open.line.answers.try_send((Ok(response), Some(permit)));
    }

    fn opened(&self, session: u64) -> pb::Opened {
        let summary = self.core.summary();
        pb::Opened {
            session,
            store_id: Bytes::copy_from_slice(&self.core.store_id()),
            records: summary.records,
            values: summary.values,
        }
    }
}

/// Tells why a document was refused. That it is older than ours is no reason to refuse the session: the overlay learns
/// of the newer one from the sequence in each answer.
fn refusal_of(answer: &Answer) -> Option<String> {
    match answer {
        Answer::Refused { code, info } if *code != ErrorCode::ConfigTooOld.number() => {
            Some(String::from_utf8_lossy(info).into_owned())
        }
        _ => None,
    }
}

fn is_store(command: &Command) -> bool {
    matches!(command, Command::Apply { code, .. } if MessageCode(*code) == MessageCode::STORE_REQ)
}

fn end(line: &Line, status: Status) {
    // There is a place for this beyond those of the permits; a caller that has gone needs no reason.
    let _ = line.answers.try_send((Err(status), None));
    line.over.cancel();
}

fn of_puts(puts: Vec<Put>) -> Batch {
    let mut batch = Batch::new();
    for (tree, key, value) in puts {
        match value {
            Some(value) => batch.put(tree_of(tree), &key, value),
            None => batch.delete(tree_of(tree), &key),
        }
    }
    batch
}

pub(crate) fn tree_of(tree: storage_core::Tree) -> Tree {
    match tree {
        storage_core::Tree::Meta => META,
        storage_core::Tree::Certificates => CERTIFICATES,
        storage_core::Tree::Records => RECORDS,
    }
}

pub(crate) fn now() -> Now {
    Now {
        instant: clock::now(),
        unix_ms: clock::unix_ms(),
    }
}

/// How often the gauges are set: it takes a look at each value.
const COUNT_EVERY: Duration = Duration::from_secs(10);

const META: Tree = Tree::new("meta");
const CERTIFICATES: Tree = Tree::new("certificates");
const RECORDS: Tree = Tree::new("records");
