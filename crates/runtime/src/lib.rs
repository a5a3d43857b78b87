//! What every process needs: configuration, telemetry, health, signals, supervised tasks, private files.

pub mod addresses;
pub mod config;
mod exit;
mod health;
pub mod list;
pub mod private;
pub mod signal;
mod tasks;
pub mod telemetry;
pub mod units;

pub use exit::ExitCode;
pub use health::{Health, Reporter, State};
pub use tasks::{Failure, Tasks};
pub use telemetry::Pii;
