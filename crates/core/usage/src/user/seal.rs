//! Sealing and opening the secret part of a record.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    hkdf,
};
use wire::{KindId, ResourceId};
use zeroize::Zeroize;

use super::{
    cursor::Cursor,
    ha1::{Ha1, Hashes},
    record::{NONCE, Public, Record, RecordError},
};

/// Secrets are padded to a multiple of this, so that a record's size tells little about names.
const PADDING: usize = 64;

/// What only edges and the bootstrap service may read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Secret {
    /// The AOR, `user@domain`.
    pub user: String,
    /// The digest realm, the AOR's domain.
    pub realm: String,
    /// The name that phones show.
    pub display_name: String,
    /// The digest credentials.
    pub hashes: Hashes,
}

impl Secret {
    fn to_padded(&self) -> Result<Vec<u8>, SealError> {
        let mut out = Vec::with_capacity(4 * PADDING);
        for (field, text) in [
            ("user", &self.user),
            ("realm", &self.realm),
            ("display name", &self.display_name),
        ] {
            let length = u8::try_from(text.len()).map_err(|_| SealError::TooLong {
                field,
                length: text.len(),
            })?;
            out.push(length);
            out.extend_from_slice(text.as_bytes());
        }
        for hash in [&self.hashes.user, &self.hashes.user_at_domain] {
            out.extend_from_slice(hash.md5());
            out.extend_from_slice(hash.sha256());
        }
        out.resize(out.len().next_multiple_of(PADDING), 0);
        Ok(out)
    }

    fn from_padded(padded: &[u8]) -> Option<Self> {
        let mut cursor = Cursor(padded);
        let user = cursor.text()?.to_owned();
        let realm = cursor.text()?.to_owned();
        let display_name = cursor.text()?.to_owned();
        let hashes = Hashes {
            user: Ha1::from_parts(cursor.array()?, cursor.array()?),
            user_at_domain: Ha1::from_parts(cursor.array()?, cursor.array()?),
        };
        let is_padding = cursor.0.len() < PADDING && cursor.0.iter().all(|octet| *octet == 0);
        is_padding.then_some(Self {
            user,
            realm,
            display_name,
            hashes,
        })
    }
}

/// The overlay's record key in one version; edges get it when they enroll.
#[derive(Clone)]
pub struct RecordKey {
    version: u32,
    key: [u8; 32],
}

impl RecordKey {
    /// Takes the key's octets.
    pub fn new(version: u32, key: [u8; 32]) -> Self {
        Self { version, key }
    }

    /// Returns the key's version.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Shows the key's octets, to hand them to an enrolled edge or to write them to a file.
    pub fn octets(&self) -> &[u8; 32] {
        &self.key
    }

    /// Makes a record for an overlay and an AOR's Resource-ID; `public.record_key_version` becomes this key's.
    /// The nonce must be random and new for each call.
    ///
    /// # Errors
    /// When a text is longer than 255 octets or too many edges are named.
    #[expect(
        clippy::too_many_arguments,
        reason = "place, public part, secrets and nonce are four different things"
    )]
    pub fn seal(
        &self,
        overlay: &str,
        resource: ResourceId,
        public: Public,
        secret: &Secret,
        nonce: [u8; NONCE],
    ) -> Result<Record, SealError> {
        let public = Public {
            record_key_version: self.version,
            ..public
        };
        let head = public.to_bytes()?;
        let associated = associated(overlay, resource, &head);
        let mut sealed = secret.to_padded()?;
        self.cipher(&associated)?
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(&associated), &mut sealed)
            .map_err(|_| SealError::Cipher)?;
        Ok(Record::assemble(public, &head, &nonce, &sealed))
    }

    /// Opens a record that was found at this place.
    ///
    /// # Errors
    /// When the record was sealed under another key version, was moved or edited, or holds no secrets of this format.
    pub fn open(&self, overlay: &str, resource: ResourceId, record: &Record) -> Result<Secret, SealError> {
        let found = record.public().record_key_version;
        if found != self.version {
            return Err(SealError::KeyVersion {
                found,
                own: self.version,
            });
        }
        let (head, nonce, sealed) = record.parts().ok_or(SealError::Record(RecordError::Short))?;
        let associated = associated(overlay, resource, head);
        let mut buffer = sealed.to_vec();
        let secret = self
            .cipher(&associated)?
            .open_in_place(Nonce::assume_unique_for_key(nonce), Aad::from(&associated), &mut buffer)
            .map_err(|_| SealError::NotAuthentic)
            .and_then(|padded| Secret::from_padded(padded).ok_or(SealError::Secret));
        buffer.zeroize();
        secret
    }

    /// Derives the cipher of one record: a key of its own, so that random nonces of all records never meet.
    fn cipher(&self, associated: &[u8]) -> Result<LessSafeKey, SealError> {
        let info = [associated];
        let pseudo_random = hkdf::Salt::new(hkdf::HKDF_SHA256, &[]).extract(&self.key);
        let derived = pseudo_random
            .expand(&info, &AES_256_GCM)
            .map_err(|_| SealError::Cipher)?;
        Ok(LessSafeKey::new(UnboundKey::from(derived)))
    }
}

impl Drop for RecordKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordKey(version {})", self.version)
    }
}

/// What the seal covers beside the secrets: overlay, place, Kind and the public part.
fn associated(overlay: &str, resource: ResourceId, head: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(overlay.len() + 1 + 16 + 4 + head.len());
    out.extend_from_slice(overlay.as_bytes());
    out.push(0);
    out.extend_from_slice(resource.as_bytes());
    out.extend_from_slice(&KindId::P2PSIP_USER.0.to_be_bytes());
    out.extend_from_slice(head);
    out
}

/// Why a record cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// A text does not fit.
    #[error("the {field} of a user record has {length} octets, at most 255 fit")]
    TooLong {
        /// Which text.
        field: &'static str,
        /// Its length.
        length: usize,
    },
    /// The public part is bad.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// It needs another key.
    #[error("the user record is sealed under record key version {found}, this is version {own}")]
    KeyVersion {
        /// The version that the record names.
        found: u32,
        /// The version of the key at hand.
        own: u32,
    },
    /// It was sealed under another key, for another place, or was changed.
    #[error("the user record does not open: wrong key, wrong place, or changed")]
    NotAuthentic,
    /// It opened, but what was inside is not understood.
    #[error("the secret part of the user record is not understood")]
    Secret,
    /// The library refused.
    #[error("the cipher refused")]
    Cipher,
}
