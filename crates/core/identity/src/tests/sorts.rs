//! Certificates as they look to people.

use super::world::{DAY, NOW, OVERLAY, SERIAL, World, edge, key, leaf_key};
use crate::issue::{Profile, Subject, Template, self_signed};
use crate::{Certificate, Sort};

#[test]
fn every_sort_is_told_by_what_is_in_it() {
    let world = World::new();
    let own_name = Subject {
        key: &leaf_key().public(),
        node_id: edge(),
        overlay: OVERLAY,
        user: None,
    };
    let peer = world.ca.issue(Profile::Node, &own_name, NOW, SERIAL).unwrap();
    let server = world.ca.issue_server(&leaf_key().public(), &[OVERLAY], NOW, SERIAL);
    let (root, ca) = (world.root.certificate().clone(), world.ca.certificate().clone());
    let signer = world.signer.certificate().clone();
    let cases: [(Certificate, &Certificate, Sort); 10] = [
        (root.clone(), &root, Sort::ConfigurationRoot),
        (
            world.issue(Profile::ConfigurationSigner),
            &root,
            Sort::ConfigurationSigner,
        ),
        (ca.clone(), &ca, Sort::EnrollmentCa),
        (server.unwrap(), &ca, Sort::EnrollmentServer),
        (peer, &ca, Sort::Peer),
        (world.issue(Profile::Node), &ca, Sort::Client),
        (world.issue(Profile::Edge), &ca, Sort::EdgeLink),
        (signer.clone(), &ca, Sort::DelegatedSigner),
        (world.issue(Profile::Minted), &signer, Sort::Minted),
        (world.issue(Profile::UserRecord), &ca, Sort::UserRecord),
    ];
    for (certificate, issuer, expected) in cases {
        assert_eq!(Sort::of(&certificate, Some(issuer)), Some(expected));
    }
}

#[test]
fn without_the_issuer_a_signer_of_values_stays_unknown() {
    let world = World::new();
    for profile in [Profile::Minted, Profile::UserRecord] {
        assert_eq!(Sort::of(&world.issue(profile), None), None);
        // One that only passes for the issuer tells nothing either.
        assert_eq!(
            Sort::of(&world.issue(profile), Some(world.stranger.certificate())),
            None
        );
    }
    assert_eq!(Sort::of(&world.issue(Profile::Edge), None), Some(Sort::EdgeLink));
}

#[test]
fn a_ca_of_another_make_is_none_of_an_overlay() {
    let mut template = Template::default();
    template.make_authority(0);
    template.subject_is_key_id = false;
    template.set_dates(NOW, std::time::Duration::from_secs(3600));
    let other = self_signed(&key(9), &template, SERIAL).unwrap();
    assert_eq!(Sort::of(other.certificate(), None), None);
}

#[test]
fn renewal_counts_from_the_issue() {
    let world = World::new();
    let edge = world.issue(Profile::Edge);
    assert_eq!(Sort::EdgeLink.renewal_ms(&edge), Some(NOW + 30 * DAY));
    let signer = world.signer.certificate();
    assert_eq!(Sort::DelegatedSigner.renewal_ms(signer), Some(NOW + 10 * DAY));
    assert_eq!(Sort::ConfigurationRoot.renewal_ms(world.root.certificate()), None);
}

#[test]
fn key_ids_lead_to_the_issuer() {
    let world = World::new();
    let (ca, edge) = (world.ca.certificate(), world.issue(Profile::Edge));
    assert!(ca.is_named_issuer_of(&edge));
    assert_eq!(edge.issuer_key_id(), ca.key_id());
    assert_eq!(ca.key_id(), ca.issuer_key_id());
}
