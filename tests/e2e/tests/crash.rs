//! kill -9 at random moments under load: what was acknowledged is delivered, QoS 2 once, in order; retained
//! messages are the last acknowledged; wills of clients that were connected are published.
//!
//! `WITMQ_TEST_CRASHES=100 cargo test --release -p witmq-e2e --test crash` for the long form;
//! `WITMQ_TEST_SEED` repeats the moments of a run.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};
use witmq_e2e::raw::{Incoming, Raw};
use witmq_e2e::{Broker, PATIENCE};

const CRASHES: u64 = 10;
const PUBLISHERS: u64 = 4;
const TOPICS: u64 = 3;
/// Unacknowledged messages of one publisher.
const WINDOW: usize = 20;
const TICK: Duration = Duration::from_millis(5);

/// By subscriber: everything it was given, in order: publisher, topic, number.
type Received = BTreeMap<String, Vec<(u64, u64, u64)>>;

/// What the actors tell the main thread.
#[derive(Default)]
struct Board {
    is_over: AtomicBool,
    acknowledged: AtomicU64,
    /// By publisher: numbers published so far, all acknowledged at the end.
    published: Mutex<BTreeMap<u64, u64>>,
    received: Mutex<Received>,
    /// Wills of clients whose CONNACK came, and wills received.
    wills: Mutex<(BTreeSet<u64>, BTreeSet<u64>)>,
    takeovers: AtomicU64,
}

/// Tries until the broker is there again.
fn connect(board: &Board, broker: SocketAddr, id: &str) -> Option<Raw> {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end && !board.is_over.load(Ordering::Relaxed) {
        if let Ok((raw, _)) = Raw::connect(broker, id, false, None) {
            return Some(raw);
        }
        std::thread::yield_now();
    }
    assert!(board.is_over.load(Ordering::Relaxed), "{id}: no broker");
    None
}

/// A message on its way to the broker.
struct Pending {
    number: u64,
    id: u16,
    is_received: bool,
}

/// Publishes numbers with QoS 1 (even publishers) or 2 (odd), over connections, as the standard says.
struct Publisher {
    name: u64,
    qos: u8,
    next: u64,
    next_id: u16,
    pending: VecDeque<Pending>,
}

impl Publisher {
    fn new(name: u64) -> Self {
        Self {
            name,
            qos: if name.is_multiple_of(2) { 1 } else { 2 },
            next: 0,
            next_id: 1,
            pending: VecDeque::new(),
        }
    }

    fn run(mut self, board: &Board, broker: SocketAddr, stop: &AtomicBool) {
        let id = format!("publisher-{}", self.name);
        while let Some(mut raw) = connect(board, broker, &id) {
            if self.serve(&mut raw, board, stop).is_ok() {
                break;
            }
        }
        board.published.lock().unwrap().insert(self.name, self.next);
    }

    fn send(&self, raw: &mut Raw, pending: &Pending, dup: bool) -> std::io::Result<()> {
        if pending.is_received {
            return raw.acknowledge(0x62, pending.id);
        }
        // The last topic is retained.
        let topic = pending.number % TOPICS;
        let payload = format!("{}:{topic}:{}", self.name, pending.number);
        let path = format!("c/{}/{topic}", self.name);
        let flags = (self.qos, topic == TOPICS - 1, dup);
        raw.publish(&path, payload.as_bytes(), flags, pending.id)
    }

    /// `Ok`: everything is published and acknowledged.
    fn serve(&mut self, raw: &mut Raw, board: &Board, stop: &AtomicBool) -> std::io::Result<()> {
        for pending in &self.pending {
            self.send(raw, pending, true)?; // [MQTT-4.4.0-1]
        }
        loop {
            let is_stopping = stop.load(Ordering::Relaxed);
            if is_stopping && self.pending.is_empty() {
                return Ok(());
            }
            if !is_stopping && self.pending.len() < WINDOW {
                let pending = Pending {
                    number: self.next,
                    id: self.next_id,
                    is_received: false,
                };
                self.next += 1;
                self.next_id = self.next_id.checked_add(1).unwrap_or(1);
                self.pending.push_back(pending);
                if let Some(pending) = self.pending.back() {
                    self.send(raw, pending, false)?;
                }
                if self.pending.len() < WINDOW {
                    continue;
                }
            }
            match raw.next(TICK)? {
                Some(Incoming::Puback(id) | Incoming::Pubcomp(id)) => {
                    self.pending.retain(|pending| pending.id != id);
                    board.acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                Some(Incoming::Pubrec(id)) => {
                    for pending in &mut self.pending {
                        pending.is_received |= pending.id == id;
                    }
                    raw.acknowledge(0x62, id)?;
                }
                _ => {}
            }
        }
    }
}

/// Takes everything; remembers over connections what a QoS 2 receiver has to.
fn subscriber(name: &str, board: &Board, broker: SocketAddr, churns: bool) {
    let mut open: BTreeSet<u16> = BTreeSet::new();
    // The older connection of a takeover stays open until the broker ends it [MQTT-3.1.4-3].
    let mut older = None;
    let mut taken = 0u64;
    while let Some(mut raw) = connect(board, broker, name) {
        drop(older.take());
        let served = (|| -> std::io::Result<()> {
            while !board.is_over.load(Ordering::Relaxed) {
                // One that takes its own session over from time to time.
                if churns && taken % 500 == 499 {
                    taken += 1;
                    board.takeovers.fetch_add(1, Ordering::Relaxed);
                    return Err(std::io::ErrorKind::Interrupted.into());
                }
                let Some(incoming) = raw.next(TICK)? else {
                    continue;
                };
                match incoming {
                    Incoming::Publish {
                        id,
                        qos: 2,
                        payload,
                        topic,
                        ..
                    } => {
                        if open.insert(id) {
                            take(board, name, &topic, &payload); // [MQTT-4.3.3-10]
                            taken += 1;
                        }
                        raw.acknowledge(0x50, id)?;
                    }
                    Incoming::Publish {
                        id,
                        qos,
                        payload,
                        topic,
                        ..
                    } => {
                        take(board, name, &topic, &payload);
                        taken += 1;
                        if qos == 1 {
                            raw.acknowledge(0x40, id)?;
                        }
                    }
                    Incoming::Pubrel(id) => {
                        open.remove(&id);
                        raw.acknowledge(0x70, id)?;
                    }
                    _ => {}
                }
            }
            Ok(())
        })();
        if served.is_ok() {
            return;
        }
        if served.is_err_and(|error| error.kind() == std::io::ErrorKind::Interrupted) {
            older = Some(raw);
        }
    }
}

fn take(board: &Board, name: &str, topic: &str, payload: &[u8]) {
    let text = String::from_utf8_lossy(payload);
    if topic.starts_with("will/") {
        board.wills.lock().unwrap().1.insert(text.parse().unwrap());
        return;
    }
    let numbers: Vec<u64> = text.split(':').map(|part| part.parse().unwrap()).collect();
    let entry = (numbers[0], numbers[1], numbers[2]);
    let mut received = board.received.lock().unwrap();
    received.entry(name.to_owned()).or_default().push(entry);
}

fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + 3 * PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "{what} did not happen in time");
        std::thread::yield_now();
    }
}

/// A small generator: the moments of a run can be repeated by its seed.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % bound
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap())
}

/// Everybody is subscribed before anything is published.
fn subscribe_all(broker: SocketAddr) {
    for (name, qos) in SUBSCRIBERS {
        let (mut raw, _) = Raw::connect(broker, name, false, None).unwrap();
        raw.subscribe("c/#", qos, 1).unwrap();
        assert_eq!(raw.next(PATIENCE).unwrap(), Some(Incoming::Suback(1)));
        raw.subscribe("will/#", 1, 2).unwrap();
        assert_eq!(raw.next(PATIENCE).unwrap(), Some(Incoming::Suback(2)));
        raw.disconnect().unwrap();
    }
}

/// A client that will be connected when the broker dies.
fn connect_with_will(broker: SocketAddr, crash: u64) -> Raw {
    let (topic, payload) = (format!("will/{crash}"), crash.to_string());
    let client = format!("dies-{crash}");
    let mut dying = None;
    wait_until("a client with a will", || {
        let will = Some((topic.as_str(), payload.as_bytes()));
        dying = Raw::connect(broker, &client, true, will).ok();
        dying.is_some()
    });
    dying.unwrap().0
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9() {
    let crashes = setting("WITMQ_TEST_CRASHES").unwrap_or(CRASHES);
    let clock = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let seed = setting("WITMQ_TEST_SEED").unwrap_or(u64::from(clock.unwrap().subsec_nanos()));
    println!("WITMQ_TEST_SEED={seed}");
    let mut random = Random(seed);
    let mut broker = Broker::serve_open(
        "shards = 3\n[limits]\nqueue_messages = 1000000\nqueue_bytes = 1000000000\n",
    );
    let address = broker.address("tcp");
    let board = Arc::new(Board::default());
    let stop = Arc::new(AtomicBool::new(false));
    subscribe_all(address);
    let actors: Vec<_> = SUBSCRIBERS
        .iter()
        .map(|(name, _)| {
            let board = board.clone();
            std::thread::spawn(move || subscriber(name, &board, address, *name == "s-churn"))
        })
        .collect();
    let publishers: Vec<_> = (0..PUBLISHERS)
        .map(|name| {
            let (board, stop) = (board.clone(), stop.clone());
            std::thread::spawn(move || Publisher::new(name).run(&board, address, &stop))
        })
        .collect();
    for crash in 0..crashes {
        let dying = connect_with_will(address, crash);
        board.wills.lock().unwrap().0.insert(crash);
        let more = 50 + random.below(1500);
        let until = board.acknowledged.load(Ordering::Relaxed) + more;
        wait_until("acknowledgements", || {
            board.acknowledged.load(Ordering::Relaxed) >= until
        });
        broker.kill_9_and_start_again();
        drop(dying);
    }
    stop.store(true, Ordering::Relaxed);
    publishers
        .into_iter()
        .for_each(|actor| actor.join().unwrap());
    let published = board.published.lock().unwrap().clone();
    let all: u64 = published.values().sum();
    wait_until("every message at every subscriber", || {
        let received = board.received.lock().unwrap();
        SUBSCRIBERS.iter().all(|(name, _)| {
            received
                .get(*name)
                .is_some_and(|list| list.iter().collect::<BTreeSet<_>>().len() as u64 >= all)
        })
    });
    wait_until("every will", || {
        let wills = board.wills.lock().unwrap();
        wills.0.is_subset(&wills.1)
    });
    check_retained(address, &published);
    board.is_over.store(true, Ordering::Relaxed);
    actors.into_iter().for_each(|actor| actor.join().unwrap());
    let received = board.received.lock().unwrap();
    let again = check_order(&received, &published);
    println!(
        "{crashes} crashes, {all} messages acknowledged and delivered to each of {} sessions; QoS 1 \
         repeated {again} times; {} takeovers",
        SUBSCRIBERS.len(),
        board.takeovers.load(Ordering::Relaxed)
    );
    assert_eq!(broker.stop(), Some(0));
}

const SUBSCRIBERS: [(&str, u8); 4] = [("s-one", 1), ("s-two", 2), ("s-churn", 2), ("s-far", 2)];

/// Says where two lists part, not all of them.
fn same(found: &[u64], expected: &[u64], what: &str) {
    let parted =
        (0..found.len().max(expected.len())).find(|at| found.get(*at) != expected.get(*at));
    if let Some(at) = parted {
        let near = |list: &[u64]| {
            list.iter()
                .skip(at.saturating_sub(3))
                .take(8)
                .copied()
                .collect::<Vec<_>>()
        };
        panic!(
            "{what}, at {at}: {:?} where {:?} was expected",
            near(found),
            near(expected)
        );
    }
}

/// QoS 2 end to end exactly once; everything in order; how often QoS 1 came again.
fn check_order(received: &Received, published: &BTreeMap<u64, u64>) -> u64 {
    let mut again = 0;
    for (name, qos) in SUBSCRIBERS {
        let list = &received[name];
        for publisher in 0..PUBLISHERS {
            for topic in 0..TOPICS {
                let of = list
                    .iter()
                    .filter(|entry| (entry.0, entry.1) == (publisher, topic));
                let numbers: Vec<u64> = of.map(|entry| entry.2).collect();
                let all = (0..published[&publisher]).filter(|number| number % TOPICS == topic);
                let expected: Vec<u64> = all.collect();
                let what = format!("{name}: publisher {publisher}, topic {topic}");
                if qos == 2 && publisher % 2 == 1 {
                    same(&numbers, &expected, &what);
                    continue;
                }
                let mut seen = BTreeSet::new();
                let firsts: Vec<u64> = numbers
                    .iter()
                    .copied()
                    .filter(|n| seen.insert(*n))
                    .collect();
                same(&firsts, &expected, &what);
                again += (numbers.len() - firsts.len()) as u64;
            }
        }
    }
    again
}

/// The retained message of a topic is the last one acknowledged.
fn check_retained(broker: SocketAddr, published: &BTreeMap<u64, u64>) {
    let (mut raw, _) = Raw::connect(broker, "looks", true, None).unwrap();
    raw.subscribe(&format!("c/+/{}", TOPICS - 1), 0, 1).unwrap();
    let mut found = BTreeMap::new();
    while found.len() < published.len() {
        let next = raw.next(PATIENCE).unwrap().expect("a retained message");
        if let Incoming::Publish {
            payload,
            retain: true,
            ..
        } = next
        {
            let text = String::from_utf8(payload).unwrap();
            let numbers: Vec<u64> = text.split(':').map(|part| part.parse().unwrap()).collect();
            found.insert(numbers[0], numbers[2]);
        }
    }
    for (publisher, count) in published {
        let last = (0..*count)
            .rev()
            .find(|number| number % TOPICS == TOPICS - 1);
        assert_eq!(found.get(publisher).copied(), last, "publisher {publisher}");
    }
}
