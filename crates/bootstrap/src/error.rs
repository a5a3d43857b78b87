//! What can go wrong: at the start, and in one operation.

use std::path::PathBuf;

use tonic::Status;

use crate::backup::BackupError;
use crate::state::SERVICE;

/// Why a new overlay was not made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    /// The folder holds an overlay already.
    #[error("folder {folder} already holds the bootstrap service of overlay {overlay}: choose another folder")]
    Exists {
        /// The folder.
        folder: PathBuf,
        /// The overlay there.
        overlay: String,
    },
    /// The off-line keys cannot be written; no overlay was made.
    #[error("cannot write the off-line keys to folder {folder}: {source}")]
    OffLine {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The state cannot be opened, read or written.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A key or certificate could not be made.
    #[error("cannot make the overlay's keys and certificates: {0}")]
    Issue(#[from] identity::issue::IssueError),
    /// The key for backups could not be made or written.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The overlay's name or a bootstrap node cannot stand in a document.
    #[error("cannot write the configuration document: {0}")]
    Document(#[from] overlay_config::Error),
}

/// Why no service was restored. Nothing is left of the attempt.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is something in the folder.
    #[error("folder {folder} holds something already: restore into a new folder (--data), or move this one away")]
    Exists {
        /// The folder.
        folder: PathBuf,
    },
    /// A file of the off-line folder cannot be read.
    #[error("{path} cannot be read: {source}; --off-line names the folder that `p2psip init` wrote and you moved away")]
    OffLine {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A file of the off-line folder is not what it should be.
    #[error("{path} cannot be used: {reason}")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// The backup cannot be opened.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// The backup is another overlay's.
    #[error("the backup is of overlay {backup}, the off-line folder of {off_line}")]
    OtherOverlay {
        /// That of the backup.
        backup: String,
        /// That of the off-line folder.
        off_line: String,
    },
    /// The state cannot be written.
    #[error("folder {folder} cannot be written: {source}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The service is there, and the off-line folder lacks the document that names it.
    #[error(
        "the service is restored, but {path} cannot be written: {source}; `p2psip` commands that change the document need the          one in {state}, served at /.well-known/reload-config"
    )]
    NotKept {
        /// The file.
        path: PathBuf,
        /// The folder of the service.
        state: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The new state cannot be opened or written.
    #[error(transparent)]
    Start(#[from] StartError),
    /// A key or certificate could not be made.
    #[error("cannot make the service's keys and certificates: {0}")]
    Issue(#[from] identity::issue::IssueError),
    /// The new service cannot stand in a document.
    #[error("cannot write the configuration document: {0}")]
    Document(#[from] overlay_config::Error),
}

/// Why the component cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder cannot be made private.
    #[error("cannot make folder {folder} private: {source}")]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The store is damaged. The service does not begin without it: the enrollment CA and all users would be others.
    #[error(
        "{0}; it holds the keys of the overlay and its users, so nothing is begun without it: move the folder away, and let \
         `p2psip bootstrap restore` make a new service from the off-line keys and a backup.sealed of any peer"
    )]
    Unreadable(kv::OpenError),
    /// The store cannot be opened.
    #[error(transparent)]
    Open(kv::OpenError),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] kv::ReadError),
    /// The store cannot be written.
    #[error(transparent)]
    Write(#[from] kv::FlushError),
    /// An address for HTTPS cannot be listened at.
    #[error("cannot listen for HTTPS at {address} (key bootstrap.https_bind): {source}")]
    Https {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// The certificate for HTTPS cannot be made or used.
    #[error("no certificate for HTTPS for the names {names:?} (key bootstrap.names): {reason}")]
    Certificate {
        /// The names.
        names: Vec<String>,
        /// Why not.
        reason: String,
    },
    /// Certificates cannot live for so long, or for so short.
    #[error("certificates cannot live for {wanted:?} (key bootstrap.certificate_lifetime): it is from 1m to 90d")]
    Lifetime {
        /// The configured value.
        wanted: std::time::Duration,
    },
    /// The public half of the key for backups is malformed.
    #[error(
        "{0:?} is no backup key (key bootstrap.backup_key): `p2psip bootstrap backup-key` prints it, 64 hexadecimal digits"
    )]
    BackupKey(String),
    /// A password file cannot be read.
    #[error("password file {path} of user {user} (key bootstrap.users): {source}")]
    PasswordFile {
        /// The user.
        user: String,
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A user of the configuration cannot be one.
    #[error("user {user} (key bootstrap.users): {reason}")]
    User {
        /// The user.
        user: String,
        /// Why not.
        reason: String,
    },
    /// A token of the configuration cannot be one.
    #[error("token {id} (key bootstrap.tokens): {reason}")]
    Token {
        /// Its id.
        id: String,
        /// Why not.
        reason: String,
    },
    /// No overlay was made here.
    #[error(
        "folder {folder} holds no bootstrap service: make an overlay first, or `p2psip bootstrap restore` a service"
    )]
    Empty {
        /// The folder.
        folder: PathBuf,
    },
    /// A later version has written the configuration document.
    #[error("cannot serve this overlay: {0}")]
    Document(overlay_config::Demand),
    /// A stored record cannot be read.
    #[error("stored {tree} {key:?} is damaged: {reason}; move the folder away, and `p2psip bootstrap restore` it")]
    Damaged {
        /// What sort of record.
        tree: &'static str,
        /// Its key.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl StartError {
    /// The record of the service itself is damaged.
    pub(crate) fn service(reason: impl std::fmt::Display) -> StartError {
        StartError::Damaged {
            tree: SERVICE.name(),
            key: "service".to_owned(),
            reason: reason.to_string(),
        }
    }
}

impl From<kv::OpenError> for StartError {
    fn from(error: kv::OpenError) -> StartError {
        match error {
            kv::OpenError::Damaged { .. } => StartError::Unreadable(error),
            error => StartError::Open(error),
        }
    }
}

/// Why an operation was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Refused {
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// The credential does not count. The text says no more than an attacker may know.
    #[error("the credential is unknown, used up, revoked or expired")]
    Credential,
    /// The operator lets no password enroll.
    #[error("passwords enroll nothing here (key bootstrap.password_enrollment)")]
    NoPasswords,
    /// The credential is good, and used more often than it may be within a time.
    #[error("the credential enrolls no more than {0}: try again later")]
    TooFast(&'static str),
    /// Too many wrong credentials.
    #[error("too many wrong credentials: try again in a minute")]
    TooManyFailures,
    /// The token does not cover what is asked for.
    #[error("the credential does not cover {0}")]
    NotCovered(&'static str),
    /// A node whose certificate does not count, or not any more.
    #[error("the certificate of node {0} does not count here (any more)")]
    Stranger(wire::NodeId),
    /// An edge that was left out of a rotation of the record key.
    #[error("edge {0} was left out and gets no record key any more: enroll it anew")]
    LeftOut(wire::NodeId),
    /// A rotation of the record key to another version goes on.
    #[error("a rotation of the record key to version {0} goes on")]
    Rotating(u32),
    /// Another service rotates the record key.
    #[error(
        "the record key is rotated at {0}, the first service of the document: type it there, or take that service out of the \
         document if it is gone"
    )]
    NotFirst(String),
    /// There is no such thing.
    #[error("there is no {0}")]
    NotFound(String),
    /// The id is taken by something else.
    #[error("token {0} exists with other contents")]
    Exists(String),
    /// Another version is current.
    #[error("version {current} is current")]
    Version {
        /// The current version.
        current: u64,
    },
    /// A table is full.
    #[error("there are {limit} {what} already")]
    Full {
        /// What there are too many of.
        what: &'static str,
        /// How many.
        limit: usize,
    },
    /// A key, certificate or seal could not be made.
    #[error("{0}")]
    Internal(String),
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Status {
        let text = refused.to_string();
        match refused {
            Refused::Invalid(_) => Status::invalid_argument(text),
            Refused::Credential | Refused::NoPasswords => Status::unauthenticated(text),
            Refused::TooManyFailures | Refused::TooFast(_) | Refused::Full { .. } => Status::resource_exhausted(text),
            Refused::Stranger(_) | Refused::LeftOut(_) => Status::permission_denied(text),
            Refused::NotCovered(_) | Refused::Rotating(_) | Refused::NotFirst(_) => Status::failed_precondition(text),
            Refused::NotFound(_) => Status::not_found(text),
            Refused::Exists(_) => Status::already_exists(text),
            Refused::Version { .. } => Status::aborted(text),
            Refused::Internal(_) => Status::internal(text),
        }
    }
}

impl From<usage::user::NodeName> for Refused {
    fn from(error: usage::user::NodeName) -> Refused {
        Refused::Invalid(error.to_string())
    }
}

impl From<identity::issue::IssueError> for Refused {
    fn from(error: identity::issue::IssueError) -> Refused {
        Refused::Internal(error.to_string())
    }
}

impl From<identity::KeyError> for Refused {
    fn from(error: identity::KeyError) -> Refused {
        Refused::Internal(error.to_string())
    }
}
