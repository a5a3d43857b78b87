//! The gRPC seam between components: one [`Channel`], one server stack ([`Served`]), and the contracts ([`proto`]).
//!
//! A component adds its generated services to a [`Served`] and gets [`Channel`]s to the components it calls. Whether a channel
//! leads into the same process ([`Channel::direct`]) or to a socket ([`Channel::connect`]) is decided where it is made. The
//! socket is a Unix socket or TCP with mutual TLS, by its [`Address`]; a server opens it as a [`Listener`]. The rules are the
//! same on all of them:
//!
//! - Every unary call has a [`Deadline`]: its own, or the channel's default. When it passes, the caller gets
//!   DEADLINE_EXCEEDED. Streams are opened with [`unbounded`] and end by their own rules.
//! - Dropping a call cancels its handler.
//! - A broken transport, at whatever point of a call, is UNAVAILABLE: no answer came, and the call may have been carried out.
//!   [`retry`] calls again.
//! - A handler that panics answers INTERNAL.
//! - The [`Caller`] is known from the connection, over TCP by its [`ComponentIdentity`]; one table says which [`Role`] may call which method.
//! - The W3C trace context travels with every call.

mod address;
mod attach;
mod body;
mod channel;
mod credentials;
mod deadline;
mod dial;
mod direct;
mod duplex;
mod http2;
mod listener;
mod other;
pub mod proto;
mod retry;
mod role;
mod served;
mod tcp;
mod tls;
mod trace;
mod unix;

pub use address::{Address, AddressError};
pub use attach::{NONCE_LENGTH, attach_contents};
pub use channel::{Channel, ConnectError};
pub use credentials::{ComponentAuthority, ComponentIdentity, CredentialsError};
pub use deadline::{Deadline, unbounded};
pub use duplex::Duplex;
pub use listener::{BindError, Listener};
pub use other::other_component;
pub use retry::{Backoff, retry};
pub use role::{Caller, Role, Roles};
pub use served::{Builder, Served};
pub use trace::{code_name, set_parent, traceparent};
