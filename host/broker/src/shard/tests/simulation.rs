//! Shards, sessions, outboxes and a store that lags behind, from one seed: publishers and subscribers come and
//! go at random; every message is delivered, QoS 2 once, in order.
//!
//! `WITMQ_TEST_SEED=7 cargo test -p witmq-broker simulation` repeats one; `WITMQ_TEST_SEEDS=100000` runs more.

use super::{Q1, Q2, id, join_with, persistent, publish, subscribed};
use crate::limits::Limits;
use crate::memory::Memory;
use crate::ports::store::{Fetch, Fetched, Health, SessionNumber};
use crate::ports::{Position, Record, Store};
use crate::testing::Rig;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use witmq_proto::packet::{Ack, Packet, PacketId, QoS, Version};
use witmq_proto::{ByteString, Delivery, LogPlace, ReasonCode};

const SEEDS: u64 = 300;
const STEPS: u32 = 400;
const PUBLISHERS: usize = 3;
const SUBSCRIBERS: usize = 3;

/// What a queue has to know of a record.
enum Change {
    Queued(SessionNumber, Delivery),
    Released(SessionNumber, u64, Option<LogPlace>),
    Done(SessionNumber, u64, Option<LogPlace>),
    Ended(SessionNumber),
    Other,
}

/// Commits as far as it is told, and answers a question with what was durable when it was asked.
struct Lagging {
    durable: Memory,
    pending: VecDeque<(u64, Change)>,
    position: u64,
    bound: Arc<AtomicU64>,
    committed: u64,
    answers: VecDeque<Fetched>,
}

impl Lagging {
    fn commit(&mut self) {
        let bound = self.bound.load(Ordering::Relaxed);
        while self.pending.front().is_some_and(|(at, _)| *at <= bound) {
            let Some((at, change)) = self.pending.pop_front() else {
                return;
            };
            self.committed = at;
            let empty = ByteString::new();
            match &change {
                Change::Queued(session, delivery) => self.durable.append(Record::Queued {
                    session: *session,
                    delivery,
                }),
                Change::Released(session, number, kept) => self.durable.append(Record::Released {
                    session: *session,
                    number: *number,
                    kept: *kept,
                }),
                Change::Done(session, number, kept) => self.durable.append(Record::Done {
                    session: *session,
                    number: *number,
                    kept: *kept,
                }),
                Change::Ended(session) => self.durable.append(Record::SessionEnded {
                    session: *session,
                    client_id: &empty,
                }),
                Change::Other => continue,
            };
        }
    }
}

impl Store for Lagging {
    fn append(&mut self, record: Record<'_>) -> Position {
        self.position += 1;
        let change = match record {
            Record::Queued { session, delivery } => Change::Queued(session, delivery.clone()),
            Record::Released {
                session,
                number,
                kept,
            } => Change::Released(session, number, kept),
            Record::Done {
                session,
                number,
                kept,
            } => Change::Done(session, number, kept),
            Record::SessionEnded { session, .. } => Change::Ended(session),
            _ => Change::Other,
        };
        self.pending.push_back((self.position, change));
        Position(self.position)
    }

    fn stored(&self) -> Position {
        Position(self.committed)
    }

    fn flush(&mut self) {
        self.commit();
    }

    fn health(&self) -> Health {
        Health::Well
    }

    fn new_session(&mut self) -> SessionNumber {
        self.durable.new_session()
    }

    fn fetch(&mut self, fetch: Fetch) {
        self.durable.fetch(fetch);
        self.answers.extend(self.durable.poll_fetched());
    }

    fn poll_fetched(&mut self) -> Option<Fetched> {
        // Sometimes later than it was read.
        let is_due = !self.bound.load(Ordering::Relaxed).is_multiple_of(3);
        if is_due {
            self.answers.pop_front()
        } else {
            None
        }
    }
}

struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

#[derive(Default)]
struct Publisher {
    peer: usize,
    next: u64,
    next_id: u16,
    /// Number, identifier, whether PUBREC came.
    pending: VecDeque<(u64, PacketId, bool)>,
}

#[derive(Default)]
struct Subscriber {
    peer: usize,
    /// QoS 2 identifiers taken and not released.
    open: BTreeSet<PacketId>,
    /// Publisher and number, in order.
    received: Vec<(usize, u64)>,
    /// Answers not given yet.
    owed: VecDeque<Packet>,
}

struct World {
    rig: Rig,
    random: Random,
    bounds: Vec<Arc<AtomicU64>>,
    publishers: Vec<Publisher>,
    subscribers: Vec<Subscriber>,
}

fn qos_of(publisher: usize) -> QoS {
    if publisher == 0 { Q1 } else { Q2 }
}

impl World {
    fn new(seed: u64) -> Self {
        let bounds: Arc<Mutex<Vec<Arc<AtomicU64>>>> = Arc::default();
        let handles = bounds.clone();
        let limits = Limits {
            sys_interval: Duration::ZERO,
            outbox_messages: 100_000,
            ..Limits::default()
        };
        let rig = Rig::with_store(3, limits, move || {
            let bound = Arc::new(AtomicU64::new(u64::MAX));
            handles.lock().unwrap().push(bound.clone());
            Box::new(Lagging {
                durable: Memory::default(),
                pending: VecDeque::new(),
                position: 0,
                bound,
                committed: 0,
                answers: VecDeque::new(),
            })
        });
        let bounds = bounds.lock().unwrap().clone();
        let mut world = Self {
            rig,
            random: Random(seed),
            bounds,
            publishers: (0..PUBLISHERS).map(|_| Publisher::default()).collect(),
            subscribers: (0..SUBSCRIBERS).map(|_| Subscriber::default()).collect(),
        };
        for number in 0..SUBSCRIBERS {
            let name = format!("subscriber-{number}");
            let (peer, _) = join_with(&mut world.rig, persistent(Version::V5, &name));
            subscribed(
                &mut world.rig,
                peer,
                "t/#",
                if number == 0 { Q1 } else { Q2 },
            );
            world.subscribers[number].peer = peer;
        }
        for number in 0..PUBLISHERS {
            let name = format!("publisher-{number}");
            let (peer, _) = join_with(&mut world.rig, persistent(Version::V5, &name));
            world.publishers[number].peer = peer;
            world.publishers[number].next_id = 1;
        }
        // From here on each shard commits as far as it is told.
        for bound in &world.bounds {
            bound.store(1, Ordering::Relaxed);
        }
        world
    }

    fn commit(&mut self, shard: usize, more: u64) {
        self.bounds[shard].fetch_add(more, Ordering::Relaxed);
        self.rig.run();
    }

    fn publish(&mut self, number: usize) {
        let publisher = &mut self.publishers[number];
        if publisher.pending.len() >= 5 {
            return;
        }
        let packet_id = id(publisher.next_id);
        publisher.next_id = publisher.next_id % 60_000 + 1;
        publisher
            .pending
            .push_back((publisher.next, packet_id, false));
        publisher.next += 1;
        let (peer, sent) = (publisher.peer, publisher.next - 1);
        self.send(peer, number, sent, packet_id, false);
    }

    fn send(&mut self, peer: usize, number: usize, message: u64, packet_id: PacketId, dup: bool) {
        let text = format!("{number}:{message}");
        let mut packet = publish(
            &format!("t/{number}"),
            &text,
            qos_of(number),
            packet_id.get(),
        );
        packet.dup = dup;
        self.rig.send(peer, &Packet::Publish(Box::new(packet)));
    }

    fn hear_publisher(&mut self, number: usize) {
        let peer = self.publishers[number].peer;
        for packet in self.rig.received(peer) {
            let pending = &mut self.publishers[number].pending;
            match packet {
                Packet::Puback(ack) | Packet::Pubcomp(ack) => {
                    pending.retain(|(_, known, _)| *known != ack.packet_id);
                }
                Packet::Pubrec(ack) => {
                    for entry in pending.iter_mut().filter(|entry| entry.1 == ack.packet_id) {
                        entry.2 = true;
                    }
                    let pubrel = Packet::Pubrel(Ack::new(ack.packet_id, ReasonCode::Success));
                    self.rig.send(peer, &pubrel);
                }
                _ => {}
            }
        }
    }

    fn hear_subscriber(&mut self, number: usize) {
        let peer = self.subscribers[number].peer;
        for packet in self.rig.received(peer) {
            let subscriber = &mut self.subscribers[number];
            match packet {
                Packet::Publish(publish) => {
                    let packet_id = publish.packet_id.unwrap();
                    let text = String::from_utf8_lossy(&publish.payload).into_owned();
                    let (from, message) = text.split_once(':').unwrap();
                    let entry = (from.parse().unwrap(), message.parse().unwrap());
                    let ack = Ack::new(packet_id, ReasonCode::Success);
                    if publish.qos == Q1 {
                        subscriber.received.push(entry);
                        subscriber.owed.push_back(Packet::Puback(ack));
                        continue;
                    }
                    if subscriber.open.insert(packet_id) {
                        subscriber.received.push(entry);
                    }
                    subscriber.owed.push_back(Packet::Pubrec(ack));
                }
                Packet::Pubrel(ack) => {
                    subscriber.open.remove(&ack.packet_id);
                    let ack = Ack::new(ack.packet_id, ReasonCode::Success);
                    subscriber.owed.push_back(Packet::Pubcomp(ack));
                }
                _ => {}
            }
        }
    }

    fn answer(&mut self, number: usize) {
        if let Some(packet) = self.subscribers[number].owed.pop_front() {
            let peer = self.subscribers[number].peer;
            self.rig.send(peer, &packet);
        }
    }

    fn reconnect_subscriber(&mut self, number: usize) {
        let peer = self.subscribers[number].peer;
        if self.random.below(2) == 0 {
            self.rig.cut(peer); // else it is taken over
        }
        let name = format!("subscriber-{number}");
        let peer = self.rig.connect(persistent(Version::V5, &name));
        self.subscribers[number].peer = peer;
        self.subscribers[number].owed.clear();
    }

    fn reconnect_publisher(&mut self, number: usize) {
        self.rig.cut(self.publishers[number].peer);
        let name = format!("publisher-{number}");
        let peer = self.rig.connect(persistent(Version::V5, &name));
        self.publishers[number].peer = peer;
        let pending: Vec<_> = self.publishers[number].pending.iter().copied().collect();
        for (message, packet_id, is_received) in pending {
            if is_received {
                let pubrel = Packet::Pubrel(Ack::new(packet_id, ReasonCode::Success));
                self.rig.send(peer, &pubrel);
            } else {
                self.send(peer, number, message, packet_id, true);
            }
        }
    }

    fn step(&mut self) {
        let publisher = usize::try_from(self.random.below(PUBLISHERS as u64)).unwrap();
        let subscriber = usize::try_from(self.random.below(SUBSCRIBERS as u64)).unwrap();
        let shard = usize::try_from(self.random.below(3)).unwrap();
        match self.random.below(24) {
            0..=5 => self.publish(publisher),
            6..=9 => self.hear_publisher(publisher),
            10..=12 => self.hear_subscriber(subscriber),
            13..=16 => self.answer(subscriber),
            17 => self.reconnect_subscriber(subscriber),
            18 => self.reconnect_publisher(publisher),
            _ => {
                let more = self.random.below(8);
                self.commit(shard, more);
            }
        }
    }

    /// Everything is committed and answered until nothing more happens.
    fn settle(&mut self) {
        for bound in &self.bounds {
            bound.store(u64::MAX - 1, Ordering::Relaxed);
        }
        for _ in 0..2_000 {
            self.rig.run();
            (0..PUBLISHERS).for_each(|number| self.hear_publisher(number));
            for number in 0..SUBSCRIBERS {
                self.hear_subscriber(number);
                while !self.subscribers[number].owed.is_empty() {
                    self.answer(number);
                }
            }
        }
    }

    fn check(&self, seed: u64) {
        for (number, publisher) in self.publishers.iter().enumerate() {
            assert!(
                publisher.pending.is_empty(),
                "seed {seed}: publisher {number} waits"
            );
            for (to, subscriber) in self.subscribers.iter().enumerate() {
                let of = subscriber
                    .received
                    .iter()
                    .filter(|(from, _)| *from == number);
                let all: Vec<u64> = of.map(|(_, message)| *message).collect();
                let mut seen = BTreeMap::new();
                let firsts: Vec<u64> = all
                    .iter()
                    .copied()
                    .filter(|message| seen.insert(*message, ()).is_none())
                    .collect();
                let expected: Vec<u64> = (0..publisher.next).collect();
                assert_eq!(firsts, expected, "seed {seed}: publisher {number} at {to}");
                if number > 0 && to > 0 {
                    assert_eq!(all, expected, "seed {seed}: QoS 2 from {number} at {to}");
                }
            }
        }
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

#[test]
fn whatever_the_moments_everything_arrives_in_order_and_qos_2_once() {
    let seeds = match setting("WITMQ_TEST_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("WITMQ_TEST_SEEDS").unwrap_or(SEEDS),
    };
    for seed in seeds {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.settle();
        world.check(seed);
    }
}
