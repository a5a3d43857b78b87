//! Proxies between a phone and this registrar (RFC 3327), and what that means for its flow (RFC 5626 §6).

use super::register::MAX_CONTACT;
use crate::message::{Address, Message, Name, Refusal};
use crate::uri::{SipUri, Uri};

/// The option tags that a registrar of this kind knows.
pub const EXTENSIONS: &[&str] = &["path", "outbound"];

/// The Path of a REGISTER.
pub(super) struct Path {
    /// Its values, as they become the Route toward the phone; empty for none.
    pub(super) values: String,
    /// Whether a phone may keep several flows open here: it is connected to this edge, or its proxy says that it plays along.
    pub(super) can_have_flows: bool,
}

impl Path {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// Fails with 400 when it cannot be a route, with 439 when the phone asks for what its first hop does not do.
    pub(super) fn read(request: &Message) -> Result<Self, Refusal> {
        let mut values: Vec<&str> = Vec::new();
        let mut has_outbound = false;
        for value in request.values(Name::Path) {
            let uri = router(value).ok_or_else(|| Refusal::new(400, "Malformed Path"))?;
            has_outbound |= uri.params.has("ob");
            values.push(value);
        }
        let values = values.join(", ");
        if values.len() > MAX_CONTACT {
            return Err(Refusal::new(400, "Path too long"));
        }
        let is_first_hop = request.values(Name::Via).nth(1).is_none();
        Ok(Self {
            values,
            can_have_flows: is_first_hop || has_outbound,
        })
    }

    /// Returns the proxy that is next to this edge.
    pub(super) fn nearest(&self) -> Option<SipUri<'_>> {
        router(crate::text::Commas::new(&self.values).next()?)
    }
}

/// Reads a value of Path, which has to be a loose router (RFC 3327 §4).
fn router(value: &str) -> Option<SipUri<'_>> {
    let uri = Address::parse(value)?.parsed_uri().and_then(Uri::sip)?;
    uri.is_loose_router().then_some(uri)
}

/// Says whether a phone lists an option tag among those it supports.
pub(super) fn supports(request: &Message, tag: &str) -> bool {
    request
        .values(Name::Supported)
        .any(|known| known.eq_ignore_ascii_case(tag))
}

/// Returns what a 200 has because of the REGISTER that it answers: the Path as it came (RFC 3327 §5.3), and word that the
/// flow of its Contact is kept (RFC 5626 §6).
pub fn echo(request: &Message) -> Vec<(Name<'static>, String)> {
    let mut headers: Vec<_> = request
        .lines(Name::Path)
        .map(|path| (Name::Path, path.to_owned()))
        .collect();
    let can_have_flows = Path::read(request).is_ok_and(|path| path.can_have_flows);
    let is_flow =
        |value: &str| Address::parse(value).is_some_and(|address| super::register::read_instance(&address).is_some());
    if can_have_flows && supports(request, "outbound") && request.values(Name::Contact).any(is_flow) {
        headers.push((Name::Require, "outbound".to_owned()));
    }
    headers
}
