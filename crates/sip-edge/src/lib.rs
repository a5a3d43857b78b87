//! Component: SIP edge proxy and registrar.
//!
//! To phones this is an ordinary registrar and proxy; to the overlay it is a client with a Node-ID of its own. One task, the `driver`, owns
//! sip-core's proxy and location table and decides; around it stand sockets (`transport`), the overlay peer (`home`), and the disk (`disk`). Calls
//! within one edge and between connected edges need nothing else.

mod attach;
mod config;
mod dialogs;
mod dials;
mod directory;
mod disk;
mod driver;
mod edges;
mod entries;
mod feed;
mod guess;
mod home;
mod hosts;
mod ladder;
mod listed;
mod metrics;
mod minter;
mod own;
mod random;
mod reach;
mod renewer;
mod requests;
mod server;
mod service;
mod start;
mod throttle;
mod transport;
mod unstored;
mod uptime;
mod users;

pub use config::{Algorithm, Config, Credentials};
pub use entries::RECORD_LOOKED_AT;
pub use renewer::Renewer;
pub use server::{BindError, Failure, Server};
