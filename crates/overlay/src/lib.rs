//! The overlay component: one peer of the ring, with its links, behind a gRPC service.
//!
//! `overlay-core` decides; this crate moves what it decides: bytes between sockets and the core (`network`), commands to
//! storage (`storage`), what is kept for the next start (`disk`), calls and attached edges (`service`, `edge`), documents and user records from the bootstrap
//! service (`feed`). One task owns the core (`driver`) and never waits for anything but its inputs; every queue around
//! it is bounded. Generated types end in `service`, `edge`, `view`, `storage` and `feed`.

mod addresses;
mod config;
mod disk;
mod documents;
mod driver;
mod edge;
mod feed;
mod metrics;
mod names;
mod network;
mod renewer;
mod server;
mod service;
mod storage;
mod trace;
mod view;

pub use config::{Config, Member, Upstreams};
pub use documents::Documents;
pub use renewer::Renewer;
pub use server::{Error, Server};
