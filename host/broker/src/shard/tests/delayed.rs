//! `$delayed/SECONDS/topic` on a virtual clock: when it comes, what is refused, what a crash leaves.

use super::{
    Q0, Q1, Q2, id, join, join_with, payloads, persistent, publish, publishes, subscribed,
};
use crate::delayed::DelayedId;
use crate::limits::Limits;
use crate::memory::Memory;
use crate::ports::AclRule;
use crate::ports::hooks::{AuthStep, Grant};
use crate::ports::store::{Fetch, Fetched, Health, Past, SessionNumber};
use crate::ports::{BrokerEvent, Position, Record, Store};
use crate::testing::{Rig, connect};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use witmq_proto::packet::{Ack, Packet, Publish, PublishProperties, Version, Will};
use witmq_proto::{Bytes, Message, ReasonCode, TopicName};

/// What was recorded, turn by turn, and whether the disk takes anything.
#[derive(Clone, Default)]
struct Journal {
    turns: Arc<Mutex<Vec<Vec<String>>>>,
    is_refusing: Arc<AtomicBool>,
}

impl Journal {
    /// The names of the records since the last call, one list a turn.
    fn take(&self) -> Vec<Vec<String>> {
        let turns = std::mem::take(&mut *self.turns.lock().unwrap());
        turns.into_iter().filter(|turn| !turn.is_empty()).collect()
    }

    fn store(&self) -> Box<dyn Store> {
        self.turns.lock().unwrap().push(Vec::new());
        Box::new(Journaled {
            journal: self.clone(),
            memory: Memory::default(),
        })
    }
}

struct Journaled {
    journal: Journal,
    memory: Memory,
}

impl Store for Journaled {
    fn append(&mut self, record: Record<'_>) -> Position {
        let text = format!("{record:?}");
        let name = text.split([' ', '{']).next().unwrap().to_owned();
        let mut turns = self.journal.turns.lock().unwrap();
        match turns.last_mut() {
            Some(turn) => turn.push(name),
            None => turns.push(vec![name]),
        }
        self.memory.append(record)
    }

    fn stored(&self) -> Position {
        self.memory.stored()
    }

    fn flush(&mut self) {
        self.journal.turns.lock().unwrap().push(Vec::new());
    }

    fn health(&self) -> Health {
        if self.journal.is_refusing.load(Ordering::Relaxed) {
            Health::Refusing
        } else {
            Health::Well
        }
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

fn limits() -> Limits {
    Limits {
        sys_interval: Duration::ZERO,
        ..Limits::default()
    }
}

fn rig() -> (Rig, Journal) {
    let journal = Journal::default();
    let rig = Rig::with_store(3, limits(), || journal.store());
    (rig, journal)
}

fn send(rig: &mut Rig, peer: usize, packet: Publish) -> Option<(ReasonCode, Option<String>)> {
    rig.send(peer, &Packet::Publish(Box::new(packet)));
    rig.received(peer)
        .into_iter()
        .find_map(|packet| match packet {
            Packet::Puback(ack) | Packet::Pubrec(ack) => {
                Some((ack.reason, ack.reason_string.map(|text| text.to_string())))
            }
            _ => None,
        })
}

fn reason(rig: &mut Rig, peer: usize, packet: Publish) -> ReasonCode {
    send(rig, peer, packet).unwrap().0
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn a_delayed_message_comes_when_it_is_due_as_its_publisher_sent_it() {
    for version in [Version::V311, Version::V5] {
        let (mut rig, _) = rig();
        let subscriber = join(&mut rig, version, "s");
        let publisher = join(&mut rig, version, "p");
        subscribed(&mut rig, subscriber, "a/#", Q2);
        for (n, qos) in [(1, Q1), (2, Q2)] {
            let mut wanted = publish("$delayed/10/a/b", &n.to_string(), qos, n);
            wanted.retain = true;
            wanted.properties.content_type = version.is_v5().then(|| "text/plain".into());
            assert_eq!(reason(&mut rig, publisher, wanted), ReasonCode::Success);
        }
        assert!(send(&mut rig, publisher, publish("$delayed/10/a/b", "3", Q0, 0)).is_none());
        assert_eq!(rig.counters().delayed, 3);
        rig.cut(publisher);
        rig.advance(Duration::from_millis(9_999));
        assert!(
            publishes(rig.received(subscriber)).is_empty(),
            "never early"
        );
        rig.advance(Duration::from_millis(1));
        let came = publishes(rig.received(subscriber));
        let seen: Vec<_> = came
            .iter()
            .map(|p| (&*p.topic, &p.payload[..], p.qos))
            .collect();
        assert_eq!(
            seen,
            [("a/b", &b"1"[..], Q1), ("a/b", b"2", Q2), ("a/b", b"3", Q0)]
        );
        let content = came[0].properties.content_type.as_deref();
        assert_eq!(content, version.is_v5().then_some("text/plain"));
        assert_eq!(rig.counters().delayed_published, 3);
        // RETAIN was kept, and nothing is left under the delayed topic.
        let late = join(&mut rig, version, "late");
        rig.send(
            late,
            &super::subscribe(&[("a/b", super::options(Q2))], None),
        );
        let retained = publishes(rig.received(late));
        assert_eq!((retained.len(), &retained[0].payload[..]), (1, &b"2"[..]));
    }
}

#[test]
fn a_message_expires_by_the_time_of_its_publish_and_no_local_knows_its_publisher() {
    let (mut rig, _) = rig();
    let client = join(&mut rig, Version::V5, "c");
    let own = super::options(Q1);
    let others = witmq_proto::packet::SubscribeOptions {
        no_local: true,
        ..own
    };
    rig.send(
        client,
        &super::subscribe(&[("own", own), ("others", others)], None),
    );
    rig.received(client);
    for (n, topic, expiry) in [
        (1, "$delayed/10/own", 11),
        (2, "$delayed/10/own", 10),
        (3, "$delayed/10/others", 11),
        (4, "$delayed/0/own", 7),
    ] {
        let mut wanted = publish(topic, &n.to_string(), Q1, n);
        wanted.properties.message_expiry = Some(expiry);
        rig.send(client, &Packet::Publish(Box::new(wanted)));
    }
    assert_eq!(payloads(&mut rig, client), ["4"], "no delay at all");
    drop(rig.events.take());
    rig.advance(seconds(10));
    let came = publishes(rig.received(client));
    assert_eq!(came.len(), 1);
    // [MQTT-3.3.2-6]: the lifetime less the time it waited.
    assert_eq!(came[0].properties.message_expiry, Some(1));
    assert_eq!(rig.counters().dropped_expired, 1);
    let dropped = |event: &BrokerEvent| {
        matches!(
            event,
            BrokerEvent::Dropped {
                cause: "expired",
                ..
            }
        )
    };
    assert!(rig.events.take().iter().any(dropped));
}

#[test]
fn what_cannot_be_delayed_is_refused_with_the_reason() {
    let (mut rig, journal) = rig();
    rig.authenticator = Box::new(|_| {
        let rule = |allow, filter: &str| AclRule {
            allow,
            publish: true,
            subscribe: true,
            filter: filter.to_owned(),
        };
        AuthStep::Allow(Box::new(Grant {
            acl: vec![rule(true, "$delayed/#"), rule(true, "a/#")],
            acl_complete: true,
            ..Grant::default()
        }))
    });
    let publisher = join(&mut rig, Version::V5, "p");
    for topic in [
        "$delayed/x/a",
        "$delayed/5",
        "$delayed/5/",
        "$delayed/5/$delayed/5/a",
    ] {
        let (reason, text) = send(&mut rig, publisher, publish(topic, "x", Q1, 1)).unwrap();
        assert_eq!(reason, ReasonCode::TopicNameInvalid, "{topic}");
        assert!(text.unwrap().contains("$delayed/SECONDS"), "{topic}");
    }
    assert_eq!(rig.counters().topics_invalid, 4);
    // Rights are those of the real topic, whatever the grant says of `$delayed/`.
    for topic in ["$delayed/5/b", "$delayed/5/$SYS/a"] {
        let refused = reason(&mut rig, publisher, publish(topic, "x", Q2, 1));
        assert_eq!(refused, ReasonCode::NotAuthorized, "{topic}");
    }
    let longest = limits().delayed_max_s;
    let delayed_by = |s: u64| publish(&format!("$delayed/{s}/a/b"), "x", Q1, 1);
    let longest = u64::from(longest);
    assert_eq!(
        reason(&mut rig, publisher, delayed_by(longest)),
        ReasonCode::Success
    );
    let (refused, text) = send(&mut rig, publisher, delayed_by(longest + 1)).unwrap();
    assert_eq!(refused, ReasonCode::QuotaExceeded);
    assert!(text.unwrap().contains("limits.delayed_max_s"));
    assert_eq!(rig.counters().delayed_refused, 1);
    // A disk that takes nothing: the publisher keeps it.
    journal.is_refusing.store(true, Ordering::Relaxed);
    assert_eq!(
        reason(&mut rig, publisher, delayed_by(1)),
        ReasonCode::QuotaExceeded
    );
    assert_eq!(rig.counters().refused_unstored, 1);
    assert_eq!(
        rig.shards
            .iter()
            .map(|shard| shard.delayed(None, 9).len())
            .sum::<usize>(),
        1
    );
}

#[test]
fn the_bounds_hold_for_the_node_and_make_room_again() {
    let bounds = [
        Limits {
            delayed_messages: 2,
            ..limits()
        },
        Limits {
            delayed_bytes: 2 * (3 + 1 + 256),
            ..limits()
        },
    ];
    for limits in bounds {
        let mut rig = Rig::new(3, limits);
        let (first, second) = (
            join(&mut rig, Version::V5, "p1"),
            join(&mut rig, Version::V5, "p22"),
        );
        let wanted = || publish("$delayed/5/a/b", "x", Q1, 1);
        assert_eq!(reason(&mut rig, first, wanted()), ReasonCode::Success);
        assert_eq!(reason(&mut rig, second, wanted()), ReasonCode::Success);
        let (refused, text) = send(&mut rig, first, wanted()).unwrap();
        assert_eq!(refused, ReasonCode::QuotaExceeded);
        assert!(text.unwrap().contains("limits.delayed_messages"));
        assert_eq!(rig.counters().delayed_refused, 1);
        rig.advance(seconds(5));
        assert_eq!(rig.counters().delayed_published, 2);
        assert_eq!(reason(&mut rig, first, wanted()), ReasonCode::Success);
    }
}

#[test]
fn many_delayed_messages_cost_one_timer_and_come_in_order_of_their_time() {
    const COUNT: u16 = 1000;
    let (mut rig, _) = rig();
    let subscriber = join(&mut rig, Version::V5, "s");
    let publisher = join(&mut rig, Version::V5, "p");
    subscribed(&mut rig, subscriber, "a", Q0);
    let timers = |rig: &Rig| {
        rig.shards
            .iter()
            .map(|shard| shard.timers.len())
            .sum::<usize>()
    };
    let before = timers(&rig);
    // Each is due before all others: the worst order there is.
    for n in (1..=COUNT).rev() {
        let topic = format!("$delayed/{}/a", n.div_ceil(500));
        rig.send(
            publisher,
            &Packet::Publish(Box::new(publish(&topic, &n.to_string(), Q0, 0))),
        );
    }
    assert_eq!(timers(&rig), before + 1);
    rig.advance(seconds(1) + Duration::from_millis(10));
    let expected = |range: std::ops::RangeInclusive<u16>| -> Vec<String> {
        range.rev().map(|n| n.to_string()).collect()
    };
    assert_eq!(payloads(&mut rig, subscriber), expected(1..=500));
    rig.advance(seconds(1));
    assert_eq!(payloads(&mut rig, subscriber), expected(501..=COUNT));
    assert_eq!(timers(&rig), before);
}

#[test]
fn it_is_kept_with_its_identifier_and_goes_with_what_it_becomes() {
    let (mut rig, journal) = rig();
    let (subscriber, _) = join_with(&mut rig, persistent(Version::V5, "s"));
    let (publisher, _) = join_with(&mut rig, persistent(Version::V5, "p"));
    subscribed(&mut rig, subscriber, "a", Q2);
    journal.take();
    let mut wanted = publish("$delayed/5/a", "x", Q2, 7);
    wanted.retain = true;
    assert_eq!(
        reason(&mut rig, publisher, wanted.clone()),
        ReasonCode::Success
    );
    assert_eq!(journal.take(), [["Delayed", "Received"]]);
    wanted.dup = true;
    assert_eq!(reason(&mut rig, publisher, wanted), ReasonCode::Success);
    assert_eq!(rig.counters().delayed, 1, "seen once [MQTT-4.3.3-10]");
    rig.send(
        publisher,
        &Packet::Pubrel(Ack::new(id(7), ReasonCode::Success)),
    );
    journal.take();
    rig.advance(seconds(5));
    let turns = journal.take();
    assert_eq!(
        turns[0][..3],
        ["DelayedGone", "Retained", "Message"],
        "{turns:?}"
    );
    assert_eq!(payloads(&mut rig, subscriber), ["x"]);
}

#[test]
fn what_fell_due_while_the_node_was_down_comes_at_the_start_in_order_of_time() {
    let (mut rig, _) = rig();
    let start_ms = 1_700_000_000_000;
    let message = |n: u64| Message {
        topic: TopicName::new("a").unwrap(),
        payload: Bytes::from(n.to_string()),
        qos: Q1,
        retain: false,
        properties: PublishProperties::default(),
        expires_at: None,
        publisher: "p".into(),
        received_ms: start_ms - 9_000,
        hops: 0,
    };
    let at = |due_ms, number| DelayedId {
        due_ms,
        shard: 9, // of a node with more shards
        number,
    };
    let delayed = vec![
        (at(start_ms - 2_000, 3), message(1)),
        (at(start_ms - 1_000, 1), message(2)),
        (at(start_ms + 1_500, 2), message(3)),
    ];
    let past = Past {
        delayed,
        next_delayed_number: 4,
        ..Past::default()
    };
    let now = rig.now;
    rig.shards[1].restore(now, past);
    let subscriber = join(&mut rig, Version::V5, "s");
    subscribed(&mut rig, subscriber, "a", Q0);
    assert!(payloads(&mut rig, subscriber).is_empty());
    rig.advance(Duration::ZERO);
    assert_eq!(payloads(&mut rig, subscriber), ["1", "2"]);
    rig.advance(Duration::from_millis(1_499));
    assert!(payloads(&mut rig, subscriber).is_empty());
    rig.advance(Duration::from_millis(1));
    assert_eq!(payloads(&mut rig, subscriber), ["3"]);
    // The count goes on from where it was.
    let publisher = join(&mut rig, Version::V5, "p");
    reason(&mut rig, publisher, publish("$delayed/5/a", "x", Q1, 1));
    let shown: Vec<_> = rig
        .shards
        .iter()
        .flat_map(|shard| shard.delayed(None, 9))
        .collect();
    assert_eq!(shown.len(), 1);
}

#[test]
fn while_the_store_takes_nothing_what_is_due_waits() {
    let (mut rig, journal) = rig();
    let subscriber = join(&mut rig, Version::V5, "s");
    let publisher = join(&mut rig, Version::V5, "p");
    subscribed(&mut rig, subscriber, "a", Q1);
    reason(&mut rig, publisher, publish("$delayed/5/a", "x", Q1, 1));
    journal.is_refusing.store(true, Ordering::Relaxed);
    rig.advance(seconds(60));
    assert!(payloads(&mut rig, subscriber).is_empty());
    journal.is_refusing.store(false, Ordering::Relaxed);
    rig.advance(seconds(1));
    assert_eq!(payloads(&mut rig, subscriber), ["x"]);
}

#[test]
fn a_full_retained_store_loses_no_delayed_message() {
    let full = Limits {
        retained_messages: 0,
        ..limits()
    };
    let mut rig = Rig::new(1, full);
    let client = join(&mut rig, Version::V5, "c");
    subscribed(&mut rig, client, "a", Q1);
    let mut wanted = publish("$delayed/5/a", "x", Q1, 1);
    wanted.retain = true;
    assert_eq!(reason(&mut rig, client, wanted), ReasonCode::Success);
    rig.advance(seconds(5));
    assert_eq!(
        payloads(&mut rig, client),
        ["x"],
        "its publisher is not there to send it again"
    );
    assert_eq!(rig.counters().retained_refused, 1);
}

#[test]
fn delayed_messages_are_listed_page_by_page_and_taken_back() {
    let (mut rig, journal) = rig();
    let publisher = join(&mut rig, Version::V5, "p");
    let subscriber = join(&mut rig, Version::V5, "s");
    subscribed(&mut rig, subscriber, "a", Q0);
    for n in 1..=5 {
        let topic = format!("$delayed/{n}/a");
        reason(&mut rig, publisher, publish(&topic, &n.to_string(), Q1, n));
    }
    let at = rig
        .shards
        .iter()
        .position(|shard| !shard.delayed(None, 1).is_empty())
        .unwrap();
    let page = |rig: &Rig, after| -> Vec<(DelayedId, Bytes)> {
        let page = rig.shards[at].delayed(after, 2).into_iter();
        page.map(|(id, message)| (id, message.payload.clone()))
            .collect()
    };
    let first = page(&rig, None);
    let second = page(&rig, Some(first[1].0));
    let texts: Vec<_> = first
        .iter()
        .chain(&second)
        .map(|(_, payload)| &payload[..])
        .collect();
    assert_eq!(texts, [b"1", b"2", b"3", b"4"]);
    journal.take();
    let now = rig.now;
    for (expected, id) in [(true, first[0].0), (false, first[0].0), (true, second[1].0)] {
        assert_eq!(rig.shards[at].cancel_delayed(now, id), expected);
    }
    assert_eq!(journal.take().concat(), ["DelayedGone", "DelayedGone"]);
    rig.advance(seconds(9));
    assert_eq!(payloads(&mut rig, subscriber), ["2", "3", "5"]);
}

#[test]
fn a_will_can_be_delayed_and_a_malformed_one_keeps_its_client_out() {
    let (mut rig, _) = rig();
    let watcher = join(&mut rig, Version::V5, "w");
    subscribed(&mut rig, watcher, "gone", Q0);
    let with_will = |topic: &str| {
        let mut connect = connect(Version::V5, "c");
        connect.will = Some(Will {
            topic: TopicName::new(topic.to_owned()).unwrap(),
            payload: Bytes::from_static(b"c"),
            qos: Q0,
            retain: false,
            delay: 0,
            properties: PublishProperties::default(),
        });
        connect
    };
    let (client, _) = join_with(&mut rig, with_will("$delayed/5/gone"));
    rig.cut(client);
    rig.advance(Duration::from_millis(4_999));
    assert!(payloads(&mut rig, watcher).is_empty());
    rig.advance(Duration::from_millis(1));
    assert_eq!(payloads(&mut rig, watcher), ["c"]);
    let (client, connack) = join_with(&mut rig, with_will("$delayed/soon/gone"));
    assert_eq!(connack.reason, ReasonCode::TopicNameInvalid);
    assert!(!rig.is_open(client));
}
