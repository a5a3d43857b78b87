//! Edges that have few ways to each other.

use p2psip_sip_edge::{Config, Server};

use crate::world::{PASSWORD, Phone, World, call};

/// Two edges, each with a phone that registers at it.
struct Pair {
    edges: [Server; 2],
    alice: Phone,
    bob: Phone,
    _folders: [tempfile::TempDir; 2],
}

impl Pair {
    async fn new(world: &World, first: impl FnOnce(&mut Config), second: impl FnOnce(&mut Config)) -> Self {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let mut configs = [world.config(folders[0].path()), world.config(folders[1].path())];
        first(&mut configs[0]);
        second(&mut configs[1]);
        let [one, other] = configs;
        let edges = [world.edge_with(one).await, world.edge_with(other).await];
        let mut alice = Phone::new("alice", PASSWORD, edges[0].addresses()[0]).await;
        let mut bob = Phone::new("bob", PASSWORD, edges[1].addresses()[0]).await;
        alice.register().await;
        bob.register().await;
        Self {
            edges,
            alice,
            bob,
            _folders: folders,
        }
    }
}

fn world() -> World {
    World::new(&["alice", "bob"])
}

fn listens_at(addresses: &[&str]) -> impl FnOnce(&mut Config) {
    let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
    |config| config.edge_bind = addresses
}

fn advertises(addresses: &[&str]) -> impl FnOnce(&mut Config) {
    let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
    |config| config.edge_advertise = addresses
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edges_that_have_ipv6_alone_in_common_meet() {
    let world = world();
    // One of them has IPv4 too, and tells it first.
    let both = listens_at(&["127.0.0.1:0", "[::1]:0"]);
    let mut pair = Pair::new(&world, both, listens_at(&["[::1]:0"])).await;
    assert_eq!(pair.edges[0].edge_addresses().len(), 2);
    call(&mut pair.bob, &mut pair.alice, "alice").await;
    call(&mut pair.alice, &mut pair.bob, "bob").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidate_that_leads_nowhere_is_passed_over() {
    let world = world();
    let first = |config: &mut Config| {
        listens_at(&["[::1]:0"])(config);
        // The port is that of edge_bind, at which nothing listens on IPv4.
        advertises(&["127.0.0.1", "127.0.0.2", "localhost.invalid", "::1"])(config);
    };
    let mut pair = Pair::new(&world, first, |_| {}).await;
    call(&mut pair.alice, &mut pair.bob, "bob").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_open_port_of_two_is_enough() {
    let world = world();
    // Nobody reaches the edge of alice.
    let mut pair = Pair::new(&world, advertises(&["127.0.0.1:1"]), |_| {}).await;
    call(&mut pair.alice, &mut pair.bob, "bob").await;

    let world = self::world();
    let mut pair = Pair::new(&world, advertises(&["127.0.0.1:1"]), |_| {}).await;
    call(&mut pair.bob, &mut pair.alice, "alice").await;
}
