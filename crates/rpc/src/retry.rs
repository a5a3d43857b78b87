//! Calling again. Only UNAVAILABLE says that no answer came; and only a method whose contract calls it idempotent may then
//! be called again.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use tonic::{Code, Status};

use crate::Deadline;

/// Growing pauses: each doubles up to a cap, and is then cut by up to a half at random, so that callers that lost the same
/// server do not return together.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    first: Duration,
    cap: Duration,
}

impl Backoff {
    /// Pauses between `first` and `cap`.
    #[must_use]
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self {
            next: first,
            first,
            cap,
        }
    }

    /// The pauses between tries of one call: 50 ms to 1 s.
    #[must_use]
    pub fn of_calls() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(1))
    }

    /// The pauses between tries to open a long-lived stream: 100 ms to 2 s.
    #[must_use]
    pub fn of_streams() -> Self {
        Self::new(Duration::from_millis(100), Duration::from_secs(2))
    }

    /// Returns the next pause.
    #[must_use]
    pub fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = whole.saturating_mul(2).min(self.cap);
        // Keys of a RandomState differ each time: enough for a jitter, and no random source to pass around.
        let share = u32::from(u16::try_from(RandomState::new().hash_one(0_u8) & 0xffff).unwrap_or(u16::MAX));
        whole / 2 + (whole / 2).mul_f64(f64::from(share) / f64::from(u16::MAX))
    }

    /// Begins anew after a success.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

/// Calls an idempotent method until it is answered, refused, or `deadline` has passed. Each try gets the deadline and makes
/// its own request of it: `retry(deadline, |deadline| client.call(deadline.pass(message, ..)))`.
///
/// # Errors
/// The status of the last try; DEADLINE_EXCEEDED never hides it.
///
/// # Cancel safety
/// Dropping it drops the call in progress, which may have been carried out.
pub async fn retry<T, F>(deadline: Deadline, mut call: impl FnMut(Deadline) -> F) -> Result<T, Status>
where
    F: Future<Output = Result<T, Status>>,
{
    let mut backoff = Backoff::of_calls();
    loop {
        let status = match call(deadline).await {
            Err(status) if status.code() == Code::Unavailable => status,
            outcome => return outcome,
        };
        let pause = backoff.pause();
        if deadline.remaining().is_some_and(|remaining| remaining <= pause) {
            return Err(status);
        }
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn pauses_double_up_to_the_cap() {
        let mut backoff = Backoff::of_calls();
        for whole in [50, 100, 200, 400, 800, 1000, 1000] {
            let pause = backoff.pause().as_millis();
            assert!(pause >= whole / 2 && pause <= whole, "{pause} of {whole}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn unavailable_is_tried_again() {
        let tries = Cell::new(0);
        let outcome = retry(Deadline::after(Duration::from_secs(5)), |_| {
            tries.set(tries.get() + 1);
            let outcome = if tries.get() < 4 {
                Err(Status::unavailable("gone"))
            } else {
                Ok(tries.get())
            };
            async move { outcome }
        });
        assert_eq!(outcome.await.unwrap(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_final() {
        let tries = Cell::new(0);
        let outcome: Result<(), _> = retry(Deadline::after(Duration::from_secs(5)), |_| {
            tries.set(tries.get() + 1);
            async { Err(Status::aborted("newer")) }
        })
        .await;
        assert_eq!(outcome.unwrap_err().code(), Code::Aborted);
        assert_eq!(tries.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn tries_end_with_the_deadline() {
        let began = tokio::time::Instant::now();
        let outcome: Result<(), _> = retry(Deadline::after(Duration::from_secs(3)), |_| async {
            Err(Status::unavailable("gone"))
        })
        .await;
        assert_eq!(outcome.unwrap_err().code(), Code::Unavailable);
        assert!(began.elapsed() <= Duration::from_secs(3));
    }
}
