//! What is written is what is read, by us and as RFC 6940 says.

use std::time::Duration;

use identity::{DomainPattern, Domains};
use wire::{DataModel, KindId, Models};

use super::world::{OVERLAY, World, node};
use crate::{AccessPolicy, Document, NAMESPACE, Service};

#[test]
fn document_of_a_new_overlay_has_the_values_of_the_design() {
    let document = World::new().document;
    assert_eq!((document.overlay.as_str(), document.sequence), (OVERLAY, 1));
    assert!(document.no_ice && document.clients_permitted && document.delegated_signers);
    assert_eq!((document.initial_ttl, document.max_message_size), (32, 65536));
    assert_eq!(document.reliability_timer, Duration::from_millis(500));
    assert_eq!(document.chord.update_interval, Duration::from_secs(10));
    let registration = document.kind(KindId::SIP_REGISTRATION).unwrap();
    assert_eq!(
        (
            registration.max_count,
            registration.max_size,
            registration.longest_lifetime
        ),
        (16, 512, Some(3600))
    );
    assert_eq!(document.user_signers(), [node(11)]);
    let probe = document.kind(KindId::P2PSIP_PROBE).unwrap();
    assert_eq!(
        (probe.access, probe.max_node_multiple),
        (AccessPolicy::NodeMultiple, Some(16))
    );
    let models = document.models();
    assert_eq!(models.model(KindId::P2PSIP_USER), Some(DataModel::Dictionary));
    assert_eq!(models.model(KindId(99)), None);
}

#[test]
fn trust_is_what_the_document_says() {
    let mut document = World::new().document;
    document.bad_nodes.insert(node(5));
    let trust = document.trust();
    assert_eq!((trust.overlay.as_str(), trust.anchors.len()), (OVERLAY, 2));
    assert!(trust.private_namespace && trust.delegated_signers && trust.bad_nodes.contains(&node(5)));
    assert_eq!(trust.domains, Domains::Overlay);
    // Without the namespace as mandatory extension its element means nothing.
    document.mandatory_extensions.clear();
    assert!(!document.trust().delegated_signers && !document.trust().private_namespace);
    // RFC 7904 §3.4: without the element any AOR is accepted.
    document.kinds[0].domain_restriction = None;
    assert_eq!(document.trust().domains, Domains::Any);
}

#[test]
fn document_survives_writing_and_reading() {
    let mut document = World::new().document;
    assert_eq!(Document::from_xml(&document.to_xml()).unwrap(), document);
    document.sequence = 65534;
    document.expiration_ms = Some(1_900_000_000_000);
    document.enrollment_servers = vec!["https://enroll.example.org:8443/?a=1&b=<\">".to_owned()];
    document.bad_nodes.extend([node(8), node(9)]);
    document.chord.is_reactive = false;
    document.kinds[0].domain_restriction = Some(Domains::Patterns(vec![
        DomainPattern::parse(r"dht\.example\.com").unwrap(),
    ]));
    assert_eq!(Document::from_xml(&document.to_xml()).unwrap(), document);
    assert_eq!(document.to_xml(), document.clone().to_xml());
}

/// Elements in the order, white space and prefixes of another implementation.
#[test]
fn document_of_another_implementation_is_read() {
    let world = World::new();
    let xml = format!(
        "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?>
         <c:overlay xmlns:c=\"urn:ietf:params:xml:ns:p2p:config-base\" xmlns:ext=\"urn:example:ext\"
            xmlns:chord=\"urn:ietf:params:xml:ns:p2p:config-chord\">
          <c:configuration instance-name=\"overlay.example.org\" sequence=\"22\"
              expiration=\"2042-10-10T07:00:00Z\" ext:ext-example=\"stuff\">
            <c:topology-plugin> CHORD-RELOAD </c:topology-plugin>
            <c:node-id-length>16</c:node-id-length>
            <c:root-cert>\n{}\n</c:root-cert>
            <c:enrollment-server>https://example.org</c:enrollment-server>
            <c:self-signed-permitted digest=\"sha1\">false</c:self-signed-permitted>
            <c:bootstrap-node address=\"192.0.0.1\"/>
            <c:turn-density> 20 </c:turn-density>
            <c:clients-permitted> 0 </c:clients-permitted>
            <chord:chord-update-interval>
              400</chord:chord-update-interval>
            <c:max-message-size>4000</c:max-message-size>
            <c:kind-signer> 47112162e84c69ba47112162e84c69ba </c:kind-signer>
            <ext:example-extension> f&#111;o &lt; <ext:deep/> </ext:example-extension>
            <!-- a comment --> <c:landmarks>5</c:landmarks>
            <c:required-kinds>
              <c:kind-block><c:kind name=\"SIP-REGISTRATION\">
                <c:data-model>SINGLE</c:data-model><c:access-control>USER-MATCH</c:access-control>
                <c:max-count>1</c:max-count><c:max-size>100</c:max-size>
              </c:kind></c:kind-block>
              <c:kind-block><c:kind id=\"2000\">
                <c:data-model>ARRAY</c:data-model><c:access-control>NODE-MULTIPLE</c:access-control>
                <c:max-node-multiple>3</c:max-node-multiple>
                <c:max-count>22</c:max-count><c:max-size>4</c:max-size>
              </c:kind></c:kind-block>
            </c:required-kinds>
          </c:configuration>
         </c:overlay>",
        base64(world.ca.certificate().der())
    );
    let document = Document::from_xml(&xml).unwrap();
    assert_eq!(
        (document.sequence, document.turn_density, document.clients_permitted),
        (22, 20, false)
    );
    assert_eq!(document.expiration_ms, Some(2_296_537_200_000));
    assert_eq!(document.root_certs, [world.ca.certificate().clone()]);
    assert_eq!(
        (
            document.bootstrap_nodes[0].host.as_str(),
            document.bootstrap_nodes[0].port
        ),
        ("192.0.0.1", 6084)
    );
    assert_eq!(document.chord.update_interval, Duration::from_secs(400));
    // RFC 6940 §11.1: what is absent has its default.
    assert_eq!(document.chord.ping_interval, Duration::from_secs(3600));
    assert!(document.chord.is_reactive && !document.no_ice && !document.delegated_signers);
    assert_eq!(
        (document.initial_ttl, document.reliability_timer),
        (100, Duration::from_secs(3))
    );
    assert_eq!(document.link_protocols, ["TLS"]);
    // RFC 6940 §11.1: of a registered Kind the registration counts.
    let registration = document.kind(KindId::SIP_REGISTRATION).unwrap();
    assert_eq!(
        (registration.data_model, registration.access),
        (DataModel::Dictionary, AccessPolicy::UserNodeMatch)
    );
    assert_eq!(document.kind(KindId(2000)).unwrap().max_node_multiple, Some(3));
    assert!(!document.mandatory_extensions.contains(NAMESPACE));
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn a_document_tells_which_url_authority_and_writer_are_one_service() {
    let mut document = World::new().document;
    document.enrollment_servers = vec!["https://a.example.org:8443".to_owned()];
    // One service need not be told of: a document of an older version means the same.
    let [first] = document.bootstrap_services().try_into().unwrap();
    assert_eq!(first.writer, node(11));
    assert!(document.root_certs.iter().any(|ca| ca.hash() == first.authority));
    let second = Service {
        url: "https://b.example.org:8443/a&b".to_owned(),
        authority: [7; 32],
        writer: node(12),
    };
    document.services = vec![first, second];
    for kind in &mut document.kinds {
        if kind.id == KindId::P2PSIP_USER {
            kind.writers.push(node(12));
        }
    }
    let read = Document::from_xml(&document.to_xml()).unwrap();
    assert_eq!(read, document);
    assert_eq!(read.bootstrap_services(), document.services);
    assert_eq!(read.user_signers(), [node(11), node(12)]);
    document.services = vec![document.services[0].clone(); 9];
    assert!(Document::from_xml(&document.to_xml()).is_err());
}
