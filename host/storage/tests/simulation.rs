//! The broker's simulation on the real disk format: committer, log, recovery and reader as they are, while the
//! simulation decides what is committed before the node ends. A crash is a copy of the folder as it lies there.
//!
//! `WITMQ_TEST_SEED=7 cargo test -p witmq-storage --test simulation` repeats one run.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failed step is the failure of the test"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tempfile::TempDir;
use witmq_broker::ports::store::{Fetch, Fetched, SessionNumber};
use witmq_broker::ports::{Past, Position, Store};
use witmq_broker::shard::ClockBase;
use witmq_broker::testing::simulation::{Disk, Turn, run};
use witmq_proto::Message;
use witmq_storage::{Durability, ShardStore, Storage, StorageConfig};

const SEEDS: u64 = 16;
const STEPS: u32 = 400;
const SHARDS: u16 = 3;
const PATIENCE: Duration = Duration::from_secs(60);

/// An open storage in a folder of its own.
struct Folder {
    clock: ClockBase,
    dir: TempDir,
    storage: Option<Storage>,
    shards: Vec<ShardStore>,
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what} did not happen in time");
        std::thread::yield_now();
    }
}

fn copy(from: &Path, to: &Path) {
    for entry in from.read_dir().unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).unwrap();
        }
    }
}

impl Folder {
    fn new() -> Self {
        let clock = ClockBase {
            instant: Instant::now(),
            unix_ms: 1_700_000_000_000,
        };
        let mut folder = Self {
            clock,
            dir: TempDir::new().unwrap(),
            storage: None,
            shards: Vec::new(),
        };
        folder.open();
        folder
    }

    fn open(&mut self) -> (Vec<Past>, Vec<Message>) {
        let config = StorageConfig {
            dir: self.dir.path().to_owned(),
            durability: Durability::Os, // the process goes on: what the system has is there
            ..StorageConfig::default()
        };
        let news = (0..SHARDS).map(|_| Arc::default()).collect();
        let (storage, found) = Storage::open(config, SHARDS, self.clock, news).unwrap();
        assert!(found.damaged.is_empty(), "{:?}", found.damaged);
        self.shards = (0..SHARDS).map(|id| storage.shard_store(id)).collect();
        self.storage = Some(storage);
        (found.pasts, found.retained)
    }
}

impl Disk for Folder {
    fn commit(&mut self, turns: &[Turn]) {
        let mut last = [Position::default(); SHARDS as usize];
        for turn in turns {
            let shard = usize::from(turn.shard);
            let store = &mut self.shards[shard];
            for record in &turn.records {
                last[shard] = store.append(record.record());
            }
            store.flush();
        }
        for (store, last) in self.shards.iter().zip(last) {
            wait_until("the commit", || store.stored() >= last);
        }
    }

    fn page(&mut self, shard: u16, fetch: Fetch) -> Fetched {
        let store = &mut self.shards[usize::from(shard)];
        store.fetch(fetch);
        let mut page = None;
        wait_until("the page", || {
            page = store.poll_fetched();
            page.is_some()
        });
        page.unwrap()
    }

    fn new_session(&mut self) -> SessionNumber {
        self.shards[0].new_session()
    }

    fn recover(&mut self, shards: u16) -> (Vec<Past>, Vec<Message>) {
        assert_eq!(shards, SHARDS);
        let dir = TempDir::new().unwrap();
        copy(self.dir.path(), dir.path());
        self.shards.clear();
        if let Some(storage) = self.storage.take() {
            storage.close(); // it knows nothing of the copy
        }
        self.dir = dir;
        self.open()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.shards.clear();
        if let Some(storage) = self.storage.take() {
            storage.close();
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

#[test]
fn whatever_the_moments_the_real_disk_keeps_every_promise() {
    let from = setting("WITMQ_TEST_FROM").unwrap_or(0);
    let seeds = match setting("WITMQ_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => from..from + setting("WITMQ_TEST_SEEDS").unwrap_or(SEEDS),
    };
    let count = seeds.end - seeds.start;
    let crashes: u64 = seeds.map(|seed| run(seed, STEPS, Folder::new())).sum();
    println!("{count} seeds on the real disk, {crashes} crashes: every promise was kept");
    assert!(crashes >= count, "the crashes are missing");
}
