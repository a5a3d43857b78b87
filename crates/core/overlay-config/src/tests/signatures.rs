//! Which documents are believed.

use bytes::Bytes;
use identity::Sign;
use wire::KindId;

use super::world::{NOW, OVERLAY, SERIAL, World, key, node, signer};
use crate::{Basis, Document, Error, SignatureError, SignedDocument, is_newer};

#[test]
fn a_signature_ends_with_the_certificate_of_its_signer() {
    let world = World::new();
    let signed = SignedDocument::sign(world.document.clone(), &world.signer);
    let signer = identity::Certificate::from_der(&identity::Sign::certificates(&world.signer)[0]).unwrap();
    assert_eq!(signed.signature_ends_ms(), Some(signer.not_after_ms()));
}

#[test]
fn first_document_is_believed_on_its_pinned_root() {
    let world = World::new();
    let signed = SignedDocument::sign(world.document.clone(), &world.signer);
    let read = first(&signed, world.root_hash()).unwrap();
    assert_eq!(read.document(), &world.document);
    assert_eq!(read.xml(), signed.xml());
    let other = first(&signed, world.ca.certificate().hash()).unwrap_err();
    assert!(
        matches!(
            other,
            Error::Signature {
                source: SignatureError::Identity(_),
                ..
            }
        ),
        "{other}"
    );
    assert!(matches!(
        first(&signed, [0; 32]),
        Err(Error::Signature {
            source: SignatureError::NotPinned,
            ..
        })
    ));
}

#[test]
fn changed_document_is_refused() {
    let world = World::new();
    let signed = SignedDocument::sign(world.document.clone(), &world.signer);
    let xml = String::from_utf8(signed.xml().to_vec()).unwrap();
    for (from, to) in [
        ("initial-ttl>32", "initial-ttl>33"),
        ("<p2psip:delegated-signers/>", ""),
        ("no-ice>true</no-ice>\n", "no-ice>true</no-ice>\n\n"),
        (
            "xmlns:p2psip=\"urn:p2psip:config:1\"",
            "xmlns:p2psip=\"urn:p2psip:config:2\"",
        ),
    ] {
        assert!(xml.contains(from), "{from}");
        let changed = Bytes::from(xml.replacen(from, to, 1));
        let error = SignedDocument::parse_and_verify(changed, Basis::Root(world.root_hash()), NOW).unwrap_err();
        assert!(matches!(error, Error::Signature { .. }), "{from}: {error}");
    }
    let unsigned = Bytes::from(world.document.to_xml());
    let error = SignedDocument::parse_and_verify(unsigned, Basis::Root(world.root_hash()), NOW).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Signature {
                source: SignatureError::Missing,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn only_named_signers_sign() {
    let world = World::new();
    let stranger = signer(&world.root, 20);
    let signed = SignedDocument::sign(world.document.clone(), &stranger);
    let error = first(&signed, world.root_hash()).unwrap_err();
    assert_eq!(
        error,
        Error::Signature {
            overlay: OVERLAY.into(),
            source: SignatureError::UnknownSigner { node_id: node(20) }
        }
    );
    // Neither does an enrollment CA's node, even if it is named.
    let mut document = world.document.clone();
    document.configuration_signers.insert(node(30));
    let public = key(30).public();
    let subject = identity::issue::Subject {
        key: &public,
        node_id: node(30),
        overlay: OVERLAY,
        user: None,
    };
    let leaf = world
        .ca
        .issue(identity::issue::Profile::Node, &subject, NOW, SERIAL)
        .unwrap();
    let member = identity::Signer::new(key(30), &leaf, &[]).unwrap();
    assert!(first(&SignedDocument::sign(document, &member), world.root_hash()).is_err());
}

#[test]
fn next_document_is_signed_by_a_signer_of_the_one_before() {
    let world = World::new();
    let (old, new) = (&world.signer, signer(&world.root, 20));
    let mut next = world.document.clone();
    next.sequence = 2;
    next.configuration_signers = [node(20)].into();
    let by_new = SignedDocument::sign(next.clone(), &new);
    let error = following(&by_new, &world.document).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Signature {
                source: SignatureError::UnknownSigner { .. },
                ..
            }
        ),
        "{error}"
    );
    next.kind_signers = [node(10), node(20)].into();
    let by_old = SignedDocument::sign(next.clone(), old);
    assert_eq!(following(&by_old, &world.document).unwrap().document(), &next);
    // The old signer is not named in the new document: the one after it is the new signer's.
    next.sequence = 3;
    let after = SignedDocument::sign(next, &new);
    assert!(following(&after, by_old.document()).is_ok());
}

/// One signature for those who know the signer of old only, one for when it has ended.
#[test]
fn a_document_of_two_signers_is_believed_on_either() {
    let world = World::new();
    let (old, new) = (&world.signer, signer(&world.root, 20));
    let next = Document {
        sequence: 2,
        configuration_signers: [node(10), node(20)].into(),
        kind_signers: [node(10), node(20)].into(),
        ..world.document.clone()
    };
    let signed = SignedDocument::sign_by(next.clone(), &new, &[old]);
    assert_eq!(following(&signed, &world.document).unwrap().document(), &next);
    let after_the_old = Document {
        bad_nodes: [node(10)].into(),
        ..next
    };
    let signed = SignedDocument::sign_by(after_the_old, &new, &[old]);
    assert!(first(&signed, world.root_hash()).is_ok());
}

#[test]
fn banned_signer_and_withdrawn_root_are_refused() {
    let world = World::new();
    let mut banned = world.document.clone();
    banned.bad_nodes.insert(world.signer.node_id());
    assert!(first(&SignedDocument::sign(banned.clone(), &world.signer), world.root_hash()).is_err());
    let next = Document {
        sequence: 2,
        ..world.document.clone()
    };
    assert!(following(&SignedDocument::sign(next.clone(), &world.signer), &banned).is_err());
    let mut rootless = world.document.clone();
    rootless.root_certs.remove(0);
    assert!(following(&SignedDocument::sign(next, &world.signer), &rootless).is_err());
}

#[test]
fn older_or_expired_document_is_refused() {
    let world = World::new();
    let signed = SignedDocument::sign(world.document.clone(), &world.signer);
    assert_eq!(
        following(&signed, &world.document),
        Err(Error::NotNewer {
            sequence: 1,
            in_force: 1
        })
    );
    let expired = Document {
        expiration_ms: Some(NOW),
        ..world.document.clone()
    };
    let signed = SignedDocument::sign(expired, &world.signer);
    assert_eq!(
        first(&signed, world.root_hash()),
        Err(Error::Expired { expiration_ms: NOW })
    );
    let other = Document {
        overlay: "other.example.org".into(),
        ..world.document.clone()
    };
    let error = following(&signed, &other).unwrap_err();
    assert!(matches!(error, Error::NoConfiguration { .. }), "{error}");
}

#[test]
fn sequence_numbers_wrap() {
    // RFC 6940 §6.3.2.1 compares modulo 65535.
    for (sequence, than, expected) in [
        (2, 1, true),
        (1, 1, false),
        (1, 2, false),
        (0, 65534, true),
        (65534, 0, false),
        (32767, 0, true),
        (32768, 0, false),
    ] {
        assert_eq!(is_newer(sequence, than), expected, "{sequence} after {than}");
    }
}

#[test]
fn kinds_are_signed_and_checked() {
    let world = World::new();
    let signed = SignedDocument::sign(world.document.clone(), &world.signer);
    let xml = std::str::from_utf8(signed.xml()).unwrap();
    assert_eq!(xml.matches("<kind-signature>").count(), 3);
    // A kind signer of its own: the configuration's signer may not sign Kinds.
    let mut document = world.document.clone();
    document.kind_signers = [node(20)].into();
    let unsigned_kinds = SignedDocument::sign(document.clone(), &world.signer);
    assert!(first(&unsigned_kinds, world.root_hash()).is_ok());
    let smuggled = xml.replace(
        "kind-signer>0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a",
        "kind-signer>14141414141414141414141414141414",
    );
    let start = smuggled.find("<configuration").unwrap();
    let end = smuggled.find("</configuration>").unwrap() + "</configuration>".len();
    let configuration = &smuggled[start..end];
    let block = identity::sign_blob(&world.signer, configuration.as_bytes());
    let signature = {
        use base64::Engine;
        base64::engine::general_purpose::STANDARD.encode(wire::Encode::to_bytes(&block))
    };
    let file = Bytes::from(crate::write::file(configuration, &signature));
    let error = SignedDocument::parse_and_verify(file, Basis::Root(world.root_hash()), NOW).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Signature {
                source: SignatureError::Kind {
                    kind: KindId::SIP_REGISTRATION,
                    ..
                },
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn namespaces_of_ours_must_be_signed() {
    let world = World::new();
    // The declarations move from the signed element to the one around it.
    let bare = world.document.to_xml();
    let (declarations, rest) = {
        let start = bare.find(" xmlns").unwrap();
        let end = bare.find(" instance-name").unwrap();
        (
            bare[start..end].to_owned(),
            format!("{}{}", &bare[..start], &bare[end..]),
        )
    };
    let file = format!("<overlay{declarations}>{rest}</overlay>");
    assert_eq!(
        Document::from_xml(&file),
        Err(Error::UnsignedNamespace {
            overlay: OVERLAY.into()
        })
    );
}

#[test]
fn second_overlay_in_the_file_is_found() {
    let world = World::new();
    let signed = SignedDocument::sign(world.document.clone(), &world.signer);
    let mine = std::str::from_utf8(signed.xml()).unwrap();
    let other = "<configuration instance-name=\"other.example.org\"></configuration><signature>AAAA</signature>";
    let both = mine.replacen("<configuration", &format!("{other}<configuration"), 1);
    let read = SignedDocument::parse_and_verify(Bytes::from(both), Basis::Root(world.root_hash()), NOW).unwrap();
    assert_eq!(read.document(), &world.document);
}

fn first(signed: &SignedDocument, root: [u8; 32]) -> Result<SignedDocument, Error> {
    SignedDocument::parse_and_verify(signed.xml().clone(), Basis::Root(root), NOW)
}

fn following(signed: &SignedDocument, previous: &Document) -> Result<SignedDocument, Error> {
    SignedDocument::parse_and_verify(signed.xml().clone(), Basis::Previous(previous), NOW)
}
