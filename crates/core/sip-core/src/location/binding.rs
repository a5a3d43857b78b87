//! One binding: a Contact and the flow that reaches it.

use std::net::SocketAddr;

use crate::flow::{ConnectionId, Flow, FlowKind, Transport};
use crate::message::Params;
use crate::token::BindingId;
use crate::uri::Uri;

/// A Contact of an AOR at this edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding {
    /// Names the binding across restarts.
    pub id: BindingId,
    /// The Contact URI as registered, byte for byte.
    pub contact: Box<str>,
    /// The Contact's parameters as registered, without `expires`.
    pub params: Box<str>,
    /// The Path that the REGISTER came with, its values separated by commas; empty for none (RFC 3327 §5.3).
    pub path: Box<str>,
    /// `+sip.instance` and `reg-id`, when the phone gave both (RFC 5626 §4).
    pub instance: Option<(Box<str>, u32)>,
    /// The preference in thousandths.
    pub q: u16,
    /// The Call-ID of the latest REGISTER.
    pub call_id: Box<str>,
    /// Its sequence number.
    pub cseq: u32,
    /// The lifetime that it was granted, in seconds.
    pub granted: u32,
    /// When it was last refreshed, on the edge's own clock.
    pub updated_ms: u64,
    /// When it ends, on the edge's own clock.
    pub expires_ms: u64,
    /// When its record on disk ends, on the edge's own clock; zero while there is none.
    pub recorded_ms: u64,
    /// The transport of the flow.
    pub transport: Transport,
    /// The address of this edge that the phone uses.
    pub local: SocketAddr,
    /// Where the REGISTER came from.
    pub source: SocketAddr,
    /// Where requests go on datagram transports; on streams, where the connection came from.
    pub remote: SocketAddr,
    /// The connection, while there is one.
    pub connection: Option<ConnectionId>,
}

impl Binding {
    /// Returns the flow; `None` when it was a connection that is gone.
    pub fn flow(&self) -> Option<Flow> {
        (self.connection.is_some() || !self.transport.is_reliable()).then_some(Flow {
            transport: self.transport,
            local: self.local,
            remote: self.remote,
            connection: self.connection,
            kind: FlowKind::Phone,
        })
    }

    /// Says whether a message on this flow comes from the phone that made the binding.
    pub fn is_on(&self, flow: &Flow) -> bool {
        self.transport == flow.transport
            && match flow.connection {
                Some(connection) => self.connection == Some(connection),
                None => !self.transport.is_reliable() && (self.source == flow.remote || self.remote == flow.remote),
            }
    }

    /// Returns the address of a phone on UDP that keeps its flow open itself (RFC 5626 §4.4.2).
    pub(super) fn kept_flow(&self) -> Option<SocketAddr> {
        (self.instance.is_some() && !self.transport.is_reliable()).then_some(self.source)
    }

    /// The lifetime that it was granted.
    pub(crate) fn granted_ms(&self) -> u64 {
        u64::from(self.granted) * 1000
    }

    /// Says whether nothing but the time lies between two registrations of a phone: neither Contact nor flow has changed.
    pub(crate) fn is_refresh_of(&self, older: &Self) -> bool {
        let flow = |binding: &Self| (binding.transport, binding.local, binding.source, binding.remote);
        let wishes = |binding: &Self| (binding.id, binding.q, binding.granted);
        flow(self) == flow(older)
            && wishes(self) == wishes(older)
            && (&self.contact, &self.params, &self.instance, &self.path)
                == (&older.contact, &older.params, &older.instance, &older.path)
    }

    /// Returns the Contact URI as it may stand in a request line: without headers and a `method` parameter
    /// (RFC 3261 §16.6 step 2), otherwise byte for byte.
    pub fn request_uri(&self) -> String {
        let Some(uri) = Uri::parse(&self.contact).and_then(Uri::sip) else {
            return self.contact.to_string();
        };
        let headers = uri.headers.map_or(0, |headers| headers.len() + 1);
        let base = self.contact.get(..self.contact.len() - headers).unwrap_or_default();
        if !uri.params.has("method") {
            return base.to_owned();
        }
        let mut kept = base
            .get(..base.len() - uri.params.text().len())
            .unwrap_or_default()
            .to_owned();
        write_params(&mut kept, uri.params, |name| !name.eq_ignore_ascii_case("method"));
        kept
    }

    /// Writes the Contact value for a 200, with the seconds that are left.
    pub fn to_contact(&self, now_ms: u64) -> String {
        let seconds = self.expires_ms.saturating_sub(now_ms).div_ceil(1000);
        format!("<{}>{};expires={seconds}", self.contact, self.params)
    }
}

/// Appends those parameters whose name is wanted.
pub(crate) fn write_params(out: &mut String, params: Params<'_>, is_wanted: impl Fn(&str) -> bool) {
    for (name, value) in params.iter().filter(|(name, _)| is_wanted(name)) {
        out.push(';');
        out.push_str(name);
        if let Some(value) = value {
            out.push('=');
            out.push_str(value);
        }
    }
}
