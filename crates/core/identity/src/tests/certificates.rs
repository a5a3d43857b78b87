//! Each sort of certificate in every wrong variant.

use bytes::Bytes;
use rcgen::{BasicConstraints, ExtendedKeyUsagePurpose, KeyUsagePurpose};
use wire::NodeId;

use super::world::{DAY, NOW, OVERLAY, SERIAL, World, edge, key, leaf_key, subject};
use crate::issue::{Authority, Profile, Subject, Template, enrollment_ca, renewal_due_ms, self_signed};
use crate::{Certificate, CertificateError, Class, Error, Key, PublicKey, ReloadUri, Use, Verifier};

type Edit = fn(&mut Template);

/// What is wrong with any leaf that has it.
const LEAF_FAULTS: &[(&str, Edit, &str)] = &[
    ("is a CA", |t| t.make_authority(0), "it is a CA's"),
    ("no Node-ID", |t| t.uris.clear(), "it has no Node-ID"),
    ("host name", |t| t.hosts.push("example.org".into()), "names other than"),
    (
        "two users",
        |t| t.users.push("bob@overlay.example.org".into()),
        "several user names",
    ),
    (
        "other overlay",
        |t| t.uris[0].overlay = "other.example.org".into(),
        "names another overlay",
    ),
    (
        "second overlay",
        |t| t.uris.push(uri([1; 16], "other.example.org")),
        "names another overlay",
    ),
    (
        "reserved Node-ID",
        |t| t.uris[0].node_id = NodeId::WILDCARD,
        "reserved Node-ID",
    ),
    (
        "too many Node-IDs",
        |t| t.uris = (1..10).map(|i| uri([i; 16], OVERLAY)).collect(),
        "too many Node-IDs",
    ),
    (
        "key usage",
        |t| t.key_usages = vec![KeyUsagePurpose::KeyCertSign],
        "key usage",
    ),
    ("over", |t| t.not_after_ms = NOW - 1000, "not at"),
    ("not begun", |t| t.not_before_ms = NOW + 1000, "not at"),
    (
        "other purpose",
        |t| t.purposes = vec![ExtendedKeyUsagePurpose::CodeSigning],
        "documentSigning|purpose|key usage",
    ),
];

/// What is wrong with a minted certificate, beyond that.
const MINTED_FAULTS: &[(&str, Edit, &str)] = &[
    (
        "other node",
        |t| t.uris[0].node_id = NodeId::from([1; 16]),
        "for another node",
    ),
    (
        "one node more",
        |t| t.uris.push(uri([1; 16], OVERLAY)),
        "for another node",
    ),
    ("no user", |t| t.users.clear(), "no user name"),
    (
        "user without domain",
        |t| t.users = vec!["alice".into()],
        "no user name",
    ),
    (
        "user with two domains",
        |t| t.users = vec!["alice@a@overlay.example.org".into()],
        "no user name",
    ),
    (
        "foreign domain",
        |t| t.users = vec!["alice@example.net".into()],
        "user's domain",
    ),
    ("no purpose", |t| t.purposes.clear(), "documentSigning alone"),
    (
        "TLS too",
        |t| t.purposes.push(ExtendedKeyUsagePurpose::ClientAuth),
        "documentSigning alone",
    ),
];

/// What is wrong with a delegated signer.
const SIGNER_FAULTS: &[(&str, Edit, &str)] = &[
    ("no Node-ID", |t| t.uris.clear(), "exactly one node"),
    (
        "two Node-IDs",
        |t| t.uris.push(uri([1; 16], OVERLAY)),
        "exactly one node",
    ),
    (
        "other Node-ID",
        |t| t.uris[0].node_id = NodeId::from([1; 16]),
        "for another node",
    ),
    (
        "user name",
        |t| t.users.push("alice@overlay.example.org".into()),
        "exactly one node",
    ),
    ("host name", |t| t.hosts.push("example.org".into()), "exactly one node"),
    (
        "other overlay",
        |t| t.uris[0].overlay = "other.example.org".into(),
        "of another overlay",
    ),
    ("no purpose", |t| t.purposes.clear(), "documentSigning alone"),
    (
        "TLS",
        |t| t.purposes = vec![ExtendedKeyUsagePurpose::ServerAuth],
        "documentSigning alone",
    ),
    (
        "TLS too",
        |t| t.purposes.push(ExtendedKeyUsagePurpose::ServerAuth),
        "documentSigning alone",
    ),
    ("path length 1", |t| t.make_authority(1), "path length 0"),
    (
        "any path length",
        |t| t.authority = Some(BasicConstraints::Unconstrained),
        "path length 0",
    ),
    ("no CA", |t| t.authority = None, "no chain"),
    (
        "key usage",
        |t| t.key_usages = vec![KeyUsagePurpose::DigitalSignature],
        "path length 0",
    ),
    ("over", |t| t.not_after_ms = NOW - 1000, "no chain"),
    ("not begun", |t| t.not_before_ms = NOW + 1000, "no chain"),
];

/// What is wrong with a root certificate.
const ROOT_FAULTS: &[(&str, Edit, &str)] = &[
    ("path length 2", |t| t.make_authority(2), "of no known sort"),
    (
        "any path length",
        |t| t.authority = Some(BasicConstraints::Unconstrained),
        "of no known sort",
    ),
    (
        "purpose",
        |t| t.purposes = vec![ExtendedKeyUsagePurpose::ServerAuth],
        "of no known sort",
    ),
    ("Node-ID", |t| t.uris.push(uri([1; 16], OVERLAY)), "of no known sort"),
    (
        "user name",
        |t| t.users.push("alice@overlay.example.org".into()),
        "of no known sort",
    ),
    (
        "key usage",
        |t| t.key_usages = vec![KeyUsagePurpose::DigitalSignature],
        "of no known sort",
    ),
    ("over", |t| t.not_after_ms = NOW - 1000, "not at"),
    ("not begun", |t| t.not_before_ms = NOW + 1000, "not at"),
];

const USES: [Use; 3] = [Use::Node, Use::UserNodeStore, Use::Config];

/// Classes of leaves with the uses that they are good for.
const LEAVES: [(Profile, &[Use]); 5] = [
    (Profile::ConfigurationSigner, &[Use::Config]),
    (Profile::Node, &[Use::Node, Use::UserNodeStore]),
    (Profile::Edge, &[Use::Node, Use::UserNodeStore]),
    (Profile::Minted, &[Use::UserNodeStore]),
    (Profile::UserRecord, &[Use::UserNodeStore]),
];

#[test]
fn each_leaf_is_good_for_its_uses_only() {
    let world = World::new();
    for (profile, good) in LEAVES {
        let leaf = world.issue(profile);
        for use_ in USES {
            // A fresh verifier each time: nothing remembered.
            let outcome = world.verifier().verify(leaf.der(), &world.bucket(), NOW, use_);
            assert_eq!(
                outcome.is_ok(),
                good.contains(&use_),
                "{profile:?} for {use_:?}: {outcome:?}"
            );
        }
    }
}

#[test]
fn identity_says_who_it_is() {
    let world = World::new();
    let minted = world.issue(Profile::Minted);
    let identity = world
        .verifier()
        .verify(minted.der(), &world.bucket(), NOW, Use::UserNodeStore)
        .unwrap();
    assert_eq!(identity.node_ids, [edge()]);
    assert_eq!(identity.user.as_deref(), Some("alice@overlay.example.org"));
    assert_eq!(identity.delegated_by, Some(edge()));
    assert_eq!(identity.class, Class::Signer);
    assert_eq!(identity.until_ms, NOW + 10 * DAY);
    assert_eq!(
        identity.chain,
        [minted.der().clone(), world.signer.certificate().der().clone()]
    );
    let link = world.issue(Profile::Edge);
    let identity = world.verifier().verify(link.der(), &[], NOW, Use::Node).unwrap();
    assert_eq!(identity.class, Class::Edge);
    assert_eq!((identity.delegated_by, identity.until_ms), (None, NOW + 90 * DAY));
}

#[test]
fn every_wrong_leaf_is_refused() {
    let world = World::new();
    for (profile, good) in LEAVES {
        for (fault, edit, expected) in LEAF_FAULTS {
            let mut template = world.template(profile);
            edit(&mut template);
            let leaf = world
                .issuer(profile)
                .sign(&template, &leaf_key().public(), SERIAL)
                .unwrap();
            refused(
                &world.verifier(),
                &leaf,
                &world.bucket(),
                good[0],
                expected,
                &format!("{profile:?}: {fault}"),
            );
        }
    }
}

#[test]
fn every_leaf_of_a_wrong_issuer_is_refused() {
    let world = World::new();
    for (profile, good) in LEAVES {
        let template = world.template(profile);
        let right = world.issuer(profile);
        for issuer in [&world.root, &world.ca, &world.signer, &world.stranger] {
            // Minted certificates and those of user records have the same form; the one names the
            // signer's own node only, the other what the enrollment CA chose.
            let has_form = matches!(profile, Profile::Minted | Profile::UserRecord)
                && [&world.ca, &world.signer]
                    .iter()
                    .any(|known| known.certificate() == issuer.certificate());
            if has_form || issuer.certificate() == right.certificate() {
                continue;
            }
            let leaf = issuer.sign(&template, &leaf_key().public(), SERIAL).unwrap();
            let what = format!("{profile:?} issued by {:?}", issuer.certificate());
            refused(&world.verifier(), &leaf, &world.bucket(), good[0], "", &what);
        }
    }
}

#[test]
fn every_wrong_purpose_of_a_leaf_is_refused() {
    let world = World::new();
    let document_signing = world.template(Profile::Minted).purposes;
    let sip_domain = vec![world.template(Profile::Edge).purposes[2].clone()];
    for (profile, use_) in [
        (Profile::ConfigurationSigner, Use::Config),
        (Profile::Node, Use::Node),
        (Profile::Edge, Use::Node),
    ] {
        for purposes in [&document_signing, &sip_domain] {
            let template = Template {
                purposes: purposes.clone(),
                ..world.template(profile)
            };
            let leaf = world
                .issuer(profile)
                .sign(&template, &leaf_key().public(), SERIAL)
                .unwrap();
            refused(
                &world.verifier(),
                &leaf,
                &[],
                use_,
                "extended key usage",
                &format!("{profile:?}"),
            );
        }
    }
}

#[test]
fn every_wrong_minted_certificate_is_refused() {
    let world = World::new();
    for (fault, edit, expected) in MINTED_FAULTS {
        let mut template = world.template(Profile::Minted);
        edit(&mut template);
        let leaf = world.signer.sign(&template, &leaf_key().public(), SERIAL).unwrap();
        refused(
            &world.verifier(),
            &leaf,
            &world.bucket(),
            Use::UserNodeStore,
            expected,
            fault,
        );
    }
}

#[test]
fn every_wrong_delegated_signer_is_refused() {
    let world = World::new();
    let right = world
        .ca
        .template(Profile::DelegatedSigner, &subject(&key(4).public(), edge()), NOW)
        .unwrap();
    let minted = world.template(Profile::Minted);
    for (fault, edit, expected) in SIGNER_FAULTS {
        let mut template = right.clone();
        edit(&mut template);
        let signer = world.ca.sign(&template, &key(4).public(), SERIAL).unwrap();
        let leaf = world.signer.sign(&minted, &leaf_key().public(), SERIAL).unwrap();
        refused(
            &world.verifier(),
            &leaf,
            &[signer.der().clone()],
            Use::UserNodeStore,
            expected,
            fault,
        );
    }
    for issuer in [&world.root, &world.stranger, &world.signer] {
        let signer = issuer.sign(&right, &key(4).public(), SERIAL).unwrap();
        let leaf = world.signer.sign(&minted, &leaf_key().public(), SERIAL).unwrap();
        let bucket = [signer.der().clone(), world.stranger.certificate().der().clone()];
        refused(
            &world.verifier(),
            &leaf,
            &bucket,
            Use::UserNodeStore,
            "",
            "signer of a wrong issuer",
        );
    }
}

#[test]
fn every_wrong_root_is_refused() {
    for (profile, good) in [(Profile::ConfigurationSigner, Use::Config), (Profile::Node, Use::Node)] {
        for (fault, edit, expected) in ROOT_FAULTS {
            let mut world = World::new();
            let mut template = Template::default();
            template.make_authority(if profile == Profile::Node { 1 } else { 0 });
            template.set_dates(NOW, std::time::Duration::from_secs(3600));
            edit(&mut template);
            let root = self_signed(&key(9), &template, SERIAL).unwrap();
            world.trust.anchors = vec![root.certificate().clone()];
            let leaf = root
                .sign(&world.template(profile), &leaf_key().public(), SERIAL)
                .unwrap();
            refused(
                &world.verifier(),
                &leaf,
                &[],
                good,
                expected,
                &format!("{profile:?} under a root with {fault}"),
            );
        }
    }
}

#[test]
fn root_that_another_issued_is_refused() {
    let mut world = World::new();
    let mut template = Template::default();
    template.make_authority(1);
    template.set_dates(NOW, std::time::Duration::from_secs(3600));
    let issued = world.stranger.sign(&template, &key(9).public(), SERIAL).unwrap();
    world.trust.anchors = vec![issued.clone()];
    let authority = Authority::new(key(9), issued).unwrap();
    let leaf = authority
        .sign(&world.template(Profile::Node), &leaf_key().public(), SERIAL)
        .unwrap();
    refused(
        &world.verifier(),
        &leaf,
        &[],
        Use::Node,
        "of no known sort",
        "root issued by another",
    );
}

#[test]
fn document_without_our_namespace_allows_any_chain_but_no_delegated_signer() {
    let mut world = World::new();
    world.trust.private_namespace = false;
    let node = world.issue(Profile::Node);
    assert!(world.verifier().verify(node.der(), &[], NOW, Use::Config).is_ok());
    let minted = world.issue(Profile::Minted);
    refused(
        &world.verifier(),
        &minted,
        &world.bucket(),
        Use::UserNodeStore,
        "delegated signers",
        "minted",
    );
    // Two CAs between leaf and root are the most.
    let (mut below_root, mut last) = (Template::default(), None);
    below_root.set_dates(NOW, std::time::Duration::from_secs(3600));
    let root = {
        let mut template = below_root.clone();
        template.make_authority(9);
        self_signed(&key(20), &template, SERIAL).unwrap()
    };
    world.trust.anchors = vec![root.certificate().clone()];
    let mut bucket: Vec<Bytes> = Vec::new();
    for (depth, good) in [(1u8, true), (2, true), (3, false)] {
        let issuer = last.as_ref().unwrap_or(&root);
        below_root.make_authority(9 - depth);
        let certificate = issuer.sign(&below_root, &key(20 + depth).public(), SERIAL).unwrap();
        bucket.insert(0, certificate.der().clone());
        let authority = Authority::new(key(20 + depth), certificate).unwrap();
        let leaf = authority
            .sign(&world.template(Profile::Node), &leaf_key().public(), SERIAL)
            .unwrap();
        let outcome = world.verifier().verify(leaf.der(), &bucket, NOW, Use::Node);
        assert_eq!(outcome.is_ok(), good, "depth {depth}: {outcome:?}");
        last = Some(authority);
    }
}

#[test]
fn bytes_after_a_certificate_are_refused() {
    let world = World::new();
    let mut der = world.issue(Profile::Node).der().to_vec();
    der.push(0);
    let error = world.verifier().verify(&der, &[], NOW, Use::Node).unwrap_err();
    assert_eq!(error, Error::Certificate(CertificateError::TrailingBytes { count: 1 }));
    let huge = vec![0x30; 9000];
    assert!(matches!(
        Certificate::from_der(&huge),
        Err(CertificateError::TooLarge { .. })
    ));
}

#[test]
fn authorities_issue_their_classes_only() {
    let world = World::new();
    let key = leaf_key().public();
    let profiles = [
        Profile::ConfigurationSigner,
        Profile::Node,
        Profile::Edge,
        Profile::DelegatedSigner,
        Profile::Minted,
        Profile::UserRecord,
    ];
    for profile in profiles {
        for authority in [&world.root, &world.ca, &world.signer] {
            let is_right = authority.certificate() == world.issuer(profile).certificate();
            let outcome = authority.issue(profile, &subject(&key, edge()), NOW, SERIAL);
            assert_eq!(
                outcome.is_ok(),
                is_right,
                "{profile:?} by {:?}",
                authority.certificate()
            );
        }
    }
    let other = subject(&key, NodeId::from([1; 16]));
    assert!(world.signer.issue(Profile::Minted, &other, NOW, SERIAL).is_err());
    assert!(
        world
            .ca
            .issue_server(&key, &["enroll.example.org"], NOW, SERIAL)
            .is_ok()
    );
    assert!(
        world
            .root
            .issue_server(&key, &["enroll.example.org"], NOW, SERIAL)
            .is_err()
    );
}

#[test]
fn lives_of_nodes_are_in_proportion_to_what_an_operator_wants() {
    let mut authority = enrollment_ca(&key(1), NOW, SERIAL).unwrap();
    authority.set_node_life(std::time::Duration::from_secs(180));
    let key = leaf_key().public();
    let subject = subject(&key, edge());
    for (profile, life_ms, due_ms) in [
        (Profile::Node, 180_000, 60_000),
        (Profile::Edge, 180_000, 60_000),
        (Profile::DelegatedSigner, 120_000, 20_000),
    ] {
        let issued = authority.issue(profile, &subject, NOW, SERIAL).unwrap();
        assert_eq!(issued.not_after_ms(), NOW + life_ms, "{profile:?}");
        assert_eq!(renewal_due_ms(&issued), NOW + due_ms, "{profile:?}");
    }
    let server = authority.issue_server(&key, &["a.test"], NOW, SERIAL).unwrap();
    assert_eq!(server.not_after_ms(), NOW + 180_000);
}

#[test]
fn minted_certificate_never_outlives_its_signer() {
    let world = World::new();
    let key = leaf_key().public();
    let late = NOW + 55 * DAY;
    let leaf = world
        .signer
        .issue(Profile::Minted, &subject(&key, edge()), late, SERIAL)
        .unwrap();
    assert_eq!(leaf.not_after_ms(), NOW + 60 * DAY);
    assert_eq!(leaf.not_before_ms(), late - 49 * 3600 * 1000);
}

#[test]
fn certificates_have_the_sizes_and_names_of_the_profile() {
    let world = World::new();
    let (ca, node) = (world.ca.certificate(), world.issue(Profile::Node));
    assert!(
        ca.is_named_issuer_of(ca)
            && ca.is_named_issuer_of(&node)
            && !world.root.certificate().is_named_issuer_of(&node)
    );
    let node = Subject {
        user: None,
        ..subject_of(&leaf_key().public())
    }
    .issue(&world);
    assert_eq!(node.user(), Some(format!("{}@{OVERLAY}", edge()).as_str()));
    for profile in [
        Profile::Node,
        Profile::Minted,
        Profile::UserRecord,
        Profile::DelegatedSigner,
        Profile::Edge,
    ] {
        let p256 = Key::generate().unwrap().public();
        let leaf = world
            .issuer(profile)
            .issue(profile, &subject(&p256, edge()), NOW, SERIAL)
            .unwrap();
        assert!(leaf.der().len() < 560, "{profile:?} has {} bytes", leaf.der().len());
    }
}

#[test]
fn request_grants_nothing_but_its_key() {
    let world = World::new();
    let applicant = leaf_key();
    let mut greedy = rcgen::CertificateParams::default();
    greedy.is_ca = rcgen::IsCa::Ca(BasicConstraints::Unconstrained);
    greedy.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    greedy.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::Other(vec![1, 2, 3]),
    ];
    greedy.subject_alt_names = vec![rcgen::SanType::URI(
        uri([1; 16], OVERLAY).to_string().try_into().unwrap(),
    )];
    let request = greedy.serialize_request(&applicant).unwrap();
    let key = PublicKey::from_request(request.der()).unwrap();
    let leaf = world
        .ca
        .issue(Profile::Node, &subject(&key, edge()), NOW, SERIAL)
        .unwrap();
    assert_eq!(leaf, world.issue(Profile::Node));
    assert!(!leaf.is_ca());
    assert_eq!(leaf.node_ids(), [edge()]);
    assert!(leaf.purposes().is_none());
}

/// Expects a refusal whose text has one of the `|`-separated parts.
#[allow(clippy::too_many_arguments, reason = "one line in each table-driven test")]
fn refused(verifier: &Verifier, leaf: &Certificate, bucket: &[Bytes], use_: Use, expected: &str, what: &str) {
    match verifier.verify(leaf.der(), bucket, NOW, use_) {
        Ok(_) => panic!("{what}: accepted"),
        Err(error) => {
            let text = error.to_string();
            assert!(expected.split('|').any(|part| text.contains(part)), "{what}: {text}");
        }
    }
}

fn uri(node_id: [u8; 16], overlay: &str) -> ReloadUri {
    ReloadUri {
        node_id: NodeId::from(node_id),
        overlay: overlay.to_owned(),
    }
}

fn subject_of(key: &PublicKey) -> Subject<'_> {
    subject(key, edge())
}

impl Subject<'_> {
    fn issue(&self, world: &World) -> Certificate {
        world.ca.issue(Profile::Node, self, NOW, SERIAL).unwrap()
    }
}
