//! One node, told what happens around it, line by line, in the text files of `testdata/`.
//!
//! A block is a few commands, a line `----`, what the node did, and an empty line. Places on the ring are written as
//! their first two hex digits. `P2PSIP_REWRITE=1 cargo test -p p2psip-chord` writes what the node does now into the
//! files; review the difference by reading it.

#![allow(
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test has an origin in time, and stops at the first line that it cannot read"
)]

use std::{
    env,
    fmt::Write as _,
    fs,
    path::Path,
    time::{Duration, Instant},
};

use p2psip_chord::{self as chord, AttachId, Chord, Output, Role, Route, Settings, Target};
use wire::{ChordLeave, ChordUpdate, ChordUpdateKind, NodeId, Now, ResourceId};

#[test]
fn nodes_do_what_the_scenarios_say() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let played = play(&text);
        if env::var_os("P2PSIP_REWRITE").is_some() {
            fs::write(&file, played).unwrap();
        } else {
            assert_eq!(played, text, "{}", file.display());
        }
    }
}

#[test]
fn other_settings_count_at_once() {
    let told = |next: Duration| {
        let mut node = Node::new(0x10, 3);
        let every = |update_interval| Settings {
            list_length: 3,
            update_interval,
            ..Settings::default()
        };
        node.chord.set_settings(node.now, every(Duration::from_secs(3600)));
        for command in ["form", "up 20", "update 20 p=10 s=10", "wait 60000"] {
            node.execute(command);
        }
        node.chord.set_settings(node.now, every(next));
        node.execute("wait 15000").matches("tell 20").count()
    };
    assert_eq!(told(Duration::from_secs(3600)), 0);
    assert_eq!(told(Duration::from_secs(10)), 1);
}

fn play(text: &str) -> String {
    let mut node = Node::new(0x10, 3);
    let mut played = String::new();
    for block in text.trim_end().split("\n\n") {
        let commands = block.split("\n----").next().unwrap();
        let _ = write!(played, "{commands}\n----\n");
        for command in commands.lines().filter(|line| !line.starts_with('#')) {
            let done = node.execute(command);
            played.push_str(&done);
        }
        played.push('\n');
    }
    let end = played.trim_end().len();
    played.truncate(end);
    played.push('\n');
    played
}

struct Node {
    chord: Chord,
    now: Now,
}

impl Node {
    fn new(own: u8, list_length: usize) -> Self {
        let now = Now {
            instant: Instant::now(),
            unix_ms: 0,
        };
        let settings = Settings {
            list_length,
            ..Settings::default()
        };
        Self {
            chord: Chord::new(now, id(own), settings, 1),
            now,
        }
    }

    fn execute(&mut self, command: &str) -> String {
        let words: Vec<&str> = command.split_whitespace().collect();
        let now = self.now;
        let place = |index: usize| id(u8::from_str_radix(words[index], 16).unwrap());
        let number = |index: usize| words[index].parse::<u64>().unwrap();
        match words[0] {
            "node" => *self = Self::new(u8::from_str_radix(words[1], 16).unwrap(), 3),
            "form" => self.chord.form(now),
            "join" => self.chord.begin_join(now),
            "choose" => self.chord.choose_admitting_peer(now, place(1)),
            "admit" => {
                if let Err(misplaced) = self.chord.admit(now, place(1)) {
                    let (joining, admitting) = (short(misplaced.joining), short(misplaced.admitting));
                    return format!("refused: {joining} is not before {admitting}\n");
                }
            }
            "up" => words[1..]
                .iter()
                .enumerate()
                .for_each(|(index, _)| self.chord.handle_link_up(now, place(index + 1), Role::Peer)),
            "client" => self.chord.handle_link_up(now, place(1), Role::Client),
            "down" => self.chord.handle_link_down(now, place(1)),
            "suspect" => self.chord.handle_suspect(now, place(1), true),
            "trust" => self.chord.handle_suspect(now, place(1), false),
            "update" => self.chord.handle_update(now, place(1), &update(&words[2..])),
            "left" => self.chord.handle_leave(now, place(1)),
            "leave" => self.chord.leave(now),
            "attached" => self.chord.handle_attached(now, AttachId(number(1)), place(2)),
            "failed" => self.chord.handle_attach_failed(now, AttachId(number(1))),
            "full" => self.chord.send_full_update(now, place(1)),
            "wait" => return self.wait(Duration::from_millis(number(1))),
            "show" => return self.show(),
            "route" => return self.route(&words),
            "plausible" => {
                let is_plausible = self.chord.is_plausible_responder(place(1), place(2).into());
                return format!("{is_plausible}\n");
            }
            "owner" => {
                return format!(
                    "{}\n",
                    self.chord.owner_of(place(1).into()).map_or("unknown".into(), short)
                );
            }
            other => panic!("{other} is no command"),
        }
        self.drain()
    }

    /// Lets time pass, timer by timer.
    fn wait(&mut self, time: Duration) -> String {
        let end = self.now.instant + time;
        let mut done = String::new();
        loop {
            match self.chord.poll_output() {
                Output::Timeout(at) if at > end => break,
                Output::Timeout(at) => {
                    self.now = self.now.plus(at.saturating_duration_since(self.now.instant));
                    self.chord.handle_timeout(self.now);
                }
                output => done.push_str(&line(&output)),
            }
        }
        self.now = self.now.plus(end.saturating_duration_since(self.now.instant));
        done
    }

    fn drain(&mut self) -> String {
        let mut done = String::new();
        loop {
            match self.chord.poll_output() {
                Output::Timeout(_) => return done,
                output => done.push_str(&line(&output)),
            }
        }
    }

    fn show(&self) -> String {
        let range = self.chord.own_range().map_or("nothing".into(), |range| {
            format!("({}, {}]", short(range.after), short(range.until))
        });
        let fingers: Vec<NodeId> = self.chord.fingers().collect();
        format!(
            "{:?}, owns {range}, predecessors {}, successors {}, fingers {}\n",
            self.chord.standing(),
            list(self.chord.predecessors()),
            list(self.chord.successors()),
            list(&fingers)
        )
    }

    /// `route node|resource PLACE [not PLACE…]`
    fn route(&self, words: &[&str]) -> String {
        let place = |word: &&str| id(u8::from_str_radix(word, 16).unwrap());
        let exclude: Vec<NodeId> = words.iter().skip(4).map(place).collect();
        let to = place(&words[2]);
        let route = match words[1] {
            "node" => self.chord.route(to, &exclude),
            _ => self.chord.route(ResourceId::from(to), &exclude),
        };
        match route {
            Route::Here => "here\n".into(),
            Route::Next(next) => format!("to {}\n", short(next)),
            Route::None => "nowhere\n".into(),
        }
    }
}

fn update(words: &[&str]) -> ChordUpdate {
    let nodes = |word: &str| -> Vec<NodeId> {
        let places = word
            .split_once('=')
            .unwrap()
            .1
            .split(',')
            .filter(|place| !place.is_empty());
        places.map(|place| id(u8::from_str_radix(place, 16).unwrap())).collect()
    };
    let kind = match words {
        ["ready"] => ChordUpdateKind::PeerReady,
        [predecessors, successors] => ChordUpdateKind::Neighbors {
            predecessors: nodes(predecessors),
            successors: nodes(successors),
        },
        other => panic!("{other:?} is no Update"),
    };
    ChordUpdate { uptime: 1, kind }
}

fn line(output: &Output) -> String {
    match output {
        Output::Attach {
            id,
            target: Target::Node { node, via },
            ..
        } => {
            let via = via.map(|via| format!(" via {}", short(via))).unwrap_or_default();
            format!("attach {} to {}{via}\n", id.0, short(*node))
        }
        Output::Attach {
            id,
            target: Target::Resource(place),
            ..
        } => format!("attach {} near {}\n", id.0, short(place.as_node_id())),
        Output::SendUpdate { to, update } => format!("tell {}: {}\n", short(*to), kind(&update.kind)),
        Output::SendLeave {
            to,
            leave: ChordLeave::FromSuccessor { successors },
        } => format!("leave {}: s={}\n", short(*to), list(successors)),
        Output::SendLeave {
            to,
            leave: ChordLeave::FromPredecessor { predecessors },
        } => format!("leave {}: p={}\n", short(*to), list(predecessors)),
        Output::RequestUpdate(node) => format!("request update of {}\n", short(*node)),
        Output::Probe(node) => format!("probe {}\n", short(*node)),
        Output::ReadyToJoin { admitting } => format!("ask {} to join\n", short(*admitting)),
        Output::RangeChanged { old, new } => {
            let range = |range: &Option<chord::Range>| {
                range.map_or("nothing".into(), |range| {
                    format!("({}, {}]", short(range.after), short(range.until))
                })
            };
            format!("range {} -> {}\n", range(old), range(new))
        }
        other => format!("{other:?}\n"),
    }
}

fn kind(kind: &ChordUpdateKind) -> String {
    match kind {
        ChordUpdateKind::PeerReady => "ready".into(),
        ChordUpdateKind::Neighbors {
            predecessors,
            successors,
        } => format!("p={} s={}", list(predecessors), list(successors)),
        ChordUpdateKind::Full {
            predecessors,
            successors,
            fingers,
        } => {
            format!("p={} s={} f={}", list(predecessors), list(successors), list(fingers))
        }
    }
}

fn id(front: u8) -> NodeId {
    NodeId::from_u128(u128::from(front) << 120)
}

fn short(node: NodeId) -> String {
    format!("{:02x}", node.to_u128() >> 120)
}

fn list(nodes: &[NodeId]) -> String {
    nodes.iter().copied().map(short).collect::<Vec<_>>().join(",")
}
