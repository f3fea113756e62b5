//! A node that lives through everything at once, from one seed: publishers and subscribers come, go and take
//! over, connections break at any byte, mail between shards is late, the store lags, is congested or refuses, the
//! clock jumps, and the node crashes between two commits. Whatever the moments: nothing acknowledged is lost, QoS 2
//! is never doubled, order and identifiers hold, retained messages are the last acknowledged, wills and sessions
//! end once and when they should, and queues stay within their bounds.
//!
//! Owns: [`run`]. The disk is a parameter: one in memory here, the real one where it can be had.

#![allow(
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a violation is a panic that shows the seed"
)]

mod check;
mod disk;
mod mortal;
mod publisher;
mod store;
mod subscriber;

pub use disk::Ram;
pub use store::{Disk, Kept, Turn};

use super::{Rig, connect};
use crate::limits::Limits;
use crate::ports::store::Health;
use crate::ports::{Past, Store};
use mortal::Mortal;
use publisher::{Owed, Publisher};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use store::{Backend, SimulatedStore};
use subscriber::Subscriber;
use witmq_proto::codec;
use witmq_proto::packet::{
    Packet, PacketId, QoS, Subscribe, SubscribeFilter, SubscribeOptions, Unsubscribe, Version, Will,
};
use witmq_proto::{BytesMut, ReasonCode};

const SHARDS: u16 = 3;
const PUBLISHERS: usize = 3;
/// Client id, filter and QoS of those whose sessions never end.
const SUBSCRIBERS: [(&str, &str, QoS); 8] = [
    ("s-0", "t/#", QoS::AtLeastOnce),
    ("s-1", "t/#", QoS::ExactlyOnce),
    ("s-2", "t/#", QoS::ExactlyOnce),
    ("g-0", "$share/g/t/#", QoS::ExactlyOnce),
    ("g-1", "$share/g/t/#", QoS::ExactlyOnce),
    ("g-2", "$share/g/t/#", QoS::ExactlyOnce),
    ("witness", "will/#", QoS::ExactlyOnce),
    ("fickle", "u/#", QoS::AtLeastOnce),
];
const GROUP: std::ops::Range<usize> = 3..6;
const WITNESS: usize = 6;
const FICKLE: usize = 7;
const MORTALS: usize = 2;
/// The bound of outboxes in runs that are about it, and the Receive Maximum of every client.
const TIGHT: usize = 8;
const RECEIVE_MAXIMUM: u16 = 8;

/// A small generator.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }

    fn index(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).unwrap_or(1);
        usize::try_from(self.below(bound)).unwrap_or(0)
    }
}

/// The node, its disk, and everybody around it.
struct World {
    rig: Rig,
    backend: Rc<RefCell<Backend>>,
    random: Random,
    publishers: Vec<Publisher>,
    /// Those of [`SUBSCRIBERS`], then those of the mortals.
    subscribers: Vec<Subscriber>,
    mortals: Vec<Mortal>,
    /// What a fickle message that is begun now is.
    fickle: Owed,
    /// The connection of the last question about it.
    asked_on: Option<usize>,
    /// Outboxes are small: messages are dropped, but never more wait than the bound.
    is_tight: bool,
    is_settling: bool,
    crashes: u64,
}

/// Says which seed it is, if it fails.
struct Seed(u64);

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "seed {}: WITMQ_TEST_SEED={} repeats it alone",
                self.0, self.0
            );
        }
    }
}

/// One run of `steps` random steps, then until nothing more happens; how often the node crashed.
///
/// # Panics
/// A promise was broken.
pub fn run(seed: u64, steps: u32, disk: impl Disk + 'static) -> u64 {
    let shown = Seed(seed);
    let mut world = World::new(seed, Box::new(disk));
    for _ in 0..steps {
        world.step();
        world.check_bounds();
    }
    world.crash();
    world.settle();
    world.check_messages();
    world.check_retained();
    world.end_mortals();
    world.check_wills();
    drop(shown);
    world.crashes
}

impl World {
    fn new(seed: u64, disk: Box<dyn Disk>) -> Self {
        let is_tight = seed % 8 == 7;
        let limits = Limits {
            sys_interval: Duration::ZERO,
            outbox_messages: if is_tight { TIGHT } else { 100_000 },
            subscribe_turn: if seed % 4 == 3 { 1 } else { 64 },
            ..Limits::default()
        };
        let backend = Rc::new(RefCell::new(Backend::new(disk, SHARDS)));
        let shard = Cell::new(0);
        let store = || -> Box<dyn Store> {
            Box::new(SimulatedStore::new(
                backend.clone(),
                shard.replace(shard.get() + 1),
            ))
        };
        let rig = Rig::with_store(SHARDS, limits, store);
        let mut world = Self {
            rig,
            backend,
            random: Random(seed),
            publishers: Vec::new(),
            subscribers: Vec::new(),
            mortals: Vec::new(),
            fickle: Owed::May,
            asked_on: None,
            is_tight,
            is_settling: false,
            crashes: 0,
        };
        world.populate();
        world
    }

    fn populate(&mut self) {
        for (number, (client_id, filter, qos)) in SUBSCRIBERS.iter().enumerate() {
            let peer = self.connect(client_id, u32::MAX, None);
            self.subscribers.push(Subscriber::new(client_id, peer));
            self.commit_all();
            self.rig.send(peer, &subscribe(&[*filter], *qos));
            self.commit_all();
            self.listen(number);
            assert!(self.subscribers[number].verdict.is_some(), "{client_id}");
        }
        self.fickle = Owed::Must;
        for name in 0..PUBLISHERS {
            let peer = self.connect(&Publisher::client_id(name), u32::MAX, None);
            self.publishers.push(Publisher::new(name, peer));
            self.commit_all();
        }
        for name in 0..MORTALS {
            let client_id = Mortal::client_id(name);
            self.subscribers
                .push(Subscriber::new(&client_id, usize::MAX));
            self.mortals.push(Mortal::new(name));
        }
        self.rig.hold_mail();
        self.rig.hold_turns();
    }

    /// Opens a connection.
    fn connect(&mut self, client_id: &str, expiry: u32, will: Option<Will>) -> usize {
        let mut connect = connect(Version::V5, client_id);
        connect.clean_start = false;
        connect.properties.session_expiry = Some(expiry);
        connect.properties.receive_maximum = Some(RECEIVE_MAXIMUM);
        connect.will = will;
        self.rig.connect(connect)
    }

    /// Sends a packet; sometimes the connection breaks within it.
    fn send(&mut self, peer: usize, packet: &Packet) {
        if !self.is_settling && self.random.below(64) == 0 {
            let mut bytes = BytesMut::new();
            codec::encode(packet, Version::V5, &mut bytes).ok();
            let cut = self.random.index(bytes.len());
            self.rig.send_bytes(peer, &bytes[..cut]);
            self.rig.cut(peer);
            return;
        }
        self.rig.send(peer, packet);
    }

    /// Some of what is on its way to the client is lost, from any byte on.
    fn lose(&mut self, peer: usize) {
        let keep = self.random.index(self.rig.unread(peer) + 1);
        self.rig.truncate(peer, keep);
    }

    fn cut(&mut self, peer: usize) {
        self.rig.truncate(peer, 0);
        self.rig.cut(peer);
    }

    fn commit(&mut self, count: usize) {
        self.backend.borrow_mut().commit(count);
        self.rig.run();
    }

    fn commit_all(&mut self) {
        for _ in 0..64 {
            let mut backend = self.backend.borrow_mut();
            if backend.is_idle() {
                return;
            }
            backend.commit(usize::MAX);
            backend.read();
            backend.answer();
            drop(backend);
            self.rig.run();
        }
    }

    fn is_refusing(&self) -> bool {
        self.backend.borrow().health == Health::Refusing
    }

    fn set_health(&mut self, health: Health) {
        self.backend.borrow_mut().health = health;
        if health == Health::Refusing {
            // Some of it may not have been read yet.
            self.publishers.iter_mut().for_each(Publisher::meet_refusal);
        }
        self.rig.run();
    }

    fn step(&mut self) {
        let publisher = self.random.index(PUBLISHERS);
        let subscriber = self.random.index(SUBSCRIBERS.len());
        match self.random.below(100) {
            0..=19 => self.publish(publisher),
            20..=31 => self.hear_publisher(publisher),
            32..=46 => self.hear_subscriber(subscriber),
            47..=64 => {
                self.answer(subscriber);
            }
            65..=67 => self.reconnect_subscriber(subscriber),
            68 => self.reconnect_publisher(publisher),
            69..=76 => self.carry_mail(),
            77 => {
                self.rig.turn();
            }
            78..=83 => self.step_store(),
            84..=86 => self.pass_time(),
            87 => self.ask_fickle(),
            88..=97 => {
                let mortal = self.random.index(MORTALS);
                self.step_mortal(mortal);
            }
            98 => self.step_health(),
            _ => {
                if self.random.below(3) == 0 {
                    self.crash();
                }
            }
        }
        self.hear_fickle();
    }

    fn carry_mail(&mut self) {
        let routes = self.rig.mail_routes();
        if !routes.is_empty() {
            let route = routes[self.random.index(routes.len())];
            self.rig.take_mail(route);
        }
    }

    fn step_store(&mut self) {
        match self.random.below(4) {
            0 => self.backend.borrow_mut().read(),
            1 => {
                self.backend.borrow_mut().answer();
                self.rig.run();
            }
            _ if self.is_refusing() => {}
            _ => {
                let waiting = self.backend.borrow().waiting();
                let count = self.random.index(waiting + 1);
                self.commit(count);
            }
        }
    }

    fn step_health(&mut self) {
        let health = match self.random.below(4) {
            0 => Health::Congested,
            1 => Health::Refusing,
            _ => Health::Well,
        };
        self.set_health(health);
    }

    /// A little, or a jump; not while the store refuses, for a will that falls due then is refused as well.
    fn pass_time(&mut self) {
        if self.is_refusing() {
            return;
        }
        let by = match self.random.below(8) {
            0 => Duration::from_secs(self.random.below(120)),
            _ => Duration::from_millis(self.random.below(3000)),
        };
        self.rig.jump(by);
    }

    /// The subscriber of fickle messages subscribes or unsubscribes.
    fn ask_fickle(&mut self) {
        let peer = self.subscribers[FICKLE].peer;
        if !self.rig.is_open(peer) || self.fickle == Owed::May && self.asked_on == Some(peer) {
            return; // one question at a time
        }
        self.asked_on = Some(peer);
        let ends = self.fickle == Owed::Must;
        let (_, filter, qos) = SUBSCRIBERS[FICKLE];
        self.downgrade_fickle();
        self.subscribers[FICKLE].verdict = None;
        let packet = if ends {
            Packet::Unsubscribe(Box::new(Unsubscribe {
                packet_id: PacketId::MIN,
                filters: vec![filter.into()],
                user: Vec::new(),
            }))
        } else {
            subscribe(&[filter], qos)
        };
        self.send(peer, &packet);
    }

    /// What is not decided yet may go either way.
    fn downgrade_fickle(&mut self) {
        let taken = self.subscribers[FICKLE].received.iter();
        let taken: Vec<_> = taken.map(|((_, payload), _)| payload.clone()).collect();
        for publisher in &mut self.publishers {
            let pending: Vec<bool> = (0..)
                .take(publisher.sent.len())
                .map(|number| publisher.is_pending(number))
                .collect();
            for (number, sent) in publisher.sent.iter_mut().enumerate() {
                let is_taken = taken.contains(&format!("{}:{number}", publisher.name));
                if pending[number] || sent.fickle == Owed::Must && !is_taken {
                    sent.fickle = Owed::May;
                }
            }
        }
        self.fickle = Owed::May;
    }

    fn hear_fickle(&mut self) {
        match self.subscribers[FICKLE].verdict.take() {
            Some(ReasonCode::GrantedQos1) => self.fickle = Owed::Must,
            // UNSUBACK has these two.
            Some(ReasonCode::Success | ReasonCode::NoSubscriptionExisted) => {
                self.fickle = Owed::Never;
            }
            _ => {}
        }
    }

    /// The node ends between two commits; the next life begins with what was committed.
    fn crash(&mut self) {
        self.crashes += 1;
        if !self.is_refusing() {
            let waiting = self.backend.borrow().waiting();
            let count = self.random.index(waiting + 1);
            self.backend.borrow_mut().commit(count);
        }
        let left = self.rig.now;
        // What it sent before is still read, up to some byte.
        for number in 0..self.subscribers.len() {
            if self.subscribers[number].peer != usize::MAX {
                self.lose(self.subscribers[number].peer);
                self.listen(number);
            }
        }
        for name in 0..PUBLISHERS {
            let peer = self.publishers[name].peer;
            self.lose(peer);
            for packet in self.rig.received(peer) {
                self.publishers[name].hear(&packet);
            }
        }
        self.hear_fickle();
        let committed = self.backend.borrow().committed;
        let (pasts, retained) = self.backend.borrow_mut().crash();
        let down = Duration::from_millis(self.random.below(40_000));
        let stores = (0..SHARDS).map(|shard| SimulatedStore::new(self.backend.clone(), shard));
        let lives: Vec<(Box<dyn Store>, Past)> = stores
            .zip(pasts)
            .map(|(store, past)| (Box::new(store) as Box<dyn Store>, past))
            .collect();
        self.rig.crash(down, retained, lives);
        self.mortals_crashed(left, committed);
        self.check_retained();
    }

    /// Everything is committed, carried and answered until nothing more happens.
    fn settle(&mut self) {
        self.is_settling = true;
        self.set_health(Health::Well);
        let mut quiet = 0;
        for _ in 0..10_000 {
            let mut is_idle = true;
            self.commit_all();
            is_idle &= !self.rig.turn();
            for route in self.rig.mail_routes() {
                self.rig.take_mail(route);
                is_idle = false;
            }
            for name in 0..PUBLISHERS {
                self.hear_publisher(name);
                is_idle &= self.publishers[name].is_idle();
            }
            for number in 0..SUBSCRIBERS.len() {
                self.hear_subscriber(number);
                while self.answer(number) {
                    is_idle = false;
                }
            }
            is_idle &= self.settle_mortals();
            self.hear_fickle();
            quiet = if is_idle { quiet + 1 } else { 0 };
            if quiet > 3 {
                return;
            }
        }
        panic!("it does not come to rest");
    }
}

fn subscribe(filters: &[&'static str], qos: QoS) -> Packet {
    let options = SubscribeOptions {
        qos,
        ..SubscribeOptions::default()
    };
    let wanted = |filter: &&'static str| SubscribeFilter {
        filter: (*filter).into(),
        options,
    };
    Packet::Subscribe(Box::new(Subscribe {
        packet_id: PacketId::MIN,
        subscription_id: None,
        user: Vec::new(),
        filters: filters.iter().map(wanted).collect(),
    }))
}
