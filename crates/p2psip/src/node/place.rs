//! The folder that the components of one peer share: how they know each other, and how they get into the overlay.
//!
//! ```text
//! FOLDER/token             the token for the peer's enrollment, worth nothing once its places are taken
//! FOLDER/founder           there if this peer forms the ring at its first start, unless another was told to
//! FOLDER/overlay/ storage/ sip-edge/ bootstrap/ operator/
//!                          the certificate under which each meets the others, and the peer's own authority
//! ```
//!
//! It is made whole under another name and then put in its place: who sees it sees all of it. The key of the authority is
//! forgotten once the five certificates are issued, so nobody can ever add a component to a peer.
//!
//! `init`, `join` and a bootstrap service that makes its overlay make it beforehand. A component that was given a token in a file does so
//! itself; one that knows the secret of a site needs no folder, because its certificate follows from that.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use identity::SHORTEST_SECRET;
use rpc::{ComponentAuthority, ComponentIdentity, CredentialsError, Role};
use runtime::{Component, ExitCode, private, secret};
use tracing::info;

use super::waiting::Waiting;
use crate::enroll::Token;
use crate::failure::Failure;
use crate::settings;

/// The folder of one peer, which may still have to be made.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    folder: PathBuf,
    token_file: Option<PathBuf>,
    servers: Vec<String>,
    site_file: Option<PathBuf>,
}

/// The credential that lets a peer into its overlay.
#[derive(Debug)]
pub(crate) enum Invitation {
    /// A whole token.
    Token(Token),
    /// The secret of one, and servers that know it too.
    Secret {
        /// It is sent only to servers that prove to know it.
        secret: String,
        servers: Vec<String>,
    },
}

impl Place {
    pub(crate) fn at(folder: &Path) -> Self {
        Self {
            folder: folder.to_owned(),
            token_file: None,
            servers: Vec::new(),
            site_file: None,
        }
    }

    /// The place that a process is told of.
    pub(crate) fn of(settings: &settings::Peer) -> Self {
        Self {
            folder: settings.folder.clone(),
            token_file: settings.token_file.clone(),
            servers: settings.servers.clone(),
            site_file: settings.site_file.clone(),
        }
    }

    /// Makes the folder, with a token in it.
    pub(crate) fn make(&self, token: &Token, is_founder: bool) -> Result<(), Failure> {
        let founder = is_founder.then(|| (FOUNDER, String::new()));
        let files = [(TOKEN, token.to_string())].into_iter().chain(founder);
        self.make_with(files)
    }

    /// Makes the folder without a token, unless it is there: certificates alone, under the authority of the site if there is one.
    pub(crate) fn make_roles(&self) -> Result<(), Failure> {
        match self.exists() {
            true => Ok(()),
            false => self.make_with(std::iter::empty()),
        }
    }

    fn make_with(&self, files: impl Iterator<Item = (&'static str, String)>) -> Result<(), Failure> {
        // Components of one peer may make it at the same time, each under a name of its own.
        let new = self.folder.with_extension(format!("new-{}", std::process::id()));
        if new.exists() {
            fs::remove_dir_all(&new).map_err(|source| failed(&new, source))?;
        }
        private::make_folder(&new).map_err(|source| failed(&new, source))?;
        let authority = match self.site()? {
            Some(site) => site,
            None => ComponentAuthority::generate().map_err(Failure::internal)?,
        };
        for role in ROLES {
            let identity = authority.issue(role).map_err(Failure::internal)?;
            identity.store(&new.join(role.name())).map_err(Failure::cannot_start)?;
        }
        for (name, contents) in files {
            let path = new.join(name);
            private::write(&path, contents.as_bytes()).map_err(|source| failed(&path, source))?;
        }
        match private::rename(&new, &self.folder) {
            Ok(()) => Ok(()),
            // Another was first.
            Err(_) if self.exists() => fs::remove_dir_all(&new).map_err(|source| failed(&new, source)),
            Err(source) => Err(failed(&self.folder, source)),
        }
    }

    /// Whether the folder was made.
    pub(crate) fn exists(&self) -> bool {
        self.folder.exists()
    }

    /// Whether this peer was chosen to form the ring at its first start.
    pub(crate) fn is_founder(&self) -> bool {
        self.folder.join(FOUNDER).exists()
    }

    /// The credential that lets this peer in. Where no file with a token is named, it waits while the folder is not there: a bootstrap service
    /// elsewhere makes it.
    pub(crate) async fn invitation(&self, component: impl FnOnce() -> Component) -> Result<Invitation, Failure> {
        let own = self.folder.join(TOKEN);
        if let Some(file) = self.token_file.as_ref().filter(|_| !own.exists()) {
            return self.given(file);
        }
        self.made(component).await;
        match fs::read_to_string(&own) {
            Ok(text) => text
                .parse()
                .map(Invitation::Token)
                .map_err(|error| Failure::new(ExitCode::Credentials, error)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let message = "this node is not enrolled and has no token: `p2psip join TOKEN` brings it into an overlay, or name \
                               the file of one (key peer.token_file)";
                Err(Failure::new(ExitCode::Credentials, anyhow::anyhow!(message)))
            }
            Err(source) => Err(failed(&own, source)),
        }
    }

    /// Reads the file with the token or its bare secret.
    fn given(&self, file: &Path) -> Result<Invitation, Failure> {
        let text = read_secret("peer.token_file", file)?;
        if Token::is_begun_by(&text) {
            let token = text.parse::<Token>();
            return token.map(Invitation::Token).map_err(|error| {
                let message = format!("{} (key peer.token_file): {error}", file.display());
                Failure::new(ExitCode::Credentials, anyhow::anyhow!(message))
            });
        }
        if self.servers.is_empty() {
            return Err(Failure::usage(format!(
                "{} holds a bare secret: say where to enroll (key peer.servers), as [\"https://bootstrap.example.org:8443\"]",
                file.display()
            )));
        }
        Ok(Invitation::Secret {
            secret: long_enough("peer.token_file", file, text)?,
            servers: self.servers.clone(),
        })
    }

    /// The certificate of a component. Where it neither is there nor can be made, it waits like [`invitation`](Self::invitation).
    pub(crate) async fn identity(
        &self,
        role: Role,
        component: impl FnOnce() -> Component,
    ) -> Result<ComponentIdentity, Failure> {
        let folder = self.folder.join(role.name());
        if !folder.exists() {
            if let Some(site) = self.site()? {
                return site.issue(role).map_err(Failure::internal);
            }
            if self.token_file.is_some() {
                self.make_roles()?;
            }
        }
        self.made(component).await;
        let loaded = ComponentIdentity::load(&folder);
        loaded.map_err(|error| match error {
            CredentialsError::NotValidNow { .. } => Failure::new(ExitCode::Credentials, error),
            error => Failure::cannot_start(error),
        })
    }

    /// The certificate of this place's operator, if the place has one or a site from which it follows.
    pub(crate) fn operator(&self) -> Result<Option<ComponentIdentity>, Failure> {
        let folder = self.folder.join(Role::Operator.name());
        if folder.exists() {
            return ComponentIdentity::load(&folder)
                .map(Some)
                .map_err(Failure::cannot_start);
        }
        let Some(site) = self.site()? else { return Ok(None) };
        site.issue(Role::Operator).map(Some).map_err(Failure::internal)
    }

    /// The authority of the site, if there is one.
    fn site(&self) -> Result<Option<ComponentAuthority>, Failure> {
        let Some(file) = &self.site_file else { return Ok(None) };
        let secret = long_enough("peer.site_file", file, read_secret("peer.site_file", file)?)?;
        ComponentAuthority::of_site(&secret)
            .map(Some)
            .map_err(Failure::internal)
    }

    async fn made(&self, component: impl FnOnce() -> Component) {
        if self.exists() {
            return;
        }
        let folder = self.folder.display();
        let (component, mut waiting) = (component(), Waiting::default());
        while !self.exists() {
            waiting.tell(
                &component,
                format!("waiting for {folder} (key peer.folder); without one, name a file with a token (key peer.token_file)"),
            );
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        info!(%folder, "the folder of this peer is there");
    }
}

fn read_secret(key: &str, file: &Path) -> Result<String, Failure> {
    secret::line_of(file).map_err(|error| Failure::usage(format!("no secret can be read from {error} (key {key})")))
}

fn long_enough(key: &str, file: &Path, secret: String) -> Result<String, Failure> {
    if secret.chars().count() >= SHORTEST_SECRET {
        return Ok(secret);
    }
    Err(Failure::usage(format!(
        "{} (key {key}) holds fewer than {SHORTEST_SECRET} characters: `openssl rand -base64 32` makes a good secret",
        file.display()
    )))
}

fn failed(path: &Path, source: std::io::Error) -> Failure {
    Failure::cannot_start(anyhow::Error::new(source).context(path.display().to_string()))
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
        let kept = place.invitation(|| component.clone()).await.unwrap();
        assert!(matches!(kept, Invitation::Token(kept) if kept == token()));
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

    fn given(folder: &Path, contents: &str) -> Place {
        let file = folder.join("secret");
        std::fs::write(&file, contents).unwrap();
        Place {
            token_file: Some(file),
            servers: vec!["https://bootstrap.example.org:8443".to_owned()],
            ..Place::at(&folder.join("peer"))
        }
    }

    #[tokio::test]
    async fn a_file_holds_a_token_or_its_bare_secret() {
        let folder = tempfile::tempdir().unwrap();
        let invited = async |contents: &str| {
            let place = given(folder.path(), contents);
            place.invitation(|| Monitor::new().component("test", "")).await
        };
        let whole = invited(&format!("{}\n", token())).await.unwrap();
        assert!(matches!(whole, Invitation::Token(whole) if whole == token()));
        // A line's end is no part of a secret.
        for end in ["", "\n", "\r\n"] {
            match invited(&format!("{SECRET}{end}")).await.unwrap() {
                Invitation::Secret { secret, servers } => {
                    assert_eq!((secret.as_str(), servers.len()), (SECRET, 1));
                }
                other => panic!("{other:?}"),
            }
        }
        for contents in ["", "too short", "two\nlines", "p2psip1.cut"] {
            let failure = invited(contents).await.unwrap_err().to_string();
            assert!(failure.contains("peer.token_file"), "{failure}");
        }
    }

    #[tokio::test]
    async fn a_bare_secret_needs_a_server() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place {
            servers: Vec::new(),
            ..given(folder.path(), SECRET)
        };
        let failure = place
            .invitation(|| Monitor::new().component("test", ""))
            .await
            .unwrap_err();
        assert!(failure.to_string().contains("peer.servers"), "{failure}");
    }

    #[tokio::test]
    async fn components_make_their_place_together_once() {
        let folder = tempfile::tempdir().unwrap();
        let place = given(folder.path(), SECRET);
        let identity = async |role| place.identity(role, || Monitor::new().component("test", "")).await;
        for role in ROLES {
            assert_eq!(identity(role).await.unwrap().role(), role);
        }
        let authority = |role: Role| std::fs::read(place.folder.join(role.name()).join("ca.pem")).unwrap();
        assert_eq!(authority(Role::Overlay), authority(Role::Storage));
        // A process that was killed on the way left its own attempt behind.
        std::fs::create_dir(folder.path().join("peer.new-1")).unwrap();
        place.make_roles().unwrap();
    }

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
}
