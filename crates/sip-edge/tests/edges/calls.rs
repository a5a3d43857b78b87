//! Registrations and calls, within an edge and across two.

use std::time::{Duration, Instant};

use sip_core::ua::Event;

use crate::world::{PASSWORD, Phone, World, again, call, eventually, fails, hang_up, localhost};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phones_of_two_edges_call_each_other() {
    let (world, folder) = (World::new(&["alice", "bob"]), tempfile::tempdir().unwrap());
    let one = world
        .edge(world.credentials(), &folder.path().join("1"), localhost())
        .await;
    let other = world
        .edge(world.credentials(), &folder.path().join("2"), localhost())
        .await;
    let mut alice = Phone::new("alice", PASSWORD, one.addresses()[0]).await;
    let mut bob = Phone::new("bob", PASSWORD, other.addresses()[0]).await;

    assert_eq!(fails(&mut alice, "nobody").await, 404);
    alice.register().await;
    bob.register().await;
    assert_eq!(world.stub.registrations("bob@overlay.example.org"), 1);
    call(&mut alice, &mut bob, "bob").await;
    call(&mut bob, &mut alice, "alice").await;
    // And over the connection that exists.
    call(&mut alice, &mut bob, "bob").await;

    bob.agent.unregister(Instant::now()).unwrap();
    bob.until(|event| *event == Event::Unregistered).await;
    eventually(|| world.stub.registrations("bob@overlay.example.org") == 0).await;
    one.shutdown(Duration::from_secs(1)).await;
    other.shutdown(Duration::from_secs(1)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_is_called_as_soon_as_it_has_registered() {
    let (world, folder) = (World::new(&["alice", "bob"]), tempfile::tempdir().unwrap());
    let [one, other] = ["1", "2"].map(|name| folder.path().join(name));
    let one = world.edge(world.credentials(), &one, localhost()).await;
    let other = world.edge(world.credentials(), &other, localhost()).await;
    let mut alice = Phone::new("alice", PASSWORD, one.addresses()[0]).await;
    let mut bob = Phone::new("bob", PASSWORD, other.addresses()[0]).await;
    for _ in 0..3 {
        // The caller's edge has just learnt that bob is nowhere, and then that he has gone again.
        assert_eq!(fails(&mut alice, "bob").await, 480);
        bob.register().await;
        call(&mut alice, &mut bob, "bob").await;
        bob.agent.unregister(Instant::now()).unwrap();
        bob.until(|event| *event == Event::Unregistered).await;
        eventually(|| world.stub.registrations("bob@overlay.example.org") == 0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_was_called_before_is_called_once_there() {
    let (world, folder) = (World::new(&["alice"]), tempfile::tempdir().unwrap());
    let edge = world.edge(world.credentials(), folder.path(), localhost()).await;
    let mut alice = Phone::new("alice", PASSWORD, edge.addresses()[0]).await;
    assert_eq!(fails(&mut alice, "bob").await, 404);
    world.put_user("bob", PASSWORD, world.record_key(), 1);
    assert_eq!(fails(&mut alice, "bob").await, 480);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn phones_of_one_edge_call_each_other() {
    let (world, folder) = (World::new(&["alice", "bob"]), tempfile::tempdir().unwrap());
    let edge = world
        .edge(world.credentials(), folder.path(), "[::1]:0".parse().unwrap())
        .await;
    let edge_v6 = edge.addresses()[0];
    let mut alice = Phone::bound("alice", PASSWORD, edge_v6, "[::1]:0").await;
    let mut bob = Phone::bound("bob", PASSWORD, edge_v6, "[::1]:0").await;
    alice.register().await;
    bob.register().await;
    call(&mut alice, &mut bob, "bob").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_without_a_phone_is_not_reached() {
    let (world, folder) = (World::new(&["alice", "bob"]), tempfile::tempdir().unwrap());
    let edge = world.edge(world.credentials(), folder.path(), localhost()).await;
    let mut alice = Phone::new("alice", PASSWORD, edge.addresses()[0]).await;
    assert_eq!(fails(&mut alice, "bob").await, 480);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_whose_port_is_closed_is_given_up_by_the_systems_word() {
    let (world, folder) = (World::new(&["alice", "bob"]), tempfile::tempdir().unwrap());
    let edge = world.edge(world.credentials(), folder.path(), localhost()).await;
    let mut alice = Phone::new("alice", PASSWORD, edge.addresses()[0]).await;
    let mut bob = Phone::new("bob", PASSWORD, edge.addresses()[0]).await;
    bob.register().await;
    drop(bob);
    // A silent phone would end as 408.
    assert_eq!(fails(&mut alice, "bob").await, 480);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_is_refused() {
    let (world, folder) = (World::new(&["alice"]), tempfile::tempdir().unwrap());
    let edge = world.edge(world.credentials(), folder.path(), localhost()).await;
    let mut alice = Phone::new("alice", "wrong", edge.addresses()[0]).await;
    assert_eq!(alice.try_to_register().await, Event::RegisterFailed { code: 401 });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_outlives_the_restart_of_its_edge() {
    let (world, folder) = (World::new(&["alice", "bob"]), tempfile::tempdir().unwrap());
    let credentials = world.credentials();
    let again = again(&credentials, credentials.record_keys.clone());
    let first = world.edge(credentials, &folder.path().join("1"), localhost()).await;
    let address = first.addresses()[0];
    let other = world
        .edge(world.credentials(), &folder.path().join("2"), localhost())
        .await;
    let mut alice = Phone::new("alice", PASSWORD, address).await;
    let mut bob = Phone::new("bob", PASSWORD, other.addresses()[0]).await;
    alice.register().await;
    bob.register().await;
    alice.agent.call(Instant::now(), "sip:bob@overlay.example.org").unwrap();
    let is_up = |event: &Event| *event == Event::Established;
    tokio::join!(alice.until(is_up), bob.until(is_up));

    first.shutdown(Duration::ZERO).await;
    let second = world.edge(again, &folder.path().join("1"), address).await;
    assert_eq!(second.addresses()[0], address);
    eventually(|| world.stub.attachments() == 3).await;
    // Both ways: the caller's edge knows its phone by the binding on disk.
    hang_up(&mut bob, &mut alice).await;
    call(&mut bob, &mut alice, "alice").await;
    call(&mut alice, &mut bob, "bob").await;
}
