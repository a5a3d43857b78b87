//! The components of all peers as tasks: they end in order when asked, and one that ends by itself ends the process.

use std::convert::Infallible;
use std::fmt::Display;
use std::net::SocketAddr;
use std::time::Duration;

use runtime::{Monitor, admin};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::enroll::Renewal;
use crate::operator::Operator;

/// Runs components; [`Supervisor::stop`] ends them, the last group first.
#[derive(Debug, Default)]
pub(crate) struct Supervisor {
    groups: Vec<Group>,
    monitors: Vec<Monitor>,
}

#[derive(Debug)]
struct Group {
    name: String,
    stop: CancellationToken,
    tasks: JoinSet<Result<(), ComponentError>>,
}

/// A component that ended by itself.
#[derive(Debug, thiserror::Error)]
#[error("{component} ended: {reason}")]
pub(crate) struct ComponentError {
    component: String,
    reason: String,
}

/// A running component, whatever it is.
pub(crate) trait Component: Send + 'static {
    /// Why it ended.
    type Error: Display + Send;
    /// How long it may take to end.
    const GRACE: Duration = COMPONENT_TIME;
    /// Waits for its own end.
    fn join(&mut self) -> impl Future<Output = Result<(), Self::Error>> + Send;
    /// Ends it.
    fn shutdown(self, grace: Duration) -> impl Future<Output = Result<(), Self::Error>> + Send;
}

impl Supervisor {
    /// Takes a component over. All of one name are one group and end together.
    pub(crate) fn run<C: Component>(&mut self, name: &str, mut component: C) {
        self.reserve(name);
        let Some(group) = self.groups.iter_mut().find(|group| group.name == name) else {
            return;
        };
        let (name, stop) = (name.to_owned(), group.stop.clone());
        group.tasks.spawn(async move {
            let failed = |reason: String| ComponentError {
                component: name.clone(),
                reason,
            };
            let ended = tokio::select! {
                ended = component.join() => Some(ended),
                () = stop.cancelled() => None,
            };
            match ended {
                None => component
                    .shutdown(C::GRACE)
                    .await
                    .map_err(|error| failed(error.to_string())),
                Some(Ok(())) => Err(failed("for no reason that it told".to_owned())),
                Some(Err(error)) => Err(failed(error.to_string())),
            }
        });
    }

    /// Makes a group, so that those made after it end before it.
    pub(crate) fn reserve(&mut self, name: &str) {
        if self.groups.iter().all(|group| group.name != name) {
            self.groups.push(Group {
                name: name.to_owned(),
                stop: CancellationToken::new(),
                tasks: JoinSet::new(),
            });
        }
    }

    /// Opens the pages that show `monitor`, in a group of that name. The monitor is the first to learn that all is to end.
    ///
    /// # Errors
    /// When their address cannot be had.
    pub(crate) async fn pages(
        &mut self,
        name: &str,
        address: SocketAddr,
        monitor: &Monitor,
    ) -> Result<(), admin::BindError> {
        let pages = admin::Server::bind(address, monitor.clone()).await?;
        self.run(name, pages);
        self.monitors.push(monitor.clone());
        Ok(())
    }

    /// Waits for a component that ends by itself.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub(crate) async fn failure(&mut self) -> ComponentError {
        std::future::poll_fn(|context| {
            for group in &mut self.groups {
                if let std::task::Poll::Ready(Some(ended)) = group.tasks.poll_join_next(context) {
                    return std::task::Poll::Ready(error_of(&group.name, ended).unwrap_or_else(|| ComponentError {
                        component: group.name.clone(),
                        reason: "it was not asked to".to_owned(),
                    }));
                }
            }
            std::task::Poll::Pending
        })
        .await
    }

    /// Ends all components, group after group, and tells what failed on the way. Nothing is ready any more before the first ends.
    pub(crate) async fn stop(&mut self) -> Result<(), ComponentError> {
        for monitor in &self.monitors {
            monitor.stop();
        }
        let mut outcome = Ok(());
        while let Some(mut group) = self.groups.pop() {
            group.stop.cancel();
            while let Some(ended) = group.tasks.join_next().await {
                if let Some(error) = error_of(&group.name, ended) {
                    tracing::error!(%error, "component did not end well");
                    outcome = Err(error);
                }
            }
        }
        outcome
    }
}

fn error_of(name: &str, ended: Result<Result<(), ComponentError>, tokio::task::JoinError>) -> Option<ComponentError> {
    match ended {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(error) => Some(ComponentError {
            component: name.to_owned(),
            reason: error.to_string(),
        }),
    }
}

impl Component for storage::Server {
    type Error = storage::Error;

    async fn join(&mut self) -> Result<(), Self::Error> {
        Self::join(self).await
    }

    async fn shutdown(self, grace: Duration) -> Result<(), Self::Error> {
        Self::shutdown(self, grace).await
    }
}

impl Component for admin::Server {
    type Error = runtime::Failure;

    async fn join(&mut self) -> Result<(), Self::Error> {
        Self::join(self).await
    }

    async fn shutdown(self, grace: Duration) -> Result<(), Self::Error> {
        Self::shutdown(self, grace).await
    }
}

impl Component for overlay::Server {
    type Error = overlay::Error;

    async fn join(&mut self) -> Result<(), Self::Error> {
        Self::join(self).await
    }

    async fn shutdown(self, grace: Duration) -> Result<(), Self::Error> {
        Self::shutdown(self, grace).await
    }
}

impl Component for bootstrap::Server {
    type Error = runtime::Failure;

    async fn join(&mut self) -> Result<(), Self::Error> {
        Self::join(self).await
    }

    async fn shutdown(mut self, grace: Duration) -> Result<(), Self::Error> {
        Self::shutdown(&mut self, grace).await
    }
}

impl Component for Renewal {
    type Error = runtime::Failure;

    async fn join(&mut self) -> Result<(), Self::Error> {
        Self::join(self).await
    }

    async fn shutdown(self, grace: Duration) -> Result<(), Self::Error> {
        Self::shutdown(self, grace).await
    }
}

impl Component for sip_edge::Server {
    type Error = sip_edge::Failure;
    const GRACE: Duration = TRANSACTION_TIME;

    async fn join(&mut self) -> Result<(), Self::Error> {
        Self::join(self).await
    }

    async fn shutdown(self, grace: Duration) -> Result<(), Self::Error> {
        Self::shutdown(self, grace).await;
        Ok(())
    }
}

impl Component for Operator {
    type Error = Infallible;

    async fn join(&mut self) -> Result<(), Infallible> {
        Self::join(self).await;
        Ok(())
    }

    async fn shutdown(self, _: Duration) -> Result<(), Infallible> {
        self.close().await;
        Ok(())
    }
}

/// How long a component has to end: an idle one needs none of it, one whose neighbour does not answer is cut then.
const COMPONENT_TIME: Duration = Duration::from_secs(5);
/// How long an edge has. RFC 3261 §17.1.1.2: no transaction waits longer, 64 times T1.
const TRANSACTION_TIME: Duration = Duration::from_secs(32);

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    struct Fake {
        name: &'static str,
        told: Arc<Mutex<Vec<&'static str>>>,
        ends: bool,
    }

    impl Component for Fake {
        type Error = String;

        async fn join(&mut self) -> Result<(), String> {
            if self.ends {
                Err("the disk is full".into())
            } else {
                std::future::pending().await
            }
        }

        async fn shutdown(self, _: Duration) -> Result<(), String> {
            self.told.lock().unwrap().push(self.name);
            Ok(())
        }
    }

    #[tokio::test]
    async fn the_last_group_ends_first() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut supervisor = Supervisor::default();
        supervisor.reserve("socket");
        for name in ["storage", "overlay", "edge", "socket", "storage"] {
            supervisor.run(
                name,
                Fake {
                    name,
                    told: Arc::clone(&told),
                    ends: false,
                },
            );
        }
        supervisor.stop().await.unwrap();
        assert_eq!(
            *told.lock().unwrap(),
            ["edge", "overlay", "storage", "storage", "socket"]
        );
    }

    /// Notes what the page says while it ends.
    struct Watched(Monitor, Arc<Mutex<Option<runtime::Readiness>>>);

    impl Component for Watched {
        type Error = Infallible;

        async fn join(&mut self) -> Result<(), Infallible> {
            std::future::pending().await
        }

        async fn shutdown(self, _: Duration) -> Result<(), Infallible> {
            *self.1.lock().unwrap() = Some(self.0.readiness());
            Ok(())
        }
    }

    #[tokio::test]
    async fn nothing_is_ready_when_the_first_component_ends() {
        let (monitor, mut supervisor) = (Monitor::new(), Supervisor::default());
        let address = "127.0.0.1:0".parse().unwrap();
        supervisor.pages("pages", address, &monitor).await.unwrap();
        monitor.component("edge", "").tell(runtime::State::ready());
        assert!(monitor.readiness().ready);
        let seen = Arc::default();
        supervisor.run("edge", Watched(monitor, Arc::clone(&seen)));
        supervisor.stop().await.unwrap();
        let seen = seen.lock().unwrap().take().unwrap();
        assert_eq!((seen.ready, seen.reasons), (false, vec!["stopping".to_owned()]));
    }

    #[tokio::test]
    async fn a_component_that_ends_by_itself_is_named() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let mut supervisor = Supervisor::default();
        supervisor.run(
            "overlay",
            Fake {
                name: "overlay",
                told: Arc::clone(&told),
                ends: false,
            },
        );
        supervisor.run(
            "storage",
            Fake {
                name: "storage",
                told,
                ends: true,
            },
        );
        assert_eq!(
            supervisor.failure().await.to_string(),
            "storage ended: the disk is full"
        );
    }
}
