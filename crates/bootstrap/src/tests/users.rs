//! Users, their versions and their records.

use std::time::Duration;

use bytes::Bytes;
use identity::{Use, verify_message, verify_value};
use rpc::proto::bootstrap::v1 as proto;
use usage::user::{Hashes, Record, RecordKey, State};
use wire::{Body, Decode, KindId, MessageContents, ResourceId, SecurityBlock, StoredDataValue};

use super::world::{ALICE, OVERLAY, PASSWORD, World, alice, nodes};
use crate::core::Waiting;
use crate::error::Refused;

#[tokio::test]
async fn versions_guard_changes() {
    let mut world = World::new().await;
    let with = |version| proto::PutUserRequest {
        if_version: version,
        ..alice()
    };
    assert_eq!(world.put(with(Some(1))).await, Err(Refused::Version { current: 0 }));
    assert_eq!(world.put(with(Some(0))).await, Ok(1));
    assert_eq!(world.put(with(Some(0))).await, Err(Refused::Version { current: 1 }));
    assert_eq!(world.put(with(Some(1))).await, Ok(2));
    assert_eq!(world.put(with(None)).await, Ok(3));
    let mut world = world.reopened();
    assert_eq!(world.put(with(Some(2))).await, Err(Refused::Version { current: 3 }));
    assert_eq!(world.put(with(Some(3))).await, Ok(4));
}

#[tokio::test]
async fn only_what_is_named_changes() {
    let mut world = World::new().await;
    let edges = proto::AllowedEdges {
        node_ids: vec![Bytes::from(vec![5; 16])],
    };
    let full = proto::PutUserRequest {
        display_name: Some("Alice".to_owned()),
        allowed_edges: Some(edges.clone()),
        ..alice()
    };
    world.put(full).await.unwrap();
    let nothing = proto::PutUserRequest {
        aor: "alice@OVERLAY.example.org".to_owned(),
        ..Default::default()
    };
    world.put(nothing).await.unwrap();
    let [user] = &world.users(false)[..] else {
        panic!("one user")
    };
    assert_eq!(
        (user.aor.as_str(), user.display_name.as_str(), user.version),
        (ALICE, "Alice", 2)
    );
    assert_eq!(
        (user.state(), &user.allowed_edges),
        (proto::UserState::Active, &edges.node_ids)
    );
    let any = proto::PutUserRequest {
        state: proto::UserState::Suspended.into(),
        allowed_edges: Some(proto::AllowedEdges::default()),
        password: None,
        ..alice()
    };
    world.put(any).await.unwrap();
    let user = &world.users(false)[0];
    assert_eq!(
        (user.state(), user.allowed_edges.len()),
        (proto::UserState::Suspended, 0)
    );
    assert_eq!(user.published_version, 0);
}

/// Such a user's client would hold a certificate that is a peer's to everybody.
#[tokio::test]
async fn a_user_is_not_called_like_a_node() {
    let mut world = World::new().await;
    let secret = world.token("first").await;
    let peer = world.enroll(nodes(&secret)).await.unwrap().peer.unwrap();
    let of_a_node = wire::hex::encode(&peer.node_id);
    for name in [of_a_node.to_uppercase(), of_a_node, "0".repeat(32)] {
        let named = proto::PutUserRequest {
            aor: format!("{name}@{OVERLAY}"),
            ..alice()
        };
        let refused = world.put(named).await.unwrap_err();
        assert!(refused.to_string().contains("that of a node"), "{name}: {refused}");
    }
}

#[tokio::test]
async fn senseless_users_are_refused() {
    let mut world = World::new().await;
    for request in [
        proto::PutUserRequest {
            aor: "alice".to_owned(),
            ..alice()
        },
        proto::PutUserRequest {
            aor: "alice@example.net".to_owned(),
            ..alice()
        },
        proto::PutUserRequest {
            aor: "älice@overlay.example.org".to_owned(),
            ..alice()
        },
        proto::PutUserRequest {
            password: None,
            ..alice()
        },
        proto::PutUserRequest {
            password: Some(String::new()),
            ..alice()
        },
        proto::PutUserRequest {
            password: Some("xy".repeat(65)),
            ..alice()
        },
        proto::PutUserRequest {
            password: Some("x".to_owned()),
            ..alice()
        },
        proto::PutUserRequest {
            password: Some("xxxxxxxxxx".to_owned()),
            ..alice()
        },
        proto::PutUserRequest {
            display_name: Some("a\nb".to_owned()),
            ..alice()
        },
        proto::PutUserRequest {
            state: proto::UserState::Removed.into(),
            ..alice()
        },
        proto::PutUserRequest { state: 77, ..alice() },
        proto::PutUserRequest {
            allowed_edges: Some(proto::AllowedEdges {
                node_ids: vec![Bytes::from_static(b"short")],
            }),
            ..alice()
        },
    ] {
        assert!(matches!(world.put(request).await, Err(Refused::Invalid(_))));
    }
    assert!(world.users(true).is_empty() && world.core.waiting(0).is_none());
}

#[tokio::test]
async fn removed_user_keeps_the_version_and_nothing_else() {
    let mut world = World::new().await;
    world.put(alice()).await.unwrap();
    let delete = |version| proto::DeleteUserRequest {
        aor: ALICE.to_owned(),
        if_version: version,
    };
    let run = async |world: &mut World, request| world.run(|core, now| core.delete_user(now, &request)).await;
    assert_eq!(
        run(&mut world, delete(Some(7))).await,
        Err(Refused::Version { current: 1 })
    );
    assert_eq!(run(&mut world, delete(Some(1))).await.unwrap().version, 2);
    assert_eq!(run(&mut world, delete(None)).await.unwrap().version, 2);
    let nobody = proto::DeleteUserRequest {
        aor: "bob@overlay.example.org".to_owned(),
        if_version: None,
    };
    assert!(matches!(run(&mut world, nobody).await, Err(Refused::NotFound(_))));
    assert!(world.users(false).is_empty());
    assert_eq!(world.users(true)[0].state(), proto::UserState::Removed);
    let (_, waiting) = world.core.waiting(0).unwrap();
    assert_eq!(record_in(waiting).public().state, State::Removed);
    // Back again: a password is needed, and edges that remember version 2 accept 3.
    let back = proto::PutUserRequest {
        password: None,
        ..alice()
    };
    assert!(matches!(world.put(back).await, Err(Refused::Invalid(_))));
    assert_eq!(
        world
            .put(proto::PutUserRequest {
                if_version: Some(0),
                ..alice()
            })
            .await,
        Ok(3)
    );
}

#[tokio::test]
async fn store_message_satisfies_every_check_of_the_overlay() {
    let mut world = World::new().await;
    world.put(alice()).await.unwrap();
    let (_, waiting) = world.core.waiting(0).unwrap();
    let waiting = waiting.clone();
    let security = SecurityBlock::from_bytes(&waiting.security_block).unwrap();
    let (verifier, now) = (world.verifier(), world.now_ms);
    let transaction = waiting.transaction_id;
    let verify = |use_| verify_message(&verifier, OVERLAY, transaction, &waiting.contents, &security, now, use_);
    let identity = verify(Use::UserNodeStore).unwrap();
    assert_eq!(identity.user.as_deref(), Some(ALICE));
    assert_eq!([identity.node_id()], world.document.user_signers());
    // It is good for this and nothing else.
    assert!(verify(Use::Node).is_err());

    let (kind, data) = stored_in(&waiting);
    assert_eq!(kind, KindId::P2PSIP_USER);
    let resource = ResourceId::of(ALICE.as_bytes());
    let bucket = identity::bucket(&security);
    verify_value(&verifier, resource, kind, &data, &bucket, now, Use::UserNodeStore).unwrap();
    let StoredDataValue::Dictionary { key, .. } = &data.value else {
        panic!("a dictionary")
    };
    assert_eq!(key[..], identity.node_id().as_bytes()[..]);
    assert!(waiting.contents.len() < 1024);

    // An enrolled edge opens it.
    let token = world.token("edge").await;
    let keys = world.enroll(nodes(&token)).await.unwrap().record_keys;
    let key = RecordKey::new(keys[0].version, keys[0].key.as_ref().try_into().unwrap());
    let secret = key.open(OVERLAY, resource, &record_in(&waiting)).unwrap();
    assert_eq!(secret.hashes, Hashes::new(ALICE, OVERLAY, PASSWORD));
}

#[tokio::test]
async fn outbox_survives_and_forgets_what_was_acknowledged() {
    let mut world = World::new().await;
    world.put(alice()).await.unwrap();
    let bob = proto::PutUserRequest {
        aor: "bob@overlay.example.org".to_owned(),
        ..alice()
    };
    world.put(bob).await.unwrap();
    let world = world.reopened();
    let (first, waiting) = world.core.waiting(0).unwrap();
    let kept = waiting.clone();
    let mut world = world.reopened();
    assert_eq!(world.core.waiting(0).unwrap(), (first, &kept));
    let acknowledged = world.core.acknowledged(first);
    world.store.apply(acknowledged).await.unwrap();
    let world = world.reopened();
    let (second, waiting) = world.core.waiting(0).unwrap();
    assert!(second > first && waiting.aor.starts_with("bob"));
    assert_eq!(world.core.waiting(second), None);
    let users = world.users(false);
    assert_eq!((users[0].published_version, users[1].published_version), (1, 0));
}

#[tokio::test]
async fn newer_version_replaces_the_one_that_waits() {
    let mut world = World::new().await;
    world.put(alice()).await.unwrap();
    let (old, _) = world.core.waiting(0).unwrap();
    world.put(alice()).await.unwrap();
    let (new, waiting) = world.core.waiting(0).unwrap();
    assert!(new > old && waiting.version == 2);
    assert_eq!(world.core.waiting(new), None);
    // A late acknowledgement of the old message says nothing about the new one.
    assert!(world.core.acknowledged(old).is_empty());
}

#[tokio::test]
async fn storage_time_always_grows() {
    let mut world = World::new().await;
    world.put(alice()).await.unwrap();
    let first = stored_in(world.core.waiting(0).unwrap().1).1.storage_time;
    // The clock is set back.
    world.now_ms -= 3_600_000;
    world.put(alice()).await.unwrap();
    let (id, waiting) = world.core.waiting(0).unwrap();
    assert_eq!(stored_in(waiting).1.storage_time, first + 1);
    // The overlay has something newer: signed again with a later time.
    world.run(|core, now| core.outdated(now, id)).await.unwrap();
    let (_, waiting) = world.core.waiting(0).unwrap();
    assert_eq!((stored_in(waiting).1.storage_time, waiting.version), (first + 2, 2));
}

#[tokio::test]
async fn records_are_signed_again_every_week() {
    let mut world = World::new().await;
    world.put(alice()).await.unwrap();
    let (id, _) = world.core.waiting(0).unwrap();
    let acknowledged = world.core.acknowledged(id);
    world.store.apply(acknowledged).await.unwrap();
    world.pass(Duration::from_secs(6 * 24 * 3600));
    assert_eq!(world.run(|core, now| core.refresh(now)).await, Ok(0));
    world.pass(Duration::from_secs(24 * 3600));
    assert_eq!(world.run(|core, now| core.refresh(now)).await, Ok(1));
    assert_eq!(world.run(|core, now| core.refresh(now)).await, Ok(0));
    let (_, waiting) = world.core.waiting(0).unwrap();
    assert_eq!(waiting.version, 1);
    let until = identity::bucket(&SecurityBlock::from_bytes(&waiting.security_block).unwrap());
    let leaf = identity::Certificate::from_der(&until[0]).unwrap();
    assert_eq!(leaf.not_after_ms() / 1000, (world.now_ms + 90 * 24 * 3_600_000) / 1000);
}

#[tokio::test]
async fn long_lists_come_in_pages() {
    let mut world = World::new().await;
    for number in 0..300 {
        let aor = format!("user{number:03}@overlay.example.org");
        world
            .core
            .put_user(world.now_ms, &proto::PutUserRequest { aor, ..alice() })
            .unwrap();
    }
    let request = proto::ListUsersRequest {
        prefix: "user".to_owned(),
        with_removed: false,
    };
    let (first, last) = world.core.list_users(&request, None);
    let (second, end) = world.core.list_users(&request, last.as_deref());
    assert_eq!((first.len(), second.len(), end), (256, 44, None));
    assert_eq!(second[0].aor, "user256@overlay.example.org");
    let request = proto::ListUsersRequest {
        prefix: "user29".to_owned(),
        with_removed: false,
    };
    assert_eq!(world.core.list_users(&request, None).0.len(), 10);
}

fn stored_in(waiting: &Waiting) -> (KindId, wire::StoredData) {
    let contents = MessageContents::from_bytes(&waiting.contents).unwrap();
    let Ok(Body::StoreReq(store)) = Body::decode(contents.code, &contents.body) else {
        panic!("a StoreReq")
    };
    (store.kind_data[0].kind, store.kind_data[0].values[0].clone())
}

pub(super) fn record_in(waiting: &Waiting) -> Record {
    let (_, data) = stored_in(waiting);
    Record::from_bytes(&data.value.value().unwrap().value).unwrap()
}
