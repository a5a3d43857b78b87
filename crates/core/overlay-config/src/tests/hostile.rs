//! Input that must be refused, with an error that names what is wrong.

use bytes::Bytes;
use proptest::prelude::{any, proptest};

use super::world::{NOW, World};
use crate::{Basis, Document, Error, MAX_DOCUMENT, SignedDocument};

/// Replacements in a good document, and what the error must say.
const SPOILED: &[(&str, &str, &str)] = &[
    (
        "<configuration ",
        "<!DOCTYPE x [<!ENTITY a \"b\">]><configuration ",
        "document type",
    ),
    ("CHORD-RELOAD<", "&entity;<", "entity"),
    ("CHORD-RELOAD<", "PASTRY<", "topology-plugin"),
    ("node-id-length>16<", "node-id-length>20<", "node-id-length"),
    ("node-id-length>16<", "node-id-length>8<", "node-id-length"),
    ("sequence=\"1\"", "sequence=\"65535\"", "sequence"),
    ("sequence=\"1\"", "sequence=\"-1\"", "sequence"),
    ("sequence=\"1\"", "expiration=\"soon\"", "expiration"),
    (" instance-name=\"overlay.example.org\"", "", "instance-name"),
    (
        "instance-name=\"overlay.example.org\"",
        "instance-name=\"a b\"",
        "instance-name",
    ),
    (
        "instance-name=\"overlay.example.org\"",
        "instance-name=\"\"",
        "instance-name",
    ),
    ("<root-cert>", "<root-cert>!", "root-cert"),
    ("<root-cert>", "<root-cert>AAAA</root-cert><root-cert>", "root-cert"),
    ("address=\"192.0.2.1\"", "", "bootstrap-node address"),
    ("address=\"192.0.2.1\"", "address=\"a b\"", "bootstrap-node address"),
    ("address=\"192.0.2.1\"", "address=\"1:2:3\"", "bootstrap-node address"),
    ("port=\"6094\"", "port=\"0\"", "bootstrap-node port"),
    ("port=\"6094\"", "port=\"65536\"", "bootstrap-node port"),
    ("turn-density>0<", "turn-density>256<", "turn-density"),
    ("clients-permitted>true<", "clients-permitted>yes<", "clients-permitted"),
    (
        "<no-ice>true</no-ice>",
        "<no-ice>true</no-ice><no-ice>false</no-ice>",
        "no-ice occurs more than once",
    ),
    (
        "chord-update-interval>10<",
        "chord-update-interval>0<",
        "chord-update-interval",
    ),
    (
        "chord-ping-interval>30<",
        "chord-ping-interval>99999999999999999999<",
        "chord-ping-interval",
    ),
    ("max-message-size>65536<", "max-message-size>64<", "max-message-size"),
    (
        "max-message-size>65536<",
        "max-message-size>4294967295<",
        "max-message-size",
    ),
    ("initial-ttl>32<", "initial-ttl>0<", "initial-ttl"),
    ("initial-ttl>32<", "initial-ttl>256<", "initial-ttl"),
    ("initial-ttl>32<", "initial-ttl>+-3<", "initial-ttl"),
    (
        "overlay-reliability-timer>500<",
        "overlay-reliability-timer>199<",
        "overlay-reliability-timer",
    ),
    (
        "<configuration-signer>0a",
        "<configuration-signer>0",
        "configuration-signer",
    ),
    (
        "<configuration-signer>0a",
        "<configuration-signer>zz",
        "configuration-signer",
    ),
    (
        "urn:p2psip:config:1</mandatory",
        "urn:example:other</mandatory",
        "mandatory-extension",
    ),
    (
        "<turn-density>",
        "<self-signed-permitted digest=\"sha1\">true</self-signed-permitted><turn-density>",
        "self-signed",
    ),
    (
        "<turn-density>",
        "<shared-secret>x</shared-secret><turn-density>",
        "shared-secret",
    ),
    (
        "<turn-density>",
        "<enrollment-server>http://x</enrollment-server><turn-density>",
        "enrollment-server",
    ),
    ("name=\"SIP-REGISTRATION\"", "name=\"UNHEARD-OF\"", "kind name"),
    ("name=\"SIP-REGISTRATION\"", "", "kind name or id"),
    (
        "name=\"SIP-REGISTRATION\"",
        "name=\"SIP-REGISTRATION\" id=\"1\"",
        "kind name or id",
    ),
    ("id=\"4026531841\"", "id=\"4294967295\"", "kind id"),
    ("id=\"4026531841\"", "id=\"0\"", "kind id"),
    ("id=\"4026531841\"", "id=\"1\"", "occurs more than once"),
    ("data-model>SINGLE<", "data-model>TREE<", "data-model"),
    (
        "access-control>NODE-MULTIPLE<",
        "access-control>ANYONE<",
        "access-control",
    ),
    ("<max-node-multiple>16</max-node-multiple>", "", "max-node-multiple"),
    ("max-node-multiple>16<", "max-node-multiple>256<", "max-node-multiple"),
    ("<max-count>16</max-count>", "", "max-count"),
    ("max-size>512<", "max-size>0<", "max-size"),
    (
        "longest-lifetime>3600<",
        "longest-lifetime>4294967296<",
        "longest-lifetime",
    ),
    ("<p2psip:writer>0b", "<p2psip:writer>", "writer"),
    (
        "restriction enable=\"false\"",
        "restriction enable=\"perhaps\"",
        "enable",
    ),
    (
        "<sip:domain-restriction enable=\"false\"/>",
        "<sip:domain-restriction enable=\"1\"><sip:pattern>(a|b)</sip:pattern></sip:domain-restriction>",
        "pattern",
    ),
    ("<p2psip:delegated", "<unbound:delegated", "not bound"),
    ("</configuration>", "", "ends inside"),
    ("</required-kinds>", "</required-kind>", "not well-formed"),
    ("sequence=\"1\"", "sequence=\"1\" sequence=\"2\"", "not well-formed"),
    ("sequence=\"1\"", "sequence=\"&#0;\"", "sequence|not well-formed"),
];

#[test]
fn spoiled_documents_are_refused_by_name() {
    let good = World::new().document.to_xml();
    for (from, to, expected) in SPOILED {
        assert!(good.contains(from), "{from} is not in the document");
        let error = Document::from_xml(&good.replacen(from, to, 1))
            .expect_err(to)
            .to_string();
        assert!(expected.split('|').any(|part| error.contains(part)), "{to}: {error}");
    }
}

#[test]
fn strange_files_are_refused() {
    let good = World::new().document.to_xml();
    let deep = format!("{}{}", "<a>".repeat(100), "</a>".repeat(100));
    for xml in [
        "",
        " ",
        "<overlay/>",
        "text",
        "<a/>",
        "<a/><b/>",
        "<?xml version=\"1.0\"?>",
        &deep,
        &format!("x{good}"),
        &format!("{good}{good}"),
    ] {
        assert!(Document::from_xml(xml).is_err(), "{xml:.60}");
    }
    let many = good.replacen("<bad", "", 1).replacen(
        "<turn-density>",
        &format!(
            "{}<turn-density>",
            "<bad-node>01010101010101010101010101010101</bad-node>".repeat(4097)
        ),
        1,
    );
    assert!(matches!(Document::from_xml(&many), Err(Error::TooMany { .. })));
}

#[test]
fn size_and_encoding_are_bounded() {
    let world = World::new();
    let basis = Basis::Root(world.root_hash());
    let huge = Bytes::from(vec![b' '; MAX_DOCUMENT + 1]);
    assert!(matches!(
        SignedDocument::parse_and_verify(huge, basis, NOW),
        Err(Error::TooLarge { .. })
    ));
    let binary = Bytes::from_static(b"<overlay>\xff</overlay>");
    assert!(matches!(
        SignedDocument::parse_and_verify(binary, basis, NOW),
        Err(Error::Malformed { at: 9, .. })
    ));
}

#[test]
fn long_values_are_cut_in_errors() {
    let good = World::new().document.to_xml();
    let long = format!("initial-ttl>{}<", "9".repeat(10_000));
    let error = Document::from_xml(&good.replacen("initial-ttl>32<", &long, 1)).unwrap_err();
    assert!(error.to_string().len() < 200);
}

proptest! {
    #[test]
    fn mutated_files_never_panic_and_never_verify(at in any::<u16>(), byte in any::<u8>()) {
        let world = World::new();
        let signed = SignedDocument::sign(world.document.clone(), &world.signer);
        let mut xml = signed.xml().to_vec();
        let start = String::from_utf8_lossy(&xml).find("<configuration").unwrap();
        let end = String::from_utf8_lossy(&xml).find("</configuration>").unwrap();
        let place = start + usize::from(at) % (end - start);
        if xml[place] != byte {
            xml[place] = byte;
            assert!(SignedDocument::parse_and_verify(Bytes::from(xml), Basis::Root(world.root_hash()), NOW).is_err());
        }
    }

    #[test]
    fn random_text_never_panics(text in "\\PC{0,200}") {
        let _ = Document::from_xml(&text);
    }
}
