//! `config`: what a process would be told, and what it can be told. There is no secret in it: settings name the files of secrets.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use runtime::ExitCode;
use runtime::config::Sources;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::Printer;
use crate::settings::Settings;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a configuration file and the P2PSIP__ variables: an unknown key or a wrong value is named
    #[command(after_help = CHECK_EXAMPLES)]
    Check(Place),
    /// Print the settings in force as TOML: the file, and over it the P2PSIP__ variables
    #[command(after_help = PRINT_EXAMPLES)]
    Print {
        #[command(flatten)]
        place: Place,
        /// Print the defaults instead, with what each key means
        #[arg(long, conflicts_with = "config")]
        default: bool,
    },
}

/// Where the settings are.
#[derive(Debug, Args)]
pub(crate) struct Place {
    /// The configuration file [default: /etc/p2psip/p2psip.toml, if there is one]
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Carries out one of the commands.
pub(crate) fn run(command: &Command, printer: &Printer) -> Result<ExitCode, Failure> {
    match command {
        Command::Check(place) => {
            Settings::load(place.config.as_deref())?;
            printer.result(&Checked::new(place), Checked::text)?;
        }
        Command::Print { default: true, .. } => {
            let defaults = Printed::new(Settings::default());
            printer.result(&defaults, |_| DOCUMENTED.to_owned())?;
        }
        Command::Print { place, .. } => {
            let printed = Printed::new(Settings::load(place.config.as_deref())?);
            let text = toml::to_string_pretty(&printed.settings).map_err(Failure::internal)?;
            printer.result(&printed, |_| text)?;
        }
    }
    Ok(ExitCode::Ok)
}

/// Says that all is well; what is not is a failure.
#[derive(Debug, Serialize)]
struct Checked {
    schema: &'static str,
    /// None when there are only defaults and the environment.
    file: Option<String>,
    valid: bool,
}

impl Checked {
    fn new(place: &Place) -> Self {
        let file = Sources::of_process(place.config.clone()).file;
        Self {
            schema: "p2psip.config-check/v1",
            file: file.as_deref().map(Path::display).map(|path| path.to_string()),
            valid: true,
        }
    }

    fn text(&self) -> String {
        match &self.file {
            Some(file) => format!("{file} is valid\n"),
            None => format!("there is no {}: the defaults hold\n", runtime::config::DEFAULT_FILE),
        }
    }
}

/// Settings for programs.
#[derive(Debug, Serialize)]
struct Printed {
    schema: &'static str,
    settings: Settings,
}

impl Printed {
    fn new(settings: Settings) -> Self {
        Self {
            schema: "p2psip.config/v1",
            settings,
        }
    }
}

/// The file to begin with: every key with its default, and what it means.
const DOCUMENTED: &str = include_str!("../../../docs/p2psip.toml");

const CHECK_EXAMPLES: &str = "\
Examples:
  p2psip config check
  p2psip config check -c p2psip.toml
  P2PSIP__STORAGE__CACHE=64 p2psip config check        variables count too; this one lacks a unit

The exit code is 2 when something is wrong.";

const PRINT_EXAMPLES: &str = "\
Examples:
  p2psip config print --default > p2psip.toml          a file to begin with
  p2psip config print -c p2psip.toml
  p2psip -o json config print | jq .settings.sip_edge.bind";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_file_holds_the_defaults() {
        let documented: Settings = toml::from_str(DOCUMENTED).unwrap();
        let text = |settings: &Settings| toml::to_string_pretty(settings).unwrap();
        assert_eq!(text(&documented), text(&Settings::default()));
    }

    #[test]
    fn the_documented_file_names_every_key() {
        let sections = keys("");
        assert!(!sections.is_empty());
        for section in sections {
            let heading = format!("[{section}]\n");
            let (_, rest) = DOCUMENTED
                .split_once(&heading)
                .unwrap_or_else(|| panic!("no {heading}"));
            let part = rest.split("\n[").next().unwrap_or(rest);
            for key in keys(&heading) {
                // Keys that are not set by default stand there as comments.
                let is_key = |line: &str| {
                    let line = line.strip_prefix("# ").unwrap_or(line);
                    line.strip_prefix(&key).is_some_and(|rest| rest.starts_with(" = "))
                };
                assert!(part.lines().any(is_key), "{section}.{key} is not documented");
            }
        }
    }

    /// The keys that are understood below a heading, as the refusal of an unknown one lists them.
    fn keys(heading: &str) -> Vec<String> {
        let refusal = toml::from_str::<Settings>(&format!("{heading}no_such_key = 1\n")).unwrap_err();
        let refusal = refusal.message().to_owned();
        let (_, expected) = refusal.split_once("expected").unwrap_or_else(|| panic!("{refusal}"));
        expected.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn what_is_printed_is_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[storage]\ncache = \"8MiB\"\n").unwrap();
        let settings = Settings::load(Some(file.path())).unwrap();
        let text = toml::to_string_pretty(&settings).unwrap();
        assert!(text.contains("cache = \"8MiB\"\n"), "{text}");
        std::fs::write(file.path(), &text).unwrap();
        let again = Settings::load(Some(file.path())).unwrap();
        assert_eq!(toml::to_string_pretty(&again).unwrap(), text);
    }

    #[test]
    fn an_unknown_key_is_a_usage_error_that_names_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "[storage]\ncash = \"8MiB\"\n").unwrap();
        let failure = Settings::load(Some(file.path())).unwrap_err();
        assert_eq!(failure.code(), ExitCode::Usage);
        assert!(failure.to_string().contains("cash"), "{failure}");
    }
}
