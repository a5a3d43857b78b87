//! Liveness by asking: a loop that answers turns, and one that is stuck does not.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

/// The ear of one loop. [`beat`](Self::beat) is a branch of its `select!`, near the front: a busy loop turns too.
#[derive(Debug)]
pub struct Pulse(mpsc::Receiver<oneshot::Sender<()>>);

/// The loops of a process; clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pulses(Arc<Mutex<Vec<Loop>>>);

#[derive(Clone, Debug)]
struct Loop {
    name: String,
    ask: mpsc::Sender<oneshot::Sender<()>>,
}

impl Pulse {
    /// Answers the next question whether the loop turns.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn beat(&mut self) {
        match self.0.recv().await {
            // Whoever asked may have given up meanwhile.
            Some(answer) => drop(answer.send(())),
            None => std::future::pending().await,
        }
    }
}

impl Pulses {
    /// Adds a loop. It counts until its [`Pulse`] is dropped: what ended does not hang.
    pub(crate) fn add(&self, name: String) -> Pulse {
        let (ask, asked) = mpsc::channel(QUESTIONS);
        self.loops().push(Loop { name, ask });
        Pulse(asked)
    }

    /// Names the loops that do not answer.
    pub(crate) async fn silent(&self) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        let loops = {
            let mut loops = self.loops();
            loops.retain(|each| !each.ask.is_closed());
            loops.clone()
        };
        // All are asked before any answer is waited for, so that one that hangs does not make the others late.
        let asked: Vec<_> = loops.into_iter().map(Loop::question).collect();
        let mut silent = Vec::new();
        for (name, answer) in asked {
            let is_there = match answer {
                Some(answer) => tokio::time::timeout_at(deadline, answer).await.is_ok(),
                None => false,
            };
            if !is_there {
                silent.push(name);
            }
        }
        silent
    }

    fn loops(&self) -> MutexGuard<'_, Vec<Loop>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Loop {
    /// Asks; there is nothing to wait for if earlier questions still are unanswered.
    fn question(self) -> (String, Option<oneshot::Receiver<()>>) {
        let (answer, answered) = oneshot::channel();
        let is_asked = !matches!(self.ask.try_send(answer), Err(mpsc::error::TrySendError::Full(_)));
        (self.name, is_asked.then_some(answered))
    }
}

/// A turn takes milliseconds, and on a busy machine with a slow disk perhaps a second.
const PATIENCE: Duration = Duration::from_secs(5);

/// Probes that ask at the same time; when they all wait, the loop is stuck.
const QUESTIONS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(mut pulse: Pulse) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move {
            loop {
                pulse.beat().await;
            }
        })
    }

    #[tokio::test(start_paused = true)]
    async fn a_loop_that_hangs_is_named_and_no_other() {
        let pulses = Pulses::default();
        let stuck = pulses.add("storage".into());
        let turning = turn(pulses.add("overlay".into()));
        for _ in 0..=QUESTIONS {
            assert_eq!(pulses.silent().await, ["storage"]);
        }
        let unstuck = turn(stuck);
        while !pulses.silent().await.is_empty() {
            // Old questions are answered first.
            tokio::task::yield_now().await;
        }
        turning.abort();
        unstuck.abort();
    }

    #[tokio::test]
    async fn a_loop_that_has_ended_does_not_hang() {
        let pulses = Pulses::default();
        drop(pulses.add("storage".into()));
        assert!(pulses.silent().await.is_empty());
    }
}
