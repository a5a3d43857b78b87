//! A component on the direct wiring. A runtime of its own, on a thread of its own, stands for the process: while it is not
//! run nothing answers, and when it is dropped everything is gone at once.

use std::path::PathBuf;
use std::thread;

use rpc::Served;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::calls::PATIENCE;
use crate::{Component, Service};

/// A component that runs in this process.
pub(crate) struct InProcess {
    pub(crate) served: Served,
    commands: mpsc::Sender<Command>,
    /// Closed when the thread has come to its end.
    gone: oneshot::Receiver<()>,
}

enum Command {
    Stop,
    Resume,
    Kill,
    End(oneshot::Sender<anyhow::Result<()>>),
}

impl InProcess {
    /// Starts it.
    pub(crate) async fn start(service: Service, folder: PathBuf) -> Self {
        let (commands, mut inbox) = mpsc::channel(1);
        let (started, starting) = oneshot::channel();
        let (alive, gone) = oneshot::channel();
        thread::spawn(move || {
            // Dropped last of all.
            let _alive: oneshot::Sender<()> = alive;
            let runtime = Builder::new_current_thread().enable_all().build().unwrap();
            let component = runtime.block_on(Component::start(service, &folder)).unwrap();
            let _ = started.send(component.served());
            run(&runtime, component, &mut inbox);
        });
        let served = timeout(PATIENCE, starting).await.expect("it starts in time");
        Self {
            served: served.expect("it starts"),
            commands,
            gone,
        }
    }

    /// Drops all of it, wherever it stands.
    pub(crate) async fn kill(self) {
        self.tell(Command::Kill).await;
        let _ = timeout(PATIENCE, self.gone).await.expect("it is dropped in time");
    }

    /// Ends it in good order.
    pub(crate) async fn end(self) {
        let (done, ended) = oneshot::channel();
        self.tell(Command::End(done)).await;
        let ended = timeout(PATIENCE, ended).await.expect("it ends in time");
        ended.expect("it ends").expect("it ends well");
        let _ = timeout(PATIENCE, self.gone).await.expect("it is dropped in time");
    }

    /// Lets nothing of it run.
    pub(crate) async fn stop(&self) {
        self.tell(Command::Stop).await;
        // The queue holds one: there is room again when the thread has taken it.
        drop(self.commands.reserve().await.expect("it runs"));
    }

    /// Lets it go on.
    pub(crate) async fn resume(&self) {
        self.tell(Command::Resume).await;
    }

    async fn tell(&self, command: Command) {
        assert!(self.commands.send(command).await.is_ok(), "it has ended by itself");
    }
}

fn run(runtime: &Runtime, component: Component, inbox: &mut mpsc::Receiver<Command>) {
    loop {
        match runtime.block_on(inbox.recv()) {
            Some(Command::Stop) => match inbox.blocking_recv() {
                Some(Command::Resume) => {}
                _ => return,
            },
            Some(Command::End(done)) => {
                let _ = done.send(runtime.block_on(component.shutdown()));
                return;
            }
            Some(Command::Resume) => {}
            Some(Command::Kill) | None => return,
        }
    }
}
