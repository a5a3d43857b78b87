//! Secrets that are given on one line of a file or of standard input; never on the command line, which everybody on the machine
//! can read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Reads the one line that the file holds; `-` is standard input.
///
/// # Errors
/// Names the source.
pub fn line_of(path: &Path) -> Result<String, SecretError> {
    let (source, line) = match path == Path::new("-") {
        true => return line_of_input(),
        false => (path.display().to_string(), File::open(path).and_then(only_line)),
    };
    line.map_err(|reason| SecretError { source, reason })
}

/// Reads the one line that standard input holds.
///
/// # Errors
/// When it holds none, or more.
pub fn line_of_input() -> Result<String, SecretError> {
    only_line(io::stdin().lock()).map_err(|reason| SecretError {
        source: "standard input".to_owned(),
        reason,
    })
}

/// No secret can be read.
#[derive(Debug)]
pub struct SecretError {
    source: String,
    reason: io::Error,
}

impl std::error::Error for SecretError {}

impl std::fmt::Display for SecretError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.source, self.reason)
    }
}

/// The one line that `input` holds, without its end.
fn only_line(input: impl Read) -> io::Result<String> {
    let mut text = String::new();
    input.take(LONGEST).read_to_string(&mut text)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(io::Error::other("it is empty"));
    }
    if line.contains(['\n', '\r']) {
        return Err(io::Error::other("it has more than one line"));
    }
    Ok(line.to_owned())
}

/// In octets; more than any password that the bootstrap service takes, and than any token.
const LONGEST: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_line() {
        let line = |text: &str| only_line(text.as_bytes()).ok();
        assert_eq!(line("p2psip\n").as_deref(), Some("p2psip"));
        assert_eq!(line("p2psip\r\n").as_deref(), Some("p2psip"));
        // Spaces are part of it.
        assert_eq!(line(" p2 psip ").as_deref(), Some(" p2 psip "));
        assert_eq!(line("one\ntwo\n"), None);
        assert_eq!(line("\n"), None);
        assert_eq!(line(""), None);
    }

    #[test]
    fn a_source_that_cannot_be_read_is_named() {
        let error = line_of(Path::new("/nowhere/secret")).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere/secret: "), "{error}");
    }
}
