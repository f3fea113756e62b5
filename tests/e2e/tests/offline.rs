//! Many absent sessions, and one with a very long queue: restart, resume, memory.
//!
//! The gate runs a short form; `WITMQ_TEST_SESSIONS=100000 WITMQ_TEST_QUEUE=1000000` the long one.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};
use witmq_e2e::raw::{Incoming, Raw};
use witmq_e2e::{Broker, PATIENCE};

const SESSIONS: u64 = 5_000;
const QUEUED: u64 = 20;
const QUEUE: u64 = 100_000;
const THREADS: u64 = 8;
const LIMITS: &str = "[limits]\nqueue_messages = 2000000\nqueue_bytes = 2000000000\n";

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// Runs `each` for every number below `count`, on some threads.
fn everyone(count: u64, each: impl Fn(u64) + Sync) {
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let each = &each;
            scope.spawn(move || {
                (0..count)
                    .filter(|number| number % THREADS == thread)
                    .for_each(each);
            });
        }
    });
}

/// Publishes with QoS 1, a window at a time, until all are acknowledged.
fn publish(broker: SocketAddr, topic: &str, count: u64, window: u64) {
    let (mut raw, _) = Raw::connect(broker, "publisher", true, None).unwrap();
    let mut acknowledged = 0;
    for number in 0..count {
        let id = u16::try_from(number % 60_000 + 1).unwrap();
        raw.publish(topic, &number.to_be_bytes(), (1, false, false), id)
            .unwrap();
        while number + 1 - acknowledged >= window || number + 1 == count && acknowledged < count {
            let next = raw.next(3 * PATIENCE).unwrap();
            assert!(matches!(next, Some(Incoming::Puback(_))), "{next:?}");
            acknowledged += 1;
        }
    }
}

/// Takes `count` messages and checks their order.
fn drain(broker: SocketAddr, client_id: &str, count: u64) {
    let (mut raw, is_present) = Raw::connect(broker, client_id, false, None).unwrap();
    assert!(is_present, "{client_id}");
    for expected in 0..count {
        match raw.next(PATIENCE).unwrap() {
            Some(Incoming::Publish { id, payload, .. }) => {
                assert_eq!(payload, expected.to_be_bytes(), "{client_id}");
                raw.acknowledge(0x40, id).unwrap();
            }
            other => panic!("{client_id}: {other:?} where message {expected} was expected"),
        }
    }
    raw.disconnect().unwrap();
}

fn leave_subscribed(broker: SocketAddr, client_id: &str, filter: &str) {
    let (mut raw, _) = Raw::connect(broker, client_id, false, None).unwrap();
    raw.subscribe(filter, 1, 1).unwrap();
    assert_eq!(raw.next(PATIENCE).unwrap(), Some(Incoming::Suback(1)));
    raw.disconnect().unwrap();
}

fn per_second(count: u64, since: Instant) -> f64 {
    count as f64 / since.elapsed().as_secs_f64()
}

#[test]
fn many_absent_sessions_come_back_after_a_crash() {
    let sessions = setting("WITMQ_TEST_SESSIONS", SESSIONS);
    let mut broker = Broker::serve_open(LIMITS);
    let address = broker.address("tcp");
    everyone(sessions, |number| {
        leave_subscribed(address, &format!("away-{number}"), "to/all");
    });
    let absent = broker.resident_kib();
    let start = Instant::now();
    publish(address, "to/all", QUEUED, 1);
    let queued = per_second(sessions * QUEUED, start);
    let full = broker.resident_kib();
    let start = Instant::now();
    broker.kill_9_and_start_again();
    let restart = start.elapsed();
    let restarted = broker.resident_kib();
    let resumed = sessions.min(5_000);
    let start = Instant::now();
    everyone(resumed, |number| {
        drain(address, &format!("away-{number}"), QUEUED)
    });
    println!(
        "{sessions} absent sessions: {absent} KiB; {QUEUED} messages for each: queued {queued:.0}/s, {full} KiB; \
         restart in {restart:?}, {restarted} KiB; resumed with {QUEUED} messages each {:.0} sessions/s",
        per_second(resumed, start)
    );
    assert!(restart < Duration::from_secs(60), "{restart:?}");
    assert!(restarted < 300 * 1024 + sessions * 4, "{restarted} KiB");
}

#[test]
fn a_very_long_queue_drains_without_being_in_memory() {
    let queue = setting("WITMQ_TEST_QUEUE", QUEUE);
    let mut broker = Broker::serve_open(LIMITS);
    let address = broker.address("tcp");
    leave_subscribed(address, "long", "long/queue");
    let start = Instant::now();
    publish(address, "long/queue", queue, 1_000);
    let queued = per_second(queue, start);
    broker.kill_9_and_start_again();
    let before = broker.resident_kib();
    let start = Instant::now();
    drain(address, "long", queue);
    let drained = per_second(queue, start);
    let after = broker.resident_kib();
    println!(
        "{queue} messages in one queue: queued {queued:.0}/s, drained {drained:.0}/s, {before} KiB before and {after} KiB after"
    );
    assert!(
        after < before + 150 * 1024,
        "{before} KiB before, {after} KiB after"
    );
}
