//! REGISTER: digest, binding, entry in the overlay, disk, answer; in this order.

use std::sync::Arc;
use std::time::Duration;

use kv::Batch;
use runtime::warn_seldom;
use sip_core::aor::Aor;
use sip_core::digest::{Received, Side};
use sip_core::flow::{Flow, FlowKind};
use sip_core::location::{Change, Recording};
use sip_core::message::{Message, Name};
use sip_core::proxy::{Answer, AuthenticateId, Authenticated, RegisterId};
use usage::sip::{SIGNS_REGISTRATION, SIGNS_TOMBSTONE};
use wire::Now;

use super::lookups::Basis;
use super::{Done, Driver, Purpose, Waiter};
use crate::directory;
use crate::disk;
use crate::entries::{Job, Publisher};
use crate::home::CallError;
use crate::unstored::{self, Concerned};
use crate::users::{Asked, Judged, UNKNOWN_USER, claimant};

/// A phone that registers waits for the Store of its edge's entry at most so long.
const STORE_FOR_PHONE: Duration = Duration::from_secs(3);
/// Nobody waits for the other Stores.
const STORE: Duration = Duration::from_secs(10);
/// Seconds after which a phone may try again when the overlay could not be told: random, so that a crowd does not return at once.
const RETRY_AFTER: (u64, u64) = (5, 15);

impl Driver {
    /// Finds out who sent a request that is to be passed on.
    pub(super) fn authenticate(&mut self, now: Now, id: AuthenticateId, flow: Flow, request: Message) {
        let from = request
            .from()
            .and_then(|from| self.domains.aor(from.uri).ok())
            .filter(|aor| self.domains.serves(aor.domain()));
        // The connection that registered the AOR speaks for it; a UDP source address proves nothing.
        if let (Some(connection), Some(aor)) = (flow.connection, &from)
            && self
                .locations
                .is_registered_on(self.clock.at(now).own_ms, aor, connection)
        {
            let who = (aor.clone(), String::new());
            return self.allow(now, id, (flow, &request), who);
        }
        let claimed = claimant(&self.domains, Side::Proxy, &request).or(from);
        let Some(aor) = claimed else {
            let realm = self.default_domain();
            let received = Received {
                request: &request,
                source: flow.remote,
            };
            let challenge = self
                .users
                .challenge(now.instant, received, (&realm, Side::Proxy), false);
            return self
                .proxy
                .handle_authenticated(now.instant, id, Authenticated::Refused(challenge));
        };
        match self.users.ask(now.instant, (Side::Proxy, &aor), request, flow.remote) {
            Ok(asked) => self.judge_when_known(now, Purpose::Proxy(id), flow, asked),
            Err(challenge) => self
                .proxy
                .handle_authenticated(now.instant, id, Authenticated::Refused(challenge)),
        }
    }

    /// Takes a REGISTER.
    pub(super) fn register(&mut self, now: Now, id: RegisterId, flow: Flow, request: Message) {
        let aor = request
            .to()
            .and_then(|to| self.domains.aor(to.uri).ok())
            .filter(|aor| self.domains.serves(aor.domain()));
        let answer = match aor {
            _ if flow.kind != FlowKind::Phone => Answer::new(403).reason("Phones Register Here"),
            // RFC 3261 §10.3 step 5.
            None => Answer::new(404),
            Some(aor) => match self
                .users
                .ask(now.instant, (Side::Registrar, &aor), request, flow.remote)
            {
                Ok(asked) => return self.judge_when_known(now, Purpose::Register(id), flow, asked),
                Err(challenge) => challenge,
            },
        };
        self.proxy.handle_not_registered(now.instant, id, &answer);
    }

    fn judge_when_known(&mut self, now: Now, purpose: Purpose, flow: Flow, asked: Asked) {
        if let Err(limit) = self.guesses.admit(now.instant, &self.attempt(now, &asked.aor, &flow)) {
            return self.refuse_unjudged(now, purpose, &asked, limit);
        }
        let aor = asked.aor.clone();
        let is_unknown = self.directory.record(now.instant, aor.as_str()).is_none();
        if is_unknown && !self.throttle.allows(now.instant, flow.remote.ip()) {
            return self.refuse(now, purpose, unavailable("Too Many Look-ups"));
        }
        let waiter = Waiter::Credentials(purpose, flow, Box::new(asked));
        self.ask_directory(now, &aor, directory::Need::Record, waiter);
    }

    /// Judges credentials by the record that the directory has.
    pub(super) fn judge(&mut self, now: Now, (purpose, flow): (Purpose, Flow), asked: Asked, basis: Basis<'_>) {
        let Some(record) = self.directory.record(now.instant, asked.aor.as_str()) else {
            let answer = match basis {
                Basis::Failed(CallError::TimedOut) => Answer::new(504).reason("User Look-up Timed Out"),
                _ => unavailable("User Look-up Not Possible"),
            };
            return self.refuse(now, purpose, answer);
        };
        // Others may have been judged while this one waited for the record.
        if let Err(limit) = self.guesses.admit(now.instant, &self.attempt(now, &asked.aor, &flow)) {
            return self.refuse_unjudged(now, purpose, &asked, limit);
        }
        let judged = self.users.judge(now.instant, &asked, record);
        if matches!(judged, Judged::Right(_)) {
            self.guessed_right(now, &asked.aor, &flow);
        }
        match (judged, purpose) {
            (Judged::Right(display), Purpose::Proxy(id)) => {
                self.allow(now, id, (flow, &asked.request), (asked.aor.clone(), display));
            }
            (Judged::Right(_), Purpose::Register(id)) => self.bind_here(now, id, flow, asked),
            (Judged::Stale(answer), purpose) => self.refuse(now, purpose, answer),
            (Judged::Wrong(answer), purpose) => {
                // The record may be older than the password.
                let may_ask = matches!(basis, Basis::Kept)
                    && self.is_serving()
                    && self.throttle.allows(now.instant, flow.remote.ip());
                let aor = asked.aor.clone();
                let waiter = Waiter::Credentials(purpose, flow.clone(), Box::new(asked));
                if !may_ask || !self.ask_again(now, &aor, waiter) {
                    self.requests.metrics.refused_credentials("wrong_credentials");
                    self.guessed_wrong(now, &aor, &flow);
                    self.refuse(now, purpose, answer);
                }
            }
            (Judged::Locked(version), purpose) => {
                tracing::error!(
                    version,
                    "no record key of this version: users wait until this edge has fetched it"
                );
                self.requests.metrics.refused_credentials("no_record_key");
                // It is fetched anew when the phone comes again; by then this edge may hold the key.
                self.directory.doubt_record(asked.aor.as_str());
                self.refuse(now, purpose, unavailable("Record Key Missing"));
            }
            (Judged::Refused(answer, why), purpose) => {
                self.requests.metrics.refused_credentials(why);
                if why == UNKNOWN_USER {
                    self.guessed_wrong(now, &asked.aor, &flow);
                }
                self.refuse(now, purpose, answer);
            }
        }
    }

    pub(super) fn refuse(&mut self, now: Now, purpose: Purpose, answer: Answer) {
        match purpose {
            Purpose::Proxy(id) => self
                .proxy
                .handle_authenticated(now.instant, id, Authenticated::Refused(answer)),
            Purpose::Register(id) => self.proxy.handle_not_registered(now.instant, id, &answer),
        }
    }

    pub(super) fn allowed(&mut self, now: Now, id: AuthenticateId, flow: &Flow, (aor, display): (Aor, String)) {
        let binding = self
            .locations
            .on_flow(self.clock.at(now).own_ms, &aor, flow)
            .map(|binding| binding.id);
        self.proxy
            .handle_authenticated(now.instant, id, Authenticated::Allowed { aor, display, binding });
    }

    /// Applies an authenticated REGISTER to the location table and sees to it that it lasts before it is answered.
    pub(super) fn bind(&mut self, now: Now, id: RegisterId, flow: &Flow, asked: Asked) {
        let Asked { aor, request, .. } = asked;
        let full = self.full();
        // Taken back below if it would need a disk that is full.
        let before = full.as_ref().map(|_| self.locations.copy(&aor));
        let change = match self.locations.register(self.clock.at(now).own_ms, &aor, &request, flow) {
            Ok(change) => change,
            Err(refusal) => {
                let answer = Answer::new(refusal.code).reason(&refusal.reason);
                let answer = refusal
                    .header
                    .into_iter()
                    .fold(answer, |answer, (name, value)| answer.header(name, value));
                return self.proxy.handle_registered(now.instant, id, &answer);
            }
        };
        if let Some(before) = before
            && change.recording == Recording::First
            && !change.kept.is_empty()
        {
            self.locations.put_back(&aor, before);
            return self.proxy.handle_registered(now.instant, id, &disk_full());
        }
        if let Some(connection) = flow.connection.filter(|_| !change.kept.is_empty()) {
            self.hub.hold(connection);
        }
        self.followers.touch(&aor);
        if change.kept.is_empty() || !self.entries.is_new(aor.as_str()) {
            return self.acknowledge(now, id, &aor, &change);
        }
        if !self.is_serving() {
            self.locations.remove(&aor);
            return self
                .proxy
                .handle_registered(now.instant, id, &unavailable("Overlay Not Available"));
        }
        match self.entries.want(self.clock.at(now), aor.as_str()) {
            Ok(job) => {
                self.unstored.wait(aor, id);
                if let Some(job) = job {
                    self.publish(now, job);
                }
            }
            Err(_) => {
                self.locations.remove(&aor);
                self.proxy.handle_registered(now.instant, id, &unavailable("Edge Full"));
            }
        }
    }

    /// Answers 200 once everything is on the disk that has to be. A mere refresh is seldom written, and not waited for.
    fn acknowledge(&mut self, now: Now, id: RegisterId, aor: &Aor, change: &Change) {
        let answer = self.listing(now, aor);
        // What is still on its way to the disk is no record that a refresh could rest on.
        if change.recording != Recording::First && !self.unflushed.contains_key(aor) {
            self.proxy.handle_registered(now.instant, id, &answer);
            if change.recording == Recording::Soon {
                self.note_change(now, aor, change.is_last);
            }
            return;
        }
        let mut batch = Batch::new();
        self.put_change(&mut batch, now, aor, change.is_last);
        self.flush(aor, batch, vec![id], answer);
    }

    fn flush(&mut self, aor: &Aor, batch: Batch, ids: Vec<RegisterId>, answer: Answer) {
        *self.unflushed.entry(aor.clone()).or_default() += 1;
        let (flushed, aor) = (unstored::flush(self.store.clone(), batch, ids), aor.clone());
        self.start(async move {
            match flushed.await {
                Ok(ids) => Done::Flushed(aor, ids, answer),
                Err(error) => Done::DiskFailed(error),
            }
        });
    }

    /// The 200 with the bindings of this edge.
    fn listing(&self, now: Now, aor: &Aor) -> Answer {
        let moment = self.clock.at(now);
        let headers = self.locations.listing(moment.own_ms, moment.unix_ms, aor).into_iter();
        headers.fold(Answer::new(200), |answer, (name, value)| answer.header(name, value))
    }

    /// Stores an entry or its tombstone in the overlay.
    pub(super) fn publish(&mut self, now: Now, mut job: Job) {
        let needed = if job.is_registration {
            SIGNS_REGISTRATION
        } else {
            SIGNS_TOMBSTONE
        };
        let signer = match self.minter.signer(now.unix_ms, &job.aor, needed) {
            Ok(signer) => signer,
            Err(error) => {
                tracing::error!(%error, "no certificate could be minted");
                let error = CallError::Unavailable(error.to_string());
                return self.handle_published(now, &job, Err(error));
            }
        };
        job.counts_ms = job.counts_ms.min(signer.until_ms().saturating_sub(now.unix_ms));
        let publisher = Publisher {
            home: self.home.handle.clone(),
            registrant: self.registrant.clone(),
        };
        let limit = if self.unstored.is_awaited(&job.aor) {
            STORE_FOR_PHONE
        } else {
            STORE
        };
        let fetch = self.fetching(&job.aor);
        self.start(async move {
            let newest = async || fetch.await.ok()?.own.map(|own| own.storage_time);
            let result = publisher.publish(&job, Arc::clone(&signer), limit, newest).await;
            Done::Published(job, result)
        });
    }

    /// Takes the outcome of a Store: answers whoever waited for it.
    pub(super) fn handle_published(&mut self, now: Now, job: &Job, result: Result<u64, CallError>) {
        if let Err(error) = &result {
            warn_seldom!(%error, is_registration = job.is_registration, "entry not stored");
        }
        let is_stored = result.is_ok();
        let moment = self.clock.at(now);
        let on_disk = self.entries.done(moment, job, result.map_err(|_| ()));
        let mut batch = Batch::new();
        if let Some(is_kept) = on_disk {
            disk::put_entry(
                &mut batch,
                &job.aor,
                is_kept.then(|| self.entries.of(&job.aor)).flatten(),
            );
        }
        if let Ok(aor) = Aor::parse(&job.aor) {
            self.followers.touch(&aor);
        }
        match self.unstored.settle(job, is_stored) {
            Concerned::Stored(aor, waiting) => {
                let record = self.directory.record(now.instant, aor.as_str()).flatten();
                disk::put_bindings(&mut batch, moment, &aor, &mut self.locations, record);
                let answer = self.listing(now, &aor);
                // One batch holds them all, so all are answered after its flush and none before.
                self.flush(&aor, batch, waiting, answer);
            }
            Concerned::Failed(aor, waiting) => {
                self.locations.remove(&aor);
                self.entries.release(moment, aor.as_str());
                for id in waiting {
                    self.proxy
                        .handle_registered(now.instant, id, &unavailable("Registration Not Stored"));
                }
            }
            Concerned::Nobody if !batch.is_empty() => self.note(batch),
            Concerned::Nobody => {}
        }
    }

    fn default_domain(&self) -> String {
        self.document.document().overlay.clone()
    }
}

/// A 503 for what cannot be kept: room is not made in seconds.
fn disk_full() -> Answer {
    Answer::new(503)
        .reason("Disk Full")
        .header(Name::RetryAfter, "60".to_owned())
}

/// A 503 that tells when to come back.
pub(super) fn unavailable(reason: &str) -> Answer {
    let seconds = crate::random::between(RETRY_AFTER.0, RETRY_AFTER.1);
    Answer::new(503)
        .reason(reason)
        .header(Name::RetryAfter, seconds.to_string())
}
