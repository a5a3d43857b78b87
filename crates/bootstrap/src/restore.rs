//! A new service in the place of all that were lost: from the off-line folder and a sealed backup, on any machine.
//!
//! It has a CA and a user signer of its own, beside those of the lost services: what those have issued and signed goes on until
//! it is renewed here. Their URLs are gone from the document. Nothing is half done: all is made in a draft folder, which takes
//! its name last.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use identity::issue::enrollment_ca;
use kv::{Batch, Options};
use overlay_config::{Basis, BootstrapNode, Document, Service, SignedDocument, is_newer};
use runtime::private;
use wire::KindId;

use crate::backup::{Contents, Sealed};
use crate::error::{RestoreError, StartError};
use crate::genesis::{OffLine, new_key, new_node_id, new_serial};
use crate::state::{self, Founder, Octets, SERVICE, SERVICE_KEY, ServiceRecord};

/// The sources of a restored service, and its place.
#[derive(Debug, Clone)]
pub struct Restore {
    /// The folder with the off-line keys.
    pub off_line: PathBuf,
    /// The backup, sealed.
    pub backup: Bytes,
    /// The URL of the new enrollment server.
    pub server: String,
    /// The peer beside it, through which others join.
    pub node: BootstrapNode,
    /// Whether no peer of the overlay is left, so that the first one to come forms the ring.
    pub is_alone: bool,
    /// The time in Unix milliseconds.
    pub now_ms: u64,
}

/// Makes the state of the new service in a folder, and leaves the document that names it in the off-line folder too.
///
/// # Errors
/// Something is missing, damaged or does not fit; the folder is as it was then.
///
/// # Cancel safety
/// Dropped before it returns, there is no service, or it is complete.
pub async fn restore(folder: &Path, options: Options, restore: &Restore) -> Result<SignedDocument, RestoreError> {
    if fs::read_dir(folder).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(RestoreError::Exists {
            folder: folder.to_owned(),
        });
    }
    let now_ms = restore.now_ms;
    let off_line = OffLine::load(&restore.off_line, now_ms)?;
    let sealed = Sealed::read(restore.backup.clone())?;
    let contents = Contents::from_json(&sealed.open(&off_line.backup)?)?;
    let made = make(&off_line, &contents, restore)?;

    let draft = draft_of(folder)?;
    let mut batch = Batch::new();
    contents.put_records(&mut batch)?;
    state::put(&mut batch, SERVICE, SERVICE_KEY, &made.record);
    let store = state::open(&draft, options)?;
    store.apply(batch).await.map_err(StartError::from)?;
    // It frees the folder.
    drop(store);
    let failed = |source| RestoreError::Folder {
        folder: folder.to_owned(),
        source,
    };
    private::rename(&draft, folder).map_err(failed)?;
    let path = restore
        .off_line
        .join(format!("document-{}.xml", made.document.document().sequence));
    let kept = private::write(&path, made.document.xml());
    kept.map_err(|source| RestoreError::NotKept {
        path,
        state: folder.to_owned(),
        source,
    })?;
    Ok(made.document)
}

/// The new service.
struct Made {
    record: ServiceRecord,
    document: SignedDocument,
}

fn make(off_line: &OffLine, contents: &Contents, restore: &Restore) -> Result<Made, RestoreError> {
    let now_ms = restore.now_ms;
    let root = off_line.root.certificate().hash();
    let newest = newest(off_line, contents, root, now_ms)?;
    let authority = enrollment_ca(&new_key()?, now_ms, new_serial()?)?;
    let (user_key, user_signer) = (new_key()?, new_node_id()?);
    let service = Service {
        url: restore.server.clone(),
        authority: authority.certificate().hash(),
        writer: user_signer,
    };
    let mut document = next(newest.document(), service, restore);
    document.root_certs.push(authority.certificate().clone());
    // What no node could read is found out now.
    let document = Document::from_xml(&document.to_xml())?;
    let document = SignedDocument::sign(document, &off_line.signer);
    let record = ServiceRecord {
        overlay: contents.overlay.clone(),
        authority_key: Octets::of(authority.key().pkcs8()),
        authority_certificate: Octets::of(authority.certificate().der()),
        user_key: Octets::of(user_key.pkcs8()),
        user_signer: Octets::of(user_signer.as_bytes()),
        record_keys: contents.record_keys.clone(),
        resealing: contents.resealing,
        token_key: contents.token_key.clone(),
        backup_key: Some(Octets::of(off_line.backup.public().octets())),
        root: Octets::of(root),
        document: Octets::of(document.xml()),
        founder: match restore.is_alone {
            true => Founder::Awaited,
            false => Founder::Elsewhere,
        },
    };
    Ok(Made { record, document })
}

/// The newer one of the off-line folder's document and the one that the lost service served.
fn newest(
    off_line: &OffLine,
    contents: &Contents,
    root: [u8; 32],
    now_ms: u64,
) -> Result<SignedDocument, RestoreError> {
    let known = &off_line.document;
    let overlay = &known.document().overlay;
    if contents.overlay != *overlay || contents.root.0 != root {
        return Err(RestoreError::OtherOverlay {
            backup: contents.overlay.clone(),
            off_line: overlay.clone(),
        });
    }
    let served = Bytes::copy_from_slice(&contents.document.0);
    match SignedDocument::parse_and_verify(served, Basis::Root(root), now_ms) {
        Ok(served) if is_newer(served.document().sequence, known.document().sequence) => Ok(served),
        _ => Ok(known.clone()),
    }
}

/// The next document: the new service alone answers, and its peer is one more to join through. What the lost ones issued and wrote
/// is believed until it ends.
fn next(newest: &Document, service: Service, restore: &Restore) -> Document {
    let mut document = newest.clone();
    let users = document.kinds.iter_mut().find(|kind| kind.id == KindId::P2PSIP_USER);
    if let Some(users) = users {
        users.writers.push(service.writer);
        // Each writes a record of its own.
        users.max_count = users.max_count.max(MAX_WRITERS);
    }
    document.services = newest.bootstrap_services();
    document.services.push(service);
    // RFC 6940 §6.3.2.1: numbers wrap from 65534 to 0.
    document.sequence = document.sequence.wrapping_add(1) % u16::MAX;
    document.enrollment_servers = vec![restore.server.clone()];
    if !document.bootstrap_nodes.contains(&restore.node) {
        document.bootstrap_nodes.push(restore.node.clone());
    }
    document
}

/// An empty folder beside the one to be; what an attempt that was cut off left there is of no use to anybody.
fn draft_of(folder: &Path) -> Result<PathBuf, RestoreError> {
    let mut name = folder.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let draft = folder.with_file_name(name);
    let failed = |source| RestoreError::Folder {
        folder: draft.clone(),
        source,
    };
    if draft.exists() {
        fs::remove_dir_all(&draft).map_err(failed)?;
    }
    private::make_folder(&draft).map_err(failed)?;
    Ok(draft)
}

/// Services that write records of one user, the lost ones with them.
const MAX_WRITERS: u32 = 8;
