//! How a command ends when it does not end well: one message, one exit code.

use std::fmt;

use rpc::Role;
use runtime::ExitCode;
use tonic::{Code, Status};

/// Why a command failed, with the exit code that says so to scripts.
#[derive(Debug)]
pub(crate) struct Failure {
    code: ExitCode,
    error: anyhow::Error,
    /// Set when the peer that was asked does not serve the command: which component does.
    serves: Option<Role>,
}

impl Failure {
    /// A failure with a code of choice.
    pub(crate) fn new(code: ExitCode, error: impl Into<anyhow::Error>) -> Self {
        Self {
            code,
            error: error.into(),
            serves: None,
        }
    }

    /// A negative result: what was asked for is not there, or was not done.
    pub(crate) fn negative(message: impl fmt::Display) -> Self {
        Self::new(ExitCode::Negative, anyhow::anyhow!("{message}"))
    }

    /// A command that makes no sense as it was given.
    pub(crate) fn usage(message: impl fmt::Display) -> Self {
        Self::new(ExitCode::Usage, anyhow::anyhow!("{message}"))
    }

    /// Nothing can run on this machine as asked: a port in use, a folder that cannot be written.
    pub(crate) fn cannot_start(error: impl Into<anyhow::Error>) -> Self {
        Self::new(ExitCode::CannotStart, error)
    }

    /// A fault of the program.
    pub(crate) fn internal(error: impl Into<anyhow::Error>) -> Self {
        Self::new(ExitCode::Internal, error)
    }

    /// What the seam said about a call to `peer`.
    pub(crate) fn of_status(status: &Status, peer: &str) -> Self {
        let code = match status.code() {
            Code::Unavailable => ExitCode::Unreachable,
            Code::DeadlineExceeded => ExitCode::Timeout,
            Code::Unauthenticated | Code::PermissionDenied => ExitCode::Credentials,
            Code::InvalidArgument | Code::Unimplemented => ExitCode::Usage,
            Code::NotFound | Code::AlreadyExists | Code::Aborted | Code::FailedPrecondition => ExitCode::Negative,
            Code::ResourceExhausted => ExitCode::Degraded,
            _ => ExitCode::Internal,
        };
        let what = match status.code() {
            Code::Unavailable => "cannot be reached",
            Code::DeadlineExceeded => "did not answer in time",
            Code::Unimplemented => "does not serve this command",
            _ => "refused",
        };
        Self::new(code, anyhow::anyhow!("peer {peer} {what}: {}", reason(status)))
    }

    /// The same, about a command that the component `serves` answers. If the peer is none, the failure says which one it takes.
    pub(crate) fn of_call(status: &Status, peer: &str, serves: Role) -> Self {
        let is_other = status.code() == Code::Unimplemented || rpc::other_component(status).is_some();
        match is_other {
            true => Self::not_served(serves, format!("peer {peer} does not serve this command")),
            false => Self::of_status(status, peer),
        }
    }

    /// A command that another component than the one asked serves.
    pub(crate) fn not_served(serves: Role, message: impl fmt::Display) -> Self {
        Self {
            serves: Some(serves),
            ..Self::usage(message)
        }
    }

    /// The component that serves the command, if the one that was asked does not.
    pub(crate) fn serves(&self) -> Option<Role> {
        self.serves
    }

    /// The exit code.
    pub(crate) fn code(&self) -> ExitCode {
        self.code
    }

    /// Whether the reader of our output went away.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        let io = self.error.downcast_ref::<std::io::Error>();
        io.is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    }
}

/// Why a call failed. tonic gives some refusals no text: their code says it then, so that no message ends behind a colon.
pub(crate) fn reason(status: &Status) -> &str {
    match status.message() {
        "" => rpc::code_name(status.code()),
        message => message,
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The whole chain on one line; many errors name their cause themselves.
        let mut text = self.error.to_string();
        for cause in self.error.chain().skip(1).map(ToString::to_string) {
            if !text.contains(&cause) {
                text = format!("{text}: {cause}");
            }
        }
        f.write_str(&text)
    }
}

/// A storage that does not start.
impl From<storage::Error> for Failure {
    fn from(error: storage::Error) -> Self {
        match error {
            storage::Error::Panicked => Self::internal(error),
            other => Self::cannot_start(other),
        }
    }
}

/// An overlay that does not start.
impl From<overlay::Error> for Failure {
    fn from(error: overlay::Error) -> Self {
        match error {
            overlay::Error::Link(_) => Self::new(ExitCode::Credentials, error),
            overlay::Error::Document(_) => Self::new(ExitCode::Usage, error),
            overlay::Error::Random(_) | overlay::Error::Panicked | overlay::Error::Task(_) => Self::internal(error),
            other => Self::cannot_start(other),
        }
    }
}

/// An edge that does not start.
impl From<sip_edge::BindError> for Failure {
    fn from(error: sip_edge::BindError) -> Self {
        match error {
            sip_edge::BindError::Link(_) => Self::new(ExitCode::Credentials, error),
            other => Self::cannot_start(other),
        }
    }
}

/// A bootstrap service that does not start.
impl From<bootstrap::StartError> for Failure {
    fn from(error: bootstrap::StartError) -> Self {
        match error {
            bootstrap::StartError::Document(_) => Self::new(ExitCode::Usage, error),
            other => Self::cannot_start(other),
        }
    }
}

/// Output that cannot be written.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::internal(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_is_told_once() {
        let cause = std::io::Error::other("the disk is full");
        let text = |error: anyhow::Error| Failure::internal(error).to_string();
        assert_eq!(
            text(anyhow::Error::new(cause).context("peer 2")),
            "peer 2: the disk is full"
        );
        let cause = std::io::Error::other("the disk is full");
        assert_eq!(
            text(anyhow::Error::new(cause).context("peer 2 (the disk is full)")),
            "peer 2 (the disk is full)"
        );
    }

    #[test]
    fn what_the_seam_says_becomes_an_exit_code() {
        let code = |status: Status| Failure::of_status(&status, "unix:/x").code();
        assert_eq!(code(Status::unavailable("refused")), ExitCode::Unreachable);
        assert_eq!(code(Status::deadline_exceeded("late")), ExitCode::Timeout);
        assert_eq!(code(Status::internal("panic")), ExitCode::Internal);
        assert_eq!(code(Status::not_found("there is no token x")), ExitCode::Negative);
        let text = Failure::of_status(&Status::unavailable("no such file"), "unix:/x").to_string();
        assert_eq!(text, "peer unix:/x cannot be reached: no such file");
    }

    #[test]
    fn no_message_ends_in_the_middle_of_a_sentence() {
        for code in (0..=16).map(Code::from) {
            let text = Failure::of_status(&Status::new(code, ""), "unix:/x").to_string();
            assert!(text.ends_with(|last: char| last.is_alphanumeric()), "{code:?}: {text}");
        }
    }

    #[test]
    fn a_peer_without_the_component_is_told_from_one_that_refuses() {
        let serves = |status| Failure::of_call(&status, "unix:/x", Role::Bootstrap).serves();
        assert_eq!(serves(Status::unimplemented("")), Some(Role::Bootstrap));
        assert_eq!(serves(Status::not_found("there is no token x")), None);
        assert_eq!(serves(Status::unavailable("no such file")), None);
    }
}
