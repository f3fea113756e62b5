//! Clients under load that know everything the broker acknowledged and everything they were given, over any
//! number of its lives; afterwards they say whether it kept its word.
//!
//! Owns: [`Load`], its publishers and subscribers (a thread each), and the choice of moments by a seed.
//! Must not: start or end a broker; that is what its callers are about.

mod check;
mod publisher;
mod subscriber;

pub use check::Report;

use crate::PATIENCE;
use crate::raw::{Incoming, Raw};
use publisher::Publisher;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use subscriber::Subscriber;

/// Publishers; those with an even number publish with QoS 1, the others with QoS 2.
pub const PUBLISHERS: u64 = 4;
/// Topics of each publisher; messages of the last one are retained.
pub const TOPICS: u64 = 3;
/// Messages that may be begun beyond those waited for: the load goes on after the wait, but not without end.
const SLACK: u64 = 2000;
const TICK: Duration = Duration::from_millis(5);

/// A persistent session of the load.
#[derive(Clone, Copy, Debug)]
struct Member {
    name: &'static str,
    qos: u8,
    /// Members of a shared group get each message once among them.
    is_shared: bool,
    /// Takes its own session over from time to time.
    churns: bool,
}

const fn member(name: &'static str, qos: u8, is_shared: bool, churns: bool) -> Member {
    Member {
        name,
        qos,
        is_shared,
        churns,
    }
}

const MEMBERS: [Member; 7] = [
    member("s-one", 1, false, false),
    member("s-two", 2, false, false),
    member("s-churn", 2, false, true),
    member("s-far", 2, false, false),
    member("g-one", 2, true, false),
    member("g-two", 2, true, true),
    member("g-three", 2, true, false),
];

/// A message of the load: publisher, topic, number.
type Entry = (u64, u64, u64);

/// What the actors tell each other and the checker.
#[derive(Debug, Default)]
struct Board {
    is_over: AtomicBool,
    is_stopping: AtomicBool,
    acknowledged: AtomicU64,
    begun: AtomicU64,
    /// So many messages may be begun.
    quota: AtomicU64,
    takeovers: AtomicU64,
    /// By publisher: numbers published so far, all acknowledged at the end.
    published: Mutex<BTreeMap<u64, u64>>,
    /// By subscriber: everything it was given, in order.
    received: Mutex<BTreeMap<&'static str, Vec<Entry>>>,
    /// What broke a rule of packet identifiers, in words.
    violations: Mutex<Vec<String>>,
}

/// Publishers and subscribers at work.
#[derive(Debug)]
pub struct Load {
    broker: SocketAddr,
    board: Arc<Board>,
    publishers: Vec<JoinHandle<()>>,
    subscribers: Vec<JoinHandle<()>>,
}

impl Load {
    /// Subscribes everybody; publishers begin with the first [`Self::wait_for_acknowledgements`].
    #[must_use]
    pub fn start(broker: SocketAddr) -> Self {
        for member in MEMBERS {
            let filter = if member.is_shared {
                "$share/g/c/#"
            } else {
                "c/#"
            };
            let (mut raw, _) = Raw::connect(broker, member.name, false, None).unwrap();
            raw.subscribe(filter, member.qos, 1).unwrap();
            assert_eq!(raw.next(PATIENCE).unwrap(), Some(Incoming::Suback(1)));
            raw.disconnect().unwrap();
        }
        let board = Arc::new(Board::default());
        let subscribe = |member: &Member| {
            let (member, board) = (*member, board.clone());
            std::thread::spawn(move || Subscriber::new(member).run(&board, broker))
        };
        let publish = |name| {
            let board = board.clone();
            std::thread::spawn(move || Publisher::new(name).run(&board, broker))
        };
        Self {
            broker,
            subscribers: MEMBERS.iter().map(subscribe).collect(),
            publishers: (0..PUBLISHERS).map(publish).collect(),
            board,
        }
    }

    /// Waits until so many more messages are acknowledged; some more follow.
    pub fn wait_for_acknowledgements(&self, more: u64) {
        let acknowledged = || self.board.acknowledged.load(Ordering::Relaxed);
        let until = acknowledged() + more;
        self.board.quota.store(until + SLACK, Ordering::Relaxed);
        wait_until("acknowledgements", || acknowledged() >= until);
    }

    /// Publishes no more, waits until everything arrived everywhere, and checks it.
    ///
    /// # Panics
    /// Something acknowledged did not arrive, came twice or out of order, an identifier was not kept, or a
    /// retained message is not the last one.
    pub fn finish(self) -> Report {
        self.board.is_stopping.store(true, Ordering::Relaxed);
        for publisher in self.publishers {
            publisher.join().unwrap();
        }
        let published = self.board.published.lock().unwrap().clone();
        check::wait_for_everything(&self.board, &published);
        check::retained(self.broker, &published);
        self.board.is_over.store(true, Ordering::Relaxed);
        for subscriber in self.subscribers {
            subscriber.join().unwrap();
        }
        check::report(&self.board, &published)
    }
}

/// Tries until the broker is there again.
fn connect(board: &Board, broker: SocketAddr, id: &str) -> Option<(Raw, bool)> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end && !board.is_over.load(Ordering::Relaxed) {
        if let Ok(connected) = Raw::connect(broker, id, false, None) {
            return Some(connected);
        }
        std::thread::yield_now();
    }
    assert!(board.is_over.load(Ordering::Relaxed), "{id}: no broker");
    None
}

/// Waits for an event, but not for ever.
///
/// # Panics
/// It did not happen in time.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + 3 * PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what} did not happen in time");
        std::thread::yield_now();
    }
}

/// A small generator: the choices of a run can be repeated by its seed.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// From `WITMQ_TEST_SEED`, else from the clock; the seed is printed, so a failure shows it.
    #[must_use]
    pub fn seeded() -> Self {
        let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seed = setting("WITMQ_TEST_SEED").unwrap_or(u64::from(clock.unwrap().subsec_nanos()));
        println!("WITMQ_TEST_SEED={seed}");
        Self(seed)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A number in the environment.
///
/// # Panics
/// It is no number.
#[must_use]
pub fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    let number = value.parse();
    Some(number.unwrap_or_else(|error| panic!("{name}={value}: {error}")))
}
