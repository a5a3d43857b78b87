//! What is remembered, and what is asked again all the same.

use bytes::Bytes;
use rcgen::{DnType, KeyIdMethod};
use wire::{NodeId, SignerIdentity, hex};

use super::world::{DAY, NOW, SERIAL, World, edge, key, leaf_key, subject};
use crate::issue::{Authority, Profile, enrollment_ca};
use crate::{Certificate, DomainPattern, Domains, Error, Trust, Use};

#[test]
fn remembered_chain_is_judged_by_time_use_and_document() {
    let world = World::new();
    let minted = world.issue(Profile::Minted);
    let verifier = world.verifier();
    let identity = named(&minted);
    // Without the bucket the certificate can only come from the cache.
    let again = |now_ms, use_| verifier.verify_signer(&identity, &[], now_ms, use_);
    assert_eq!(again(NOW, Use::UserNodeStore).unwrap_err(), Error::SignerNotFound);
    verifier
        .verify(minted.der(), &world.bucket(), NOW, Use::UserNodeStore)
        .unwrap();
    assert!(again(NOW + 9 * DAY, Use::UserNodeStore).is_ok());

    assert!(matches!(again(NOW, Use::Node), Err(Error::Shape { .. })));
    assert!(matches!(again(NOW, Use::Config), Err(Error::Shape { .. })));
    assert!(matches!(
        again(NOW + 11 * DAY, Use::UserNodeStore),
        Err(Error::NotValidNow { .. })
    ));
    assert!(matches!(
        again(NOW - 3 * DAY, Use::UserNodeStore),
        Err(Error::NotValidNow { .. })
    ));

    let with = |edit: fn(&mut Trust)| {
        let mut trust = world.trust.clone();
        edit(&mut trust);
        verifier.set_trust(trust);
        again(NOW, Use::UserNodeStore).map(|_| ())
    };
    let banned = with(|trust| {
        trust.bad_nodes.insert(edge());
    });
    assert_eq!(banned, Err(Error::BadNode { node_id: edge() }));
    assert_eq!(with(|trust| trust.anchors.truncate(1)), Err(Error::WithdrawnCa));
    assert!(matches!(
        with(|trust| trust.delegated_signers = false),
        Err(Error::Delegation { .. })
    ));
    let elsewhere = with(|trust| trust.domains = Domains::Patterns(vec![DomainPattern::parse("x").unwrap()]));
    assert!(matches!(elsewhere, Err(Error::Delegation { .. })));
    assert_eq!(with(|_| ()), Ok(()));
    // Without our namespace other shapes count: nothing is remembered across that.
    assert_eq!(
        with(|trust| trust.private_namespace = false),
        Err(Error::SignerNotFound)
    );
}

#[test]
fn new_document_brings_a_new_ca() {
    let world = World::new();
    let verifier = world.verifier();
    let successor = enrollment_ca(&key(50), NOW, SERIAL).unwrap();
    let node = successor
        .issue(Profile::Node, &subject(&leaf_key().public(), edge()), NOW, SERIAL)
        .unwrap();
    assert!(matches!(
        verifier.verify(node.der(), &[], NOW, Use::Node),
        Err(Error::NoPath { .. })
    ));
    let mut trust = world.trust.clone();
    trust.anchors.push(successor.certificate().clone());
    verifier.set_trust(trust);
    assert!(verifier.verify(node.der(), &[], NOW, Use::Node).is_ok());
}

#[test]
fn renewed_ca_of_the_same_key_takes_over() {
    let world = World::new();
    let verifier = world.verifier();
    let (minted, node) = (world.issue(Profile::Minted), world.issue(Profile::Node));
    verifier
        .verify(minted.der(), &world.bucket(), NOW, Use::UserNodeStore)
        .unwrap();
    verifier.verify(node.der(), &[], NOW, Use::Node).unwrap();
    let renewed = enrollment_ca(&key(2), NOW + DAY, SERIAL).unwrap();
    let mut trust = world.trust.clone();
    trust.anchors = vec![renewed.certificate().clone()];
    verifier.set_trust(trust);
    for (leaf, use_) in [(&minted, Use::UserNodeStore), (&node, Use::Node)] {
        assert!(
            verifier.verify_signer(&named(leaf), &[], NOW + DAY, use_).is_ok(),
            "{use_:?}"
        );
    }
}

#[test]
fn decoys_do_not_hide_the_signer() {
    let world = World::new();
    let minted = world.issue(Profile::Minted);
    // Sixty other edges' signers, then two impostors of the right name and key id, then the signer.
    let mut bucket: Vec<Bytes> = (0..60u8).map(|seed| other_signer(&world, seed)).collect();
    bucket.push(impostor(&world, 200));
    bucket.extend(world.bucket());
    let verifier = world.verifier();
    verifier.verify(minted.der(), &bucket, NOW, Use::UserNodeStore).unwrap();

    // A signer that was good before is tried before any number of impostors.
    let another = world
        .signer
        .issue(Profile::Minted, &subject(&key(101).public(), edge()), NOW, SERIAL)
        .unwrap();
    let mut bucket: Vec<Bytes> = (201..221u8).map(|seed| impostor(&world, seed)).collect();
    bucket.extend(world.bucket());
    verifier
        .verify(another.der(), &bucket, NOW, Use::UserNodeStore)
        .unwrap();

    let error = world
        .verifier()
        .verify(minted.der(), &vec![Bytes::new(); 65], NOW, Use::Node)
        .unwrap_err();
    assert_eq!(error, Error::BucketTooLarge { count: 65, limit: 64 });
}

#[test]
fn impostor_of_a_remembered_signer_is_refused() {
    let world = World::new();
    let verifier = world.verifier();
    verifier
        .verify(
            world.issue(Profile::Minted).der(),
            &world.bucket(),
            NOW,
            Use::UserNodeStore,
        )
        .unwrap();
    // Signed with a key that is not the signer's, in the signer's name.
    let fake = Authority::new(key(200), Certificate::from_bytes(impostor(&world, 200)).unwrap()).unwrap();
    let leaf = fake
        .sign(&world.template(Profile::Minted), &key(102).public(), SERIAL)
        .unwrap();
    for bucket in [
        world.bucket(),
        vec![impostor(&world, 200)],
        [world.bucket(), vec![impostor(&world, 200)]].concat(),
    ] {
        assert!(verifier.verify(leaf.der(), &bucket, NOW, Use::UserNodeStore).is_err());
    }
}

#[test]
fn remembered_signer_is_judged_again_for_each_leaf() {
    let world = World::new();
    let verifier = world.verifier();
    verifier
        .verify(
            world.issue(Profile::Minted).der(),
            &world.bucket(),
            NOW,
            Use::UserNodeStore,
        )
        .unwrap();
    let mint = |edit: fn(&mut crate::issue::Template)| {
        let mut template = world.template(Profile::Minted);
        edit(&mut template);
        let leaf = world.signer.sign(&template, &key(103).public(), SERIAL).unwrap();
        verifier
            .verify(leaf.der(), &world.bucket(), NOW, Use::UserNodeStore)
            .map(|_| ())
    };
    assert_eq!(mint(|_| ()), Ok(()));
    let elsewhere = mint(|template| template.uris[0].node_id = NodeId::from([1; 16]));
    assert!(matches!(elsewhere, Err(Error::Delegation { .. })), "{elsewhere:?}");
    // After the signer's end, a leaf that claims to live longer is void.
    let mut template = world.template(Profile::Minted);
    template.not_after_ms = NOW + 90 * DAY;
    let leaf = world.signer.sign(&template, &key(104).public(), SERIAL).unwrap();
    assert!(
        verifier
            .verify(leaf.der(), &world.bucket(), NOW + 61 * DAY, Use::UserNodeStore)
            .is_err()
    );
}

fn named(leaf: &Certificate) -> SignerIdentity {
    SignerIdentity::CertHash {
        hash_alg: SignerIdentity::SHA256,
        hash: Bytes::copy_from_slice(&leaf.hash()),
    }
}

fn other_signer(world: &World, seed: u8) -> Bytes {
    let node_id = NodeId::from([seed + 1; 16]);
    let key = key(120 + seed).public();
    world
        .ca
        .issue(Profile::DelegatedSigner, &subject(&key, node_id), NOW, SERIAL)
        .unwrap()
        .der()
        .clone()
}

/// A CA with the name and key id of the real signer, but its own key.
fn impostor(world: &World, seed: u8) -> Bytes {
    let real = key(4).public().key_id();
    let template = world
        .ca
        .template(Profile::DelegatedSigner, &subject(&key(seed).public(), edge()), NOW)
        .unwrap();
    let mut parameters = template.parameters(&key(seed).public(), SERIAL).unwrap();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters
        .distinguished_name
        .push(DnType::CommonName, hex::encode(&real));
    parameters.key_identifier_method = KeyIdMethod::PreSpecified(real.to_vec());
    let der = pki_types::CertificateDer::from(world.ca.certificate().der().as_ref());
    let issuer = rcgen::Issuer::from_ca_cert_der(&der, key(199)).unwrap();
    Bytes::copy_from_slice(parameters.signed_by(&key(seed).public(), &issuer).unwrap().der())
}
