//! After a change of a user's record: which edges are to be told of it, and which have been.
//!
//! An edge uses what it has cached of a record for minutes. So the service asks the overlay which edges have registered the user, and sends each
//! of them a Ping that names the record (docs/deviations.md, D42). A value: it says what to ask, takes the answers, and keeps nothing on disk.

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rpc::proto::bootstrap::v1 as proto;
use usage::sip::{Judge, Serving};
use wire::{
    Body, Changed, Decode as _, Destination, Encode as _, KindId, MessageContents, NodeId, PingReq, ResourceId,
};

/// An answer of the overlay, or of an edge, is waited for so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);
/// Requests that the overlay is asked to send at once.
pub(crate) const ASKS: usize = 32;
/// Requests that wait for that; beyond it the edges of the newest change are not told.
const QUEUE: usize = 4096;
/// Outcomes that are kept to be asked for; beyond it the oldest goes.
const KEPT: usize = 1024;

/// The changes and how far they are told.
#[derive(Default)]
pub(super) struct Notices {
    /// Users whom an operator has changed, until the overlay has acknowledged that.
    wanted: BTreeSet<String>,
    by_aor: BTreeMap<String, Notice>,
    /// Those of `by_aor` that are over, the oldest first.
    over: VecDeque<(String, u64)>,
    queue: VecDeque<Question>,
    asked: BTreeMap<u64, Asked>,
    asks: u64,
}

/// A request to the overlay whose answer is wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ask {
    pub(crate) destinations: Vec<Destination>,
    pub(crate) contents: Bytes,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) contents: Bytes,
    pub(crate) certificates: Vec<Bytes>,
}

struct Notice {
    version: u64,
    /// Requests without an answer.
    open: usize,
    told: Vec<NodeId>,
    untold: Vec<NodeId>,
    /// Whether the overlay said which edges there are.
    is_complete: bool,
}

#[derive(Clone)]
struct Question {
    aor: String,
    version: u64,
    what: What,
}

#[derive(Clone)]
enum What {
    /// Which edges have registered the user?
    Edges,
    /// Does this edge know of the change?
    Edge {
        node: NodeId,
        way: Vec<Destination>,
        generation: u64,
    },
}

struct Asked {
    question: Question,
    until: Instant,
}

impl Notices {
    /// An operator has changed a user: the edges are told once the overlay has that.
    pub(super) fn want(&mut self, aor: &str) {
        self.wanted.insert(aor.to_owned());
    }

    /// The overlay has acknowledged a version of a record.
    pub(super) fn published(&mut self, aor: &str, version: u64) {
        if !self.wanted.remove(aor) {
            return;
        }
        let notice = Notice {
            version,
            open: 1,
            told: Vec::new(),
            untold: Vec::new(),
            is_complete: false,
        };
        self.by_aor.insert(aor.to_owned(), notice);
        let question = Question {
            aor: aor.to_owned(),
            version,
            what: What::Edges,
        };
        self.put(question);
    }

    /// The next request to send, and by which id its answer is known.
    pub(super) fn next(&mut self, now: Instant) -> Option<(u64, Ask)> {
        if self.asked.len() >= ASKS {
            return None;
        }
        let question = self.queue.pop_front()?;
        let id = FIRST_ID + self.asks;
        self.asks += 1;
        let ask = question.ask();
        let until = now + PATIENCE;
        self.asked.insert(id, Asked { question, until });
        Some((id, ask))
    }

    /// Takes the answer to a request, none when there is none; `read` says which edges the answer to a Fetch of an AOR names.
    pub(super) fn answered(
        &mut self,
        id: u64,
        answer: Option<&Answer>,
        read: impl FnOnce(&str, &Answer) -> Option<Serving>,
    ) {
        let Some(Asked { question, .. }) = self.asked.remove(&id) else {
            return;
        };
        match &question.what {
            What::Edges => {
                let serving = answer.and_then(|answer| read(&question.aor, answer));
                self.edges_found(&question, serving);
            }
            What::Edge { node, .. } => {
                let node = *node;
                let is_told = answer.is_some_and(Answer::is_pong);
                self.edge_asked(&question, node, is_told);
            }
        }
        self.conclude(&question.aor);
    }

    /// Gives up requests that were not answered in time.
    pub(super) fn expire(&mut self, now: Instant) {
        let is_late = |asked: &Asked| asked.until <= now;
        let late: Vec<u64> = self
            .asked
            .iter()
            .filter(|(_, asked)| is_late(asked))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            self.answered(id, None, |_, _| None);
        }
    }

    /// Others are to be asked what has no answer yet, before anything else.
    pub(super) fn ask_again(&mut self) {
        for asked in std::mem::take(&mut self.asked).into_values().rev() {
            self.queue.push_front(asked.question);
        }
    }

    /// Nothing can be asked any more: what is open has no answer.
    pub(super) fn cut_off(&mut self) {
        let asked: Vec<u64> = self.asked.keys().copied().collect();
        for id in asked {
            self.answered(id, None, |_, _| None);
        }
        for question in std::mem::take(&mut self.queue) {
            self.drop_question(&question);
        }
    }

    /// When a request without an answer is given up.
    pub(super) fn next_timeout(&self) -> Option<Instant> {
        self.asked.values().map(|asked| asked.until).min()
    }

    /// How a version was told, once that is over.
    pub(super) fn of(&self, aor: &str, version: u64) -> Option<proto::Notice> {
        let notice = self
            .by_aor
            .get(aor)
            .filter(|notice| notice.version == version && notice.open == 0)?;
        let octets = |nodes: &[NodeId]| nodes.iter().map(|node| node.as_bytes().to_vec().into()).collect();
        Some(proto::Notice {
            told: octets(&notice.told),
            untold: octets(&notice.untold),
            is_complete: notice.is_complete,
        })
    }

    fn edges_found(&mut self, question: &Question, serving: Option<Serving>) {
        let Some(notice) = self.notice(question) else { return };
        notice.open = notice.open.saturating_sub(1);
        notice.is_complete = serving.is_some();
        let Serving { routes, generation } = serving.unwrap_or_default();
        notice.open += routes.len();
        for route in routes {
            let what = What::Edge {
                node: route.edge,
                way: route.destination_list(),
                generation,
            };
            self.put(Question {
                what,
                ..question.clone()
            });
        }
    }

    fn edge_asked(&mut self, question: &Question, node: NodeId, is_told: bool) {
        let Some(notice) = self.notice(question) else { return };
        notice.open = notice.open.saturating_sub(1);
        let nodes = if is_told { &mut notice.told } else { &mut notice.untold };
        nodes.push(node);
    }

    fn put(&mut self, question: Question) {
        if self.queue.len() < QUEUE {
            self.queue.push_back(question);
        } else {
            self.drop_question(&question);
        }
    }

    fn drop_question(&mut self, question: &Question) {
        match question.what {
            What::Edges => self.edges_found(question, None),
            What::Edge { node, .. } => self.edge_asked(question, node, false),
        }
        self.conclude(&question.aor);
    }

    /// The notice that a question belongs to, unless a newer version has replaced it.
    fn notice(&mut self, question: &Question) -> Option<&mut Notice> {
        let notice = self.by_aor.get_mut(&question.aor);
        notice.filter(|notice| notice.version == question.version)
    }

    fn conclude(&mut self, aor: &str) {
        let Some(notice) = self.by_aor.get(aor).filter(|notice| notice.open == 0) else {
            return;
        };
        let row = (aor.to_owned(), notice.version);
        if self.over.back() != Some(&row) {
            self.over.push_back(row);
        }
        while self.over.len() > KEPT {
            let Some((aor, version)) = self.over.pop_front() else {
                return;
            };
            if self.by_aor.get(&aor).is_some_and(|notice| notice.version == version) {
                self.by_aor.remove(&aor);
            }
        }
    }
}

impl Question {
    fn ask(&self) -> Ask {
        let resource = ResourceId::of(self.aor.as_bytes());
        match &self.what {
            What::Edges => Ask {
                destinations: vec![Destination::Resource(resource)],
                contents: MessageContents::of(&usage::sip::fetch(&self.aor).into()).to_bytes(),
            },
            What::Edge { way, generation, .. } => {
                let changed = Changed {
                    resource,
                    kind: KindId::P2PSIP_USER,
                    generation_counter: *generation,
                };
                let contents = MessageContents {
                    extensions: vec![changed.to_extension()],
                    ..MessageContents::of(&PingReq::default().into())
                };
                Ask {
                    destinations: way.clone(),
                    contents: contents.to_bytes(),
                }
            }
        }
    }
}

impl Answer {
    /// The edges that it names as serving an AOR.
    pub(super) fn serving(&self, aor: &str, judge: &Judge<'_>) -> Option<Serving> {
        let contents = MessageContents::from_bytes(&self.contents).ok()?;
        judge.serving(aor, &contents.body, &self.certificates).ok()
    }

    fn is_pong(&self) -> bool {
        let body = MessageContents::from_bytes(&self.contents).and_then(|contents| contents.body());
        matches!(body, Ok(Body::PingAns(_)))
    }
}

/// Ids of requests begin here; those of the outbox never come so far.
pub(crate) const FIRST_ID: u64 = 1 << 63;
