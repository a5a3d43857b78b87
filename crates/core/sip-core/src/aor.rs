//! Addresses of record: the names that users are called by.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::uri::{Host, Uri, unescape};

/// An address of record, `user@domain`: the domain in lower case, the user part as written, escapes decoded.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Aor {
    text: Arc<str>,
    at: usize,
}

/// Why a URI names no AOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AorError {
    /// The text is no URI.
    #[error("malformed uri")]
    Malformed,
    /// The URI is neither `sip:` nor `sips:`.
    #[error("uri scheme has no addresses of record")]
    Scheme,
    /// The URI has no user part.
    #[error("uri names a host and no user")]
    NoUser,
    /// The user part holds something that cannot stand in a certificate's mail address.
    #[error("user part is not made of the letters, digits and signs of a mail address")]
    User,
    /// User part or domain is too long.
    #[error("address of record is too long")]
    TooLong,
}

/// The longest user part, as in mail addresses (RFC 5321 §4.5.3.1.1).
pub const MAX_USER: usize = 64;

/// The longest domain name (RFC 1035 §2.3.4).
pub const MAX_DOMAIN: usize = 253;

impl Aor {
    /// Puts a user part and a domain together.
    ///
    /// # Errors
    ///
    /// Fails when either could not stand in a certificate.
    pub fn new(user: &str, domain: &str) -> Result<Self, AorError> {
        if user.len() > MAX_USER || domain.len() > MAX_DOMAIN {
            return Err(AorError::TooLong);
        }
        // RFC 5280 §4.2.1.6: an rfc822Name is ASCII, and RFC 5321 §4.1.2 says of which signs a Dot-string is made.
        let is_atom = |atom: &str| !atom.is_empty() && atom.bytes().all(is_atom_byte);
        if !user.split('.').all(is_atom) {
            return Err(AorError::User);
        }
        let Some(Host::Name(_)) = Host::parse(domain) else {
            return Err(AorError::Malformed);
        };
        let text = format!("{user}@{}", domain.to_ascii_lowercase());
        Ok(Self {
            text: text.into(),
            at: user.len(),
        })
    }

    /// Reads `user@domain`.
    ///
    /// # Errors
    ///
    /// Fails as [`new`](Self::new) does.
    pub fn parse(text: &str) -> Result<Self, AorError> {
        let (user, domain) = text.split_once('@').ok_or(AorError::NoUser)?;
        Self::new(user, domain)
    }

    /// Returns the user part.
    pub fn user(&self) -> &str {
        self.text.get(..self.at).unwrap_or_default()
    }

    /// Returns the domain.
    pub fn domain(&self) -> &str {
        self.text.get(self.at + 1..).unwrap_or_default()
    }

    /// Returns `user@domain`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Returns the AOR as a `sip:` URI; what a URI does not allow is escaped.
    pub fn to_uri(&self) -> String {
        let mut uri = String::with_capacity(self.text.len() + 4);
        uri.push_str("sip:");
        for byte in self.user().bytes() {
            // RFC 3261 §25.1: unreserved and user-unreserved stand as they are.
            if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte) {
                uri.push(char::from(byte));
            } else {
                uri.push_str(&format!("%{byte:02X}"));
            }
        }
        uri.push('@');
        uri.push_str(self.domain());
        uri
    }
}

impl std::fmt::Display for Aor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

impl std::fmt::Debug for Aor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "Aor({})", self.text)
    }
}

/// The domains that an edge serves, and the names by which phones reach the edge itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Domains {
    served: Vec<String>,
    own_names: BTreeSet<String>,
    own_addresses: BTreeSet<IpAddr>,
}

impl Domains {
    /// Takes the served domains, the default one first.
    pub fn new(served: impl IntoIterator<Item = String>) -> Self {
        let served = served.into_iter().map(|domain| domain.to_ascii_lowercase()).collect();
        Self {
            served,
            own_names: BTreeSet::new(),
            own_addresses: BTreeSet::new(),
        }
    }

    /// Adds a name of this edge; one that is the text of an address counts as that address.
    #[must_use]
    pub fn with_name(mut self, name: &str) -> Self {
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        if let Ok(address) = bare.unwrap_or(name).parse() {
            return self.with_address(address);
        }
        self.own_names.insert(trim_root(name).to_ascii_lowercase());
        self
    }

    /// Adds an address of this edge.
    #[must_use]
    pub fn with_address(mut self, address: IpAddr) -> Self {
        self.own_addresses.insert(address.to_canonical());
        self
    }

    /// Says whether the edge serves a domain.
    pub fn serves(&self, domain: &str) -> bool {
        self.served.iter().any(|served| served.eq_ignore_ascii_case(domain))
    }

    /// Says whether a host is a served domain, or a name or address of this edge.
    pub fn is_own(&self, host: Host<'_>) -> bool {
        match host {
            Host::Name(name) => self.serves(trim_root(name)) || self.is_own_name(name),
            Host::V4(_) | Host::V6(_) => host.address().is_some_and(|address| self.is_own_address(address)),
        }
    }

    /// Finds the AOR that a URI means. A host that is this edge means the default domain, since many phones are set up
    /// with the edge's address as their domain.
    ///
    /// # Errors
    ///
    /// Fails when the URI names no user whom a certificate could name.
    pub fn aor(&self, uri: &str) -> Result<Aor, AorError> {
        let uri = match Uri::parse(uri).ok_or(AorError::Malformed)? {
            Uri::Sip(uri) => uri,
            Uri::Tel(_) | Uri::Other(_) => return Err(AorError::Scheme),
        };
        let user = unescape(uri.user.ok_or(AorError::NoUser)?).ok_or(AorError::User)?;
        let default = self.served.first().map(String::as_str);
        match (uri.host, default) {
            (Host::Name(name), Some(default)) if self.is_own_name(name) && !self.serves(name) => {
                Aor::new(&user, default)
            }
            (Host::Name(name), _) => Aor::new(&user, trim_root(name)),
            (host, Some(default)) if self.is_own(host) => Aor::new(&user, default),
            _ => Err(AorError::Malformed),
        }
    }

    /// Says whether this edge is reached at an address.
    pub fn is_own_address(&self, address: IpAddr) -> bool {
        self.own_addresses.contains(&address.to_canonical())
    }

    fn is_own_name(&self, name: &str) -> bool {
        self.own_names.contains(trim_root(name).to_ascii_lowercase().as_str())
    }
}

/// Drops the dot of a fully qualified name.
fn trim_root(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

/// RFC 5322 §3.2.3: the signs of an atom.
fn is_atom_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domains() -> Domains {
        Domains::new(["Example.org".to_owned(), "example.net".to_owned()])
            .with_name("edge.example.org")
            .with_address("192.0.2.1".parse().unwrap())
            .with_address("2001:db8::1".parse().unwrap())
    }

    #[test]
    fn scheme_port_and_parameters_are_stripped() {
        let aor = domains()
            .aor("sips:Alice@EXAMPLE.net:5061;transport=tcp?Subject=x")
            .unwrap();
        assert_eq!(aor.as_str(), "Alice@example.net");
        assert_eq!((aor.user(), aor.domain()), ("Alice", "example.net"));
    }

    #[test]
    fn escapes_are_decoded() {
        assert_eq!(
            domains().aor("sip:%61lice@example.org").unwrap().as_str(),
            "alice@example.org"
        );
        assert_eq!(domains().aor("sip:al%20ice@example.org"), Err(AorError::User));
        assert_eq!(domains().aor("sip:al%00@example.org"), Err(AorError::User));
        assert_eq!(domains().aor("sip:al%4@example.org"), Err(AorError::User));
        assert_eq!(domains().aor("sip:j%C3%B6rg@example.org"), Err(AorError::User));
    }

    #[test]
    fn the_edge_as_host_means_the_default_domain() {
        for host in [
            "192.0.2.1",
            "192.0.2.1:5070",
            "[2001:db8::1]",
            "edge.example.org",
            "EDGE.example.org.",
        ] {
            assert_eq!(
                domains().aor(&format!("sip:bob@{host}")).unwrap().as_str(),
                "bob@example.org",
                "{host}"
            );
        }
        assert_eq!(domains().aor("sip:bob@192.0.2.2"), Err(AorError::Malformed));
    }

    #[test]
    fn a_name_may_be_the_text_of_an_address() {
        let domains = Domains::new(["example.org".to_owned()])
            .with_name("203.0.113.5")
            .with_name("[2001:db8::5]");
        for uri in ["sip:bob@203.0.113.5", "sip:bob@[2001:db8::5]:5070"] {
            assert_eq!(domains.aor(uri).unwrap().as_str(), "bob@example.org", "{uri}");
        }
    }

    #[test]
    fn foreign_domains_keep_their_name() {
        let aor = domains().aor("sip:bob@Elsewhere.test").unwrap();
        assert_eq!(aor.domain(), "elsewhere.test");
        assert!(!domains().serves(aor.domain()));
    }

    #[test]
    fn other_schemes_and_hosts_alone_have_no_aor() {
        assert_eq!(domains().aor("tel:+358-555-1234567"), Err(AorError::Scheme));
        assert_eq!(domains().aor("sip:example.org"), Err(AorError::NoUser));
        assert_eq!(domains().aor("urn:service:sos"), Err(AorError::Scheme));
    }

    #[test]
    fn a_uri_made_of_an_aor_means_it_again() {
        for user in ["alice", "a#b", "x^{y}|`z`", "100%"] {
            let aor = Aor::new(user, "example.org").unwrap();
            assert_eq!(domains().aor(&aor.to_uri()).unwrap(), aor);
        }
    }
}
