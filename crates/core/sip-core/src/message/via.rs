//! Via values, with the source marks of RFC 3261 §18.2.1 and RFC 3581.

use std::net::{IpAddr, SocketAddr};

use super::params::Params;
use crate::text::{find_outside, is_blank, is_token, number, trim};
use crate::uri::{DEFAULT_PORT, DEFAULT_TLS_PORT, Host, host_of};

/// The branch prefix of RFC 3261 §8.1.1.7, by which a transaction is recognised.
pub const MAGIC_COOKIE: &str = "z9hG4bK";

/// One Via value, read where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Via<'a> {
    /// The transport, as it stands; any token.
    pub transport: &'a str,
    /// The host of sent-by.
    pub host: Host<'a>,
    /// The port of sent-by, if one is named.
    pub port: Option<u16>,
    /// The parameters.
    pub params: Params<'a>,
    /// The host and port as they stand.
    pub sent_by: &'a str,
    /// Whether the protocol is SIP/2.0; below our own, others may stand.
    pub is_sip_2: bool,
    text: &'a str,
}

/// Where a response goes over a datagram transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyTarget {
    /// To this address.
    Address(SocketAddr),
    /// To this name and port, which must be resolved.
    Name(String, u16),
}

impl<'a> Via<'a> {
    /// Reads one Via value.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (head, params) = text.split_at(find_outside(text, b';').unwrap_or(text.len()));
        let (protocol, rest) = head.split_once('/')?;
        let (version, rest) = rest.split_once('/')?;
        let (protocol, version) = (trim(protocol), trim(version));
        if !is_token(protocol.as_bytes()) || !is_token(version.as_bytes()) {
            return None;
        }
        let rest = trim(rest);
        let (transport, sent_by) = rest.split_at(rest.bytes().position(is_blank)?);
        let sent_by = trim(sent_by);
        let (host, port) = Host::parse_with_port(sent_by)?;
        let params = Params(params);
        (is_token(transport.as_bytes()) && params.is_well_formed()).then_some(Self {
            transport,
            host,
            port,
            params,
            sent_by,
            is_sip_2: protocol.eq_ignore_ascii_case("SIP") && version == "2.0",
            text,
        })
    }

    /// Returns the branch.
    pub fn branch(self) -> Option<&'a str> {
        self.params.value("branch")
    }

    /// Says whether the branch identifies a transaction on its own (RFC 3261 §17.2.3).
    pub fn has_magic_branch(self) -> bool {
        self.branch().is_some_and(|branch| {
            branch.len() > MAGIC_COOKIE.len()
                && branch
                    .get(..MAGIC_COOKIE.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(MAGIC_COOKIE))
        })
    }

    /// Returns the address in `received`, with or without brackets (RFC 5118 §4.5).
    pub fn received(self) -> Option<IpAddr> {
        let value = self.params.value("received")?;
        value
            .strip_prefix('[')
            .and_then(|value| value.strip_suffix(']'))
            .unwrap_or(value)
            .parse()
            .ok()
    }

    /// Returns the port in `rport`, if the receiver filled one in (RFC 3581 §4).
    pub fn rport(self) -> Option<u16> {
        self.params.value("rport").and_then(number)
    }

    /// Returns the value as it stands.
    pub fn text(self) -> &'a str {
        self.text
    }

    /// Says whether the transport is reliable, as all but UDP are.
    pub fn is_reliable(self) -> bool {
        !self.transport.eq_ignore_ascii_case("UDP")
    }

    /// Writes the value anew with the source of the request that it came in.
    ///
    /// RFC 3261 §18.2.1 adds `received` when sent-by does not name the source; RFC 3581 §4 fills in `rport`, and then
    /// always adds `received`. What the sender wrote there himself is replaced.
    pub fn stamped(self, source: SocketAddr) -> String {
        let is_rport_wanted = self.params.has("rport");
        let mut text = self
            .text
            .get(..self.text.len() - self.params.text().len())
            .unwrap_or_default()
            .to_owned();
        for (name, value) in self.params.iter() {
            if name.eq_ignore_ascii_case("rport") || name.eq_ignore_ascii_case("received") {
                continue;
            }
            text.push(';');
            text.push_str(name);
            if let Some(value) = value {
                text.push('=');
                text.push_str(value);
            }
        }
        let address = source.ip().to_canonical();
        if is_rport_wanted || self.host.address().map(|host| host.to_canonical()) != Some(address) {
            text.push_str(&format!(";received={address}"));
        }
        if is_rport_wanted {
            text.push_str(&format!(";rport={}", source.port()));
        }
        text
    }

    /// Says where a response goes over UDP (RFC 3261 §18.2.2, RFC 3581 §4). `maddr` is not followed: it would let a
    /// stranger aim responses at a third party.
    pub fn reply_target(self) -> ReplyTarget {
        let is_tls = self.transport.eq_ignore_ascii_case("TLS") || self.transport.eq_ignore_ascii_case("WSS");
        let default = if is_tls { DEFAULT_TLS_PORT } else { DEFAULT_PORT };
        let port = self.rport().or(self.port).unwrap_or(default);
        match self.received().or_else(|| self.host.address()) {
            Some(address) => ReplyTarget::Address(SocketAddr::new(address, port)),
            None => ReplyTarget::Name(self.host.to_string(), port),
        }
    }

    /// Writes a new Via value of our own.
    pub fn write(transport: &str, sent_by: &str, branch: &str) -> String {
        format!("SIP/2.0/{transport} {sent_by};branch={branch}")
    }
}

/// Writes an address as sent-by.
pub fn sent_by_of(address: SocketAddr) -> String {
    format!("{}:{}", host_of(address.ip()), address.port())
}
