//! Truthful health: what a process says of itself, gathered from its components.

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::sync::watch;

/// The health of a process; clones share it.
#[derive(Clone, Debug)]
pub struct Health {
    process: watch::Sender<Process>,
}

#[derive(Debug, Default)]
struct Process {
    components: BTreeMap<&'static str, State>,
    is_stopping: bool,
}

impl Process {
    fn is_ready(&self) -> bool {
        !self.is_stopping && !self.components.is_empty() && self.components.values().all(|state| state.is_ready)
    }
}

/// The health of one component.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Whether it does its work for those who are in its care.
    pub is_serving: bool,
    /// Whether nothing is missing: a rolling restart waits for this.
    pub is_ready: bool,
    /// Why not, in plain words.
    pub reasons: Vec<String>,
    /// The place in the ring, which only the overlay knows.
    pub ring: Option<Ring>,
}

/// Where a peer stands in its ring.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Ring {
    /// Whether it is a peer of the ring.
    pub joined: bool,
    /// How many successors it knows.
    pub successors: usize,
    /// How many predecessors it knows.
    pub predecessors: usize,
    /// How many distinct peers its finger table has.
    pub fingers: usize,
}

impl State {
    /// Nothing is missing.
    #[must_use]
    pub fn ready() -> Self {
        Self {
            is_serving: true,
            is_ready: true,
            ..Self::default()
        }
    }

    /// It serves, but this is missing.
    #[must_use]
    pub fn lacking(reason: &impl ToString) -> Self {
        Self {
            is_ready: false,
            reasons: vec![reason.to_string()],
            ..Self::ready()
        }
    }

    /// It serves nobody, for this reason.
    #[must_use]
    pub fn down(reason: &str) -> Self {
        Self {
            reasons: vec![reason.into()],
            ..Self::default()
        }
    }
}

/// Tells the health of one component.
#[derive(Clone, Debug)]
pub(crate) struct Reporter {
    component: &'static str,
    health: Health,
}

impl Health {
    /// The health of a process without components.
    #[must_use]
    pub fn new() -> Self {
        Self {
            process: watch::Sender::default(),
        }
    }

    /// Adds a component; it is not ready until it says so.
    #[must_use]
    pub(crate) fn component(&self, component: &'static str) -> Reporter {
        let reporter = Reporter {
            component,
            health: self.clone(),
        };
        reporter.set(State::down("starting"));
        reporter
    }

    /// Notes that the process ends: it is not ready from now on, whatever its components say.
    pub(crate) fn stop(&self) {
        self.process.send_modify(|process| process.is_stopping = true);
    }

    /// Whether every component is ready and the process goes on. A process without any component is not ready.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.process.borrow().is_ready()
    }

    /// Why the process is not ready: as `component: reason`, or that it ends.
    #[must_use]
    pub fn reasons(&self) -> Vec<String> {
        let process = self.process.borrow();
        let stopping = process.is_stopping.then(|| "stopping".to_owned());
        let each = process.components.iter().filter(|(_, state)| !state.is_ready);
        let each = each.flat_map(|(name, state)| state.reasons.iter().map(move |reason| format!("{name}: {reason}")));
        stopping.into_iter().chain(each).collect()
    }

    /// What each component says.
    #[must_use]
    pub fn components(&self) -> BTreeMap<&'static str, State> {
        self.process.borrow().components.clone()
    }

    /// Waits until every component is ready.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn ready(&self) {
        let mut changes = self.process.subscribe();
        while !self.is_ready() {
            // This value holds a sender, so the channel does not close.
            let _ = changes.changed().await;
        }
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Reporter {
    /// Tells the component's health; only a change wakes anybody.
    pub(crate) fn set(&self, state: State) {
        self.health.process.send_if_modified(|Process { components, .. }| {
            let is_changed = components.get(self.component) != Some(&state);
            if is_changed {
                tracing::debug!(component = self.component, ready = state.is_ready, reasons = ?state.reasons, "health");
                components.insert(self.component, state);
            }
            is_changed
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ready_when_all_components_are() {
        let health = Health::new();
        assert!(!health.is_ready());
        let overlay = health.component("overlay");
        let storage = health.component("storage");
        overlay.set(State::ready());
        assert!(!health.is_ready());
        assert_eq!(health.reasons(), ["storage: starting"]);
        storage.set(State::ready());
        assert!(health.is_ready() && health.reasons().is_empty());
    }

    #[test]
    fn a_process_that_ends_is_not_ready_though_its_components_are() {
        let health = Health::new();
        health.component("overlay").set(State::ready());
        health.stop();
        assert!(!health.is_ready());
        assert_eq!(health.reasons(), ["stopping"]);
    }

    #[tokio::test]
    async fn waiting_ends_with_the_last_component() {
        let health = Health::new();
        let overlay = health.component("overlay");
        let waiting = tokio::spawn({
            let health = health.clone();
            async move { health.ready().await }
        });
        overlay.set(State {
            is_serving: true,
            is_ready: false,
            reasons: vec!["repairing".into()],
            ring: None,
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        overlay.set(State::ready());
        waiting.await.unwrap();
    }
}
