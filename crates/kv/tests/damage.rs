//! Stores that a crash or a bad disk has left: what opens, what is moved aside, and that nothing acknowledged is lost.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use p2psip_kv::{Batch, Durability, OpenError, Options, Store, Tree};

const TREE: Tree = Tree::new("tree");

#[test]
fn half_a_snapshot_does_not_stop_the_next_start() {
    for octets in [0, 1, 12, 13, 200] {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path(), 0..300);
        // The next start would write this name, which sorts behind that of the snapshot in force.
        let half = fs::read(snapshot(folder.path())).unwrap();
        let name = "snap.00000000FFFFFFFF.generating";
        fs::write(folder.path().join(name), &half[..octets.min(half.len())]).unwrap();

        let store = open(folder.path()).unwrap();
        assert_eq!(store.moved_aside(), None);
        assert_eq!(store.iter(TREE).count(), 300, "{octets} octets");
        assert!(!folder.path().join(name).exists());
        assert!(folder.path().join("bad-snapshot").exists(), "nothing is deleted");
    }
}

/// The index is a sum of the log: the log alone has everything, whatever was overwritten, removed or moved in it.
#[test]
fn a_snapshot_with_a_flipped_octet_is_read_from_the_log_again() {
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 0..300);
    for round in 0..6 {
        let store = open(folder.path()).unwrap();
        put(&store, 100..200);
        for n in (round * 40)..(round * 40 + 20) {
            let mut batch = Batch::new();
            batch.delete(TREE, &u32::to_be_bytes(n));
            batch.put(TREE, &u32::to_be_bytes(1000 + n), vec![9; 200_000]);
            store.apply_blocking(batch).unwrap();
        }
    }
    let all = |store: Store| store.iter(TREE).map(Result::unwrap).collect::<Vec<_>>();
    let before = all(open(folder.path()).unwrap());
    assert!(before.len() > 200);
    flip(&snapshot(folder.path()), 20);
    assert_eq!(all(open(folder.path()).unwrap()), before);
    assert!(folder.path().join("bad-snapshot").exists());
}

#[test]
fn settings_that_were_not_written_to_their_end_do_not_stop_the_next_start() {
    for cut in [0, 4, 9, 30] {
        let folder = tempfile::tempdir().unwrap();
        fill(folder.path(), 0..10);
        let settings = folder.path().join("conf");
        let whole = fs::read(&settings).unwrap();
        fs::write(&settings, &whole[..cut]).unwrap();
        assert_eq!(open(folder.path()).unwrap().iter(TREE).count(), 10, "{cut} octets");
    }
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path(), 0..10);
    flip(&folder.path().join("conf"), 16);
    assert_eq!(open(folder.path()).unwrap().iter(TREE).count(), 10);
}

#[test]
fn a_store_with_flipped_octets_is_moved_aside_and_never_deleted() {
    let damages: [fn(&Path); 2] = [
        // An octet of each page.
        |folder| {
            let log = folder.join("db");
            let mut octets = fs::read(&log).unwrap();
            octets.iter_mut().skip(5000).step_by(997).for_each(|octet| *octet ^= 1);
            fs::write(log, octets).unwrap();
        },
        |folder| {
            fs::File::options()
                .write(true)
                .open(folder.join("db"))
                .unwrap()
                .set_len(100_000)
                .unwrap()
        },
    ];
    for (number, damage) in damages.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let keys = 0..300;
        fill(folder.path(), keys.clone());
        // Opening puts all of it into the snapshot, so that what is missing is noticed.
        drop(open(folder.path()).unwrap());
        damage(folder.path());

        let refused = open(folder.path()).unwrap_err();
        assert!(matches!(refused, OpenError::Damaged { .. }), "{number}: {refused}");
        assert!(refused.to_string().contains(folder.path().to_str().unwrap()));

        let store = Store::open_or_replace(folder.path(), options(), "nothing follows").unwrap();
        let aside = store.moved_aside().expect("it was moved").to_path_buf();
        assert_eq!(store.iter(TREE).count(), 0);
        assert!(
            aside.join("db").metadata().unwrap().len() > 50_000,
            "{number}: {}",
            aside.display()
        );
        let name = aside.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("damaged-2") && name.ends_with('Z'), "{name}");

        put(&store, keys.clone());
        drop(store);
        let store = Store::open_or_replace(folder.path(), options(), "nothing follows").unwrap();
        assert_eq!(store.moved_aside(), None);
        assert_eq!(store.iter(TREE).count(), keys.len());
        assert!(aside.join("db").exists());
    }
}

#[test]
fn a_folder_in_use_is_not_moved_aside() {
    let folder = tempfile::tempdir().unwrap();
    let _store = open(folder.path()).unwrap();
    let refused = Store::open_or_replace(folder.path(), options(), "nothing follows").unwrap_err();
    assert!(matches!(refused, OpenError::InUse { .. }), "{refused}");
}

/// A child process opens the store and writes; it is killed at another moment each time, mostly while it opens. What was
/// acknowledged before is there each time.
#[test]
fn a_process_killed_while_it_opens_loses_nothing() {
    let rounds = std::env::var(ROUNDS).map_or(30, |rounds| rounds.parse().expect("a number of rounds"));
    let folder = tempfile::tempdir().unwrap();
    put(&open(folder.path()).unwrap(), 1..400);
    let mut acknowledged = 399;
    let mut whole = Duration::from_millis(50);
    let mut half_snapshots = 0;
    for round in 0..rounds {
        let (mut child, mut lines) = spawn(folder.path());
        assert!(lines.any(|line| line == "opening"), "round {round}");
        let began = Instant::now();
        let mut kept = Vec::new();
        match round % 3 {
            // In the middle of writing.
            0 => {
                assert!(lines.any(|line| line == "opened"), "round {round}");
                whole = began.elapsed();
                kept.extend(lines.by_ref().filter_map(number).take(20));
            }
            // While it writes the snapshot, if that is seen.
            1 => while began.elapsed() < whole * 2 && !has_half_snapshot(folder.path()) {},
            // After some thirtieth parts of the time that it takes to open.
            _ => std::thread::sleep(whole * (round % 31) / 30),
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kept.extend(lines.filter_map(number));
        acknowledged = kept.into_iter().max().unwrap_or(acknowledged);
        half_snapshots += u32::from(has_half_snapshot(folder.path()));

        let store = open(folder.path()).unwrap_or_else(|error| panic!("round {round}: {error}"));
        for n in 1..=acknowledged {
            let value = store.get(TREE, &n.to_be_bytes()).unwrap();
            assert!(
                value.is_some_and(|value| value.len() == VALUE),
                "round {round}: {n} is lost"
            );
        }
        // Something for the next start to read that is in no snapshot.
        let next = u32::try_from(store.iter(TREE).count()).unwrap() + 1;
        put(&store, next..next + 40);
        acknowledged = next + 39;
    }
    println!("{rounds} rounds, {half_snapshots} of them left half a snapshot, {acknowledged} values");
}

fn spawn(folder: &Path) -> (Child, impl Iterator<Item = String>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_opens", "--nocapture"])
        .env(CHILD, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    (child, lines.map_while(Result::ok))
}

fn number(line: String) -> Option<u32> {
    line.strip_prefix("kept ").and_then(|number| number.parse().ok())
}

fn has_half_snapshot(folder: &Path) -> bool {
    names(folder).any(|name| name.ends_with(".generating"))
}

/// Not a test: the child of the one above, a copy of this program.
#[test]
fn child_that_opens() {
    let Some(folder) = std::env::var_os(CHILD) else { return };
    println!("opening");
    let store = open(Path::new(&folder)).unwrap();
    println!("opened");
    let done = u32::try_from(store.iter(TREE).count()).unwrap();
    for n in done + 1.. {
        put(&store, n..n + 1);
        println!("kept {n}");
    }
}

fn options() -> Options {
    Options {
        durability: Durability::System,
        ..Options::default()
    }
}

fn open(folder: &Path) -> Result<Store, OpenError> {
    Store::open(folder, options())
}

fn fill(folder: &Path, keys: std::ops::Range<u32>) {
    put(&open(folder).unwrap(), keys);
    // The snapshot is written when a store is opened.
    drop(open(folder).unwrap());
}

fn put(store: &Store, keys: std::ops::Range<u32>) {
    for n in keys {
        let mut batch = Batch::new();
        batch.put(TREE, &n.to_be_bytes(), vec![7; VALUE]);
        store.apply_blocking(batch).unwrap();
    }
}

fn names(folder: &Path) -> impl Iterator<Item = String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok())
}

fn snapshot(folder: &Path) -> PathBuf {
    let name = names(folder).find(|name| name.starts_with("snap."));
    folder.join(name.expect("a store that was opened twice has a snapshot"))
}

fn flip(file: &Path, at: usize) {
    let mut octets = fs::read(file).unwrap();
    octets[at] ^= 1;
    fs::write(file, octets).unwrap();
}

const VALUE: usize = 1500;
const CHILD: &str = "P2PSIP_KV_OPENING_CHILD";
const ROUNDS: &str = "P2PSIP_KV_ROUNDS";
