//! Every element and attribute that there is, and where it stands.
//!
//! RFC 6940 §11.1.1 lets foreign elements stand everywhere, and only a `mandatory-extension` makes them matter. In its own namespaces
//! nothing foreign may stand: what is not in this table is of a later standard, or of a later version of this program, and passing over
//! it could mean to obey another document than the rest of the overlay.

use super::{BASE, CHORD, SIP};
use crate::document::NAMESPACE;
use crate::tree::Element;

/// An element with what may stand in it.
struct Shape {
    namespace: &'static str,
    name: &'static str,
    attributes: &'static [&'static str],
    children: &'static [Shape],
}

const fn leaf(namespace: &'static str, name: &'static str) -> Shape {
    with(namespace, name, &[])
}

const fn with(namespace: &'static str, name: &'static str, attributes: &'static [&'static str]) -> Shape {
    Shape {
        namespace,
        name,
        attributes,
        children: &[],
    }
}

/// RFC 6940 §11.1.1.
const CONFIGURATION: Shape = Shape {
    children: &[
        leaf(BASE, "topology-plugin"),
        leaf(BASE, "node-id-length"),
        leaf(BASE, "root-cert"),
        leaf(BASE, "enrollment-server"),
        with(BASE, "self-signed-permitted", &["digest"]),
        with(BASE, "bootstrap-node", &["address", "port"]),
        leaf(BASE, "turn-density"),
        leaf(BASE, "clients-permitted"),
        leaf(BASE, "no-ice"),
        leaf(BASE, "shared-secret"),
        leaf(BASE, "max-message-size"),
        leaf(BASE, "initial-ttl"),
        leaf(BASE, "overlay-reliability-timer"),
        leaf(BASE, "overlay-link-protocol"),
        leaf(BASE, "configuration-signer"),
        leaf(BASE, "kind-signer"),
        leaf(BASE, "bad-node"),
        leaf(BASE, "mandatory-extension"),
        leaf(CHORD, "chord-update-interval"),
        leaf(CHORD, "chord-ping-interval"),
        leaf(CHORD, "chord-reactive"),
        leaf(NAMESPACE, "delegated-signers"),
        with(NAMESPACE, "service", &["url", "authority", "writer"]),
        Shape {
            children: &[Shape {
                // The algorithm stands in the SecurityBlock too, and there it counts.
                children: &[KIND, with(BASE, "kind-signature", &["algorithm"])],
                ..leaf(BASE, "kind-block")
            }],
            ..leaf(BASE, "required-kinds")
        },
    ],
    ..with(BASE, "configuration", &["instance-name", "expiration", "sequence"])
};

const KIND: Shape = Shape {
    children: &[
        leaf(BASE, "data-model"),
        leaf(BASE, "access-control"),
        leaf(BASE, "max-count"),
        leaf(BASE, "max-size"),
        leaf(BASE, "max-node-multiple"),
        leaf(NAMESPACE, "longest-lifetime"),
        leaf(NAMESPACE, "writer"),
        // RFC 7904 §3.4.
        Shape {
            children: &[leaf(SIP, "pattern")],
            ..with(SIP, "domain-restriction", &["enable"])
        },
    ],
    ..with(BASE, "kind", &["name", "id"])
};

/// Names the first thing in a configuration that stands in no table.
pub(super) fn first_unknown(configuration: &Element) -> Option<String> {
    unknown_in(configuration, &CONFIGURATION)
}

fn unknown_in(element: &Element, shape: &Shape) -> Option<String> {
    let of_nobody = element.attributes.iter().find(|attribute| {
        let is_local = attribute.namespace.is_empty();
        is_local && !shape.attributes.contains(&attribute.name.as_str()) || is_ours_to_know(&attribute.namespace)
    });
    if let Some(attribute) = of_nobody {
        return Some(format!("{} {}", element.name, attribute.name));
    }
    let mut children = element
        .children
        .iter()
        .filter(|child| is_ours_to_know(&child.namespace));
    children.find_map(|child| {
        let is_it = |shape: &&Shape| shape.namespace == child.namespace && shape.name == child.name;
        match shape.children.iter().find(is_it) {
            Some(shape) => unknown_in(child, shape),
            None => Some(child.name.clone()),
        }
    })
}

fn is_ours_to_know(namespace: &str) -> bool {
    [BASE, CHORD, SIP, NAMESPACE].contains(&namespace)
}
