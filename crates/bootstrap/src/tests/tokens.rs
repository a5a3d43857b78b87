//! Tokens: what each enrolls, how often, and until when.

use std::time::Duration;

use identity::{Certificate, Use};
use rpc::proto::bootstrap::v1 as proto;

use super::world::{ALICE, OVERLAY, World, address, alice, nodes, request};
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
    let (listed, _) = world.core.list_tokens(None);
    assert_eq!(
        (listed.len(), listed[0].id.as_str(), listed[0].enrolled.len()),
        (1, "first", 3)
    );
}

/// An honest host behind the same address as one who guesses; before, ten failures kept it out.
#[tokio::test]
async fn who_has_a_token_is_kept_out_by_nobody_who_guesses() {
    let mut world = World::new().await;
    let secret = world.token("first").await;
    let guesser = address(1);
    for _ in 0..10 {
        assert_eq!(
            world.enroll_from(guesser, nodes("wrong")).await,
            Err(Refused::Credential)
        );
    }
    assert_eq!(
        world.enroll_from(guesser, nodes("wrong")).await,
        Err(Refused::TooManyFailures)
    );
    let first = nodes(&secret);
    assert!(world.enroll_from(guesser, first.clone()).await.is_ok());
    // The answer may be lost, too.
    assert!(world.enroll_from(guesser, first).await.is_ok());
    world.pass(Duration::from_secs(60));
    assert_eq!(
        world.enroll_from(guesser, nodes("wrong")).await,
        Err(Refused::Credential)
    );
}

#[tokio::test]
async fn a_token_of_three_uses_enrolls_three_times_and_lists_each() {
    let mut world = World::new().await;
    let secret = world.create(of_uses(3)).await.unwrap();
    let (mut hosts, mut peers) = (Vec::new(), Vec::new());
    for number in 1..=3 {
        world.pass(Duration::from_secs(1));
        let host = nodes(&secret);
        let enrolled = world.enroll_from(address(number), host.clone()).await.unwrap();
        peers.push((enrolled.peer.unwrap().node_id, world.now_ms));
        hosts.push(host);
    }
    // A node that comes again gets its own answer, and takes no further use.
    let mut world = world.reopened();
    for (host, (node_id, _)) in hosts.iter().zip(&peers) {
        let again = world.enroll_from(address(77), host.clone()).await.unwrap();
        assert_eq!(again.peer.unwrap().node_id, node_id);
    }
    assert_eq!(world.enroll(nodes(&secret)).await, Err(Refused::Credential));
    let edge_alone = proto::EnrollRequest {
        peer: bytes::Bytes::new(),
        ..nodes(&secret)
    };
    assert_eq!(world.enroll(edge_alone).await, Err(Refused::Credential));

    let [token] = &world.core.list_tokens(None).0[..] else {
        panic!("one token")
    };
    assert_eq!((token.uses, token.unlimited, token.enrolled.len()), (3, false, 6));
    for (number, (node_id, at_ms)) in (1..).zip(peers) {
        let place = token.enrolled.iter().find(|place| place.node_id == node_id).unwrap();
        assert_eq!(place.class(), proto::NodeClass::Peer);
        assert_eq!(
            (place.from.as_str(), place.unix_ms),
            (format!("0.0.0.{number}").as_str(), at_ms)
        );
    }
}

#[tokio::test]
async fn any_number_of_uses_is_twenty_in_an_hour_whatever_the_calendar_says() {
    let mut world = World::new().await;
    let secret = world
        .create(proto::CreateTokenRequest {
            lifetime_seconds: 90 * 24 * 3600,
            unlimited: true,
            ..of_uses(0)
        })
        .await
        .unwrap();
    let first = nodes(&secret);
    for number in 0..20 {
        let host = if number == 0 { first.clone() } else { nodes(&secret) };
        assert!(world.enroll(host).await.is_ok(), "{number}");
        world.now_ms += 24 * 3600 * 1000;
    }
    assert_eq!(
        world.enroll(nodes(&secret)).await,
        Err(Refused::TooFast("20 in an hour"))
    );
    assert!(world.enroll(first).await.is_ok());
    world.pass(Duration::from_secs(3600));
    assert!(world.enroll(nodes(&secret)).await.is_ok());
}

#[tokio::test]
async fn a_client_token_enrolls_clients_of_its_user() {
    let mut world = World::new().await;
    let wanted = |user: &str| proto::CreateTokenRequest {
        id: "phones".to_owned(),
        lifetime_seconds: 3600,
        uses: 2,
        user: user.to_owned(),
        ..Default::default()
    };
    assert!(matches!(world.create(wanted(ALICE)).await, Err(Refused::NotFound(_))));
    world.put(alice()).await.unwrap();
    let secret = world.create(wanted("alice@Overlay.example.org")).await.unwrap();
    let client = || proto::EnrollRequest {
        peer: bytes::Bytes::new(),
        edges: Vec::new(),
        client: request(),
        ..nodes(&secret)
    };
    let enrolled = world.enroll(client()).await.unwrap().client.unwrap();
    let verifier = world.verifier();
    let identity = verifier
        .verify(&enrolled.certificate, &[], world.now_ms, Use::Node)
        .unwrap();
    assert_eq!(identity.user.as_deref(), Some(ALICE));
    assert!(matches!(
        world.enroll(nodes(&secret)).await,
        Err(Refused::NotCovered("a peer"))
    ));
    world.enroll(client()).await.unwrap();
    assert_eq!(world.enroll(client()).await, Err(Refused::Credential));

    // It renews itself as any node does, as long as its user is there.
    world.pass(Duration::from_secs(31 * 24 * 3600));
    let shown = Certificate::from_der(&enrolled.certificate).unwrap();
    let anew = proto::RenewRequest::default();
    let renewed = world.run(|core, now| core.renew(now, &shown, &anew)).await.unwrap();
    let renewed = Certificate::from_der(&renewed.node.unwrap().certificate).unwrap();
    assert_eq!((renewed.user(), renewed.node_ids()), (Some(ALICE), shown.node_ids()));
    let suspended = proto::PutUserRequest {
        state: proto::UserState::Suspended.into(),
        ..alice()
    };
    world.put(suspended).await.unwrap();
    world.pass(Duration::from_secs(31 * 24 * 3600));
    let refused = world.run(|core, now| core.renew(now, &shown, &anew)).await;
    assert!(matches!(refused, Err(Refused::NotFound(_))), "{refused:?}");
}

#[tokio::test]
async fn a_token_that_enrolled_many_is_listed_in_parts() {
    let mut world = World::new().await;
    let secret = world.create(of_uses(150)).await.unwrap();
    for _ in 0..150 {
        world.enroll(nodes(&secret)).await.unwrap();
    }
    world.token("second").await;
    let (mut listed, mut after) = (Vec::new(), None);
    loop {
        let (page, last) = world.core.list_tokens(after.as_ref());
        let nodes: usize = page.iter().map(|token| token.enrolled.len()).sum();
        assert!(nodes <= 256);
        listed.extend(page);
        after = last;
        if after.is_none() {
            break;
        }
    }
    let of = |id: &str| {
        listed
            .iter()
            .filter(|token| token.id == id)
            .flat_map(|token| &token.enrolled)
            .count()
    };
    assert_eq!((listed.len(), of("many"), of("second")), (3, 300, 0));
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
async fn token_is_created_once_and_its_secret_shown_once() {
    let mut world = World::new().await;
    let request = |edges| proto::CreateTokenRequest {
        id: "a".to_owned(),
        lifetime_seconds: 60,
        edges,
        ..Default::default()
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
    world.put(alice()).await.unwrap();
    let good = proto::CreateTokenRequest {
        id: "a".to_owned(),
        lifetime_seconds: 60,
        peer: true,
        ..Default::default()
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
        proto::CreateTokenRequest {
            uses: 1001,
            ..good.clone()
        },
        proto::CreateTokenRequest {
            uses: 2,
            unlimited: true,
            ..good.clone()
        },
        proto::CreateTokenRequest {
            user: ALICE.to_owned(),
            ..good.clone()
        },
        proto::CreateTokenRequest {
            peer: false,
            user: format!("{}@{OVERLAY}", "ab".repeat(16)),
            ..good.clone()
        },
        proto::CreateTokenRequest { edges: 17, ..good },
    ] {
        let outcome = world.run(|core, now| core.create_token(now, &request)).await;
        assert!(matches!(outcome, Err(Refused::Invalid(_))), "{request:?}");
    }
}

/// A token for so many peers with an edge each.
fn of_uses(uses: u32) -> proto::CreateTokenRequest {
    proto::CreateTokenRequest {
        id: "many".to_owned(),
        lifetime_seconds: 3600,
        peer: true,
        edges: 1,
        uses,
        ..Default::default()
    }
}
