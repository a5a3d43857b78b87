//! `bootstrap backup-key`: the key that backups are sealed to, made later than the overlay.

use std::path::PathBuf;

use ::bootstrap::BackupKey;
use clap::Args;
use runtime::ExitCode;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Printer;

/// Where the keys of the overlay are.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The folder that `init` wrote and you moved away
    #[arg(long, value_name = "DIR")]
    off_line: PathBuf,
}

#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    /// The public half, in hex.
    backup_key: String,
}

/// Makes the key unless it is there, and prints its public half.
pub(super) fn run(arguments: &Arguments, printer: &Printer) -> Result<ExitCode, Failure> {
    let folder = &arguments.off_line;
    if !folder.join("configuration-root.key").exists() {
        return Err(Failure::usage(format!(
            "{} is no off-line folder: it holds no configuration-root.key",
            folder.display()
        )));
    }
    let key = if BackupKey::is_in(folder) {
        BackupKey::load(folder).map_err(Failure::cannot_start)?
    } else {
        let key = BackupKey::generate().map_err(Failure::internal)?;
        key.store(folder).map_err(Failure::cannot_start)?;
        key
    };
    let report = Report {
        schema: "p2psip.backup-key/v1",
        backup_key: key.public_hex(),
    };
    printer.result(&report, |report| {
        format!("[bootstrap]\nbackup_key = \"{}\"\n", report.backup_key)
    })?;
    Ok(ExitCode::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Format;

    #[test]
    fn a_key_is_made_once_and_only_where_the_others_are() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = Arguments {
            off_line: folder.path().to_owned(),
        };
        let printer = Printer::new(Format::Table, true);
        assert_eq!(run(&arguments, &printer).unwrap_err().code(), ExitCode::Usage);
        assert!(!BackupKey::is_in(folder.path()));
        std::fs::write(folder.path().join("configuration-root.key"), "").unwrap();
        run(&arguments, &printer).unwrap();
        let made = BackupKey::load(folder.path()).unwrap().public_hex();
        run(&arguments, &printer).unwrap();
        assert_eq!(BackupKey::load(folder.path()).unwrap().public_hex(), made);
    }
}
