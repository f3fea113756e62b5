//! Messages whose handling changed keys of plugins: acknowledged when those are stored, refused when they cannot be.

use super::{Q0, Q1, Q2, id, join, payloads, publish, subscribed};
use crate::limits::Limits;
use crate::memory::Memory;
use crate::ports::store::{Fetch, Fetched, Health, SessionNumber};
use crate::ports::{Position, Record, Store};
use crate::testing::Rig;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use witmq_proto::ReasonCode;
use witmq_proto::packet::{Ack, Packet, Version};

/// A store beside which a plugin changes a key with every message.
#[derive(Default)]
struct Changing {
    memory: Memory,
    changes: Cell<u64>,
    stored: Arc<AtomicU64>,
    is_refusing: Arc<AtomicBool>,
}

impl Store for Changing {
    fn append(&mut self, record: Record<'_>) -> Position {
        self.memory.append(record)
    }

    fn stored(&self) -> Position {
        let bound = Position(self.stored.load(Ordering::Relaxed));
        self.memory.stored().min(bound)
    }

    fn flush(&mut self) {}

    fn health(&self) -> Health {
        if self.is_refusing.load(Ordering::Relaxed) {
            Health::Refusing
        } else {
            Health::Well
        }
    }

    fn kv_changes(&self) -> u64 {
        self.changes.set(self.changes.get() + 1);
        self.changes.get()
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

fn changing() -> (Rig, Arc<AtomicU64>, Arc<AtomicBool>) {
    let (stored, is_refusing) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
    let (for_store, for_health) = (stored.clone(), is_refusing.clone());
    let rig = Rig::with_store(1, Limits::default(), move || {
        Box::new(Changing {
            stored: for_store.clone(),
            is_refusing: for_health.clone(),
            ..Changing::default()
        })
    });
    (rig, stored, is_refusing)
}

#[test]
fn its_acknowledgement_waits_for_the_keys() {
    let (mut rig, stored, _) = changing();
    let publisher = join(&mut rig, Version::V5, "p");
    rig.send(
        publisher,
        &Packet::Publish(Box::new(publish("t", "x", Q1, 1))),
    );
    rig.send(
        publisher,
        &Packet::Publish(Box::new(publish("t", "x", Q2, 2))),
    );
    assert!(rig.received(publisher).is_empty());
    stored.store(1_000, Ordering::Relaxed);
    let now = rig.now;
    rig.shards[0].stored(now);
    rig.run();
    let none = ReasonCode::NoMatchingSubscribers;
    let expected = [
        Packet::Puback(Ack::new(id(1), none)),
        Packet::Pubrec(Ack::new(id(2), none)),
    ];
    assert_eq!(rig.received(publisher), expected);
}

#[test]
fn it_is_refused_while_nothing_can_be_stored_and_taken_again_afterwards() {
    let (mut rig, stored, is_refusing) = changing();
    stored.store(1_000, Ordering::Relaxed);
    let subscriber = join(&mut rig, Version::V5, "s");
    subscribed(&mut rig, subscriber, "t", Q1);
    let publisher = join(&mut rig, Version::V5, "p");
    for (is_full, reason) in [
        (true, ReasonCode::QuotaExceeded),
        (false, ReasonCode::Success),
    ] {
        is_refusing.store(is_full, Ordering::Relaxed);
        rig.send(
            publisher,
            &Packet::Publish(Box::new(publish("t", "x", Q1, 1))),
        );
        assert_eq!(
            rig.received(publisher),
            [Packet::Puback(Ack::new(id(1), reason))]
        );
    }
    assert_eq!(payloads(&mut rig, subscriber), ["x"]);
    // QoS 0 promises nothing.
    is_refusing.store(true, Ordering::Relaxed);
    rig.send(
        publisher,
        &Packet::Publish(Box::new(publish("t", "zero", Q0, 0))),
    );
    assert_eq!(payloads(&mut rig, subscriber), ["zero"]);
}
