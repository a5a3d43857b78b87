//! Record keys that change while an edge runs, or while it does not.

use std::time::Duration;

use sip_core::ua::Event;
use usage::user::RecordKey;

use crate::world::{PASSWORD, Phone, World, again, eventually, localhost};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_opened_under_each_key_that_the_edge_holds() {
    let (world, folder) = (World::new(&["alice"]), tempfile::tempdir().unwrap());
    let (old, new) = (world.record_key().clone(), RecordKey::new(2, [8; 32]));
    let edge = world.edge(world.credentials(), folder.path(), localhost()).await;
    let keys = edge.renewer();
    let mut alice = Phone::new("alice", PASSWORD, edge.addresses()[0]).await;
    let mut bob = Phone::new("bob", PASSWORD, edge.addresses()[0]).await;
    world.put_user("bob", PASSWORD, &new, 1);
    alice.register().await;
    // Neither yes nor no: at 401 the phone would ask for another password, at 403 give up.
    assert_eq!(bob.try_to_register().await, Event::RegisterFailed { code: 503 });
    keys.set_record_keys(vec![old, new.clone()]).await;
    alice.register().await;
    bob.register().await;
    // Sealed again; what the edge keeps is still under the old key when that goes.
    world.put_user("alice", PASSWORD, &new, 2);
    keys.set_record_keys(vec![new]).await;
    alice.register().await;
    bob.register().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_on_disk_under_a_key_that_is_gone_is_fetched_anew() {
    let (world, folder) = (World::new(&["alice"]), tempfile::tempdir().unwrap());
    let (credentials, new) = (world.credentials(), RecordKey::new(2, [8; 32]));
    let later = again(&credentials, vec![new.clone()]);
    let first = world.edge(credentials, folder.path(), localhost()).await;
    let address = first.addresses()[0];
    let mut alice = Phone::new("alice", PASSWORD, address).await;
    alice.register().await;
    first.shutdown(Duration::ZERO).await;
    world.put_user("alice", PASSWORD, &new, 2);
    let _second = world.edge(later, folder.path(), address).await;
    eventually(|| world.stub.attachments() == 2).await;
    alice.register().await;
}
