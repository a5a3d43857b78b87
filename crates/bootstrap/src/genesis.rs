//! Making a new overlay: all keys, the certificates of its CAs, and the first document.

use std::path::{Path, PathBuf};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use identity::issue::{
    Authority, IssueError, Profile, Serial, Subject, configuration_root, enrollment_ca, random_node_id,
};
use identity::{Key, KeyError, Sign as _, Signer};
use kv::{Batch, Options};
use overlay_config::{BootstrapNode, Document, SignedDocument};
use runtime::private;

use crate::backup::BackupKey;
use crate::error::{InitError, StartError};
use crate::state::{self, Founder, Octets, SERVICE, SERVICE_KEY, ServiceRecord};

/// What a new overlay is to be.
#[derive(Debug, Clone)]
pub struct Genesis {
    /// Its name.
    pub overlay: String,
    /// The peers through which others join.
    pub bootstrap_nodes: Vec<BootstrapNode>,
    /// The URLs of its enrollment servers, `https://HOST:PORT/enroll` each.
    pub enrollment_servers: Vec<String>,
    /// The folder for the off-line keys, written before the overlay exists: the operator is told to move it away. Without one
    /// the keys are only returned.
    pub off_line: Option<PathBuf>,
    /// The time in Unix milliseconds.
    pub now_ms: u64,
}

/// What must not stay on the bootstrap service's host: whoever has it rules the overlay.
#[derive(Debug)]
pub struct OffLine {
    /// The configuration root, which issues configuration signers.
    pub root: Authority,
    /// The signer of this and the next document.
    pub signer: Signer,
    /// The document, as every node gets it.
    pub document: SignedDocument,
    /// Opens the backups of the service.
    pub backup: BackupKey,
}

impl OffLine {
    /// Writes the keys and certificates to a folder for their owner alone.
    fn store(&self, folder: &Path) -> Result<(), InitError> {
        let failed = |source| InitError::OffLine {
            folder: folder.to_path_buf(),
            source,
        };
        private::make_folder(folder).map_err(failed)?;
        let root = (ROOT, self.root.key(), self.root.certificate().der());
        let signer = self.signer.certificates().first();
        let signer = signer.map(|leaf| (SIGNER, self.signer.key(), leaf));
        for (name, key, certificate) in std::iter::once(root).chain(signer) {
            let pem = key.to_pem().map_err(IssueError::from)?;
            private::write(&folder.join(format!("{name}.key")), pem.as_bytes()).map_err(failed)?;
            private::write(&folder.join(format!("{name}.der")), certificate).map_err(failed)?;
        }
        self.backup.store(folder)?;
        private::write(&folder.join("document.xml"), self.document.xml()).map_err(failed)
    }
}

/// Makes a new overlay and its bootstrap service's state in a folder, in one step or not at all.
///
/// # Errors
/// When the folder cannot be used or holds an overlay already, or the name cannot be one.
///
/// # Cancel safety
/// Dropped before it returns, the overlay may or may not exist, but its off-line keys are lost:
/// remove the folder.
pub async fn init(folder: &Path, options: Options, genesis: &Genesis) -> Result<OffLine, InitError> {
    let store = state::open(folder, options)?;
    if let Some(existing) = state::get::<ServiceRecord>(&store, SERVICE, SERVICE_KEY)? {
        return Err(InitError::Exists {
            folder: folder.to_path_buf(),
            overlay: existing.overlay,
        });
    }
    let (off_line, record) = make(genesis)?;
    if let Some(folder) = &genesis.off_line {
        off_line.store(folder)?;
    }
    let mut batch = Batch::new();
    state::put(&mut batch, SERVICE, SERVICE_KEY, &record);
    store.apply(batch).await.map_err(StartError::from)?;
    Ok(off_line)
}

fn make(genesis: &Genesis) -> Result<(OffLine, ServiceRecord), InitError> {
    let now_ms = genesis.now_ms;
    let root = configuration_root(&new_key()?, now_ms, new_serial()?)?;
    let authority = enrollment_ca(&new_key()?, now_ms, new_serial()?)?;
    let user_key = new_key()?;
    let (signer_id, user_signer) = (new_node_id()?, new_node_id()?);
    let first = Document::for_overlay(overlay_config::Genesis {
        overlay: &genesis.overlay,
        root_certs: vec![root.certificate().clone(), authority.certificate().clone()],
        configuration_signer: signer_id,
        user_signer,
        bootstrap_nodes: genesis.bootstrap_nodes.clone(),
    });
    let document = Document {
        enrollment_servers: genesis.enrollment_servers.clone(),
        ..first
    };
    // What no node could read is found out now.
    let document = Document::from_xml(&document.to_xml())?;
    let signer_key = new_key()?;
    let public = signer_key.public();
    let subject = Subject {
        key: &public,
        node_id: signer_id,
        overlay: &genesis.overlay,
        user: None,
    };
    let certificate = root.issue(Profile::ConfigurationSigner, &subject, now_ms, new_serial()?)?;
    let signer = Signer::new(signer_key, &certificate, &[]).map_err(IssueError::from)?;
    let document = SignedDocument::sign(document, &signer);
    let backup = BackupKey::generate()?;
    let record = ServiceRecord {
        overlay: genesis.overlay.clone(),
        authority_key: Octets::of(authority.key().pkcs8()),
        authority_certificate: Octets::of(authority.certificate().der()),
        user_key: Octets::of(user_key.pkcs8()),
        user_signer: Octets::of(user_signer.as_bytes()),
        record_keys: vec![(1, Octets::of(new_secret()?))],
        resealing: false,
        token_key: Octets::of(new_secret()?),
        backup_key: Some(Octets::of(backup.public().octets())),
        root: Octets::of(root.certificate().hash()),
        document: Octets::of(document.xml()),
        founder: Founder::Awaited,
    };
    let off_line = OffLine {
        root,
        signer,
        document,
        backup,
    };
    Ok((off_line, record))
}

/// Names of files in the off-line folder.
pub(crate) const ROOT: &str = "configuration-root";
pub(crate) const SIGNER: &str = "configuration-signer";

/// Draws octets from the system's random source.
pub(crate) fn random_octets<const N: usize>() -> Result<[u8; N], KeyError> {
    let mut octets = [0; N];
    SystemRandom::new()
        .fill(&mut octets)
        .map_err(|_| KeyError::Generation)?;
    Ok(octets)
}

fn new_secret() -> Result<[u8; 32], IssueError> {
    Ok(random_octets()?)
}

pub(crate) fn new_key() -> Result<Key, IssueError> {
    Ok(Key::generate()?)
}

pub(crate) fn new_serial() -> Result<Serial, IssueError> {
    Ok(Serial::generate()?)
}

pub(crate) fn new_node_id() -> Result<wire::NodeId, IssueError> {
    Ok(random_node_id()?)
}
