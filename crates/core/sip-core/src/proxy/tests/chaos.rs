//! Phones and edges that do anything in any order: nothing panics, and in the end nothing is left behind.

use proptest::prelude::*;

use super::scene::*;
use crate::flow::Hop;
use crate::message::{Edit, Message, Name, cancel_for};

const ALICE: Phone = Phone {
    user: "alice",
    number: 1,
    edge: 0,
};
const DESK: Phone = Phone {
    user: "bob",
    number: 2,
    edge: 0,
};
const MOBILE: Phone = Phone {
    user: "bob",
    number: 3,
    edge: 1,
};
const PHONES: [Phone; 3] = [ALICE, DESK, MOBILE];

#[derive(Debug, Clone)]
enum Act {
    Request {
        method: &'static str,
        from: usize,
        to: &'static str,
        breadth: u32,
    },
    Answer {
        phone: usize,
        code: u16,
    },
    Cancel {
        from: usize,
    },
    Repeat {
        from: usize,
    },
    Lose(usize),
    Unreachable(usize),
    Deaf(usize, bool),
    Gone(usize),
    Drain(bool),
    Wait(u64),
}

fn act() -> impl Strategy<Value = Act> {
    let method = prop::sample::select(vec!["INVITE", "INVITE", "MESSAGE", "OPTIONS", "FROBNICATE"]);
    let to = prop::sample::select(vec!["bob", "alice", "nobody"]);
    let code = prop::sample::select(vec![
        100, 180, 183, 200, 202, 302, 404, 407, 408, 430, 486, 487, 503, 600,
    ]);
    prop_oneof![
        4 => (method, 0..3usize, to, 0..70u32)
            .prop_map(|(method, from, to, breadth)| Act::Request { method, from, to, breadth }),
        8 => (0..3usize, code).prop_map(|(phone, code)| Act::Answer { phone, code }),
        2 => (0..3usize).prop_map(|from| Act::Cancel { from }),
        1 => (0..3usize).prop_map(|from| Act::Repeat { from }),
        1 => (0..2usize).prop_map(Act::Lose),
        1 => (0..2usize).prop_map(Act::Unreachable),
        1 => (0..2usize, any::<bool>()).prop_map(|(edge, is_deaf)| Act::Deaf(edge, is_deaf)),
        1 => (0..3usize).prop_map(Act::Gone),
        1 => any::<bool>().prop_map(Act::Drain),
        6 => prop::sample::select(vec![1, 60, 200, 3100, 6100, 33_000]).prop_map(Act::Wait),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn whatever_happens_nothing_is_left_behind(acts in prop::collection::vec(act(), 1..40)) {
        let mut stage = Stage { scene: Scene::new(2, &PHONES), said: Vec::new(), heard: Vec::new() };
        for act in &acts {
            stage.perform(act);
        }
        // Longer than Timer C and all that follows it.
        stage.scene.run(600_000);
        for edge in &stage.scene.edges {
            prop_assert_eq!(edge.leftovers(), "");
        }
        // And each request that was told of came to an end that was told of.
        prop_assert_eq!(stage.scene.open, Default::default());
    }
}

struct Stage {
    scene: Scene,
    said: Vec<(Phone, Message)>,
    heard: Vec<(Phone, Message)>,
}

impl Stage {
    fn perform(&mut self, act: &Act) {
        for phone in PHONES {
            let heard = self.scene.heard(phone);
            self.heard.extend(
                heard
                    .into_iter()
                    .filter(Message::is_request)
                    .map(|message| (phone, message)),
            );
        }
        let now = self.scene.now;
        match act {
            Act::Request {
                method,
                from,
                to,
                breadth,
            } => {
                let from = PHONES[*from];
                let request = request(method, from, to, &format!("Max-Breadth: {breadth}\r\n"));
                // Each request is a new one: another branch and Call-ID.
                let number = self.said.len();
                let via = format!("SIP/2.0/UDP {};branch=z9hG4bK{number}n;rport", from.address());
                let request = Edit::new(&request)
                    .set(Name::Via, via)
                    .set(Name::CallId, format!("call-{number}"))
                    .apply();
                self.scene.say(from, &request);
                self.said.push((from, request));
            }
            Act::Answer { phone, code } => {
                let request = self.heard.iter().rev().find(|(who, _)| *who == PHONES[*phone]).cloned();
                if let Some((phone, request)) = request {
                    self.scene.answer(phone, &request, *code);
                }
            }
            Act::Cancel { from } => {
                let invite = self.last(*from).filter(|(_, message)| name_of(message) == "INVITE");
                if let Some((phone, invite)) = invite {
                    self.scene.say(phone, &cancel_for(&invite));
                }
            }
            Act::Repeat { from } => {
                if let Some((phone, request)) = self.last(*from) {
                    self.scene.say(phone, &request);
                }
            }
            Act::Lose(edge) => self.scene.edges[*edge].handle_edge_lost(now, node_of(1 - edge)),
            Act::Unreachable(edge) => {
                let hop = Hop::Edge {
                    node: node_of(1 - edge),
                    home: None,
                };
                self.scene.edges[*edge].handle_unreachable(now, &hop);
            }
            Act::Deaf(edge, true) => drop(self.scene.deaf.insert(*edge)),
            Act::Deaf(edge, false) => drop(self.scene.deaf.remove(edge)),
            Act::Gone(phone) => drop(self.scene.gone.insert(PHONES[*phone])),
            Act::Drain(is_draining) => self.scene.edges[0].set_draining(is_draining.then_some(10)),
            Act::Wait(millis) => self.scene.run(*millis),
        }
    }

    fn last(&self, from: usize) -> Option<(Phone, Message)> {
        self.said.iter().rev().find(|(who, _)| *who == PHONES[from]).cloned()
    }
}
