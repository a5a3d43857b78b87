//! The door of the store: what it keeps, what it refuses.

use std::{
    io::{BufRead, BufReader},
    process::{Command, Stdio},
};

use bytes::Bytes;
use p2psip_kv::{self as kv, Batch, Durability, OpenError, Options, OwnerError, Store, Tree};

const LEFT: Tree = Tree::new("left");
const RIGHT: Tree = Tree::new("right");

#[tokio::test]
async fn what_was_applied_is_there_after_reopening() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let mut batch = Batch::new();
    batch.put(LEFT, b"a", &b"1"[..]);
    batch.put(LEFT, b"b", &b"2"[..]);
    batch.put(RIGHT, b"a", &b"3"[..]);
    store.apply(batch).await.unwrap();
    let mut batch = Batch::new();
    batch.delete(LEFT, b"b");
    store.apply(batch).await.unwrap();
    drop(store);

    let store = open(&folder);
    assert_eq!(store.get(LEFT, b"a").unwrap(), Some(Bytes::from_static(b"1")));
    assert_eq!(store.get(LEFT, b"b").unwrap(), None);
    assert_eq!(store.get(RIGHT, b"a").unwrap(), Some(Bytes::from_static(b"3")));
}

#[tokio::test]
async fn trees_are_apart_and_in_order() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let mut batch = Batch::new();
    for key in [b"b1", b"a1", b"b2"] {
        batch.put(LEFT, key, &b""[..]);
    }
    batch.put(RIGHT, b"b3", &b""[..]);
    store.apply(batch).await.unwrap();

    let keys = |entries: kv::Entries| entries.map(|entry| entry.unwrap().0).collect::<Vec<_>>();
    assert_eq!(keys(store.iter(LEFT)), ["a1", "b1", "b2"]);
    assert_eq!(keys(store.prefix(LEFT, b"b")), ["b1", "b2"]);
    assert_eq!(keys(store.after(LEFT, b"b1")), ["b2"]);
    assert_eq!(keys(store.after(RIGHT, b"b3")), [""; 0]);
}

#[tokio::test]
async fn many_writers_are_all_answered() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let writers: Vec<_> = (0..200_u32)
        .map(|n| {
            let store = store.clone();
            tokio::spawn(async move {
                let mut batch = Batch::new();
                batch.put(LEFT, &n.to_be_bytes(), &b"x"[..]);
                store.apply(batch).await
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    assert_eq!(store.iter(LEFT).count(), 200);
}

#[tokio::test]
async fn the_owner_is_for_ever() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.claim([1; 16]).await.unwrap();
    drop(store);
    let store = open(&folder);
    store.claim([1; 16]).await.unwrap();
    let refused = store.claim([2; 16]).await.unwrap_err();
    assert!(matches!(refused, OwnerError::Foreign { .. }));
    assert!(refused.to_string().contains(&"01".repeat(16)), "{refused}");
}

#[test]
fn a_folder_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let _store = open(&folder);
    let refused = Store::open(folder.path(), Options::default()).unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let refused = Store::open(file.join("data"), Options::default()).unwrap_err();
    assert!(matches!(refused, OpenError::Folder { .. }), "{refused}");
}

#[test]
fn a_newer_format_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(&folder));
    let database = sled::open(folder.path()).unwrap();
    database.insert(b"kv\0format", &7_u32.to_be_bytes()).unwrap();
    database.flush().unwrap();
    drop(database);
    let refused = Store::open(folder.path(), Options::default()).unwrap_err();
    assert!(
        matches!(refused, OpenError::Newer { found: 7, known: 1, .. }),
        "{refused}"
    );
}

/// A child process writes the same number to both trees, again and again, and says each number that was acknowledged;
/// it is killed in the middle of it.
#[test]
fn a_killed_process_loses_nothing_acknowledged_and_no_half_batch_stays() {
    let folder = tempfile::tempdir().unwrap();
    for round in 1..=3_u32 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_that_writes", "--nocapture"])
            .env(CHILD, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap())
            .lines()
            .map_while(Result::ok);
        let number = |line: String| line.strip_prefix("kept ").and_then(|number| number.parse::<u32>().ok());
        let early = lines.by_ref().filter_map(number).take(25).last();
        child.kill().unwrap();
        child.wait().unwrap();
        let acknowledged = lines
            .filter_map(number)
            .last()
            .or(early)
            .expect("the child wrote something");
        assert!(acknowledged >= round * 25, "round {round}: {acknowledged}");

        let store = open(&folder);
        for n in 1..=acknowledged {
            assert!(
                store.get(LEFT, &n.to_be_bytes()).unwrap().is_some(),
                "round {round}: {n} is lost"
            );
        }
        let keys = |tree| store.iter(tree).map(|entry| entry.unwrap().0).collect::<Vec<_>>();
        assert_eq!(keys(LEFT), keys(RIGHT), "round {round}");
    }
}

/// Not a test: the child of the one above, a copy of this program.
#[test]
fn child_that_writes() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    let store = Store::open(
        folder,
        Options {
            durability: Durability::System,
            ..Options::default()
        },
    )
    .unwrap();
    let done = u32::try_from(store.iter(LEFT).count()).unwrap();
    for n in done + 1.. {
        let mut batch = Batch::new();
        batch.put(LEFT, &n.to_be_bytes(), vec![7; 3000]);
        batch.put(RIGHT, &n.to_be_bytes(), vec![8; 3000]);
        store.apply_blocking(batch).unwrap();
        println!("kept {n}");
    }
}

fn open(folder: &tempfile::TempDir) -> Store {
    Store::open(folder.path(), Options::default()).expect("the folder is free")
}

const CHILD: &str = "P2PSIP_KV_CHILD";
