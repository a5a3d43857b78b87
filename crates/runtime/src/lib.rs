//! What every process needs: configuration, telemetry, health, metrics, signals, supervised tasks, private files.

pub mod addresses;
pub mod admin;
pub mod clock;
pub mod config;
pub mod descriptors;
mod exit;
mod gaps;
mod handshakes;
mod health;
pub mod list;
pub mod listen;
pub mod metrics;
mod monitor;
pub mod private;
mod pulse;
pub mod secret;
mod seldom;
pub mod signal;
mod tasks;
pub mod telemetry;
pub mod units;

pub use exit::ExitCode;
pub use gaps::{Gap, Gaps};
pub use handshakes::{Handshakes, site};
pub use health::{Health, Ring, State};
pub use monitor::{Component, Monitor, Readiness};
pub use pulse::Pulse;
pub use seldom::Seldom;
pub use tasks::{Failure, Tasks};
pub use telemetry::Pii;
