//! Hosts that share a secret with the service and know nothing else of the overlay.

use super::*;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

async fn world(number: u8) -> World {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), format!("{SECRET}\n")).unwrap();
    let token = bootstrap::Token {
        id: "peers".to_owned(),
        secret_file: file.path().to_owned(),
        class: bootstrap::TokenClass::Peer,
        uses: bootstrap::Uses::default(),
        lifetime: bootstrap::Lifetime::default(),
    };
    World::with_tokens(number, vec![token]).await
}

#[tokio::test]
async fn a_host_that_knows_the_secret_is_told_the_rest() {
    let world = world(40).await;
    let token = vouched(std::slice::from_ref(&world.url), SECRET).await.unwrap();
    assert_eq!(token.overlay, OVERLAY);
    assert_eq!(token.root, world.token("other").await.root);
    peer(&world.folder("peer"), &token).await.unwrap();
    edge(&world.folder("edge"), &token).await.unwrap();
}

#[tokio::test]
async fn a_server_with_another_secret_is_named_and_gets_none() {
    let world = world(41).await;
    let refused = vouched(
        std::slice::from_ref(&world.url),
        "another secret, as long as the one there",
    )
    .await
    .unwrap_err();
    assert!(matches!(refused, EnrollError::NotVouched { .. }), "{refused}");
    assert!(refused.to_string().contains(&world.url), "{refused}");
    assert_eq!(Failure::from(refused).code(), ExitCode::Credentials);
}

#[tokio::test]
async fn the_peer_at_a_bootstrap_node_is_told_that_it_forms_the_ring() {
    let world = world(42).await;
    let token = vouched(std::slice::from_ref(&world.url), SECRET).await.unwrap();
    let enroll = async |name: &str, stands| {
        let folder = world.folder(name);
        let peer = peer_that_may_found(&folder, &token, async |_| stands).await.unwrap();
        // As a start after a kill reads it.
        let again = PeerCredentials::load(&folder, now_ms()).unwrap().unwrap();
        assert_eq!(again.is_founder, peer.is_founder);
        peer.is_founder
    };
    assert!(!enroll("first", false).await);
    assert!(enroll("second", true).await);
    assert!(!enroll("third", true).await);
}
