//! Where a user's password comes from: the terminal, a file, or standard input; never the command line, which everybody on the
//! machine can read.

use std::path::PathBuf;

use clap::Args;
use runtime::secret;

use crate::failure::Failure;
use crate::terminal;

/// Where to read a password.
#[derive(Debug, Args)]
pub(crate) struct Source {
    /// Read the password from this file, which holds it on one line; - for standard input [default: ask on a terminal, else
    /// standard input]
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Source {
    /// Gets the password of `user`; a terminal asks twice.
    pub(crate) fn read(&self, user: &str) -> Result<String, Failure> {
        let line = match &self.password_file {
            Some(path) => secret::line_of(path),
            None if terminal::is_there() => return asked(user),
            None => secret::line_of_input(),
        };
        line.map_err(|error| Failure::usage(format!("no password can be read from {error}")))
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

#[cfg(test)]
mod tests {
    use runtime::ExitCode;

    use super::*;

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
