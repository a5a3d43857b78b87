//! A change of the document, from the folder and back to it: shown, asked about, signed and written.

use std::path::{Path, PathBuf};

use identity::Sign as _;
use runtime::ExitCode;
use serde::Serialize;

use super::change::{Change, change};
use super::off_line::{OffLine, OffLineError};
use super::view::difference;
use crate::clock::utc;
use crate::failure::Failure;
use crate::output::Printer;
use crate::terminal;

/// How a change is made.
pub(super) struct Edit<'a> {
    pub(super) folder: &'a Path,
    /// Whether nobody is to be asked.
    pub(super) is_sure: bool,
    pub(super) now_ms: u64,
    pub(super) printer: &'a Printer,
}

/// The written files.
#[derive(Debug, Serialize)]
struct Report {
    schema: &'static str,
    file: PathBuf,
    sequence: u16,
    /// Lines with a sign.
    difference: Vec<String>,
    new_signer: Option<NewSigner>,
}

/// A signer that is named for the first time.
#[derive(Debug, Serialize)]
struct NewSigner {
    node_id: String,
    until: String,
    /// When the one before it ends.
    old_until: Option<String>,
}

impl Edit<'_> {
    pub(super) fn run(&self, asked: &Change) -> Result<ExitCode, Failure> {
        let now_ms = self.now_ms;
        let off_line = OffLine::open(self.folder, now_ms).map_err(failed)?;
        let next = change(&off_line.document, asked).map_err(Failure::negative)?;
        let made = off_line.sign(next, now_ms).map_err(failed)?;
        let next = made.document.document();
        let difference = difference(&off_line.document, next);
        let is_asked = !self.is_sure;
        if is_asked && !self.is_confirmed(&difference)? {
            return Err(Failure::negative("nothing was written"));
        }
        let new_signer = made.new_signer.as_ref().map(|signer| NewSigner {
            node_id: signer.node_id().to_string(),
            until: utc(signer.until_ms()),
            old_until: off_line.signers.iter().map(identity::Signer::until_ms).min().map(utc),
        });
        let report = Report {
            schema: "p2psip.document-change/v1",
            file: off_line.write(&made).map_err(failed)?,
            sequence: next.sequence,
            difference,
            new_signer,
        };
        self.printer.result(&report, |report| report.text(!is_asked))?;
        Ok(ExitCode::Ok)
    }

    fn is_confirmed(&self, difference: &[String]) -> Result<bool, Failure> {
        if !terminal::is_there() {
            return Err(Failure::usage(
                "nobody is there to be asked whether the document is to change; give --yes",
            ));
        }
        // On standard error, like the question.
        for line in difference {
            eprintln!("{line}");
        }
        Ok(terminal::confirm("Sign this as the next document?")?)
    }
}

impl Report {
    fn text(&self, with_difference: bool) -> String {
        let lines = self.difference.iter().filter(|_| with_difference);
        let mut text: String = lines.map(|line| format!("{line}\n")).collect();
        if let Some(signer) = &self.new_signer {
            text.push_str(&format!(
                "It names a new configuration signer, {}, until {}; the old one signs with it{}.\n",
                signer.node_id,
                signer.until,
                signer
                    .old_until
                    .as_ref()
                    .map(|until| format!(" until {until}"))
                    .unwrap_or_default()
            ));
        }
        let file = self.file.display();
        text.push_str(&format!(
            "{file} is signed. Any peer brings it to all nodes: p2psip document push {file}\n"
        ));
        text
    }
}

fn failed(error: OffLineError) -> Failure {
    let code = match &error {
        OffLineError::Io { .. } => ExitCode::CannotStart,
        OffLineError::Document { .. } | OffLineError::NoText { .. } => ExitCode::Usage,
        OffLineError::Refused(_) | OffLineError::TooLarge { .. } => ExitCode::Negative,
        OffLineError::Certificate { .. }
        | OffLineError::Key { .. }
        | OffLineError::NoSigner { .. }
        | OffLineError::Issue { .. } => ExitCode::Credentials,
    };
    Failure::new(code, error)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{NOW, folder};
    use super::*;
    use crate::cli::Format;

    fn edited(folder: &Path, is_sure: bool) -> Result<ExitCode, Failure> {
        let edit = Edit {
            folder,
            is_sure,
            now_ms: NOW,
            printer: &Printer::new(Format::Json, true),
        };
        edit.run(&Change::Set(vec!["turn-density=2".parse().unwrap()]))
    }

    /// Tests have no terminal.
    #[test]
    fn without_a_terminal_one_says_yes_beforehand() {
        let folder = folder();
        let refusal = edited(folder.path(), false).unwrap_err();
        assert_eq!(refusal.code(), ExitCode::Usage);
        assert!(refusal.to_string().contains("--yes"), "{refusal}");
        assert!(!folder.path().join("document-2.xml").exists());
    }

    #[test]
    fn a_folder_that_is_none_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let refusal = edited(parent.path(), true).unwrap_err();
        assert!(refusal.to_string().contains("document.xml: "), "{refusal}");
    }

    #[test]
    fn what_was_written_is_told_with_what_is_new() {
        let report = Report {
            schema: "p2psip.document-change/v1",
            file: PathBuf::from("off-line/document-2.xml"),
            sequence: 2,
            difference: vec!["- sequence 1".to_owned(), "+ sequence 2".to_owned()],
            new_signer: None,
        };
        let brief = report.text(false);
        assert!(
            brief.ends_with("p2psip document push off-line/document-2.xml\n"),
            "{brief}"
        );
        assert_eq!(report.text(true), format!("- sequence 1\n+ sequence 2\n{brief}"));
    }
}
