//! The threads of a process: what it does is done when its future is, whatever the system still does for it.

use tokio::runtime::Builder;

use crate::failure::Failure;

/// Runs `work` to its end. A name that the system is still resolving then, on a thread that nothing can interrupt, is not waited for.
pub(crate) fn run<T>(mut builder: Builder, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| Failure::internal(anyhow::Error::new(error).context("cannot start the runtime")))?;
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use tokio::sync::oneshot;

    use super::*;

    #[test]
    fn a_thread_that_the_system_holds_does_not_hold_up_the_end() {
        let (release, held) = mpsc::channel::<()>();
        let outcome = run(Builder::new_multi_thread(), async {
            let (started, has_started) = oneshot::channel();
            tokio::task::spawn_blocking(move || {
                let _ = started.send(());
                held.recv()
            });
            has_started.await.map_err(Failure::internal)
        });
        // It would never come to this.
        outcome.unwrap();
        drop(release);
    }
}
