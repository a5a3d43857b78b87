//! The off-line folder read again, on whatever machine it is.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use identity::issue::{Authority, Profile, Serial, Subject};
use identity::{Certificate, Key, Signer};
use overlay_config::{Basis, SignedDocument, is_newer};

use crate::backup::BackupKey;
use crate::error::RestoreError;
use crate::genesis::{OffLine, ROOT, SIGNER};

impl OffLine {
    /// Reads the folder that [`init`](crate::init) has written, with its newest document.
    ///
    /// # Errors
    /// The file that is missing, damaged, or does not fit the others.
    pub fn load(folder: &Path, now_ms: u64) -> Result<OffLine, RestoreError> {
        let (root_key, root_certificate) = pair(folder, ROOT)?;
        let root = Authority::new(root_key, root_certificate).map_err(|error| damaged(folder, ROOT, &error))?;
        let (key, certificate) = newest_signer(folder)?;
        // Its signatures count to us, who have the root, also after its end.
        let signed_ms = now_ms.min(certificate.not_after_ms());
        let document = newest_document(folder, root.certificate().hash(), signed_ms)?;
        let certificate =
            in_force(&root, (&key, certificate), &document, now_ms).map_err(|error| damaged(folder, SIGNER, &error))?;
        let signer = Signer::new(key, &certificate, &[]).map_err(|error| damaged(folder, SIGNER, &error))?;
        Ok(OffLine {
            root,
            signer,
            document,
            backup: BackupKey::load(folder)?,
        })
    }
}

/// The signer's certificate, or the next one if it has ended: it is below the root that lies beside it.
fn in_force(
    root: &Authority,
    (key, certificate): (&Key, Certificate),
    document: &SignedDocument,
    now_ms: u64,
) -> Result<Certificate, identity::issue::IssueError> {
    let Some(node_id) = certificate.node_ids().first().copied() else {
        return Ok(certificate);
    };
    if now_ms <= certificate.not_after_ms() {
        return Ok(certificate);
    }
    let subject = Subject {
        key: &key.public(),
        node_id,
        overlay: &document.document().overlay,
        user: None,
    };
    root.issue(Profile::ConfigurationSigner, &subject, now_ms, Serial::generate()?)
}

/// A signer hands over to the next one, in files that begin alike; the one that ends last signs what follows.
fn newest_signer(folder: &Path) -> Result<(Key, Certificate), RestoreError> {
    let (key, certificate) = pair(folder, SIGNER)?;
    let entries = fs::read_dir(folder).map_err(|source| unreadable(folder, source))?;
    let mut newest = (key, certificate);
    for entry in entries {
        let name = entry.map_err(|source| unreadable(folder, source))?.file_name();
        let name = name.to_string_lossy();
        if let Some(name) = name.strip_suffix(".der").filter(|name| name.starts_with(SIGNER)) {
            let other = pair(folder, name)?;
            if other.1.not_after_ms() > newest.1.not_after_ms() {
                newest = other;
            }
        }
    }
    Ok(newest)
}

/// Each change of the document leaves a file of its own; the one with the highest sequence number counts. Those of signers that have
/// ended are history.
fn newest_document(folder: &Path, root: [u8; 32], now_ms: u64) -> Result<SignedDocument, RestoreError> {
    let entries = fs::read_dir(folder).map_err(|source| unreadable(folder, source))?;
    let (mut newest, mut refused): (Option<SignedDocument>, Option<RestoreError>) = (None, None);
    for entry in entries {
        let path = entry.map_err(|source| unreadable(folder, source))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if !name.starts_with("document") || !name.ends_with(".xml") {
            continue;
        }
        let xml = Bytes::from(fs::read(&path).map_err(|source| unreadable(&path, source))?);
        let document = SignedDocument::parse_and_verify(xml, Basis::Root(root), now_ms);
        let document = match document {
            Ok(document) => document,
            Err(error) => {
                refused = refused.or(Some(damaged(folder, &name, &error)));
                continue;
            }
        };
        let known = newest.as_ref().map(|known| known.document().sequence);
        if known.is_none_or(|known| is_newer(document.document().sequence, known)) {
            newest = Some(document);
        }
    }
    let missing = || unreadable(&folder.join("document.xml"), std::io::ErrorKind::NotFound.into());
    newest.ok_or_else(|| refused.unwrap_or_else(missing))
}

fn pair(folder: &Path, name: &str) -> Result<(Key, Certificate), RestoreError> {
    let read = |path: PathBuf| fs::read(&path).map_err(|source| unreadable(&path, source));
    let pem = read(folder.join(format!("{name}.key")))?;
    let key = std::str::from_utf8(&pem)
        .map_err(|error| damaged(folder, name, &error))
        .and_then(|pem| Key::from_pem(pem).map_err(|error| damaged(folder, name, &error)))?;
    let der = read(folder.join(format!("{name}.der")))?;
    let certificate = Certificate::from_der(&der).map_err(|error| damaged(folder, name, &error))?;
    Ok((key, certificate))
}

fn unreadable(path: &Path, source: std::io::Error) -> RestoreError {
    RestoreError::OffLine {
        path: path.to_owned(),
        source,
    }
}

fn damaged(folder: &Path, name: &str, reason: &dyn std::fmt::Display) -> RestoreError {
    RestoreError::Damaged {
        path: folder.join(name),
        reason: reason.to_string(),
    }
}
