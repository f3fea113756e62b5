//! Keys of plugins over lives of a node.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a failed step is the failure of the test"
)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use witmq_broker::kv::KvBounds;
use witmq_broker::ports::kv::{Expect, Kept, KvError, PluginKv};
use witmq_broker::ports::{Record, Store};
use witmq_broker::shard::ClockBase;
use witmq_storage::{Storage, StorageConfig};

const PATIENCE: Duration = Duration::from_secs(20);

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    u64::try_from(now.as_millis()).unwrap()
}

fn open(dir: &Path, kv: KvBounds) -> Storage {
    let config = StorageConfig {
        dir: dir.to_owned(),
        kv,
        ..StorageConfig::default()
    };
    let clock = ClockBase {
        instant: Instant::now(),
        unix_ms: now(),
    };
    let (storage, found) = Storage::open(config, 1, clock, vec![Arc::default()]).expect("opens");
    assert_eq!(found.damaged, Vec::<String>::new());
    storage
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what} did not happen in time");
        std::thread::yield_now();
    }
}

/// The folder as a crash would leave it at this moment.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn value(kept: Option<Kept>) -> Option<(Vec<u8>, u64)> {
    kept.map(|kept| (kept.value.to_vec(), kept.version))
}

#[test]
fn keys_come_back_with_values_versions_and_times() {
    let dir = tempfile::tempdir().unwrap();
    let life = open(dir.path(), KvBounds::default());
    let kv = life.kv();
    let (p, q) = (kv.space("p"), kv.space("p-2"));
    p.put("a", "one".into(), Expect::Any, 0, now()).unwrap();
    p.put("a", "two".into(), Expect::Version(1), 0, now())
        .unwrap();
    p.put("b", "".into(), Expect::Absent, 3_600_000, now())
        .unwrap();
    p.put("gone", "x".into(), Expect::Any, 0, now()).unwrap();
    p.put("over", "x".into(), Expect::Any, 1, now() - 10)
        .unwrap();
    q.put("a", "other".into(), Expect::Any, 0, now()).unwrap();
    assert_eq!(p.increment("n", -3, now()), Ok(-3));
    p.remove("gone", Expect::Any, now()).unwrap();
    life.close();
    let life = open(dir.path(), KvBounds::default());
    let kv = life.kv();
    let (p, q) = (kv.space("p"), kv.space("p-2"));
    assert_eq!(value(p.get("a", now())), Some((b"two".to_vec(), 2)));
    assert_eq!(value(p.get("b", now())), Some((Vec::new(), 1)));
    assert_eq!(value(p.get("b", now() + 3_600_000)), None);
    assert_eq!(value(p.get("gone", now())), None);
    assert_eq!(value(p.get("over", now())), None);
    assert_eq!(value(q.get("a", now())), Some((b"other".to_vec(), 1)));
    assert_eq!(p.increment("n", 1, now()), Ok(-2));
    let mut plugins = kv.plugins();
    plugins.sort();
    assert_eq!(plugins, ["p".into(), "p-2".into()] as [Arc<str>; 2]);
    kv.delete_all("p");
    life.close();
    let life = open(dir.path(), KvBounds::default());
    assert_eq!(life.kv().plugins(), ["p-2".into()] as [Arc<str>; 1]);
    life.close();
}

/// What a shard waits for before it acknowledges: its turn is durable, and with it the key.
#[test]
fn a_key_is_durable_with_the_turn_that_followed_it() {
    let dir = tempfile::tempdir().unwrap();
    let life = open(dir.path(), KvBounds::default());
    let mut shard = life.shard_store(0);
    let space = life.kv().space("p");
    for round in 1..=20 {
        let before = shard.kv_changes();
        assert_eq!(space.increment("n", 1, now()), Ok(round));
        assert_ne!(shard.kv_changes(), before);
        let position = shard.append(Record::PluginKv);
        shard.flush();
        wait_until("the commit", || shard.stored() >= position);
        let crashed = tempfile::tempdir().unwrap();
        copy(dir.path(), crashed.path());
        let next = open(crashed.path(), KvBounds::default());
        let kept = value(next.kv().space("p").get("n", now()));
        let version = u64::try_from(round).unwrap();
        assert_eq!(kept, Some((round.to_le_bytes().to_vec(), version)));
        next.close();
    }
    life.close();
}

#[test]
fn keys_that_nobody_waits_for_are_written_soon_and_together() {
    let dir = tempfile::tempdir().unwrap();
    let life = open(dir.path(), KvBounds::default());
    let (kv, metrics) = (life.kv(), life.metrics());
    let space = kv.space("p");
    for _ in 0..10_000 {
        space.increment("n", 1, now()).unwrap();
    }
    wait_until("the commit", || {
        !kv.has_changes() && metrics.operations.load(Ordering::Relaxed) > 0
    });
    let operations = metrics.operations.load(Ordering::Relaxed);
    assert!(operations < 10_000, "{operations} operations for one key");
    life.close();
}

#[test]
fn a_smaller_quota_keeps_what_is_there_and_takes_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = |keys| KvBounds {
        bytes: 1 << 20,
        keys,
        ..KvBounds::default()
    };
    let life = open(dir.path(), bounds(2));
    let space = life.kv().space("p");
    space.increment("a", 1, now()).unwrap();
    space.increment("b", 1, now()).unwrap();
    assert_eq!(space.increment("c", 1, now()), Err(KvError::Keys));
    life.close();
    let life = open(dir.path(), bounds(1));
    let space = life.kv().space("p");
    assert_eq!(space.increment("a", 1, now()), Ok(2));
    assert_eq!(space.increment("b", 1, now()), Ok(2));
    assert_eq!(space.increment("c", 1, now()), Err(KvError::Keys));
    life.close();
}
