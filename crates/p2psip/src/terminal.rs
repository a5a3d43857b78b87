//! Questions to the person at the terminal.

use std::io::{self, BufRead, IsTerminal as _, Read as _, Write as _};

use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

/// Whether there is somebody to ask.
pub(crate) fn is_there() -> bool {
    io::stdin().is_terminal()
}

/// Asks for a line that nobody can read over a shoulder.
///
/// # Errors
/// When the terminal fails, or the answer is given up with Ctrl-C or Ctrl-D.
pub(crate) fn hidden_line(question: &str) -> io::Result<String> {
    // Silent before the question is there, so that a fast typist is not seen either.
    let silent = Silent::new()?;
    eprint!("{question}: ");
    io::stderr().flush()?;
    let line = line_of(io::stdin().lock());
    drop(silent);
    eprintln!();
    line
}

/// Asks whether to go on; only a clear yes is one.
///
/// # Errors
/// When the terminal fails.
pub(crate) fn confirm(question: &str) -> io::Result<bool> {
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut line = String::new();
    io::stdin().lock().take(LONGEST).read_line(&mut line)?;
    Ok(matches!(line.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// The terminal while it shows nothing and interprets nothing, Ctrl-C included: so it is always set back.
struct Silent {
    before: Termios,
}

impl Silent {
    fn new() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        cfmakeraw(&mut silent);
        tcsetattr(io::stdin(), SetArg::TCSANOW, &silent)?;
        Ok(Self { before })
    }
}

impl Drop for Silent {
    fn drop(&mut self) {
        // A terminal that is gone needs no setting back.
        let _ = tcsetattr(io::stdin(), SetArg::TCSANOW, &self.before);
    }
}

/// Reads what is typed up to Enter, with the keys for corrections.
fn line_of(input: impl BufRead) -> io::Result<String> {
    let mut line = Vec::new();
    for octet in input.take(LONGEST).bytes() {
        match octet? {
            b'\r' | b'\n' => {
                return String::from_utf8(line).map_err(|_| io::Error::other("what was typed is not UTF-8"));
            }
            CTRL_C => return Err(io::Error::new(io::ErrorKind::Interrupted, "given up")),
            CTRL_D if line.is_empty() => break,
            CTRL_U => line.clear(),
            // A character is a first octet and those that continue it.
            BACKSPACE | DELETE => while line.pop().is_some_and(|octet| octet & 0xc0 == 0x80) {},
            octet => line.push(octet),
        }
    }
    Err(io::Error::new(io::ErrorKind::UnexpectedEof, "given up"))
}

const CTRL_C: u8 = 3;
const CTRL_D: u8 = 4;
const BACKSPACE: u8 = 8;
const CTRL_U: u8 = 21;
const DELETE: u8 = 127;
/// Octets of an answer; somebody leans on the keyboard beyond this.
const LONGEST: u64 = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_can_be_corrected() {
        let typed = |text: &str| line_of(text.as_bytes()).unwrap();
        assert_eq!(typed("secret\rrest"), "secret");
        assert_eq!(typed("secred\x7ft\n"), "secret");
        assert_eq!(typed("né\x08e\r"), "ne");
        assert_eq!(typed("\x08wrong\x15right\r"), "right");
    }

    #[test]
    fn a_line_can_be_given_up() {
        let kind = |text: &str| line_of(text.as_bytes()).unwrap_err().kind();
        assert_eq!(kind("sec\x03ret\r"), io::ErrorKind::Interrupted);
        assert_eq!(kind("\x04"), io::ErrorKind::UnexpectedEof);
        assert_eq!(kind("no end"), io::ErrorKind::UnexpectedEof);
    }
}
