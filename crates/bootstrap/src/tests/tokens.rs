//! Tokens: one use, one life, one secret.

use std::time::Duration;

use rpc::proto::bootstrap::v1 as proto;

use super::world::{World, nodes};
use crate::error::Refused;

#[tokio::test]
async fn each_place_is_taken_once() {
    let mut world = World::new().await;
    let secret = world.token("first").await;
    world.enroll(nodes(&secret)).await.unwrap();
    // The peer's place is another's by now; one edge's is free.
    assert_eq!(world.enroll(nodes(&secret)).await, Err(Refused::Credential));
    let mut world = world.reopened();
    assert_eq!(world.enroll(nodes(&secret)).await, Err(Refused::Credential));
    let edge = |secret: &str| proto::EnrollRequest {
        peer: bytes::Bytes::new(),
        ..nodes(secret)
    };
    world.enroll(edge(&secret)).await.unwrap();
    assert_eq!(world.enroll(edge(&secret)).await, Err(Refused::Credential));
    let listed = world.core.list_tokens(None);
    assert_eq!(
        (listed.len(), listed[0].id.as_str(), listed[0].used_by.len()),
        (1, "first", 3)
    );
}

#[tokio::test]
async fn who_guesses_keeps_only_itself_out() {
    let mut world = World::new().await;
    let secret = world.token("first").await;
    let [guesser, other] = ["192.0.2.1", "192.0.2.2"].map(|ip| Some(ip.parse().unwrap()));
    let mut enroll = async |from, secret: &str| {
        let request = nodes(secret);
        world.run(|core, now| core.enroll(now, from, &request)).await
    };
    for _ in 0..10 {
        assert_eq!(enroll(guesser, "wrong").await, Err(Refused::Credential));
    }
    assert_eq!(enroll(guesser, &secret).await, Err(Refused::TooManyFailures));
    assert!(enroll(other, &secret).await.is_ok());
}

#[tokio::test]
async fn token_ends_with_its_time_or_when_revoked() {
    let mut world = World::new().await;
    let (late, revoked) = (world.token("late").await, world.token("revoked").await);
    world.run(|core, _| core.revoke_token("revoked")).await.unwrap();
    let mut world = world.reopened();
    assert_eq!(world.enroll(nodes(&revoked)).await, Err(Refused::Credential));
    world.pass(Duration::from_secs(3600));
    assert_eq!(world.enroll(nodes(&late)).await, Err(Refused::Credential));
    assert!(matches!(
        world.run(|core, _| core.revoke_token("unknown")).await,
        Err(Refused::NotFound(_))
    ));
}

#[tokio::test]
async fn wrong_secrets_are_refused_and_soon_not_even_tried() {
    let mut world = World::new().await;
    let secret = world.token("first").await;
    for _ in 0..10 {
        assert_eq!(world.enroll(nodes("wrong")).await, Err(Refused::Credential));
    }
    assert_eq!(world.enroll(nodes(&secret)).await, Err(Refused::TooManyFailures));
    world.pass(Duration::from_secs(60));
    assert!(world.enroll(nodes(&secret)).await.is_ok());
}

#[tokio::test]
async fn token_is_created_once_and_its_secret_shown_once() {
    let mut world = World::new().await;
    let request = |edges| proto::CreateTokenRequest {
        id: "a".to_owned(),
        lifetime_seconds: 60,
        peer: false,
        edges,
    };
    let first = world
        .run(|core, now| core.create_token(now, &request(1)))
        .await
        .unwrap();
    assert_eq!(first.expires_unix_ms, world.now_ms + 60_000);
    let mut world = world.reopened();
    world.pass(Duration::from_secs(1));
    let again = world
        .run(|core, now| core.create_token(now, &request(1)))
        .await
        .unwrap();
    assert_eq!(
        (again.secret.as_str(), again.expires_unix_ms),
        ("", first.expires_unix_ms)
    );
    let other = world.run(|core, now| core.create_token(now, &request(2))).await;
    assert_eq!(other, Err(Refused::Exists("a".to_owned())));
}

#[tokio::test]
async fn senseless_tokens_are_refused() {
    let mut world = World::new().await;
    let good = proto::CreateTokenRequest {
        id: "a".to_owned(),
        lifetime_seconds: 60,
        peer: true,
        edges: 0,
    };
    for request in [
        proto::CreateTokenRequest {
            id: String::new(),
            ..good.clone()
        },
        proto::CreateTokenRequest {
            id: "a".repeat(65),
            ..good.clone()
        },
        proto::CreateTokenRequest {
            id: "a b".to_owned(),
            ..good.clone()
        },
        proto::CreateTokenRequest {
            lifetime_seconds: 0,
            ..good.clone()
        },
        proto::CreateTokenRequest {
            lifetime_seconds: u64::MAX,
            ..good.clone()
        },
        proto::CreateTokenRequest {
            peer: false,
            ..good.clone()
        },
        proto::CreateTokenRequest { edges: 17, ..good },
    ] {
        let outcome = world.run(|core, now| core.create_token(now, &request)).await;
        assert!(matches!(outcome, Err(Refused::Invalid(_))), "{request:?}");
    }
}
