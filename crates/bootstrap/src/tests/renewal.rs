//! Certificates that are renewed: the same node, the same key, and only who was enrolled here.

use std::time::Duration;

use identity::{Certificate, Class, Key, Use};
use rpc::proto::bootstrap::v1 as proto;
use rpc::proto::bootstrap::v1::enroll_request::Credential;

use super::world::{ALICE, World, alice, request};
use crate::error::Refused;

#[tokio::test]
async fn certificate_is_renewed_after_a_third_of_its_life_and_not_before() {
    let mut world = World::new().await;
    let enrolled = enroll(&mut world).await;
    let first = certificate(&enrolled.peer.unwrap().certificate);
    world.pass(DAY * 30 - Duration::from_secs(1));
    assert_eq!(renew(&mut world, &first).await.unwrap(), first);
    world.pass(Duration::from_secs(1));
    let second = renew(&mut world, &first).await.unwrap();
    assert_eq!(
        second.not_after_ms() / 1000,
        first.not_after_ms() / 1000 + 30 * 24 * 3600
    );
    assert_eq!(second.node_ids(), first.node_ids());
    assert_eq!(second.public_key(), first.public_key());
    world
        .verifier()
        .verify(second.der(), &[], world.now_ms, Use::Node)
        .unwrap();
    // The answer may have been lost: the old certificate gets it again, also after a restart.
    let mut world = world.reopened();
    assert_eq!(renew(&mut world, &first).await.unwrap(), second);
}

#[tokio::test]
async fn delegated_signer_is_renewed_with_a_new_key() {
    let mut world = World::new().await;
    let enrolled = enroll(&mut world).await;
    let edge = &enrolled.edges[0];
    let link = certificate(&edge.link);
    let key = Key::generate().unwrap();
    let asked = |signer: &Key| proto::RenewRequest {
        signer: signer.request().unwrap().into(),
        ..proto::RenewRequest::default()
    };
    let first = world
        .run(|core, now| core.renew(now, &link, &asked(&key)))
        .await
        .unwrap();
    let signer = certificate(&first.signer);
    assert!(signer.is_ca() && signer.node_ids() == link.node_ids());
    assert_eq!(signer.public_key(), key.public().spki());
    assert_eq!(first.node.as_ref().unwrap().certificate, edge.link);
    let again = world
        .run(|core, now| core.renew(now, &link, &asked(&key)))
        .await
        .unwrap();
    assert_eq!(again, first);
    // A peer has none.
    let peer = certificate(&enrolled.peer.unwrap().certificate);
    let refused = world.run(|core, now| core.renew(now, &peer, &asked(&key))).await;
    assert!(matches!(refused, Err(Refused::NotCovered(_))), "{refused:?}");
}

#[tokio::test]
async fn who_insists_gets_new_certificates_before_they_are_due() {
    let mut world = World::new().await;
    let edge = enroll(&mut world).await.edges.remove(0);
    let link = certificate(&edge.link);
    world.pass(DAY);
    let request = proto::RenewRequest {
        signer: Key::generate().unwrap().request().unwrap().into(),
        anew: true,
    };
    let answer = world.run(|core, now| core.renew(now, &link, &request)).await.unwrap();
    let renewed = certificate(&answer.node.unwrap().certificate);
    assert_eq!(
        (renewed.not_after_ms() - link.not_after_ms()) / 1000,
        DAY.as_secs(),
        "{renewed:?}"
    );
    assert_eq!(renewed.public_key(), link.public_key());
    // Also a signer for the same key.
    let again = world.run(|core, now| core.renew(now, &link, &request)).await.unwrap();
    assert_ne!(again.signer, answer.signer);
}

#[tokio::test]
async fn strangers_are_not_renewed() {
    let (mut world, mut other) = (World::new().await, World::new().await);
    let foreign = certificate(&enroll(&mut other).await.peer.unwrap().certificate);
    let refused = renew(&mut world, &foreign).await;
    assert_eq!(refused, Err(Refused::Stranger(foreign.node_ids()[0])));
    // A revoked token ends no node that it enrolled.
    let known = certificate(&enroll(&mut world).await.peer.unwrap().certificate);
    world.run(|core, _| core.revoke_token("first")).await.unwrap();
    world.pass(DAY * 40);
    assert!(renew(&mut world, &known).await.is_ok());
}

/// A service whose disk is empty, under a CA of its own.
#[tokio::test]
async fn any_service_renews_by_certificate_alone() {
    let mut world = World::new().await;
    let enrolled = enroll(&mut world).await;
    let mut second = world.second_service().await;
    let peer = certificate(&enrolled.peer.unwrap().certificate);
    assert_eq!(renew(&mut second, &peer).await.unwrap(), peer, "not due");
    second.pass(DAY * 40);
    let renewed = renew(&mut second, &peer).await.unwrap();
    assert_eq!(renewed.node_ids(), peer.node_ids());
    assert_eq!(renewed.public_key(), peer.public_key());
    assert_ne!(renewed.issuer_key_id(), peer.issuer_key_id());
    let verifier = second.verifier();
    let identity = verifier.verify(renewed.der(), &[], second.now_ms, Use::Node).unwrap();
    assert_eq!(identity.class, Class::Peer);

    let link = certificate(&enrolled.edges[0].link);
    let request = proto::RenewRequest {
        signer: request(),
        ..proto::RenewRequest::default()
    };
    let answer = second.run(|core, now| core.renew(now, &link, &request)).await.unwrap();
    let signer = certificate(&answer.signer);
    assert!(signer.is_ca() && signer.node_ids() == link.node_ids());
    let link = certificate(&answer.node.unwrap().certificate);
    let identity = verifier.verify(link.der(), &[], second.now_ms, Use::Node).unwrap();
    assert_eq!(identity.class, Class::Edge);

    // The other does not take back a renewal, although it is not due by its own record.
    let mut world = world.second_service().await;
    world.pass(DAY * 5);
    let insists = proto::RenewRequest {
        anew: true,
        ..proto::RenewRequest::default()
    };
    let newer = world.run(|core, now| core.renew(now, &peer, &insists)).await.unwrap();
    let newer = certificate(&newer.node.unwrap().certificate);
    assert_eq!(renew(&mut world, &newer).await.unwrap(), newer);
}

#[tokio::test]
async fn a_banned_or_ended_certificate_is_renewed_nowhere() {
    let mut world = World::new().await;
    let enrolled = enroll(&mut world).await;
    let peer = certificate(&enrolled.peer.unwrap().certificate);
    let node_id = peer.node_ids()[0];
    let mut late = world.second_service().await;
    late.pass(DAY * 91);
    assert_eq!(renew(&mut late, &peer).await, Err(Refused::Stranger(node_id)));
    let mut banning = world.second_service().await.ban(node_id).await;
    assert_eq!(renew(&mut banning, &peer).await, Err(Refused::Stranger(node_id)));
}

/// A client of a user who is not known here keeps its certificates; one whose user was removed does not.
#[tokio::test]
async fn a_client_is_renewed_unless_its_user_was_removed() {
    let mut world = World::new().await;
    world.put(alice()).await.unwrap();
    let token = proto::CreateTokenRequest {
        id: "phone".to_owned(),
        lifetime_seconds: 3600,
        user: ALICE.to_owned(),
        ..Default::default()
    };
    let asked = proto::EnrollRequest {
        credential: Some(Credential::Token(world.create(token).await.unwrap())),
        client: request(),
        ..Default::default()
    };
    let client = certificate(&world.enroll(asked).await.unwrap().client.unwrap().certificate);
    let mut second = world.second_service().await;
    second.pass(DAY * 40);
    let renewed = renew(&mut second, &client).await.unwrap();
    assert_eq!(renewed.user(), Some(ALICE));
    second.put(alice()).await.unwrap();
    let gone = proto::DeleteUserRequest {
        aor: ALICE.to_owned(),
        if_version: None,
    };
    second.run(|core, now| core.delete_user(now, &gone)).await.unwrap();
    let refused = renew(&mut second, &renewed).await;
    assert!(matches!(refused, Err(Refused::NotFound(_))), "{refused:?}");
}

/// A peer that was off for longer than its certificate lived comes back with a token, and its data are its own still.
#[tokio::test]
async fn who_comes_too_late_keeps_its_node_id_with_a_new_token() {
    let mut world = World::new().await;
    let secret = world.token("first").await;
    let keys = [(); 3].map(|()| Key::generate().unwrap());
    let asked = |secret: &str, ended: &[u8], keys: &[Key; 3]| proto::EnrollRequest {
        credential: Some(Credential::Token(secret.to_owned())),
        peer: keys[0].request().unwrap().into(),
        edges: vec![proto::EdgeRequest {
            link: keys[1].request().unwrap().into(),
            signer: keys[2].request().unwrap().into(),
        }],
        ended: ended.to_vec().into(),
        ..Default::default()
    };
    let first = world.enroll(asked(&secret, &[], &keys)).await.unwrap();
    let peer = first.peer.unwrap();
    world.pass(DAY * 100);
    // Here, and at a service that never heard of it.
    let second = world.second_service().await;
    for mut world in [world, second] {
        let secret = world.token("second").await;
        let again = world.enroll(asked(&secret, &peer.certificate, &keys)).await.unwrap();
        let renewed = again.peer.unwrap();
        assert_eq!(renewed.node_id, peer.node_id);
        let verifier = world.verifier();
        verifier
            .verify(&renewed.certificate, &[], world.now_ms, Use::Node)
            .unwrap();
        // The place is taken; the answer comes again to the same keys and nobody else.
        let mut world = world.reopened();
        let lost = world.enroll(asked(&secret, &peer.certificate, &keys)).await.unwrap();
        assert_eq!(lost.peer.unwrap(), renewed);
        let others = [(); 3].map(|()| Key::generate().unwrap());
        let stolen = world.enroll(asked(&secret, &peer.certificate, &others)).await;
        assert!(matches!(stolen, Err(Refused::Invalid(_))), "{stolen:?}");
        let node_id = certificate(&peer.certificate).node_ids()[0];
        let mut world = world.ban(node_id).await;
        let secret = world.token("third").await;
        let banned = world.enroll(asked(&secret, &peer.certificate, &keys)).await;
        assert_eq!(banned, Err(Refused::Stranger(node_id)));
    }
}

async fn renew(world: &mut World, shown: &Certificate) -> Result<Certificate, Refused> {
    let request = proto::RenewRequest::default();
    let answer = world.run(|core, now| core.renew(now, shown, &request)).await?;
    Ok(certificate(&answer.node.unwrap().certificate))
}

async fn enroll(world: &mut World) -> proto::EnrollResponse {
    let secret = world.token("first").await;
    let asked = proto::EnrollRequest {
        credential: Some(Credential::Token(secret)),
        peer: request(),
        edges: vec![proto::EdgeRequest {
            link: request(),
            signer: request(),
        }],
        ..Default::default()
    };
    world.enroll(asked).await.unwrap()
}

fn certificate(der: &[u8]) -> Certificate {
    Certificate::from_der(der).unwrap()
}

const DAY: Duration = Duration::from_secs(24 * 3600);
