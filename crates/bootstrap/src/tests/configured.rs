//! Tokens whose secrets come from files.

use std::time::Duration;

use bytes::Bytes;
use identity::{Root, Voucher};
use rpc::proto::bootstrap::v1 as proto;

use super::world::{OVERLAY, World, nodes};
use crate::core::Configured;
use crate::error::Refused;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn configured(id: &str, secret: &str) -> Configured {
    Configured {
        secret: secret.to_owned(),
        wanted: proto::CreateTokenRequest {
            id: id.to_owned(),
            unending: true,
            peer: true,
            edges: 1,
            unlimited: true,
            ..Default::default()
        },
    }
}

async fn configure(world: &mut World, tokens: Vec<Configured>) {
    let now_ms = world.now_ms;
    let (_, batch) = world
        .core
        .configure_tokens(now_ms, tokens)
        .map_err(|(id, _)| id)
        .unwrap();
    world.store.apply(batch).await.unwrap();
}

#[tokio::test]
async fn hosts_of_one_template_enroll_with_one_secret_for_ever() {
    let mut world = World::new().await;
    configure(&mut world, vec![configured("peers", SECRET)]).await;
    world.enroll(nodes(SECRET)).await.unwrap();
    let mut world = world.reopened();
    world.pass(Duration::from_secs(400 * 24 * 3600));
    configure(&mut world, vec![configured("peers", SECRET)]).await;
    world.enroll(nodes(SECRET)).await.unwrap();
    let (listed, _) = world.core.list_tokens(None);
    assert_eq!(listed.len(), 1);
    assert_eq!((listed[0].expires_unix_ms, listed[0].enrolled.len()), (0, 4));
}

#[tokio::test]
async fn the_root_is_vouched_for_by_tokens_that_can_be_used() {
    let mut world = World::new().await;
    let other = "another secret of more than 32 characters";
    configure(&mut world, vec![configured("peers", SECRET), configured("more", other)]).await;
    let request = proto::VouchRequest {
        nonce: vec![7; 32].into(),
    };
    let proofs = |world: &World, secret: &str| {
        let answer = world.core.vouch(world.now_ms, &request).unwrap();
        let hash: [u8; 32] = answer.root.as_ref().try_into().unwrap();
        let root = Root {
            overlay: OVERLAY,
            hash: &hash,
        };
        let voucher = Voucher::new(secret);
        let is_proven = |proof: &&Bytes| voucher.is_proven(&[7; 32], root, proof);
        answer.proofs.iter().filter(is_proven).count()
    };
    assert_eq!((proofs(&world, SECRET), proofs(&world, other)), (1, 1));
    world.run(|core, _| core.revoke_token("more")).await.unwrap();
    assert_eq!((proofs(&world, SECRET), proofs(&world, other)), (1, 0));
    let short = proto::VouchRequest {
        nonce: vec![7; 31].into(),
    };
    assert!(matches!(
        world.core.vouch(world.now_ms, &short),
        Err(Refused::Invalid(_))
    ));
}

#[tokio::test]
async fn what_the_configuration_names_no_more_ends_and_another_secret_begins_anew() {
    let mut world = World::new().await;
    configure(&mut world, vec![configured("peers", SECRET)]).await;
    configure(&mut world, Vec::new()).await;
    assert!(matches!(world.enroll(nodes(SECRET)).await, Err(Refused::Credential)));
    configure(&mut world, vec![configured("peers", SECRET)]).await;
    world.enroll(nodes(SECRET)).await.unwrap();
    // An operator's word stays, until the secret is another.
    world.run(|core, _| core.revoke_token("peers")).await.unwrap();
    configure(&mut world, vec![configured("peers", SECRET)]).await;
    assert!(matches!(world.enroll(nodes(SECRET)).await, Err(Refused::Credential)));
    let next = "the next secret, as long as it has to be";
    configure(&mut world, vec![configured("peers", next)]).await;
    world.enroll(nodes(next)).await.unwrap();
    assert!(matches!(world.enroll(nodes(SECRET)).await, Err(Refused::Credential)));
}

#[tokio::test]
async fn a_token_of_an_operator_is_not_taken_over() {
    let mut world = World::new().await;
    world.token("peers").await;
    let refused = world
        .core
        .configure_tokens(world.now_ms, vec![configured("peers", SECRET)]);
    assert!(matches!(refused, Err((id, Refused::Exists(_))) if id == "peers"));
    let twice = vec![configured("a", SECRET), configured("b", SECRET)];
    let refused = world.core.configure_tokens(world.now_ms, twice);
    assert!(matches!(refused, Err((id, Refused::Invalid(_))) if id == "b"));
}

#[tokio::test]
async fn the_first_peer_at_a_bootstrap_node_forms_the_ring_and_nobody_else() {
    let mut world = World::new().await;
    configure(&mut world, vec![configured("peers", SECRET)]).await;
    let standing = |bootstrap_node| proto::EnrollRequest {
        bootstrap_node,
        ..nodes(SECRET)
    };
    assert!(!world.enroll(standing(false)).await.unwrap().founder);
    let first = standing(true);
    assert!(world.enroll(first.clone()).await.unwrap().founder);
    let mut world = world.reopened();
    assert!(!world.enroll(standing(true)).await.unwrap().founder);
    // The answer was lost: the same peer is told the same again.
    configure(&mut world, vec![configured("peers", SECRET)]).await;
    assert!(world.enroll(first).await.unwrap().founder);
}
