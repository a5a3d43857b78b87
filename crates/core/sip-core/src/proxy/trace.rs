//! W3C trace context: made of the Call-ID at the first edge, carried in `Traceparent` between edges.
//!
//! A trace that nobody records is not carried: its next edge then decides nothing and knows nothing.

use super::api::{Trace, Traced};
use super::core::Core;
use crate::flow::{Flow, FlowKind};
use crate::message::{Message, Name};
use crate::text::{hex, to_hex};

impl Trace {
    /// Reads the header `Traceparent` (W3C Trace Context §3.2): the trace, and the span that sent it. None if it is malformed or not
    /// sampled.
    fn parse(value: &str) -> Option<([u8; 16], [u8; 8])> {
        let mut parts = value.trim().split('-');
        let version = parts.next()?;
        let trace_id = octets::<16>(parts.next()?)?;
        let parent = octets::<8>(parts.next()?)?;
        let [flags] = octets::<1>(parts.next()?)?;
        let is_valid = version.len() == 2 && version != "ff" && trace_id != [0; 16] && parent != [0; 8];
        (is_valid && flags & SAMPLED != 0).then_some((trace_id, parent))
    }

    /// Writes the header for the next edge.
    pub fn header(&self) -> String {
        format!("00-{}-{}-01", to_hex(&self.trace_id), to_hex(&self.span_id))
    }

    /// A span below this one.
    fn below(&self, span_id: [u8; 8]) -> Self {
        Self {
            trace_id: self.trace_id,
            span_id,
            parent: Some(self.span_id),
        }
    }
}

impl Core {
    /// The trace of a request, if it is recorded: the one that the edge before carries on, else one that follows from the Call-ID, so
    /// that all requests of a call share it.
    pub(super) fn trace_of(&mut self, flow: &Flow, request: &Message) -> Option<Trace> {
        let is_recorded = self.settings.traces?;
        let carried = request
            .header(Name::Traceparent)
            .filter(|_| matches!(flow.kind, FlowKind::Edge(_)))
            .and_then(Trace::parse);
        if let Some((trace_id, parent)) = carried {
            let span_id = self.span_id();
            return Some(Trace {
                trace_id,
                span_id,
                parent: Some(parent),
            });
        }
        let call_id = request.call_id().unwrap_or_default();
        let trace_id = self.keyed("trace", &[call_id.as_bytes()]);
        // Another edge has decided about what it sent: it carries what is recorded.
        if matches!(flow.kind, FlowKind::Edge(_)) || !is_recorded(trace_id) {
            return None;
        }
        let span_id = self.span_id();
        Some(Trace {
            trace_id,
            span_id,
            parent: None,
        })
    }

    /// The trace of a branch of a request.
    pub(super) fn trace_of_branch(&mut self, request: Option<Trace>) -> Option<Trace> {
        let request = request?;
        let span_id = self.span_id();
        Some(request.below(span_id))
    }

    fn span_id(&mut self) -> [u8; 8] {
        let number = self.number().to_be_bytes();
        self.keyed("span", &[&number])
    }
}

/// What a request's span tells, if it is recorded.
pub(super) fn traced(trace: Option<Trace>, request: &Message) -> Option<Box<Traced>> {
    let text = |name| request.header(name).unwrap_or_default().to_owned();
    trace.map(|trace| {
        Box::new(Traced {
            trace,
            call_id: request.call_id().unwrap_or_default().to_owned(),
            cseq: text(Name::CSeq),
            user_agent: text(Name::UserAgent),
        })
    })
}

fn octets<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut octets = [0; N];
    let mut digits = text.bytes();
    for octet in &mut octets {
        *octet = (hex(digits.next()?)? << 4) | hex(digits.next()?)?;
    }
    digits.next().is_none().then_some(octets)
}

/// W3C Trace Context §3.2.2.5.1: the caller has recorded it.
const SAMPLED: u8 = 1;
