//! The cores' own events in the replay of a run, with simulated time and the peer that speaks.
//!
//! `RUST_LOG` chooses what is written, as in the program; without it nothing is, and runs cost nothing more.

use std::{cell::Cell, env, fmt, time::Duration};

use tracing_subscriber::{
    EnvFilter,
    fmt::{format::Writer, time::FormatTime},
};

thread_local! {
    static ELAPSED: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// Writes the cores' events to the standard error from now on, if `RUST_LOG` asks for any.
pub fn follow() {
    if env::var_os(EnvFilter::DEFAULT_ENV).is_none() {
        return;
    }
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::from_default_env())
        .with_timer(Simulated)
        .with_ansi(false)
        .with_writer(std::io::stderr);
    // A second test of the same process finds the subscriber of the first.
    drop(subscriber.try_init());
}

/// Sets the time that this thread's events carry.
pub(crate) fn set_elapsed(elapsed: Duration) {
    ELAPSED.set(elapsed);
}

struct Simulated;

impl FormatTime for Simulated {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        write!(writer, "{:?}", ELAPSED.get())
    }
}
