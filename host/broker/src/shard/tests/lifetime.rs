//! What outlives a connection: sessions, wills, expiry, groups, bounds.

use super::{
    Q0, Q1, Q2, id, join, join_with, payloads, persistent, publish, publishes, rig, subscribed,
};
use crate::limits::{Limits, Overflow};
use crate::memory::Memory;
use crate::ports::store::{Fetch, Fetched, Health, SessionNumber};
use crate::ports::{Position, Record, Store};
use crate::testing::{Rig, connect};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use witmq_proto::packet::{Ack, Disconnect, Packet, Version, Will};
use witmq_proto::{Bytes, ReasonCode, TopicName};

#[test]
fn what_is_in_flight_is_sent_again_in_order_with_dup_and_the_same_identifiers() {
    for version in [Version::V311, Version::V5] {
        let mut rig = rig();
        let (subscriber, _) = join_with(&mut rig, persistent(version, "s"));
        let publisher = join(&mut rig, version, "p");
        subscribed(&mut rig, subscriber, "t", Q2);
        for (n, qos) in [(1, Q1), (2, Q2), (3, Q1), (4, Q2)] {
            rig.send(
                publisher,
                &Packet::Publish(Box::new(publish("t", &n.to_string(), qos, n))),
            );
        }
        let first = publishes(rig.received(subscriber));
        let ids: Vec<_> = first.iter().map(|p| p.packet_id.unwrap()).collect();
        rig.send(
            subscriber,
            &Packet::Pubrec(Ack::new(ids[1], ReasonCode::Success)),
        );
        rig.cut(subscriber);
        rig.send(
            publisher,
            &Packet::Publish(Box::new(publish("t", "5", Q1, 5))),
        );
        rig.send(
            publisher,
            &Packet::Publish(Box::new(publish("t", "lost", Q0, 0))),
        );
        let (subscriber, connack) = {
            let peer = rig.connect(persistent(version, "s"));
            (peer, rig.received(peer))
        };
        let Packet::Connack(first_packet) = &connack[0] else {
            panic!("{connack:?}")
        };
        assert!(first_packet.session_present); // [MQTT-3.2.2-2]
        let rest: Vec<_> = connack[1..]
            .iter()
            .map(|packet| match packet {
                Packet::Publish(p) => (
                    p.packet_id.unwrap(),
                    p.dup,
                    String::from_utf8_lossy(&p.payload).into_owned(),
                ),
                Packet::Pubrel(ack) => (ack.packet_id, false, "rel".to_owned()),
                other => panic!("{other:?}"),
            })
            .collect();
        let text = |n: usize, dup, payload: &str| (ids[n], dup, payload.to_owned());
        assert_eq!(
            rest[..4],
            [
                text(0, true, "1"),
                text(1, false, "rel"),
                text(2, true, "3"),
                text(3, true, "4")
            ]
        );
        assert_eq!(
            (rest.len(), rest[4].1, &*rest[4].2),
            (5, false, "5"),
            "queued while away; QoS 0 is not"
        );
        assert!(!ids.contains(&rest[4].0));
        let _ = subscriber;
    }
}

#[test]
fn wills_follow_delay_expiry_disconnect_and_takeover() {
    let will = |delay| Will {
        topic: TopicName::new("will").unwrap(),
        payload: Bytes::from_static(b"gone"),
        qos: Q0,
        retain: false,
        delay,
        properties: witmq_proto::packet::PublishProperties::default(),
    };
    let secs = Duration::from_secs;
    let mut rig = rig();
    let watcher = join(&mut rig, Version::V5, "w");
    subscribed(&mut rig, watcher, "will", Q0);
    let start = |rig: &mut Rig, delay, expiry| {
        let mut wanted = connect(Version::V5, "c");
        wanted.clean_start = false;
        wanted.properties.session_expiry = Some(expiry);
        wanted.will = Some(will(delay));
        join_with(rig, wanted).0
    };
    // No delay: at once.
    let peer = start(&mut rig, 0, 100);
    rig.cut(peer);
    assert_eq!(payloads(&mut rig, watcher).len(), 1);
    // A delay, and the session resumes in time [MQTT-3.1.3-9].
    let peer = start(&mut rig, 10, 100);
    rig.cut(peer);
    rig.advance(secs(9));
    let peer = start(&mut rig, 10, 100);
    rig.advance(secs(100));
    assert!(payloads(&mut rig, watcher).is_empty());
    // It is never early, and not late.
    rig.cut(peer);
    rig.advance(Duration::from_millis(9_999));
    assert!(payloads(&mut rig, watcher).is_empty());
    rig.advance(Duration::from_millis(1));
    assert_eq!(payloads(&mut rig, watcher).len(), 1);
    // The end of the session comes first.
    let peer = start(&mut rig, 50, 5);
    rig.cut(peer);
    rig.advance(secs(5));
    assert_eq!(payloads(&mut rig, watcher).len(), 1);
    rig.advance(secs(100));
    assert!(payloads(&mut rig, watcher).is_empty());
    // A normal DISCONNECT drops it [MQTT-3.1.2-10], 0x04 does not.
    for (reason, expected) in [
        (ReasonCode::Success, 0),
        (ReasonCode::DisconnectWithWill, 1),
    ] {
        let peer = start(&mut rig, 0, 0);
        rig.send(peer, &Packet::Disconnect(Box::new(Disconnect::new(reason))));
        assert_eq!(payloads(&mut rig, watcher).len(), expected, "{reason}");
    }
    // Takeover: the older connection hears 0x8E, its undelayed will is published.
    let older = start(&mut rig, 0, 100);
    start(&mut rig, 10, 100);
    let last = rig.received(older).pop();
    assert!(
        matches!(&last, Some(Packet::Disconnect(d)) if d.reason == ReasonCode::SessionTakenOver),
        "{last:?}"
    );
    assert_eq!(payloads(&mut rig, watcher).len(), 1);
    assert!(!rig.is_open(older));
}

#[test]
fn sessions_end_when_their_expiry_has_passed_and_not_before() {
    let mut rig = rig();
    let mut wanted = connect(Version::V5, "c");
    wanted.clean_start = false;
    wanted.properties.session_expiry = Some(10);
    for (wait, expected) in [(9, true), (10, false)] {
        let (peer, _) = join_with(&mut rig, wanted.clone());
        rig.cut(peer);
        rig.advance(Duration::from_secs(wait));
        let (peer, connack) = join_with(&mut rig, wanted.clone());
        assert_eq!(connack.session_present, expected, "after {wait} s");
        rig.cut(peer);
    }
}

#[test]
fn message_expiry_counts_the_time_in_the_queue() {
    let mut rig = rig();
    let (subscriber, _) = join_with(&mut rig, persistent(Version::V5, "s"));
    subscribed(&mut rig, subscriber, "t", Q1);
    rig.cut(subscriber);
    let publisher = join(&mut rig, Version::V5, "p");
    for (n, expiry) in [(1, 10), (2, 20)] {
        let mut packet = publish("t", &n.to_string(), Q1, n);
        packet.properties.message_expiry = Some(expiry);
        rig.send(publisher, &Packet::Publish(Box::new(packet)));
    }
    rig.advance(Duration::from_secs(10));
    let peer = rig.connect(persistent(Version::V5, "s"));
    let got = publishes(rig.received(peer)); // [MQTT-3.3.2-5]
    assert_eq!(got.len(), 1);
    assert_eq!(got[0].properties.message_expiry, Some(10)); // [MQTT-3.3.2-6]
    assert_eq!(rig.counters().dropped_expired, 1);
}

#[test]
fn keep_alive_ends_a_silent_connection_after_one_and_a_half_times() {
    // Shorter than the time for an authentication (10 s), as long, and longer.
    for (seconds, milliseconds) in [
        (2, 3000),
        (6, 9000),
        (7, 10_500),
        (10, 15_000),
        (60, 90_000),
    ] {
        let mut rig = rig();
        let mut wanted = connect(Version::V5, "c");
        wanted.keep_alive = seconds;
        let (peer, _) = join_with(&mut rig, wanted);
        for _ in 0..5 {
            rig.advance(Duration::from_millis(milliseconds - 1));
            assert!(rig.is_open(peer));
            rig.send(peer, &Packet::Pingreq);
            assert_eq!(rig.received(peer), [Packet::Pingresp]);
        }
        // Of the node's own report and of this connection: one each, however often it was looked at.
        let timers: usize = rig.shards.iter().map(|shard| shard.timers.len()).sum();
        assert_eq!(timers, rig.shards.len() + 1, "{seconds}");
        rig.advance(Duration::from_millis(milliseconds));
        assert!(!rig.is_open(peer)); // [MQTT-3.1.2-22]
        let last = rig.received(peer).pop();
        assert!(
            matches!(last, Some(Packet::Disconnect(d)) if d.reason == ReasonCode::KeepAliveTimeout)
        );
    }
}

#[test]
fn shared_groups_deliver_once_prefer_who_is_online_and_redeliver_on_session_end() {
    let mut rig = rig();
    let members: Vec<_> = (0..3)
        .map(|n| join(&mut rig, Version::V5, &format!("member-{n}")))
        .collect();
    let publisher = join(&mut rig, Version::V5, "p");
    for member in &members {
        subscribed(&mut rig, *member, "$share/g/t/#", Q1);
    }
    for n in 1..=30 {
        rig.send(
            publisher,
            &Packet::Publish(Box::new(publish("t/x", "x", Q1, n))),
        );
    }
    let counts: Vec<_> = members
        .iter()
        .map(|member| payloads(&mut rig, *member).len())
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 30);
    assert!(counts.iter().all(|count| *count >= 5), "{counts:?}");
    // None was acknowledged: as members go, what they had goes to those who stay [MQTT-4.8.2-5].
    rig.cut(members[0]);
    rig.cut(members[1]);
    let third = payloads(&mut rig, members[2]).len();
    assert_eq!(counts[2] + third, 30);
}

#[test]
fn a_full_outbox_follows_its_policy_and_hurts_nobody_else() {
    for (overflow, kept) in [
        (Overflow::DropNewest, ["1", "2", "3"]),
        (Overflow::DropOldest, ["3", "4", "5"]),
    ] {
        let limits = Limits {
            outbox_messages: 3,
            overflow,
            ..Limits::default()
        };
        let mut rig = Rig::new(1, limits);
        let slow = join(&mut rig, Version::V5, "slow");
        let quick = join(&mut rig, Version::V5, "quick");
        let publisher = join(&mut rig, Version::V5, "p");
        subscribed(&mut rig, slow, "t", Q1);
        subscribed(&mut rig, quick, "t", Q1);
        rig.stick(slow, true);
        for n in 1..=5 {
            rig.send(
                publisher,
                &Packet::Publish(Box::new(publish("t", &n.to_string(), Q1, n))),
            );
        }
        assert_eq!(payloads(&mut rig, quick).len(), 5);
        assert_eq!(rig.counters().dropped_full, 2);
        rig.stick(slow, false);
        assert_eq!(payloads(&mut rig, slow), kept, "{overflow:?}");
    }
    let limits = Limits {
        outbox_messages: 3,
        overflow: Overflow::Disconnect,
        ..Limits::default()
    };
    let mut rig = Rig::new(1, limits);
    let slow = join(&mut rig, Version::V5, "slow");
    let publisher = join(&mut rig, Version::V5, "p");
    subscribed(&mut rig, slow, "t", Q1);
    rig.stick(slow, true);
    for n in 1..=4 {
        assert!(rig.is_open(slow));
        rig.send(
            publisher,
            &Packet::Publish(Box::new(publish("t", "x", Q1, n))),
        );
    }
    assert!(!rig.is_open(slow));
}

#[test]
fn congested_mail_pauses_publishers_until_there_is_room() {
    let mut rig = rig();
    let publisher = join(&mut rig, Version::V5, "p");
    let subscriber = join(&mut rig, Version::V5, "s");
    subscribed(&mut rig, subscriber, "t", Q0);
    for shard in &mut rig.shards {
        shard.congested(crate::ShardId(2), true);
    }
    rig.send(
        publisher,
        &Packet::Publish(Box::new(publish("t", "x", Q1, 1))),
    );
    assert!(rig.is_paused(publisher));
    assert!(rig.received(publisher).is_empty());
    for shard in &mut rig.shards {
        shard.congested(crate::ShardId(2), false);
    }
    rig.run();
    assert_eq!(
        rig.received(publisher),
        [Packet::Puback(Ack::new(id(1), ReasonCode::Success))]
    );
    assert_eq!(payloads(&mut rig, subscriber), ["x"]);
}

/// Stores when told to: what is durable is bounded from outside.
pub(super) struct Slow {
    memory: Memory,
    stored: Arc<AtomicU64>,
}

impl Slow {
    pub(super) fn until(stored: &Arc<AtomicU64>) -> Self {
        Self {
            memory: Memory::default(),
            stored: stored.clone(),
        }
    }
}

impl Store for Slow {
    fn append(&mut self, record: Record<'_>) -> Position {
        self.memory.append(record)
    }

    fn stored(&self) -> Position {
        let bound = Position(self.stored.load(Ordering::Relaxed));
        self.memory.stored().min(bound)
    }

    fn flush(&mut self) {}

    fn health(&self) -> Health {
        Health::Well
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

#[test]
fn an_acknowledgement_waits_until_its_record_is_stored() {
    let stored = Arc::new(AtomicU64::new(1_000));
    let make = stored.clone();
    let mut rig = Rig::with_store(1, Limits::default(), move || Box::new(Slow::until(&make)));
    let (subscriber, _) = join_with(&mut rig, persistent(Version::V5, "s"));
    subscribed(&mut rig, subscriber, "t", Q1);
    let publisher = join(&mut rig, Version::V5, "p");
    stored.store(0, Ordering::Relaxed);
    rig.send(
        publisher,
        &Packet::Publish(Box::new(publish("t", "x", Q1, 1))),
    );
    rig.send(
        publisher,
        &Packet::Publish(Box::new(publish("nobody", "x", Q1, 2))),
    );
    assert!(
        rig.received(publisher).is_empty(),
        "nothing may overtake an acknowledgement [MQTT-4.6.0-2]"
    );
    stored.store(1_000, Ordering::Relaxed);
    let now = rig.now;
    rig.shards[0].stored(now);
    rig.run();
    let got = rig.received(publisher);
    assert_eq!(got[0], Packet::Puback(Ack::new(id(1), ReasonCode::Success)));
    assert_eq!(
        got[1],
        Packet::Puback(Ack::new(id(2), ReasonCode::NoMatchingSubscribers))
    );
}

#[test]
fn an_empty_client_id_is_assigned_where_the_version_allows() {
    let mut rig = rig();
    let (peer, connack) = join_with(&mut rig, connect(Version::V5, ""));
    let assigned = connack.properties.assigned_client_id;
    assert!(assigned.is_some_and(|id| !id.is_empty())); // [MQTT-3.1.3-6] [MQTT-3.2.2-16]
    assert!(rig.is_open(peer));
    let mut unclean = connect(Version::V311, "");
    unclean.clean_start = false;
    let (peer, connack) = join_with(&mut rig, unclean);
    assert_eq!(connack.reason, ReasonCode::ClientIdNotValid); // [MQTT-3.1.3-8]
    assert!(!rig.is_open(peer));
}
