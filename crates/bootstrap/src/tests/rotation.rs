//! Rotation of the record key: nobody is locked out on the way, and nothing of the old key is left at the end.

use std::time::Duration;

use identity::Certificate;
use rpc::proto::bootstrap::v1 as proto;
use rpc::proto::bootstrap::v1::enroll_request::Credential;
use usage::user::Record;
use wire::NodeId;

use super::world::{ALICE, OVERLAY, PASSWORD, World, alice, client, request};
use crate::core::Phase;
use crate::error::Refused;
use crate::state::{self, SERVICE, SERVICE_KEY, USERS};

#[tokio::test]
async fn a_rotation_goes_on_whole_wherever_it_is_cut_off() {
    for is_cut in [false, true] {
        let cut = |world: World| if is_cut { world.reopened() } else { world };
        let mut world = World::new().await;
        world.put(alice()).await.unwrap();
        acknowledge(&mut world).await;
        let (one, other) = (edge(&mut world, "one").await, edge(&mut world, "other").await);
        fetch(&mut world, &one, &[1]).await.unwrap();
        fetch(&mut world, &other, &[1]).await.unwrap();
        assert_eq!(told(&world), (vec![1], Phase::Settled, 2, 0, 0));

        rotate(&mut world, 2).await.unwrap();
        let mut world = cut(world);
        assert_eq!(advance(&mut world).await, Phase::HandingOut);
        assert_eq!(told(&world), (vec![1, 2], Phase::HandingOut, 0, 2, 1));
        // What changes meanwhile is still for edges that have not come.
        world.put(alice()).await.unwrap();
        assert_eq!(waiting_key(&world), Some(1));
        acknowledge(&mut world).await;

        assert_eq!(fetch(&mut world, &one, &[1]).await, Ok((vec![1, 2], vec![2])));
        assert_eq!(fetch(&mut world, &one, &[1, 2]).await, Ok((vec![1, 2], vec![])));
        let mut world = cut(world);
        assert_eq!(advance(&mut world).await, Phase::HandingOut);
        assert_eq!(world.core.record_keys(world.now_ms).behind, [id(&other)]);
        fetch(&mut world, &other, &[2, 1]).await.unwrap();
        let mut world = cut(world);
        assert_eq!(advance(&mut world).await, Phase::Resealing);
        let mut world = cut(world);
        assert_eq!(told(&world), (vec![1, 2], Phase::Resealing, 2, 0, 1));

        assert_eq!(advance(&mut world).await, Phase::Resealing);
        let mut world = cut(world);
        assert_eq!(waiting_key(&world), Some(2));
        // The overlay has not acknowledged it: what it holds is under the old key.
        assert_eq!(advance(&mut world).await, Phase::Resealing);
        let version = world.users(false)[0].version;
        acknowledge(&mut world).await;
        assert_eq!(world.users(false)[0].version, version, "sealed again once");
        let mut world = cut(world);
        assert_eq!(advance(&mut world).await, Phase::Settled);

        let mut world = cut(world);
        assert_eq!(told(&world), (vec![2], Phase::Settled, 0, 2, 0));
        assert_eq!(fetch(&mut world, &one, &[1, 2]).await, Ok((vec![2], vec![])));
        fetch(&mut world, &one, &[2]).await.unwrap();
        fetch(&mut world, &other, &[2]).await.unwrap();
        assert_eq!(told(&world), (vec![2], Phase::Settled, 2, 0, 0));
        let on_disk: state::ServiceRecord = state::get(&world.store, SERVICE, SERVICE_KEY).unwrap().unwrap();
        assert_eq!(on_disk.record_keys.len(), 1);
        // The password is what it was.
        world.core.let_passwords_enroll(true);
        world.enroll(client(ALICE, PASSWORD)).await.unwrap();
    }
}

#[tokio::test]
async fn a_target_is_the_next_version_or_the_one_under_way() {
    let mut world = World::new().await;
    let edge = edge(&mut world, "one").await;
    assert_eq!(rotate(&mut world, 3).await, Err(Refused::Version { current: 1 }));
    assert_eq!(rotate(&mut world, 0).await, Err(Refused::Version { current: 1 }));
    rotate(&mut world, 2).await.unwrap();
    let key = fetch_whole(&mut world, &edge, &[1]).await.unwrap().lacking[0]
        .key
        .clone();
    rotate(&mut world, 2).await.unwrap();
    let again = fetch_whole(&mut world, &edge, &[1]).await.unwrap();
    assert_eq!(again.lacking[0].key, key);
    assert_eq!(rotate(&mut world, 3).await, Err(Refused::Rotating(2)));
    let unknown = proto::RotateRecordKeyRequest {
        target: 2,
        without: vec![vec![7; 16].into()],
    };
    let refused = world.run(|core, _| core.rotate_record_key(&unknown)).await;
    assert!(matches!(refused, Err(Refused::NotFound(_))), "{refused:?}");
}

#[tokio::test]
async fn a_silent_edge_is_waited_for_until_it_is_left_out() {
    let mut world = World::new().await;
    let secret = world.token("silent").await;
    let enrollment = edge_request(&secret);
    let silent = link(&world.enroll(enrollment.clone()).await.unwrap());
    rotate(&mut world, 2).await.unwrap();
    world.pass(Duration::from_secs(1800));
    assert_eq!(advance(&mut world).await, Phase::HandingOut);
    assert_eq!(world.core.record_keys(world.now_ms).behind, [id(&silent)]);
    let without = proto::RotateRecordKeyRequest {
        target: 2,
        without: vec![id(&silent)],
    };
    world.run(|core, _| core.rotate_record_key(&without)).await.unwrap();
    assert_eq!(advance(&mut world).await, Phase::Resealing);
    assert_eq!(advance(&mut world).await, Phase::Settled);
    // It gets no key any more, by whatever way it asks, and is waited for by no later rotation.
    let mut world = world.reopened();
    assert_eq!(
        fetch(&mut world, &silent, &[1]).await,
        Err(Refused::LeftOut(silent.node_ids()[0]))
    );
    assert!(world.enroll(enrollment).await.unwrap().record_keys.is_empty());
    rotate(&mut world, 3).await.unwrap();
    assert_eq!(advance(&mut world).await, Phase::Resealing);
    assert_eq!(world.core.record_keys(world.now_ms).left_out, [id(&silent)]);
}

#[tokio::test]
async fn an_edge_that_can_never_come_is_not_waited_for() {
    let mut world = World::new().await;
    let banned = edge(&mut world, "banned").await;
    world.pass(DAY * 60);
    let present = edge(&mut world, "present").await;
    rotate(&mut world, 2).await.unwrap();
    fetch(&mut world, &present, &[1, 2]).await.unwrap();
    assert_eq!(advance(&mut world).await, Phase::HandingOut);
    let mut world = world.ban(banned.node_ids()[0]).await;
    assert_eq!(advance(&mut world).await, Phase::Resealing);

    let mut world = World::new().await;
    edge(&mut world, "expired").await;
    rotate(&mut world, 2).await.unwrap();
    world.pass(DAY * 90 - Duration::from_secs(60));
    assert_eq!(advance(&mut world).await, Phase::HandingOut);
    world.pass(Duration::from_secs(120));
    assert_eq!(advance(&mut world).await, Phase::Resealing);
}

#[tokio::test]
async fn users_that_come_change_and_go_meanwhile_hold_nothing_up() {
    let mut world = World::new().await;
    for name in ["bob", "carol"] {
        let user = proto::PutUserRequest {
            aor: format!("{name}@{OVERLAY}"),
            ..alice()
        };
        world.put(user).await.unwrap();
    }
    acknowledge(&mut world).await;
    rotate(&mut world, 2).await.unwrap();
    assert_eq!(advance(&mut world).await, Phase::Resealing);
    // New: never under the old key. Changed: under the new one. Removed: nothing to open.
    world.put(alice()).await.unwrap();
    assert_eq!(world.core.record_keys(world.now_ms).records_left, 2);
    world
        .put(proto::PutUserRequest {
            aor: format!("bob@{OVERLAY}"),
            ..alice()
        })
        .await
        .unwrap();
    let carol = proto::DeleteUserRequest {
        aor: format!("carol@{OVERLAY}"),
        if_version: None,
    };
    world.run(|core, now| core.delete_user(now, &carol)).await.unwrap();
    assert_eq!(advance(&mut world).await, Phase::Resealing);
    assert_eq!(world.core.record_keys(world.now_ms).records_left, 1);
    // After a restart nobody knows that alice was never stored under the old key.
    let mut world = world.reopened();
    assert_eq!(world.core.record_keys(world.now_ms).records_left, 2);
    acknowledge(&mut world).await;
    assert_eq!(advance(&mut world).await, Phase::Settled);
    assert_eq!(world.users(true).len(), 3);
}

#[tokio::test]
async fn many_records_are_sealed_again_a_part_at_a_time() {
    let mut world = World::new().await;
    for number in 0..300 {
        let user = proto::PutUserRequest {
            aor: format!("user{number}@{OVERLAY}"),
            ..alice()
        };
        world.put(user).await.unwrap();
    }
    acknowledge(&mut world).await;
    rotate(&mut world, 2).await.unwrap();
    assert_eq!(advance(&mut world).await, Phase::Resealing);
    for (resealed, left) in [(256, 300), (0, 300)] {
        let before = outbox(&world).len();
        assert_eq!(advance(&mut world).await, Phase::Resealing);
        assert_eq!(outbox(&world).len() - before, resealed);
        assert_eq!(world.core.record_keys(world.now_ms).records_left, left);
    }
    acknowledge(&mut world).await;
    assert_eq!(advance(&mut world).await, Phase::Resealing);
    assert_eq!(outbox(&world).len(), 44);
    acknowledge(&mut world).await;
    assert_eq!(advance(&mut world).await, Phase::Settled);
}

#[tokio::test]
async fn only_an_edge_with_its_certificate_gets_keys() {
    let (mut world, mut other) = (World::new().await, World::new().await);
    let foreign = edge(&mut other, "one").await;
    let stranger = Err(Refused::Stranger(foreign.node_ids()[0]));
    assert_eq!(fetch(&mut world, &foreign, &[]).await, stranger);
    let secret = world.token("one").await;
    let peer = proto::EnrollRequest {
        credential: Some(Credential::Token(secret)),
        peer: request(),
        ..Default::default()
    };
    let peer = world.enroll(peer).await.unwrap().peer.unwrap();
    let peer = Certificate::from_der(&peer.certificate).unwrap();
    let refused = Err(Refused::NotCovered("record keys"));
    assert_eq!(fetch(&mut world, &peer, &[]).await, refused);
    let edge = edge(&mut world, "two").await;
    let absurd = fetch(&mut world, &edge, &[0; 100]).await;
    assert!(matches!(absurd, Err(Refused::Invalid(_))), "{absurd:?}");
}

/// A service that never heard of an edge serves it, and from then on waits for it as for those that it enrolled.
#[tokio::test]
async fn an_edge_of_another_service_counts_once_it_has_asked() {
    let mut world = World::new().await;
    let edge = edge(&mut world, "one").await;
    let mut second = world.second_service().await;
    assert_eq!(second.core.record_keys(second.now_ms).edges_behind, 0);
    let first = fetch(&mut second, &edge, &[]).await.unwrap();
    assert_eq!(first, (vec![1], vec![1]));
    fetch(&mut second, &edge, &[1]).await.unwrap();
    assert_eq!(second.core.record_keys(second.now_ms).edges_in_step, 1);
    let request = proto::RotateRecordKeyRequest {
        target: 2,
        without: Vec::new(),
    };
    second.run(|core, _| core.rotate_record_key(&request)).await.unwrap();
    assert_eq!(advance(&mut second).await, Phase::HandingOut);
    // Left out, it gets nothing.
    let request = proto::RotateRecordKeyRequest {
        without: vec![bytes::Bytes::copy_from_slice(edge.node_ids()[0].as_bytes())],
        ..request
    };
    second.run(|core, _| core.rotate_record_key(&request)).await.unwrap();
    let left_out = Err(Refused::LeftOut(edge.node_ids()[0]));
    assert_eq!(fetch(&mut second.reopened(), &edge, &[]).await, left_out);
}

#[tokio::test]
async fn records_from_before_there_were_rotations_are_read() {
    let mut world = World::new().await;
    world.put(alice()).await.unwrap();
    acknowledge(&mut world).await;
    let mut batch = kv::Batch::new();
    for (tree, key, field) in [
        (SERVICE, SERVICE_KEY, "resealing"),
        (USERS, ALICE.as_bytes(), "published_key"),
    ] {
        let mut record: serde_json::Value = state::get(&world.store, tree, key).unwrap().unwrap();
        record.as_object_mut().unwrap().remove(field).unwrap();
        state::put(&mut batch, tree, key, &record);
    }
    world.store.apply(batch).await.unwrap();
    let mut world = world.reopened();
    rotate(&mut world, 2).await.unwrap();
    assert_eq!(advance(&mut world).await, Phase::Resealing);
    assert_eq!(advance(&mut world).await, Phase::Resealing);
    acknowledge(&mut world).await;
    assert_eq!(advance(&mut world).await, Phase::Settled);
}

/// Versions, phase, edges in step, edges behind, records left.
fn told(world: &World) -> (Vec<u32>, Phase, u64, u64, u64) {
    let told = world.core.record_keys(world.now_ms);
    let phase = told.rotation();
    (
        told.versions,
        phase,
        told.edges_in_step,
        told.edges_behind,
        told.records_left,
    )
}

async fn rotate(world: &mut World, target: u32) -> Result<(), Refused> {
    let request = proto::RotateRecordKeyRequest {
        target,
        without: Vec::new(),
    };
    world.run(|core, _| core.rotate_record_key(&request)).await.map(drop)
}

async fn advance(world: &mut World) -> Phase {
    world.run(|core, now| Ok(core.advance_rotation(now))).await.unwrap()
}

/// The versions that there are, and those that the edge was given.
async fn fetch(world: &mut World, edge: &Certificate, held: &[u32]) -> Result<(Vec<u32>, Vec<u32>), Refused> {
    let answer = fetch_whole(world, edge, held).await?;
    let given = answer.lacking.iter().map(|key| key.version).collect();
    Ok((answer.versions, given))
}

async fn fetch_whole(
    world: &mut World,
    edge: &Certificate,
    held: &[u32],
) -> Result<proto::FetchRecordKeysResponse, Refused> {
    let request = proto::FetchRecordKeysRequest { held: held.to_vec() };
    world.run(|core, now| core.fetch_record_keys(now, edge, &request)).await
}

/// Enrolls an edge; the certificate of its link.
async fn edge(world: &mut World, token: &str) -> Certificate {
    let secret = world.token(token).await;
    link(&world.enroll(edge_request(&secret)).await.unwrap())
}

fn edge_request(secret: &str) -> proto::EnrollRequest {
    proto::EnrollRequest {
        credential: Some(Credential::Token(secret.to_owned())),
        edges: vec![proto::EdgeRequest {
            link: request(),
            signer: request(),
        }],
        ..Default::default()
    }
}

fn link(enrolled: &proto::EnrollResponse) -> Certificate {
    Certificate::from_der(&enrolled.edges[0].link).unwrap()
}

fn id(edge: &Certificate) -> bytes::Bytes {
    let node_id: NodeId = edge.node_ids()[0];
    bytes::Bytes::copy_from_slice(node_id.as_bytes())
}

/// A request of alice's own client, with her password.
/// The ids of what waits to be stored.
fn outbox(world: &World) -> Vec<u64> {
    std::iter::successors(world.core.waiting(0), |(id, _)| world.core.waiting(*id))
        .map(|(id, _)| id)
        .collect()
}

/// The overlay stores all that waits.
async fn acknowledge(world: &mut World) {
    for id in outbox(world) {
        let batch = world.core.acknowledged(id);
        world.store.apply(batch).await.unwrap();
    }
}

/// The version of the record key of what waits first.
fn waiting_key(world: &World) -> Option<u32> {
    let (_, waiting) = world.core.waiting(0)?;
    let record: Record = super::users::record_in(waiting);
    Some(record.public().record_key_version)
}

const DAY: Duration = Duration::from_secs(24 * 3600);
