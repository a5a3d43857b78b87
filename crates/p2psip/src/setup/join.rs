//! `join`: a further peer, on a host of its own.

use std::path::PathBuf;

use clap::Args;
use runtime::{ExitCode, secret};

use super::address;
use super::file::Layout;
use crate::cli::Global;
use crate::enroll::{self, Token};
use crate::failure::Failure;
use crate::node::{self, Part, Place, credentials_folder};
use crate::output::Printer;

/// Which overlay, and how this host is reached.
#[derive(Debug, Args)]
pub(crate) struct Join {
    #[command(flatten)]
    token: TokenSource,
    /// Name or IP address under which other hosts and phones reach this one [default: the addresses of its interfaces]
    #[arg(long, value_name = "HOST", value_parser = address::parser())]
    address: Option<String>,
    /// Folder for everything
    #[arg(long, value_name = "DIR", default_value = crate::settings::DATA)]
    data: PathBuf,
    /// Run the peer at once
    #[arg(long)]
    run: bool,
}

/// Where the token comes from.
#[derive(Debug, Args)]
struct TokenSource {
    /// What `p2psip token create` printed on a host of the overlay; others on this machine can read it here: better --token-file
    #[arg(
        value_name = "TOKEN",
        required_unless_present = "token_file",
        conflicts_with = "token_file"
    )]
    token: Option<Token>,
    /// Read the token from this file; - for standard input
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

impl TokenSource {
    fn read(&self) -> Result<Token, Failure> {
        let path = match (&self.token, &self.token_file) {
            (Some(token), _) => return Ok(token.clone()),
            (None, Some(path)) => path,
            (None, None) => return Err(Failure::usage("no token: give one with --token-file")),
        };
        let text =
            secret::line_of(path).map_err(|error| Failure::usage(format!("no token can be read from {error}")))?;
        let token = text.parse::<Token>();
        token.map_err(|error| Failure::usage(format!("{}: {error}", path.display())))
    }
}

/// Enrolls a peer and its edge, and writes what they need. A join that was cut off goes on when it is repeated, and certificates that
/// have ended are had anew.
pub(crate) fn join(arguments: &Join, global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    let token = arguments.token.read()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::internal)?;
    let is_translated = async {
        match &arguments.address {
            Some(address) => address::is_translated(address).await,
            None => false,
        }
    };
    let layout = Layout {
        data: &arguments.data,
        address: arguments.address.as_deref(),
        is_translated: runtime.block_on(is_translated),
        has_bootstrap: false,
    };
    // Whose certificates have ended comes again, with settings of its own.
    let is_known = enroll::is_enrolled(&credentials_folder(&layout.component("overlay")));
    let place = Place::at(&layout.peer());
    if !place.exists() {
        place.make(&token, false)?;
    }
    let spinner = printer.spinner(format!("enrolling in {}", token.overlay));
    let enrolled = runtime.block_on(async {
        let peer = enroll::peer(&credentials_folder(&layout.component("overlay")), &token).await?;
        let edge = enroll::edge(&credentials_folder(&layout.component("sip-edge")), &token).await?;
        Ok::<_, Failure>((peer.node_id(), edge.node_id()))
    });
    // A runtime within another one is an error.
    drop(runtime);
    spinner.finish_and_clear();
    let (peer, edge) = enrolled?;
    let file = match arguments.data.join("p2psip.toml") {
        kept if is_known && kept.exists() => kept,
        _ => layout.write()?,
    };
    let (overlay, socket) = (&token.overlay, layout.socket());
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

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        join: Join,
    }

    fn token() -> Token {
        Token {
            overlay: "example.org".into(),
            root: [7; 32],
            servers: vec!["https://sip1.example.org:8443".into()],
            secret: "s3cret".into(),
        }
    }

    fn read(arguments: &[&str]) -> Result<Token, Failure> {
        let line = std::iter::once("join").chain(arguments.iter().copied());
        Line::try_parse_from(line).unwrap().join.token.read()
    }

    #[test]
    fn a_token_comes_from_a_file_or_from_the_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("berlin.token");
        std::fs::write(&path, format!("{}\n", token())).unwrap();
        let path = path.to_str().unwrap();
        assert_eq!(read(&["--token-file", path]).unwrap(), token());
        assert_eq!(read(&[&token().to_string()]).unwrap(), token());
    }

    #[test]
    fn a_file_without_a_token_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("berlin.token");
        std::fs::write(&path, "p2psip1.cut\n").unwrap();
        for path in [path, folder.path().join("missing")] {
            let failure = read(&["--token-file", path.to_str().unwrap()]).unwrap_err();
            assert_eq!(failure.code(), runtime::ExitCode::Usage);
            assert!(failure.to_string().contains(path.to_str().unwrap()), "{failure}");
        }
    }

    #[test]
    fn one_token_is_given_and_no_more() {
        let token = token().to_string();
        for arguments in [vec!["join"], vec!["join", &token, "--token-file", "-"]] {
            assert_eq!(Line::try_parse_from(arguments).unwrap_err().exit_code(), 2);
        }
    }
}
