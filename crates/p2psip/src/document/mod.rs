//! `document`: the overlay's configuration, changed where the off-line keys are and brought to all nodes.

mod change;
mod edit;
mod off_line;
mod push;
pub(crate) mod request;
mod setting;
mod status;
mod view;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use runtime::ExitCode;
use wire::NodeId;

use self::change::Change;
use self::edit::Edit;
use self::request::Request;
use self::setting::Setting;
use self::view::Shown;
use crate::asynchronously;
use crate::cli::Global;
use crate::clock::now_ms;
use crate::failure::Failure;
use crate::output::Printer;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show a document: what it says and which services it names
    #[command(after_help = SHOW_EXAMPLES)]
    Show {
        /// The folder of the off-line keys, or a document
        #[arg(value_name = "DIR|FILE", default_value = "off-line")]
        path: PathBuf,
    },
    /// Change values: bootstrap nodes, servers, the end of the document, intervals
    #[command(after_help = SET_EXAMPLES)]
    Set {
        #[command(flatten)]
        target: Target,
        /// What is to be: node=+HOST:PORT, node=-HOST:PORT, server=+URL, expires=2030-12-31, ping-interval=1m
        #[arg(value_name = "KEY=VALUE", required = true)]
        settings: Vec<Setting>,
    },
    /// Ban nodes: no other node believes their certificates any more
    #[command(after_help = BAN_EXAMPLES)]
    Ban(Nodes),
    /// Let banned nodes in again
    Unban(Nodes),
    /// Name a further bootstrap service, by the request that `p2psip bootstrap new` wrote on its machine
    #[command(after_help = SERVICE_EXAMPLES)]
    AddService {
        #[command(flatten)]
        target: Target,
        /// The request
        #[arg(value_name = "FILE")]
        request: PathBuf,
    },
    /// Take out a bootstrap service: one that is lost, or with --revoke one that is in the wrong hands
    #[command(after_help = SERVICE_EXAMPLES)]
    RemoveService {
        #[command(flatten)]
        target: Target,
        /// Its URL
        #[arg(value_name = "URL")]
        url: String,
        /// Revoke its CA and its writer at once: nodes that it enrolled must enroll anew elsewhere. Never for one that only broke
        #[arg(long)]
        revoke: bool,
    },
    /// Sign the same document anew, under the next number: with a new signer when the present one ends soon
    #[command(after_help = RENEW_EXAMPLES)]
    Renew(Target),
    /// Bring a signed document to a peer, which puts it in force and sends it to all others
    #[command(after_help = PUSH_EXAMPLES)]
    Push {
        /// The document; - reads standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Show which document a peer and its Neighbors obey, and when that and the peer's certificate end
    #[command(after_help = STATUS_EXAMPLES)]
    Status(status::Arguments),
}

/// Where the document is changed.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// The folder of the off-line keys
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Do not ask
    #[arg(short, long)]
    yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Nodes {
    #[command(flatten)]
    target: Target,
    /// Their Node-IDs
    #[arg(value_name = "NODE-ID", required = true, value_parser = node_id)]
    nodes: Vec<NodeId>,
}

/// Carries out one of the commands.
pub(crate) fn run(command: &Command, global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    let edit = |target: &Target, change: &Change| {
        let edit = Edit {
            folder: &target.folder,
            is_sure: target.yes,
            now_ms: now_ms(),
            printer,
        };
        edit.run(change)
    };
    match command {
        Command::Show { path } => show(path, printer),
        Command::Set { target, settings } => edit(target, &Change::Set(settings.clone())),
        Command::Ban(Nodes { target, nodes }) => edit(target, &Change::Ban(nodes.iter().copied().collect())),
        Command::Unban(Nodes { target, nodes }) => edit(target, &Change::Unban(nodes.iter().copied().collect())),
        Command::AddService { target, request } => {
            let request = Request::read(request).map_err(|error| Failure::new(ExitCode::Usage, error))?;
            edit(target, &Change::AddService(request))
        }
        Command::RemoveService { target, url, revoke } => {
            let (url, is_stolen) = (url.clone(), *revoke);
            edit(target, &Change::RemoveService { url, is_stolen })
        }
        Command::Renew(target) => edit(target, &Change::Renew),
        Command::Push { file } => asynchronously(global, push::run(file, global, printer)),
        Command::Status(arguments) => asynchronously(global, status::run(*arguments, global, printer)),
    }
}

fn show(path: &Path, printer: &Printer) -> Result<ExitCode, Failure> {
    let document = match path.is_dir() {
        true => off_line::newest(path),
        false => off_line::document(path),
    };
    let document = document.map_err(|error| Failure::new(ExitCode::Usage, error))?;
    printer.result(&Shown::new(&document), Shown::table)?;
    Ok(ExitCode::Ok)
}

fn node_id(text: &str) -> Result<NodeId, String> {
    text.parse()
        .map_err(|_| "a Node-ID has 32 hexadecimal digits".to_owned())
}

const SHOW_EXAMPLES: &str = "\
Examples:
  p2psip document show                                 the folder off-line/
  p2psip document show off-line/document-3.xml
  p2psip -o json document show | jq -r '.bootstrap_nodes[]'

A document that is only shown is not verified.";

const SET_EXAMPLES: &str = "\
Examples:
  p2psip document set off-line node=+sip2.example.org:6084
  p2psip document set off-line node=+sip9.example.org:6084 node=-sip1.example.org:6084
  p2psip document set off-line server=+https://sip9.example.org:6085/enroll server=-https://sip1.example.org:6085/enroll
  p2psip document set off-line expires=2030-12-31 --yes

Keys: node, server, expires, turn-density, clients-permitted, update-interval, ping-interval, reactive, max-message-size, initial-ttl,
reliability-timer. It writes document-N.xml beside the keys; nodes obey it once it was brought to a peer.";

const BAN_EXAMPLES: &str = "\
Examples:
  p2psip document ban off-line 3f0c6e2a9d1b47c58e7f001122334455
  p2psip document unban off-line 3f0c6e2a9d1b47c58e7f001122334455

A ban is needed until the node's last certificate ends: 90 days at most.";

const SERVICE_EXAMPLES: &str = "\
Examples:
  p2psip document add-service off-line sip2.example.org.request
  p2psip document remove-service off-line https://sip2.example.org:6085/enroll            lost: the disk broke
  p2psip document remove-service off-line https://sip2.example.org:6085/enroll --revoke   stolen

What a lost service issued goes on: nodes renew at another one. What a stolen one issued ends at once.";

const RENEW_EXAMPLES: &str = "\
Examples:
  p2psip document renew off-line

A signer lives for a year. Any change in its last 90 days names a new one; this is for when there is nothing else to change.";

const PUSH_EXAMPLES: &str = "\
Examples:
  p2psip document push off-line/document-2.xml
  p2psip --peer unix:/run/p2psip/peer.sock document push document-2.xml
  ssh sip1.example.org p2psip document push - < off-line/document-2.xml

Any peer does. It believes the document for its signature and for the one in force: of the same overlay, signed by a signer that
the one in force names, and newer. Pushed again, it is in force already. The exit code is 1 when it is not newer, or when the peer
cannot obey it, and 2 when it is no document of this overlay.";

const STATUS_EXAMPLES: &str = "\
Examples:
  p2psip document status
  p2psip document status --wait 1m --sequence 3        after `document push` of that one
  p2psip -o json document status | jq -r '.neighbors[] | select(.sequence != 3) | .peer_id'

The exit code is 3 while a Neighbor has another document than the peer, or has not been heard of since their link was opened.";

#[cfg(test)]
mod tests {
    use identity::Key;
    use identity::issue::{Authority, Profile, Serial, Subject, configuration_root, enrollment_ca};
    use identity::{Sign as _, Signer};
    use overlay_config::{BootstrapNode, Document, Genesis, SignedDocument};
    use tempfile::TempDir;

    use super::*;

    pub(super) const NOW: u64 = 1_800_000_000_000;
    pub(super) const DAY: u64 = 24 * 3600 * 1000;
    const SERIAL: Serial = Serial::new([7; 9]);

    fn key(number: u8) -> Key {
        Key::ed25519_from_seed([number; 32])
    }

    fn root() -> Authority {
        configuration_root(&key(1), NOW, SERIAL).unwrap()
    }

    fn service_ca(number: u8) -> identity::Certificate {
        let authority = enrollment_ca(&key(100 + number), NOW, SERIAL).unwrap();
        authority.certificate().clone()
    }

    /// The request of the service of this number.
    pub(super) fn service(number: u8) -> Request {
        Request {
            url: format!("https://sip{number}.example.org:6085/enroll"),
            authority: service_ca(number),
            writer: NodeId::from([100 + number; 16]),
        }
    }

    /// The first document, of service 1.
    pub(super) fn document() -> Document {
        let first = service(1);
        Document {
            enrollment_servers: vec![first.url],
            ..Document::for_overlay(Genesis {
                overlay: "example.org",
                root_certs: vec![root().certificate().clone(), first.authority],
                configuration_signer: NodeId::from([10; 16]),
                user_signer: first.writer,
                bootstrap_nodes: vec![BootstrapNode {
                    host: "sip1.example.org".to_owned(),
                    port: 6084,
                }],
            })
        }
    }

    /// A folder as `init` writes it.
    pub(super) fn folder() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let root = root();
        let public = key(2).public();
        let subject = Subject {
            key: &public,
            node_id: NodeId::from([10; 16]),
            overlay: "example.org",
            user: None,
        };
        let leaf = root.issue(Profile::ConfigurationSigner, &subject, NOW, SERIAL).unwrap();
        let signer = Signer::new(key(2), &leaf, &[]).unwrap();
        let signed = SignedDocument::sign(document(), &signer);
        let write = |name: &str, octets: &[u8]| std::fs::write(folder.path().join(name), octets).unwrap();
        write("configuration-root.key", root.key().to_pem().unwrap().as_bytes());
        write("configuration-root.der", root.certificate().der());
        write("configuration-signer.key", signer.key().to_pem().unwrap().as_bytes());
        write("configuration-signer.der", &signer.certificates()[0]);
        write("document.xml", signed.xml());
        folder
    }
}
