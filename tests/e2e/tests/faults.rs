//! Faults of the disk beneath the engine, under QoS 1 and 2: what was acknowledged is there after the fault and
//! after a restart, what could not be kept was refused with 0x97, and the broker goes on by itself.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use witmq_e2e::faults::{EIO, ENOSPC, EROFS, Fault, Faults, calls};
use witmq_e2e::one_by_one::{Publisher, Said, wait_until};
use witmq_e2e::raw::{Incoming, Raw};
use witmq_e2e::{Broker, PATIENCE};

const QUOTA_EXCEEDED: u8 = 0x97;
const FOR_EVER: i64 = i64::MAX;

/// Publishers at work, one for each QoS.
struct Load {
    stop: Arc<AtomicBool>,
    taken: Arc<AtomicU64>,
    actors: Vec<JoinHandle<Publisher>>,
}

/// A broker on a disk that fails, and a session that is away and wants everything.
struct Lab {
    disk: Faults,
    broker: Broker,
    done: Vec<Publisher>,
    load: Option<Load>,
}

impl Lab {
    fn new() -> Self {
        let disk = Faults::new();
        let limits = "shards = 2\n[limits]\nqueue_messages = 1000000\nqueue_bytes = 1000000000\n";
        let broker = Broker::serve_with(limits, Some(&disk));
        let (mut keeper, _) = Raw::connect(broker.address("tcp"), "keeper", false, None).unwrap();
        keeper.subscribe("f/#", 2, 1).unwrap();
        assert_eq!(keeper.next(PATIENCE).unwrap(), Some(Incoming::Suback(1)));
        keeper.disconnect().unwrap();
        Self {
            disk,
            broker,
            done: Vec::new(),
            load: None,
        }
    }

    fn start_load(&mut self, round: &str) {
        let (stop, taken) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let address = self.broker.address("tcp");
        let actors = [1, 2].map(|qos| {
            let mut publisher = Publisher::new(address, &format!("{round}-qos-{qos}"), qos);
            let (stop, taken) = (stop.clone(), taken.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if publisher.publish() == Said::Taken {
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                }
                publisher
            })
        });
        let actors = actors.into();
        self.load = Some(Load {
            stop,
            taken,
            actors,
        });
        self.more_is_taken();
    }

    fn more_is_taken(&self) {
        let load = self.load.as_ref().unwrap();
        let until = load.taken.load(Ordering::Relaxed) + 20;
        wait_until("acknowledgements", || {
            load.taken.load(Ordering::Relaxed) >= until
        });
    }

    fn stop_load(&mut self) {
        let load = self.load.take().unwrap();
        load.stop.store(true, Ordering::Relaxed);
        for actor in load.actors {
            self.done.push(actor.join().unwrap());
        }
    }

    /// Publishers whose messages have to be kept are refused while the fault lasts, those of both QoS.
    fn is_refused(&mut self, round: &str) {
        let line = self
            .broker
            .log
            .iter()
            .find(|line| line.contains("the storage takes nothing"));
        assert!(line.is_some());
        for qos in [1, 2] {
            let name = format!("{round}-refused-{qos}");
            let mut publisher = Publisher::passing(self.broker.address("tcp"), &name, qos);
            assert_eq!(
                publisher.publish(),
                Said::Refused(QUOTA_EXCEEDED),
                "{round}"
            );
            self.done.push(publisher);
        }
    }

    /// After the last fault and a restart: everything that was taken is there, in order, QoS 2 once, and nothing
    /// that was refused.
    fn check(mut self) {
        if self.load.is_some() {
            self.stop_load();
        }
        self.disk.disarm();
        self.broker.kill_9_and_start_again();
        let received = self.drain();
        for publisher in &self.done {
            let name = publisher.name();
            let got = received.get(name).cloned().unwrap_or_default();
            let mut seen = BTreeSet::new();
            let firsts: Vec<u64> = got.iter().copied().filter(|n| seen.insert(*n)).collect();
            assert_eq!(firsts, publisher.taken, "{name}: what was acknowledged");
            if publisher.qos() == 2 {
                assert_eq!(got, firsts, "{name}: QoS 2 more than once");
            }
            for (number, code) in &publisher.refused {
                assert_eq!(*code, QUOTA_EXCEEDED, "{name}: message {number}");
            }
        }
    }

    /// Everything the session was owed, by publisher.
    fn drain(&self) -> BTreeMap<String, Vec<u64>> {
        let mut last = Publisher::new(self.broker.address("tcp"), "last", 1);
        assert_eq!(last.publish(), Said::Taken);
        let (mut keeper, is_present) =
            Raw::connect(self.broker.address("tcp"), "keeper", false, None).unwrap();
        assert!(is_present);
        let mut received = BTreeMap::<String, Vec<u64>>::new();
        let mut open = BTreeSet::new();
        loop {
            match keeper.next(PATIENCE).unwrap().expect("the last message") {
                Incoming::Publish {
                    payload, qos, id, ..
                } => {
                    let text = String::from_utf8(payload).unwrap();
                    let (name, number) = text.split_once(':').unwrap();
                    if qos == 1 || open.insert(id) {
                        let numbers = received.entry(name.to_owned()).or_default();
                        numbers.push(number.parse().unwrap());
                    }
                    keeper
                        .acknowledge(if qos == 1 { 0x40 } else { 0x50 }, id)
                        .unwrap();
                    if name == "last" {
                        return received;
                    }
                }
                Incoming::Pubrel(id) => {
                    open.remove(&id);
                    keeper.acknowledge(0x70, id).unwrap();
                }
                _ => {}
            }
        }
    }
}

/// A fault that lasts until it is repaired.
fn lasting(name: &str, kinds: i64, errno: i32) {
    let mut lab = Lab::new();
    for first in 1..=3 {
        let round = format!("{name}-{first}");
        lab.start_load(&round);
        lab.disk.arm(kinds, Fault::Fails(errno), first, FOR_EVER);
        wait_until("the fault", || lab.disk.hits() > 0);
        lab.is_refused(&round);
        lab.disk.disarm();
        lab.more_is_taken(); // without a restart
        lab.stop_load();
    }
    lab.check();
}

/// A fault of one call.
fn once(name: &str, kinds: i64, fault: Fault) {
    let mut lab = Lab::new();
    for first in 1..=3 {
        lab.start_load(&format!("{name}-{first}"));
        lab.disk.arm(kinds, fault, first, 1);
        wait_until("the fault", || lab.disk.hits() == 1);
        lab.more_is_taken();
        assert!(
            lab.disk.seen() > first,
            "{name}: it goes on after call {first}"
        );
        lab.stop_load();
    }
    lab.check();
}

#[test]
fn no_space_left_is_refused_until_there_is_some() {
    lasting(
        "enospc",
        calls::WRITE | calls::OPEN | calls::TRUNCATE,
        ENOSPC,
    );
}

#[test]
fn writes_that_fail_are_refused_until_they_work() {
    lasting("write-eio", calls::WRITE, EIO);
}

#[test]
fn a_sync_that_fails_is_refused_until_it_works() {
    lasting("sync-eio", calls::SYNC, EIO);
}

#[test]
fn a_read_only_disk_is_refused_until_it_is_writable() {
    lasting("erofs", calls::CHANGE, EROFS);
}

#[test]
fn one_call_that_fails_costs_nothing() {
    once("one-write-enospc", calls::WRITE, Fault::Fails(ENOSPC));
    once("one-write-eio", calls::WRITE, Fault::Fails(EIO));
    once("one-sync-eio", calls::SYNC, Fault::Fails(EIO));
}

#[test]
fn a_short_write_costs_nothing() {
    for bytes in [0, 1, -1] {
        once(&format!("short-{bytes}"), calls::WRITE, Fault::Short(bytes));
    }
}

/// The session's queue is beyond what is in memory: read from table files, which give nothing for a while.
#[test]
fn a_queue_that_cannot_be_read_comes_later_and_whole() {
    const MESSAGES: u16 = 400;
    let mut lab = Lab::new();
    let (mut raw, _) = Raw::connect(lab.broker.address("tcp"), "large", true, None).unwrap();
    for id in 1..=MESSAGES {
        let payload = format!("large:{id:060000}");
        raw.publish("f/large", payload.as_bytes(), (1, false, false), id)
            .unwrap();
        assert_eq!(raw.next(PATIENCE).unwrap(), Some(Incoming::Puback(id)));
    }
    for first in 1..=3 {
        lab.broker.kill_9_and_start_again(); // nothing of it is cached
        lab.disk
            .arm(calls::READ, Fault::Fails(EIO), first, FOR_EVER);
        let (mut keeper, _) =
            Raw::connect(lab.broker.address("tcp"), "keeper", false, None).unwrap();
        wait_until("the fault", || {
            // What can be read goes out meanwhile, and is not acknowledged here.
            drop(keeper.next(std::time::Duration::from_millis(5)).unwrap());
            lab.disk.hits() > 0
        });
        lab.disk.disarm();
        keeper.disconnect().unwrap();
    }
    let received = lab.drain();
    let expected: Vec<u64> = (1..=u64::from(MESSAGES)).collect();
    assert_eq!(received["large"], expected);
    lab.check();
}

#[test]
fn the_files_can_be_looked_at_while_the_broker_does_not_run() {
    let mut lab = Lab::new();
    let data = lab.broker.folder().join(".witmq");
    let words = ["storage", "check", data.to_str().unwrap()];
    let said = lab.broker.fails(&words, 4);
    assert!(said.contains("in use"), "{said}");
    lab.start_load("check");
    lab.disk.arm(calls::WRITE, Fault::Torn(-1), 1, 1);
    lab.broker.wait_for_end();
    lab.disk.disarm();
    let said = lab.broker.fails(&words, 1);
    assert!(
        said.contains(".jnl: ") && said.contains("torn write of the last batch"),
        "{said}"
    );
    lab.broker.start_again();
    lab.more_is_taken();
    lab.stop_load();
    lab.broker.kill_9();
    let said = lab.broker.ok(&words, "");
    for expected in [
        "format  2",
        "sessions",
        "log.00000001",
        "nothing is damaged",
    ] {
        assert!(said.contains(expected), "no {expected} in {said}");
    }
    lab.broker.start_again();
    lab.check();
}

/// The process ends in the middle of a write: with nothing of it on the disk, a byte, all but a byte, and all.
#[test]
fn a_torn_tail_is_cut_and_said_and_costs_nothing_acknowledged() {
    let mut lab = Lab::new();
    for (bytes, is_torn) in [(0, false), (1, true), (-1, true), (FOR_EVER, false)] {
        for first in 1..=3 {
            lab.start_load(&format!("torn-{bytes}-{first}"));
            lab.disk.arm(calls::WRITE, Fault::Torn(bytes), first, 1);
            lab.broker.wait_for_end();
            lab.disk.disarm();
            lab.broker.start_again();
            let said = lab.broker.said.join("\n");
            assert_eq!(
                said.contains("torn write of the last batch"),
                is_torn,
                "{bytes}: {said}"
            );
            assert!(!is_torn || said.contains(".jnl: "), "{said}");
            lab.more_is_taken();
            lab.stop_load();
        }
    }
    lab.check();
}

#[test]
fn files_that_cannot_be_read_are_a_clear_error_and_nothing_is_lost() {
    let mut lab = Lab::new();
    lab.start_load("unreadable");
    lab.stop_load();
    for first in 1..=3 {
        lab.broker.kill_9();
        lab.disk
            .arm(calls::READ, Fault::Fails(EIO), first, FOR_EVER);
        let said = lab.broker.refuses_to_start();
        assert!(
            said.contains("storage") && said.contains("Input/output error"),
            "{said}"
        );
        lab.disk.disarm();
        lab.broker.start_again();
    }
    lab.check();
}
