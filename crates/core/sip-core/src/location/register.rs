//! What a REGISTER asks for, and whether it gets it (RFC 3261 §10.3).

use super::binding::{Binding, write_params};
use super::path::{Path, supports};
use super::{Change, Limits, Recording, Table};
use crate::aor::Aor;
use crate::flow::Flow;
use crate::message::{Address, Message, Name, Refusal};
use crate::text::{number, unquote};
use crate::token::BindingId;
use crate::uri::{SipUri, Uri, is_equivalent};

/// The longest Contact URI, and the longest parameters of one, that are kept.
pub(crate) const MAX_CONTACT: usize = 1024;

/// The longest Call-ID that is kept.
pub(crate) const MAX_CALL_ID: usize = 256;

/// One Contact of a REGISTER.
struct Wanted<'r> {
    address: Address<'r>,
    uri: SipUri<'r>,
    instance: Option<(Box<str>, u32)>,
    q: u16,
    /// Seconds; zero removes.
    expires: u32,
}

impl Table {
    /// Applies an authenticated REGISTER that came on `flow`. All its Contacts are accepted, or none.
    ///
    /// # Errors
    ///
    /// Fails with the answer: 400, 423, or 500 when an older request arrives behind a newer one.
    pub fn register(&mut self, now_ms: u64, aor: &Aor, request: &Message, flow: &Flow) -> Result<Change, Refusal> {
        let call_id = request.call_id().unwrap_or_default();
        let cseq = request.cseq().map_or(0, |cseq| cseq.number);
        if call_id.len() > MAX_CALL_ID {
            return Err(Refusal::new(400, "Call-ID too long"));
        }
        if request.values(Name::Contact).any(|value| value == "*") {
            return self.clear(aor, request, (call_id, cseq));
        }
        let path = Path::read(request)?;
        let wanted = read_contacts(request, (&self.limits, &path), flow)?;
        let stored = self.of(aor).iter().filter(|binding| binding.expires_ms > now_ms);
        // RFC 3261 §10.3 step 7: each Contact is compared with what was stored before this request, not with what
        // another Contact of the same request has made of it.
        let (touched, mut bindings): (Vec<Binding>, Vec<Binding>) = stored
            .cloned()
            .partition(|binding| wanted.iter().any(|contact| contact.is_same(binding)));
        if touched.iter().any(|old| *old.call_id == *call_id && cseq <= old.cseq) {
            return Err(out_of_order());
        }
        let made = wanted.into_iter().filter(|contact| contact.expires > 0);
        let mut made: Vec<Binding> = made
            .map(|contact| contact.bind((now_ms, aor), (call_id, cseq), (flow, &path)))
            .collect();
        let recording = made
            .iter_mut()
            .map(|binding| continue_record(now_ms, binding, &touched))
            .max();
        let kept: Vec<BindingId> = made.iter().map(|binding| binding.id).collect();
        let gone = touched.iter().map(|binding| binding.id);
        let mut change = Change {
            removed: gone.filter(|id| !kept.contains(id)).collect(),
            kept,
            recording: recording.unwrap_or_default(),
            ..Change::default()
        };
        bindings.extend(made);
        while bindings.len() > self.limits.bindings {
            let oldest = bindings
                .iter()
                .enumerate()
                .min_by_key(|(_, binding)| binding.updated_ms)
                .map(|(at, _)| at);
            change.removed.push(bindings.remove(oldest.unwrap_or(0)).id);
        }
        if !change.is_change() {
            return Ok(change);
        }
        if !change.removed.is_empty() {
            change.recording = Recording::First;
        }
        Ok(self.replace(aor, bindings, change))
    }

    /// Applies `Contact: *`: RFC 3261 §10.3 step 6.
    fn clear(&mut self, aor: &Aor, request: &Message, source: (&str, u32)) -> Result<Change, Refusal> {
        let (call_id, cseq) = source;
        if request.values(Name::Contact).nth(1).is_some() {
            return Err(Refusal::new(400, "Contact * beside other Contacts"));
        }
        if request.header(Name::Expires).and_then(number::<u32>) != Some(0) {
            return Err(Refusal::new(400, "Contact * without Expires 0"));
        }
        if self
            .of(aor)
            .iter()
            .any(|binding| *binding.call_id == *call_id && cseq <= binding.cseq)
        {
            return Err(out_of_order());
        }
        Ok(self.remove(aor))
    }
}

/// Says when a binding has to be written, and lets one that only goes on keep the record of the one before.
fn continue_record(now_ms: u64, binding: &mut Binding, touched: &[Binding]) -> Recording {
    let Some(older) = touched.iter().find(|older| binding.is_refresh_of(older)) else {
        return Recording::First;
    };
    binding.recorded_ms = older.recorded_ms;
    let left_ms = binding.recorded_ms.saturating_sub(now_ms);
    // The record has to last until the refresh after this one.
    if left_ms >= binding.granted_ms().saturating_mul(2) {
        Recording::Unneeded
    } else {
        Recording::Soon
    }
}

/// RFC 3261 §10.3 steps 6 and 7: the update is aborted and the request fails; §21.5.1 has the only fitting code.
fn out_of_order() -> Refusal {
    Refusal::new(500, "CSeq out of order")
}

/// Reads the Contacts. Of those that mean the same binding the last one with a lifetime stays: a phone that moved takes
/// its old Contact back in the request that brings the new one, in either order.
fn read_contacts<'r>(
    request: &'r Message,
    (limits, path): (&Limits, &Path),
    flow: &Flow,
) -> Result<Vec<Wanted<'r>>, Refusal> {
    let mut wanted: Vec<Wanted<'r>> = Vec::new();
    for (number, value) in request.values(Name::Contact).enumerate() {
        if number == limits.bindings {
            return Err(Refusal::new(400, "Too many Contacts"));
        }
        let contact = Wanted::read(value, request, (limits, path), flow)?;
        if contact.expires > 0 {
            wanted.retain(|other| other.expires == 0 || !contact.repeats(other));
        }
        wanted.push(contact);
    }
    // RFC 5626 §6: more than one flow cannot come in one request.
    let mut bound = wanted.iter().filter(|contact| contact.expires > 0);
    if bound.clone().count() > 1 && bound.any(|contact| contact.instance.is_some()) {
        return Err(Refusal::new(400, "Several Contacts with reg-id"));
    }
    Ok(wanted)
}

impl<'r> Wanted<'r> {
    fn read(value: &'r str, request: &Message, (limits, path): (&Limits, &Path), flow: &Flow) -> Result<Self, Refusal> {
        let address = Address::parse(value).ok_or_else(|| Refusal::new(400, "Malformed Contact"))?;
        let uri = Uri::parse(address.uri).and_then(Uri::sip);
        let uri = uri.ok_or_else(|| Refusal::new(400, "Contact is no SIP URI"))?;
        if address.uri.len() > MAX_CONTACT || address.params.text().len() > MAX_CONTACT {
            return Err(Refusal::new(400, "Contact too long"));
        }
        let mut instance = read_instance(&address);
        if instance.is_some() && !path.can_have_flows {
            // RFC 5626 §6: without its first hop a flow cannot be kept; a phone that counts on it is told.
            if supports(request, "outbound") {
                return Err(Refusal::new(439, "First Hop Lacks Outbound Support"));
            }
            instance = None;
        }
        let is_fragile = if flow.transport.is_reliable() {
            instance.is_none()
        } else {
            is_translated(request, flow) || path.values.is_empty() && !is_source(uri, flow)
        };
        let expires = lifetime(&address, request, limits);
        if expires > 0 && expires < limits.min_expires {
            return Err(Refusal {
                header: Some((Name::MinExpires, limits.min_expires.to_string())),
                ..Refusal::new(423, "Interval Too Brief")
            });
        }
        let longest = if is_fragile {
            limits.max_fragile_expires
        } else {
            limits.max_expires
        };
        let q = address.params.value("q").and_then(thousandths).unwrap_or(1000);
        Ok(Self {
            address,
            uri,
            instance,
            q,
            expires: expires.min(longest),
        })
    }

    /// Says whether this Contact takes the place of a binding: by instance and reg-id (RFC 5626 §6), otherwise by
    /// comparing the URIs (RFC 3261 §10.3 step 7).
    fn is_same(&self, binding: &Binding) -> bool {
        match (&self.instance, &binding.instance) {
            (Some(wanted), Some(bound)) => wanted == bound,
            _ => is_equivalent(self.address.uri, &binding.contact),
        }
    }

    /// Says whether another Contact of the same request is this one again. An instance with two URIs is not: which of
    /// them it is reached by cannot be told.
    fn repeats(&self, other: &Self) -> bool {
        let is_same_flow = match (&self.instance, &other.instance) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        is_same_flow && is_equivalent(self.address.uri, other.address.uri)
    }

    fn bind(self, owner: (u64, &Aor), source: (&str, u32), (flow, path): (&Flow, &Path)) -> Binding {
        let (now_ms, aor) = owner;
        let contact: Box<str> = self.address.uri.into();
        let id = match &self.instance {
            Some((instance, reg_id)) => BindingId::of_instance(aor, instance, *reg_id),
            None => BindingId::of_contact(aor, &contact),
        };
        let mut params = String::new();
        write_params(&mut params, self.address.params, |name| {
            !name.eq_ignore_ascii_case("expires")
        });
        let mut remote = flow.remote;
        // RFC 3581 §4 cares for responses; for requests a phone with two ports names the one it listens on in its Contact.
        // So does a proxy in its Path.
        let listener = path.nearest().or(path.values.is_empty().then_some(self.uri));
        if let Some(uri) = listener.filter(|uri| !flow.transport.is_reliable() && is_source(*uri, flow)) {
            remote.set_port(uri.port_or_default());
        }
        Binding {
            id,
            contact,
            params: params.into(),
            path: path.values.as_str().into(),
            instance: self.instance,
            q: self.q,
            call_id: source.0.into(),
            cseq: source.1,
            granted: self.expires,
            updated_ms: now_ms,
            expires_ms: now_ms.saturating_add(u64::from(self.expires) * 1000),
            recorded_ms: 0,
            transport: flow.transport,
            local: flow.local,
            source: flow.remote,
            remote,
            connection: flow.connection,
        }
    }
}

/// Reads instance and reg-id where both are there (RFC 5626 §4.2: from 1 up to 2^31 - 1).
pub(super) fn read_instance(address: &Address<'_>) -> Option<(Box<str>, u32)> {
    let instance = unquote(address.params.value("+sip.instance")?);
    let reg_id: u32 = number(address.params.value("reg-id")?)?;
    (1..1 << 31).contains(&reg_id).then(|| (instance.into(), reg_id))
}

/// RFC 3261 §10.3 step 6: the Contact's own parameter, then Expires, then the default; a malformed value counts as the
/// default (§20.10, §20.19).
fn lifetime(address: &Address<'_>, request: &Message, limits: &Limits) -> u32 {
    let asked = address
        .params
        .value("expires")
        .or_else(|| request.header(Name::Expires));
    asked.map_or(limits.default_expires, |text| {
        number(text).unwrap_or(limits.default_expires)
    })
}

/// Says whether a Contact's host is the address that the request came from.
fn is_source(contact: SipUri<'_>, flow: &Flow) -> bool {
    contact.host.address().map(|address| address.to_canonical()) == Some(flow.remote.ip().to_canonical())
}

/// Says whether the sender calls itself by another address than it is seen at.
fn is_translated(request: &Message, flow: &Flow) -> bool {
    let sent_by = request.top_via().and_then(|via| via.host.address());
    sent_by.is_some_and(|address| address.to_canonical() != flow.remote.ip().to_canonical())
}

/// Reads a `qvalue` (RFC 3261 §25.1): at most 1, with at most three digits behind the point.
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let is_digits = fraction.len() <= 3 && fraction.bytes().all(|byte| byte.is_ascii_digit());
    let whole: u16 = number(whole).filter(|whole| *whole <= 1 && is_digits)?;
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    Some((whole * 1000 + fraction).min(1000))
}
