//! Sessions of an earlier life of the node: what they are sent, and in which order.

use super::{Q1, id, join, join_with, payloads, persistent, publish, publishes};
use crate::limits::Limits;
use crate::ports::Past;
use crate::ports::store::{Restored, SessionNumber, SessionState};
use crate::shard::shard_of;
use crate::testing::Rig;
use std::time::Duration;
use witmq_proto::packet::{Ack, Packet, PublishProperties, Version, Will};
use witmq_proto::{ByteString, Bytes, ReasonCode, TopicName};

/// A session that was connected when the node ended, with nothing in its queue.
fn was_connected(client_id: &str, filter: &str) -> Restored {
    Restored {
        session: SessionNumber(7),
        state: SessionState {
            client_id: ByteString::from(client_id),
            expiry: 3600,
            absent_since: None,
            next_number: None,
        },
        subscriptions: vec![(filter.into(), super::options(Q1), None)],
        received: Vec::new(),
        queue: None,
    }
}

#[test]
fn messages_of_this_life_keep_their_order_in_a_queue_that_spills_to_the_store() {
    const MESSAGES: usize = 1_500; // more than the part of a queue that is in memory
    let limits = Limits {
        outbox_messages: 10 * MESSAGES,
        ..Limits::default()
    };
    let mut rig = Rig::new(1, limits);
    let past = Past {
        sessions: vec![was_connected("s", "t")],
        ..Past::default()
    };
    let now = rig.now;
    rig.shards[0].restore(now, past);
    let mut connect = persistent(Version::V5, "s");
    // Less than half of what is in memory is left when a page is read.
    connect.properties.receive_maximum = Some(600);
    let (subscriber, connack) = join_with(&mut rig, connect);
    assert!(connack.session_present);
    rig.stick(subscriber, true);
    let publisher = join(&mut rig, Version::V5, "p");
    for number in 0..MESSAGES {
        let message = publish("t", &number.to_string(), Q1, 1);
        rig.send(publisher, &Packet::Publish(Box::new(message)));
    }
    rig.stick(subscriber, false);
    let mut got = Vec::new();
    while got.len() < MESSAGES {
        let batch = rig.received(subscriber);
        assert!(!batch.is_empty(), "only {} came", got.len());
        for packet in batch {
            let Packet::Publish(publish) = packet else {
                continue;
            };
            let text = String::from_utf8_lossy(&publish.payload).into_owned();
            got.push(text.parse::<usize>().unwrap());
            let packet_id = publish.packet_id.unwrap_or(id(1));
            let ack = Ack::new(packet_id, ReasonCode::Success);
            rig.send(subscriber, &Packet::Puback(ack));
        }
    }
    let expected: Vec<usize> = (0..MESSAGES).collect();
    assert!(got == expected, "out of order [MQTT-4.6.0-6]");
    assert!(payloads(&mut rig, subscriber).is_empty(), "none twice");
}

/// A client id that belongs to a shard.
fn of_shard(shard: u16, name: &str) -> String {
    let mut ids = (0..).map(|number| format!("{name}-{number}"));
    ids.find(|id| shard_of(id, 3).0 == shard).unwrap()
}

/// Subscribers on shards that are restored later are told as well [MQTT-3.1.2-8].
#[test]
fn wills_that_fell_due_while_the_node_was_down_reach_every_shard() {
    let will = |topic: &str| Will {
        topic: TopicName::new(topic).unwrap(),
        payload: Bytes::from_static(b"gone"),
        qos: Q1,
        retain: false,
        delay: 5,
        properties: PublishProperties::default(),
    };
    let (kept, short) = (of_shard(0, "kept"), of_shard(0, "short"));
    let witness = of_shard(2, "witness");
    let mut rig = Rig::new(3, Limits::default());
    let mut away = was_connected(&kept, "t");
    away.state.absent_since = Some(0);
    let due = Some(1);
    let wills = vec![
        (ByteString::from(&*kept), will("will/kept"), due),
        (ByteString::from(&*short), will("will/short"), None),
    ];
    let sessions = vec![away];
    let now = rig.now;
    rig.shards[0].restore(
        now,
        Past {
            sessions,
            wills,
            ..Past::default()
        },
    );
    rig.shards[1].restore(now, Past::default());
    let sessions = vec![was_connected(&witness, "will/#")];
    rig.shards[2].restore(
        now,
        Past {
            sessions,
            ..Past::default()
        },
    );
    rig.advance(Duration::ZERO);
    let peer = rig.connect(persistent(Version::V5, &witness));
    let topics = publishes(rig.received(peer)).into_iter().map(|p| p.topic);
    let mut topics: Vec<_> = topics.collect();
    topics.sort_unstable();
    assert_eq!(topics, ["will/kept", "will/short"]);
}
