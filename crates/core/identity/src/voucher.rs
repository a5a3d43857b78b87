//! Word of a configuration root between two who share a secret.
//!
//! A new host believes the first document on the SHA-256 of its configuration root. A token carries that hash; a secret that an
//! operator chose before there was an overlay does not. Then a server proves that it knows the secret, for a nonce that the host
//! drew, and vouches for the root by it. Only after that is the secret itself sent, to a server that the document names.

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};

use crate::key::KeyError;

/// Vouches by one secret (HMAC-SHA-256, RFC 2104).
pub struct Voucher(hmac::Key);

/// The root that is vouched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root<'a> {
    /// The name of the overlay.
    pub overlay: &'a str,
    /// SHA-256 of its configuration root.
    pub hash: &'a [u8; 32],
}

/// Draws a nonce from the system's random source.
///
/// # Errors
/// When it has none.
pub fn draw_nonce() -> Result<[u8; 32], KeyError> {
    let mut nonce = [0; 32];
    let drawn = SystemRandom::new().fill(&mut nonce);
    drawn.map(|()| nonce).map_err(|_| KeyError::Generation)
}

impl Voucher {
    /// A voucher by a secret. Whoever reads a proof can try secrets on it, so a short one is as good as none: see
    /// [`SHORTEST_SECRET`].
    #[must_use]
    pub fn new(secret: &str) -> Voucher {
        Voucher(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))
    }

    /// Proves knowledge of the secret to the host that drew `nonce`.
    #[must_use]
    pub fn prove(&self, nonce: &[u8; 32], root: Root<'_>) -> [u8; 32] {
        let mut proof = [0; 32];
        let tag = hmac::sign(&self.0, &message(nonce, root));
        for (slot, octet) in proof.iter_mut().zip(tag.as_ref()) {
            *slot = *octet;
        }
        proof
    }

    /// Whether a proof is by the same secret, for this nonce and this root. Its time tells nothing about the secret.
    #[must_use]
    pub fn is_proven(&self, nonce: &[u8; 32], root: Root<'_>, proof: &[u8]) -> bool {
        hmac::verify(&self.0, &message(nonce, root), proof).is_ok()
    }
}

impl std::fmt::Debug for Voucher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Voucher").finish_non_exhaustive()
    }
}

/// The authenticated octets: fields of fixed length, then the name.
fn message(nonce: &[u8; 32], root: Root<'_>) -> Vec<u8> {
    [LABEL, nonce, root.hash, root.overlay.as_bytes()].concat()
}

/// Least characters of a secret that is shared in this way: 32 of base64 are 192 bits.
pub const SHORTEST_SECRET: usize = 32;
/// No other use of the secret authenticates the same octets.
const LABEL: &[u8] = b"p2psip vouches for a configuration root";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_its_secret_nonce_and_root_alone() {
        let (voucher, root) = (Voucher::new("one secret"), [7; 32]);
        let of = |overlay, hash| Root { overlay, hash };
        let proof = voucher.prove(&[1; 32], of("example.org", &root));
        assert!(voucher.is_proven(&[1; 32], of("example.org", &root), &proof));
        assert!(!voucher.is_proven(&[2; 32], of("example.org", &root), &proof));
        assert!(!voucher.is_proven(&[1; 32], of("example.net", &root), &proof));
        assert!(!voucher.is_proven(&[1; 32], of("example.org", &[8; 32]), &proof));
        assert!(!Voucher::new("another").is_proven(&[1; 32], of("example.org", &root), &proof));
        assert!(!voucher.is_proven(&[1; 32], of("example.org", &root), &proof[..16]));
    }
}
