//! A command that the peer which was asked does not serve: which component does, where that is, and what to type there.
//!
//! The overlay configuration document knows: it names the enrollment servers, which are bootstrap services, and the bootstrap nodes,
//! which are peers. Either the overlay or the bootstrap service behind the address that was asked can show it.

use std::ffi::OsStr;
use std::path::Path;

use overlay_config::Document;
use rpc::proto::bootstrap::v1::DocumentRequest;
use rpc::proto::bootstrap::v1::bootstrap_client::BootstrapClient;
use rpc::{Address, Role};

use crate::cli::Global;
use crate::connect::Peer;
use crate::failure::Failure;
use crate::status::watch_once;

/// Completes such a failure; others stay as they are.
pub(crate) async fn explain(failure: Failure, global: &Global) -> Failure {
    let Some(serves) = failure.serves() else { return failure };
    let document = document(global).await;
    let is_tcp = matches!(global.peer, Some(Address::Tcp { .. }));
    let typed = Typed::of(std::env::args().collect());
    Failure::usage(format!(
        "{failure}: {}",
        advice(serves, document.as_ref(), is_tcp, &typed)
    ))
}

/// The document, from whichever component is there.
async fn document(global: &Global) -> Option<Document> {
    let overlay = async {
        let peer = Peer::of(global, Role::Overlay).ok()?;
        Some(watch_once(peer.channel).await.ok()?.document)
    };
    let bootstrap = async {
        let peer = Peer::of(global, Role::Bootstrap).ok()?;
        let mut client = BootstrapClient::new(peer.channel);
        Some(client.document(DocumentRequest {}).await.ok()?.into_inner().document)
    };
    let asking = async {
        match overlay.await {
            Some(xml) => Some(xml),
            None => bootstrap.await,
        }
    };
    let xml = tokio::time::timeout(global.timeout, asking).await.ok().flatten()?;
    Document::from_xml(std::str::from_utf8(&xml).ok()?).ok()
}

/// Says who serves the command, and what to type.
fn advice(serves: Role, document: Option<&Document>, is_tcp: bool, typed: &Typed) -> String {
    let hosts = document.map(|document| hosts(serves, document)).unwrap_or_default();
    let who = match (serves, document) {
        (Role::Bootstrap, Some(document)) => format!("the bootstrap service of {} does", document.overlay),
        (Role::Bootstrap, None) => "a bootstrap service does".to_owned(),
        (component, _) => format!("the {component} of a peer does"),
    };
    let port = port(serves);
    match (hosts.first(), is_tcp) {
        (Some(_), false) => format!("{who}, on host {}. Type there: {}", hosts.join(" or "), typed.here()),
        (Some(host), true) => format!("{who}. Type: {}", typed.at(&format!("tcp:{}:{port}", bracketed(host)))),
        (None, false) => format!("{who}. Type on its host: {}", typed.here()),
        (None, true) => format!("{who}. Type, with its host: {}", typed.at(&format!("tcp:HOST:{port}"))),
    }
}

/// Hosts on which the component runs, as far as the document tells; any will do. It knows nothing of edges and storages.
fn hosts(serves: Role, document: &Document) -> Vec<String> {
    match serves {
        Role::Bootstrap => document
            .enrollment_servers
            .iter()
            .filter_map(|url| host_of(url))
            .collect(),
        Role::Overlay => document
            .bootstrap_nodes
            .iter()
            .take(1)
            .map(|node| node.host.clone())
            .collect(),
        Role::Storage | Role::SipEdge | Role::Operator => Vec::new(),
    }
}

fn host_of(url: &str) -> Option<String> {
    let uri: hyper::Uri = url.parse().ok()?;
    let host = uri.host()?;
    Some(host.trim_matches(['[', ']']).to_owned())
}

fn bracketed(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

/// The port at which each component listens for the others, unless its configuration says otherwise.
fn port(component: Role) -> u16 {
    match component {
        Role::Overlay | Role::Operator => 7400,
        Role::Storage => 7401,
        Role::SipEdge => 7402,
        Role::Bootstrap => 7403,
    }
}

/// The command as it was typed, without the peer that it named and the certificate for it.
struct Typed {
    program: String,
    arguments: Vec<String>,
}

impl Typed {
    fn of(arguments: Vec<String>) -> Self {
        let mut arguments = arguments.into_iter();
        let program = arguments.next().unwrap_or_default();
        // Its path is that of this host.
        let program = Path::new(&program)
            .file_name()
            .and_then(OsStr::to_str)
            .unwrap_or("p2psip");
        let mut kept = Vec::new();
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--peer" | "--identity" => drop(arguments.next()),
                named if named.starts_with("--peer=") || named.starts_with("--identity=") => {}
                _ => kept.push(quoted(argument)),
            }
        }
        Self {
            program: quoted(program.to_owned()),
            arguments: kept,
        }
    }

    /// On the host of the component, whose socket is found without being named.
    fn here(&self) -> String {
        self.line(None)
    }

    /// From elsewhere, with the operator's certificate of the peer that the component is part of.
    fn at(&self, peer: &str) -> String {
        self.line(Some(format!("--peer {peer} --identity PEER/operator")))
    }

    fn line(&self, peer: Option<String>) -> String {
        let words = std::iter::once(&self.program).chain(&peer).chain(&self.arguments);
        words.map(String::as_str).collect::<Vec<_>>().join(" ")
    }
}

/// Quotes a word that a shell would take apart.
fn quoted(word: String) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:@=,+%".contains(c);
    match !word.is_empty() && word.chars().all(is_plain) {
        true => word,
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use overlay_config::{BootstrapNode, Genesis};
    use wire::NodeId;

    use super::*;

    fn document() -> Document {
        let node = NodeId::from([1; 16]);
        let genesis = Genesis {
            overlay: "example.org",
            root_certs: Vec::new(),
            configuration_signer: node,
            user_signer: node,
            bootstrap_nodes: vec![BootstrapNode {
                host: "peer1".to_owned(),
                port: 6084,
            }],
        };
        Document {
            enrollment_servers: vec!["https://[2001:db8::1]:8443".to_owned()],
            bad_nodes: BTreeSet::new(),
            ..Document::for_overlay(genesis)
        }
    }

    fn typed(line: &str) -> Typed {
        Typed::of(line.split(' ').map(str::to_owned).collect())
    }

    #[test]
    fn the_host_of_the_bootstrap_service_is_named_with_the_command() {
        let typed = typed("/usr/bin/p2psip --peer unix:/run/p2psip/peer.sock users add carol");
        let text = advice(Role::Bootstrap, Some(&document()), false, &typed);
        let expected =
            "the bootstrap service of example.org does, on host 2001:db8::1. Type there: p2psip users add carol";
        assert_eq!(text, expected);
        let mut document = document();
        document
            .enrollment_servers
            .push("https://sip2.example.org:8443".to_owned());
        let text = advice(Role::Bootstrap, Some(&document), false, &typed);
        assert!(
            text.contains("on host 2001:db8::1 or sip2.example.org. Type there"),
            "{text}"
        );
    }

    #[test]
    fn components_apart_are_asked_at_their_own_address() {
        let typed = typed("p2psip --peer=tcp:peer2-overlay:7400 --identity /e/peer2/operator users list");
        let command = "--identity PEER/operator users list";
        let document = document();
        let advice = |serves| advice(serves, Some(&document), true, &typed);
        assert_eq!(
            advice(Role::Bootstrap),
            format!("the bootstrap service of example.org does. Type: p2psip --peer tcp:[2001:db8::1]:7403 {command}")
        );
        assert_eq!(
            advice(Role::Overlay),
            format!("the overlay of a peer does. Type: p2psip --peer tcp:peer1:7400 {command}")
        );
        // The document knows no edges.
        assert_eq!(
            advice(Role::SipEdge),
            format!("the sip-edge of a peer does. Type, with its host: p2psip --peer tcp:HOST:7402 {command}")
        );
        let unknown = super::advice(Role::Bootstrap, None, true, &typed);
        assert!(
            unknown.ends_with(&format!("--peer tcp:HOST:7403 {command}")),
            "{unknown}"
        );
    }

    #[test]
    fn a_command_can_be_pasted() {
        let arguments = ["p2psip", "users", "add", "carol", "--display-name", "Carol's phone"];
        let typed = Typed::of(arguments.map(str::to_owned).to_vec());
        assert_eq!(
            typed.here(),
            r"p2psip users add carol --display-name 'Carol'\''s phone'"
        );
    }
}
