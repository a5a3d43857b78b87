//! Component: enrollment of nodes, administration of users, and the signed configuration document.
//!
//! The bootstrap service holds the enrollment CA, the user signer's key and the record keys. It
//! stands outside every request path: what it makes (certificates, the document, sealed user
//! records) lives on in the overlay while it is down. The configuration root and the document's
//! signer are made with a new overlay ([`init`]) and kept off line by the caller.
//!
//! Inside, `core` decides and owns neither socket nor clock; `driver` is the one task that owns it,
//! writes each operation as one batch before it answers, and feeds the overlay from the outbox.

mod backup;
mod config;
mod core;
mod driver;
mod error;
mod exchange;
mod genesis;
mod grpc;
mod https;
mod newcomer;
mod off_line;
mod restore;
mod server;
mod state;
mod tokens;
mod users;

#[cfg(test)]
mod tests;

pub use backup::{BackupError, BackupKey, Header as BackupHeader, MAX_BACKUP, Sealed as SealedBackup, backup_file};
pub use config::{AnyNumber, Config, Lifetime, Token, TokenClass, User, Uses};
pub use error::{InitError, RestoreError, StartError};
pub use genesis::{Genesis, OffLine, init};
pub use newcomer::{Existing, Newcomer, make};
pub use restore::{Restore, restore};
pub use server::Server;
