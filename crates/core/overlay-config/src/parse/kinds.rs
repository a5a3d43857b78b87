//! The Kinds of a document.

use std::ops::RangeInclusive;

use identity::{DomainPattern, Domains};
use wire::{KindId, NodeId};

use super::services::MAX_SERVICES;
use super::{BASE, SIP, SignedKind, XSD_INT, each, narrow};
use crate::document::NAMESPACE;
use crate::error::Error;
use crate::kind::{AccessPolicy, KindDefinition, REGISTERED, model_from_name};
use crate::tree::Element;
use crate::value::{self, Fields};

/// Reads the Kinds; `source` is the text that the elements' spans count in.
pub(super) fn kinds(element: &Element, source: &str) -> Result<(Vec<KindDefinition>, Vec<SignedKind>), Error> {
    let (mut definitions, mut signed): (Vec<KindDefinition>, Vec<SignedKind>) = (Vec::new(), Vec::new());
    let fields = Fields {
        element,
        namespace: BASE,
    };
    let Some(required) = fields.one("required-kinds")? else {
        return Ok((definitions, signed));
    };
    for block in (Fields {
        element: required,
        namespace: BASE,
    })
    .list("kind-block", MAX_KINDS)?
    {
        let block = Fields {
            element: block,
            namespace: BASE,
        };
        let kind = block.one("kind")?.ok_or_else(|| value::missing("kind"))?;
        let definition = kind_definition(kind)?;
        if definitions.iter().any(|known| known.id == definition.id) {
            return Err(Error::Repeated {
                element: format!("kind {}", definition.id),
            });
        }
        signed.push(SignedKind {
            id: definition.id,
            raw: source.get(kind.span.clone()).unwrap_or_default().to_owned(),
            signature: block.one("kind-signature")?.map(|signature| signature.text.clone()),
        });
        definitions.push(definition);
    }
    Ok((definitions, signed))
}

fn kind_definition(element: &Element) -> Result<KindDefinition, Error> {
    let (id, name) = kind_name(element)?;
    let fields = Fields {
        element,
        namespace: BASE,
    };
    let extension = Fields {
        element,
        namespace: NAMESPACE,
    };
    let model = fields.text("data-model")?.ok_or_else(|| value::missing("data-model"))?;
    let access = fields
        .text("access-control")?
        .ok_or_else(|| value::missing("access-control"))?;
    // RFC 6940 §11.1: for a registered Kind the registration counts and these two are ignored.
    let (data_model, access) = match REGISTERED.iter().find(|registered| registered.id == id) {
        Some(registered) => (registered.data_model, registered.access),
        None => (
            // The grammar of RFC 6940 §11.1.1 leaves room for others in both.
            model_from_name(model)
                .ok_or_else(|| value::unsupported("data-model", model, "SINGLE, ARRAY or DICTIONARY"))?,
            AccessPolicy::from_name(access)
                .ok_or_else(|| value::unsupported("access-control", access, "the policies of RFC 6940 §7.3"))?,
        ),
    };
    // The counter is one octet (deviation D6).
    let max_node_multiple = fields.supported("max-node-multiple", 1..=XSD_INT, 1..=255)?.map(narrow);
    if access == AccessPolicy::NodeMultiple && max_node_multiple.is_none() {
        return Err(value::missing("max-node-multiple"));
    }
    Ok(KindDefinition {
        id,
        name,
        data_model,
        access,
        max_count: narrow(required(fields, "max-count", COUNTS)?),
        max_size: narrow(required(fields, "max-size", SIZES)?),
        max_node_multiple,
        longest_lifetime: extension
            .integer("longest-lifetime", LIFETIMES)
            .map_err(of_later_version)?
            .map(narrow),
        writers: writers(extension)?,
        domain_restriction: domain_restriction(Fields {
            element,
            namespace: SIP,
        })?,
    })
}

fn writers(fields: Fields<'_>) -> Result<Vec<NodeId>, Error> {
    let elements = fields.list("writer", MAX_SERVICES)?;
    let writer = |element: &Element| value::node_id("writer", element.text.trim());
    elements
        .into_iter()
        .map(writer)
        .collect::<Result<_, _>>()
        .map_err(of_later_version)
}

fn kind_name(element: &Element) -> Result<(KindId, String), Error> {
    match (
        element.attribute("name").map(str::trim),
        element.attribute("id").map(str::trim),
    ) {
        (Some(name), None) => match REGISTERED.iter().find(|registered| registered.name == name) {
            Some(registered) => Ok((registered.id, name.to_owned())),
            None => Err(value::unsupported("kind name", name, NAMES)),
        },
        // RFC 6940 §14.6: 0 and 0xFFFFFFFF are reserved.
        (None, Some(id)) => Ok((
            KindId(narrow(value::integer("kind id", id, 1..=0xffff_fffe)?)),
            String::new(),
        )),
        _ => Err(value::missing("kind name or id (exactly one of them)")),
    }
}

/// RFC 7904 §3.4: present and not enabled means the overlay's own domain.
fn domain_restriction(fields: Fields<'_>) -> Result<Option<Domains>, Error> {
    let Some(element) = fields.one("domain-restriction")? else {
        return Ok(None);
    };
    let is_enabled = element
        .attribute("enable")
        .map(|text| value::boolean("enable", text.trim()))
        .transpose()?;
    if is_enabled != Some(true) {
        return Ok(Some(Domains::Overlay));
    }
    let patterns = each(
        Fields {
            element,
            namespace: SIP,
        },
        "pattern",
        |name, text| DomainPattern::parse(text).map_err(|error| value::value(name, text, error.to_string())),
    )?;
    Ok(Some(Domains::Patterns(patterns)))
}

fn required(fields: Fields<'_>, name: &'static str, supported: RangeInclusive<u64>) -> Result<u64, Error> {
    let number = fields.supported(name, 1..=XSD_INT, supported)?;
    number.ok_or_else(|| value::missing(name))
}

/// Nobody but this program says what stands in our own namespace: what it does not understand there, a later version wrote.
pub(super) fn of_later_version(error: Error) -> Error {
    match error {
        Error::Value { element, value, .. } => value::unsupported(&element, &value, "what this version wrote"),
        Error::Repeated { element } => value::unsupported(&element, "a list", "one"),
        other => other,
    }
}

const NAMES: &str = "SIP-REGISTRATION, TURN-SERVICE, CERTIFICATE_BY_NODE and CERTIFICATE_BY_USER";
const COUNTS: RangeInclusive<u64> = 1..=1_000_000;
const SIZES: RangeInclusive<u64> = 1..=16 * 1024 * 1024;
const LIFETIMES: RangeInclusive<u64> = 1..=u32::MAX as u64;
const MAX_KINDS: usize = 64;
