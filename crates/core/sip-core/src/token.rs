//! Record-Route tokens: where an in-dialog request goes, told by the request itself.
//!
//! A token stands as the user part of our Record-Route URI. It names a binding or, for a phone without one, the
//! transport and address that its request came from, and is sealed to the Call-ID under a durable key. So it works
//! after a restart, and nobody can make one or carry it to another call (RFC 5626 §5.2).

use std::net::{IpAddr, SocketAddr};

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};

use crate::aor::Aor;
use crate::flow::Transport;

/// Names a binding across restarts and reconnects: a hash of the AOR and what the phone calls its flow.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BindingId([u8; BINDING_ID]);

const BINDING_ID: usize = 16;

impl BindingId {
    /// Names the flow of an instance (RFC 5626 §4.1, §4.2).
    pub fn of_instance(aor: &Aor, instance: &str, reg_id: u32) -> Self {
        Self::hash(&[
            b"instance",
            aor.as_str().as_bytes(),
            instance.as_bytes(),
            &reg_id.to_be_bytes(),
        ])
    }

    /// Names the binding of a phone that has no instance, by its Contact URI.
    pub fn of_contact(aor: &Aor, contact: &str) -> Self {
        Self::hash(&[b"contact", aor.as_str().as_bytes(), contact.as_bytes()])
    }

    fn hash(parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        for part in parts {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        Self(hash.finalize().first_chunk().copied().unwrap_or_default())
    }
}

impl std::fmt::Debug for BindingId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            formatter,
            "BindingId({})",
            crate::text::to_hex(self.0.get(..4).unwrap_or_default())
        )
    }
}

/// What a token names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A binding of this edge.
    Binding(BindingId),
    /// A phone without a binding.
    Source {
        /// The transport it used.
        transport: Transport,
        /// The address it came from.
        address: SocketAddr,
    },
}

/// The key under which an edge seals its tokens; it must outlive restarts.
pub struct TokenKey(hmac::Key);

impl std::fmt::Debug for TokenKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("TokenKey")
    }
}

impl TokenKey {
    /// Takes the octets of the key.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, key))
    }

    /// Writes the token for a target within one call; it needs no escape in a URI.
    pub fn seal(&self, target: &Target, call_id: &str) -> String {
        let mut octets = target.to_octets();
        let tag = self.tag(&octets, call_id);
        octets.extend_from_slice(tag.as_ref().get(..TAG).unwrap_or_default());
        URL_SAFE_NO_PAD.encode(octets)
    }

    /// Reads a token of this edge; `None` when it is none, or belongs to another call.
    pub fn open(&self, token: &str, call_id: &str) -> Option<Target> {
        if token.len() > MAX_TOKEN {
            return None;
        }
        let octets = URL_SAFE_NO_PAD.decode(token).ok()?;
        let (target, tag) = octets.split_at_checked(octets.len().checked_sub(TAG)?)?;
        let expected = self.tag(target, call_id);
        aws_lc_rs::constant_time::verify_slices_are_equal(expected.as_ref().get(..TAG)?, tag).ok()?;
        Target::from_octets(target)
    }

    fn tag(&self, target: &[u8], call_id: &str) -> hmac::Tag {
        let mut context = hmac::Context::with_key(&self.0);
        // A target's length follows from its first octet, so that target and Call-ID cannot be mistaken for another pair.
        context.update(target);
        context.update(call_id.as_bytes());
        context.sign()
    }
}

/// Octets kept of the HMAC: 80 bits, which cannot be guessed through a SIP server, to keep Record-Route short.
const TAG: usize = 10;

/// Longer than any token in base64.
const MAX_TOKEN: usize = 64;

/// The first octet of a token: version 1 in the upper half, the kind of target in the lower.
const BINDING: u8 = 0x10;
const SOURCE_V4: u8 = 0x14;
const SOURCE_V6: u8 = 0x16;

impl Target {
    fn to_octets(self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(32);
        match self {
            Self::Binding(id) => {
                octets.push(BINDING);
                octets.extend_from_slice(&id.0);
            }
            Self::Source { transport, address } => {
                octets.push(if address.is_ipv4() { SOURCE_V4 } else { SOURCE_V6 });
                octets.push(transport_code(transport));
                match address.ip() {
                    IpAddr::V4(ip) => octets.extend_from_slice(&ip.octets()),
                    IpAddr::V6(ip) => octets.extend_from_slice(&ip.octets()),
                }
                octets.extend_from_slice(&address.port().to_be_bytes());
            }
        }
        octets
    }

    fn from_octets(octets: &[u8]) -> Option<Self> {
        let (kind, rest) = octets.split_first()?;
        if *kind == BINDING {
            return rest.try_into().ok().map(|id| Self::Binding(BindingId(id)));
        }
        let (transport, rest) = rest.split_first()?;
        let (ip, port) = rest.split_last_chunk::<2>()?;
        let ip: IpAddr = match *kind {
            SOURCE_V4 => <[u8; 4]>::try_from(ip).ok()?.into(),
            SOURCE_V6 => <[u8; 16]>::try_from(ip).ok()?.into(),
            _ => return None,
        };
        let address = SocketAddr::new(ip, u16::from_be_bytes(*port));
        Some(Self::Source {
            transport: transport_of(*transport)?,
            address,
        })
    }
}

/// Returns the octet that stands for a transport in tokens and on disk.
pub(crate) const fn transport_code(transport: Transport) -> u8 {
    match transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
        Transport::Tls => 2,
    }
}

/// Finds the transport that an octet stands for.
pub(crate) const fn transport_of(code: u8) -> Option<Transport> {
    match code {
        0 => Some(Transport::Udp),
        1 => Some(Transport::Tcp),
        2 => Some(Transport::Tls),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets() -> Vec<Target> {
        let aor = Aor::parse("alice@example.org").unwrap();
        vec![
            Target::Binding(BindingId::of_instance(&aor, "<urn:uuid:1>", 1)),
            Target::Binding(BindingId::of_contact(&aor, "sip:alice@192.0.2.4")),
            Target::Source {
                transport: Transport::Udp,
                address: "192.0.2.4:5060".parse().unwrap(),
            },
            Target::Source {
                transport: Transport::Tcp,
                address: "[2001:db8::4]:49152".parse().unwrap(),
            },
        ]
    }

    #[test]
    fn a_token_names_its_target_under_the_same_key_after_a_restart() {
        for target in targets() {
            let token = TokenKey::new(&[7; 32]).seal(&target, "call-1");
            assert_eq!(TokenKey::new(&[7; 32]).open(&token, "call-1"), Some(target));
            assert!(
                token
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
            );
        }
    }

    #[test]
    fn another_call_key_or_octet_makes_a_token_worthless() {
        let key = TokenKey::new(&[7; 32]);
        for target in targets() {
            let token = key.seal(&target, "call-1");
            assert_eq!(key.open(&token, "call-2"), None);
            assert_eq!(TokenKey::new(&[8; 32]).open(&token, "call-1"), None);
            for at in 0..token.len() {
                let mut changed = token.clone().into_bytes();
                changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
                assert_eq!(
                    key.open(std::str::from_utf8(&changed).unwrap(), "call-1"),
                    None,
                    "octet {at}"
                );
            }
        }
        assert_eq!(key.open("", "call-1"), None);
        assert_eq!(key.open("alice", "call-1"), None);
        assert_eq!(key.open(&"A".repeat(65), "call-1"), None);
    }

    #[test]
    fn binding_ids_differ_by_each_part() {
        let alice = Aor::parse("alice@example.org").unwrap();
        let bob = Aor::parse("bob@example.org").unwrap();
        let id = BindingId::of_instance(&alice, "<urn:uuid:1>", 1);
        assert_ne!(id, BindingId::of_instance(&bob, "<urn:uuid:1>", 1));
        assert_ne!(id, BindingId::of_instance(&alice, "<urn:uuid:2>", 1));
        assert_ne!(id, BindingId::of_instance(&alice, "<urn:uuid:1>", 2));
    }
}
