//! REGISTERs that are not answered yet: they wait until the overlay has acknowledged this edge's entry for their AOR, then until their bindings are on
//! the disk.

use std::collections::BTreeMap;

use kv::{Batch, FlushError, Store};
use sip_core::aor::Aor;

use crate::entries::Job;

/// Who waits for the entry of which AOR; `I` names REGISTERs.
#[derive(Debug)]
pub(crate) struct Unstored<I>(BTreeMap<Aor, Vec<I>>);

/// Whom the outcome of a Store concerns.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Concerned<I> {
    /// The overlay knows of these phones now.
    Stored(Aor, Vec<I>),
    /// The overlay does not know of these phones, so they are not registered.
    Failed(Aor, Vec<I>),
    /// Nobody; who came while a tombstone was under way waits for the entry behind it.
    Nobody,
}

impl<I> Default for Unstored<I> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<I> Unstored<I> {
    /// Lets a REGISTER wait for the entry of `aor`.
    pub(crate) fn wait(&mut self, aor: Aor, id: I) {
        self.0.entry(aor).or_default().push(id);
    }

    /// Says whether a REGISTER waits for the entry of `aor`.
    pub(crate) fn is_awaited(&self, aor: &str) -> bool {
        self.0.keys().any(|waiting| waiting.as_str() == aor)
    }

    /// Takes the outcome of a Store; all who waited for it are answered together.
    pub(crate) fn settle(&mut self, job: &Job, is_stored: bool) -> Concerned<I> {
        let aor = Aor::parse(&job.aor).ok().filter(|_| job.is_registration);
        match aor.and_then(|aor| self.0.remove_entry(&aor)) {
            Some((aor, waiting)) if is_stored => Concerned::Stored(aor, waiting),
            Some((aor, waiting)) => Concerned::Failed(aor, waiting),
            None => Concerned::Nobody,
        }
    }
}

/// Writes all that the REGISTERs of an AOR have changed, and gives them back when it is on the disk.
///
/// # Errors
/// When nothing can be acknowledged any more.
///
/// # Cancel safety
/// As [`Store::apply`].
pub(crate) async fn flush<I>(store: Store, batch: Batch, waiting: Vec<I>) -> Result<Vec<I>, FlushError> {
    store.apply(batch).await?;
    Ok(waiting)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use bytes::Bytes;
    use futures_util::poll;
    use kv::Tree;

    use super::*;

    const TREE: Tree = Tree::new("test");

    fn alice() -> Aor {
        Aor::parse("alice@example.org").unwrap()
    }

    fn job(is_registration: bool) -> Job {
        Job {
            aor: alice().to_string(),
            storage_time: 1,
            is_registration,
            counts_ms: 0,
        }
    }

    fn waiting() -> Unstored<u8> {
        let mut unstored = Unstored::default();
        unstored.wait(alice(), 1);
        unstored.wait(alice(), 2);
        unstored
    }

    #[tokio::test]
    async fn phones_that_wait_for_one_store_are_answered_together_after_their_flush() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path(), kv::Options::default()).unwrap();
        let disk = Held::new(&store).await;

        let Concerned::Stored(_, waiting) = waiting().settle(&job(true), true) else {
            panic!("two wait for it");
        };
        let mut batch = Batch::new();
        batch.put(TREE, b"alice", &b"bindings"[..]);
        let mut answers = std::pin::pin!(flush(store.clone(), batch, waiting));
        assert!(poll!(&mut answers).is_pending());
        assert_eq!(store.get(TREE, b"alice").unwrap(), None);

        disk.release();
        assert_eq!(answers.await.unwrap(), [1, 2]);
        assert!(store.get(TREE, b"alice").unwrap().is_some());
    }

    #[test]
    fn a_store_that_failed_fails_all_who_waited_and_a_tombstone_nobody() {
        let mut unstored = waiting();
        assert_eq!(unstored.settle(&job(false), true), Concerned::Nobody);
        assert!(unstored.is_awaited("alice@example.org"));
        assert_eq!(
            unstored.settle(&job(true), false),
            Concerned::Failed(alice(), vec![1, 2])
        );
        assert_eq!(unstored.settle(&job(true), true), Concerned::Nobody);
    }

    /// A disk that waits: its writer is busy with a value that it cannot let go.
    struct Held(mpsc::Sender<()>);

    struct Value {
        is_reached: Option<tokio::sync::oneshot::Sender<()>>,
        is_released: std::sync::Mutex<mpsc::Receiver<()>>,
    }

    impl Held {
        async fn new(store: &Store) -> Self {
            let (release, is_released) = mpsc::channel();
            let (reached, is_reached) = tokio::sync::oneshot::channel();
            let value = Value {
                is_reached: Some(reached),
                is_released: is_released.into(),
            };
            let mut batch = Batch::new();
            batch.put(TREE, b"held", Bytes::from_owner(value));
            drop(store.submit(batch).await.unwrap());
            is_reached.await.unwrap();
            Self(release)
        }

        fn release(self) {
            self.0.send(()).unwrap();
        }
    }

    impl AsRef<[u8]> for Value {
        fn as_ref(&self) -> &[u8] {
            b"value"
        }
    }

    impl Drop for Value {
        fn drop(&mut self) {
            let _ = self.is_reached.take().map(|reached| reached.send(()));
            let _ = self.is_released.lock().map(|released| released.recv());
        }
    }
}
