//! HA1: the hash of user, realm and password that stands for the password (RFC 7616 §3.4.2).

use std::fmt;

use aws_lc_rs::digest;
use md5::{Digest, Md5};
use zeroize::Zeroize;

/// How a phone writes its user in the Authorization header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameForm {
    /// `alice`
    User,
    /// `alice@example.org`
    UserAtDomain,
}

/// The two hashes of one form of the name.
#[derive(Clone, PartialEq, Eq)]
pub struct Ha1 {
    md5: [u8; 16],
    sha256: [u8; 32],
}

impl Ha1 {
    /// Hashes a name as the phone writes it.
    pub fn new(name: &str, realm: &str, password: &str) -> Self {
        let mut input = format!("{name}:{realm}:{password}");
        let md5 = Md5::digest(input.as_bytes()).into();
        let mut sha256 = [0; 32];
        let hash = digest::digest(&digest::SHA256, input.as_bytes());
        sha256.copy_from_slice(hash.as_ref());
        input.zeroize();
        Self { md5, sha256 }
    }

    /// Puts the octets of a record together.
    pub(super) fn from_parts(md5: [u8; 16], sha256: [u8; 32]) -> Self {
        Self { md5, sha256 }
    }

    /// Shows the MD5 hash.
    pub fn md5(&self) -> &[u8; 16] {
        &self.md5
    }

    /// Shows the SHA-256 hash.
    pub fn sha256(&self) -> &[u8; 32] {
        &self.sha256
    }
}

impl Drop for Ha1 {
    fn drop(&mut self) {
        self.md5.zeroize();
        self.sha256.zeroize();
    }
}

impl fmt::Debug for Ha1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ha1(..)")
    }
}

/// The hashes of both forms of the name, because phones send either and the hash covers what they send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hashes {
    /// For `user`.
    pub user: Ha1,
    /// For `user@domain`.
    pub user_at_domain: Ha1,
}

impl Hashes {
    /// Hashes a new password; `aor` is `user@domain` and the realm is its domain.
    pub fn new(aor: &str, realm: &str, password: &str) -> Self {
        let user = aor.rsplit_once('@').map_or(aor, |(user, _)| user);
        Self {
            user: Ha1::new(user, realm, password),
            user_at_domain: Ha1::new(aor, realm, password),
        }
    }

    /// Returns the hashes of one form.
    pub fn form(&self, form: NameForm) -> &Ha1 {
        match form {
            NameForm::User => &self.user,
            NameForm::UserAtDomain => &self.user_at_domain,
        }
    }
}
