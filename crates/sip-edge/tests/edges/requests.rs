//! RELOAD requests that arrive for an edge's Node-ID.

use std::time::Duration;

use bytes::Bytes;
use identity::{Sign as _, Use, Verifier, sign_message, verify_message};
use rpc::proto::overlay::v1::CallRequest;
use wire::{
    Body, Decode as _, Encode as _, ErrorCode, MessageContents, MessageExtension, NodeId, PingReq, ProbeReq,
    SecurityBlock, TransactionId,
};

use crate::world::{World, eventually, localhost};

/// Asks the edge `to` as another edge would, and returns what it answers and signs.
pub(crate) async fn ask(world: &World, to: NodeId, contents: Bytes) -> Body {
    let (id, caller) = (TransactionId(77), world.credentials().link);
    let request = CallRequest {
        security_block: sign_message(&caller, world.overlay(), id, &contents).to_bytes(),
        contents,
        transaction_id: Some(id.0),
        ..CallRequest::default()
    };
    let answering = tokio::time::timeout(Duration::from_secs(10), world.stub.ask(to, request));
    let reply = answering.await.expect("it answers in time").expect("it is attached");
    let security = SecurityBlock::from_bytes(&reply.security_block).unwrap();
    let verifier = Verifier::new(world.trust());
    let (overlay, now_ms) = (world.overlay(), world.now_ms());
    let signer = verify_message(&verifier, overlay, id, &reply.contents, &security, now_ms, Use::Node);
    assert_eq!(signer.unwrap().node_id(), to);
    MessageContents::from_bytes(&reply.contents).unwrap().body().unwrap()
}

fn contents(body: &Body) -> Bytes {
    MessageContents::of(body).to_bytes()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_answers_what_arrives_for_it() {
    let (world, folder) = (World::new(&[]), tempfile::tempdir().unwrap());
    let credentials = world.credentials();
    let node = credentials.link.node_id();
    let _edge = world.edge(credentials, folder.path(), localhost()).await;
    eventually(|| world.stub.attachments() == 1).await;

    let ping = contents(&PingReq::default().into());
    let [first, second] = [ask(&world, node, ping.clone()).await, ask(&world, node, ping).await];
    let (Body::PingAns(first), Body::PingAns(second)) = (&first, &second) else {
        panic!("{first:?}, {second:?}")
    };
    assert_ne!(first.response_id, second.response_id);
    assert!(first.time >= world.now_ms());

    // A method that edges do not serve, and one that nobody knows.
    let probe = Body::from(ProbeReq {
        requested_info: Vec::new(),
    });
    let mut unknown = contents(&PingReq::default().into()).to_vec();
    unknown[..2].copy_from_slice(&[0x7f, 0xff]);
    // And a word of a change that says nothing.
    let mute = MessageContents {
        extensions: vec![MessageExtension {
            kind: MessageExtension::CHANGED,
            critical: false,
            contents: Bytes::new(),
        }],
        ..MessageContents::of(&PingReq::default().into())
    };
    for contents in [contents(&probe), unknown.into(), mute.to_bytes()] {
        let answer = ask(&world, node, contents).await;
        let Body::Error(error) = &answer else {
            panic!("{answer:?}")
        };
        assert_eq!(error.code, ErrorCode::InvalidMessage);
    }
}
