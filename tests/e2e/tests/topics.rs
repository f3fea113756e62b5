//! Delayed messages over kill -9, chains on them, the verbs for them; rewrite and auto-subscribe by configuration.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

use serde_json::Value;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;
use witmq_e2e::raw::{Incoming, Raw};
use witmq_e2e::{Broker, PATIENCE};

/// A session that is kept, subscribed with QoS 2.
fn leave_subscribed(broker: SocketAddr, client_id: &str, filter: &str) {
    let (mut raw, _) = Raw::connect(broker, client_id, false, None).unwrap();
    raw.subscribe(filter, 2, 1).unwrap();
    assert_eq!(raw.next(PATIENCE).unwrap(), Some(Incoming::Suback(1)));
    raw.disconnect().unwrap();
}

/// Publishes with QoS 2 as far as PUBREC: it is taken.
fn take(raw: &mut Raw, topic: &str, payload: &str, (id, dup): (u16, bool)) {
    raw.publish(topic, payload.as_bytes(), (2, false, dup), id)
        .unwrap();
    assert_eq!(raw.next(PATIENCE).unwrap(), Some(Incoming::Pubrec(id)));
}

fn release(raw: &mut Raw, id: u16) {
    raw.acknowledge(0x62, id).unwrap();
    assert_eq!(raw.next(PATIENCE).unwrap(), Some(Incoming::Pubcomp(id)));
}

/// The next message, taken over whole.
fn message(raw: &mut Raw) -> (String, String) {
    loop {
        match raw.next(PATIENCE).unwrap() {
            Some(Incoming::Publish {
                topic,
                payload,
                qos,
                id,
                ..
            }) => {
                match qos {
                    0 => {}
                    1 => raw.acknowledge(0x40, id).unwrap(),
                    _ => raw.acknowledge(0x50, id).unwrap(),
                }
                return (topic, String::from_utf8(payload).unwrap());
            }
            Some(Incoming::Pubrel(id)) => raw.acknowledge(0x70, id).unwrap(),
            other => panic!("{other:?} where a message was expected"),
        }
    }
}

fn listed(broker: &Broker) -> Vec<Value> {
    let text = broker.ok(&["delayed", "ls", "--json"], "");
    let list: Value = serde_json::from_str(&text).unwrap();
    let entries = list["delayed"].as_array().unwrap().clone();
    assert_eq!(list["messages"], entries.len());
    entries
}

#[test]
fn a_delayed_message_survives_kill_9_and_comes_once() {
    let mut broker = Broker::serve_open("");
    let address = broker.address("tcp");
    leave_subscribed(address, "keeper", "due/#");
    let (mut publisher, _) = Raw::connect(address, "publisher", false, None).unwrap();
    take(&mut publisher, "$delayed/2/due/second", "2", (1, false));
    take(&mut publisher, "$delayed/1/due/first", "1", (2, false));
    take(&mut publisher, "$delayed/3600/due/late", "late", (3, false));
    broker.kill_9_and_start_again();
    let (mut publisher, is_present) = Raw::connect(address, "publisher", false, None).unwrap();
    assert!(is_present);
    // It did not hear that they were taken and sends them again [MQTT-4.3.3-10].
    for (id, topic, payload) in [
        (1, "$delayed/2/due/second", "2"),
        (2, "$delayed/1/due/first", "1"),
    ] {
        take(&mut publisher, topic, payload, (id, true));
        release(&mut publisher, id);
    }
    let (mut keeper, is_present) = Raw::connect(address, "keeper", false, None).unwrap();
    assert!(is_present);
    let pair = |topic: &str, payload: &str| (topic.to_owned(), payload.to_owned());
    assert_eq!(message(&mut keeper), pair("due/first", "1"));
    assert_eq!(message(&mut keeper), pair("due/second", "2"));
    take(&mut publisher, "due/end", "end", (4, false));
    release(&mut publisher, 4);
    assert_eq!(message(&mut keeper), pair("due/end", "end"), "once each");

    let entries = listed(&broker);
    assert_eq!(
        (entries.len(), &entries[0]["topic"]),
        (1, &"due/late".into())
    );
    assert_eq!(entries[0]["publisher"], "publisher");
    let id = entries[0]["id"].as_str().unwrap().to_owned();
    let table = broker.ok(&["delayed", "ls"], "");
    assert!(table.contains(&id) && table.contains("00:59:"), "{table}");
    let said = broker.fails(&["delayed", "rm", "1-2"], 4);
    assert!(said.contains("DUE-SHARD-NUMBER"), "{said}");
    let _taken_back = broker.ok(&["delayed", "rm", &id], "");
    broker.kill_9_and_start_again();
    assert!(listed(&broker).is_empty(), "taken back for good");
    let said = broker.fails(&["delayed", "rm", &id], 3);
    assert!(said.contains("no delayed message"), "{said}");
}

#[test]
fn killed_while_many_fall_due_each_comes_once() {
    const COUNT: u16 = 2_000;
    let mut broker = Broker::serve_open("[limits]\nqueue_messages = 10000\n");
    let address = broker.address("tcp");
    leave_subscribed(address, "keeper", "due");
    let (mut publisher, _) = Raw::connect(address, "publisher", true, None).unwrap();
    for id in 1..=COUNT {
        let (topic, flags) = ("$delayed/1/due", (2, false, false));
        publisher
            .publish(topic, id.to_string().as_bytes(), flags, id)
            .unwrap();
        assert_eq!(
            publisher.next(PATIENCE).unwrap(),
            Some(Incoming::Pubrec(id))
        );
        release(&mut publisher, id);
    }
    // The first ones come: the others fall due meanwhile.
    let (mut keeper, _) = Raw::connect(address, "keeper", false, None).unwrap();
    let mut seen = BTreeMap::<String, u32>::new();
    let mut open = BTreeMap::new();
    let mut is_killed = false;
    let mut total = 0;
    while total < COUNT {
        match keeper.next(PATIENCE) {
            Ok(Some(Incoming::Publish { payload, id, .. })) => {
                // QoS 2 as a receiver does it: an identifier is new until PUBREL.
                if open.insert(id, ()).is_none() {
                    *seen.entry(String::from_utf8(payload).unwrap()).or_default() += 1;
                    total += 1;
                }
                drop(keeper.acknowledge(0x50, id));
                if !is_killed && total == COUNT / 20 {
                    is_killed = true;
                    broker.kill_9_and_start_again();
                    keeper = Raw::connect(address, "keeper", false, None).unwrap().0;
                }
            }
            Ok(Some(Incoming::Pubrel(id))) => {
                open.remove(&id);
                drop(keeper.acknowledge(0x70, id));
            }
            other => panic!("{other:?} after {total}"),
        }
    }
    assert!(is_killed);
    let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    assert_eq!(
        (seen.len(), twice.len()),
        (usize::from(COUNT), 0),
        "{twice:?}"
    );
    assert!(listed(&broker).is_empty());
}

#[test]
fn chains_see_a_delayed_message_when_it_falls_due() {
    let broker = Broker::serve_open("");
    let address = broker.address("tcp");
    broker.chain(
        "echo",
        "from = \"in/{x}\"\n[[step]]\npublish = \"echo/{x}\"\npayload = \"payload\"\n",
    );
    let (mut watcher, _) = Raw::connect(address, "watcher", true, None).unwrap();
    watcher.subscribe("#", 1, 1).unwrap();
    assert_eq!(watcher.next(PATIENCE).unwrap(), Some(Incoming::Suback(1)));
    let (mut publisher, _) = Raw::connect(address, "publisher", true, None).unwrap();
    for (id, topic) in [(1, "$delayed/1/in/a"), (2, "marker")] {
        publisher
            .publish(topic, b"7", (1, false, false), id)
            .unwrap();
        assert_eq!(
            publisher.next(PATIENCE).unwrap(),
            Some(Incoming::Puback(id))
        );
    }
    publisher.disconnect().unwrap();
    let topics: Vec<_> = (0..3).map(|_| message(&mut watcher).0).collect();
    assert_eq!(topics, ["marker", "in/a", "echo/a"]);
}

#[test]
fn rewrite_and_auto_subscribe_do_what_the_configuration_says() {
    let broker = Broker::serve_open(
        "[[rewrite]]\naction = \"all\"\nfrom = \"old/{rest...}\"\nto = \"new/{client}/{rest}\"\n\
         [[auto_subscribe]]\nfilter = \"inbox/{client}\"\nqos = 1\n",
    );
    let address = broker.address("tcp");
    let (mut one, _) = Raw::connect(address, "one", true, None).unwrap();
    one.subscribe("old/#", 0, 1).unwrap();
    assert_eq!(one.next(PATIENCE).unwrap(), Some(Incoming::Suback(1)));
    let (mut two, _) = Raw::connect(address, "two", true, None).unwrap();
    for topic in ["old/x", "new/one/by-its-name", "inbox/one", "inbox/two"] {
        two.publish(topic, b"", (0, false, false), 0).unwrap();
    }
    one.publish("old/own", b"", (0, false, false), 0).unwrap();
    let mut topics: Vec<_> = (0..3).map(|_| message(&mut one).0).collect();
    topics.sort();
    assert_eq!(topics, ["inbox/one", "new/one/by-its-name", "new/one/own"]);
    assert_eq!(message(&mut two).0, "inbox/two");
    let text = "[[rewrite]]\naction = \"all\"\nfrom = \"old/{a\"\nto = \"b\"\n";
    let path = broker.folder().join("bad.toml");
    std::fs::write(&path, text).unwrap();
    let said = broker.fails(&["serve", "--check", "-c", path.to_str().unwrap()], 1);
    assert!(said.contains("bad.toml:3:8: `old/{a`"), "{said}");
}

/// `WITMQ_TEST_DELAYED=1000000` is the long form.
#[test]
fn many_wait_in_bounded_memory_and_through_a_restart() {
    const WINDOW: u64 = 500;
    let count = std::env::var("WITMQ_TEST_DELAYED").map_or(20_000, |text| text.parse().unwrap());
    let mut broker = Broker::serve_open("");
    let before = broker.resident_kib();
    let start = Instant::now();
    let (mut raw, _) = Raw::connect(broker.address("tcp"), "publisher", true, None).unwrap();
    let mut acknowledged = 0;
    for number in 0..count {
        let topic = format!("$delayed/{}/a", 86_400 + number % 1000);
        let id = u16::try_from(number % 60_000 + 1).unwrap();
        raw.publish(&topic, &[0; 16], (1, false, false), id)
            .unwrap();
        while number + 1 - acknowledged >= WINDOW || number + 1 == count && acknowledged < count {
            let next = raw.next(PATIENCE).unwrap();
            assert!(matches!(next, Some(Incoming::Puback(_))), "{next:?}");
            acknowledged += 1;
        }
    }
    let rate = count as f64 / start.elapsed().as_secs_f64();
    let used = broker.resident_kib().saturating_sub(before);
    let start = Instant::now();
    broker.kill_9_and_start_again();
    println!(
        "{count} delayed messages: {rate:.0}/s, {} MiB; started again in {:.1} s, {} MiB in all",
        used / 1024,
        start.elapsed().as_secs_f64(),
        broker.resident_kib() / 1024
    );
    let text = broker.ok(&["delayed", "ls", "--count", "1", "--json"], "");
    let list: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(list["messages"], count);
    assert!(used < 64 * 1024 + count, "{used} KiB for {count} messages");
}
