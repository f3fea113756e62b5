//! Delayed messages over lives of a node, and folders of format 1, which had none.

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
use witmq_broker::delayed::DelayedId;
use witmq_broker::ports::{Position, Record, Store};
use witmq_broker::shard::{ClockBase, shard_of};
use witmq_proto::packet::{PublishProperties, QoS};
use witmq_proto::{ByteString, Bytes, LogPlace, Message, TopicName};
use witmq_storage::{Found, Storage, StorageConfig};

const PATIENCE: Duration = Duration::from_secs(20);

fn open(dir: &Path, shards: u16) -> (Storage, Found) {
    let config = StorageConfig {
        dir: dir.to_owned(),
        ..StorageConfig::default()
    };
    let clock = ClockBase {
        instant: Instant::now(),
        unix_ms: 1_800_000_000_000,
    };
    let news = (0..shards).map(|_| Arc::default()).collect();
    Storage::open(config, shards, clock, news).expect("opens")
}

/// Records in one turn of shard 0, and waits until it is durable.
fn record(storage: &Storage, records: Vec<Record<'_>>) {
    let mut store = storage.shard_store(0);
    let mut last = Position::default();
    for record in records {
        last = store.append(record);
    }
    store.flush();
    let end = Instant::now() + PATIENCE;
    while store.stored() < last {
        assert!(Instant::now() < end, "the commit did not happen in time");
        std::thread::yield_now();
    }
}

fn message(publisher: &str, payload: &'static [u8]) -> Arc<Message> {
    Arc::new(Message {
        topic: TopicName::new("a").unwrap(),
        payload: Bytes::from_static(payload),
        qos: QoS::ExactlyOnce,
        retain: true,
        properties: PublishProperties::default(),
        expires_at: None,
        publisher: ByteString::from(publisher),
        received_ms: 1,
        hops: 0,
    })
}

fn id(due_ms: u64, shard: u16, number: u64) -> DelayedId {
    DelayedId {
        due_ms,
        shard,
        number,
    }
}

fn delayed(id: DelayedId, message: &Arc<Message>) -> Record<'_> {
    Record::Delayed { id, message }
}

#[test]
fn delayed_messages_are_found_again_in_order_on_the_shard_of_their_publisher() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, found) = open(dir.path(), 1);
    assert_eq!(found.pasts[0].next_delayed_number, 0);
    let (p, q) = (message("p", b"of p"), message("q", b"of q"));
    let ids = [
        id(2_000, 0, 0),
        id(1_000, 0, 1),
        id(70_000_000_000_000, 0, 2),
        id(1_000, 0, 3),
    ];
    record(
        &storage,
        vec![
            delayed(ids[0], &p),
            delayed(ids[1], &p),
            delayed(ids[2], &q),
            delayed(ids[3], &p),
            // Taken back in the turn in which it was made.
            delayed(id(5, 0, 4), &p),
            Record::DelayedGone { id: id(5, 0, 4) },
        ],
    );
    storage.close();

    let (storage, found) = open(dir.path(), 8);
    for (shard, past) in (0..).zip(&found.pasts) {
        let is_of = |publisher| shard_of(publisher, 8).0 == shard;
        let mut expected = Vec::new();
        if is_of("p") {
            expected.extend([ids[1], ids[3], ids[0]].map(|id| (id, (*p).clone())));
        }
        if is_of("q") {
            expected.push((ids[2], (*q).clone()));
        }
        assert_eq!(past.delayed, expected, "shard {shard}");
        assert_eq!(past.next_delayed_number, 4, "for every shard");
    }
    storage.close();
}

#[test]
fn it_goes_in_the_turn_in_which_it_becomes_a_message() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, _) = open(dir.path(), 1);
    let message = message("p", b"x");
    record(&storage, vec![delayed(id(1, 0, 0), &message)]);
    let place = LogPlace {
        shard: 0,
        number: 0,
    };
    let becomes = vec![
        Record::DelayedGone { id: id(1, 0, 0) },
        Record::Message {
            place,
            message: &message,
            targets: 0,
            groups: &[],
        },
        Record::Retained {
            topic: "a",
            version: 1,
            message: Some(&message),
        },
    ];
    record(&storage, becomes);
    storage.close();
    let (storage, found) = open(dir.path(), 1);
    assert!(found.pasts[0].delayed.is_empty());
    assert_eq!(found.pasts[0].next_log_number, 1);
    assert_eq!(found.retained, [(*message).clone()]);
    storage.close();
}

/// A value of a table, read or written past the storage.
fn with_table<R>(dir: &Path, name: &str, work: impl FnOnce(&fjall::Keyspace) -> R) -> R {
    let db = fjall::Database::builder(dir).open().unwrap();
    let table = db
        .keyspace(name, fjall::KeyspaceCreateOptions::default)
        .unwrap();
    work(&table)
}

#[test]
fn a_folder_of_format_1_is_opened_and_from_then_on_refused_by_its_version() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, _) = open(dir.path(), 1);
    let message = message("p", b"x");
    let retained = Record::Retained {
        topic: "a",
        version: 1,
        message: Some(&message),
    };
    record(&storage, vec![retained]);
    storage.close();
    with_table(dir.path(), "meta", |meta| {
        meta.insert("format", 1u32.to_be_bytes()).unwrap()
    });
    let (storage, found) = open(dir.path(), 1);
    assert_eq!(found.retained.len(), 1);
    storage.close();
    let format = with_table(dir.path(), "meta", |meta| {
        meta.get("format").unwrap().unwrap()
    });
    assert!(u32::from_be_bytes(format[..].try_into().unwrap()) >= 2);
}

#[test]
fn one_that_cannot_be_read_is_named_and_costs_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let (storage, _) = open(dir.path(), 1);
    let message = message("p", b"x");
    record(&storage, vec![delayed(id(7, 0, 0), &message)]);
    storage.close();
    with_table(dir.path(), "delayed", |table| {
        table.insert(b"short", b"").unwrap();
        table.insert([0; 18], b"no message").unwrap();
    });
    let (storage, found) = open(dir.path(), 1);
    assert_eq!(found.pasts[0].delayed.len(), 1);
    assert_eq!(found.damaged.len(), 2, "{:?}", found.damaged);
    assert!(
        found
            .damaged
            .iter()
            .all(|text| text.starts_with("delayed "))
    );
    storage.close();
}
