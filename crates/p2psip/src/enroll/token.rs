//! An enrollment token as it is printed and pasted: one string with all that a new host needs.
//!
//! ```text
//! p2psip1.BASE64URL    32 octets  SHA-256 of the configuration root
//!                      text       name of the overlay
//!                      text       secret
//!                      text ...   URLs of enrollment servers
//!                      4 octets   start of SHA-256 of all before: a token that was not pasted whole is told at once
//! ```
//!
//! A text is its length in one octet, then UTF-8.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rpc::proto::bootstrap::v1::CreateTokenResponse;
use sha2::{Digest as _, Sha256};

/// What a new host needs to enroll.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) overlay: String,
    /// SHA-256 of the configuration root, on which the first document is believed.
    pub(crate) root: [u8; 32],
    /// URLs of enrollment servers, tried in this order.
    pub(crate) servers: Vec<String>,
    pub(crate) secret: String,
}

/// Why a string is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("this is no enrollment token: one begins with {PREFIX}, as `p2psip token create` prints it")]
    Foreign,
    #[error("the enrollment token is damaged: paste it whole")]
    Damaged,
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut octets = self.root.to_vec();
        for text in [&self.overlay, &self.secret].into_iter().chain(&self.servers) {
            // A longer one would not be read back: the names and URLs of hosts are shorter.
            let length = u8::try_from(text.len()).map_err(|_| fmt::Error)?;
            octets.push(length);
            octets.extend_from_slice(text.as_bytes());
        }
        let check = check_of(&octets);
        octets.extend_from_slice(&check);
        write!(f, "{PREFIX}{}", URL_SAFE_NO_PAD.encode(octets))
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(TokenError::Foreign)?;
        let octets = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| TokenError::Damaged)?;
        Self::read(&octets).ok_or(TokenError::Damaged)
    }
}

impl Token {
    /// What the bootstrap service made, with these servers, or with those that the document names if there are none.
    pub(crate) fn of(made: CreateTokenResponse, servers: Vec<String>) -> Option<Self> {
        Some(Self {
            overlay: made.overlay,
            root: made.root.as_ref().try_into().ok()?,
            servers: if servers.is_empty() { made.servers } else { servers },
            secret: made.secret,
        })
    }

    /// Whether a text is meant to be a whole token.
    pub(crate) fn is_begun_by(text: &str) -> bool {
        text.trim_start().starts_with(PREFIX)
    }

    fn read(octets: &[u8]) -> Option<Self> {
        let (octets, check) = octets.split_last_chunk::<CHECK>()?;
        if check_of(octets) != *check {
            return None;
        }
        let (root, mut rest) = octets.split_first_chunk::<32>()?;
        let mut texts = Vec::new();
        while let Some((length, more)) = rest.split_first() {
            let (text, more) = more.split_at_checked(usize::from(*length))?;
            texts.push(String::from_utf8(text.to_vec()).ok()?);
            rest = more;
        }
        let mut texts = texts.into_iter();
        Some(Self {
            overlay: texts.next()?,
            root: *root,
            secret: texts.next()?,
            servers: texts.collect(),
        })
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("overlay", &self.overlay)
            .field("servers", &self.servers)
            .finish_non_exhaustive()
    }
}

fn check_of(octets: &[u8]) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    for (slot, octet) in check.iter_mut().zip(Sha256::digest(octets)) {
        *slot = octet;
    }
    check
}

const PREFIX: &str = "p2psip1.";
const CHECK: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> Token {
        Token {
            overlay: "example.org".into(),
            root: [7; 32],
            servers: vec!["https://a.example.org:8443".into(), "https://[2001:db8::1]:8443".into()],
            secret: "s3cret".into(),
        }
    }

    #[test]
    fn a_token_is_one_word_that_reads_back() {
        let text = token().to_string();
        assert!(
            text.starts_with("p2psip1.") && !text.contains(char::is_whitespace),
            "{text}"
        );
        assert_eq!(format!(" {text}\n").parse(), Ok(token()));
    }

    #[test]
    fn what_was_not_pasted_whole_is_told() {
        let text = token().to_string();
        for end in 8..text.len() {
            assert_eq!(text[..end].parse::<Token>(), Err(TokenError::Damaged), "{end}");
        }
        assert_eq!("hello".parse::<Token>(), Err(TokenError::Foreign));
    }

    #[test]
    fn debug_shows_no_secret() {
        let text = format!("{:?}", token());
        assert!(text.contains("example.org") && !text.contains("s3cret"), "{text}");
    }
}
