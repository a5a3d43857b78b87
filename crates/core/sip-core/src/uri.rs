//! URIs: `sip:` and `sips:` in parts, `tel:` and all others opaque.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::message::Params;
use crate::text::number;

/// The port of SIP over UDP and TCP where none is named (RFC 3261 §18.1.1).
pub const DEFAULT_PORT: u16 = 5060;

/// The port of SIP over TLS where none is named.
pub const DEFAULT_TLS_PORT: u16 = 5061;

/// A URI, read where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Uri<'a> {
    /// `sip:` or `sips:`.
    Sip(SipUri<'a>),
    /// A telephone number with its parameters, without `tel:` (RFC 3966).
    Tel(&'a str),
    /// A URI of any other scheme, whole.
    Other(&'a str),
}

impl<'a> Uri<'a> {
    /// Reads a URI; `None` when it has no scheme, holds blanks or brackets, or is a malformed SIP URI.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (scheme, rest) = text.split_once(':')?;
        if !is_scheme(scheme) || rest.is_empty() || !text.bytes().all(is_uri_byte) {
            return None;
        }
        if scheme.eq_ignore_ascii_case("sip") {
            SipUri::parse(rest, false).map(Self::Sip)
        } else if scheme.eq_ignore_ascii_case("sips") {
            SipUri::parse(rest, true).map(Self::Sip)
        } else if scheme.eq_ignore_ascii_case("tel") {
            Some(Self::Tel(rest))
        } else {
            Some(Self::Other(text))
        }
    }

    /// Returns the parts of a SIP URI.
    pub fn sip(self) -> Option<SipUri<'a>> {
        match self {
            Self::Sip(uri) => Some(uri),
            Self::Tel(_) | Self::Other(_) => None,
        }
    }
}

/// The parts of a `sip:` or `sips:` URI, as they stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SipUri<'a> {
    /// Whether the scheme is `sips`.
    pub is_secure: bool,
    /// The user part, escapes and parameters included, without a password.
    pub user: Option<&'a str>,
    /// The password, which nobody should write there.
    pub password: Option<&'a str>,
    /// The host.
    pub host: Host<'a>,
    /// The port, if one is named.
    pub port: Option<u16>,
    /// The URI parameters.
    pub params: Params<'a>,
    /// The headers behind `?`.
    pub headers: Option<&'a str>,
}

impl<'a> SipUri<'a> {
    fn parse(rest: &'a str, is_secure: bool) -> Option<Self> {
        // Neither host, parameters nor headers may hold an unescaped @, so there is at most one.
        let (userinfo, rest) = match rest.split_once('@') {
            Some((userinfo, rest)) => (Some(userinfo), rest),
            None => (None, rest),
        };
        let (user, password) = match userinfo.map(|userinfo| userinfo.split_once(':').unwrap_or((userinfo, ""))) {
            Some((user, password)) => (Some(user), Some(password).filter(|password| !password.is_empty())),
            None => (None, None),
        };
        if user.is_some_and(str::is_empty) || rest.contains('@') {
            return None;
        }
        let (rest, headers) = match rest.split_once('?') {
            Some((rest, headers)) => (rest, Some(headers)),
            None => (rest, None),
        };
        let (hostport, params) = rest.split_at(rest.find(';').unwrap_or(rest.len()));
        let (host, port) = Host::parse_with_port(hostport)?;
        let params = Params(params);
        params.is_well_formed().then_some(Self {
            is_secure,
            user,
            password,
            host,
            port,
            params,
            headers,
        })
    }

    /// Returns the port to use: the one named, or the scheme's default.
    pub fn port_or_default(self) -> u16 {
        self.port
            .unwrap_or(if self.is_secure { DEFAULT_TLS_PORT } else { DEFAULT_PORT })
    }

    /// Says whether the URI asks for loose routing (RFC 3261 §19.1.1).
    pub fn is_loose_router(self) -> bool {
        self.params.has("lr")
    }

    /// Returns the `transport` parameter.
    pub fn transport(self) -> Option<&'a str> {
        self.params.value("transport")
    }
}

/// A host: a name or an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host<'a> {
    /// A domain name, as it stands.
    Name(&'a str),
    /// An IPv4 address.
    V4(Ipv4Addr),
    /// An IPv6 address, written in brackets.
    V6(Ipv6Addr),
}

impl<'a> Host<'a> {
    /// Reads a host alone; an IPv6 address needs its brackets.
    pub fn parse(text: &'a str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']')?;
            // RFC 5118 §4.10: the grammar of RFC 3261 asks for one colon too many before an IPv4 tail.
            let address = if inner.contains(":::") {
                inner.replacen(":::", "::", 1).parse()
            } else {
                inner.parse()
            };
            return address.ok().map(Self::V6);
        }
        if text.bytes().next_back()?.is_ascii_digit()
            && let Ok(address) = text.parse()
        {
            return Some(Self::V4(address));
        }
        // Underscores are no part of the grammar, but of the names of many a service in a container.
        let is_name = text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
        is_name.then_some(Self::Name(text))
    }

    /// Reads `host` or `host:port`; blanks around the colon are allowed, as Via has them.
    pub(crate) fn parse_with_port(text: &'a str) -> Option<(Self, Option<u16>)> {
        let colon = if text.starts_with('[') {
            text.find(']')? + 1
        } else {
            text.find(':').unwrap_or(text.len())
        };
        let (host, port) = text.split_at_checked(colon)?;
        let host = Self::parse(crate::text::trim(host))?;
        let port = crate::text::trim(port);
        if port.is_empty() {
            return Some((host, None));
        }
        number(crate::text::trim(port.strip_prefix(':')?)).map(|port| (host, Some(port)))
    }

    /// Returns the address, if the host is one.
    pub fn address(self) -> Option<IpAddr> {
        match self {
            Self::Name(_) => None,
            Self::V4(address) => Some(address.into()),
            Self::V6(address) => Some(address.into()),
        }
    }
}

impl std::fmt::Display for Host<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => formatter.write_str(name),
            Self::V4(address) => write!(formatter, "{address}"),
            Self::V6(address) => write!(formatter, "[{address}]"),
        }
    }
}

/// Writes an address as the host of a URI or Via: IPv6 in brackets.
pub fn host_of(address: IpAddr) -> String {
    match address {
        IpAddr::V4(address) => address.to_string(),
        IpAddr::V6(address) => format!("[{address}]"),
    }
}

/// Decodes the `%HH` escapes of a URI part; `None` when one is cut short or the result is not UTF-8.
pub fn unescape(text: &str) -> Option<std::borrow::Cow<'_, str>> {
    crate::text::unescape(text)
}

fn is_scheme(scheme: &str) -> bool {
    scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
        && scheme
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
}

/// Accepts what URIs are made of and, for lenience, raw UTF-8; never blanks, controls, quotes or angle brackets.
const fn is_uri_byte(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f && !matches!(byte, b'<' | b'>' | b'"')
}

/// Says whether two URIs mean the same (RFC 3261 §19.1.4); those that are not SIP must agree in each octet.
pub fn is_equivalent(one: &str, other: &str) -> bool {
    if one == other {
        return true;
    }
    match (Uri::parse(one), Uri::parse(other)) {
        (Some(Uri::Sip(one)), Some(Uri::Sip(other))) => is_equivalent_sip(one, other),
        _ => false,
    }
}

/// A parameter that is in one URI only is ignored, but for these (RFC 3261 §19.1.4).
const DECISIVE_PARAMS: [&str; 5] = ["user", "ttl", "method", "maddr", "transport"];

fn is_equivalent_sip(one: SipUri<'_>, other: SipUri<'_>) -> bool {
    let is_same_userinfo = is_same_escaped(one.user, other.user) && is_same_escaped(one.password, other.password);
    let is_same_host = match (one.host, other.host) {
        (Host::Name(one), Host::Name(other)) => one.eq_ignore_ascii_case(other),
        (one, other) => one == other,
    };
    let is_same_value = |one: Option<&str>, other: Option<&str>| {
        one.unwrap_or_default().eq_ignore_ascii_case(other.unwrap_or_default())
    };
    let are_same_params = one.params.iter().all(|(name, value)| {
        other
            .params
            .find(name)
            .is_none_or(|other_value| is_same_value(value, other_value))
    }) && DECISIVE_PARAMS
        .iter()
        .all(|name| one.params.has(name) == other.params.has(name));
    one.is_secure == other.is_secure
        && is_same_userinfo
        && is_same_host
        && one.port == other.port
        && are_same_params
        && is_same_headers(one.headers, other.headers)
}

fn is_same_escaped(one: Option<&str>, other: Option<&str>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => one == other || unescape(one).is_some_and(|one| Some(one) == unescape(other)),
        (None, None) => true,
        _ => false,
    }
}

/// Compares headers in any order, names without case.
fn is_same_headers(one: Option<&str>, other: Option<&str>) -> bool {
    fn sorted(headers: Option<&str>) -> Vec<(String, &str)> {
        let mut pairs: Vec<(String, &str)> = headers
            .into_iter()
            .flat_map(|headers| headers.split('&'))
            .map(|header| header.split_once('=').unwrap_or((header, "")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value))
            .collect();
        pairs.sort();
        pairs
    }
    sorted(one) == sorted(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sip(text: &str) -> SipUri<'_> {
        Uri::parse(text).and_then(Uri::sip).unwrap()
    }

    #[test]
    fn parts_are_found() {
        let uri = sip("sips:al;ice?x:secret@[2001:db8::1]:5071;transport=tcp;lr?Subject=a&b=c");
        assert_eq!((uri.user, uri.password), (Some("al;ice?x"), Some("secret")));
        assert_eq!(uri.host.address(), "2001:db8::1".parse().ok());
        assert_eq!((uri.port, uri.transport()), (Some(5071), Some("tcp")));
        assert!(uri.is_secure && uri.is_loose_router());
        assert_eq!(uri.headers, Some("Subject=a&b=c"));
        assert_eq!(sip("sip:example.org").user, None);
        assert_eq!(
            (sip("sip:h").port_or_default(), sip("sips:h").port_or_default()),
            (5060, 5061)
        );
    }

    #[test]
    fn other_schemes_stay_opaque() {
        assert_eq!(
            Uri::parse("tel:+358-555;phone-context=x"),
            Some(Uri::Tel("+358-555;phone-context=x"))
        );
        assert_eq!(Uri::parse("urn:service:sos"), Some(Uri::Other("urn:service:sos")));
    }

    #[test]
    fn malformed_uris_are_refused() {
        for text in [
            "",
            "sip:",
            "sip",
            "sip: a@b",
            "sip:a@",
            "sip:@b",
            "sip:a@b@c",
            "sip:a@b:x",
            "sip:a@b:70000",
            "sip:a@[::1",
            "sip:a@::1",
            "sip:a@b;;c",
            "sip:a@b;=c",
            "sip:a b@c",
            "<sip:a@b>",
            "1sip:a@b",
            "sip:a@b c",
            "sip:a@b\u{7f}",
        ] {
            assert_eq!(Uri::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn equivalence_is_that_of_the_rfc() {
        // RFC 3261 §19.1.4 has these pairs.
        for (one, other) in [
            (
                "sip:%61lice@atlanta.com;transport=TCP",
                "sip:alice@AtLanTa.CoM;Transport=tcp",
            ),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
        ] {
            assert!(is_equivalent(one, other) && is_equivalent(other, one), "{one} {other}");
        }
        for (one, other) in [
            (
                "SIP:ALICE@AtLanTa.CoM;Transport=udp",
                "sip:alice@AtLanTa.CoM;Transport=UDP",
            ),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            (
                "sip:carol@chicago.com;security=on",
                "sip:carol@chicago.com;security=off",
            ),
            ("sip:a@b.test", "sips:a@b.test"),
        ] {
            assert!(
                !is_equivalent(one, other) && !is_equivalent(other, one),
                "{one} {other}"
            );
        }
    }
}
