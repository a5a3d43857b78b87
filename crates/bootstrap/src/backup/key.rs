//! The key that backups are sealed to: its public half is with each service, its private half in `off-line/backup.key`.

use std::path::Path;

use aws_lc_rs::agreement::{PrivateKey, X25519};
use runtime::private;
use rustls::crypto::aws_lc_rs::hpke::DH_KEM_X25519_HKDF_SHA256_AES_256;
use rustls::crypto::hpke::{Hpke, HpkePrivateKey, HpkePublicKey};

use super::sealed::BackupError;

/// The private half.
pub struct BackupKey {
    private: HpkePrivateKey,
    public: BackupPublicKey,
}

/// The public half.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BackupPublicKey([u8; LENGTH]);

impl BackupKey {
    /// Makes a new one.
    ///
    /// # Errors
    /// When the library fails.
    pub fn generate() -> Result<BackupKey, BackupError> {
        let (_, private) = suite().generate_key_pair().map_err(|_| BackupError::Key)?;
        BackupKey::of(private.secret_bytes())
    }

    /// Reads what [`Self::store`] has written.
    ///
    /// # Errors
    /// Those of the file, or that it holds no such key.
    pub fn load(folder: &Path) -> Result<BackupKey, BackupError> {
        let path = folder.join(FILE);
        let text = std::fs::read_to_string(&path).map_err(|source| BackupError::Io {
            path: path.clone(),
            source,
        })?;
        let octets = wire::hex::decode(text.trim());
        octets
            .and_then(|octets| BackupKey::of(&octets).ok())
            .ok_or(BackupError::KeyFile { path })
    }

    /// Writes it for its owner alone.
    ///
    /// # Errors
    /// Those of the file.
    pub fn store(&self, folder: &Path) -> Result<(), BackupError> {
        let path = folder.join(FILE);
        let text = format!("{}\n", wire::hex::encode(self.private.secret_bytes()));
        private::write(&path, text.as_bytes()).map_err(|source| BackupError::Io { path, source })
    }

    /// Tells whether there is one in a folder.
    #[must_use]
    pub fn is_in(folder: &Path) -> bool {
        folder.join(FILE).exists()
    }

    /// The public half in hex, as the setting `bootstrap.backup_key` has it.
    #[must_use]
    pub fn public_hex(&self) -> String {
        wire::hex::encode(self.public.octets())
    }

    pub(crate) fn public(&self) -> &BackupPublicKey {
        &self.public
    }

    pub(super) fn private(&self) -> &HpkePrivateKey {
        &self.private
    }

    fn of(octets: &[u8]) -> Result<BackupKey, BackupError> {
        let private = PrivateKey::from_private_key(&X25519, octets).map_err(|_| BackupError::Key)?;
        let public = private.compute_public_key().map_err(|_| BackupError::Key)?;
        Ok(BackupKey {
            private: HpkePrivateKey::from(octets.to_vec()),
            public: BackupPublicKey::of(public.as_ref())?,
        })
    }
}

impl BackupPublicKey {
    pub(crate) fn of(octets: &[u8]) -> Result<BackupPublicKey, BackupError> {
        octets.try_into().map(BackupPublicKey).map_err(|_| BackupError::Key)
    }

    pub(crate) fn octets(&self) -> &[u8; LENGTH] {
        &self.0
    }

    pub(super) fn hpke(&self) -> HpkePublicKey {
        HpkePublicKey(self.0.to_vec())
    }
}

impl std::fmt::Debug for BackupKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BackupKey")
            .field("public", &self.public)
            .finish_non_exhaustive()
    }
}

/// RFC 9180 §7: DHKEM(X25519, HKDF-SHA256), HKDF-SHA256, AES-256-GCM.
pub(super) fn suite() -> &'static dyn Hpke {
    DH_KEM_X25519_HKDF_SHA256_AES_256
}

const FILE: &str = "backup.key";
/// RFC 9180 §7.1: octets of either half.
const LENGTH: usize = 32;
