//! From the typed document to XML. Equal documents give equal bytes.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use identity::Domains;

use crate::document::{Document, NAMESPACE};
use crate::instant;
use crate::kind::{KindDefinition, REGISTERED, model_name};
use crate::parse::{BASE, CHORD, SIP};

/// Writes a file with one configuration and its signatures.
pub(crate) fn file(configuration: &str, signatures: &[String]) -> String {
    let signatures: String = signatures
        .iter()
        .map(|signature| format!("<signature>{signature}</signature>\n"))
        .collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<overlay xmlns=\"{BASE}\">\n{configuration}\n{signatures}</overlay>\n"
    )
}

/// Writes the `configuration` element. `sign` is asked for the signature of each `kind` element.
///
/// The namespaces are declared here and not around it, so that the signature covers them.
pub(crate) fn configuration(document: &Document, sign: &dyn Fn(&str) -> Option<String>) -> String {
    let mut xml = format!(
        "<configuration xmlns=\"{BASE}\" xmlns:chord=\"{CHORD}\" xmlns:sip=\"{SIP}\" xmlns:p2psip=\"{NAMESPACE}\" \
         instance-name=\"{}\" sequence=\"{}\"",
        escape(&document.overlay),
        document.sequence
    );
    if let Some(expiration) = document.expiration_ms {
        xml.push_str(&format!(" expiration=\"{}\"", instant::write(expiration)));
    }
    xml.push_str(">\n");
    parameters(
        &mut Lines {
            xml: &mut xml,
            indent: 1,
        },
        document,
    );
    kinds(
        &mut Lines {
            xml: &mut xml,
            indent: 1,
        },
        document,
        sign,
    );
    xml.push_str("</configuration>");
    xml
}

fn parameters(lines: &mut Lines<'_>, document: &Document) {
    lines.element("topology-plugin", "CHORD-RELOAD");
    lines.element("node-id-length", 16);
    for certificate in &document.root_certs {
        lines.element("root-cert", STANDARD.encode(certificate.der()));
    }
    for server in &document.enrollment_servers {
        lines.element("enrollment-server", escape(server));
    }
    for node in &document.bootstrap_nodes {
        lines.line(&format!(
            "<bootstrap-node address=\"{}\" port=\"{}\"/>",
            escape(&node.host),
            node.port
        ));
    }
    lines.element("turn-density", document.turn_density);
    lines.element("clients-permitted", document.clients_permitted);
    lines.element("no-ice", document.no_ice);
    lines.element("chord:chord-update-interval", document.chord.update_interval.as_secs());
    lines.element("chord:chord-ping-interval", document.chord.ping_interval.as_secs());
    lines.element("chord:chord-reactive", document.chord.is_reactive);
    lines.element("max-message-size", document.max_message_size);
    lines.element("initial-ttl", document.initial_ttl);
    lines.element("overlay-reliability-timer", document.reliability_timer.as_millis());
    for protocol in &document.link_protocols {
        lines.element("overlay-link-protocol", escape(protocol));
    }
    for signer in &document.configuration_signers {
        lines.element("configuration-signer", signer);
    }
    for signer in &document.kind_signers {
        lines.element("kind-signer", signer);
    }
    for node in &document.bad_nodes {
        lines.element("bad-node", node);
    }
    for namespace in &document.mandatory_extensions {
        lines.element("mandatory-extension", escape(namespace));
    }
    if document.delegated_signers {
        lines.line("<p2psip:delegated-signers/>");
    }
    for service in &document.services {
        lines.line(&format!(
            "<p2psip:service url=\"{}\" authority=\"{}\" writer=\"{}\"/>",
            escape(&service.url),
            wire::hex::encode(&service.authority),
            service.writer
        ));
    }
}

fn kinds(lines: &mut Lines<'_>, document: &Document, sign: &dyn Fn(&str) -> Option<String>) {
    if document.kinds.is_empty() {
        return;
    }
    lines.line("<required-kinds>");
    lines.indent += 1;
    for definition in &document.kinds {
        let kind = kind(definition);
        lines.line("<kind-block>");
        lines.indent += 1;
        lines.line(&kind);
        if let Some(signature) = sign(&kind) {
            lines.element("kind-signature", signature);
        }
        lines.indent -= 1;
        lines.line("</kind-block>");
    }
    lines.indent -= 1;
    lines.line("</required-kinds>");
}

fn kind(kind: &KindDefinition) -> String {
    let mut xml = match REGISTERED.iter().find(|registered| registered.id == kind.id) {
        Some(registered) => format!("<kind name=\"{}\">\n", registered.name),
        None => format!("<kind id=\"{}\">\n", kind.id.0),
    };
    let lines = &mut Lines {
        xml: &mut xml,
        indent: 4,
    };
    lines.element("data-model", model_name(kind.data_model));
    lines.element("access-control", kind.access.name());
    lines.element("max-count", kind.max_count);
    lines.element("max-size", kind.max_size);
    if let Some(multiple) = kind.max_node_multiple {
        lines.element("max-node-multiple", multiple);
    }
    if let Some(seconds) = kind.longest_lifetime {
        lines.element("p2psip:longest-lifetime", seconds);
    }
    for writer in &kind.writers {
        lines.element("p2psip:writer", writer);
    }
    match &kind.domain_restriction {
        None | Some(Domains::Any) => {}
        Some(Domains::Overlay) => lines.line("<sip:domain-restriction enable=\"false\"/>"),
        Some(Domains::Patterns(patterns)) => {
            lines.line("<sip:domain-restriction enable=\"true\">");
            for pattern in patterns {
                lines.element("sip:pattern", escape(pattern.as_str()));
            }
            lines.line("</sip:domain-restriction>");
        }
    }
    xml.push_str("      </kind>");
    xml
}

/// Indented lines.
struct Lines<'a> {
    xml: &'a mut String,
    indent: usize,
}

impl Lines<'_> {
    fn line(&mut self, text: &str) {
        for _ in 0..self.indent {
            self.xml.push_str("  ");
        }
        self.xml.push_str(text);
        self.xml.push('\n');
    }

    /// Writes an element; `text` needs no escaping.
    fn element(&mut self, name: &str, text: impl std::fmt::Display) {
        let mut element = String::new();
        // Writing to a String does not fail; the end tag repeats the name with its prefix.
        let _ = write!(element, "<{name}>{text}</{name}>");
        self.line(&element);
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}
