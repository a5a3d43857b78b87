use identity::Certificate;
use rpc::proto::bootstrap::v1 as proto;

use crate::core::{Core, Phase};
use crate::error::Refused;
use crate::tests::world::{ALICE, World, alice, nodes};

/// Each asks the other for all that changed.
async fn exchange(one: &mut World, other: &mut World) {
    one.pull(other).await;
    other.pull(one).await;
}

async fn two() -> (World, World) {
    let mut first = World::new().await;
    first.put(alice()).await.unwrap();
    let second = first.second().await;
    (first, second)
}

fn renamed(name: &str) -> proto::PutUserRequest {
    proto::PutUserRequest {
        aor: ALICE.to_owned(),
        display_name: Some(name.to_owned()),
        ..Default::default()
    }
}

#[tokio::test]
async fn a_new_service_has_everything_and_both_change_it() {
    let (mut first, mut second) = two().await;
    assert_eq!(second.users(true), first.users(true));
    // The record opens there: it has the keys.
    assert_eq!(second.put(renamed("Alice")).await, Ok(2));
    first.pull(&second).await;
    assert_eq!(first.users(true)[0].display_name, "Alice");
    // A change that came from elsewhere is stored there and not here, and counts as a version.
    let waiting = |core: &Core| std::iter::successors(core.waiting(0), |(id, _)| core.waiting(*id)).count();
    assert_eq!((waiting(&first.core), waiting(&second.core)), (0, 1));
    assert_eq!(first.put(renamed("Alicia")).await, Ok(3));
    second.pull(&first).await;
    let second = second.reopened();
    assert_eq!(second.users(true)[0].display_name, "Alicia");
}

#[tokio::test]
async fn a_token_is_used_and_a_node_renewed_at_either() {
    let (mut first, mut second) = two().await;
    let secret = first.token("one").await;
    second.pull(&first).await;
    let asked = nodes(&secret);
    let enrolled = second.enroll(asked.clone()).await.unwrap();
    first.pull(&second).await;
    // The use is taken there too; who comes again gets its answer.
    assert_eq!(first.enroll(nodes(&secret)).await, Err(Refused::Credential));
    assert_eq!(first.enroll(asked).await.unwrap().peer, enrolled.peer);
    let shown = Certificate::from_der(&enrolled.peer.unwrap().certificate).unwrap();
    let anew = proto::RenewRequest {
        anew: true,
        ..Default::default()
    };
    let renewed = first.run(|core, now| core.renew(now, &shown, &anew)).await.unwrap();
    let renewed = Certificate::from_der(&renewed.node.unwrap().certificate).unwrap();
    assert_eq!(renewed.node_ids(), shown.node_ids());
    assert_ne!(renewed.issuer_key_id(), shown.issuer_key_id());
    first.run(|core, _| core.revoke_token("one")).await.unwrap();
    second.pull(&first).await;
    assert!(second.core.list_tokens(None).0[0].revoked);
}

#[tokio::test]
async fn two_uses_of_one_token_apart_are_both_kept_and_listed() {
    let (mut first, mut second) = two().await;
    let secret = first.token("one").await;
    second.pull(&first).await;
    let one = first.enroll(nodes(&secret)).await.unwrap().peer.unwrap();
    let other = second.enroll(nodes(&secret)).await.unwrap().peer.unwrap();
    exchange(&mut first, &mut second).await;
    for world in [&first, &second] {
        let [token] = &world.core.list_tokens(None).0[..] else {
            panic!("one token")
        };
        assert!(token.overused);
        for node in [&one, &other] {
            assert!(token.used_by.contains(&node.node_id));
        }
    }
    // Both renew at either.
    let shown = Certificate::from_der(&other.certificate).unwrap();
    let renew = proto::RenewRequest::default();
    assert!(first.run(|core, now| core.renew(now, &shown, &renew)).await.is_ok());
}

#[tokio::test]
async fn after_changes_apart_both_have_the_later_one() {
    let (mut first, mut second) = two().await;
    first.put(renamed("One")).await.unwrap();
    second.pass(std::time::Duration::from_secs(1));
    second.put(renamed("Other")).await.unwrap();
    exchange(&mut first, &mut second).await;
    for world in [&first, &second] {
        assert_eq!(world.users(true)[0].display_name, "Other");
    }
    // Nothing is left to exchange.
    let merged = |world: &mut World, answer: &proto::ReplicateResponse| world.core.merge(world.now_ms, &answer.changes);
    let answer = first.core.changes(&first.store, &Default::default()).unwrap();
    assert!(merged(&mut second, &answer).is_empty());
}

#[tokio::test]
async fn what_another_signed_is_signed_here_only_if_it_is_gone() {
    let (mut first, mut second) = two().await;
    second.put(renamed("Alice")).await.unwrap();
    first.pull(&second).await;
    let due = |world: &mut World| world.core.refresh(world.now_ms).unwrap().0;
    assert_eq!(due(&mut first), 0);
    first.pass(std::time::Duration::from_secs(600));
    assert_eq!(due(&mut first), 1);
    // The other hears of that, and has nothing to do for a week.
    second.pass(std::time::Duration::from_secs(600));
    assert_eq!(due(&mut second), 0);
}

#[tokio::test]
async fn what_a_service_signed_that_has_left_is_signed_anew() {
    let (mut first, mut second) = two().await;
    second.put(renamed("Alice")).await.unwrap();
    first.pull(&second).await;
    first.document.enrollment_servers.pop();
    let mut first = first.with_next_document().await;
    assert_eq!(first.core.refresh(first.now_ms).unwrap().0, 1);
    assert_eq!(first.core.refresh(first.now_ms).unwrap().0, 0);
}

#[tokio::test]
async fn a_rotation_takes_each_step_with_the_other_service() {
    let (mut first, mut second) = two().await;
    let rotate = |target| proto::RotateRecordKeyRequest {
        target,
        without: Vec::new(),
    };
    let refused = second.run(|core, _| core.rotate_record_key(&rotate(2))).await;
    assert!(matches!(refused, Err(Refused::NotFirst(_))), "{refused:?}");
    first.run(|core, _| core.rotate_record_key(&rotate(2))).await.unwrap();
    for expected in [Phase::HandingOut, Phase::Resealing] {
        // Not before the other one has taken the step before.
        assert_eq!(first.advance().await, expected);
        second.pull(&first).await;
        assert_eq!(second.advance().await, expected);
        first.pull(&second).await;
        first.advance().await;
    }
    // A change there comes with a record under the new key.
    second.put(renamed("Alice")).await.unwrap();
    first.pull(&second).await;
    let left = |world: &World| world.core.record_keys(world.now_ms).records_left;
    assert_eq!(left(&first), 1);
    let (id, _) = second.core.waiting(0).unwrap();
    second.run(|core, _| Ok(((), core.acknowledged(id)))).await.unwrap();
    exchange(&mut first, &mut second).await;
    assert_eq!((left(&first), first.advance().await), (0, Phase::Settled));
    second.pull(&first).await;
    assert_eq!(second.core.record_keys(second.now_ms).versions, [2]);
}

#[tokio::test]
async fn senseless_changes_are_left_out() {
    let (mut first, second) = two().await;
    let answer = second.core.changes(&second.store, &Default::default()).unwrap();
    for change in answer.changes {
        for (key, record) in [
            (change.key.clone(), bytes::Bytes::new()),
            (change.key.clone(), bytes::Bytes::from_static(b"\x01{}")),
            (bytes::Bytes::from(vec![0xff; 70]), bytes::Bytes::from_static(b"\x02")),
        ] {
            let senseless = proto::Replicated {
                key,
                record,
                ..change.clone()
            };
            assert!(first.core.merge(first.now_ms, &[senseless]).is_empty());
        }
    }
}
