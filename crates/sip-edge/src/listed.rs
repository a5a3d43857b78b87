//! What the operator sees of an edge: its bindings and its calls, as they are listed and followed.

use sip_core::flow::{Flow, FlowKind, Hop};
use sip_core::location::Binding;

use crate::feed::Followed;

/// One binding.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    pub(crate) aor: String,
    pub(crate) binding: Binding,
    /// Its end, as others name it.
    pub(crate) expires_unix_ms: u64,
    pub(crate) is_stored: bool,
}

/// One call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) call_id: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) stage: Stage,
    /// When its INVITE came.
    pub(crate) since_ms: u64,
    /// When it was answered; 0 before.
    pub(crate) answered_ms: u64,
    pub(crate) source: String,
    /// Where it is tried, or where it was answered.
    pub(crate) targets: Vec<String>,
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// The callee is looked for, or has not answered in any way.
    Trying,
    /// It rings.
    Ringing,
    /// It was answered, and has not ended.
    Standing,
}

impl Registration {
    /// Says whether nothing but a refresh lies between both.
    fn is_as(&self, other: &Self) -> bool {
        let shown = |registration: &Self| {
            let Binding {
                id, transport, remote, ..
            } = registration.binding;
            let is_reachable = registration.binding.flow().is_some();
            (id, transport, remote, is_reachable, registration.is_stored)
        };
        shown(self) == shown(other) && self.binding.contact == other.binding.contact
    }
}

impl Call {
    /// The same once it was answered. The texts in it are the caller's choice and are kept for as long as the call stands, so long ones
    /// are cut.
    pub(crate) fn answered(mut self, now_ms: u64) -> Self {
        self.stage = Stage::Standing;
        self.answered_ms = now_ms;
        for text in [&mut self.call_id, &mut self.from, &mut self.to] {
            if let Some((end, _)) = text.char_indices().nth(LONGEST) {
                text.truncate(end);
            }
            text.shrink_to_fit();
        }
        self
    }
}

/// What became of the bindings of an AOR: those that are gone, and those that are new or other than before.
pub(crate) fn difference<'a>(
    before: &'a [Registration],
    after: &'a [Registration],
) -> (
    impl Iterator<Item = &'a Registration>,
    impl Iterator<Item = &'a Registration>,
) {
    let is_gone = |old: &&Registration| !after.iter().any(|new| new.binding.id == old.binding.id);
    let is_other = |new: &&Registration| !before.iter().any(|old| old.is_as(new));
    (before.iter().filter(is_gone), after.iter().filter(is_other))
}

/// All bindings of one AOR.
impl Followed for Vec<Registration> {
    fn is_news(&self, newer: &Self) -> bool {
        let (mut gone, mut other) = difference(self, newer);
        gone.next().is_some() || other.next().is_some()
    }
}

impl Followed for Call {
    fn is_news(&self, newer: &Self) -> bool {
        self != newer
    }
}

/// How the operator is told where a request came from.
pub(crate) fn source(flow: &Flow) -> String {
    match &flow.kind {
        FlowKind::Phone => format!("{}:{}", flow.transport.via_name().to_ascii_lowercase(), flow.remote),
        FlowKind::Edge(node) | FlowKind::Stranger { node, .. } => node.to_string(),
    }
}

/// How the operator is told where it goes.
pub(crate) fn target(hop: &Hop) -> String {
    match hop {
        Hop::Flow(flow) => source(flow),
        Hop::Edge { node, .. } => node.to_string(),
    }
}

/// Characters of a text of a standing call that are kept.
const LONGEST: usize = 256;

#[cfg(test)]
mod tests {
    use sip_core::flow::ConnectionId;
    use sip_core::location::{Limits, Table};
    use sip_core::message::Message;

    use super::*;

    const NOW: u64 = 1_800_000_000_000;

    /// What a phone's REGISTER over TCP leaves, `cseq` being its number.
    fn registrations(table: &mut Table, cseq: u32, expires: u32) -> Vec<Registration> {
        let text = format!(
            "REGISTER sip:example.org SIP/2.0\r\nVia: SIP/2.0/TCP 192.0.2.1;branch=z9hG4bK{cseq}\r\nFrom: <sip:a@example.org>;tag=1\r\n\
             To: <sip:a@example.org>\r\nCall-ID: c\r\nCSeq: {cseq} REGISTER\r\nContact: <sip:a@192.0.2.1>;expires={expires}\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let request = Message::parse_datagram(text.into_bytes().into()).unwrap();
        let flow = Flow {
            transport: sip_core::flow::Transport::Tcp,
            local: "192.0.2.9:5060".parse().unwrap(),
            remote: "192.0.2.1:40000".parse().unwrap(),
            connection: Some(ConnectionId(1)),
            kind: FlowKind::Phone,
        };
        let aor = sip_core::aor::Aor::parse("a@example.org").unwrap();
        table.register(NOW + u64::from(cseq), &aor, &request, &flow).unwrap();
        list(table)
    }

    fn list(table: &Table) -> Vec<Registration> {
        let all = table.iter().flat_map(|(_, bindings)| bindings);
        all.map(|binding| Registration {
            aor: "a@example.org".into(),
            binding: binding.clone(),
            expires_unix_ms: 0,
            is_stored: true,
        })
        .collect()
    }

    #[test]
    fn a_refresh_is_no_news_and_a_lost_connection_is() {
        let mut table = Table::new(Limits::default());
        let first = registrations(&mut table, 1, 300);
        let refreshed = registrations(&mut table, 2, 300);
        assert_ne!(first[0].binding, refreshed[0].binding);
        assert!(!first.is_news(&refreshed));
        table.close(ConnectionId(1));
        let lost = list(&table);
        assert!(refreshed.is_news(&lost));
        let (gone, other) = difference(&refreshed, &lost);
        assert_eq!((gone.count(), other.count()), (0, 1));
    }

    #[test]
    fn what_is_not_there_any_more_is_gone() {
        let mut table = Table::new(Limits::default());
        let before = registrations(&mut table, 1, 300);
        let after = registrations(&mut table, 2, 0);
        let (gone, other) = difference(&before, &after);
        assert_eq!((gone.count(), other.count()), (1, 0));
    }
}
