//! `init`, `join`, `bootstrap new` and `bootstrap restore`: a data folder and a configuration file for a peer of this host, or for a
//! bootstrap service.
//!
//! ```text
//! DIR/p2psip.toml          configuration: where everything is, and at which address others reach this host
//! DIR/peer/                what the components share (see `node::place`)
//! DIR/overlay, storage, sip-edge, bootstrap
//!                          data of the components, with the credentials of overlay and edge in them
//! DIR/off-line/            after `init`: the keys that rule the overlay, to be moved away
//! DIR/HOST.request         after `bootstrap new`: what the overlay's document is to say of the service
//! ```

mod address;
mod file;
mod init;
mod join;
mod new;
mod restore;
mod service;

pub(crate) use self::init::{Init, init};
pub(crate) use self::join::{Join, join};
pub(crate) use self::new::{New, new_service};
pub(crate) use self::restore::{Restore, restore};
