//! One topic with very many subscribers of whom some take nothing: the others have every message in order, and what waits for
//! the slow ones is one message however many they are.

use super::{join, publish, subscribed};
use crate::limits::{Limits, Overflow};
use crate::shard::Shard;
use crate::shard::outbox::Front;
use crate::testing::Rig;
use std::sync::Arc;
use std::time::Duration;
use witmq_proto::packet::{Packet, QoS, Version};

const SUBSCRIBERS: usize = 100_000;
/// Every so manieth takes nothing.
const SLOW: usize = 1_000;
/// Messages that wait for one client.
const WAITING: usize = 3;

/// First messages that wait: how many clients of a shard have one, and how many share the first one's.
fn first_waiting(shard: &Shard) -> (usize, usize) {
    let fronts = shard.clients.iter().map(|client| client.outbox.front());
    let fronts = fronts.filter_map(|front| match front {
        Some(Front::One(waiting)) => Some(&waiting.delivery.message),
        Some(Front::Burst(..)) | None => None,
    });
    let fronts: Vec<_> = fronts.collect();
    (
        fronts.len(),
        fronts.first().map_or(0, |first| Arc::strong_count(first)),
    )
}

#[test]
fn a_hundred_thousand_of_whom_some_are_slow() {
    for shards in [1, 2] {
        let limits = Limits {
            sys_interval: Duration::ZERO,
            outbox_messages: WAITING,
            overflow: Overflow::DropNewest,
            ..Limits::default()
        };
        let mut rig = Rig::new(shards, limits);
        let publisher = join(&mut rig, Version::V311, "publisher");
        let everybody: Vec<_> = (0..SUBSCRIBERS)
            .map(|number| {
                let peer = join(&mut rig, Version::V311, &format!("subscriber-{number}"));
                subscribed(&mut rig, peer, "news", QoS::AtMostOnce);
                rig.received(peer);
                peer
            })
            .collect();
        let is_slow = |number: usize| number.is_multiple_of(SLOW);
        let slow = (0..SUBSCRIBERS).filter(|number| is_slow(*number)).count();
        for number in (0..SUBSCRIBERS).filter(|number| is_slow(*number)) {
            rig.stick(everybody[number], true);
        }
        let texts = ["0", "1", "2", "3", "4"];
        for (sent, text) in (1..).zip(texts) {
            let packet = publish("news", text, QoS::AtMostOnce, 0);
            rig.send(publisher, &Packet::Publish(Box::new(packet)));
            let dropped = sent - WAITING.min(sent);
            let counted = rig.counters().dropped_full;
            assert_eq!(counted, u64::try_from(dropped * slow).unwrap());
        }
        for (number, peer) in everybody
            .iter()
            .enumerate()
            .filter(|(number, _)| !is_slow(*number))
        {
            let packets = rig.received(*peer).into_iter();
            let seen: Vec<_> = packets
                .map(|packet| match packet {
                    Packet::Publish(publish) => publish.payload,
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(seen, texts, "subscriber {number}");
        }
        let waiting = rig.shards.iter().map(first_waiting);
        let (clients, shared) = waiting.fold((0, 0), |sum, one| (sum.0 + one.0, sum.1.max(one.1)));
        assert_eq!(clients, slow);
        assert_eq!(
            shared, slow,
            "all of them wait for one and the same message"
        );
        for number in (0..SUBSCRIBERS).filter(|number| is_slow(*number)) {
            rig.stick(everybody[number], false);
            assert_eq!(rig.received(everybody[number]).len(), WAITING);
        }
    }
}

#[test]
fn what_waits_is_bounded_in_bytes_too() {
    // A message costs its payload, its topic and 64 bytes: three fit to the byte, or two where one byte is missing.
    let payload = "x".repeat(100);
    let cost = payload.len() + "news".len() + 64;
    for (outbox_bytes, kept) in [(3 * cost, 3), (3 * cost - 1, 2)] {
        let limits = Limits {
            sys_interval: Duration::ZERO,
            outbox_bytes,
            overflow: Overflow::DropNewest,
            ..Limits::default()
        };
        let mut rig = Rig::new(1, limits);
        let publisher = join(&mut rig, Version::V311, "publisher");
        let slow = join(&mut rig, Version::V311, "slow");
        subscribed(&mut rig, slow, "news", QoS::AtMostOnce);
        rig.stick(slow, true);
        for _ in 0..5 {
            let packet = publish("news", &payload, QoS::AtMostOnce, 0);
            rig.send(publisher, &Packet::Publish(Box::new(packet)));
        }
        let dropped = u64::try_from(5 - kept).unwrap();
        assert_eq!(rig.counters().dropped_full, dropped, "{outbox_bytes} bytes");
        rig.stick(slow, false);
        assert_eq!(rig.received(slow).len(), kept);
    }
}
