//! The core: inputs, outputs, and their order.

use std::{
    collections::{BTreeSet, VecDeque},
    time::{Duration, Instant},
};

use bytes::Bytes;
use wire::{Decode, Encode, KindId, MessageCode, NodeId, Now, ResourceId, StatAns};

use crate::{
    api::{Answer, BatchId, Command, CommandId, Output, Settings, Summary, Tree},
    certificates::Fresh,
    check::Context,
    clock::{Clock, Saved},
    disk::{self, LoadError},
    document::InForce,
    forget::is_vouched_for,
    puts::Puts,
    read::{self, Read, is_within},
    record::{Hash, Record, Slot},
    refusal::Refusal,
    replica,
    scan::scan,
    state::{State, count},
    store::{self, Request, Stored},
};

/// The storage of one peer.
pub struct Core {
    settings: Settings,
    state: State,
    in_force: InForce,
    clock: Clock,
    /// The clock that was loaded, until [`Core::start`].
    saved: Option<Saved>,
    /// Records that were loaded, until [`Core::start`].
    loaded: Vec<(ResourceId, Bytes)>,
    keep: Option<Ranges>,
    damaged: u64,

    /// Changes that nobody waits for; they go with the next batch.
    housekeeping: Puts,
    outputs: VecDeque<Output>,
    /// Answers in order, each with the batch that must be flushed before it.
    answers: VecDeque<(BatchId, CommandId, Answer)>,
    written: BatchId,
    flushed: BatchId,
    next_tick: Instant,
}

#[derive(Clone, Copy, Debug)]
struct Ranges {
    own: (NodeId, NodeId),
    replica: (NodeId, NodeId),
}

impl Core {
    /// Makes one without data. [`Core::load`] it with all that the disk has, then [`Core::start`] it.
    #[must_use]
    pub fn new(now: Now, settings: Settings) -> Self {
        Self {
            settings,
            state: State::default(),
            in_force: InForce::nothing(),
            clock: Clock::start(now, None),
            saved: None,
            loaded: Vec::new(),
            keep: None,
            damaged: 0,
            housekeeping: Puts::default(),
            outputs: VecDeque::new(),
            answers: VecDeque::new(),
            written: BatchId(0),
            flushed: BatchId(0),
            next_tick: now.instant + TICK,
        }
    }

    /// Takes an entry of the disk, before the start.
    ///
    /// # Errors
    /// [`LoadError::Newer`] if a later version wrote it: do not start. [`LoadError::Damaged`] if it cannot be read: it
    /// is left alone, and what it was is to be had from the replicas.
    pub fn load(&mut self, tree: Tree, key: Bytes, value: Bytes) -> Result<(), LoadError> {
        let result = match tree {
            Tree::Meta => self.load_meta(&key, &value),
            Tree::Certificates => load_certificate(&key, &value).map(|(hash, der)| {
                self.state.certificates.load(hash, der);
            }),
            Tree::Records => disk::unversioned("record", &key, &value).and_then(|_| {
                let resource = ResourceId::try_from(&*key).map_err(|error| disk::damaged("record", &key, error))?;
                self.loaded.push((resource, value));
                Ok(())
            }),
        };
        if matches!(result, Err(LoadError::Damaged { .. })) {
            self.damaged += 1;
        }
        result
    }

    /// Starts, after everything was loaded.
    pub fn start(&mut self, now: Now) {
        self.clock = Clock::start(now, self.saved.take());
        for (resource, octets) in std::mem::take(&mut self.loaded) {
            match disk::decode(&octets) {
                Ok(record) if record.slots().all(|slot| self.state.certificates.cover(slot)) => {
                    self.state.load(resource, record);
                }
                Ok(_) => self.mourn(resource, "a certificate is missing"),
                Err(error) => self.mourn(resource, &error.to_string()),
            }
        }
        if self.damaged == 0 {
            self.state.certificates.sweep(&mut self.housekeeping);
        }
        self.housekeeping
            .put(Tree::Meta, STORE_ID, disk::versioned(&self.settings.store_id));
        self.tick(now);
    }

    /// Carries out a command. Its answer comes as an output, after those of earlier commands.
    pub fn handle_command(&mut self, now: Now, id: CommandId, command: Command) {
        self.expire(now);
        let answer = match command {
            Command::Apply {
                code,
                body,
                certificates,
                signer,
            } => {
                let request = Request {
                    body: &body,
                    certificates: &certificates,
                    signer: signer.as_ref(),
                };
                self.apply(now, MessageCode(code), &request)
            }
            Command::Scan { after, range } => {
                let context = Context::new(&self.in_force, &self.clock, now);
                Ok(scan(&self.state, context, self.settings.scan_batch, after, range))
            }
            Command::Keep { own, replica } => {
                self.keep = Some(Ranges { own, replica });
                Ok(Answer::Done)
            }
            Command::Forget {
                resource,
                stat,
                compare_only,
            } => self.forget(resource, &stat, compare_only),
            Command::Count => Ok(Answer::Counted {
                records: self.state.records(),
            }),
            Command::Clock { unix_ms, voices } => {
                let was_in_doubt = self.clock.is_in_doubt();
                self.hear(now, unix_ms, voices);
                if was_in_doubt && !self.clock.is_in_doubt() {
                    self.delete_ended(now);
                }
                self.save_clock(now);
                Ok(Answer::Done)
            }
            Command::Document { xml } => self.document(now, xml),
        };
        self.answer(id, answer.unwrap_or_else(Refusal::into_answer));
    }

    /// Takes note that a batch, and all before it, is on the disk.
    pub fn handle_flushed(&mut self, _now: Now, batch: BatchId) {
        self.flushed = self.flushed.max(batch);
        while let Some((_, id, answer)) = self.answers.pop_front_if(|(needs, ..)| *needs <= self.flushed) {
            self.outputs.push_back(Output::Answer(id, answer));
        }
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        if now.instant >= self.next_tick {
            self.tick(now);
        }
    }

    /// Takes note that this process may have been stopped for a while, later than that moment: until the overlay has said
    /// for how long, or a day has passed, nothing is deleted.
    pub fn handle_gap(&mut self, now: Now, since: Instant) {
        self.clock.doubt_again(now, since);
    }

    /// Gives the next output; the last one is always [`Output::Timeout`].
    #[must_use]
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or(Output::Timeout(self.next_tick))
    }

    /// Identity of the store: another one than before means that the disk was empty.
    #[must_use]
    pub fn store_id(&self) -> [u8; 16] {
        self.settings.store_id
    }

    /// Sequence of the document in force.
    #[must_use]
    pub fn document_sequence(&self) -> Option<u16> {
        self.in_force.sequence()
    }

    /// Counts what is stored.
    #[must_use]
    pub fn summary(&self) -> Summary {
        let within = |range: Option<(NodeId, NodeId)>| match range {
            Some((after, until)) => count(self.state.range(after.into(), until.into()).count()),
            None => 0,
        };
        Summary {
            own: within(self.keep.map(|keep| keep.own)),
            replicas: within(self.keep.map(|keep| keep.replica)),
            damaged: self.damaged,
            ..self.state.summary()
        }
    }

    fn apply(&mut self, now: Now, code: MessageCode, request: &Request<'_>) -> Result<Answer, Refusal> {
        let context = Context::new(&self.in_force, &self.clock, now);
        let read = match code {
            MessageCode::STORE_REQ => {
                let stored = store::store(&self.state, &self.settings, context, request)?;
                return Ok(self.commit(now, stored));
            }
            MessageCode::FETCH_REQ => read::fetch(&self.state, context, request.body)?,
            MessageCode::STAT_REQ => read::stat(&self.state, context, request.body)?,
            MessageCode::FIND_REQ => {
                // Whoever has not heard of a range yet stands alone.
                let own = self.keep.map_or((NodeId::ZERO, NodeId::ZERO), |keep| keep.own);
                read::find(&self.state, context, own, request.body)?
            }
            other => return Err(Refusal::Malformed(format!("{other} is no request to storage"))),
        };
        let Read { body, chain } = read;
        let certificates = replica::ders(&self.state.certificates, chain.iter());
        Ok(Answer::Applied {
            code: code.0 + 1,
            body,
            certificates,
            replicas: Vec::new(),
        })
    }

    fn commit(&mut self, now: Now, stored: Stored) -> Answer {
        let Stored {
            resource,
            record,
            fresh,
            answer,
            replicate,
        } = stored;
        if let Some(record) = record {
            self.state.replace(resource, record, &fresh, &mut self.housekeeping);
            self.write();
        }
        let context = Context::new(&self.in_force, &self.clock, now);
        let replicas = match self.state.record(resource) {
            Some(record) if !replicate.is_empty() => {
                let (shown, certificates) = (context.visible(record), &self.state.certificates);
                let is_wanted = |kind| replicate.contains(&kind);
                replica::stores(resource, &shown, certificates, context.own_ms, is_wanted).collect()
            }
            _ => Vec::new(),
        };
        let (code, body) = (MessageCode::STORE_ANS.0, answer.to_bytes());
        Answer::Applied {
            code,
            body,
            certificates: Vec::new(),
            replicas,
        }
    }

    /// Drops a record, on the word of its owner, or tells whether that would be right.
    fn forget(&mut self, resource: ResourceId, stat: &Bytes, compare_only: bool) -> Result<Answer, Refusal> {
        let is_kept = |keep: Ranges| is_within(keep.own, resource) || is_within(keep.replica, resource);
        if !compare_only && self.keep.is_none_or(is_kept) {
            return Err(Refusal::Forbidden(format!("{resource} is this peer's to keep")));
        }
        let stat = StatAns::from_bytes_with(stat, &self.in_force.kinds)?;
        let Some(record) = self.state.record(resource) else {
            return Ok(Answer::Done);
        };
        if !is_vouched_for(record, &stat) {
            return Err(Refusal::Needed(format!("the owner of {resource} lacks some of it")));
        }
        if compare_only {
            return Ok(Answer::Done);
        }
        let nothing = Record::default();
        self.state
            .replace(resource, nothing, &Fresh::new(), &mut self.housekeeping);
        self.write();
        Ok(Answer::Done)
    }

    fn document(&mut self, now: Now, xml: Bytes) -> Result<Answer, Refusal> {
        if let Some(octets) = self.in_force.update(xml, now.unix_ms)? {
            self.housekeeping.put(Tree::Meta, DOCUMENT, disk::versioned(&octets));
            self.drop_disowned(now);
            self.write();
            tracing::info!(sequence = self.in_force.sequence(), "configuration document in force");
        }
        Ok(Answer::Done)
    }

    /// Drops the values of Kinds and signers that the document in force no longer admits.
    fn drop_disowned(&mut self, now: Now) {
        let mut disowned: BTreeSet<(KindId, Vec<Hash>)> = BTreeSet::new();
        for (id, chain) in self.state.chains() {
            // RFC 6940 §11.1: values of a Kind that went with its signer are discarded.
            let Some(kind) = self.in_force.kinds.get(id) else {
                disowned.insert((id, chain));
                continue;
            };
            let ders: Vec<_> = chain
                .iter()
                .filter_map(|hash| self.state.certificates.der(hash))
                .cloned()
                .collect();
            let Some(leaf) = ders.first() else { continue };
            match self.in_force.verifier.verify(leaf, &ders, now.unix_ms, kind.use_()) {
                // Time is not the document's matter: values end with their certificates anyway, and our calendar may
                // be wrong.
                Ok(_) | Err(identity::Error::NotValidNow { .. }) => {}
                Err(_) => drop(disowned.insert((id, chain))),
            }
        }
        if !disowned.is_empty() {
            let mut keep = |kind, slot: &Slot| !disowned.contains(&(kind, slot.chain.clone()));
            self.state.retain_all(&mut keep, &mut self.housekeeping);
            tracing::info!(
                signers = disowned.len(),
                "dropped the values of kinds and signers that the document disowns"
            );
        }
    }

    fn answer(&mut self, id: CommandId, answer: Answer) {
        // Answers keep the order of the commands; what a later one has read may be what an earlier one has written.
        if self.written > self.flushed {
            self.answers.push_back((self.written, id, answer));
        } else {
            self.outputs.push_back(Output::Answer(id, answer));
        }
    }

    fn tick(&mut self, now: Now) {
        self.next_tick = now.instant + TICK;
        // The calendar may have been set since the start.
        self.hear(now, now.unix_ms, 1);
        if self.clock.give_up_doubt(now) {
            self.delete_ended(now);
        }
        self.expire(now);
        self.save_clock(now);
    }

    fn expire(&mut self, now: Now) {
        if !self.clock.is_in_doubt() {
            self.state.expire(self.clock.own_ms(now), &mut self.housekeeping);
        }
    }

    /// The time for which the store was down is agreed on: what has ended goes, and so does what a Store would be refused
    /// for.
    fn delete_ended(&mut self, now: Now) {
        let context = Context::new(&self.in_force, &self.clock, now);
        let mut is_timely = |kind, slot: &Slot| context.is_timely(kind, slot);
        self.state.retain_all(&mut is_timely, &mut self.housekeeping);
        self.expire(now);
    }

    /// Hears a clock, or several. If the store was down for longer or shorter than was thought, values that were down too
    /// have grown older with it, and those that came since have not.
    fn hear(&mut self, now: Now, unix_ms: u64, voices: u32) {
        let correction = self.clock.hear(now, unix_ms, voices);
        if correction.by == 0 {
            return;
        }
        tracing::info!(
            by_ms = correction.by,
            voices,
            "time that this store was down is corrected"
        );
        let own_ms = self.clock.own_ms(now);
        let kinds = &self.in_force.kinds;
        let end = |kind, slot: &Slot| correction.end(own_ms, slot, kinds.get(kind));
        self.state.reschedule(end, &mut self.housekeeping);
    }

    fn save_clock(&mut self, now: Now) {
        let saved = disk::versioned(&self.clock.save(now).encode());
        self.housekeeping.put(Tree::Meta, CLOCK, saved);
        self.write();
    }

    fn write(&mut self) {
        let puts = self.housekeeping.take();
        if !puts.is_empty() {
            self.written = BatchId(self.written.0 + 1);
            self.outputs.push_back(Output::Write {
                batch: self.written,
                puts,
            });
        }
    }

    fn load_meta(&mut self, key: &Bytes, value: &Bytes) -> Result<(), LoadError> {
        let octets = disk::unversioned("entry", key, value)?;
        let damaged = |reason: String| disk::damaged("entry", key, reason);
        match &**key {
            STORE_ID => {
                let id = <[u8; 16]>::try_from(&*octets).map_err(|error| damaged(error.to_string()))?;
                self.settings.store_id = id;
            }
            CLOCK => self.saved = Some(Saved::decode(&octets).map_err(|error| damaged(error.to_string()))?),
            DOCUMENT => self.in_force.load(&octets).map_err(damaged)?,
            _ => return Err(damaged("it has an unknown name".to_owned())),
        }
        Ok(())
    }

    fn mourn(&mut self, resource: ResourceId, reason: &str) {
        self.damaged += 1;
        tracing::error!(
            resource_id = resource.short(),
            reason,
            "record on the disk cannot be read and is left alone"
        );
    }
}

impl std::fmt::Debug for Core {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Core")
            .field("summary", &self.summary())
            .finish_non_exhaustive()
    }
}

fn load_certificate(key: &Bytes, value: &Bytes) -> Result<(Hash, Bytes), LoadError> {
    let der = disk::unversioned("certificate", key, value)?;
    let hash = Hash::try_from(&**key).map_err(|error| disk::damaged("certificate", key, error))?;
    Ok((hash, der))
}

const STORE_ID: &[u8] = b"store-id";
const CLOCK: &[u8] = b"clock";
const DOCUMENT: &[u8] = b"document";

/// How often the own time is written down, and ended values are cleared away: the most that a crash adds to a life.
const TICK: Duration = Duration::from_secs(10);
