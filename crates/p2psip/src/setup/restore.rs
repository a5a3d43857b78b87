//! `bootstrap restore`: a new service in the place of all that were lost, beside a peer or with a new one.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use clap::Args;
use overlay_config::SignedDocument;
use runtime::ExitCode;

use super::file::{Layout, RELOAD_PORT};
use super::{address, service};
use crate::enroll::now_ms;
use crate::failure::Failure;
use crate::node::{Node, Place};
use crate::output::Printer;
use crate::settings::Settings;

/// From what, and where.
#[derive(Debug, Args)]
pub(crate) struct Restore {
    /// The folder that `init` wrote and you moved away
    #[arg(long, value_name = "DIR")]
    off_line: PathBuf,
    /// A backup: overlay/credentials/backup.sealed of any peer, or bootstrap/backup.sealed of a lost service
    #[arg(value_name = "FILE")]
    backup: PathBuf,
    /// Name or IP address under which other hosts reach this one
    #[arg(long, value_name = "HOST", value_parser = address::parser())]
    address: String,
    /// Folder for everything: that of the peer of this host, or a new one
    #[arg(long, value_name = "DIR", default_value = crate::settings::DATA)]
    data: PathBuf,
    /// URL of the enrollment server for other hosts [default: https://HOST:8443]
    #[arg(long, value_name = "URL")]
    server: Option<String>,
    /// No peer of the overlay is left: the new peer of this host forms the ring
    #[arg(long)]
    alone: bool,
}

/// Restores the service, and makes a peer beside it if there is none.
pub(crate) fn restore(arguments: &Restore, printer: &Printer) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Failure::internal)?;
    let layout = Layout {
        data: &arguments.data,
        address: Some(&arguments.address),
        is_translated: runtime.block_on(address::is_translated(&arguments.address)),
        has_bootstrap: true,
    };
    let file = arguments.data.join("p2psip.toml");
    let is_new = !file.exists();
    let document = runtime.block_on(make(arguments, &layout, is_new))?;
    if is_new {
        layout.write()?;
    }
    printer.guide(&guide(&layout, &document, &file)?)?;
    Ok(ExitCode::Ok)
}

async fn make(arguments: &Restore, layout: &Layout<'_>, is_new: bool) -> Result<SignedDocument, Failure> {
    let backup = std::fs::read(&arguments.backup)
        .map_err(|error| Failure::usage(format!("{}: {error}", arguments.backup.display())))?;
    let node = Node {
        host: arguments.address.clone(),
        port: RELOAD_PORT,
    };
    let server = arguments.server.clone();
    let server = server.unwrap_or_else(|| format!("https://{}:8443", node.bracketed()));
    let restore = bootstrap::Restore {
        off_line: arguments.off_line.clone(),
        backup: Bytes::from(backup),
        server: server.clone(),
        node: overlay_config::BootstrapNode {
            host: node.host,
            port: node.port,
        },
        is_alone: arguments.alone,
        now_ms: now_ms(),
    };
    let folder = layout.component("bootstrap");
    let document = bootstrap::restore(&folder, Default::default(), &restore).await;
    let document = document.map_err(Failure::cannot_start)?;
    let place = Place::at(&layout.peer());
    if is_new && !place.exists() {
        place.make(&service::token(folder, server).await?, arguments.alone)?;
    }
    Ok(document)
}

fn guide(layout: &Layout<'_>, document: &SignedDocument, file: &Path) -> Result<String, Failure> {
    let (document, folder) = (document.document(), layout.component("bootstrap"));
    let is_found = Settings::load(Some(file))?.bootstrap.folder == folder;
    let section = match is_found {
        true => String::new(),
        false => format!(
            "Add this to {}:\n\n[bootstrap]\nfolder = \"{}\"\n\n",
            file.display(),
            folder.display()
        ),
    };
    Ok(format!(
        "The bootstrap service of {} is restored, with document {}.\n\n\
         {section}1. Start the peer of this host, or start it anew: p2psip peer -c {}\n\
         2. See to it that {} is reached from other hosts: they renew their certificates there by themselves.\n\
         3. Move the off-line folder away again: document-{}.xml in it is new and belongs to it.\n",
        document.overlay,
        document.sequence,
        file.display(),
        document.enrollment_servers.join(", "),
        document.sequence
    ))
}

#[cfg(test)]
mod tests {
    use runtime::Monitor;
    use tempfile::TempDir;

    use super::*;
    use crate::cli::Format;
    use crate::node::Create;

    /// A service that has written its backup, and is gone.
    async fn lost() -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let create = Create {
            overlay: "restore.p2psip.test".to_owned(),
            nodes: Vec::new(),
            servers: vec!["https://lost.p2psip.test:8443".to_owned()],
            off_line: folder.path().join("off-line"),
            places: PathBuf::new(),
            peers: Vec::new(),
        };
        let state = folder.path().join("lost");
        create.overlay(&state).await.unwrap();
        let config = bootstrap::Config {
            folder: state.clone(),
            https_bind: Vec::new(),
            ..bootstrap::Config::default()
        };
        let component = Monitor::new().component("bootstrap", "");
        let mut server = bootstrap::Server::bind(&config, Default::default(), component)
            .await
            .unwrap();
        while !bootstrap::backup_file(&state).exists() {
            tokio::task::yield_now().await;
        }
        server.shutdown(std::time::Duration::from_secs(5)).await.unwrap();
        std::fs::rename(bootstrap::backup_file(&state), folder.path().join("backup.sealed")).unwrap();
        std::fs::remove_dir_all(state).unwrap();
        folder
    }

    fn arguments(lost: &TempDir, data: &str) -> Restore {
        Restore {
            off_line: lost.path().join("off-line"),
            backup: lost.path().join("backup.sealed"),
            address: "127.17.1.1".to_owned(),
            data: lost.path().join(data),
            server: None,
            alone: false,
        }
    }

    #[test]
    fn a_new_host_becomes_a_peer_and_no_folder_is_restored_twice() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let lost = runtime.block_on(lost());
        let printer = Printer::new(Format::Table, true);
        let arguments = arguments(&lost, "new");
        restore(&arguments, &printer).unwrap();
        let settings = Settings::load(Some(&lost.path().join("new/p2psip.toml"))).unwrap();
        assert!(settings.bootstrap.folder.exists());
        let place = Place::at(&settings.peer.folder);
        assert!(place.exists() && !place.is_founder());
        let refused = restore(&arguments, &printer).unwrap_err();
        assert_eq!(refused.code(), ExitCode::CannotStart);
        assert!(refused.to_string().contains("holds something already"), "{refused}");
    }

    #[test]
    fn a_peer_that_is_there_keeps_its_place_and_its_settings() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let lost = runtime.block_on(lost());
        let data = lost.path().join("peer2");
        std::fs::create_dir(&data).unwrap();
        let file = data.join("p2psip.toml");
        std::fs::write(&file, "[sip_edge]\nnames = [\"mine\"]\n").unwrap();
        restore(&arguments(&lost, "peer2"), &Printer::new(Format::Table, true)).unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().contains("mine"));
        assert!(data.join("bootstrap").exists() && !data.join("peer").exists());
        let told = Layout {
            data: &data,
            address: None,
            is_translated: false,
            has_bootstrap: true,
        };
        let document = runtime.block_on(async {
            let off_line = bootstrap::OffLine::load(&lost.path().join("off-line"), now_ms());
            off_line.unwrap().document
        });
        let guide = guide(&told, &document, &file).unwrap();
        assert!(guide.contains("Add this to"), "{guide}");
        assert!(guide.contains("document-2.xml"), "{guide}");
    }
}
