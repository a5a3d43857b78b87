//! The one task that owns the state: it decides, writes, and only then answers.

mod due;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use identity::{Certificate, Key};
use kv::{Batch, FlushError, Full, Store};
use rpc::proto::bootstrap::v1 as proto;
use rpc::proto::bootstrap::v1::feed_response::Item;
use runtime::{Component, Pulse, State, clock};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{error, info, warn};
use wire::{Encode, ErrorCode};

use crate::core::{
    ASKS, Answer, Arrival, Core, FIRST_ASK, Form, Outcome, PATIENCE, Phase, TokenCursor, TokenPage, UserPage,
};

/// Where an answer goes; nobody may be waiting any more.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, Status>>;

/// What the driver is asked to do.
pub(crate) enum Command {
    /// A request and where it came from; an operator's comes from nowhere.
    Enroll(Box<proto::EnrollRequest>, Option<IpAddr>, Reply<proto::EnrollResponse>),
    /// The form of RFC 6940 §11.3, and where it came from; the answer is a certificate.
    EnrollByForm(Form, IpAddr, Reply<Bytes>),
    /// A host that shares a secret wants to know the configuration root.
    Vouch(proto::VouchRequest, Reply<proto::VouchResponse>),
    /// The certificate that a node showed, verified, and what it asks for.
    Renew(Certificate, Box<proto::RenewRequest>, Reply<proto::RenewResponse>),
    /// A key and a certificate of the enrollment server, for these hosts.
    Server(Vec<String>, Reply<(Key, Certificate)>),
    /// The document.
    Document(Reply<Bytes>),
    PutUser(Box<proto::PutUserRequest>, Reply<proto::PutUserResponse>),
    DeleteUser(proto::DeleteUserRequest, Reply<proto::DeleteUserResponse>),
    ListUsers(proto::ListUsersRequest, Option<String>, Reply<UserPage>),
    CreateToken(proto::CreateTokenRequest, Reply<proto::CreateTokenResponse>),
    RevokeToken(proto::RevokeTokenRequest, Reply<proto::RevokeTokenResponse>),
    ListTokens(Option<TokenCursor>, Reply<TokenPage>),
    RotateRecordKey(proto::RotateRecordKeyRequest, Reply<proto::RotateRecordKeyResponse>),
    RecordKeys(Reply<proto::RecordKeysResponse>),
    /// The certificate that an edge showed, verified, and which record keys it holds.
    FetchRecordKeys(
        Certificate,
        proto::FetchRecordKeysRequest,
        Reply<proto::FetchRecordKeysResponse>,
    ),
    /// A stream of the overlay begins; its number is the answer.
    Attach(proto::FeedOpen, Down, Reply<u64>),
    Acknowledge {
        feed: u64,
        acknowledge: proto::Acknowledge,
    },
    Detach(u64),
}

impl Command {
    /// Answers a command that would need the disk with the reason why it is not carried out; the others come back. What is
    /// decided changes the memory first, so it is refused before.
    fn refused(self, full: &Full) -> Option<Command> {
        fn refuse<T>(reply: Reply<T>, full: &Full) -> Option<Command> {
            // Who asked may have left.
            let _ = reply.send(Err(Status::unavailable(full.to_string())));
            None
        }
        match self {
            Command::Enroll(_, _, reply) => refuse(reply, full),
            Command::EnrollByForm(_, _, reply) => refuse(reply, full),
            Command::Renew(_, _, reply) => refuse(reply, full),
            Command::PutUser(_, reply) => refuse(reply, full),
            Command::DeleteUser(_, reply) => refuse(reply, full),
            Command::CreateToken(_, reply) => refuse(reply, full),
            Command::RevokeToken(_, reply) => refuse(reply, full),
            Command::RotateRecordKey(_, reply) => refuse(reply, full),
            command @ (Command::Server(..)
            | Command::Vouch(..)
            | Command::Document(_)
            | Command::ListUsers(..)
            | Command::ListTokens(..)
            | Command::RecordKeys(_)
            // Edges say which keys they hold, which is a few octets.
            | Command::FetchRecordKeys(..)
            | Command::Attach(..)
            | Command::Acknowledge { .. }
            | Command::Detach(_)) => Some(command),
        }
    }
}

/// Items on their way to the overlay.
pub(crate) type Down = mpsc::Sender<Result<proto::FeedResponse, Status>>;

pub(crate) struct Driver {
    core: Core,
    store: Store,
    commands: mpsc::Receiver<Command>,
    stop: CancellationToken,
    pulse: Pulse,
    component: Component,
    feed: Option<Feed>,
    feeds: u64,
    retry: Duration,
    /// How far the rotation of the record key is, and when to look at it.
    rotation: Phase,
    rotate_at: Instant,
}

/// The overlay's stream.
struct Feed {
    number: u64,
    down: Down,
    /// Everything up to this id was sent.
    sent: u64,
    in_flight: BTreeSet<u64>,
    /// Refused items and when they are tried again.
    refused: BTreeMap<u64, Retry>,
}

struct Retry {
    at: Instant,
    /// The overlay has a later storage_time: the same message would be refused again.
    is_outdated: bool,
}

impl Driver {
    pub(crate) fn new(
        core: Core,
        (store, commands): (Store, mpsc::Receiver<Command>),
        (stop, component): (CancellationToken, Component),
        retry: Duration,
    ) -> Driver {
        Driver {
            core,
            store,
            commands,
            stop,
            pulse: component.pulse(),
            component,
            feed: None,
            feeds: 0,
            retry,
            rotation: Phase::Settled,
            rotate_at: clock::now(),
        }
    }

    /// Runs until it is stopped, or until the disk fails, which ends the component.
    pub(crate) async fn run(mut self) {
        if let Err(failure) = self.serve().await {
            error!(error = %failure, "bootstrap service cannot write its state");
        }
    }

    async fn serve(&mut self) -> Result<(), FlushError> {
        let mut refresh_at = clock::now();
        let mut room = self.store.room().watch();
        self.tell_health(room.borrow_and_update().as_ref());
        let mut full_until = refresh_at;
        loop {
            let retry_at = self
                .feed
                .as_ref()
                .and_then(|feed| feed.refused.values().map(|retry| retry.at).min());
            let asks_due = self.core.asks_due();
            let wake = [retry_at, asks_due, Some(self.rotate_at)]
                .into_iter()
                .flatten()
                .fold(refresh_at, Instant::min);
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Ok(()),
                () = self.pulse.beat() => continue,
                command = self.commands.recv() => match command {
                    Some(command) => self.handle(command).await?,
                    None => return Ok(()),
                },
                Ok(()) = room.changed() => self.tell_health(room.borrow_and_update().as_ref()),
                () = clock::sleep_until(wake.max(full_until)) => {
                    self.core.expire_asks(clock::now());
                    if self.store.room().full().is_some() {
                        // What is due is signed, and so written; it can wait.
                        full_until = clock::now() + FULL_AGAIN;
                        continue;
                    }
                    if clock::now() >= refresh_at {
                        refresh_at = clock::now() + self.refresh().await?;
                    }
                    if clock::now() >= self.rotate_at {
                        self.rotate_at = clock::now() + self.rotate().await?;
                    }
                    self.retry().await?;
                }
            }
            self.pump();
            self.pump_asks();
        }
    }

    fn tell_health(&self, full: Option<&Full>) {
        self.component.tell(full.map_or_else(State::ready, State::lacking));
    }

    async fn handle(&mut self, command: Command) -> Result<(), FlushError> {
        let now_ms = unix_ms();
        let command = match self.store.room().full() {
            Some(full) => match command.refused(&full) {
                Some(command) => command,
                None => return Ok(()),
            },
            None => command,
        };
        match command {
            Command::Enroll(request, from, reply) => {
                let outcome = self.core.enroll(arrival(now_ms, from), &request);
                self.finish("enroll", outcome, reply).await
            }
            Command::EnrollByForm(form, from, reply) => {
                let outcome = self.core.enroll_by_form(arrival(now_ms, Some(from)), &form);
                self.finish("enroll by form", outcome, reply).await
            }
            Command::Vouch(request, reply) => {
                let _ = reply.send(self.core.vouch(now_ms, &request).map_err(Status::from));
                Ok(())
            }
            Command::Renew(shown, request, reply) => {
                let outcome = self.core.renew(now_ms, &shown, &request);
                self.finish("renew", outcome, reply).await
            }
            Command::Server(hosts, reply) => {
                // Who asked may have left; so below.
                let _ = reply.send(self.core.server(now_ms, &hosts).map_err(Status::from));
                Ok(())
            }
            Command::Document(reply) => {
                let _ = reply.send(Ok(self.core.document().1));
                Ok(())
            }
            Command::PutUser(request, reply) => {
                let outcome = self.core.put_user(now_ms, &request);
                self.finish("put user", outcome, reply).await
            }
            Command::DeleteUser(request, reply) => {
                let outcome = self.core.delete_user(now_ms, &request);
                self.finish("delete user", outcome, reply).await
            }
            Command::CreateToken(request, reply) => {
                let outcome = self.core.create_token(now_ms, &request);
                self.finish("create token", outcome, reply).await
            }
            Command::RevokeToken(request, reply) => {
                let outcome = self.core.revoke_token(&request.id);
                self.finish("revoke token", outcome, reply).await
            }
            Command::ListUsers(request, after, reply) => {
                let _ = reply.send(Ok(self.core.list_users(&request, after.as_deref())));
                Ok(())
            }
            Command::ListTokens(after, reply) => {
                let _ = reply.send(Ok(self.core.list_tokens(after.as_ref())));
                Ok(())
            }
            Command::RotateRecordKey(request, reply) => {
                let outcome = self.core.rotate_record_key(&request);
                self.rotate_at = clock::now();
                self.finish("rotate record key", outcome, reply).await
            }
            Command::RecordKeys(reply) => {
                let _ = reply.send(Ok(self.core.record_keys(now_ms)));
                Ok(())
            }
            Command::FetchRecordKeys(shown, request, reply) => {
                let outcome = self.core.fetch_record_keys(&shown, &request);
                self.finish("fetch record keys", outcome, reply).await
            }
            Command::Attach(open, down, reply) => {
                // A disk without room gets it with the next stream.
                if self.store.room().full().is_none() {
                    let batch = self.core.hear_document(now_ms, &open.document);
                    self.write(batch).await?;
                }
                let _ = reply.send(Ok(self.attach(&open, down)));
                Ok(())
            }
            Command::Acknowledge { feed, acknowledge } => self.acknowledge(feed, acknowledge).await,
            Command::Detach(number) => {
                if self.feed.take_if(|feed| feed.number == number).is_some() {
                    self.core.overlay_lost();
                }
                Ok(())
            }
        }
    }

    /// Writes what an operation changed, and then answers it.
    async fn finish<T>(&mut self, what: &'static str, outcome: Outcome<T>, reply: Reply<T>) -> Result<(), FlushError> {
        let answer = match outcome {
            Ok((answer, batch)) => {
                // Repetitions and polls are no news.
                let is_change = !batch.is_empty();
                self.write(batch).await?;
                if is_change {
                    info!(operation = what, "bootstrap operation done");
                }
                Ok(answer)
            }
            Err(refused) => Err(Status::from(refused)),
        };
        let _ = reply.send(answer);
        Ok(())
    }

    async fn write(&self, batch: Batch) -> Result<(), FlushError> {
        if batch.is_empty() {
            Ok(())
        } else {
            self.store.apply(batch).await
        }
    }

    fn attach(&mut self, open: &proto::FeedOpen, down: Down) -> u64 {
        self.feeds += 1;
        let number = self.feeds;
        if let Some(old) = self.feed.take() {
            // When its queue is full, it ends by its receiver being gone.
            let _ = old.down.try_send(Err(Status::aborted("a newer stream was opened")));
            self.core.overlay_lost();
        }
        let (sequence, xml) = self.core.document();
        let known = u16::try_from(open.document_sequence).ok();
        if known.is_none_or(|known| overlay_config::is_newer(sequence, known)) {
            let _ = down.try_send(Ok(proto::FeedResponse {
                id: DOCUMENT,
                item: Some(Item::Document(xml)),
            }));
        }
        info!(feed = number, "overlay is fed");
        self.feed = Some(Feed {
            number,
            down,
            sent: 0,
            in_flight: BTreeSet::new(),
            refused: BTreeMap::new(),
        });
        number
    }

    async fn acknowledge(&mut self, number: u64, acknowledge: proto::Acknowledge) -> Result<(), FlushError> {
        let Some(feed) = self.feed.as_mut().filter(|feed| feed.number == number) else {
            return Ok(());
        };
        let proto::Acknowledge {
            id,
            refusal,
            contents,
            certificates,
        } = acknowledge;
        if id >= FIRST_ASK {
            let answer = refusal.is_none().then_some(Answer { contents, certificates });
            self.core.asked(unix_ms(), id, answer.as_ref());
            return Ok(());
        }
        if !feed.in_flight.remove(&id) {
            return Ok(());
        }
        match refusal {
            None => {
                let batch = self.core.acknowledged(id);
                if self.rotation == Phase::Resealing {
                    // There is room for the next record, or it was the last.
                    self.rotate_at = clock::now();
                }
                self.write(batch).await
            }
            Some(refusal) => {
                let is_outdated = refusal.code == u32::from(ErrorCode::DataTooOld.number());
                warn!(item = id, code = refusal.code, "overlay refused to store a user record");
                feed.refused.insert(
                    id,
                    Retry {
                        at: clock::now() + self.retry,
                        is_outdated,
                    },
                );
                Ok(())
            }
        }
    }

    /// Sends what waits, as far as the window allows.
    fn pump(&mut self) {
        let Some(feed) = &mut self.feed else { return };
        while feed.in_flight.len() < WINDOW {
            let Some((id, waiting)) = self.core.waiting(feed.sent) else {
                return;
            };
            feed.sent = id;
            if feed.in_flight.contains(&id) || feed.refused.contains_key(&id) {
                continue;
            }
            let store = proto::SignedStore {
                transaction_id: waiting.transaction_id.0,
                contents: waiting.contents.clone(),
                security_block: waiting.security_block.clone(),
            };
            if feed
                .down
                .try_send(Ok(proto::FeedResponse {
                    id,
                    item: Some(Item::Store(store)),
                }))
                .is_err()
            {
                // The stream has ended; the next one starts from the front.
                self.feed = None;
                self.core.overlay_lost();
                return;
            }
            feed.in_flight.insert(id);
        }
    }

    /// Sends the requests that tell edges of changes.
    fn pump_asks(&mut self) {
        while let Some(feed) = &self.feed {
            let Some((id, ask)) = self.core.next_ask(clock::now()) else {
                return;
            };
            let ask = proto::Ask {
                destinations: ask.destinations.iter().map(Encode::to_bytes).collect(),
                contents: ask.contents,
                timeout_ms: u32::try_from(PATIENCE.as_millis()).unwrap_or(u32::MAX),
            };
            let item = Some(Item::Ask(ask));
            if feed.down.try_send(Ok(proto::FeedResponse { id, item })).is_err() {
                self.feed = None;
                self.core.overlay_lost();
            }
        }
    }
}

fn arrival(now_ms: u64, from: Option<IpAddr>) -> Arrival {
    Arrival {
        now: clock::now(),
        now_ms,
        from,
    }
}

/// The wall clock, which only shells read.
pub(crate) fn unix_ms() -> u64 {
    clock::unix_ms()
}

/// Commands that wait; when it is full, callers wait under their deadlines.
pub(crate) const COMMANDS: usize = 64;
/// Items that the overlay has not acknowledged: enough to keep its stores busy.
pub(crate) const WINDOW: usize = 32;
/// The queue of a stream holds a window, the requests under way, the document and the reason of its end.
pub(crate) const DOWN: usize = WINDOW + ASKS + 2;
/// The id of the document's item; those of the outbox start at 1.
const DOCUMENT: u64 = 0;
/// How soon it is tried again to do what is due, while the disk is full.
const FULL_AGAIN: Duration = Duration::from_secs(10);
/// What the overlay refuses is seldom better at once.
pub(crate) const RETRY: Duration = Duration::from_secs(5);
