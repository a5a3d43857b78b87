//! The folder of the off-line keys: the document as it was signed last, and what signs the next.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use identity::issue::{Authority, IssueError, Profile, Serial, Subject, random_node_id};
use identity::{Certificate, CertificateError, Key, KeyError, Sign as _, Signer};
use overlay_config::{Basis, Document, MAX_DOCUMENT, SignedDocument, is_newer};
use runtime::private;
use wire::NodeId;

/// The folder's document, and the signers that are valid.
pub(super) struct OffLine {
    folder: PathBuf,
    pub(super) document: Document,
    root: Certificate,
    /// The one that lives longest is last.
    pub(super) signers: Vec<Signer>,
    /// Signers that have ended.
    ended: Vec<NodeId>,
}

/// The next document, signed, before it is written.
pub(super) struct Made {
    pub(super) document: SignedDocument,
    /// A signer that it names for the first time, and whether it has just been issued.
    pub(super) new_signer: Option<Signer>,
    is_issued: bool,
}

/// Why there is no next document.
#[derive(Debug, thiserror::Error)]
pub(super) enum OffLineError {
    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("{} is no configuration document: {source}", path.display())]
    Document {
        path: PathBuf,
        source: overlay_config::Error,
    },
    #[error("{} is no configuration document: it has more than {MAX_DOCUMENT} octets or is not UTF-8", path.display())]
    NoText { path: PathBuf },
    #[error("{} is not a certificate: {source}", path.display())]
    Certificate { path: PathBuf, source: CertificateError },
    #[error("{} does not fit the certificate beside it: {source}", path.display())]
    Key { path: PathBuf, source: KeyError },
    #[error(
        "no configuration signer in {} is valid and named by its document.xml, so no node would believe the next document; \
         take the folder that signed the document in force",
        folder.display()
    )]
    NoSigner { folder: PathBuf },
    #[error("a new configuration signer is due, and {} cannot issue it: {source}", path.display())]
    Issue { path: PathBuf, source: IssueError },
    #[error("no node would take the next document: {0}")]
    Refused(overlay_config::Error),
    #[error(
        "the next document has {size} octets, and a message of the overlay has room for {room}: raise max-message-size first, \
         or unban nodes whose certificates have ended"
    )]
    TooLarge { size: usize, room: usize },
}

impl OffLine {
    /// Reads a folder.
    pub(super) fn open(folder: &Path, now_ms: u64) -> Result<Self, OffLineError> {
        let document = newest(folder)?;
        let root = certificate(&folder.join(format!("{ROOT}.der")))?;
        let (mut signers, mut ended) = (Vec::new(), Vec::new());
        // The first one, and those that were issued later.
        for path in files(folder, SIGNER, ".der")? {
            let certificate = certificate(&path)?;
            if certificate.not_after_ms() <= now_ms {
                ended.extend(certificate.node_ids());
                continue;
            }
            let path = path.with_extension("key");
            let signer = Signer::new(key(&path)?, &certificate, &[]);
            signers.push(signer.map_err(|source| OffLineError::Key { path, source })?);
        }
        signers.sort_by_key(Signer::until_ms);
        Ok(Self {
            folder: folder.to_owned(),
            document,
            root,
            signers,
            ended,
        })
    }

    /// Signs a document that follows the folder's. All signers sign it that are valid and named in it, so that nodes that have
    /// missed the one before believe it too.
    pub(super) fn sign(&self, mut next: Document, now_ms: u64) -> Result<Made, OffLineError> {
        let is_named = |signer: &&Signer| self.document.configuration_signers.contains(&signer.node_id());
        if !self.signers.iter().any(|signer| is_named(&signer)) {
            return Err(OffLineError::NoSigner {
                folder: self.folder.clone(),
            });
        }
        let lasts = |signer: &&Signer| signer.until_ms() >= now_ms.saturating_add(RENEWED_BEFORE);
        let (signer, is_issued) = match self.signers.last().filter(lasts) {
            // One that was issued for a document that was never written is named now.
            Some(signer) => (signer.clone(), false),
            None => (self.issue(now_ms)?, true),
        };
        for signers in [&mut next.configuration_signers, &mut next.kind_signers] {
            signers.retain(|named| !self.ended.contains(named));
            signers.insert(signer.node_id());
        }
        let others = self.signers.iter().filter(is_named);
        let others = others.filter(|other| other.node_id() != signer.node_id());
        let others: Vec<&dyn identity::Sign> = others.map(|other| other as &dyn identity::Sign).collect();
        let document = SignedDocument::sign_by(next, &signer, &others);
        self.check(&document, now_ms)?;
        let is_new = !is_named(&&signer);
        Ok(Made {
            document,
            new_signer: is_new.then_some(signer),
            is_issued,
        })
    }

    /// Whether nodes would take it, those that have the folder's document and those that come anew.
    fn check(&self, next: &SignedDocument, now_ms: u64) -> Result<(), OffLineError> {
        for basis in [Basis::Previous(&self.document), Basis::Root(self.root.hash())] {
            SignedDocument::parse_and_verify(next.xml().clone(), basis, now_ms).map_err(OffLineError::Refused)?;
        }
        let longest = self.document.max_message_size.min(next.document().max_message_size);
        let room = usize::try_from(longest).unwrap_or(usize::MAX).saturating_sub(AROUND);
        let room = room.min(MAX_DOCUMENT);
        let size = next.xml().len();
        if size > room {
            return Err(OffLineError::TooLarge { size, room });
        }
        Ok(())
    }

    fn issue(&self, now_ms: u64) -> Result<Signer, OffLineError> {
        let path = self.folder.join(format!("{ROOT}.key"));
        let key = key(&path)?;
        let issue = || -> Result<Signer, IssueError> {
            let root = Authority::new(key, self.root.clone())?;
            let own = Key::generate()?;
            let public = own.public();
            let subject = Subject {
                key: &public,
                node_id: random_node_id()?,
                overlay: &self.document.overlay,
                user: None,
            };
            let certificate = root.issue(Profile::ConfigurationSigner, &subject, now_ms, Serial::generate()?)?;
            Ok(Signer::new(own, &certificate, &[])?)
        };
        issue().map_err(|source| OffLineError::Issue { path, source })
    }

    /// Writes the next document, a new signer before it. At each moment the folder can sign what follows its `document.xml`.
    pub(super) fn write(&self, made: &Made) -> Result<PathBuf, OffLineError> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| OffLineError::Io { path, source }
        };
        if let Some(signer) = made.new_signer.as_ref().filter(|_| made.is_issued) {
            let path = self.folder.join(format!("{SIGNER}-{}.key", signer.node_id()));
            let pem = signer.key().to_pem();
            let pem = pem.map_err(|source| OffLineError::Key {
                path: path.clone(),
                source,
            })?;
            private::write(&path, pem.as_bytes()).map_err(failed(&path))?;
            let path = path.with_extension("der");
            let leaf = signer.certificates().first().cloned().unwrap_or_default();
            private::write(&path, &leaf).map_err(failed(&path))?;
        }
        let sequence = made.document.document().sequence;
        let numbered = self.folder.join(format!("document-{sequence}.xml"));
        for path in [&numbered, &self.folder.join(DOCUMENT)] {
            private::write(path, made.document.xml()).map_err(failed(path))?;
        }
        Ok(numbered)
    }
}

/// The document with the highest number: each change leaves a file of its own.
pub(super) fn newest(folder: &Path) -> Result<Document, OffLineError> {
    let mut newest = document(&folder.join(DOCUMENT))?;
    for path in files(folder, "document-", ".xml")? {
        let known = document(&path)?;
        if is_newer(known.sequence, newest.sequence) {
            newest = known;
        }
    }
    Ok(newest)
}

/// Reads a document, unverified.
pub(super) fn document(path: &Path) -> Result<Document, OffLineError> {
    let no_text = |_| OffLineError::NoText { path: path.to_owned() };
    let octets = octets(path)?;
    let text = std::str::from_utf8(&octets).map_err(no_text)?;
    Document::from_xml(text).map_err(|source| OffLineError::Document {
        path: path.to_owned(),
        source,
    })
}

/// Reads a file that is no longer than a document may be.
pub(super) fn octets(path: &Path) -> Result<Bytes, OffLineError> {
    let failed = |source| OffLineError::Io {
        path: path.to_owned(),
        source,
    };
    let mut octets = Vec::new();
    let longest = u64::try_from(MAX_DOCUMENT).unwrap_or(u64::MAX);
    let file = File::open(path).map_err(failed)?;
    let mut file = file.take(longest.saturating_add(1));
    file.read_to_end(&mut octets).map_err(failed)?;
    if octets.len() > MAX_DOCUMENT {
        return Err(OffLineError::NoText { path: path.to_owned() });
    }
    Ok(Bytes::from(octets))
}

fn certificate(path: &Path) -> Result<Certificate, OffLineError> {
    Certificate::from_bytes(octets(path)?).map_err(|source| OffLineError::Certificate {
        path: path.to_owned(),
        source,
    })
}

fn key(path: &Path) -> Result<Key, OffLineError> {
    let octets = octets(path)?;
    let pem = std::str::from_utf8(&octets).map_err(|_| OffLineError::NoText { path: path.to_owned() })?;
    Key::from_pem(pem).map_err(|source| OffLineError::Key {
        path: path.to_owned(),
        source,
    })
}

fn files(folder: &Path, start: &str, end: &str) -> Result<Vec<PathBuf>, OffLineError> {
    let failed = |source| OffLineError::Io {
        path: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(start) && name.ends_with(end) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

const DOCUMENT: &str = "document.xml";
const ROOT: &str = "configuration-root";
const SIGNER: &str = "configuration-signer";
/// A quarter of its life before it ends, in milliseconds.
const RENEWED_BEFORE: u64 = 90 * 24 * 3600 * 1000;
/// Octets of a ConfigUpdate beside the document: header, routes, signature and certificates.
const AROUND: usize = 4096;

#[cfg(test)]
mod tests {
    use super::super::change::{Change, change};
    use super::super::tests::{DAY, NOW, folder};
    use super::*;

    fn renewed(folder: &Path, now_ms: u64) -> (Document, SignedDocument) {
        let off_line = OffLine::open(folder, now_ms).unwrap();
        let next = change(&off_line.document, &Change::Renew).unwrap();
        let made = off_line.sign(next, now_ms).unwrap();
        off_line.write(&made).unwrap();
        (off_line.document, made.document)
    }

    fn is_taken(next: &SignedDocument, present: &Document, now_ms: u64) -> bool {
        SignedDocument::parse_and_verify(next.xml().clone(), Basis::Previous(present), now_ms).is_ok()
    }

    #[test]
    fn a_document_is_signed_and_kept_under_its_number() {
        let folder = folder();
        let (first, second) = renewed(folder.path(), NOW);
        assert!(is_taken(&second, &first, NOW));
        assert_eq!(second.document().configuration_signers, first.configuration_signers);
        for name in ["document-2.xml", "document.xml"] {
            assert_eq!(fs::read(folder.path().join(name)).unwrap(), **second.xml(), "{name}");
        }
    }

    /// `bootstrap restore` leaves one too.
    #[test]
    fn the_newest_document_in_the_folder_is_the_present_one() {
        let folder = folder();
        let first = fs::read(folder.path().join(DOCUMENT)).unwrap();
        renewed(folder.path(), NOW);
        fs::write(folder.path().join(DOCUMENT), first).unwrap();
        let (present, next) = renewed(folder.path(), NOW);
        assert_eq!((present.sequence, next.document().sequence), (2, 3));
    }

    #[test]
    fn a_signer_that_ends_soon_hands_over_to_the_next() {
        let folder = folder();
        let (mut present, mut days) = (OffLine::open(folder.path(), NOW).unwrap().document, 300);
        let first = present.clone();
        // Four years of signers; nobody has to come at a certain day.
        for _ in 0..5 {
            let now_ms = NOW + days * DAY;
            let (before, next) = renewed(folder.path(), now_ms);
            assert!(is_taken(&next, &present, now_ms));
            assert_ne!(before.configuration_signers, next.document().configuration_signers);
            present = next.document().clone();
            days += 300;
        }
        assert_eq!(present.configuration_signers.len(), 2, "the ended ones are gone");
        assert!(first.configuration_signers.is_disjoint(&present.configuration_signers));
    }

    #[test]
    fn nodes_that_missed_the_document_with_the_new_signer_take_the_one_after_it() {
        let folder = folder();
        let now_ms = NOW + 300 * DAY;
        let (first, _) = renewed(folder.path(), now_ms);
        let (second, third) = renewed(folder.path(), now_ms);
        assert!(is_taken(&third, &second, now_ms) && is_taken(&third, &first, now_ms));
        // Those that come when the old one has ended too.
        let root = certificate(&folder.path().join("configuration-root.der"))
            .unwrap()
            .hash();
        let later = NOW + 400 * DAY;
        assert!(SignedDocument::parse_and_verify(third.xml().clone(), Basis::Root(root), later).is_ok());
    }

    #[test]
    fn a_signer_that_was_issued_for_nothing_is_named_the_next_time() {
        let folder = folder();
        let now_ms = NOW + 300 * DAY;
        let before = fs::read(folder.path().join(DOCUMENT)).unwrap();
        let (_, lost) = renewed(folder.path(), now_ms);
        fs::write(folder.path().join(DOCUMENT), before).unwrap();
        fs::remove_file(folder.path().join("document-2.xml")).unwrap();
        let (first, second) = renewed(folder.path(), now_ms);
        assert_eq!(
            second.document().configuration_signers,
            lost.document().configuration_signers
        );
        assert!(is_taken(&second, &first, now_ms));
    }

    #[test]
    fn what_cannot_sign_is_told() {
        let folder = folder();
        let refusal = |now_ms: u64, change_it: &dyn Fn(&mut Document)| {
            let off_line = OffLine::open(folder.path(), now_ms);
            let signed = off_line.and_then(|off_line| {
                let mut next = change(&off_line.document, &Change::Renew).unwrap();
                change_it(&mut next);
                off_line.sign(next, now_ms)
            });
            signed.err().map(|error| error.to_string()).unwrap_or_default()
        };
        let ended = refusal(NOW + 400 * DAY, &|_| {});
        assert!(ended.contains("no configuration signer in"), "{ended}");
        let past = refusal(NOW, &|next| next.expiration_ms = Some(NOW));
        assert!(past.contains("no node would take the next document"), "{past}");
        let small = refusal(NOW, &|next| next.max_message_size = 4096);
        assert!(small.contains("raise max-message-size first"), "{small}");
        fs::write(folder.path().join("configuration-signer.key"), "no key").unwrap();
        let key = refusal(NOW, &|_| {});
        assert!(key.contains("configuration-signer.key does not fit"), "{key}");
    }
}
