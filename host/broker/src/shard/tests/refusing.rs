//! A store that takes nothing for a while: what clients are told then, and what after a new connection.

use super::{Q2, id, join, persistent, publish, publishes, subscribed};
use crate::limits::Limits;
use crate::memory::Memory;
use crate::ports::store::{Fetch, Fetched, Health, SessionNumber};
use crate::ports::{NotTaken, Position, Record, Store};
use crate::testing::Rig;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use witmq_proto::packet::{Ack, Packet, PublishProperties, Version};
use witmq_proto::{ByteString, Bytes, Message, ReasonCode, TopicName};

/// How far it has stored, and how it is.
type Disk = Rc<Cell<(u64, Health)>>;

struct Stubborn {
    memory: Memory,
    disk: Disk,
}

impl Store for Stubborn {
    fn append(&mut self, record: Record<'_>) -> Position {
        self.memory.append(record)
    }

    fn stored(&self) -> Position {
        self.memory.stored().min(Position(self.disk.get().0))
    }

    fn flush(&mut self) {}

    fn health(&self) -> Health {
        self.disk.get().1
    }

    fn new_session(&mut self) -> SessionNumber {
        self.memory.new_session()
    }

    fn fetch(&mut self, fetch: Fetch) {
        self.memory.fetch(fetch);
    }

    fn poll_fetched(&mut self) -> Option<Fetched> {
        self.memory.poll_fetched()
    }
}

const FAR: u64 = u64::MAX;

/// A subscriber and a publisher whose sessions are kept; nothing is stored any more.
fn stuck() -> (Rig, Disk, usize, usize) {
    let disk: Disk = Rc::new(Cell::new((FAR, Health::Well)));
    let make = disk.clone();
    let mut rig = Rig::with_store(1, Limits::default(), move || {
        Box::new(Stubborn {
            memory: Memory::default(),
            disk: make.clone(),
        })
    });
    let subscriber = rig.connect(persistent(Version::V5, "s"));
    rig.received(subscriber);
    subscribed(&mut rig, subscriber, "t", Q2);
    let publisher = rig.connect(persistent(Version::V5, "p"));
    rig.received(publisher);
    disk.set((0, Health::Well));
    (rig, disk, subscriber, publisher)
}

fn send(rig: &mut Rig, peer: usize, text: &str, packet_id: u16, dup: bool) {
    let mut message = publish("t", text, Q2, packet_id);
    message.dup = dup;
    rig.send(peer, &Packet::Publish(Box::new(message)));
}

/// The refusal stood behind a promise that was not kept yet when the connection ended [MQTT-4.3.3-9].
#[test]
fn what_was_refused_without_a_word_is_a_new_message_when_it_comes_again() {
    let (mut rig, disk, subscriber, publisher) = stuck();
    send(&mut rig, publisher, "one", 1, false);
    disk.set((0, Health::Refusing));
    send(&mut rig, publisher, "two", 2, false);
    assert!(rig.received(publisher).is_empty());
    rig.cut(publisher);
    disk.set((FAR, Health::Well));
    rig.run();
    let publisher = rig.connect(persistent(Version::V5, "p"));
    send(&mut rig, publisher, "one", 1, true);
    send(&mut rig, publisher, "two", 2, true);
    let answers = rig.received(publisher);
    let pubrec = |n| Packet::Pubrec(Ack::new(id(n), ReasonCode::Success));
    assert_eq!(answers[1..], [pubrec(1), pubrec(2)]);
    let given = publishes(rig.received(subscriber));
    let given: Vec<_> = given.iter().map(|publish| &publish.payload[..]).collect();
    assert_eq!(given, [b"one", b"two"], "each once, and none is lost");
}

/// Others are let in; this one would be told at once what may still be lost.
#[test]
fn a_client_that_was_not_answered_waits_for_the_disk() {
    let (mut rig, disk, _subscriber, publisher) = stuck();
    send(&mut rig, publisher, "one", 1, false);
    rig.cut(publisher);
    disk.set((0, Health::Refusing));
    let publisher = rig.connect(persistent(Version::V5, "p"));
    send(&mut rig, publisher, "one", 1, true);
    assert!(rig.received(publisher).is_empty());
    join(&mut rig, Version::V5, "another");
    disk.set((FAR, Health::Well));
    rig.run();
    let answers = rig.received(publisher);
    assert!(matches!(answers[0], Packet::Connack(_)), "{answers:?}");
    assert_eq!(
        answers[1..],
        [Packet::Pubrec(Ack::new(id(1), ReasonCode::Success))]
    );
}

/// Brings a message of this payload in; what is kept is noted.
fn bring(rig: &mut Rig, text: &'static str, kept: &Kept) -> Result<(), NotTaken> {
    let message = Message {
        topic: TopicName::new("t").unwrap(),
        payload: Bytes::from_static(text.as_bytes()),
        qos: Q2,
        retain: false,
        properties: PublishProperties::default(),
        expires_at: None,
        publisher: ByteString::new(),
        received_ms: 0,
        hops: 0,
    };
    let (now, kept) = (rig.now, kept.clone());
    let waiter = Box::new(move || kept.lock().unwrap().push(text));
    rig.shards[0].bring_in(now, message, waiter)
}

/// What was said to be kept, in order.
type Kept = Arc<Mutex<Vec<&'static str>>>;

#[test]
fn who_brings_a_message_in_is_called_when_it_is_kept() {
    let (mut rig, disk, _subscriber, _publisher) = stuck();
    let kept = Kept::default();
    assert_eq!(bring(&mut rig, "one", &kept), Ok(()));
    assert_eq!(bring(&mut rig, "two", &kept), Ok(()));
    rig.run();
    assert!(kept.lock().unwrap().is_empty());
    disk.set((FAR, Health::Well));
    let now = rig.now;
    rig.shards[0].stored(now);
    assert_eq!(*kept.lock().unwrap(), ["one", "two"]);
    assert_eq!(bring(&mut rig, "three", &kept), Ok(()));
    assert_eq!(kept.lock().unwrap().last(), Some(&"three"), "at once");
}

#[test]
fn who_changed_something_is_called_when_it_is_stored_in_turn_with_others() {
    let (mut rig, disk, _subscriber, _publisher) = stuck();
    let kept = Kept::default();
    let when_stored = |rig: &mut Rig, text| {
        let kept = kept.clone();
        rig.shards[0].when_stored(Box::new(move || kept.lock().unwrap().push(text)));
    };
    assert_eq!(bring(&mut rig, "one", &kept), Ok(()));
    rig.shards[0].keep_keys();
    when_stored(&mut rig, "keys");
    assert_eq!(bring(&mut rig, "two", &kept), Ok(()));
    rig.run();
    assert!(kept.lock().unwrap().is_empty(), "the disk has nothing yet");
    disk.set((FAR, Health::Well));
    let now = rig.now;
    rig.shards[0].stored(now);
    assert_eq!(*kept.lock().unwrap(), ["one", "keys", "two"]);
    when_stored(&mut rig, "nothing new");
    assert_eq!(kept.lock().unwrap().last(), Some(&"nothing new"), "at once");
}

#[test]
fn nobody_is_called_for_what_is_not_taken() {
    let (mut rig, disk, subscriber, _publisher) = stuck();
    let kept = Kept::default();
    for (health, wanted) in [
        (Health::Refusing, NotTaken::Unstored),
        (Health::Congested, NotTaken::Busy),
    ] {
        disk.set((FAR, health));
        assert_eq!(bring(&mut rig, "one", &kept), Err(wanted));
    }
    disk.set((FAR, Health::Well));
    rig.shards[0].congested(crate::ShardId(2), true);
    assert_eq!(bring(&mut rig, "two", &kept), Err(NotTaken::Busy));
    rig.shards[0].congested(crate::ShardId(2), false);
    assert_eq!(bring(&mut rig, "three", &kept), Ok(()));
    rig.run();
    assert_eq!(*kept.lock().unwrap(), ["three"]);
    assert_eq!(publishes(rig.received(subscriber)).len(), 1);
}
