//! `wire decode`: hex lines in, JSON lines out.

use std::io::{BufRead, Read as _};

use runtime::ExitCode;
use wire::inspect::{Outcome, decode_line};

use crate::failure::Failure;
use crate::output::Printer;

/// Decodes line after line; the code says whether all were good.
pub(crate) fn run(mut input: impl BufRead, printer: &Printer) -> Result<ExitCode, Failure> {
    let mut code = ExitCode::Ok;
    loop {
        let mut line = Vec::new();
        let read = input.by_ref().take(MAX_LINE).read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(code);
        }
        // Octets that are no UTF-8 are no hex either: the line is reported as bad, at its place.
        let Some(inspection) = decode_line(&String::from_utf8_lossy(&line)) else {
            continue;
        };
        if matches!(inspection.outcome, Outcome::Bad { .. }) {
            code = ExitCode::Negative;
        }
        printer.line(&inspection)?;
    }
}

/// Twice the largest message of any overlay that we would take part in, in hex; a longer line is read in pieces, which are
/// all bad.
const MAX_LINE: u64 = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::Format;

    #[test]
    fn one_bad_line_makes_the_outcome_negative() {
        let printer = Printer::new(Format::Json, false);
        let decode = |text: &str| run(text.as_bytes(), &printer).unwrap();
        assert_eq!(decode("\n# nothing\n"), ExitCode::Ok);
        assert_eq!(decode("ack 81000000050000001f\n"), ExitCode::Ok);
        assert_eq!(decode("ack 81000000050000001f\nshort 8100\n"), ExitCode::Negative);
    }
}
