//! `document push`: brings a signed document to one peer, from which all others get it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use overlay_config::MAX_DOCUMENT;
use rpc::Role;
use rpc::proto::overlay::v1::PutDocumentRequest;
use rpc::proto::overlay::v1::overlay_client::OverlayClient;
use runtime::ExitCode;
use serde::Serialize;

use crate::cli::Global;
use crate::connect::Peer;
use crate::failure::Failure;
use crate::output::Printer;

/// The printed report.
#[derive(Debug, Serialize)]
struct Pushed {
    schema: &'static str,
    /// In force at the peer that was asked.
    sequence: u32,
}

/// Brings the document in a file, or from standard input for `-`.
pub(super) async fn run(file: &Path, global: &Global, printer: &Printer) -> Result<ExitCode, Failure> {
    let peer = Peer::of(global, Role::Overlay)?;
    let document = read(file).map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    let request = PutDocumentRequest {
        document: document.into(),
    };
    let put = OverlayClient::new(peer.channel.clone()).put_document(request).await;
    let pushed = Pushed {
        schema: "p2psip.document-pushed/v1",
        sequence: put.map_err(|status| peer.failed(&status))?.into_inner().sequence,
    };
    printer.result(&pushed, |pushed| {
        format!("document {} is in force at {}\n", pushed.sequence, peer.name)
    })?;
    printer.guide(&format!(
        "\n`p2psip document status --wait 1m --sequence {}` waits until a peer and its Neighbors have it.\n",
        pushed.sequence
    ))?;
    Ok(ExitCode::Ok)
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    if file.as_os_str() == "-" {
        return whole(io::stdin().lock());
    }
    whole(File::open(file)?)
}

fn whole(input: impl Read) -> io::Result<Vec<u8>> {
    let mut document = Vec::new();
    let limit = u64::try_from(MAX_DOCUMENT).unwrap_or(u64::MAX);
    input.take(limit.saturating_add(1)).read_to_end(&mut document)?;
    match document.len() {
        0 => Err(io::Error::other("it is empty")),
        length if length > MAX_DOCUMENT => Err(io::Error::other(format!(
            "it is no document: a document has {MAX_DOCUMENT} octets at most"
        ))),
        _ => Ok(document),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_can_be_no_document_is_not_sent() {
        assert_eq!(whole(b"<overlay/>".as_slice()).unwrap(), b"<overlay/>");
        assert!(whole(io::empty()).is_err());
        assert!(whole(io::repeat(b' ')).is_err());
    }
}
