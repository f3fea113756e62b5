//! How long a message may wait for its receiver.

use super::{Q1, id, join, join_with, payloads, persistent, publish, subscribed};
use crate::limits::{Limits, Overflow};
use crate::testing::Rig;
use std::time::Duration;
use witmq_proto::ReasonCode;
use witmq_proto::packet::{Ack, Packet, Version};

const AGE: Duration = Duration::from_secs(60);

fn aging(outbox_messages: usize) -> Rig {
    Rig::new(
        1,
        Limits {
            outbox_age: AGE,
            outbox_messages,
            overflow: Overflow::DropNewest,
            sys_interval: Duration::ZERO,
            ..Limits::default()
        },
    )
}

fn send(rig: &mut Rig, publisher: usize, text: &str, packet_id: u16) {
    let packet = publish("t", text, Q1, packet_id);
    rig.send(publisher, &Packet::Publish(Box::new(packet)));
    drop(rig.received(publisher));
}

/// A message at its age is delivered, one beyond it is not, nor does one count that was never looked at.
#[test]
fn what_waited_longer_for_an_absent_client_is_dropped_when_it_comes_back() {
    let mut rig = aging(10);
    let (subscriber, _) = join_with(&mut rig, persistent(Version::V5, "s"));
    subscribed(&mut rig, subscriber, "t", Q1);
    rig.cut(subscriber);
    let publisher = join(&mut rig, Version::V5, "p");
    send(&mut rig, publisher, "beyond", 1);
    rig.advance(Duration::from_millis(1));
    send(&mut rig, publisher, "at", 2);
    rig.advance(AGE);
    send(&mut rig, publisher, "new", 3);
    let subscriber = rig.connect(persistent(Version::V5, "s"));
    assert_eq!(payloads(&mut rig, subscriber), ["at", "new"]);
    assert_eq!(rig.counters().dropped_too_old, 1);
}

#[test]
fn what_waited_longer_makes_room_before_anything_new_is_dropped() {
    let mut rig = aging(2);
    let mut connect = persistent(Version::V5, "s");
    connect.properties.receive_maximum = Some(1.try_into().unwrap());
    let (subscriber, _) = join_with(&mut rig, connect);
    subscribed(&mut rig, subscriber, "t", Q1);
    let publisher = join(&mut rig, Version::V5, "p");
    // One is in flight and stays; two wait.
    for (number, text) in (1..).zip(["in flight", "old", "older"]) {
        send(&mut rig, publisher, text, number);
    }
    rig.advance(AGE);
    send(&mut rig, publisher, "too early", 4);
    assert_eq!(rig.counters().dropped_full, 1, "at their age they stay");
    rig.advance(Duration::from_millis(1));
    send(&mut rig, publisher, "new", 5);
    let counters = rig.counters();
    assert_eq!((counters.dropped_full, counters.dropped_too_old), (1, 2));
    assert_eq!(payloads(&mut rig, subscriber), ["in flight"]);
    rig.send(
        subscriber,
        &Packet::Puback(Ack::new(id(1), ReasonCode::Success)),
    );
    assert_eq!(payloads(&mut rig, subscriber), ["new"]);
}

#[test]
fn a_retained_message_is_as_old_as_it_is() {
    let mut rig = aging(10);
    let publisher = join(&mut rig, Version::V5, "p");
    let mut retained = publish("t", "retained", Q1, 1);
    retained.retain = true;
    rig.send(publisher, &Packet::Publish(Box::new(retained)));
    rig.advance(AGE * 2);
    let subscriber = join(&mut rig, Version::V5, "s");
    rig.send(
        subscriber,
        &super::subscribe(&[("t", super::options(Q1))], None),
    );
    assert_eq!(payloads(&mut rig, subscriber), ["retained"]);
}
