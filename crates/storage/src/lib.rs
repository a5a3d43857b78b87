//! The storage component: the Resources of one overlay peer, on a disk, behind a gRPC session.
//!
//! `storage-core` decides, `kv` keeps; this crate moves commands, batches and answers between them. One task owns the core
//! (`driver`), each session has a task that reads its commands (`session`), and generated types end in `proto`. The
//! newest session is the only one that may write: an [`Open`](rpc::proto::storage::v1::Open) ends the one before.
//!
//! Nothing is answered before it is flushed. A flush that fails ends the server, and with it the process: what the disk
//! holds is unknown from then on.

mod config;
mod driver;
mod metrics;
mod owner;
mod proto;
mod server;
mod service;
mod session;

pub use config::{Config, Durability};
pub use server::{Error, Server};
