//! What one component shows to others, and whom it believes.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::RwLock;
use pki_types::pem::PemObject as _;
use pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ServerConfig};
use zeroize::Zeroizing;

use super::CredentialsError;
use super::files::{self, CA, CERTIFICATE, KEY, Stamp};
use crate::{Role, tls};

/// The key and certificate of one component, with the certificate of the peer's authority; clones share them.
///
/// One that was loaded looks at its folder again before each handshake: exchange the files, and the next connection uses
/// the new ones. Files that do not fit together are not taken over; connections that are open stay. While an authority is
/// exchanged, `ca.pem` may hold the certificates of the old and of the new one.
#[derive(Clone)]
pub struct ComponentIdentity {
    shared: Arc<Shared>,
}

struct Shared {
    role: Role,
    /// Where it came from; none if it was made in this process.
    folder: Option<PathBuf>,
    current: RwLock<Current>,
}

struct Current {
    stamps: Stamps,
    credentials: Arc<Credentials>,
}

/// Of the authority's certificate, the own certificate and the key.
type Stamps = [Option<Stamp>; 3];

/// The three texts.
pub(super) struct Pem {
    pub(super) ca: String,
    pub(super) certificate: String,
    pub(super) key: Zeroizing<String>,
}

/// The texts and what TLS makes of them.
pub(crate) struct Credentials {
    pem: Pem,
    pub(crate) server: Arc<ServerConfig>,
    pub(crate) client: Arc<ClientConfig>,
}

impl ComponentIdentity {
    /// Reads what [`store`](Self::store) wrote.
    ///
    /// # Errors
    /// [`CredentialsError::Missing`] when it is not there (yet); others when it cannot be used.
    pub fn load(folder: &Path) -> Result<Self, CredentialsError> {
        let (stamps, (role, credentials)) = (stamps(folder), read(folder)?);
        Ok(Self::new(role, Some(folder.into()), stamps, credentials))
    }

    /// Writes the files into a folder of their own, which only this user may enter. The certificate comes last: without it
    /// there is nothing to load.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn store(&self, folder: &Path) -> Result<(), CredentialsError> {
        let credentials = Arc::clone(&self.shared.current.read().credentials);
        files::make_private(folder)?;
        files::write(&folder.join(KEY), &credentials.pem.key)?;
        files::write(&folder.join(CA), &credentials.pem.ca)?;
        files::write(&folder.join(CERTIFICATE), &credentials.pem.certificate)
    }

    /// The role that the certificate names.
    #[must_use]
    pub fn role(&self) -> Role {
        self.shared.role
    }

    /// Takes over what an authority in this process has just made.
    pub(super) fn made(pem: Pem) -> Result<Self, CredentialsError> {
        let (role, credentials) = Credentials::new(pem, Path::new(""))?;
        Ok(Self::new(role, None, Stamps::default(), credentials))
    }

    fn new(role: Role, folder: Option<PathBuf>, stamps: Stamps, credentials: Credentials) -> Self {
        let current = RwLock::new(Current {
            stamps,
            credentials: Arc::new(credentials),
        });
        let shared = Shared { role, folder, current };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Gives what the next handshake uses.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn current(&self) -> Arc<Credentials> {
        if self.shared.folder.is_some() {
            let shared = Arc::clone(&self.shared);
            // A look that panicked is one without news.
            let _ = tokio::task::spawn_blocking(move || shared.look_again()).await;
        }
        Arc::clone(&self.shared.current.read().credentials)
    }
}

impl Shared {
    /// Takes over files that have changed since they were last looked at.
    fn look_again(&self) {
        let Some(folder) = &self.folder else { return };
        let found = stamps(folder);
        let is_known = self.current.read().stamps == found;
        if is_known {
            return;
        }
        let reading = read(folder);
        let mut current = self.current.write();
        current.stamps = found;
        match reading {
            Ok((role, credentials)) if role == self.role => {
                tracing::info!(folder = %folder.display(), "component certificate exchanged");
                current.credentials = Arc::new(credentials);
            }
            Ok((role, _)) => {
                tracing::warn!(folder = %folder.display(), %role, "component certificate of another role ignored");
            }
            Err(error) => tracing::warn!(%error, "changed component certificate ignored"),
        }
    }
}

impl Credentials {
    /// Checks that the texts fit together; `folder` is for messages.
    fn new(pem: Pem, folder: &Path) -> Result<(Role, Self), CredentialsError> {
        let path = |name: &str| folder.join(name);
        let authorities: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem.ca.as_bytes()).collect();
        let authorities = authorities.map_err(|error| files::unusable(&path(CA), &error))?;
        let certificate = CertificateDer::from_pem_slice(pem.certificate.as_bytes());
        let certificate = certificate.map_err(|error| files::unusable(&path(CERTIFICATE), &error))?;
        let key = PrivateKeyDer::from_pem_slice(pem.key.as_bytes());
        let key = key.map_err(|error| files::unusable(&path(KEY), &error))?;

        let path = path(CERTIFICATE);
        let names = tls::names(&certificate).map_err(|error| files::unusable(&path, &error))?;
        if !names.is_valid_at(SystemTime::now()) {
            return Err(CredentialsError::NotValidNow { path });
        }
        let no_role = || files::unusable(&path, &"it names no role of a component");
        let role = names.roles.iter().next().ok_or_else(no_role)?;
        if !tls::is_issued_by(&certificate, &authorities) {
            return Err(files::unusable(
                &path,
                &format_args!("{CA} beside it is not of its authority"),
            ));
        }
        let (server, client) =
            tls::configs(authorities, certificate, key).map_err(|error| files::unusable(&path, &error))?;
        let credentials = Self { pem, server, client };
        Ok((role, credentials))
    }
}

impl std::fmt::Debug for ComponentIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ComponentIdentity")
            .field("role", &self.shared.role)
            .field("folder", &self.shared.folder)
            .finish_non_exhaustive()
    }
}

fn stamps(folder: &Path) -> Stamps {
    [CA, CERTIFICATE, KEY].map(|name| files::stamp(&folder.join(name)))
}

fn read(folder: &Path) -> Result<(Role, Credentials), CredentialsError> {
    let pem = Pem {
        certificate: files::read(&folder.join(CERTIFICATE))?,
        ca: files::read(&folder.join(CA))?,
        key: files::read_secret(&folder.join(KEY))?,
    };
    Credentials::new(pem, folder)
}
