//! The ladder of one call: SIP and RELOAD messages in one picture, a line for each message.
//!
//! [`choose`] takes the messages of the call out of all that was recorded and turns them into arrows between lifelines;
//! [`Ladder::draw`] makes the picture. Both are plain functions of recorded steps.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use super::record::{Protocol, Step};

/// Who is who in the picture.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cast {
    /// Phones by their address, `udp 127.0.0.1:7001`.
    pub(crate) phones: BTreeMap<String, String>,
    /// Edges by Node-ID, with the number of their peer.
    pub(crate) edges: BTreeMap<String, usize>,
    /// Overlay peers by Node-ID, with their number.
    pub(crate) peers: BTreeMap<String, usize>,
}

/// One lifeline, in the order of the picture.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Line {
    Caller(String),
    CallerEdge(usize),
    Peer(usize),
    CalleeEdge(usize),
    Callee(String),
}

/// One message between two lifelines.
#[derive(Clone, Debug)]
struct Arrow {
    at: Instant,
    from: Line,
    to: Line,
    protocol: Protocol,
    text: String,
}

/// The picture of one call.
#[derive(Clone, Debug)]
pub(crate) struct Ladder {
    arrows: Vec<Arrow>,
}

/// Which call is drawn.
#[derive(Clone, Debug)]
pub(crate) struct Scope<'a> {
    /// Address of the calling phone, as in [`Cast::phones`].
    pub(crate) caller: &'a str,
    /// The Request-URI of its INVITE.
    pub(crate) callee_uri: &'a str,
    /// The Resource-IDs of both users.
    pub(crate) resources: &'a [String],
}

/// Takes the call's messages out of all steps: the SIP messages with its Call-ID, and the Fetches of its users and the
/// AppAttaches while it lasted. `None` if there is no such call.
pub(crate) fn choose(steps: &[Step], scope: &Scope<'_>, cast: &Cast) -> Option<Ladder> {
    let invite = format!("INVITE {}", scope.callee_uri);
    let first = steps
        .iter()
        .find(|step| step.other == scope.caller && step.text == invite)?;
    let is_of_call = |step: &&Step| step.protocol == Protocol::Sip && step.id == first.id;
    let last = steps.iter().rfind(is_of_call)?;
    let during: Vec<&Step> = steps
        .iter()
        .filter(|step| (first.at..=last.at).contains(&step.at))
        .collect();
    let transactions: BTreeSet<&str> = during
        .iter()
        .filter(|step| step.protocol == Protocol::Reload && is_for_call(step, scope))
        .map(|step| step.id.as_str())
        .collect();
    let stage = Stage::new(&during, scope, cast);
    let chosen = during.iter().filter(|step| match step.protocol {
        Protocol::Sip => step.id == first.id,
        Protocol::Reload => transactions.contains(step.id.as_str()),
    });
    let mut arrows = Vec::new();
    for step in chosen {
        stage.enter(step, &mut arrows);
    }
    // A stable sort: what was put in front of a message of the same instant stays there.
    arrows.sort_by_key(|arrow| arrow.at);
    Some(Ladder { arrows })
}

/// Whether a request is one that calls cause.
fn is_for_call(step: &Step, scope: &Scope<'_>) -> bool {
    match step.text.as_str() {
        "FetchReq" => step
            .resource
            .as_ref()
            .is_some_and(|resource| scope.resources.contains(resource)),
        "AppAttachReq" => true,
        _ => false,
    }
}

/// Turns steps into arrows. An edge and its overlay talk gRPC, and only requests toward the overlay are recorded there: the
/// way back is known from the requests.
struct Stage<'a> {
    cast: &'a Cast,
    caller: &'a str,
    caller_edge: Option<usize>,
    /// For each transaction: the edge that asked, and the peer that it asked.
    askers: BTreeMap<&'a str, (Line, Line)>,
    /// Transactions of which only one message was seen: the peer that was asked knew the answer.
    lone: BTreeSet<&'a str>,
}

impl<'a> Stage<'a> {
    fn new(steps: &[&'a Step], scope: &'a Scope<'_>, cast: &'a Cast) -> Self {
        let at_caller = steps.iter().find(|step| step.other == scope.caller);
        let caller_edge = at_caller.and_then(|step| cast.edges.get(&step.node).copied());
        let mut stage = Self {
            cast,
            caller: scope.caller,
            caller_edge,
            askers: BTreeMap::new(),
            lone: BTreeSet::new(),
        };
        let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
        for step in steps.iter().filter(|step| step.protocol == Protocol::Reload) {
            *seen.entry(&step.id).or_default() += 1;
        }
        stage.lone = seen
            .into_iter()
            .filter(|(_, count)| *count == 1)
            .map(|(id, _)| id)
            .collect();
        for step in steps.iter().filter(|step| step.text.ends_with("Req")) {
            if let (Some(edge), Some(peer)) = (stage.edge(&step.other), stage.line(&step.node)) {
                stage.askers.entry(&step.id).or_insert((edge, peer));
            }
        }
        stage
    }

    /// Adds the arrow of a step, and those around it that nobody recorded.
    fn enter(&self, step: &Step, arrows: &mut Vec<Arrow>) {
        let (Some(node), Some(other)) = (self.line(&step.node), self.line(&step.other)) else {
            return;
        };
        let (from, to) = if step.is_sent { (node, other) } else { (other, node) };
        let arrow = |from: &Line, to: &Line, text: String| Arrow {
            at: step.at,
            from: from.clone(),
            to: to.clone(),
            protocol: step.protocol,
            text,
        };
        let is_request = step.text.ends_with("Req");
        if step.protocol == Protocol::Reload && !is_request && matches!(from, Line::CallerEdge(_) | Line::CalleeEdge(_))
        {
            // An edge answers what its overlay handed to it a moment ago.
            arrows.push(arrow(&to, &from, request_of(&step.text)));
        }
        let mut text = label(step);
        if is_request && self.lone.contains(step.id.as_str()) {
            text += ", answered here";
        }
        arrows.push(arrow(&from, &to, text));
        if step.protocol == Protocol::Reload
            && !is_request
            && let Some((asker, home)) = self.askers.get(step.id.as_str())
            && *home == to
            && *asker != from
        {
            arrows.push(arrow(home, asker, step.text.clone()));
        }
    }

    fn line(&self, name: &str) -> Option<Line> {
        if let Some(phone) = self.cast.phones.get(name) {
            let is_caller = name == self.caller;
            return Some(if is_caller {
                Line::Caller(phone.clone())
            } else {
                Line::Callee(phone.clone())
            });
        }
        self.edge(name)
            .or_else(|| self.cast.peers.get(name).copied().map(Line::Peer))
    }

    fn edge(&self, name: &str) -> Option<Line> {
        let edge = self.cast.edges.get(name).copied()?;
        let is_callers = self.caller_edge == Some(edge);
        Some(if is_callers {
            Line::CallerEdge(edge)
        } else {
            Line::CalleeEdge(edge)
        })
    }
}

/// The request that an answer is for.
fn request_of(answer: &str) -> String {
    match answer.strip_suffix("Ans") {
        Some(method) => format!("{method}Req"),
        None => "request".to_owned(),
    }
}

/// What is written beside an arrow.
fn label(step: &Step) -> String {
    let mut text = step.text.clone();
    if let Some(resource) = &step.resource {
        text += &format!(" for {}", short(resource));
    }
    if let Some(ttl) = step.ttl.filter(|_| step.text.ends_with("Req")) {
        text += &format!(", TTL {ttl}");
    }
    text
}

/// The eight digits by which people know an id.
pub(crate) fn short(id: &str) -> &str {
    id.get(..8).unwrap_or(id)
}

impl Ladder {
    /// How long the call took to be answered: from the INVITE to its last 200 at the caller.
    pub(crate) fn setup_time(&self) -> Option<Duration> {
        let first = self.arrows.first()?;
        let is_answer = |arrow: &&Arrow| {
            matches!(arrow.to, Line::Caller(_)) && arrow.text.starts_with("200") && arrow.text.contains("INVITE")
        };
        let answer = self.arrows.iter().find(is_answer)?;
        Some(answer.at.saturating_duration_since(first.at))
    }

    /// Makes the picture, at most `WIDTH` columns wide.
    pub(crate) fn draw(&self, has_colours: bool) -> String {
        let lines: Vec<&Line> = self
            .arrows
            .iter()
            .flat_map(|arrow| [&arrow.from, &arrow.to])
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect();
        let Some(first) = self.arrows.first() else {
            return String::new();
        };
        let mut picture = format!("{:>TIME$}", "ms");
        for line in &lines {
            picture += &format!("{:^CELL$}", line.name());
        }
        let mut picture = picture.trim_end().to_owned() + "\n";
        for arrow in &self.arrows {
            let place = |line: &Line| lines.iter().position(|other| *other == line).unwrap_or(0);
            let time = arrow.at.saturating_duration_since(first.at).as_secs_f64() * 1e3;
            let text = format!("{:6} {}", arrow.protocol.name(), arrow.text);
            let used = TIME + lines.len() * CELL + 2;
            let text = fitting(&text, WIDTH.saturating_sub(used));
            let lifelines = strokes(lines.len(), place(&arrow.from), place(&arrow.to));
            let (on, off) = if has_colours {
                (arrow.protocol.colour(), "\x1b[0m")
            } else {
                ("", "")
            };
            picture += &format!("{time:>TIME$.2}{on}{lifelines}  {text}{off}\n");
        }
        picture
    }
}

/// Cuts a text that is too long, and shows that it was cut.
fn fitting(text: &str, width: usize) -> String {
    if text.chars().count() <= width {
        return text.to_owned();
    }
    text.chars().take(width.saturating_sub(1)).chain(['…']).collect()
}

/// Draws all lifelines and one arrow across them.
fn strokes(lines: usize, from: usize, to: usize) -> String {
    let mut cells = vec![' '; lines * CELL];
    let middle = |line: usize| line * CELL + CELL / 2;
    let (left, right) = (middle(from.min(to)), middle(from.max(to)));
    for (column, cell) in cells.iter_mut().enumerate() {
        let is_lifeline = column % CELL == CELL / 2;
        let is_inside = column > left && column < right;
        *cell = match (is_lifeline, is_inside) {
            (true, true) => '┼',
            (true, false) => '│',
            (false, true) => '─',
            (false, false) => ' ',
        };
    }
    let head = if from < to {
        (right.saturating_sub(1), '▶')
    } else {
        (left + 1, '◀')
    };
    if let Some(cell) = cells.get_mut(head.0).filter(|_| from != to) {
        *cell = head.1;
    }
    cells.into_iter().collect()
}

impl Line {
    fn name(&self) -> String {
        match self {
            Self::Caller(phone) | Self::Callee(phone) => phone.clone(),
            Self::CallerEdge(number) | Self::CalleeEdge(number) => format!("edge {number}"),
            Self::Peer(number) => format!("peer {number}"),
        }
    }
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Sip => "SIP",
            Self::Reload => "RELOAD",
        }
    }

    /// SGR codes that read well on dark and on light ground.
    fn colour(self) -> &'static str {
        match self {
            Self::Sip => "\x1b[36m",
            Self::Reload => "\x1b[35m",
        }
    }
}

const WIDTH: usize = 120;
/// For milliseconds up to a minute with two decimals.
const TIME: usize = 9;
const CELL: usize = 8;

#[cfg(test)]
mod tests;
