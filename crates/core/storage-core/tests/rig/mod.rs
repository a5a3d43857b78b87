//! A core on a disk that forgets what was not flushed.

#![allow(dead_code, reason = "each test program uses a part of it")]

pub(crate) mod world;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Instant,
};

use bytes::Bytes;
use identity::{Sign, Signer, sign_value};
use p2psip_storage_core::{Answer, BatchId, Command, CommandId, Core, Output, Put, Settings, Tree};
use wire::{
    Decode, Encode, ErrorCode, KindId, MessageCode, Models, Now, ResourceId, StoreKindData, StoreReq, StoredData,
    StoredDataValue,
};

pub(crate) use world::World;

/// A core with its disk and its clock.
pub(crate) struct Rig {
    pub(crate) now: Now,
    pub(crate) core: Core,
    pub(crate) disk: BTreeMap<(Tree, Bytes), Bytes>,
    /// Batches that were written and not yet flushed.
    pub(crate) unflushed: VecDeque<(BatchId, Vec<Put>)>,
    pub(crate) answers: VecDeque<(CommandId, Answer)>,
    settings: Settings,
    next: u64,
}

impl Rig {
    pub(crate) fn new(world: &World) -> Self {
        Self::with(world, Settings::default())
    }

    pub(crate) fn with(world: &World, settings: Settings) -> Self {
        #[allow(
            clippy::disallowed_methods,
            reason = "any instant will do, there is no other way to one"
        )]
        let now = Now {
            instant: Instant::now(),
            unix_ms: world::EPOCH,
        };
        let core = Core::new(
            now,
            Settings {
                store_id: [1; 16],
                ..settings
            },
        );
        let (disk, unflushed, answers) = (BTreeMap::new(), VecDeque::new(), VecDeque::new());
        let mut rig = Self {
            now,
            core,
            disk,
            unflushed,
            answers,
            settings,
            next: 0,
        };
        rig.core.start(now);
        assert_eq!(
            rig.run(Command::Document {
                xml: world.signed_document()
            }),
            Answer::Done
        );
        rig
    }

    /// Gives a command, without flushing anything.
    pub(crate) fn give(&mut self, command: Command) -> CommandId {
        let id = CommandId(self.next);
        self.next += 1;
        self.core.handle_command(self.now, id, command);
        self.drain();
        id
    }

    /// Flushes the oldest batch.
    pub(crate) fn flush_one(&mut self) {
        if let Some((batch, puts)) = self.unflushed.pop_front() {
            for (tree, key, value) in puts {
                match value {
                    Some(value) => self.disk.insert((tree, key), value),
                    None => self.disk.remove(&(tree, key)),
                };
            }
            self.core.handle_flushed(self.now, batch);
            self.drain();
        }
    }

    /// Gives a command, flushes, and takes its answer.
    pub(crate) fn run(&mut self, command: Command) -> Answer {
        let id = self.give(command);
        while !self.unflushed.is_empty() {
            self.flush_one();
        }
        let place = self
            .answers
            .iter()
            .position(|(of, _)| *of == id)
            .expect("every command is answered");
        self.answers.remove(place).expect("it is there").1
    }

    /// Ends the process and starts it again; what was not flushed is gone.
    pub(crate) fn lose_power(&mut self) {
        self.unflushed.clear();
        self.answers.clear();
        let mut core = Core::new(
            self.now,
            Settings {
                store_id: [2; 16],
                ..self.settings
            },
        );
        for ((tree, key), value) in &self.disk {
            core.load(*tree, key.clone(), value.clone()).expect("its own octets");
        }
        core.start(self.now);
        self.core = core;
        self.drain();
    }

    pub(crate) fn wait(&mut self, seconds: u64) {
        self.now = self.now.plus(std::time::Duration::from_secs(seconds));
        self.core.handle_timeout(self.now);
        self.drain();
    }

    fn drain(&mut self) {
        loop {
            match self.core.poll_output() {
                Output::Write { batch, puts } => self.unflushed.push_back((batch, puts)),
                Output::Answer(id, answer) => self.answers.push_back((id, answer)),
                Output::Timeout(_) => break,
            }
        }
    }
}

/// A value that is signed for its place.
pub(crate) fn signed(
    signer: &Signer,
    resource: ResourceId,
    kind: KindId,
    (storage_time, lifetime): (u64, u32),
    value: StoredDataValue,
) -> StoredData {
    let signature = sign_value(signer, resource, kind, storage_time, &value);
    StoredData {
        storage_time,
        lifetime,
        value,
        signature,
    }
}

/// A Store of values of one Kind.
pub(crate) fn store_body(
    resource: ResourceId,
    replica_number: u8,
    kind: KindId,
    generation_counter: u64,
    values: Vec<StoredData>,
) -> Bytes {
    let kind_data = vec![StoreKindData {
        kind,
        generation_counter,
        values,
    }];
    StoreReq {
        resource,
        replica_number,
        kind_data,
    }
    .to_bytes()
}

pub(crate) fn apply(code: MessageCode, body: Bytes, certificates: Vec<Bytes>, signer: Option<&Signer>) -> Command {
    let signer = signer.map(|signer| signer.certificates()[0].clone());
    Command::Apply {
        code: code.0,
        body,
        certificates,
        signer,
    }
}

/// The document's data models, and the rig's own.
pub(crate) fn models(world: &World) -> impl Models {
    world.document.models()
}

pub(crate) fn decode<T: Decode>(body: &Bytes, world: &World) -> T {
    T::from_bytes_with(body, &models(world)).expect("a good answer")
}

/// Names a refusal as RFC 6940 does.
pub(crate) fn refusal(answer: &Answer) -> Option<ErrorCode> {
    match answer {
        Answer::Refused { code, .. } => Some(ErrorCode::from(*code)),
        _ => None,
    }
}
