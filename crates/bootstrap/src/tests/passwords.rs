//! Passwords: by default they enroll nothing, and never much.

use std::time::Duration;

use identity::{Certificate, Key, Use};
use rpc::proto::bootstrap::v1 as proto;

use super::world::{ALICE, OVERLAY, PASSWORD, World, address, alice, client, request};
use crate::error::Refused;

#[tokio::test]
async fn a_password_enrolls_nothing_unless_the_operator_wants_it() {
    let mut world = World::new().await;
    world.put(alice()).await.unwrap();
    assert_eq!(world.enroll(client(ALICE, PASSWORD)).await, Err(Refused::NoPasswords));
    // Nor does it tell whether it is right.
    assert_eq!(world.enroll(client(ALICE, "wrong")).await, Err(Refused::NoPasswords));
}

#[tokio::test]
async fn a_password_enrolls_the_users_own_client() {
    let mut world = world_with_alice().await;
    let key = Key::generate().unwrap();
    let with = |password: &str| proto::EnrollRequest {
        client: key.request().unwrap().into(),
        ..client("alice@Overlay.Example.ORG", password)
    };
    assert_eq!(world.enroll(with("wrong")).await, Err(Refused::Credential));
    let first = world.enroll(with(PASSWORD)).await.unwrap().client.unwrap();
    let identity = world
        .verifier()
        .verify(&first.certificate, &[], world.now_ms, Use::Node)
        .unwrap();
    assert_eq!(identity.user.as_deref(), Some(ALICE));

    let mut world = world.reopened();
    world.core.let_passwords_enroll(true);
    assert_eq!(world.enroll(with(PASSWORD)).await.unwrap().client.unwrap(), first);
    // Later the certificate is another, the Node-ID stays.
    world.pass(31 * DAY);
    let renewed = world.enroll(with(PASSWORD)).await.unwrap().client.unwrap();
    assert!(renewed.node_id == first.node_id && renewed.certificate != first.certificate);
    // A user without a password gets no more certificates.
    let shown = Certificate::from_der(&renewed.certificate).unwrap();
    let refused = world.run(|core, now| core.renew(now, &shown, &proto::RenewRequest::default()));
    assert!(matches!(refused.await, Err(Refused::Stranger(_))));

    let peer = proto::EnrollRequest {
        peer: request(),
        ..with(PASSWORD)
    };
    assert!(matches!(world.enroll(peer).await, Err(Refused::NotCovered(_))));
    let suspended = proto::PutUserRequest {
        state: proto::UserState::Suspended.into(),
        password: None,
        ..alice()
    };
    world.put(suspended).await.unwrap();
    assert_eq!(world.enroll(with(PASSWORD)).await, Err(Refused::Credential));
}

/// Without a bound 200 tries gave 200 Node-IDs, and went on to 100 000.
#[tokio::test]
async fn one_password_yields_few_nodes() {
    let mut world = world_with_alice().await;
    let mut enrolled = 0;
    for _ in 0..200 {
        match world.enroll(client(ALICE, PASSWORD)).await {
            Ok(_) => enrolled += 1,
            Err(refused) => assert_eq!(refused, Refused::TooFast("4 in a day")),
        }
    }
    assert_eq!(enrolled, 4);
    // Another account does not pay for it.
    let bob = format!("bob@{OVERLAY}");
    world
        .put(proto::PutUserRequest {
            aor: bob.clone(),
            ..alice()
        })
        .await
        .unwrap();
    assert!(world.enroll(client(&bob, PASSWORD)).await.is_ok());
    world.pass(DAY);
    assert!(world.enroll(client(ALICE, PASSWORD)).await.is_ok());
}

#[tokio::test]
async fn a_third_client_replaces_the_oldest() {
    let mut world = world_with_alice().await;
    let asked: [proto::EnrollRequest; 3] = std::array::from_fn(|_| client(ALICE, PASSWORD));
    let (mut first, mut certificates) = (Vec::new(), Vec::new());
    for asked in &asked {
        world.pass(Duration::from_secs(1));
        let client = world.enroll(asked.clone()).await.unwrap().client.unwrap();
        first.push(client.node_id.clone());
        certificates.push(client.certificate);
    }
    let mut world = world.reopened();
    world.core.let_passwords_enroll(true);
    assert_eq!(node_id(world.enroll(asked[1].clone()).await.unwrap()), first[1]);
    assert_eq!(node_id(world.enroll(asked[2].clone()).await.unwrap()), first[2]);
    // The certificate of the one that was replaced is renewed no more, though it has not ended,
    let replaced = Certificate::from_der(&certificates[0]).unwrap();
    let refused = world.run(|core, now| core.renew(now, &replaced, &proto::RenewRequest::default()));
    assert!(matches!(refused.await, Err(Refused::Stranger(_))));
    // and with the password it is new again: its Node-ID is never issued any more.
    world.pass(Duration::from_secs(1));
    let anew = node_id(world.enroll(asked[0].clone()).await.unwrap());
    assert!(!first.contains(&anew));
    assert_ne!(node_id(world.enroll(asked[1].clone()).await.unwrap()), first[1]);
}

/// With the table of 1024 names that refused newcomers when it was full, 100 of 100 right passwords were refused.
#[tokio::test]
async fn strangers_who_guess_keep_no_user_and_no_address_out() {
    let mut world = world_with_alice().await;
    for number in 0..2 * 4096 {
        let stranger = client(&format!("user{number}@{OVERLAY}"), "guess");
        let refused = world.enroll_from(address(number), stranger).await;
        assert_eq!(refused, Err(Refused::Credential));
    }
    let right = client(ALICE, PASSWORD);
    for number in 0..100 {
        assert!(
            world
                .enroll_from(address(1_000_000 + number), right.clone())
                .await
                .is_ok()
        );
    }
}

#[tokio::test]
async fn who_guesses_is_looked_at_ten_times_a_minute_whatever_the_calendar_says() {
    let mut world = world_with_alice().await;
    // For one user from everywhere, and from one address for everybody.
    for is_one_user in [true, false] {
        let mut looked_at = 0;
        for number in 0..100 {
            world.now_ms = world
                .now_ms
                .wrapping_add_signed(if number % 2 == 0 { YEAR_MS } else { -YEAR_MS });
            let (user, from) = if is_one_user {
                (0, number)
            } else {
                (1000 + number, 1000)
            };
            let guess = client(&format!("user{user}@{OVERLAY}"), "guess");
            if world.enroll_from(address(from), guess).await == Err(Refused::Credential) {
                looked_at += 1;
            }
        }
        assert_eq!(looked_at, 10, "one user: {is_one_user}");
    }
    // A minute later all may try again, and the calendar may be a year back.
    world.pass(Duration::from_secs(60));
    world.now_ms = world.now_ms.wrapping_add_signed(-YEAR_MS);
    let guess = client(&format!("user0@{OVERLAY}"), "guess");
    assert_eq!(world.enroll_from(address(0), guess).await, Err(Refused::Credential));
}

async fn world_with_alice() -> World {
    let mut world = World::new().await;
    world.core.let_passwords_enroll(true);
    world.put(alice()).await.unwrap();
    world
}

fn node_id(enrolled: proto::EnrollResponse) -> bytes::Bytes {
    enrolled.client.unwrap().node_id
}

const DAY: Duration = Duration::from_secs(24 * 3600);
const YEAR_MS: i64 = 365 * 24 * 3600 * 1000;
