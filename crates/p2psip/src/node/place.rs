//! The folder that the components of one peer share: how they know each other, and how they get into the overlay.
//!
//! ```text
//! FOLDER/token             the token for the peer's enrollment, worth nothing once its places are taken
//! FOLDER/founder           there if this peer forms the ring at its first start
//! FOLDER/overlay/ storage/ sip-edge/ bootstrap/ operator/
//!                          the certificate under which each meets the others, and the peer's own authority
//! ```
//!
//! It is made whole under another name and then put in its place: who sees it sees all of it. The key of the authority is
//! forgotten once the five certificates are issued, so nobody can ever add a component to a peer.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rpc::{ComponentAuthority, ComponentIdentity, CredentialsError, Role};
use runtime::{Component, ExitCode, State, private};
use tracing::{info, warn};

use crate::enroll::Token;
use crate::failure::Failure;

/// The folder of one peer, which may still have to be made.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    folder: PathBuf,
}

impl Place {
    pub(crate) fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
        }
    }

    /// Makes the folder.
    pub(crate) fn make(&self, token: &Token, is_founder: bool) -> Result<(), Failure> {
        let new = self.folder.with_extension("new");
        if new.exists() {
            fs::remove_dir_all(&new).map_err(|source| failed(&new, source))?;
        }
        private::make_folder(&new).map_err(|source| failed(&new, source))?;
        let authority = ComponentAuthority::generate().map_err(Failure::internal)?;
        for role in ROLES {
            let identity = authority.issue(role).map_err(Failure::internal)?;
            identity.store(&new.join(role.name())).map_err(Failure::cannot_start)?;
        }
        let write = |name: &str, contents: &str| {
            let path = new.join(name);
            private::write(&path, contents.as_bytes()).map_err(|source| failed(&path, source))
        };
        write(TOKEN, &token.to_string())?;
        if is_founder {
            write(FOUNDER, "")?;
        }
        private::rename(&new, &self.folder).map_err(|source| failed(&self.folder, source))
    }

    /// Whether the folder was made.
    pub(crate) fn exists(&self) -> bool {
        self.folder.exists()
    }

    /// Whether this peer forms the ring at its first start.
    pub(crate) fn is_founder(&self) -> bool {
        self.folder.join(FOUNDER).exists()
    }

    /// The token, unless the peer has none. It waits while the folder is not there: a bootstrap service elsewhere makes it.
    pub(crate) async fn token(&self, component: impl FnOnce() -> Component) -> Result<Option<String>, Failure> {
        self.made(component).await;
        let path = self.folder.join(TOKEN);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(failed(&path, source)),
        }
    }

    /// The certificate of a component; it waits like [`token`](Self::token).
    pub(crate) async fn identity(
        &self,
        role: Role,
        component: impl FnOnce() -> Component,
    ) -> Result<ComponentIdentity, Failure> {
        self.made(component).await;
        let loaded = ComponentIdentity::load(&self.folder.join(role.name()));
        loaded.map_err(|error| match error {
            CredentialsError::NotValidNow { .. } => Failure::new(ExitCode::Credentials, error),
            error => Failure::cannot_start(error),
        })
    }

    async fn made(&self, component: impl FnOnce() -> Component) {
        if self.exists() {
            return;
        }
        let folder = self.folder.display();
        warn!(%folder, "waiting for the folder of this peer (key peer.folder)");
        component().tell(waiting(format!("waiting for {folder}")));
        while !self.exists() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        info!(%folder, "the folder of this peer is there");
    }
}

fn failed(path: &Path, source: std::io::Error) -> Failure {
    Failure::cannot_start(anyhow::Error::new(source).context(path.display().to_string()))
}

/// A component that cannot begin yet.
pub(crate) fn waiting(reason: String) -> State {
    State {
        reasons: vec![reason],
        ..State::default()
    }
}

const TOKEN: &str = "token";
const FOUNDER: &str = "founder";
const ROLES: [Role; 5] = [
    Role::Overlay,
    Role::Storage,
    Role::SipEdge,
    Role::Bootstrap,
    Role::Operator,
];
const LOOK_AGAIN: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests {
    use runtime::Monitor;

    use super::*;

    fn token() -> Token {
        Token {
            overlay: "example.org".into(),
            root: [7; 32],
            servers: Vec::new(),
            secret: "s3cret".into(),
        }
    }

    #[tokio::test]
    async fn a_place_has_a_certificate_for_each_role() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::at(&folder.path().join("peer"));
        place.make(&token(), true).unwrap();
        let component = Monitor::new().component("test", "");
        let kept = place.token(|| component.clone()).await.unwrap().unwrap();
        assert_eq!(kept.parse(), Ok(token()));
        assert!(place.is_founder());
        for role in ROLES {
            assert_eq!(place.identity(role, || component.clone()).await.unwrap().role(), role);
        }
    }

    #[tokio::test]
    async fn a_component_waits_for_its_place_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::at(&folder.path().join("peer"));
        let monitor = Monitor::new();
        let waits = tokio::spawn({
            let (place, component) = (place.clone(), monitor.component("storage", ""));
            async move { place.identity(Role::Storage, || component).await }
        });
        while !monitor
            .health()
            .reasons()
            .iter()
            .any(|reason| reason.contains("waiting for"))
        {
            tokio::task::yield_now().await;
        }
        place.make(&token(), false).unwrap();
        assert_eq!(waits.await.unwrap().unwrap().role(), Role::Storage);
        assert!(!place.is_founder());
    }
}
