//! Tasks with an owner: none is left behind, and none ends unnoticed.

use std::collections::HashMap;
use std::time::Duration;

use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

/// The tasks of one component. Each runs until the component's stop signal; one that ends earlier ends the component.
#[derive(Debug, Default)]
pub struct Tasks {
    set: JoinSet<()>,
    names: HashMap<Id, &'static str>,
    stop: CancellationToken,
}

/// A task ended while it should have run.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// It returned.
    #[error("task \"{task}\" ended unexpectedly")]
    Ended {
        /// Its name.
        task: &'static str,
    },
    /// It panicked.
    #[error("task \"{task}\" panicked")]
    Panicked {
        /// Its name.
        task: &'static str,
    },
}

impl Tasks {
    /// An empty set with a stop signal of its own.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The signal at which tasks are to end.
    #[must_use]
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Starts a task in the current span.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.set.spawn(task.in_current_span());
        self.names.insert(handle.id(), name);
    }

    /// Waits for the end: all tasks done after the stop signal, or one ended before it. In the latter case the others are
    /// asked to stop; [`shutdown`](Self::shutdown) waits for them.
    ///
    /// # Errors
    /// The first task that failed.
    ///
    /// # Cancel safety
    /// Nothing is lost: call it again.
    pub async fn join(&mut self) -> Result<(), Failure> {
        while let Some(ended) = self.set.join_next_with_id().await {
            if let Some(failure) = self.judge(ended) {
                self.stop.cancel();
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Asks all tasks to stop, waits at most `grace`, and aborts the rest.
    ///
    /// # Errors
    /// A task that panicked on the way.
    ///
    /// # Cancel safety
    /// Dropping it aborts nothing; dropping the set aborts all.
    pub async fn shutdown(&mut self, grace: Duration) -> Result<(), Failure> {
        self.stop.cancel();
        let outcome = tokio::time::timeout(grace, self.join()).await;
        if outcome.is_err() {
            let mut late: Vec<_> = self.names.values().collect();
            late.sort_unstable();
            tracing::warn!(?late, ?grace, "tasks aborted at the end of the grace period");
        }
        self.set.shutdown().await;
        self.names.clear();
        outcome.unwrap_or(Ok(()))
    }

    fn judge(&mut self, ended: Result<(Id, ()), JoinError>) -> Option<Failure> {
        let (id, error) = match ended {
            Ok((id, ())) => (id, None),
            Err(error) => (error.id(), Some(error)),
        };
        let task = self.names.remove(&id).unwrap_or("unnamed");
        match error {
            Some(error) if error.is_panic() => Some(Failure::Panicked { task }),
            _ if self.stop.is_cancelled() => None,
            _ => Some(Failure::Ended { task }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn tasks_that_stop_when_asked_are_no_failure() {
        let mut tasks = Tasks::new();
        let stop = tasks.stop();
        tasks.spawn("driver", async move { stop.cancelled().await });
        tasks.shutdown(Duration::from_secs(5)).await.unwrap();
    }

    #[tokio::test]
    async fn an_early_end_is_a_failure_and_stops_the_others() {
        let mut tasks = Tasks::new();
        let stop = tasks.stop();
        tasks.spawn("other", async move { stop.cancelled().await });
        tasks.spawn("driver", async {});
        let failure = tasks.join().await.unwrap_err();
        assert_eq!(failure.to_string(), "task \"driver\" ended unexpectedly");
        tasks.join().await.unwrap();
    }

    #[tokio::test]
    async fn a_panic_is_a_failure() {
        let mut tasks = Tasks::new();
        tasks.spawn("driver", async { panic!("asked to") });
        assert!(matches!(tasks.join().await, Err(Failure::Panicked { task: "driver" })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_deaf_task_is_aborted_after_the_grace() {
        let mut tasks = Tasks::new();
        tasks.spawn("deaf", std::future::pending());
        tasks.shutdown(Duration::from_secs(1)).await.unwrap();
    }
}
