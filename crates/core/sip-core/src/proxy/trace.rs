//! W3C trace context: made of the Call-ID at the first edge, carried in `Traceparent` between edges.

use super::api::Trace;
use crate::text::{hex, to_hex};

impl Trace {
    /// Reads the header `Traceparent`: the trace, and the span that sent it.
    pub(super) fn parse(value: &str) -> Option<([u8; 16], [u8; 8])> {
        let mut parts = value.trim().split('-');
        let version = parts.next()?;
        let trace_id = octets::<16>(parts.next()?)?;
        let parent = octets::<8>(parts.next()?)?;
        let is_valid = version.len() == 2 && version != "ff" && trace_id != [0; 16] && parent != [0; 8];
        is_valid.then_some((trace_id, parent))
    }

    /// Writes the header for the next edge.
    pub fn header(&self) -> String {
        format!("00-{}-{}-01", to_hex(&self.trace_id), to_hex(&self.span_id))
    }
}

fn octets<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut octets = [0; N];
    let mut digits = text.bytes();
    for octet in &mut octets {
        *octet = (hex(digits.next()?)? << 4) | hex(digits.next()?)?;
    }
    digits.next().is_none().then_some(octets)
}
