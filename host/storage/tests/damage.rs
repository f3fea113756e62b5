//! Cut and flipped bytes at many places of every file: what is damaged is named by file and offset, and nothing that
//! was stored disappears without a word.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step is the failure of the test"
)]

use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use witmq_broker::ports::kv::{Expect, PluginKv};
use witmq_broker::ports::{Record, Store};
use witmq_broker::shard::ClockBase;
use witmq_storage::{DamageKind, Found, OpenError, Report, Storage, StorageConfig, check};

const PATIENCE: Duration = Duration::from_secs(20);

fn clock() -> ClockBase {
    ClockBase {
        instant: Instant::now(),
        unix_ms: 1_800_000_000_000,
    }
}

fn open(dir: &Path) -> Result<(Storage, Found), OpenError> {
    let config = StorageConfig {
        dir: dir.to_owned(),
        ..StorageConfig::default()
    };
    Storage::open(config, 1, clock(), vec![Arc::default()])
}

fn look(dir: &Path) -> Report {
    check(dir, &clock()).unwrap()
}

/// Puts keys, one commit each, with `length` bytes each.
fn put(storage: &Storage, keys: std::ops::Range<u32>, length: usize) {
    let mut shard = storage.shard_store(0);
    let space = storage.kv().space("p");
    let metrics = storage.metrics();
    for key in keys {
        let value = vec![u8::try_from(key % 251).unwrap() + 1; length];
        space
            .put(&key.to_string(), value.into(), Expect::Any, 0, 0)
            .unwrap();
        let before = metrics.commits.load(Ordering::Relaxed);
        shard.append(Record::PluginKv);
        shard.flush();
        let end = Instant::now() + PATIENCE;
        while metrics.commits.load(Ordering::Relaxed) == before {
            assert!(Instant::now() < end, "no commit");
            std::thread::yield_now();
        }
    }
}

fn count(storage: &Storage) -> u32 {
    let space = storage.kv().space("p");
    let is_there = |key: &u32| space.get(&key.to_string(), 0).is_some();
    (0..).find(|key| !is_there(key)).unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for item in std::fs::read_dir(from).unwrap() {
        let item = item.unwrap();
        let target = to.join(item.file_name());
        if item.file_type().unwrap().is_dir() {
            copy(&item.path(), &target);
        } else {
            std::fs::copy(item.path(), target).unwrap();
        }
    }
}

fn journal(dir: &Path) -> PathBuf {
    let files = std::fs::read_dir(dir).unwrap();
    let journals = files.map(|file| file.unwrap().path());
    let mut journals: Vec<_> = journals
        .filter(|path| path.extension().is_some_and(|end| end == "jnl"))
        .collect();
    journals.sort();
    journals.pop().expect("a journal")
}

fn used(path: &Path) -> u64 {
    let bytes = std::fs::read(path).unwrap();
    let last = bytes.iter().rposition(|byte| *byte != 0);
    u64::try_from(last.map_or(0, |last| last + 1)).unwrap()
}

fn flip(path: &Path, at: u64) {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x55], at).unwrap();
}

/// A folder as kill -9 leaves it: six commits, and where each of the last three ends.
fn six_commits() -> (tempfile::TempDir, Vec<u64>) {
    let dir = tempfile::tempdir().unwrap();
    let (storage, _) = open(dir.path()).unwrap();
    put(&storage, 0..3, 40);
    let mut ends = vec![used(&journal(dir.path()))];
    for key in 3..6 {
        put(&storage, key..key + 1, 40);
        ends.push(used(&journal(dir.path())));
    }
    let killed = tempfile::tempdir().unwrap();
    copy(dir.path(), killed.path());
    storage.close();
    (killed, ends)
}

#[test]
fn a_cut_tail_is_cut_to_the_last_whole_batch_and_said() {
    let (whole, ends) = six_commits();
    let last = ends[3];
    for cut in (ends[0]..=last)
        .step_by(13)
        .chain(ends.clone())
        .chain(ends.iter().map(|end| end - 1))
    {
        let torn = tempfile::tempdir().unwrap();
        copy(whole.path(), torn.path());
        let path = journal(torn.path());
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(cut).unwrap();
        drop(file);
        // The bytes of a batch that end in zeros are no damage, nor is a batch of which nothing is there.
        let valid = ends
            .iter()
            .copied()
            .filter(|end| *end <= cut)
            .max()
            .unwrap_or(0);
        let report = look(torn.path());
        let (storage, found) = open(torn.path()).unwrap();
        assert_eq!(
            found.cut, report.damages,
            "check says what opening does, at {cut}"
        );
        if used(&path) > valid && cut > ends[0] && !ends.contains(&cut) {
            let damage = &found.cut[0];
            assert_eq!(
                (&damage.file, damage.offset, damage.kind),
                (&path, valid, DamageKind::Torn)
            );
            let said = damage.to_string();
            let expected = format!("bytes from offset {valid} cut (torn write of the last batch)");
            assert!(
                said.contains(&expected) && said.contains(".jnl: "),
                "{said}"
            );
            assert_eq!(
                storage.metrics().cut_bytes.load(Ordering::Relaxed),
                damage.bytes
            );
        }
        if cut >= ends[0] {
            let expected = 2 + ends.iter().filter(|end| **end <= cut).count();
            assert_eq!(
                count(&storage),
                u32::try_from(expected).unwrap(),
                "at {cut} of {ends:?}"
            );
        }
        storage.close();
        assert!(look(torn.path()).is_sound(), "it is cut once");
    }
}

#[test]
fn a_flipped_byte_is_a_torn_tail_in_the_last_batch_and_damage_before_it() {
    let (whole, ends) = six_commits();
    let in_last = (ends[2]..ends[3]).step_by(11).map(|at| (at, true));
    let before = (ends[0]..ends[2]).step_by(17).map(|at| (at, false));
    for (at, is_last) in in_last
        .chain(before)
        .chain([(ends[2] - 1, false), (ends[3] - 1, true)])
    {
        let dir = tempfile::tempdir().unwrap();
        copy(whole.path(), dir.path());
        let path = journal(dir.path());
        let begins = ends.iter().copied().filter(|end| *end <= at).max().unwrap();
        if (5..13).contains(&(at - begins)) {
            continue; // the sequence number, which the engine's checksum leaves out
        }
        flip(&path, at);
        match open(dir.path()) {
            Ok((storage, found)) => {
                assert!(
                    is_last,
                    "flipped at {at} of {ends:?}: what is behind it would be lost"
                );
                assert_eq!(found.cut[0].offset, begins);
                assert_eq!(count(&storage), 5);
                storage.close();
            }
            Err(OpenError::Journal { damage }) => {
                assert!(!is_last, "flipped at {at} of {ends:?}");
                assert_eq!((damage.offset, damage.kind), (begins, DamageKind::Journal));
                let said = OpenError::Journal { damage }.to_string();
                assert!(
                    said.contains(&format!("truncate --size={begins}")),
                    "{said}"
                );
                flip(&path, at); // nothing was changed by the refusal
                let (storage, found) = open(dir.path()).unwrap();
                assert!(found.cut.is_empty());
                assert_eq!(count(&storage), 6);
                storage.close();
            }
            Err(other) => panic!("flipped at {at}: {other}"),
        }
    }
}

/// A folder with a table file, and the path of the largest.
fn with_table_file() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (storage, _) = open(dir.path()).unwrap();
    put(&storage, 0..220, 60_000); // beyond what is kept in memory of one table
    put(&storage, 0..220, 60_000);
    let end = Instant::now() + PATIENCE;
    let largest = loop {
        let tables = files(&dir.path().join("keyspaces"));
        let largest = tables
            .into_iter()
            .max_by_key(|path| path.metadata().map_or(0, |m| m.len()));
        if let Some(path) =
            largest.filter(|path| path.metadata().is_ok_and(|m| m.len() > 1_000_000))
        {
            break path;
        }
        assert!(Instant::now() < end, "no table file");
        std::thread::yield_now();
    };
    storage.close();
    (dir, largest)
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(items) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    let paths = items.filter_map(|item| Some(item.ok()?.path()));
    paths
        .flat_map(|path| match path.is_dir() {
            true => files(&path),
            false => vec![path],
        })
        .filter(|path| {
            path.parent()
                .is_some_and(|folder| folder.ends_with("tables"))
        })
        .collect()
}

#[test]
fn a_flipped_byte_of_a_table_file_is_named_by_file_and_offset() {
    let (dir, path) = with_table_file();
    assert!(look(dir.path()).is_sound());
    let length = path.metadata().unwrap().len();
    let places = (0..length).step_by(usize::try_from(length / 40).unwrap());
    for at in places.chain([0, 20, length - 100, length - 38, length - 1]) {
        flip(&path, at);
        let report = look(dir.path());
        assert!(
            !report.damages.is_empty(),
            "flipped at {at} of {length}: nothing was found"
        );
        let damage = &report.damages[0];
        assert_eq!((&damage.file, damage.kind), (&path, DamageKind::Block));
        let block = damage.offset..damage.offset + damage.bytes;
        assert!(
            block.contains(&at) || at + 100 >= length,
            "{damage} for a byte at {at}"
        );
        let said = damage.to_string();
        let expected = format!("the block at offset {}", damage.offset);
        assert!(said.contains(&expected), "{said}");
        flip(&path, at);
    }
    // What the engine refuses to read is looked for, and named.
    flip(&path, 100);
    let Err(error) = open(dir.path()) else {
        panic!("a damaged table was opened");
    };
    let said = error.to_string();
    assert!(
        said.contains(&format!("{}: the block at offset 0", path.display())),
        "{said}"
    );
    flip(&path, 100);
    let (storage, _) = open(dir.path()).unwrap();
    assert_eq!(count(&storage), 220);
    storage.close();
}

#[test]
fn a_sound_storage_is_counted() {
    let (dir, _) = six_commits();
    let report = look(dir.path());
    assert!(report.is_sound());
    assert_eq!(report.format, Some(2));
    let kv = report
        .tables
        .iter()
        .find(|table| table.name == "kv")
        .unwrap();
    assert_eq!((kv.entries, kv.bytes > 6 * 40), (6, true));
    assert_eq!(report.slices.len(), 1);
    let (storage, _) = open(dir.path()).unwrap();
    assert!(matches!(
        check(dir.path(), &clock()),
        Err(OpenError::Locked { .. })
    ));
    storage.close();
}
