//! The files of one node in one folder: keys in PEM, certificates in DER, readable by their owner alone.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use identity::{Certificate, Key, Signer};
use overlay_config::{Basis, SignatureError, SignedDocument, is_newer};
use runtime::{ExitCode, private};

use crate::failure::Failure;

/// A folder with what enrollment gave, or will give.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
}

/// Why a node has no credentials that it can use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialsError {
    #[error("{path} cannot be read or written: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{path} cannot be used: {reason}")]
    Damaged { path: PathBuf, reason: String },
    #[error("{path} begins to be valid at {from} (Unix s), which is still to come: set the clock right")]
    NotYetValid { path: PathBuf, from: u64 },
    #[error(
        "certificate {path} has ended at {until} (Unix s): `p2psip join --token-file FILE` with a new token, and --data as before, \
         renews it, and this host keeps its Node-ID and its data; if the clock is wrong, set it right"
    )]
    Ended { path: PathBuf, until: u64 },
    #[error("the configuration document {path}: {source}")]
    Document {
        path: PathBuf,
        source: overlay_config::Error,
    },
    #[error("key cannot be made or used: {0}")]
    Key(#[from] identity::KeyError),
}

impl Files {
    /// The folder in use.
    pub(super) fn of(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// The folder in which an enrollment is under way: under another name until the last file is there.
    pub(super) fn draft(folder: &Path) -> Result<Self, CredentialsError> {
        let mut name = folder.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let folder = folder.with_file_name(name);
        private::make_folder(&folder).map_err(failed(&folder))?;
        Ok(Self { folder })
    }

    /// Ends the draft: the folder is in use from now on.
    pub(super) fn finish(self, folder: &Path) -> Result<(), CredentialsError> {
        private::rename(&self.folder, folder).map_err(failed(folder))
    }

    pub(super) fn exist(&self) -> bool {
        self.folder.exists()
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.folder.join(name).exists()
    }

    pub(super) fn read(&self, name: &str) -> Result<Vec<u8>, CredentialsError> {
        let path = self.folder.join(name);
        fs::read(&path).map_err(failed(&path))
    }

    pub(super) fn write(&self, name: &str, contents: &[u8]) -> Result<(), CredentialsError> {
        let path = self.folder.join(name);
        private::write(&path, contents).map_err(failed(&path))
    }

    /// Gives a file the name of another, which it replaces.
    pub(super) fn replace(&self, name: &str, by: &str) -> Result<(), CredentialsError> {
        let path = self.folder.join(name);
        private::rename(&self.folder.join(by), &path).map_err(failed(&path))
    }

    pub(super) fn key(&self, name: &str) -> Result<Key, CredentialsError> {
        let file = key_file(name);
        let pem = self.read(&file)?;
        let pem = std::str::from_utf8(&pem).map_err(|error| self.damaged(&file, &error))?;
        Key::from_pem(pem).map_err(|error| self.damaged(&file, &error))
    }

    /// The key of that name. One that is not there yet is made and written first: what is asked for with it may be granted
    /// although the answer is lost, and the next try must come with the same key.
    pub(super) fn key_or_new(&self, name: &str) -> Result<Key, CredentialsError> {
        if self.has(&key_file(name)) {
            return self.key(name);
        }
        let key = Key::generate()?;
        self.write(&key_file(name), key.to_pem()?.as_bytes())?;
        Ok(key)
    }

    /// A certificate that is valid now.
    pub(super) fn certificate(&self, name: &str, now_ms: u64) -> Result<Certificate, CredentialsError> {
        let certificate = self.certificate_at_any_time(name)?;
        let path = || self.folder.join(certificate_file(name));
        let (from_ms, until_ms) = (certificate.not_before_ms(), certificate.not_after_ms());
        if now_ms < from_ms {
            let (path, from) = (path(), from_ms / 1000);
            return Err(CredentialsError::NotYetValid { path, from });
        }
        if now_ms > until_ms {
            let (path, until) = (path(), until_ms / 1000);
            return Err(CredentialsError::Ended { path, until });
        }
        Ok(certificate)
    }

    /// A certificate that may have ended.
    pub(super) fn certificate_at_any_time(&self, name: &str) -> Result<Certificate, CredentialsError> {
        let file = certificate_file(name);
        let der = Bytes::from(self.read(&file)?);
        Certificate::from_bytes(der).map_err(|error| self.damaged(&file, &error))
    }

    /// A key with its certificate, valid now.
    pub(super) fn signer(&self, name: &str, now_ms: u64) -> Result<Signer, CredentialsError> {
        let signer = Signer::new(self.key(name)?, &self.certificate(name, now_ms)?, &[]);
        signer.map_err(|error| self.damaged(name, &error))
    }

    /// The document, believed on the configuration root of the token.
    pub(super) fn document(&self, now_ms: u64) -> Result<(Arc<SignedDocument>, [u8; 32]), CredentialsError> {
        let root = self.root()?;
        let xml = Bytes::from(self.read(DOCUMENT)?);
        let document = SignedDocument::parse_and_verify(xml, Basis::Root(root), now_ms);
        let document = document.map_err(|source| {
            let path = self.folder.join(DOCUMENT);
            match begins_ms(&source).filter(|from_ms| now_ms < *from_ms) {
                Some(from_ms) => CredentialsError::NotYetValid {
                    path,
                    from: from_ms / 1000,
                },
                None => CredentialsError::Document { path, source },
            }
        })?;
        Ok((Arc::new(document), root))
    }

    /// The SHA-256 of the configuration root.
    pub(super) fn root(&self) -> Result<[u8; 32], CredentialsError> {
        let root = self.read(ROOT)?;
        let root = std::str::from_utf8(&root)
            .ok()
            .and_then(|text| wire::hex::decode(text.trim()));
        let root: Option<[u8; 32]> = root.and_then(|octets| octets.try_into().ok());
        root.ok_or_else(|| self.damaged(ROOT, &"it is no SHA-256 in hex"))
    }

    pub(super) fn write_document(&self, document: &SignedDocument, root: [u8; 32]) -> Result<(), CredentialsError> {
        self.write(ROOT, wire::hex::encode(&root).as_bytes())?;
        self.write(DOCUMENT, document.xml())
    }

    /// Keeps a document if it is newer than the one that is here and believed on the same root; whoever asks services next finds
    /// those that it names.
    pub(super) fn take_document(&self, document: &SignedDocument, now_ms: u64) -> Result<(), CredentialsError> {
        let root = self.root()?;
        let is_next = match self.document(now_ms) {
            Ok((kept, _)) => {
                let (kept, new) = (kept.document(), document.document());
                new.overlay == kept.overlay && is_newer(new.sequence, kept.sequence)
            }
            Err(error) if error.is_over() => true,
            Err(error) => return Err(error),
        };
        if !is_next {
            return Ok(());
        }
        match SignedDocument::parse_and_verify(document.xml().clone(), Basis::Root(root), now_ms) {
            Ok(document) => self.write_document(&document, root),
            Err(error) => {
                tracing::debug!(%error, "newer document not kept");
                Ok(())
            }
        }
    }

    pub(super) fn damaged(&self, name: &str, reason: &dyn std::fmt::Display) -> CredentialsError {
        CredentialsError::Damaged {
            path: self.folder.join(name),
            reason: reason.to_string(),
        }
    }
}

impl CredentialsError {
    /// Whether something has ended that may be had anew.
    pub(crate) fn is_over(&self) -> bool {
        use overlay_config::Error::{Expired, Signature};
        matches!(
            self,
            Self::Ended { .. }
                | Self::Document {
                    source: Expired { .. } | Signature { .. },
                    ..
                }
        )
    }
}

impl From<CredentialsError> for Failure {
    fn from(error: CredentialsError) -> Self {
        let code = match &error {
            CredentialsError::NotYetValid { .. }
            | CredentialsError::Ended { .. }
            | CredentialsError::Document {
                source: overlay_config::Error::Expired { .. },
                ..
            } => ExitCode::Credentials,
            CredentialsError::Document {
                source: overlay_config::Error::CannotObey(_),
                ..
            } => ExitCode::Usage,
            CredentialsError::Io { .. } | CredentialsError::Damaged { .. } | CredentialsError::Document { .. } => {
                ExitCode::CannotStart
            }
            CredentialsError::Key(_) => ExitCode::Internal,
        };
        Self::new(code, error)
    }
}

/// When the certificate begins whose time a document's signature is out of.
pub(super) fn begins_ms(error: &overlay_config::Error) -> Option<u64> {
    match error {
        overlay_config::Error::Signature {
            source: SignatureError::Identity(identity::Error::NotValidNow { from_ms, .. }),
            ..
        } => Some(*from_ms),
        _ => None,
    }
}

pub(super) fn key_file(name: &str) -> String {
    format!("{name}.key")
}

pub(super) fn certificate_file(name: &str) -> String {
    format!("{name}.der")
}

fn failed(path: &Path) -> impl Fn(io::Error) -> CredentialsError {
    let path = path.to_owned();
    move |source| CredentialsError::Io {
        path: path.clone(),
        source,
    }
}

const ROOT: &str = "root";
pub(super) const DOCUMENT: &str = "document.xml";
