//! The certificates by which components know each other over TCP.
//!
//! Each peer has a certification authority of its own for them, a [`ComponentAuthority`], made with the peer. It issues each
//! component a [`ComponentIdentity`], whose one name is the component's [`Role`](crate::Role). Neither has to do with the
//! certificates of RELOAD: who breaks into a phone's edge gets no Node-ID, and who enrolls in the overlay gets no storage.

mod authority;
mod files;
mod identity;

use std::path::PathBuf;

pub use authority::ComponentAuthority;
pub use identity::ComponentIdentity;

/// Why there are no component certificates.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// Nothing is there: it is still to be made, or the path is wrong.
    #[error("{path} is not there: component certificates are made by `init` and `join`")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The system refused.
    #[error("component certificate {path}: {source}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A file holds something else than it should.
    #[error("{path} cannot be used: {reason}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The clock is wrong, or the certificate too old.
    #[error("certificate {path} is not valid now: set the clock right, or make new component certificates")]
    NotValidNow {
        /// The file.
        path: PathBuf,
    },
    /// A key or certificate could not be made.
    #[error("cannot make a component certificate: {0}")]
    Issue(#[from] rcgen::Error),
}
