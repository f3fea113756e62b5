//! The storage over lives of a node: what is found again, what is forgotten, what is refused.

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
use witmq_broker::ShardId;
use witmq_broker::ports::store::{Entry, Fetch, Fetched, SessionNumber, SessionState};
use witmq_broker::ports::{Position, Record, Store};
use witmq_broker::router::interest::GroupKey;
use witmq_broker::shard::{ClockBase, shard_of};
use witmq_proto::packet::{PacketId, PublishProperties, QoS, SubscribeOptions, Will};
use witmq_proto::{ByteString, Bytes, Delivery, LogPlace, Message, TopicFilter, TopicName};
use witmq_storage::{Found, OpenError, ShardStore, Storage, StorageConfig};

const PATIENCE: Duration = Duration::from_secs(20);
const SHARDS: u16 = 2;

fn clock() -> ClockBase {
    ClockBase {
        instant: Instant::now(),
        unix_ms: 1_800_000_000_000,
    }
}

fn config(dir: &Path) -> StorageConfig {
    StorageConfig {
        dir: dir.to_owned(),
        ..StorageConfig::default()
    }
}

struct Life {
    storage: Storage,
    found: Found,
    shards: Vec<ShardStore>,
}

fn open_with(config: StorageConfig) -> Result<Life, OpenError> {
    let news = (0..SHARDS).map(|_| Arc::default()).collect();
    let (storage, found) = Storage::open(config, SHARDS, clock(), news)?;
    let shards = (0..SHARDS).map(|id| storage.shard_store(id)).collect();
    Ok(Life {
        storage,
        found,
        shards,
    })
}

fn open(dir: &Path) -> Life {
    open_with(config(dir)).expect("opens")
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what} did not happen in time");
        std::thread::yield_now();
    }
}

impl Life {
    /// Records in one turn of a shard, and waits until it is durable.
    fn record(&mut self, shard: usize, records: Vec<Record<'_>>) {
        let store = &mut self.shards[shard];
        let mut last = Position::default();
        for record in records {
            last = store.append(record);
        }
        store.flush();
        wait_until("the commit", || store.stored() >= last);
    }

    /// Logs a message on shard 0 and owes it to a session under the same number.
    fn owe(&mut self, session: SessionNumber, number: u64, message: &Arc<Message>) {
        let place = place(0, number);
        let queued = delivery(message, number, place);
        let records = vec![
            Record::Message {
                place,
                message,
                targets: 0,
                groups: &[],
            },
            Record::Queued {
                session,
                delivery: &queued,
            },
        ];
        self.record(0, records);
    }

    fn fetch(&mut self, shard: usize, session: SessionNumber, from: u64, limit: usize) -> Fetched {
        let store = &mut self.shards[shard];
        store.fetch(Fetch {
            session,
            from,
            limit,
            bytes: 1 << 20,
            number: 1,
        });
        let mut page = None;
        wait_until("the page", || {
            page = store.poll_fetched();
            page.is_some()
        });
        page.expect("a page")
    }

    fn end(self) {
        drop(self.shards);
        self.storage.close();
    }
}

fn message(topic: &str, payload: &[u8]) -> Arc<Message> {
    Arc::new(Message {
        topic: TopicName::new(topic).unwrap(),
        payload: Bytes::copy_from_slice(payload),
        qos: QoS::AtLeastOnce,
        retain: false,
        properties: PublishProperties::default(),
        expires_at: None,
        publisher: ByteString::from("p"),
        received_ms: 1,
        hops: 0,
    })
}

fn delivery(message: &Arc<Message>, number: u64, kept: LogPlace) -> Delivery {
    Delivery {
        message: message.clone(),
        qos: QoS::AtLeastOnce,
        retain: false,
        subscription_ids: Box::new([7]),
        group: None,
        number,
        kept: Some(kept),
    }
}

fn place(shard: u16, number: u64) -> LogPlace {
    LogPlace { shard, number }
}

/// A client id whose shard is `shard`.
fn client_of(shard: u16) -> ByteString {
    (0..)
        .map(|number| ByteString::from(format!("client-{number}")))
        .find(|id| shard_of(id, SHARDS) == ShardId(shard))
        .unwrap()
}

fn state(client_id: &ByteString) -> SessionState {
    SessionState {
        client_id: client_id.clone(),
        expiry: 100,
        absent_since: None,
        next_number: None,
    }
}

fn options(qos: QoS) -> SubscribeOptions {
    SubscribeOptions {
        qos,
        ..SubscribeOptions::default()
    }
}

/// A session of a client of `shard`, subscribed to `a/#` with QoS 1.
fn session(life: &mut Life, shard: u16) -> SessionNumber {
    let (client_id, filter) = (client_of(shard), ByteString::from("a/#"));
    let state = state(&client_id);
    let session = life.shards[usize::from(shard)].new_session();
    let records = vec![
        Record::Session {
            session,
            state: &state,
        },
        Record::Subscribed {
            session,
            filter: &filter,
            options: options(QoS::AtLeastOnce),
            id: Some(7),
        },
    ];
    life.record(usize::from(shard), records);
    session
}

fn will() -> Will {
    Will {
        topic: TopicName::new("w").unwrap(),
        payload: Bytes::from_static(b"gone"),
        qos: QoS::AtLeastOnce,
        retain: false,
        delay: 3,
        properties: PublishProperties::default(),
    }
}

/// Messages 10 and 11 queued, 12 released; identifier 5 taken; a will; `a/1` retained.
fn fill(life: &mut Life, session: SessionNumber, first: &Arc<Message>, second: &Arc<Message>) {
    let (id5, id6) = (PacketId::new(5).unwrap(), PacketId::new(6).unwrap());
    let logged = |number, message| Record::Message {
        place: place(0, number),
        message,
        targets: 0,
        groups: &[],
    };
    let retained = |topic, version, message| Record::Retained {
        topic,
        version,
        message,
    };
    let queued = [
        delivery(first, 10, place(0, 0)),
        delivery(second, 11, place(0, 1)),
        delivery(second, 12, place(0, 1)),
    ];
    let mut records = vec![logged(0, first), logged(1, second)];
    records.extend(
        queued
            .iter()
            .map(|delivery| Record::Queued { session, delivery }),
    );
    records.extend([
        Record::Released {
            session,
            number: 12,
            kept: Some(place(0, 1)),
        },
        Record::Received {
            session,
            packet_id: id5,
        },
        Record::Received {
            session,
            packet_id: id6,
        },
        Record::Forgotten {
            session,
            packet_id: id6,
        },
        retained("a/1", 1, Some(first)),
        retained("a/2", 3, None),
        retained("a/2", 2, Some(second)), // late: another shard was faster
    ]);
    let (will, client_id) = (will(), client_of(0));
    records.push(Record::Will {
        client_id: &client_id,
        will: Some((&will, Some(99))),
    });
    life.record(0, records);
}

#[test]
fn a_session_with_all_it_owns_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = open(dir.path());
    let session = session(&mut life, 0);
    let (first, second) = (message("a/1", b"one"), message("a/2", b"two"));
    fill(&mut life, session, &first, &second);
    life.end();

    let life = open(dir.path());
    let past = &life.found.pasts[0];
    assert_eq!(past.next_log_number, 2);
    let [restored] = &past.sessions[..] else {
        panic!("{past:?}")
    };
    let client_id = client_of(0);
    assert_eq!(
        (restored.session, &restored.state),
        (session, &state(&client_id))
    );
    let subscription = (ByteString::from("a/#"), options(QoS::AtLeastOnce), Some(7));
    assert_eq!(restored.subscriptions, [subscription]);
    assert_eq!(restored.received, [PacketId::new(5).unwrap()]);
    assert_eq!(restored.queue, Some((10, 12, 3, 12)));
    assert_eq!(past.wills, [(client_id, will(), Some(99))]);
    assert!(life.found.pasts[1].sessions.is_empty() && life.found.damaged.is_empty());
    let retained = life.found.retained.iter();
    let retained: Vec<_> = retained.map(|message| message.topic.as_str()).collect();
    assert_eq!(retained, ["a/1"]);
    life.end();
}

#[test]
fn a_queue_is_read_page_by_page_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = open(dir.path());
    let session = session(&mut life, 0);
    let (first, second) = (message("a/1", b"one"), message("a/2", b"two"));
    fill(&mut life, session, &first, &second);
    let page = life.fetch(0, session, 0, 2);
    assert!(!page.is_last);
    let [(10, Entry::Queued(one)), (11, Entry::Queued(two))] = &page.entries[..] else {
        panic!("{page:?}")
    };
    assert_eq!((&one.message, &two.message), (&first, &second));
    assert_eq!((one.number, one.kept), (10, Some(place(0, 0))));
    assert_eq!(one.subscription_ids[..], [7]);
    let page = life.fetch(0, session, 12, 2);
    assert!(page.is_last);
    assert!(matches!(page.entries[..], [(12, Entry::Released(Some(_)))]));
    assert!(
        life.shards[0].new_session() > session,
        "numbers are not used twice"
    );
    life.end();
}

#[test]
fn what_was_logged_for_another_shard_and_not_queued_there_is_queued_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = open(dir.path());
    let far = session(&mut life, 1);
    let messages: Vec<_> = (0u8..3).map(|n| message("a/x", &[n])).collect();
    for (number, message) in (0..).zip(&messages) {
        let record = Record::Message {
            place: place(0, number),
            message,
            targets: 0b10,
            groups: &[],
        };
        life.record(0, vec![record]);
    }
    // Shard 1 came as far as the first one.
    let queued = delivery(&messages[0], 0, place(0, 0));
    life.record(
        1,
        vec![
            Record::Queued {
                session: far,
                delivery: &queued,
            },
            Record::Applied { place: place(0, 0) },
        ],
    );
    life.end();
    for (life_number, expected) in [(1, 2), (2, 0)] {
        let mut life = open(dir.path());
        assert_eq!(life.found.caught_up, expected, "life {life_number}");
        let page = life.fetch(1, far, 0, 10);
        let payloads: Vec<_> = page
            .entries
            .iter()
            .map(|(number, entry)| match entry {
                Entry::Queued(delivery) => (*number, delivery.message.payload[0]),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(payloads, [(0, 0), (1, 1), (2, 2)]);
        life.end();
    }
}

/// A message that was passed on to a member of a shared group elsewhere: who subscribes there by itself had its
/// own copy.
#[test]
fn what_a_group_is_owed_elsewhere_is_not_queued_for_others_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = open(dir.path());
    let alone = session(&mut life, 1);
    let mut others = (0..).map(|number| format!("member-{number}"));
    let member = others.find(|id| shard_of(id, SHARDS).0 == 1).unwrap();
    let (state, number) = (state(&member.into()), life.shards[1].new_session());
    let filter = ByteString::from("$share/g/a/#");
    let records = vec![
        Record::Session {
            session: number,
            state: &state,
        },
        Record::Subscribed {
            session: number,
            filter: &filter,
            options: options(QoS::ExactlyOnce),
            id: None,
        },
    ];
    life.record(1, records);
    let key = GroupKey {
        group: "g".into(),
        filter: TopicFilter::new("a/#").unwrap(),
    };
    let record = Record::Message {
        place: place(0, 0),
        message: &message("a/x", b"shared"),
        targets: 0,
        groups: &[(ShardId(1), Arc::new(key))],
    };
    life.record(0, vec![record]);
    life.end();
    let mut life = open(dir.path());
    assert_eq!(life.found.caught_up, 1);
    assert!(life.fetch(1, alone, 0, 10).entries.is_empty());
    assert_eq!(life.fetch(1, number, 0, 10).entries.len(), 1);
    life.end();
}

#[test]
fn an_ended_session_leaves_nothing_and_its_slice_of_the_log_goes_too() {
    let dir = tempfile::tempdir().unwrap();
    let small = StorageConfig {
        slice_bytes: 1000,
        ..config(dir.path())
    };
    let mut life = open_with(small).unwrap();
    let session = session(&mut life, 0);
    for number in 0..20 {
        let big = message("a/x", &[1; 400]);
        life.owe(session, number, &big);
    }
    let metrics = life.storage.metrics();
    let slices = || metrics.slices.load(std::sync::atomic::Ordering::Relaxed);
    wait_until("several slices", || slices() > 4);
    let client_id = client_of(0);
    life.record(
        0,
        vec![Record::SessionEnded {
            session,
            client_id: &client_id,
        }],
    );
    wait_until("one slice", || slices() == 1);
    let page = life.fetch(0, session, 0, 10);
    assert!(page.entries.is_empty() && page.is_last);
    life.end();
    let life = open(dir.path());
    assert!(life.found.pasts.iter().all(|past| past.sessions.is_empty()));
    assert_eq!(life.found.pasts[0].next_log_number, 20, "counts go on");
    life.end();
}

#[test]
fn a_log_at_its_bound_gives_up_the_oldest_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let small = StorageConfig {
        slice_bytes: 1000,
        log_bytes: 5000,
        ..config(dir.path())
    };
    let mut life = open_with(small).unwrap();
    let session = session(&mut life, 0);
    for number in 0..40 {
        let big = message("a/x", &[1; 400]);
        life.owe(session, number, &big);
    }
    let page = life.fetch(0, session, 0, 100);
    let lost = page
        .entries
        .iter()
        .take_while(|(_, e)| matches!(e, Entry::Lost(_)))
        .count();
    let kept = page
        .entries
        .iter()
        .filter(|(_, e)| matches!(e, Entry::Queued(_)))
        .count();
    assert_eq!(lost + kept, 40, "the oldest are lost, no other");
    assert!(
        (8..=16).contains(&kept),
        "about 5,000 bytes are kept: {kept}"
    );
    let metrics = life.storage.metrics();
    assert!(
        metrics
            .slices_given_up
            .load(std::sync::atomic::Ordering::Relaxed)
            > 5
    );
    life.end();
}

#[test]
fn a_folder_in_use_or_of_a_newer_version_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let life = open(dir.path());
    let error = open_with(config(dir.path())).err().expect("refused");
    assert!(matches!(error, OpenError::Locked { .. }), "{error}");
    life.end();
    {
        let db = fjall::Database::builder(dir.path()).open().unwrap();
        let meta = db
            .keyspace("meta", fjall::KeyspaceCreateOptions::default)
            .unwrap();
        meta.insert("format", 9u32.to_be_bytes()).unwrap();
    }
    let error = open_with(config(dir.path())).err().expect("refused");
    assert!(
        matches!(
            error,
            OpenError::Newer {
                found: 9,
                known: 2,
                ..
            }
        ),
        "{error}"
    );
    assert!(error.to_string().contains("newer version"), "{error}");
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

fn journal(dir: &Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(dir).unwrap();
    let mut journals: Vec<_> = files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|end| end == "jnl"))
        .collect();
    journals.sort();
    journals.pop().expect("a journal")
}

/// Wherever a power loss cuts the file that is being written, every turn before the cut is there whole, and
/// the turn at the cut not at all.
#[test]
fn a_torn_tail_costs_the_last_turn_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = open(dir.path());
    let session = session(&mut life, 0);
    let used = |path: &Path| {
        let bytes = std::fs::read(path).unwrap();
        bytes
            .iter()
            .rposition(|byte| *byte != 0)
            .map_or(0, |last| last + 1)
    };
    let mut ends = vec![used(&journal(dir.path()))];
    for number in 0..3 {
        let text = message("a/x", &[u8::try_from(number).unwrap() + 1; 40]);
        life.owe(session, number, &text);
        ends.push(used(&journal(dir.path())));
    }
    let whole = tempfile::tempdir().unwrap();
    copy(dir.path(), whole.path());
    life.end();
    let (first, last) = (ends[0], ends[3]);
    for cut in (first..=last).step_by(7).chain(ends.iter().copied()) {
        let torn = tempfile::tempdir().unwrap();
        copy(whole.path(), torn.path());
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(journal(torn.path()))
            .unwrap();
        file.set_len(u64::try_from(cut).unwrap()).unwrap();
        let mut life = open(torn.path());
        let page = life.fetch(0, session, 0, 10);
        let expected = ends.iter().filter(|end| **end <= cut).count() - 1;
        let read = page
            .entries
            .iter()
            .filter(|(_, e)| matches!(e, Entry::Queued(_)))
            .count();
        assert_eq!(
            (read, page.entries.len()),
            (expected, expected),
            "cut at {cut} of {ends:?}"
        );
        life.end();
    }
}
