//! From XML to the typed document, every value checked.

mod configuration;
mod kinds;
mod known;
mod services;

use std::collections::BTreeSet;
use std::net::Ipv6Addr;
use std::time::Duration;

use wire::NodeId;

pub(crate) use self::configuration::{Configuration, SignedKind};
use crate::document::{BootstrapNode, Chord, Document, NAMESPACE};
use crate::error::Error;
use crate::instant;
use crate::tree::{self, Element};
use crate::value::{self, Fields};

/// A `configuration` element that has been found but not read.
pub(crate) struct Found<'a> {
    root: &'a Element,
    element: &'a Element,
    raw: &'a str,
    signatures: Vec<String>,
}

/// Reads the first configuration of a file.
pub(crate) fn first_document(xml: &str) -> Result<Document, Error> {
    let xml = without_mark(xml);
    let root = tree::parse(xml, &Vec::new())?;
    match find(&root, xml)?.first() {
        Some(found) => Ok(found.read()?.content()?.0),
        None => Err(value::missing("configuration")),
    }
}

/// Drops a byte order mark, which the parser skips without counting it.
pub(crate) fn without_mark(xml: &str) -> &str {
    xml.strip_prefix('\u{feff}').unwrap_or(xml)
}

/// Finds the configurations of a file: RFC 6940 §11.1 allows several overlays in one.
pub(crate) fn find<'a>(root: &'a Element, xml: &'a str) -> Result<Vec<Found<'a>>, Error> {
    let new = |element: &'a Element| Found {
        root,
        element,
        raw: xml.get(element.span.clone()).unwrap_or_default(),
        signatures: Vec::new(),
    };
    if root.namespace == BASE && root.name == "configuration" {
        return Ok(vec![new(root)]);
    }
    if root.namespace != BASE || root.name != "overlay" {
        return Err(value::missing("overlay"));
    }
    let mut found: Vec<Found<'a>> = Vec::new();
    for child in root.children.iter().filter(|child| child.namespace == BASE) {
        if child.name == "configuration" {
            found.push(new(child));
        } else if child.name == "signature"
            && let Some(last) = found.last_mut()
            && last.signatures.len() < MAX_SIGNATURES
        {
            last.signatures.push(child.text.clone());
        }
    }
    if found.len() > MAX_CONFIGURATIONS {
        return Err(Error::TooMany {
            element: "configuration".to_owned(),
            limit: MAX_CONFIGURATIONS,
        });
    }
    Ok(found)
}

impl Found<'_> {
    /// The name of its overlay.
    pub(crate) fn overlay(&self) -> Option<&str> {
        self.element.attribute("instance-name").map(str::trim)
    }

    /// Reads it from the bytes that the signature covers, and from nothing around them.
    ///
    /// Only a document without our extension may take its namespaces from the `overlay` element:
    /// there they are not signed, and whoever binds a prefix anew makes our elements disappear.
    pub(crate) fn read(&self) -> Result<Configuration, Error> {
        let configuration = |element, is_closed| Configuration {
            element,
            is_closed,
            raw: self.raw.to_owned(),
            signatures: self.signatures.clone(),
        };
        match tree::parse(self.raw, &Vec::new()) {
            Ok(alone) if alone.namespace == BASE => Ok(configuration(alone, true)),
            _ => {
                let inherited = tree::parse(self.raw, &tree::bindings(self.root))?;
                let configuration = configuration(inherited, false);
                if configuration.is_ours() {
                    return Err(Error::UnsignedNamespace {
                        overlay: configuration.overlay()?,
                    });
                }
                Ok(configuration)
            }
        }
    }
}

/// Everything but the Kinds.
fn document(configuration: &Configuration) -> Result<Document, Error> {
    let (element, fields) = (&configuration.element, configuration.base());
    Ok(Document {
        overlay: configuration.overlay()?,
        sequence: configuration.sequence()?,
        expiration_ms: configuration.expiration_ms()?,
        root_certs: configuration.root_certs()?,
        enrollment_servers: each(fields, "enrollment-server", enrollment_server)?,
        bootstrap_nodes: bootstrap_nodes(fields)?,
        // RFC 6940 §11.1: the defaults of this and what follows.
        turn_density: narrow(fields.integer("turn-density", 0..=255)?.unwrap_or(1)),
        clients_permitted: fields.boolean("clients-permitted")?.unwrap_or(true),
        no_ice: fields.boolean("no-ice")?.unwrap_or(false),
        chord: chord(Fields {
            element,
            namespace: CHORD,
        })?,
        max_message_size: narrow(
            fields
                .supported("max-message-size", 0..=u64::from(u32::MAX), MESSAGE_SIZES)?
                .unwrap_or(5000),
        ),
        initial_ttl: narrow(fields.integer("initial-ttl", 1..=255)?.unwrap_or(100)),
        reliability_timer: Duration::from_millis(
            fields
                .supported("overlay-reliability-timer", 200..=XSD_INT, RELIABILITY_TIMERS)?
                .unwrap_or(3000),
        ),
        link_protocols: link_protocols(fields)?,
        configuration_signers: configuration.configuration_signers()?,
        kind_signers: node_ids(fields, "kind-signer", MAX_SIGNERS)?,
        bad_nodes: configuration.bad_nodes()?,
        mandatory_extensions: mandatory_extensions(fields)?,
        delegated_signers: Fields {
            element,
            namespace: NAMESPACE,
        }
        .one("delegated-signers")?
        .is_some(),
        services: services::services(element)?,
        kinds: Vec::new(),
    })
}

/// Refuses changes of the overlay that this implementation does not know. They are looked at first: it may change what all the rest
/// looks like.
fn unsupported(fields: Fields<'_>) -> Result<(), Error> {
    mandatory_extensions(fields)?;
    if let Some(plugin) = fields.text("topology-plugin")?
        && plugin != "CHORD-RELOAD"
    {
        return Err(value::unsupported("topology-plugin", plugin, "CHORD-RELOAD"));
    }
    // RFC 6940 §10.1 defines CHORD-RELOAD for identifiers of 128 bits (deviation D8).
    fields.supported("node-id-length", 16..=20, 16..=16)?;
    if let Some(permitted) = fields.one("self-signed-permitted")? {
        if value::boolean("self-signed-permitted", permitted.text.trim())? {
            let supported = "certificates of a root-cert only";
            return Err(value::unsupported("self-signed-permitted", "true", supported));
        }
        // RFC 6940 §11.1: the two digests there are. Where nobody signs for itself, none is computed.
        let digest = permitted.attribute("digest").map(str::trim);
        if let Some(digest) = digest.filter(|digest| !["sha1", "sha256"].contains(digest)) {
            return Err(value::unsupported(
                "self-signed-permitted digest",
                digest,
                "sha1 and sha256",
            ));
        }
    }
    if fields.one("shared-secret")?.is_some() {
        return Err(value::unsupported("shared-secret", "(a secret)", "certificates only"));
    }
    Ok(())
}

fn overlay(element: &Element) -> Result<String, Error> {
    let name = element
        .attribute("instance-name")
        .ok_or_else(|| value::missing("instance-name"))?
        .trim();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    // It stands in certificates and host names (RFC 6940 §14.15, RFC 1035 §2.3.4).
    if name.is_empty() || name.len() > 253 || !name.bytes().all(is_name) {
        return Err(value::value("instance-name", name, "a domain name".to_owned()));
    }
    Ok(name.to_owned())
}

fn sequence(element: &Element) -> Result<u16, Error> {
    // RFC 6940 §11.1: between 0 and 2^16-2.
    let text = element.attribute("sequence").map_or("0", str::trim);
    Ok(narrow(value::integer("sequence", text, 0..=65534)?))
}

fn expiration(element: &Element) -> Result<Option<u64>, Error> {
    let Some(text) = element.attribute("expiration").map(str::trim) else {
        return Ok(None);
    };
    match instant::parse(text) {
        Some(unix_ms) => Ok(Some(unix_ms)),
        None => Err(value::value(
            "expiration",
            text,
            "a date like 2030-12-31T23:59:59Z".to_owned(),
        )),
    }
}

fn chord(fields: Fields<'_>) -> Result<Chord, Error> {
    let seconds = |name, default| {
        fields
            .supported(name, 1..=XSD_INT, INTERVALS)
            .map(|number| Duration::from_secs(number.unwrap_or(default)))
    };
    Ok(Chord {
        // RFC 6940 §10.7.1 and §10.7.4.2: the defaults.
        update_interval: seconds("chord-update-interval", 600)?,
        ping_interval: seconds("chord-ping-interval", 3600)?,
        is_reactive: fields.boolean("chord-reactive")?.unwrap_or(true),
    })
}

fn enrollment_server(name: &str, text: &str) -> Result<String, Error> {
    // RFC 6940 §11.1: the URL must be of type https.
    if text.len() > 2048 || !text.starts_with("https://") || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(value::value(name, text, "an https URL".to_owned()));
    }
    Ok(text.to_owned())
}

fn bootstrap_nodes(fields: Fields<'_>) -> Result<Vec<BootstrapNode>, Error> {
    let mut nodes = Vec::new();
    for element in fields.list("bootstrap-node", MAX_BOOTSTRAP_NODES)? {
        let host = element
            .attribute("address")
            .ok_or_else(|| value::missing("bootstrap-node address"))?
            .trim();
        let is_host = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        let is_name = !host.is_empty() && host.len() <= 253 && host.bytes().all(is_host);
        if !is_name && host.parse::<Ipv6Addr>().is_err() {
            return Err(value::value(
                "bootstrap-node address",
                host,
                "an IP address or a host name".to_owned(),
            ));
        }
        let port = match element.attribute("port") {
            Some(text) => narrow(value::integer("bootstrap-node port", text.trim(), 1..=65535)?),
            None => DEFAULT_PORT,
        };
        nodes.push(BootstrapNode {
            host: host.to_owned(),
            port,
        });
    }
    Ok(nodes)
}

fn link_protocols(fields: Fields<'_>) -> Result<Vec<String>, Error> {
    let protocols = each(fields, "overlay-link-protocol", |_, text| Ok(text.to_owned()))?;
    // RFC 6940 §11.1: none means "TLS".
    Ok(if protocols.is_empty() {
        vec!["TLS".to_owned()]
    } else {
        protocols
    })
}

fn mandatory_extensions(fields: Fields<'_>) -> Result<BTreeSet<String>, Error> {
    let mut extensions = BTreeSet::new();
    for element in fields.list("mandatory-extension", MAX_LIST)? {
        let namespace = element.text.trim();
        // RFC 6940 §11.1: a node that does not support one cannot join.
        if ![BASE, CHORD, SIP, NAMESPACE].contains(&namespace) {
            return Err(value::unsupported("mandatory-extension", namespace, NAMESPACE));
        }
        extensions.insert(namespace.to_owned());
    }
    Ok(extensions)
}

fn node_ids(fields: Fields<'_>, name: &str, limit: usize) -> Result<BTreeSet<NodeId>, Error> {
    let elements: Vec<&Element> = fields.element.all(fields.namespace, name).collect();
    if elements.len() > limit {
        return Err(Error::TooMany {
            element: name.to_owned(),
            limit,
        });
    }
    elements
        .iter()
        .map(|element| value::node_id(name, element.text.trim()))
        .collect()
}

fn each<T>(
    fields: Fields<'_>,
    name: &'static str,
    read: impl Fn(&str, &str) -> Result<T, Error>,
) -> Result<Vec<T>, Error> {
    let elements: Vec<&Element> = fields.element.all(fields.namespace, name).collect();
    if elements.len() > MAX_LIST {
        return Err(Error::TooMany {
            element: name.to_owned(),
            limit: MAX_LIST,
        });
    }
    elements.iter().map(|element| read(name, element.text.trim())).collect()
}

/// Narrows a number that was checked against its range.
fn narrow<T: TryFrom<u64> + Default>(number: u64) -> T {
    T::try_from(number).unwrap_or_default()
}

/// The namespaces of RFC 6940 §11.1 and RFC 7904 §3.4.
pub(crate) const BASE: &str = "urn:ietf:params:xml:ns:p2p:config-base";
pub(crate) const CHORD: &str = "urn:ietf:params:xml:ns:p2p:config-chord";
pub(crate) const SIP: &str = "urn:ietf:params:xml:ns:p2p:config-base:sip";

/// RFC 6940 §14.5: the port of RELOAD.
const DEFAULT_PORT: u16 = 6084;
/// A message must at least hold a signed header; beyond 16 MiB a peer could exhaust memory.
const MESSAGE_SIZES: std::ops::RangeInclusive<u64> = 1024..=16 * 1024 * 1024;
/// RFC 6940 §11.1: at least 200 ms; above a minute nothing would ever be repeated in time.
const RELIABILITY_TIMERS: std::ops::RangeInclusive<u64> = 200..=60_000;
/// The greatest xsd:int.
const XSD_INT: u64 = i32::MAX as u64;
/// Seconds; a day is far beyond every useful stabilisation interval.
const INTERVALS: std::ops::RangeInclusive<u64> = 1..=86_400;
/// Overlays in one file.
const MAX_CONFIGURATIONS: usize = 16;
const MAX_SIGNATURES: usize = 8;
const MAX_SIGNERS: usize = 64;
/// Entries stay for the life of a certificate only (RFC 6940 §11.1).
const MAX_BAD_NODES: usize = 4096;
const MAX_BOOTSTRAP_NODES: usize = 64;
/// Other repeated elements.
const MAX_LIST: usize = 64;
