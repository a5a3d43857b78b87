//! Where results go: standard output, as a table or as JSON. Everything else goes to standard error.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::cli::Format;

/// Prints results in the format asked for.
#[derive(Debug)]
pub(crate) struct Printer {
    format: Format,
    is_quiet: bool,
}

impl Printer {
    pub(crate) fn new(format: Format, is_quiet: bool) -> Self {
        Self { format, is_quiet }
    }

    /// Prints one result: the value itself as JSON, or the table made of it.
    pub(crate) fn result<T: Serialize>(&self, value: &T, table: impl FnOnce(&T) -> String) -> io::Result<()> {
        match self.format {
            Format::Table => self.write(table(value).as_bytes()),
            Format::Json => self.line(value),
        }
    }

    /// Prints one result as [`result`](Self::result) does; when quiet, only the one thing in it that a script wants.
    pub(crate) fn result_or_core<T: Serialize>(
        &self,
        value: &T,
        table: impl FnOnce(&T) -> String,
        core: impl FnOnce(&T) -> String,
    ) -> io::Result<()> {
        match (self.format, self.is_quiet) {
            (Format::Table, true) => self.write((core(value) + "\n").as_bytes()),
            _ => self.result(value, table),
        }
    }

    /// Prints a value as one JSON line.
    pub(crate) fn line<T: Serialize>(&self, value: &T) -> io::Result<()> {
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        self.write(&line)
    }

    /// Prints what tells people how to go on: not when quiet, and never between JSON lines.
    pub(crate) fn guide(&self, text: &str) -> io::Result<()> {
        if self.is_quiet || self.format == Format::Json {
            return Ok(());
        }
        self.write(text.as_bytes())
    }

    /// Writes to standard output, at once.
    pub(crate) fn write(&self, octets: &[u8]) -> io::Result<()> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(octets)?;
        stdout.flush()
    }

    /// Tells of something odd on standard error, where it does not get into a script's input.
    pub(crate) fn warning(&self, text: &str) {
        eprintln!("warning: {text}");
    }

    /// Whether results may be coloured.
    pub(crate) fn has_colours(&self) -> bool {
        self.format == Format::Table
            && io::stdout().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
    }

    /// Shows what goes on while something takes long; only on a terminal, on standard error.
    pub(crate) fn spinner(&self, message: impl Into<String>) -> ProgressBar {
        if self.is_quiet || !io::stderr().is_terminal() {
            return ProgressBar::hidden();
        }
        let spinner = ProgressBar::new_spinner().with_message(message.into());
        spinner.set_style(ProgressStyle::default_spinner());
        spinner.enable_steady_tick(SPINNER_PERIOD);
        spinner
    }
}

/// Lays out names and values in two columns; an empty name continues the value above.
pub(crate) fn two_columns(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    rows.iter()
        .map(|(name, value)| format!("{name:width$}  {value}").trim_end().to_owned() + "\n")
        .collect()
}

/// Lays out rows under headings.
pub(crate) fn table<const N: usize>(headings: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let rows: Vec<[String; N]> = std::iter::once(headings.map(str::to_owned)).chain(rows).collect();
    let mut widths = [0; N];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned() + "\n"
    };
    rows.iter().map(line).collect()
}

const SPINNER_PERIOD: Duration = Duration::from_millis(120);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let text = two_columns(&[("Peer ID", "ab".into()), ("Successors", "cd".into()), ("", "ef".into())]);
        assert_eq!(text, "Peer ID     ab\nSuccessors  cd\n            ef\n");
    }

    #[test]
    fn rows_stand_under_their_headings() {
        let rows = [["alice".into(), "active".into()], ["zoë".into(), String::new()]];
        assert_eq!(table(["USER", "STATE"], rows), "USER   STATE\nalice  active\nzoë\n");
    }
}
