//! Names in certificates: the reload URI that carries a Node-ID, user names and their domains.

use wire::NodeId;

/// A Node-ID at an overlay, as a certificate's subjectAltName carries it (RFC 6940 §14.15).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ReloadUri {
    /// The Node-ID.
    pub node_id: NodeId,
    /// The name of the overlay.
    pub overlay: String,
}

impl ReloadUri {
    /// Parses `reload://<destination>@<overlay>/`, where the destination is one Node-ID.
    ///
    /// A bare Node-ID without the Destination's type and length is accepted too, since other
    /// implementations wrote it (deviation D9). Anything else is `None`.
    #[must_use]
    pub fn parse(uri: &str) -> Option<ReloadUri> {
        let (destination, rest) = uri.strip_prefix("reload://")?.split_once('@')?;
        let overlay = rest.strip_suffix('/').unwrap_or(rest);
        if overlay.is_empty() || !overlay.bytes().all(is_reg_name) {
            return None;
        }
        let digits = match destination.len() {
            BARE_DIGITS => destination,
            DESTINATION_DIGITS => destination.strip_prefix(NODE_DESTINATION)?,
            _ => return None,
        };
        Some(ReloadUri {
            node_id: digits.parse().ok()?,
            overlay: overlay.to_owned(),
        })
    }
}

impl std::fmt::Display for ReloadUri {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "reload://{NODE_DESTINATION}{}@{}/", self.node_id, self.overlay)
    }
}

/// Which domains the user names of delegated signers may have (RFC 7904 §3.4).
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Domains {
    /// Every domain: the document restricts nothing.
    Any,
    /// The overlay's name only.
    #[default]
    Overlay,
    /// Those that match one of these patterns.
    Patterns(Vec<DomainPattern>),
}

impl Domains {
    /// Tells whether `domain` is allowed in the overlay of this name.
    #[must_use]
    pub fn allow(&self, domain: &str, overlay: &str) -> bool {
        match self {
            Domains::Any => true,
            Domains::Overlay => domain.eq_ignore_ascii_case(overlay),
            Domains::Patterns(patterns) => patterns.iter().any(|pattern| pattern.matches(domain)),
        }
    }
}

/// A pattern of domain names: the part of POSIX extended regular expressions that domain
/// patterns need, so that no pattern of a document can cost more than its length squared.
///
/// Understood are characters, `\` before a character, `.`, and `*` after any of these.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DomainPattern {
    atoms: Vec<Atom>,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Atom {
    /// The lower-cased character, or `None` for any.
    character: Option<u8>,
    is_repeated: bool,
}

/// A domain pattern that this implementation does not understand.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("domain pattern {pattern:?} uses {what}, which is not supported here")]
pub struct DomainPatternError {
    pattern: String,
    what: &'static str,
}

impl DomainPattern {
    /// Parses a pattern.
    ///
    /// # Errors
    /// When it is too long, is not ASCII, or uses an operator other than `.`, `*` and `\`.
    pub fn parse(pattern: &str) -> Result<DomainPattern, DomainPatternError> {
        let refuse = |what| {
            Err(DomainPatternError {
                pattern: pattern.chars().take(64).collect(),
                what,
            })
        };
        if pattern.len() > MAX_PATTERN || !pattern.is_ascii() {
            return refuse("more than 255 characters, or characters beyond ASCII");
        }
        let mut atoms: Vec<Atom> = Vec::new();
        let mut bytes = pattern.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'*' => match atoms.last_mut() {
                    Some(atom) if !atom.is_repeated => atom.is_repeated = true,
                    _ => return refuse("a repetition of nothing"),
                },
                b'\\' => match bytes.next() {
                    Some(escaped) => atoms.push(Atom::literal(escaped)),
                    None => return refuse("a backslash before nothing"),
                },
                b'.' => atoms.push(Atom {
                    character: None,
                    is_repeated: false,
                }),
                b'+' | b'?' | b'|' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'^' | b'$' => {
                    return refuse("an operator other than . * and \\");
                }
                other => atoms.push(Atom::literal(other)),
            }
        }
        Ok(DomainPattern {
            atoms,
            text: pattern.to_owned(),
        })
    }

    /// Returns the pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Tells whether the whole of `domain` matches, without regard to case.
    #[must_use]
    pub fn matches(&self, domain: &str) -> bool {
        // `reached[i]`: the atoms before the i-th consumed exactly the characters read so far.
        let mut reached = vec![false; self.atoms.len() + 1];
        if let Some(start) = reached.first_mut() {
            *start = true;
        }
        self.skip_repeated(&mut reached);
        for byte in domain.bytes() {
            let mut next = vec![false; reached.len()];
            for (index, atom) in self.atoms.iter().enumerate() {
                let is_here = reached.get(index).copied().unwrap_or(false);
                if is_here && atom.accepts(byte) {
                    let target = if atom.is_repeated { index } else { index + 1 };
                    if let Some(slot) = next.get_mut(target) {
                        *slot = true;
                    }
                }
            }
            self.skip_repeated(&mut next);
            reached = next;
        }
        reached.last().copied().unwrap_or(false)
    }

    /// A repeated atom may also match nothing.
    fn skip_repeated(&self, reached: &mut [bool]) {
        for (index, atom) in self.atoms.iter().enumerate() {
            if atom.is_repeated
                && reached.get(index).copied().unwrap_or(false)
                && let Some(slot) = reached.get_mut(index + 1)
            {
                *slot = true;
            }
        }
    }
}

impl Atom {
    fn literal(byte: u8) -> Atom {
        Atom {
            character: Some(byte.to_ascii_lowercase()),
            is_repeated: false,
        }
    }

    fn accepts(self, byte: u8) -> bool {
        self.character
            .is_none_or(|character| character == byte.to_ascii_lowercase())
    }
}

/// Splits a user name as certificates have it: printable ASCII, one `@`, neither side empty.
#[must_use]
pub fn user_and_domain(name: &str) -> Option<(&str, &str)> {
    if name.len() > MAX_USER_NAME || !name.bytes().all(|byte| byte.is_ascii_graphic()) {
        return None;
    }
    let (user, domain) = name.split_once('@')?;
    (!user.is_empty() && !domain.is_empty() && !domain.contains('@')).then_some((user, domain))
}

/// RFC 3986 §3.2.2: the characters of a reg-name that an overlay name uses.
fn is_reg_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// RFC 6940 §6.3.2.2: a Destination of type node (1) and length 16.
const NODE_DESTINATION: &str = "0110";
const BARE_DIGITS: usize = 32;
const DESTINATION_DIGITS: usize = NODE_DESTINATION.len() + BARE_DIGITS;
/// RFC 1035 §2.3.4: a domain name has at most 255 octets; no useful pattern is longer.
const MAX_PATTERN: usize = 255;
/// RFC 5321 §4.5.3.1: 64 octets of local part, `@`, 255 octets of domain.
const MAX_USER_NAME: usize = 320;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uri_is_written_and_read() {
        let uri = ReloadUri {
            node_id: NodeId::from([0xab; 16]),
            overlay: "overlay.example.org".into(),
        };
        let text = uri.to_string();
        assert_eq!(
            text,
            "reload://0110abababababababababababababababab@overlay.example.org/"
        );
        assert_eq!(ReloadUri::parse(&text), Some(uri.clone()));
        assert_eq!(
            ReloadUri::parse("reload://ABababababababababababababababab@overlay.example.org/"),
            Some(uri)
        );
    }

    #[test]
    fn strange_uris_are_not_node_ids() {
        for text in [
            "",
            "reload://",
            "sip:alice@example.org",
            "reload://0110abababababababababababababababab@/",
            "reload://0110abababababababababababababababab",
            "reload://0110abababababababababababababababa@o/",
            "reload://0110abababababababababababababababaz@o/",
            "reload://0110abababababababababababababababab01@o/",
            "reload://0210abababababababababababababababab@o/",
            "reload://0110abababababababababababababababab@o/12",
            "reload://0110abababababababababababababababab@o@p/",
            "reload://+110abababababababababababababababab@o/",
            "RELOAD://0110abababababababababababababababab@o/",
        ] {
            assert_eq!(ReloadUri::parse(text), None, "{text}");
        }
    }

    #[test]
    fn patterns_match_whole_domains() {
        let cases = [
            (r"dht\.example\.com", "dht.example.com", true),
            (r"dht\.example\.com", "DHT.example.com", true),
            (r"dht\.example\.com", "dhtxexample.com", false),
            (r".*\.my\.example", "a.b.my.example", true),
            (r".*\.my\.example", "my.example", false),
            (r"a*b.", "aaabc", true),
            (r"a*b.", "bc", true),
            (r"a*b.", "aaab", false),
            ("", "", true),
            ("", "x", false),
        ];
        for (pattern, domain, expected) in cases {
            assert_eq!(
                DomainPattern::parse(pattern).unwrap().matches(domain),
                expected,
                "{pattern} {domain}"
            );
        }
        for pattern in ["*", "a**", "(a)", "a|b", "a+", "[ab]", "^a$", "a\\", "ü"] {
            assert!(DomainPattern::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn user_names_have_one_at_sign() {
        assert_eq!(user_and_domain("alice@example.org"), Some(("alice", "example.org")));
        for name in [
            "",
            "alice",
            "@example.org",
            "alice@",
            "a@b@c",
            "al ice@x",
            "älice@x",
            "a\u{0}@x",
        ] {
            assert_eq!(user_and_domain(name), None, "{name}");
        }
    }
}
