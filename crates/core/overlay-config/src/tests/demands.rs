//! Documents that are signed as they must be, and that this implementation cannot obey (RFC 6940 §11.1).

use base64::Engine;
use bytes::Bytes;
use identity::Signer;

use super::world::{NOW, World, signer};
use crate::{Basis, Demand, Error, SignedDocument, write};

/// Replacements in a good document, and what the next document then needs.
const DEMANDS: &[(&str, &str, &str)] = &[
    (
        "<turn-density>",
        "<mandatory-extension>urn:example:other</mandatory-extension><turn-density>",
        "urn:example:other",
    ),
    ("CHORD-RELOAD<", "PASTRY<", "topology-plugin PASTRY"),
    ("node-id-length>16<", "node-id-length>20<", "node-id-length 20"),
    ("no-ice>true<", "no-ice>false<", "no-ice false"),
    // RFC 6940 §11.1: the default.
    ("<no-ice>true</no-ice>", "", "no-ice false"),
    (
        "overlay-link-protocol>TLS<",
        "overlay-link-protocol>EXP-PROTOCOL<",
        "overlay-link-protocol EXP-PROTOCOL",
    ),
    (
        "<turn-density>",
        "<self-signed-permitted digest=\"sha1\">true</self-signed-permitted><turn-density>",
        "self-signed-permitted true",
    ),
    (
        "<turn-density>",
        "<self-signed-permitted digest=\"sha3\">false</self-signed-permitted><turn-density>",
        "self-signed-permitted digest sha3",
    ),
    (
        "<turn-density>",
        "<shared-secret>x</shared-secret><turn-density>",
        "shared-secret (a secret)",
    ),
    (
        "max-message-size>65536<",
        "max-message-size>4294967295<",
        "max-message-size 4294967295",
    ),
    ("max-message-size>65536<", "max-message-size>64<", "max-message-size 64"),
    (
        "overlay-reliability-timer>500<",
        "overlay-reliability-timer>60001<",
        "overlay-reliability-timer 60001",
    ),
    (
        "chord-update-interval>10<",
        "chord-update-interval>86401<",
        "chord-update-interval 86401",
    ),
    ("name=\"SIP-REGISTRATION\"", "name=\"UNHEARD-OF\"", "Kind UNHEARD-OF"),
    ("data-model>SINGLE<", "data-model>TREE<", "data-model TREE"),
    (
        "access-control>NODE-MULTIPLE<",
        "access-control>ANYONE<",
        "access-control ANYONE",
    ),
    (
        "max-node-multiple>16<",
        "max-node-multiple>256<",
        "max-node-multiple 256",
    ),
    ("max-count>16<", "max-count>1000001<", "max-count 1000001"),
    // Of a later version of our own namespace: an element, an attribute, a value.
    (
        "<p2psip:delegated-signers/>",
        "<p2psip:delegated-signers/><p2psip:service url=\"https://a:1\" authority=\"00\" writer=\"0\"/>",
        "authority 00",
    ),
    (
        "<p2psip:delegated-signers/>",
        "<p2psip:delegated-signers/><p2psip:moon-phase/>",
        "moon-phase",
    ),
    ("<p2psip:writer>", "<p2psip:moon-phase/><p2psip:writer>", "moon-phase"),
    // Where RFC 6940 §11.1.1 leaves no room for foreign elements.
    ("<turn-density>", "<landmarks>5</landmarks><turn-density>", "landmarks"),
    (
        "<turn-density>",
        "<chord:chord-length>5</chord:chord-length><turn-density>",
        "chord-length",
    ),
    ("<turn-density>", "<turn-density unit=\"percent\">", "turn-density unit"),
    (
        "<configuration ",
        "<configuration phase=\"full\" ",
        "configuration phase",
    ),
    (
        "instance-name=\"overlay.example.org\"",
        "instance-name=\"other.example.org\"",
        "instance-name other.example.org",
    ),
];

#[test]
fn the_next_document_that_cannot_be_obeyed_is_told_from_a_bad_one() {
    let world = World::new();
    for (from, to, needs) in DEMANDS {
        let xml = next(&world, (from, to), &world.signer);
        let error = SignedDocument::parse_and_verify(xml, Basis::Previous(&world.document), NOW).unwrap_err();
        let demand = Demand {
            sequence: 2,
            needs: (*needs).to_owned(),
        };
        assert_eq!(error, Error::CannotObey(demand), "{to}");
        assert_eq!(error.to_string(), format!("document 2 needs {needs}: upgrade"));
    }
}

#[test]
fn nobody_else_makes_a_member_leave() {
    let world = World::new();
    let stranger = signer(&world.root, 20);
    for (from, to, _) in DEMANDS {
        let by_stranger = next(&world, (from, to), &stranger);
        let changed = edit(&world, &[(from, to)]);
        let unsigned = Bytes::from(write::file(&changed, &[String::new()]));
        let genuine = next(&world, ("", ""), &world.signer);
        let on_the_way = replaced(&genuine, from, to);
        for xml in [by_stranger, unsigned, on_the_way] {
            let error = SignedDocument::parse_and_verify(xml, Basis::Previous(&world.document), NOW).unwrap_err();
            assert!(!matches!(error, Error::CannotObey(_)), "{to}: {error}");
        }
    }
}

#[test]
fn what_is_not_signed_decides_nothing() {
    let world = World::new();
    let genuine = next(&world, ("", ""), &world.signer);
    // The attribute stands outside of what the signature covers, and so does what surrounds it all.
    for (from, to) in [
        ("<signature>", "<signature algorithm=\"rsa-sha1\">"),
        ("<signature>", "<signature algorithm=\"unheard-of\">"),
        ("<overlay ", "<overlay phase=\"full\" "),
        (
            "</overlay>",
            "<mandatory-extension>urn:example:other</mandatory-extension></overlay>",
        ),
    ] {
        let xml = replaced(&genuine, from, to);
        let read = SignedDocument::parse_and_verify(xml, Basis::Previous(&world.document), NOW);
        assert!(read.is_ok(), "{to}: {read:?}");
    }
}

#[test]
fn an_old_or_expired_document_demands_nothing() {
    let world = World::new();
    let extension = (
        "<turn-density>",
        "<mandatory-extension>urn:example:other</mandatory-extension><turn-density>",
    );
    let read = |edits: &[(&str, &str)]| {
        let xml = signed(&edit(&world, edits), &world.signer);
        SignedDocument::parse_and_verify(xml, Basis::Previous(&world.document), NOW).unwrap_err()
    };
    assert!(matches!(read(&[extension]), Error::NotNewer { .. }));
    let expired = ("sequence=\"1\"", "sequence=\"2\" expiration=\"2001-01-01T00:00:00Z\"");
    assert!(matches!(read(&[extension, expired]), Error::Expired { .. }));
}

#[test]
fn a_first_document_that_cannot_be_obeyed_is_told_after_its_signature() {
    let world = World::new();
    let edits = [("no-ice>true<", "no-ice>false<")];
    let first = |signer| {
        let xml = signed(&edit(&world, &edits), signer);
        SignedDocument::parse_and_verify(xml, Basis::Root(world.root_hash()), NOW).unwrap_err()
    };
    assert_eq!(
        first(&world.signer).to_string(),
        "document 1 needs no-ice false: upgrade"
    );
    assert!(matches!(first(&signer(&world.root, 20)), Error::Signature { .. }));
}

#[test]
fn a_kind_that_is_signed_with_an_unknown_algorithm_is_a_demand() {
    let world = World::new();
    let xml = std::str::from_utf8(next(&world, ("", ""), &world.signer).as_ref())
        .unwrap()
        .to_owned();
    let start = xml.find("<kind-signature>").unwrap() + "<kind-signature>".len();
    let block = &xml[start..start + xml[start..].find('<').unwrap()];
    let mut octets = base64().decode(block).unwrap();
    // RFC 6940 §6.3.4: after the certificates come the numbers of the hash and of the signature algorithm.
    let certificates = usize::from(u16::from_be_bytes([octets[0], octets[1]]));
    octets[2 + certificates] = 99;
    let xml = signed(
        &edit(&world, &[("sequence=\"1\"", "sequence=\"2\"")]).replacen(block, &base64().encode(octets), 1),
        &world.signer,
    );
    let error = SignedDocument::parse_and_verify(xml, Basis::Previous(&world.document), NOW).unwrap_err();
    assert!(
        matches!(&error, Error::CannotObey(demand) if demand.needs.starts_with("kind-signature")),
        "{error}"
    );
}

/// The second document, with one replacement.
fn next(world: &World, edit_: (&str, &str), signer: &Signer) -> Bytes {
    signed(&edit(world, &[("sequence=\"1\"", "sequence=\"2\""), edit_]), signer)
}

/// The configuration of the first document, with its Kinds signed, and then some replacements.
fn edit(world: &World, edits: &[(&str, &str)]) -> String {
    let first = SignedDocument::sign(world.document.clone(), &world.signer);
    let xml = std::str::from_utf8(first.xml()).unwrap();
    let (start, end) = (
        xml.find("<configuration").unwrap(),
        xml.find("</configuration>").unwrap(),
    );
    let mut configuration = xml[start..end + "</configuration>".len()].to_owned();
    for (from, to) in edits {
        assert!(configuration.contains(from), "{from} is not in the document");
        configuration = configuration.replacen(from, to, 1);
    }
    configuration
}

fn signed(configuration: &str, signer: &Signer) -> Bytes {
    let block = identity::sign_blob(signer, configuration.as_bytes());
    let signature = base64().encode(wire::Encode::to_bytes(&block));
    Bytes::from(write::file(configuration, &[signature]))
}

fn replaced(xml: &Bytes, from: &str, to: &str) -> Bytes {
    let xml = std::str::from_utf8(xml).unwrap();
    assert!(xml.contains(from), "{from} is not in the file");
    Bytes::from(xml.replacen(from, to, 1))
}

fn base64() -> base64::engine::GeneralPurpose {
    base64::engine::general_purpose::STANDARD
}
