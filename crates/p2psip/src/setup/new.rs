//! `bootstrap new`: the keys of a further bootstrap service, and what the overlay's document is to say of it.

use std::path::{Path, PathBuf};

use bootstrap::Existing;
use clap::Args;
use overlay_config::Document;
use runtime::{ExitCode, private};
use serde::Serialize;

use super::address;
use super::file::Bootstrap;
use crate::document::request::Request;
use crate::enroll::PeerCredentials;
use crate::failure::Failure;
use crate::node::{Node, credentials_folder};
use crate::output::Printer;

/// Where the new service is, and for which overlay.
#[derive(Debug, Args)]
pub(crate) struct New {
    /// Name or IP address under which other hosts reach this one; a name can move to another address
    #[arg(long, value_name = "HOST", value_parser = address::parser())]
    address: String,
    /// Folder of the peer on this host, which knows the overlay; the service is made beside it
    #[arg(long, value_name = "DIR", default_value = crate::settings::DATA)]
    data: PathBuf,
    /// The overlay's document, for a host without a peer; take it from a host that you trust
    #[arg(long, value_name = "FILE")]
    document: Option<PathBuf>,
    /// URL of the service for other hosts [default: https://HOST:8443]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
}

/// Makes the keys, writes the request, and sees to it that the peer runs the service. Repeated, it writes the same request.
pub(crate) fn new_service(arguments: &New, printer: &Printer) -> Result<ExitCode, Failure> {
    let folder = arguments.data.join("bootstrap");
    let existing = existing(arguments, crate::clock::now_ms())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let making = bootstrap::make(&folder, Default::default(), &existing);
    let made = runtime.map_err(Failure::internal)?.block_on(making);
    let made = made.map_err(Failure::cannot_start)?;
    let host = Node {
        host: arguments.address.clone(),
        port: HTTPS_PORT,
    };
    let request = Request {
        url: arguments.server.clone().unwrap_or_else(|| format!("https://{host}")),
        authority: made.authority,
        writer: made.writer,
    };
    let path = arguments.data.join(format!("{}.request", arguments.address));
    request.write(&path).map_err(Failure::cannot_start)?;
    let file = arguments.data.join("p2psip.toml");
    configure(&file, Bootstrap::of(folder, &arguments.address))?;
    let (overlay, path, file) = (made.overlay, path.display(), file.display());
    let run = match arguments.document {
        Some(_) => "bootstrap",
        None => "peer",
    };
    printer.guide(&format!(
        "The keys of a further bootstrap service of {overlay} are made. Next:\n\
         \n\
         1. Take {path} to where off-line/ is, and let the document name the service:\n\
         \x20  p2psip document add-service off-line {}.request\n\
         2. Start it anew here:  p2psip {run} -c {file}\n\
         \n\
         It serves as soon as that document has come and it has the state of another service.\n",
        arguments.address
    ))?;
    Ok(ExitCode::Ok)
}

/// The overlay that the service is for: the peer's, or that of a document which the operator vouches for.
fn existing(arguments: &New, now_ms: u64) -> Result<Existing, Failure> {
    let Some(path) = &arguments.document else {
        let credentials = PeerCredentials::load(&credentials_folder(&arguments.data.join("overlay")), now_ms)?;
        let credentials = credentials.ok_or_else(|| {
            Failure::usage(format!(
                "{} holds no enrolled peer: `p2psip join` makes one, or --document FILE tells which overlay it is",
                arguments.data.display()
            ))
        })?;
        return Ok(Existing {
            root: credentials.root,
            document: credentials.document.xml().clone(),
            now_ms,
        });
    };
    let unusable = |reason: String| Failure::usage(format!("{}: {reason}", path.display()));
    let xml = std::fs::read(path).map_err(|error| unusable(error.to_string()))?;
    let text = std::str::from_utf8(&xml).map_err(|error| unusable(error.to_string()))?;
    let document = Document::from_xml(text).map_err(|error| unusable(error.to_string()))?;
    let root = document
        .root_certs
        .iter()
        .find(|ca| ca.path_length() == Some(CONFIGURATION_ROOT));
    let root = root.ok_or_else(|| unusable("it names no configuration root".to_owned()))?;
    Ok(Existing {
        root: root.hash(),
        document: xml.into(),
        now_ms,
    })
}

/// Names the service in the configuration file, unless that has a section for it already.
fn configure(path: &Path, bootstrap: Bootstrap) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Section {
        bootstrap: Bootstrap,
    }
    let failed = |error: anyhow::Error| Failure::cannot_start(error.context(path.display().to_string()));
    let text = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        text => text.map_err(|error| failed(error.into()))?,
    };
    let written: toml::Table = text.parse().map_err(|error: toml::de::Error| failed(error.into()))?;
    if written.contains_key("bootstrap") {
        return Ok(());
    }
    let section = toml::to_string(&Section { bootstrap }).map_err(Failure::internal)?;
    let text = [text.trim_end(), section.as_str()].join("\n\n");
    private::write(path, text.trim_start().as_bytes()).map_err(|error| failed(error.into()))
}

const HTTPS_PORT: u16 = 8443;
/// Its path length, which tells it from an enrollment CA.
const CONFIGURATION_ROOT: u32 = 0;

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Format;
    use crate::node::Create;
    use crate::settings::Settings;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        new: New,
    }

    fn line(arguments: &[&str]) -> New {
        let line = ["new", "--address", "sip2.example.org"]
            .into_iter()
            .chain(arguments.iter().copied());
        Line::try_parse_from(line).unwrap().new
    }

    #[test]
    fn a_request_names_the_service_and_the_file_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let create = Create {
            overlay: "example.org".to_owned(),
            nodes: vec!["sip1.example.org:6084".parse().unwrap()],
            servers: vec!["https://sip1.example.org:8443".to_owned()],
            off_line: folder.path().join("off-line"),
            places: PathBuf::new(),
            peers: Vec::new(),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(create.overlay(&folder.path().join("first"))).unwrap();
        let data = folder.path().join("second");
        std::fs::create_dir(&data).unwrap();
        let file = data.join("p2psip.toml");
        std::fs::write(&file, "# mine\n[storage]\ndata = \"/tmp/s\"\n").unwrap();
        let document = folder.path().join("off-line/document.xml");
        let arguments = line(&[
            "--data",
            data.to_str().unwrap(),
            "--document",
            document.to_str().unwrap(),
        ]);
        let printer = Printer::new(Format::Table, true);
        let request = || {
            new_service(&arguments, &printer).unwrap();
            Request::read(&data.join("sip2.example.org.request")).unwrap()
        };
        let first = request();
        assert_eq!(first.url, "https://sip2.example.org:8443");
        // Its keys stay what they are.
        assert_eq!(request(), first);
        let settings = Settings::load(Some(&file)).unwrap();
        assert_eq!(settings.bootstrap.folder, data.join("bootstrap"));
        assert_eq!(settings.bootstrap.names, ["sip2.example.org"]);
        assert_eq!(settings.storage.data, PathBuf::from("/tmp/s"));
        assert_eq!(
            std::fs::read_to_string(&file).unwrap().matches("[bootstrap]").count(),
            1
        );
    }

    #[test]
    fn a_folder_without_a_peer_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = line(&["--data", folder.path().to_str().unwrap()]);
        let failure = new_service(&arguments, &Printer::new(Format::Table, true)).unwrap_err();
        assert_eq!(failure.code(), ExitCode::Usage);
        assert!(failure.to_string().contains("--document"), "{failure}");
    }
}
