//! Where a user's password comes from: the terminal, a file, or standard input; never the command line, which everybody on the
//! machine can read.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use clap::Args;

use crate::failure::Failure;
use crate::terminal;

/// Where to read a password.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// Read the password from this file, which holds it on one line [default: ask on a terminal, else standard input]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Source {
    /// Gets the password of `user`; a terminal asks twice.
    pub(crate) fn read(&self, user: &str) -> Result<String, Failure> {
        let (name, line) = match &self.password_file {
            Some(path) => (path.display().to_string(), File::open(path).and_then(only_line)),
            None if terminal::is_there() => return asked(user),
            None => ("standard input".to_owned(), only_line(io::stdin().lock())),
        };
        line.map_err(|error| Failure::usage(format!("no password can be read from {name}: {error}")))
    }
}

fn asked(user: &str) -> Result<String, Failure> {
    let ask = |question: &str| {
        terminal::hidden_line(question).map_err(|error| Failure::negative(format!("no password was given: {error}")))
    };
    let password = ask(&format!("Password for {user}"))?;
    if password.is_empty() {
        return Err(Failure::usage("the password is empty"));
    }
    if ask("The same again")? != password {
        return Err(Failure::usage("the two passwords differ: nothing was changed"));
    }
    Ok(password)
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

/// In octets; more than any password that the bootstrap service takes.
const LONGEST: u64 = 4096;

#[cfg(test)]
mod tests {
    use runtime::ExitCode;

    use super::*;

    #[test]
    fn a_password_is_one_line() {
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
    fn a_file_that_is_missing_is_named() {
        let source = Source {
            password_file: Some("/nowhere/secret".into()),
        };
        let failure = source.read("alice").unwrap_err();
        assert_eq!(failure.code(), ExitCode::Usage);
        assert!(failure.to_string().contains("/nowhere/secret"), "{failure}");
    }
}
