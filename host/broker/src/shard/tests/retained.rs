//! Retained messages: all of them reach a new subscriber, at its pace; the bounds answer.

use super::{Q0, Q1, join, options, persistent, publish, publishes, subscribe};
use crate::limits::Limits;
use crate::retained::LOOKS;
use crate::testing::{Rig, connect};
use std::time::Duration;
use witmq_proto::packet::{Ack, Connect, Packet, PublishProperties, QoS, Version};
use witmq_proto::{ByteString, Bytes, BytesMut, Message, ReasonCode, TopicName};

fn limits() -> Limits {
    Limits {
        sys_interval: Duration::ZERO,
        ..Limits::default()
    }
}

/// A node that retains `count` messages of `size` bytes on `r/0000000` and so on.
fn retaining(limits: Limits, count: usize, size: usize) -> Rig {
    let mut retained = Vec::new();
    let payload = Bytes::from(vec![b'x'; size]);
    for n in 0..count {
        retained.push(Message {
            topic: TopicName::new(format!("r/{n:07}")).unwrap(),
            payload: payload.clone(),
            qos: Q1,
            retain: true,
            properties: PublishProperties::default(),
            expires_at: None,
            publisher: ByteString::new(),
            received_ms: 0,
            hops: 0,
        });
    }
    let store = || Box::new(crate::memory::Memory::default()) as Box<dyn crate::ports::Store>;
    Rig::with_shared(1, limits, store, |shared| shared.retained.restore(retained))
}

/// Acknowledges whatever comes until nothing does; how many messages came, and the longest queue meanwhile.
fn drain(rig: &mut Rig, peer: usize) -> (usize, usize) {
    let (mut came, mut longest) = (0, 0);
    loop {
        let packets = publishes(rig.received(peer));
        if packets.is_empty() {
            return (came, longest);
        }
        for packet in packets {
            assert_eq!(&*packet.topic, format!("r/{came:07}"));
            assert!(packet.retain); // [MQTT-3.3.1-8]
            came += 1;
            let waiting = rig.shards[0]
                .clients
                .iter()
                .map(|client| client.outbox.len());
            longest = longest.max(waiting.max().unwrap());
            if let Some(packet_id) = packet.packet_id {
                rig.send(
                    peer,
                    &Packet::Puback(Ack::new(packet_id, ReasonCode::Success)),
                );
            }
        }
    }
}

fn slow(mut connect: Connect) -> Connect {
    connect.properties.receive_maximum = Some(10);
    connect
}

#[test]
fn a_hundred_thousand_reach_a_slow_receiver_complete_and_few_wait_at_a_time() {
    const COUNT: usize = 100_000;
    for wanted in [connect(Version::V5, "c"), persistent(Version::V5, "c")] {
        let mut rig = retaining(limits(), COUNT, 16);
        let peer = rig.connect(slow(wanted));
        rig.received(peer);
        rig.send(peer, &subscribe(&[("r/#", options(Q1))], None));
        let (came, longest) = drain(&mut rig, peer);
        assert_eq!(came, COUNT);
        assert!(longest <= 64, "{longest} in the outbox");
        assert_eq!(rig.counters().dropped_full, 0);
    }
}

#[test]
fn a_receiver_that_takes_nothing_for_a_while_misses_nothing() {
    for qos in [Q0, Q1] {
        let mut rig = retaining(limits(), 5_000, 16);
        let peer = join(&mut rig, Version::V5, "c");
        rig.stick(peer, true);
        rig.send(peer, &subscribe(&[("r/#", options(qos))], None));
        let waiting = rig.shards[0]
            .clients
            .iter()
            .map(|client| client.outbox.len());
        assert!(waiting.max().unwrap() <= 64);
        rig.stick(peer, false);
        assert_eq!(drain(&mut rig, peer).0, 5_000);
    }
}

#[test]
fn an_outbox_smaller_than_a_page_cuts_nothing() {
    let few = Limits {
        outbox_messages: 3,
        ..limits()
    };
    let small = Limits {
        outbox_bytes: 10_000,
        ..limits()
    };
    for (limits, size) in [(few, 16), (small.clone(), 4_000), (small, 40_000)] {
        for qos in [Q0, Q1] {
            let mut rig = retaining(limits.clone(), 500, size);
            let peer = rig.connect(slow(connect(Version::V5, "c")));
            rig.received(peer);
            rig.send(peer, &subscribe(&[("r/#", options(qos))], None));
            assert_eq!(drain(&mut rig, peer).0, 500);
            assert_eq!(rig.counters().dropped_full, 0);
        }
    }
}

#[test]
fn a_full_retained_store_answers_and_makes_room_when_one_is_cleared() {
    let by_count = Limits {
        retained_messages: 2,
        ..limits()
    };
    let by_bytes = Limits {
        retained_bytes: 2 * (1 + 1 + 256),
        ..limits()
    };
    let set = |rig: &mut Rig, peer, topic: &str, payload: &str, qos: QoS| {
        let mut packet = publish(topic, payload, qos, 4);
        packet.retain = true;
        rig.send(peer, &Packet::Publish(Box::new(packet)));
        rig.received(peer)
            .into_iter()
            .find_map(|packet| match packet {
                Packet::Puback(ack) | Packet::Pubrec(ack) => Some(ack.reason),
                _ => None,
            })
    };
    for limits in [by_count, by_bytes] {
        let mut rig = Rig::new(2, limits);
        let peer = join(&mut rig, Version::V5, "c");
        let taken = Some(ReasonCode::NoMatchingSubscribers);
        assert_eq!(set(&mut rig, peer, "a", "1", Q1), taken);
        assert_eq!(set(&mut rig, peer, "b", "1", Q1), taken);
        let full = Some(ReasonCode::QuotaExceeded);
        assert_eq!(set(&mut rig, peer, "c", "1", Q1), full);
        assert_eq!(set(&mut rig, peer, "c", "1", Q0), None);
        assert_eq!(rig.counters().retained_refused, 2);
        assert_eq!(
            set(&mut rig, peer, "a", "2", Q1),
            taken,
            "one that is there can be replaced"
        );
        assert_eq!(set(&mut rig, peer, "a", "", Q1), taken);
        assert_eq!(set(&mut rig, peer, "c", "1", Q1), taken);
        rig.send(peer, &subscribe(&[("#", options(Q0))], None));
        let kept: Vec<_> = publishes(rig.received(peer))
            .into_iter()
            .map(|p| p.topic)
            .collect();
        assert_eq!(kept, ["b", "c"]);
    }
}

/// An unlucky filter holds nobody up, nor the table: it is looked through in parts, and others have their turn between.
#[test]
fn what_matches_hardly_anything_is_looked_for_in_parts() {
    for (count, parts) in [(LOOKS - 1, 1), (3 * LOOKS, 3)] {
        let mut rig = retaining(limits(), count, 1);
        let peer = join(&mut rig, Version::V5, "s");
        rig.stick(peer, true);
        let last = format!("+/{:07}", count - 1);
        rig.send(
            peer,
            &subscribe(&[(&last, options(Q0)), ("+/none", options(Q0))], None),
        );
        let id = rig.shards[0].connections.iter().next().unwrap().id;
        let (now, mut out) = (rig.now, BytesMut::new());
        let mut calls = 0;
        while rig.shards[0].has_more(id) {
            let before = out.len();
            rig.shards[0].transmit(now, id, &mut out);
            calls += 1;
            assert!(out.len() > before || calls < 2 * parts + 2, "and it ends");
        }
        // One look at each for either filter, with those that the SUBACK came with.
        assert!(
            (2 * parts..=2 * parts + 1).contains(&calls),
            "{count}: {calls} calls"
        );
        assert!(out.ends_with(b"x"), "the one match came");
    }
}
