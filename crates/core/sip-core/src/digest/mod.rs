//! Digest authentication (RFC 3261 §22, RFC 7616, RFC 8760): an edge challenges phones, scripted agents answer.
//!
//! A server never sees passwords: user records hold HA1 for each algorithm, for the user names `user` and
//! `user@domain`. A challenge costs no state but a place in a bounded table of phones that may fail at it; a nonce is
//! remembered once it was used rightly, and serves only the address that it was given to.

mod client;
mod credentials;
mod nonce;
mod phones;
mod server;

use md5::Md5;
use sha2::{Digest, Sha256};

pub use self::client::{Answerer, answer};
pub use self::credentials::{Credentials, Protection, Qop};
pub use self::server::{Authenticator, Claim, Failure, Received, Settings, Side, Verdict};

use crate::text::to_hex;

/// A hash algorithm; user records hold no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// MD5, which old phones need.
    Md5,
    /// SHA-256.
    Sha256,
}

impl Algorithm {
    /// Returns the name of RFC 7616 §6.1.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Md5 => "MD5",
            Self::Sha256 => "SHA-256",
        }
    }

    /// Reads an `algorithm` value; the flag says whether it is the session variant.
    pub fn parse(name: &str) -> Option<(Self, bool)> {
        let is_session = name.len() > 5
            && name
                .get(name.len() - 5..)
                .is_some_and(|end| end.eq_ignore_ascii_case("-sess"));
        let base = if is_session { name.get(..name.len() - 5)? } else { name };
        [Self::Md5, Self::Sha256]
            .into_iter()
            .find(|algorithm| base.eq_ignore_ascii_case(algorithm.name()))
            .map(|algorithm| (algorithm, is_session))
    }

    /// Hashes parts joined by colons, as lower-case hexadecimal digits.
    pub fn hash(self, parts: &[&[u8]]) -> String {
        match self {
            Self::Md5 => hash_joined::<Md5>(parts),
            Self::Sha256 => hash_joined::<Sha256>(parts),
        }
    }
}

fn hash_joined<D: Digest>(parts: &[&[u8]]) -> String {
    let mut hash = D::new();
    for (place, part) in parts.iter().enumerate() {
        if place > 0 {
            hash.update(b":");
        }
        hash.update(part);
    }
    to_hex(&hash.finalize())
}

/// HA1 of one algorithm: the hash of user name, realm and password, in hexadecimal digits. It is as good as the password.
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1(String);

impl Ha1 {
    /// Takes the digits as a user record holds them.
    pub fn new(digits: &str) -> Self {
        Self(digits.to_ascii_lowercase())
    }

    /// Computes HA1 (RFC 7616 §3.4.2).
    pub fn of(algorithm: Algorithm, name: &str, realm: &str, password: &str) -> Self {
        Self(algorithm.hash(&[name.as_bytes(), realm.as_bytes(), password.as_bytes()]))
    }

    /// Returns the digits.
    pub fn digits(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Ha1 {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Ha1(..)")
    }
}

/// HA1 of one algorithm for both user names that a phone may give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ha1Pair {
    /// For `user`.
    pub user: Ha1,
    /// For `user@domain`.
    pub user_at_domain: Ha1,
}

/// What a user record holds for authentication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Secrets {
    /// For MD5, if the record has it.
    pub md5: Option<Ha1Pair>,
    /// For SHA-256, if the record has it.
    pub sha256: Option<Ha1Pair>,
}

impl Secrets {
    /// Computes all four from a password; the realm is the AOR's domain.
    pub fn of(aor: &crate::aor::Aor, password: &str) -> Self {
        let pair = |algorithm| Ha1Pair {
            user: Ha1::of(algorithm, aor.user(), aor.domain(), password),
            user_at_domain: Ha1::of(algorithm, aor.as_str(), aor.domain(), password),
        };
        Self {
            md5: Some(pair(Algorithm::Md5)),
            sha256: Some(pair(Algorithm::Sha256)),
        }
    }

    /// Returns the pair of an algorithm.
    pub fn pair(&self, algorithm: Algorithm) -> Option<&Ha1Pair> {
        match algorithm {
            Algorithm::Md5 => self.md5.as_ref(),
            Algorithm::Sha256 => self.sha256.as_ref(),
        }
    }
}

/// Computes the `response` of credentials (RFC 7616 §3.4.1); the values go in as they were received.
pub(crate) fn response_of(credentials: &Credentials<'_>, ha1: &Ha1, method: &str, body: &[u8]) -> String {
    let hash = |parts: &[&[u8]]| credentials.algorithm.hash(parts);
    let (nonce, cnonce) = (credentials.nonce.as_bytes(), credentials.cnonce.as_bytes());
    let session_ha1;
    let ha1 = if credentials.is_session {
        session_ha1 = hash(&[ha1.digits().as_bytes(), nonce, cnonce]);
        session_ha1.as_str()
    } else {
        ha1.digits()
    };
    let uri = credentials.uri.as_bytes();
    let protection = credentials.protection.as_ref();
    let ha2 = match protection.map(|protection| protection.qop) {
        Some(Qop::AuthInt) => hash(&[method.as_bytes(), uri, hash(&[body]).as_bytes()]),
        Some(Qop::Auth) | None => hash(&[method.as_bytes(), uri]),
    };
    let Some(Protection { qop, nc, .. }) = protection else {
        // RFC 3261 §22.4 item 8: as RFC 2069 has it.
        return hash(&[ha1.as_bytes(), nonce, ha2.as_bytes()]);
    };
    let (nc, qop) = (nc.as_bytes(), qop.name().as_bytes());
    hash(&[ha1.as_bytes(), nonce, nc, cnonce, qop, ha2.as_bytes()])
}

#[cfg(test)]
mod tests;
