//! Component certificates: on disk, in handshakes, and exchanged under a running server.

#![allow(clippy::unwrap_used, reason = "helpers of tests")]

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use p2psip_rpc::{
    Address, Channel, ComponentAuthority, ComponentIdentity, CredentialsError, Listener, Role, Served, other_component,
};
use tonic::{Code, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

#[test]
fn an_identity_is_kept_in_private_files() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("storage");
    let authority = ComponentAuthority::generate().unwrap();
    authority.issue(Role::Storage).unwrap().store(&place).unwrap();

    assert_eq!(ComponentIdentity::load(&place).unwrap().role(), Role::Storage);
    assert_eq!(mode(&place), 0o700);
    assert_eq!(mode(&place.join("component.key")), 0o600);
    assert_eq!(names(&place), ["ca.pem", "component.key", "component.pem"]);
}

#[test]
fn an_authority_goes_on_from_its_files() {
    let folder = tempfile::tempdir().unwrap();
    let made = ComponentAuthority::generate().unwrap();
    made.store(folder.path()).unwrap();
    assert_eq!(mode(&folder.path().join("ca.key")), 0o600);

    let loaded = ComponentAuthority::load(folder.path()).unwrap();
    let place = folder.path().join("edge");
    loaded.issue(Role::SipEdge).unwrap().store(&place).unwrap();
    let ca = |folder: &Path| std::fs::read_to_string(folder.join("ca.pem")).unwrap();
    assert_eq!(ca(&place), ca(folder.path()));
    assert_eq!(ComponentIdentity::load(&place).unwrap().role(), Role::SipEdge);
}

#[test]
fn what_is_not_there_yet_is_told_from_what_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("overlay");
    let error = ComponentIdentity::load(&place).unwrap_err();
    assert!(matches!(error, CredentialsError::Missing { .. }), "{error}");
    let error = ComponentAuthority::load(&place).unwrap_err();
    assert!(matches!(error, CredentialsError::Missing { .. }), "{error}");

    let authority = ComponentAuthority::generate().unwrap();
    authority.issue(Role::Overlay).unwrap().store(&place).unwrap();
    std::fs::write(place.join("component.key"), "no key").unwrap();
    let error = ComponentIdentity::load(&place).unwrap_err();
    assert!(error.to_string().contains("component.key"), "{error}");
}

#[test]
fn files_of_two_identities_do_not_fit_together() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    for place in [&one, &other] {
        let authority = ComponentAuthority::generate().unwrap();
        authority.issue(Role::Overlay).unwrap().store(place).unwrap();
    }
    for name in ["component.key", "ca.pem"] {
        let kept = std::fs::read(one.join(name)).unwrap();
        std::fs::copy(other.join(name), one.join(name)).unwrap();
        let error = ComponentIdentity::load(&one).unwrap_err();
        assert!(matches!(error, CredentialsError::Unusable { .. }), "{name}: {error}");
        std::fs::write(one.join(name), kept).unwrap();
    }
    ComponentIdentity::load(&one).unwrap();
}

#[tokio::test]
async fn a_stranger_is_refused_at_both_ends() {
    let (own, foreign) = (
        ComponentAuthority::generate().unwrap(),
        ComponentAuthority::generate().unwrap(),
    );
    let server = Running::start(&own.issue(Role::Overlay).unwrap()).await;

    let status = server
        .ask(Role::Overlay, &foreign.issue(Role::SipEdge).unwrap())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("UnknownIssuer"), "{status}");

    // One that believes the server is told that it is not believed itself.
    let folder = tempfile::tempdir().unwrap();
    foreign.issue(Role::SipEdge).unwrap().store(folder.path()).unwrap();
    believe(folder.path(), &own);
    let status = server
        .ask(Role::Overlay, &ComponentIdentity::load(folder.path()).unwrap())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("alert"), "{status}");
}

#[tokio::test]
async fn another_server_than_the_one_meant_is_refused() {
    let authority = ComponentAuthority::generate().unwrap();
    let server = Running::start(&authority.issue(Role::Storage).unwrap()).await;
    let status = server
        .ask(Role::Overlay, &authority.issue(Role::SipEdge).unwrap())
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let expected = "the component there is storage, not overlay";
    assert!(status.message().ends_with(expected), "{status}");
    assert_eq!(other_component(&status), Some(Role::Storage));
}

#[tokio::test]
async fn certificates_are_exchanged_under_a_running_server() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (
        ComponentAuthority::generate().unwrap(),
        ComponentAuthority::generate().unwrap(),
    );
    old.issue(Role::Overlay).unwrap().store(folder.path()).unwrap();
    let server = Running::start(&ComponentIdentity::load(folder.path()).unwrap()).await;
    let (old_edge, new_edge) = (old.issue(Role::SipEdge).unwrap(), new.issue(Role::SipEdge).unwrap());
    server.ask(Role::Overlay, &old_edge).await.unwrap();

    // A key without its certificate is not taken over.
    std::fs::write(folder.path().join("component.key"), "half written").unwrap();
    server.ask(Role::Overlay, &old_edge).await.unwrap();

    new.issue(Role::Overlay).unwrap().store(folder.path()).unwrap();
    server.ask(Role::Overlay, &new_edge).await.unwrap();
    server.ask(Role::Overlay, &old_edge).await.unwrap_err();
}

#[tokio::test]
async fn an_authority_is_exchanged_while_both_are_believed() {
    let folder = tempfile::tempdir().unwrap();
    let place = |name: &str| folder.path().join(name);
    let (old, new) = (
        ComponentAuthority::generate().unwrap(),
        ComponentAuthority::generate().unwrap(),
    );
    for (name, role) in [("overlay", Role::Overlay), ("edge", Role::SipEdge)] {
        old.issue(role).unwrap().store(&place(name)).unwrap();
        believe(&place(name), &new);
    }
    let server = Running::start(&ComponentIdentity::load(&place("overlay")).unwrap()).await;
    let edge = ComponentIdentity::load(&place("edge")).unwrap();
    server.ask(Role::Overlay, &edge).await.unwrap();

    new.issue(Role::Overlay).unwrap().store(&place("overlay")).unwrap();
    believe(&place("overlay"), &old);
    server.ask(Role::Overlay, &edge).await.unwrap();
    new.issue(Role::SipEdge).unwrap().store(&place("edge")).unwrap();
    server.ask(Role::Overlay, &edge).await.unwrap();
}

#[tokio::test]
async fn components_that_know_the_secret_of_a_site_believe_each_other() {
    let site = |secret: &str, role| ComponentAuthority::of_site(secret).unwrap().issue(role).unwrap();
    let server = Running::start(&site("the secret of one site", Role::Overlay)).await;
    // Another process, which shares nothing but the secret.
    let edge = site("the secret of one site", Role::SipEdge);
    assert!(server.ask(Role::Overlay, &edge).await.is_ok());
    let stranger = site("the secret of another", Role::SipEdge);
    assert!(server.ask(Role::Overlay, &stranger).await.is_err());
    // A role is proven as in one peer.
    assert!(server.ask(Role::Storage, &edge).await.is_err());
}

/// A server with nothing but the health service.
struct Running {
    address: Address,
}

impl Running {
    async fn start(identity: &ComponentIdentity) -> Self {
        let served = Served::builder().build();
        let listener = Listener::bind(&"tcp:127.0.0.1:0".parse().unwrap(), Some(identity))
            .await
            .unwrap();
        let address = listener.address().clone();
        tokio::spawn(served.serve(listener));
        Self { address }
    }

    /// Asks over a connection of its own.
    async fn ask(&self, server: Role, identity: &ComponentIdentity) -> Result<(), Status> {
        let channel = Channel::connect(&self.address, server, Some(identity)).unwrap();
        let check = HealthCheckRequest::default();
        HealthClient::new(channel).check(check).await.map(drop)
    }
}

/// Adds an authority to those that the identity in `folder` believes.
fn believe(folder: &Path, authority: &ComponentAuthority) {
    let other = tempfile::tempdir().unwrap();
    authority.store(other.path()).unwrap();
    let path = folder.join("ca.pem");
    let mut bundle = std::fs::read_to_string(&path).unwrap();
    bundle.push_str(&std::fs::read_to_string(other.path().join("ca.pem")).unwrap());
    std::fs::write(path, bundle).unwrap();
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
