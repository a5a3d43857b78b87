//! What the configuration says others are to use: an address or a name, with a port or without.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::lookup;

/// `203.0.113.5`, `203.0.113.5:5070`, `2001:db8::5`, `[2001:db8::5]:5070`, `sip.example.org`, `sip.example.org:5070`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Advertised {
    /// The host.
    host: Host,
    /// The port, where it is not the listener's.
    pub port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

/// A text that names no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is neither an address nor a host name, with a port or without")]
pub struct NotAdvertised;

impl Advertised {
    /// The address, where no name is meant.
    #[must_use]
    pub fn literal(&self) -> Option<IpAddr> {
        match &self.host {
            Host::Address(address) => Some(*address),
            Host::Name(_) => None,
        }
    }

    /// The name, where one is meant.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.host {
            Host::Address(_) => None,
            Host::Name(name) => Some(name),
        }
    }

    /// Finds its addresses; none when DNS has none now.
    ///
    /// # Cancel safety
    /// Nothing is lost when dropped.
    pub async fn lookup(&self) -> Vec<IpAddr> {
        match &self.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => lookup(name).await,
        }
    }
}

impl From<SocketAddr> for Advertised {
    fn from(address: SocketAddr) -> Self {
        Self {
            host: Host::Address(address.ip()),
            port: Some(address.port()),
        }
    }
}

impl FromStr for Advertised {
    type Err = NotAdvertised;

    fn from_str(text: &str) -> Result<Self, NotAdvertised> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(address.into());
        }
        if let Ok(address) = text.parse() {
            return Ok(Self {
                host: Host::Address(address),
                port: None,
            });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().map_err(|_| NotAdvertised)?)),
            None => (text, None),
        };
        if !is_name(name) {
            return Err(NotAdvertised);
        }
        Ok(Self {
            host: Host::Name(name.to_owned()),
            port,
        })
    }
}

impl fmt::Display for Advertised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.port) {
            (Host::Address(address), Some(port)) => SocketAddr::new(*address, port).fmt(f),
            (Host::Address(address), None) => address.fmt(f),
            (Host::Name(name), Some(port)) => write!(f, "{name}:{port}"),
            (Host::Name(name), None) => f.write_str(name),
        }
    }
}

/// RFC 1123 §2.1: letters, digits, hyphens; the last label is not a number, which would be a mistyped address.
fn is_name(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let last = text.rsplit('.').next().unwrap_or_default();
    text.len() <= 253 && text.split('.').all(is_label) && !last.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_and_names_have_a_port_or_none() {
        for text in [
            "203.0.113.5",
            "203.0.113.5:5070",
            "2001:db8::5",
            "[2001:db8::5]:5070",
            "sip.example.org",
            "sip1:5070",
        ] {
            assert_eq!(text.parse::<Advertised>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            "300.1.1.1",
            "a b",
            "sip:5060:1",
            "host:port",
            "host:70000",
            "http://x",
        ] {
            assert_eq!(text.parse::<Advertised>(), Err(NotAdvertised), "{text}");
        }
    }
}
