//! Where a component is: `unix:/path` or `tcp:host:port`.

use std::fmt;
use std::net::Ipv6Addr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The address of a component. In configurations, environment and flags it is one string, as [`Display`](fmt::Display)
/// writes it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// A Unix socket, `unix:/run/p2psip/overlay.sock`: for processes of one user on one host.
    Unix(PathBuf),
    /// TCP with mutual TLS, `tcp:storage:7401` or `tcp:[::1]:7401`.
    Tcp {
        /// A name, an IPv4 address, or an IPv6 address without its brackets.
        host: String,
        /// The port; 0 lets the system choose when listening.
        port: u16,
    },
}

/// A text that is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{text}\" is not an address: {reason}; write unix:/path or tcp:host:port")]
pub struct AddressError {
    text: String,
    reason: &'static str,
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parsed = match text.split_once(':') {
            Some(("unix", "")) => Err("the path is missing"),
            Some(("unix", path)) => Ok(Self::Unix(path.into())),
            Some(("tcp", rest)) => tcp(rest),
            _ => Err("it begins with neither unix: nor tcp:"),
        };
        parsed.map_err(|reason| AddressError {
            text: text.into(),
            reason,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "tcp:[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "tcp:{host}:{port}"),
        }
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

fn tcp(text: &str) -> Result<Address, &'static str> {
    let (host, port) = text.rsplit_once(':').ok_or("the port is missing")?;
    let port = port.parse().map_err(|_| "the port is no number up to 65535")?;
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(bracketed) if bracketed.parse::<Ipv6Addr>().is_ok() => bracketed,
        Some(_) => return Err("in brackets stands an IPv6 address"),
        None if host.contains(':') => return Err("an IPv6 address stands in brackets"),
        None if host.is_empty() => return Err("the host is missing"),
        None if !host.bytes().all(is_of_name) => return Err("the host is neither a name nor an IP address"),
        None => host,
    };
    Ok(Address::Tcp {
        host: host.into(),
        port,
    })
}

/// Container runtimes give names with underscores.
fn is_of_name(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"-._".contains(&octet)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_they_are_read() {
        for text in [
            "unix:/run/p2psip/overlay.sock",
            "unix:dev.sock",
            "tcp:127.0.0.1:7400",
            "tcp:peer1-storage:7401",
            "tcp:[::1]:7402",
            "tcp:localhost:0",
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
        }
    }

    #[test]
    fn malformed_addresses_are_refused_with_the_reason() {
        for (text, reason) in [
            ("", "neither"),
            ("127.0.0.1:7400", "neither"),
            ("unix:", "path is missing"),
            ("tcp:7400", "port is missing"),
            ("tcp::7400", "host is missing"),
            ("tcp:host:", "no number"),
            ("tcp:host:65536", "no number"),
            ("tcp:::1:7400", "stands in brackets"),
            ("tcp:[host]:7400", "in brackets stands"),
            ("tcp:a b:7400", "neither a name"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
            assert!(error.contains("write unix:/path or tcp:host:port"), "{error}");
        }
    }
}
