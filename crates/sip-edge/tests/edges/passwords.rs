//! Passwords that change while an edge knows the user.

use crate::world::{PASSWORD, Phone, World, call, localhost};

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
