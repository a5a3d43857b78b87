//! State that an earlier version wrote.

use identity::issue::{Authority, Profile, Serial, Subject};
use identity::{Certificate, Key};
use kv::{Batch, Tree};
use rpc::proto::bootstrap::v1 as proto;
use wire::NodeId;

use super::world::{ALICE, OVERLAY, PASSWORD, World, alice, client, nodes};
use crate::error::Refused;
use crate::state::{self, SERVICE, SERVICE_KEY, ServiceRecord, TOKENS};

/// Each node had its place in its token, and each client one in a tree of their own.
#[tokio::test]
async fn nodes_of_before_keep_their_places() {
    let mut world = World::new().await;
    world.put(alice()).await.unwrap();
    let secret = world.token("old").await;
    let [peer, link, signer, phone] = [(); 4].map(|()| Key::generate().unwrap());
    let ids = [1, 2, 3].map(|octet| NodeId::from([octet; 16]));
    let issue = |key: &Key, node_id, profile, user| issued(&world, key, node_id, profile, user);
    let certificates = [
        issue(&peer, ids[0], Profile::Node, None),
        issue(&link, ids[1], Profile::Edge, None),
        issue(&signer, ids[1], Profile::DelegatedSigner, None),
        issue(&phone, ids[2], Profile::Node, Some(ALICE)),
    ];
    let [peer_der, link_der, signer_der, phone_der] = certificates.clone().map(|der| wire::hex::encode(der.der()));

    // As they stood on the disk: a format, and JSON.
    let (_, stored) = world.store.iter(TOKENS).next().unwrap().unwrap();
    let json: serde_json::Value = serde_json::from_slice(&stored[1..]).unwrap();
    let old_token = format!(
        "\u{1}{{\"secret_hash\":{},\"lifetime_seconds\":3600,\"created_ms\":1,\"expires_ms\":{},\"peer\":true,\"edges\":1,\
         \"revoked\":false,\"used\":{{\"peer\":{{\"node_id\":\"{}\",\"certificate\":\"{peer_der}\"}},\"edges\":[{{\"node_id\":\"{}\",\
         \"link\":\"{link_der}\",\"signer\":\"{signer_der}\"}}]}}}}",
        json["secret_hash"], json["expires_ms"], ids[0], ids[1],
    );
    let old_client = format!("\u{1}{{\"node_id\":\"{}\",\"certificate\":\"{phone_der}\"}}", ids[2]);
    let mut batch = Batch::new();
    batch.put(TOKENS, b"old", old_token);
    let place = [ALICE.as_bytes(), &[0], &phone.public().key_id()].concat();
    batch.put(Tree::new("client"), &place, old_client);
    world.store.apply(batch).await.unwrap();

    for _ in 0..2 {
        state::migrate(&world.store).await.unwrap();
    }
    let mut world = world.reopened();
    world.core.let_passwords_enroll(true);
    let asked = proto::EnrollRequest {
        peer: peer.request().unwrap().into(),
        edges: vec![proto::EdgeRequest {
            link: link.request().unwrap().into(),
            signer: signer.request().unwrap().into(),
        }],
        ..nodes(&secret)
    };
    let answer = world.enroll(asked).await.unwrap();
    assert_eq!(answer.peer.unwrap().certificate, certificates[0].der());
    assert_eq!(answer.edges[0].link, certificates[1].der());
    assert_eq!(answer.edges[0].signer, certificates[2].der());
    // It had one use.
    assert_eq!(world.enroll(nodes(&secret)).await, Err(Refused::Credential));
    let phone = proto::EnrollRequest {
        client: phone.request().unwrap().into(),
        ..client(ALICE, PASSWORD)
    };
    assert_eq!(
        world.enroll(phone).await.unwrap().client.unwrap().certificate,
        certificates[3].der()
    );
    let (listed, _) = world.core.list_tokens(None);
    assert_eq!((listed[0].uses, listed[0].enrolled.len()), (1, 2));
    assert_eq!(
        (listed[0].enrolled[0].from.as_str(), listed[0].enrolled[0].unix_ms),
        ("", 0)
    );
}

fn issued(world: &World, key: &Key, node_id: NodeId, profile: Profile, user: Option<&str>) -> Certificate {
    let record: ServiceRecord = state::get(&world.store, SERVICE, SERVICE_KEY).unwrap().unwrap();
    let certificate = Certificate::from_der(&record.authority_certificate.0).unwrap();
    let authority = Authority::new(Key::from_pkcs8(&record.authority_key.0).unwrap(), certificate).unwrap();
    let subject = Subject {
        key: &key.public(),
        node_id,
        overlay: OVERLAY,
        user,
    };
    let serial = Serial::generate().unwrap();
    authority.issue(profile, &subject, world.now_ms, serial).unwrap()
}
