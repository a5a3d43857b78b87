//! Passwords that change while an edge knows the user.

use identity::Sign as _;
use sip_core::ua::Event;
use wire::{Body, Changed, Encode as _, KindId, MessageContents, NodeId, PingReq, ResourceId};

use crate::requests::ask;
use crate::world::{DOMAIN, PASSWORD, Phone, World, call, eventually, fails, localhost};

const NEW: &str = "new secret";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_password_works_at_an_edge_that_knows_the_old_one() {
    let (world, folder) = (World::new(&["alice", "bob"]), tempfile::tempdir().unwrap());
    let edge = world.edge(world.credentials(), folder.path(), localhost()).await;
    let address = edge.addresses()[0];
    for user in ["alice", "bob"] {
        Phone::new(user, PASSWORD, address).await.register().await;
        world.put_user(user, NEW, world.record_key(), 2);
    }
    // By a REGISTER, and by an INVITE of somebody who does not register.
    let mut alice = Phone::new("alice", NEW, address).await;
    alice.register().await;
    let mut bob = Phone::new("bob", NEW, address).await;
    call(&mut bob, &mut alice, "alice").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_password_fails_once_the_edge_is_told() {
    let (world, folder) = (World::new(&["alice"]), tempfile::tempdir().unwrap());
    let credentials = world.credentials();
    let node = credentials.link.node_id();
    let edge = world.edge(credentials, folder.path(), localhost()).await;
    eventually(|| world.stub.attachments() == 1).await;
    let mut alice = Phone::new("alice", PASSWORD, edge.addresses()[0]).await;
    alice.register().await;
    world.put_user("alice", NEW, world.record_key(), 2);
    alice.register().await;
    tell(&world, node, "alice").await;
    assert_eq!(alice.try_to_register().await, Event::RegisterFailed { code: 401 });
    Phone::new("alice", NEW, edge.addresses()[0]).await.register().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_bindings_of_a_disabled_user_end_once_the_edge_is_told() {
    let (world, folder) = (World::new(&["alice", "bob"]), tempfile::tempdir().unwrap());
    let credentials = world.credentials();
    let node = credentials.link.node_id();
    let edge = world.edge(credentials, folder.path(), localhost()).await;
    eventually(|| world.stub.attachments() == 1).await;
    let mut alice = Phone::new("alice", PASSWORD, edge.addresses()[0]).await;
    let mut bob = Phone::new("bob", PASSWORD, edge.addresses()[0]).await;
    alice.register().await;
    bob.register().await;
    world.suspend_user("alice", 2);
    tell(&world, node, "alice").await;
    eventually(|| world.stub.registrations("alice@overlay.example.org") == 0).await;
    assert_eq!(alice.try_to_register().await, Event::RegisterFailed { code: 403 });
    assert_eq!(fails(&mut bob, "alice").await, 480);
}

/// Tells an edge, as a service does, that a user's record has changed.
async fn tell(world: &World, edge: NodeId, user: &str) {
    let changed = Changed {
        resource: ResourceId::of(format!("{user}@{DOMAIN}").as_bytes()),
        kind: KindId::P2PSIP_USER,
        generation_counter: 1,
    };
    let ping = MessageContents {
        extensions: vec![changed.to_extension()],
        ..MessageContents::of(&PingReq::default().into())
    };
    let answer = ask(world, edge, ping.to_bytes()).await;
    assert!(matches!(answer, Body::PingAns(_)), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_source_that_guesses_is_not_told_that_it_is_right() {
    let (world, folder) = (World::new(&["alice", "bob"]), tempfile::tempdir().unwrap());
    let edge = world.edge(world.credentials(), folder.path(), localhost()).await;
    let address = edge.addresses()[0];
    let mut bob = Phone::new("bob", PASSWORD, address).await;
    bob.register().await;
    let refused = |event: Event| matches!(event, Event::RegisterFailed { code: 401 | 403, .. });
    for guess in ["1", "2", "3", "4", "5", PASSWORD] {
        let mut guesser = Phone::new("alice", guess, address).await;
        assert!(refused(guesser.try_to_register().await), "{guess}");
    }
    // Another user at the same source, and the same user elsewhere, go on.
    bob.register().await;
    Phone::bound("alice", PASSWORD, address, "127.0.0.2:0")
        .await
        .register()
        .await;
}
