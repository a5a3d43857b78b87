//! `init`: the first peer of a new overlay, with its bootstrap service.

use std::path::PathBuf;

use clap::Args;
use runtime::ExitCode;

use super::file::{Layout, RELOAD_PORT};
use super::{address, service};
use crate::cli::Global;
use crate::failure::Failure;
use crate::node::{self, Create, Node, Part, Place};
use crate::output::Printer;

/// What the new overlay is.
#[derive(Debug, Args)]
pub(crate) struct Init {
    /// Overlay Name, which is also the SIP domain of its users, as example.org
    #[arg(value_name = "OVERLAY")]
    overlay: String,
    /// Name or IP address under which other hosts and phones reach this one; a name can move to another address, an IP address
    /// is in tokens and documents for ever
    #[arg(long, value_name = "HOST", value_parser = address::parser())]
    address: String,
    /// Folder for everything; it must not exist or be empty
    #[arg(long, value_name = "DIR", default_value = crate::settings::DATA)]
    data: PathBuf,
    /// Further bootstrap nodes, peers to come whose addresses are known already; the first three peers do well
    #[arg(long, value_name = "HOST:PORT")]
    node: Vec<Node>,
    /// URL of the enrollment server for other hosts [default: https://HOST:8443]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// Run the peer at once
    #[arg(long)]
    run: bool,
}

/// Makes the overlay, and what its first peer needs.
pub(crate) fn init(arguments: &Init, global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::internal)?;
    let layout = Layout {
        data: &arguments.data,
        address: Some(&arguments.address),
        is_translated: runtime.block_on(address::is_translated(&arguments.address)),
        has_bootstrap: true,
    };
    runtime.block_on(make(arguments, &layout))?;
    // A runtime within another one is an error.
    drop(runtime);
    let file = layout.write()?;
    printer.guide(&guide(arguments, &layout, &file.display().to_string()))?;
    if arguments.run {
        return node::run(Part::Peer, Some(&file), global);
    }
    Ok(ExitCode::Ok)
}

async fn make(arguments: &Init, layout: &Layout<'_>) -> Result<(), Failure> {
    let place = Place::at(&layout.peer());
    if place.exists() {
        let message = format!(
            "{} holds a peer already: choose another --data",
            arguments.data.display()
        );
        return Err(Failure::cannot_start(anyhow::anyhow!(message)));
    }
    let first = Node {
        host: arguments.address.clone(),
        port: RELOAD_PORT,
    };
    let server = arguments.server.clone();
    let server = server.unwrap_or_else(|| format!("https://{}:8443", first.bracketed()));
    let create = Create {
        overlay: arguments.overlay.clone(),
        nodes: std::iter::once(first).chain(arguments.node.iter().cloned()).collect(),
        servers: vec![server.clone()],
        off_line: arguments.data.join("off-line"),
        places: PathBuf::new(),
        peers: Vec::new(),
    };
    let folder = layout.component("bootstrap");
    create.overlay(&folder).await?;
    place.make(&service::token(folder, server).await?, true)
}

fn guide(arguments: &Init, layout: &Layout<'_>, file: &str) -> String {
    let off_line = arguments.data.join("off-line");
    let socket = layout.socket();
    let (off_line, socket, overlay) = (off_line.display(), socket.display(), &arguments.overlay);
    let warning = match arguments.address.parse::<std::net::IpAddr>() {
        Ok(ip) => format!(
            "Warning: other hosts will know this one as {ip} for ever. If that may change, make the overlay anew with a name\n\
             of DNS, as --address sip1.{overlay}.\n\n"
        ),
        Err(_) => String::new(),
    };
    format!(
        "{warning}The overlay {overlay} exists. Next:\n\
         \n\
         1. Move {off_line} off this host and keep it safe: whoever holds it controls the overlay.\n\
         \x20  With this host alone you lose users, enrollment and renewal until `bootstrap restore`; have a second service.\n\
         2. Start the peer:      p2psip peer -c {file}\n\
         3. In another terminal: export P2PSIP_PEER=unix:{socket}\n\
         \x20  Add users:           p2psip users add alice\n\
         \x20  For each other host: p2psip -q token create > FILE\n\
         \x20  and with it there:   p2psip join --run --token-file FILE\n"
    )
}
