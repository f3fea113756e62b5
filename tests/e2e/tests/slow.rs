//! Subscribers who take nothing from their connections: nobody else waits for them, and what waits for them is bounded.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;
use witmq_e2e::Broker;
use witmq_e2e::raw::{Incoming, Raw};

const PATIENCE: Duration = Duration::from_secs(20);
const TOPIC: &str = "news";
const QUICK: usize = 40;
const SLOW: usize = 40;
/// More for each of them than the kernel keeps for a connection, so that the queue in the broker is full.
const MESSAGES: u32 = 400;
const PAYLOAD_BYTES: usize = 64 * 1024;
/// `queue_messages`.
const WAITING: usize = 40;

fn subscriber(broker: &Broker, name: &str) -> Raw {
    let (mut raw, _) = Raw::connect(broker.address("tcp"), name, true, None).unwrap();
    raw.subscribe(TOPIC, 0, 1).unwrap();
    assert_eq!(raw.next(PATIENCE).unwrap(), Some(Incoming::Suback(1)));
    raw
}

/// Takes all messages, each in its turn, and says so.
fn quick(mut raw: Raw) -> (JoinHandle<Raw>, Receiver<u32>) {
    let (said, has) = sync_channel(1);
    let takes = std::thread::spawn(move || {
        for number in 0..MESSAGES {
            let Some(Incoming::Publish { payload, .. }) = raw.next(PATIENCE).unwrap() else {
                panic!("message {number} did not come");
            };
            assert_eq!(payload[..4], number.to_be_bytes(), "in order, none missing");
            said.send(number).unwrap();
        }
        raw
    });
    (takes, has)
}

#[test]
fn the_others_have_everything_and_memory_stays_bounded() {
    let broker = Broker::serve_open(&format!("[limits]\nqueue_messages = {WAITING}\n"));
    let quick: Vec<_> = (0..QUICK)
        .map(|number| quick(subscriber(&broker, &format!("quick-{number}"))))
        .collect();
    let slow: Vec<_> = (0..SLOW)
        .map(|number| subscriber(&broker, &format!("slow-{number}")))
        .collect();
    let (mut publisher, _) = Raw::connect(broker.address("tcp"), "publisher", true, None).unwrap();
    let before = broker.resident_kib();
    let mut payload = vec![0; PAYLOAD_BYTES];
    for number in 0..MESSAGES {
        payload[..4].copy_from_slice(&number.to_be_bytes());
        publisher
            .publish(TOPIC, &payload, (0, false, false), 0)
            .unwrap();
        for (_, has) in &quick {
            assert_eq!(has.recv_timeout(PATIENCE), Ok(number));
        }
    }
    let more = broker.resident_kib().saturating_sub(before);
    let metrics = broker.metrics();
    let dropped = metrics
        .lines()
        .find_map(|line| line.strip_prefix("witmq_messages_dropped_queue_full_total "))
        .unwrap();
    assert!(
        dropped.parse::<u64>().unwrap() > 0,
        "some were too slow: {dropped}"
    );
    println!(
        "{dropped} of {} for the slow ones dropped, {more} KiB more",
        SLOW * usize::try_from(MESSAGES).unwrap()
    );
    // They share what waits, and each has at most two messages on their way out; a queue for each would be 100 MiB.
    let shared = (WAITING + 2 * SLOW) * PAYLOAD_BYTES / 1024 + 16 * 1024;
    let apart = SLOW * WAITING * PAYLOAD_BYTES / 1024;
    assert!(shared < apart / 2, "or the bound could not fail");
    assert!(more <= u64::try_from(shared).unwrap(), "{more} KiB");
    for (takes, _) in quick {
        takes.join().unwrap();
    }
    drop(slow);
}
