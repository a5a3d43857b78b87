//! What each certificate may be to the overlay.

use rcgen::ExtendedKeyUsagePurpose;
use wire::NodeId;

use super::world::{NOW, OVERLAY, SERIAL, World, edge, leaf_key};
use crate::issue::{Profile, Template};
use crate::{Class, ReloadUri, Use};

/// A certificate, the fault or change in it, what it is in an overlay of ours, and what in a foreign one.
type Case = (Profile, &'static str, fn(&mut Template), Use, Class, Class);

const CASES: [Case; 12] = [
    (
        Profile::Node,
        "its own name",
        own_name,
        Use::Node,
        Class::Peer,
        Class::Peer,
    ),
    (
        Profile::Node,
        "a user's name",
        |_| {},
        Use::Node,
        Class::Client,
        Class::Peer,
    ),
    (
        Profile::Node,
        "no name",
        |t| t.users.clear(),
        Use::Node,
        Class::Client,
        Class::Peer,
    ),
    (
        Profile::Node,
        "another node's name",
        other_name,
        Use::Node,
        Class::Client,
        Class::Peer,
    ),
    (
        Profile::Node,
        "its own name elsewhere",
        foreign_name,
        Use::Node,
        Class::Client,
        Class::Peer,
    ),
    (
        Profile::Node,
        "two nodes",
        two_nodes,
        Use::Node,
        Class::Client,
        Class::Peer,
    ),
    (Profile::Node, "for TLS", tls, Use::Node, Class::Peer, Class::Peer),
    (
        Profile::Node,
        "its own name, storing",
        own_name,
        Use::UserNodeStore,
        Class::Peer,
        Class::Peer,
    ),
    (
        Profile::Edge,
        "a user's name",
        |_| {},
        Use::Node,
        Class::Edge,
        Class::Edge,
    ),
    (
        Profile::Edge,
        "its own name",
        own_name,
        Use::Node,
        Class::Edge,
        Class::Edge,
    ),
    (
        Profile::UserRecord,
        "a user's name",
        |_| {},
        Use::UserNodeStore,
        Class::Signer,
        Class::Signer,
    ),
    (
        Profile::UserRecord,
        "a node's name",
        own_name,
        Use::UserNodeStore,
        Class::Signer,
        Class::Signer,
    ),
];

#[test]
fn only_a_node_that_bears_its_own_name_is_a_peer() {
    for private_namespace in [true, false] {
        let mut world = World::new();
        world.trust.private_namespace = private_namespace;
        for (profile, what, edit, use_, ours, foreign) in CASES {
            let mut template = world.template(profile);
            edit(&mut template);
            let leaf = world
                .issuer(profile)
                .sign(&template, &leaf_key().public(), SERIAL)
                .unwrap();
            let identity = world.verifier().verify(leaf.der(), &[], NOW, use_).unwrap();
            let expected = if private_namespace { ours } else { foreign };
            assert_eq!(identity.class, expected, "{profile:?} with {what}");
        }
    }
}

#[test]
fn signers_are_no_nodes() {
    let world = World::new();
    let configuration = world.issue(Profile::ConfigurationSigner);
    let identity = world
        .verifier()
        .verify(configuration.der(), &[], NOW, Use::Config)
        .unwrap();
    assert_eq!(identity.class, Class::Signer);
    let minted = world.issue(Profile::Minted);
    let identity = world
        .verifier()
        .verify(minted.der(), &world.bucket(), NOW, Use::UserNodeStore);
    assert_eq!(identity.unwrap().class, Class::Signer);
}

fn own_name(template: &mut Template) {
    template.users = vec![format!("{}@{OVERLAY}", edge())];
}

fn other_name(template: &mut Template) {
    template.users = vec![format!("{}@{OVERLAY}", NodeId::new([7; 16]))];
}

fn foreign_name(template: &mut Template) {
    template.users = vec![format!("{}@elsewhere.example.org", edge())];
}

fn two_nodes(template: &mut Template) {
    own_name(template);
    template.uris.push(ReloadUri {
        node_id: NodeId::new([7; 16]),
        overlay: OVERLAY.to_owned(),
    });
}

fn tls(template: &mut Template) {
    own_name(template);
    template.purposes = vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
}
