//! The one task that owns the state: it decides, writes, and only then answers.

mod command;
mod due;
mod feeding;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use kv::{Batch, FlushError, Full, Store};
use rpc::proto::bootstrap::v1 as proto;
use runtime::{Component, Pulse, State, clock};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tracing::{error, info};

use crate::core::{ASKS, Arrival, Core, Feeds, Outcome, Phase, WINDOW};

pub(crate) use command::{Command, Reply};

/// Items on their way to the overlay.
pub(crate) type Down = mpsc::Sender<Result<proto::FeedResponse, Status>>;

pub(crate) struct Driver {
    core: Core,
    store: Store,
    commands: mpsc::Receiver<Command>,
    stop: CancellationToken,
    pulse: Pulse,
    component: Component,
    feeds: Feeds,
    /// The overlays' streams by their numbers.
    downs: BTreeMap<u64, Down>,
    /// How far the rotation of the record key is, and when to look at it.
    rotation: Phase,
    rotate_at: Instant,
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
            feeds: Feeds::new(retry),
            downs: BTreeMap::new(),
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
            let wake = [self.feeds.next_timeout(), self.core.asks_due(), Some(self.rotate_at)]
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
        // A decision changes the memory first, so it is refused before.
        if let Some(full) = self.store.room().full().filter(|_| command.is_change()) {
            command.refuse(Status::unavailable(full.to_string()));
            return Ok(());
        }
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
                let outcome = self.core.fetch_record_keys(now_ms, &shown, &request);
                self.finish("fetch record keys", outcome, reply).await
            }
            Command::OtherServices(reply) => {
                let _ = reply.send(Ok(self.core.other_services()));
                Ok(())
            }
            Command::Trust(reply) => {
                let _ = reply.send(Ok(self.core.verifier().trust()));
                Ok(())
            }
            Command::Replicate(request, reply) => {
                let changes = self.core.changes(&self.store, &request);
                let _ = reply.send(changes.map_err(|error| Status::unavailable(error.to_string())));
                Ok(())
            }
            Command::Merge(url, answer, reply) => {
                let batch = self.core.merge(now_ms, &answer.changes);
                self.core.heard_of(url, &answer);
                self.rotate_at = clock::now();
                self.write(batch).await?;
                let _ = reply.send(Ok(()));
                Ok(())
            }
            Command::Attach(open, down, reply) => {
                // A disk without room gets it with the next stream.
                if self.store.room().full().is_none() {
                    let batch = self.core.hear_document(now_ms, &open.document);
                    self.write(batch).await?;
                }
                let _ = reply.send(self.attach(&open, down));
                Ok(())
            }
            Command::Acknowledge { feed, acknowledge } => self.acknowledge(feed, acknowledge).await,
            Command::Detach(number) => {
                self.detach(number);
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

    async fn write(&mut self, batch: Batch) -> Result<(), FlushError> {
        if batch.is_empty() {
            return Ok(());
        }
        self.core.note(&batch);
        self.store.apply(batch).await
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
/// The queue of a stream holds a window, the requests under way, the document and the reason of its end.
pub(crate) const DOWN: usize = WINDOW + ASKS + 2;
/// How soon it is tried again to do what is due, while the disk is full.
const FULL_AGAIN: Duration = Duration::from_secs(10);
/// What the overlay refuses is seldom better at once.
pub(crate) const RETRY: Duration = Duration::from_secs(5);
