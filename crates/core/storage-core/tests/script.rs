//! Scripts in `testdata/`: a request a line, and what comes of it. Each file has a disk of its own.
//!
//! ```text
//! store KIND at=USER PLACE t=MS v=VALUE by=SIGNER [as=SIGNER] [life=S] [gen=N]   an original; v=- is a tombstone
//! replica, merge                                                                  the same, as a copy of a peer or our own merge
//! fetch KIND at=USER [PLACE…] [gen=N], stat, find KIND at=USER
//! own USER USER                                                                  the range, behind the first up to the second
//! wait S, restart, ban NODE, disown KIND (a document without it, and one with it again)
//! ```
//! Times count from the start. `gen=last` is the counter that the last Store has answered.

#![allow(clippy::indexing_slicing, clippy::panic, reason = "helpers of tests")]

mod rig;

use std::{collections::BTreeMap, fmt::Write, time::Duration};

use bytes::Bytes;
use p2psip_storage_core::{Answer, Command};
use wire::{
    ArrayRange, DataValue, Encode, FetchAns, FetchReq, FindAns, FindReq, KindId, MessageCode, MetaDataValue,
    ModelSpecifier, ResourceId, StatAns, StatReq, StoreAns, StoredDataSpecifier, StoredDataValue,
};

use rig::{
    Rig, World, apply, decode, refusal, signed, store_body,
    world::{EPOCH, LIST, NODE, NOTE, bucket, node_id, user_name},
};

#[test]
fn scripts_come_out_as_written() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    let mut faults = String::new();
    for file in files
        .iter()
        .filter(|file| file.extension().is_some_and(|extension| extension == "txt"))
    {
        let mut script = Script::new();
        for (number, line) in std::fs::read_to_string(file).unwrap().lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            let Some((command, expected)) = line.split_once("=>") else {
                script.run(line);
                continue;
            };
            let (actual, expected) = (script.run(command), expected.trim());
            if actual != expected {
                let _ = writeln!(
                    faults,
                    "{}:{}: {command}=> {actual}, not {expected}",
                    file.display(),
                    number + 1
                );
            }
        }
    }
    assert!(faults.is_empty(), "\n{faults}");
}

struct Script {
    world: World,
    rig: Rig,
    last_generation: u64,
}

impl Script {
    fn new() -> Self {
        let world = World::new();
        Self {
            rig: Rig::new(&world),
            world,
            last_generation: 0,
        }
    }

    fn run(&mut self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let Some(verb) = words.next() else { return String::new() };
        let words: Vec<_> = words.collect();
        let options: BTreeMap<_, _> = words.iter().filter_map(|word| word.split_once('=')).collect();
        match verb {
            "store" => self.store(&words, &options, Some("by"), 0),
            "replica" => self.store(&words, &options, Some("by"), 1),
            "merge" => self.store(&words, &options, None, 1),
            "fetch" | "stat" => self.read(verb, &words, &options),
            "find" => self.find(&words, &options),
            "own" => {
                let range = (resource(words[0]).as_node_id(), resource(words[1]).as_node_id());
                let keep = Command::Keep {
                    own: range,
                    replica: range,
                };
                format!("{:?}", self.rig.run(keep)).to_lowercase()
            }
            "wait" => {
                self.rig.wait(words[0].parse().expect("seconds"));
                String::new()
            }
            "step" => {
                // The calendar alone moves.
                let step = Duration::from_secs(words[0].parse().expect("seconds"));
                self.rig.now.unix_ms += u64::try_from(step.as_millis()).expect("not long");
                String::new()
            }
            "restart" => {
                self.rig.lose_power();
                String::new()
            }
            "ban" => {
                self.world.document.sequence += 1;
                self.world.document.bad_nodes.insert(node_id(words[0]));
                let xml = self.world.signed_document();
                format!("{:?}", self.rig.run(Command::Document { xml })).to_lowercase()
            }
            "disown" => {
                let kinds = self.world.document.kinds.clone();
                self.world.document.kinds.retain(|each| each.id != kind(words[0]));
                for kinds in [self.world.document.kinds.clone(), kinds] {
                    self.world.document.kinds = kinds;
                    self.world.document.sequence += 1;
                    let xml = self.world.signed_document();
                    assert_eq!(self.rig.run(Command::Document { xml }), Answer::Done);
                }
                String::new()
            }
            other => panic!("{other} is no command"),
        }
    }

    fn store(
        &mut self,
        words: &[&str],
        options: &BTreeMap<&str, &str>,
        requester: Option<&str>,
        replica: u8,
    ) -> String {
        let (kind, resource) = (kind(words[0]), resource(options["at"]));
        let data = match options["v"] {
            "-" => DataValue::none(),
            "long" => DataValue::of(Bytes::from_static(&[7; 2000])),
            text => DataValue::of(Bytes::copy_from_slice(text.as_bytes())),
        };
        let value = match (options.get("key"), options.get("index")) {
            (Some(key), _) => StoredDataValue::Dictionary {
                key: key_of(key),
                value: data,
            },
            (_, Some(&"end")) => StoredDataValue::Array {
                index: StoredDataValue::APPEND,
                value: data,
            },
            (_, Some(index)) => StoredDataValue::Array {
                index: index.parse().expect("an index"),
                value: data,
            },
            _ => StoredDataValue::Single(data),
        };
        let time = EPOCH.saturating_add_signed(options["t"].parse().expect("milliseconds"));
        let life = options.get("life").map_or(600, |life| life.parse().expect("seconds"));
        let generation = self.generation(options, u64::from(replica));
        let signer = self.world.signer(options["by"]);
        let requester = requester.map(|by| self.world.signer(options.get("as").unwrap_or(&options[by])));
        let mut stored = signed(&signer, resource, kind, (time, life), value);
        if options.get("forged").is_some() {
            stored.storage_time += 1;
        }
        let body = store_body(resource, replica, kind, generation, vec![stored]);
        let mut signers = vec![&signer];
        signers.extend(&requester);
        let command = apply(MessageCode::STORE_REQ, body, bucket(&signers), requester.as_ref());
        let answer = self.rig.run(command);
        if let Answer::Applied { body, .. } = &answer {
            let answer: StoreAns = decode(body, &self.world);
            self.last_generation = answer.kind_responses[0].generation_counter;
        }
        outcome(&answer, |_, replicas| {
            if replicas == 0 {
                "ok".to_owned()
            } else {
                format!("ok+{replicas}")
            }
        })
    }

    fn read(&mut self, verb: &str, words: &[&str], options: &BTreeMap<&str, &str>) -> String {
        let (kind, resource) = (kind(words[0]), resource(options["at"]));
        let models = self.world.document.kind(kind).map(|kind| kind.data_model);
        let keys = options
            .get("key")
            .into_iter()
            .flat_map(|keys| keys.split(','))
            .map(key_of)
            .collect();
        let ranges = options.get("index").unwrap_or(&"0-end").split(',').map(range).collect();
        let model = match models {
            Some(wire::DataModel::Dictionary) => ModelSpecifier::Dictionary(keys),
            Some(wire::DataModel::Array) => ModelSpecifier::Array(ranges),
            _ => ModelSpecifier::Single,
        };
        let specifiers = vec![StoredDataSpecifier {
            kind,
            generation: self.generation(options, 0),
            model,
        }];
        let (code, body) = match verb {
            "fetch" => (MessageCode::FETCH_REQ, FetchReq { resource, specifiers }.to_bytes()),
            _ => (MessageCode::STAT_REQ, StatReq { resource, specifiers }.to_bytes()),
        };
        let answer = self.rig.run(apply(code, body, Vec::new(), None));
        let world = &self.world;
        outcome(&answer, |body, _| match verb {
            "fetch" => {
                let answer: FetchAns = decode(body, world);
                let shown = answer.kind_responses[0].values.iter().map(|data| {
                    let is_signed = data.signature != wire::Signature::none();
                    show(&data.value, is_signed) + &format!("/{}", data.lifetime)
                });
                let mut shown: Vec<_> = shown.collect();
                shown.sort();
                shown.join(" ")
            }
            _ => {
                let answer: StatAns = decode(body, world);
                let shown = answer.kind_responses[0].values.iter().map(|data| {
                    let (MetaDataValue::Single(meta)
                    | MetaDataValue::Array { value: meta, .. }
                    | MetaDataValue::Dictionary { value: meta, .. }) = &data.metadata
                    else {
                        panic!("a model is known")
                    };
                    let hash = wire::hex::encode(&meta.hash_value[..4]);
                    format!("{}:{}:{hash}", meta.exists, meta.value_length)
                });
                shown.collect::<Vec<_>>().join(" ")
            }
        })
    }

    fn find(&mut self, words: &[&str], options: &BTreeMap<&str, &str>) -> String {
        let body = FindReq {
            resource: resource(options["at"]),
            kinds: vec![kind(words[0])],
        }
        .to_bytes();
        let answer = self.rig.run(apply(MessageCode::FIND_REQ, body, Vec::new(), None));
        outcome(&answer, |body, _| {
            let answer: FindAns = decode(body, &self.world);
            let closest = answer.results[0].closest;
            let users = ["alice", "bob"].into_iter().find(|user| resource(user) == closest);
            users
                .unwrap_or(if closest == ResourceId::ZERO { "none" } else { "?" })
                .to_owned()
        })
    }

    fn generation(&self, options: &BTreeMap<&str, &str>, default: u64) -> u64 {
        match options.get("gen") {
            None => default,
            Some(&"last") => self.last_generation,
            Some(generation) => generation.parse().expect("a counter"),
        }
    }
}

fn outcome(answer: &Answer, applied: impl Fn(&Bytes, usize) -> String) -> String {
    match answer {
        Answer::Applied { body, replicas, .. } => applied(body, replicas.len()),
        other => refusal(other).map_or_else(|| "?".to_owned(), |code| code.to_string().replace("Error_", "")),
    }
}

fn show(value: &StoredDataValue, is_signed: bool) -> String {
    let data = value.value().expect("a model is known");
    let place = match value {
        StoredDataValue::Array { index, .. } => index.to_string(),
        StoredDataValue::Dictionary { key, .. } => {
            let names = ["e1", "e2", "n1", "u"];
            names
                .into_iter()
                .find(|name| key_of(name) == key)
                .unwrap_or("?")
                .to_owned()
        }
        _ => String::new(),
    };
    let text = match (data.exists, is_signed) {
        (true, _) => String::from_utf8_lossy(&data.value).into_owned(),
        (false, true) => "-".to_owned(),
        (false, false) => "?".to_owned(),
    };
    format!("{place}:{text}")
}

fn range(text: &str) -> ArrayRange {
    let index = |text: &str| {
        if text == "end" {
            u32::MAX
        } else {
            text.parse().expect("an index")
        }
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    ArrayRange {
        first: index(first),
        last: index(last),
    }
}

fn kind(name: &str) -> KindId {
    match name {
        "sip" => KindId::SIP_REGISTRATION,
        "user" => KindId::P2PSIP_USER,
        "probe" => KindId::P2PSIP_PROBE,
        "note" => NOTE,
        "list" => LIST,
        "node" => NODE,
        other => KindId(other.parse().expect("a Kind")),
    }
}

fn resource(name: &str) -> ResourceId {
    match name.split_once(':') {
        Some(("node", node)) => ResourceId::of(node_id(node).as_bytes()),
        Some((i, node)) => {
            ResourceId::of(&[node_id(node).as_bytes().as_slice(), &[i.parse().expect("a counter")]].concat())
        }
        None => ResourceId::of(user_name(name).as_bytes()),
    }
}

fn key_of(name: &str) -> Bytes {
    Bytes::copy_from_slice(node_id(name).as_bytes())
}
