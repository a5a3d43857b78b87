//! What the process tells its caller when it ends.

/// The exit codes of the program, the same for each command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ExitCode {
    /// Done.
    Ok = 0,
    /// Done, with a negative result: not found, call failed.
    Negative = 1,
    /// Wrong usage or configuration.
    Usage = 2,
    /// It works, but not as it should.
    Degraded = 3,
    /// Credentials refused; also a certificate that is not valid now.
    Credentials = 4,
    /// The peer cannot be reached.
    Unreachable = 5,
    /// No answer in time.
    Timeout = 6,
    /// It cannot start here: a port in use, a folder that cannot be written.
    CannotStart = 7,
    /// A fault of the program itself.
    Internal = 70,
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        // Exact: the enum is a u8.
        Self::from(code as u8)
    }
}
