//! `join`: a further peer, on a host of its own.

use std::path::PathBuf;

use clap::Args;
use runtime::ExitCode;

use super::file::Layout;
use crate::cli::Global;
use crate::enroll::{self, Token};
use crate::failure::Failure;
use crate::node::{self, Part, Place, credentials_folder};
use crate::output::Printer;

/// Which overlay, and how this host is reached.
#[derive(Debug, Args)]
pub(crate) struct Join {
    /// What `p2psip token create` printed on a host of the overlay
    #[arg(value_name = "TOKEN")]
    token: Token,
    /// IP address under which other hosts and phones reach this one [default: the addresses of its interfaces]
    #[arg(long, value_name = "HOST")]
    address: Option<String>,
    /// Folder for everything
    #[arg(long, value_name = "DIR", default_value = crate::settings::DATA)]
    data: PathBuf,
    /// Run the peer at once
    #[arg(long)]
    run: bool,
}

/// Enrolls a peer and its edge, and writes what they need. A join that was cut off goes on when it is repeated.
pub(crate) fn join(arguments: &Join, global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    let layout = Layout {
        data: &arguments.data,
        address: arguments.address.as_deref(),
        has_bootstrap: false,
    };
    let place = Place::at(&layout.peer());
    if !place.exists() {
        place.make(&arguments.token, false)?;
    }
    let spinner = printer.spinner(format!("enrolling in {}", arguments.token.overlay));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let enrolled = runtime.map_err(Failure::internal)?.block_on(async {
        let peer = enroll::peer(&credentials_folder(&layout.component("overlay")), &arguments.token).await?;
        let edge = enroll::edge(&credentials_folder(&layout.component("sip-edge")), &arguments.token).await?;
        Ok::<_, Failure>((peer.node_id(), edge.node_id()))
    });
    spinner.finish_and_clear();
    let (peer, edge) = enrolled?;
    let file = layout.write()?;
    let (overlay, socket) = (&arguments.token.overlay, layout.socket());
    printer.guide(&format!(
        "Enrolled in {overlay}: Peer ID {peer}, edge {edge}.\n\
         Start it: p2psip peer -c {}\nAsk it:   p2psip --peer unix:{} status\n",
        file.display(),
        socket.display()
    ))?;
    if arguments.run {
        return node::run(Part::Peer, Some(&file), global);
    }
    Ok(ExitCode::Ok)
}
