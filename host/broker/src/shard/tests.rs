//! Sessions on a virtual clock: what clients see, packet by packet.

mod abilities;
mod age;
mod authentication;
mod bursts;
mod delayed;
mod exclusive;
mod leftovers;
mod lifetime;
mod owed;
mod parked;
mod passing;
mod plugin_kv;
mod raised;
mod redirect;
mod refusing;
mod restored;
mod retained;
mod shared_groups;
mod simulation;
mod slow;
mod sys;
mod topics;
mod turns;

use crate::limits::Limits;
use crate::ports::hooks::AuthStep;
use crate::ports::{AclRule, BrokerEvent};
use crate::testing::{Rig, allow_all, connect};
use std::time::Duration;
use witmq_proto::packet::{
    Ack, Connack, Connect, Packet, PacketId, Publish, QoS, RetainHandling, Subscribe,
    SubscribeFilter, SubscribeOptions, Unsubscribe, Version,
};
use witmq_proto::{ByteString, Bytes, ReasonCode};

const Q0: QoS = QoS::AtMostOnce;
const Q1: QoS = QoS::AtLeastOnce;
const Q2: QoS = QoS::ExactlyOnce;

fn rig() -> Rig {
    Rig::new(
        3,
        Limits {
            sys_interval: Duration::ZERO,
            ..Limits::default()
        },
    )
}

fn id(n: u16) -> PacketId {
    PacketId::new(n).unwrap()
}

fn publish(topic: &str, payload: &str, qos: QoS, packet_id: u16) -> Publish {
    Publish {
        topic: topic.into(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        qos,
        packet_id: PacketId::new(packet_id),
        ..Publish::default()
    }
}

fn options(qos: QoS) -> SubscribeOptions {
    SubscribeOptions {
        qos,
        ..SubscribeOptions::default()
    }
}

fn subscribe(filters: &[(&str, SubscribeOptions)], subscription_id: Option<u32>) -> Packet {
    let filters = filters
        .iter()
        .map(|(filter, options)| SubscribeFilter {
            filter: (*filter).into(),
            options: *options,
        })
        .collect();
    Packet::Subscribe(Box::new(Subscribe {
        packet_id: id(9),
        subscription_id,
        user: Vec::new(),
        filters,
    }))
}

/// Connects and swallows CONNACK.
fn join(rig: &mut Rig, version: Version, client_id: &str) -> usize {
    join_with(rig, connect(version, client_id)).0
}

fn join_with(rig: &mut Rig, connect: Connect) -> (usize, Connack) {
    let peer = rig.connect(connect);
    let packets = rig.received(peer);
    let Some(Packet::Connack(connack)) = packets.first() else {
        panic!("no CONNACK but {packets:?}")
    };
    (peer, (**connack).clone())
}

fn persistent(version: Version, client_id: &str) -> Connect {
    let mut connect = connect(version, client_id);
    connect.clean_start = false;
    connect.properties.session_expiry = version.is_v5().then_some(3600);
    connect
}

fn subscribed(rig: &mut Rig, peer: usize, filter: &str, qos: QoS) {
    rig.send(peer, &subscribe(&[(filter, options(qos))], None));
    assert!(matches!(rig.received(peer)[..], [Packet::Suback(_)]));
}

fn publishes(packets: Vec<Packet>) -> Vec<Publish> {
    packets
        .into_iter()
        .filter_map(|packet| {
            if let Packet::Publish(p) = packet {
                Some(*p)
            } else {
                None
            }
        })
        .collect()
}

fn payloads(rig: &mut Rig, peer: usize) -> Vec<String> {
    publishes(rig.received(peer))
        .iter()
        .map(|p| String::from_utf8_lossy(&p.payload).into_owned())
        .collect()
}

#[test]
fn qos_0_1_and_2_reach_a_subscriber_on_another_shard() {
    for version in [Version::V31, Version::V311, Version::V5] {
        let mut rig = rig();
        let subscriber = join(&mut rig, version, "subscriber-1");
        let publisher = join(&mut rig, version, "publisher-22");
        subscribed(&mut rig, subscriber, "a/+", Q2);
        rig.send(
            publisher,
            &Packet::Publish(Box::new(publish("a/0", "zero", Q0, 0))),
        );
        rig.send(
            publisher,
            &Packet::Publish(Box::new(publish("a/1", "one", Q1, 1))),
        );
        rig.send(
            publisher,
            &Packet::Publish(Box::new(publish("a/2", "two", Q2, 2))),
        );
        let answers = rig.received(publisher);
        assert_eq!(
            answers[0],
            Packet::Puback(Ack::new(id(1), ReasonCode::Success))
        );
        assert_eq!(
            answers[1],
            Packet::Pubrec(Ack::new(id(2), ReasonCode::Success))
        );
        rig.send(
            publisher,
            &Packet::Pubrel(Ack::new(id(2), ReasonCode::Success)),
        );
        assert_eq!(
            rig.received(publisher),
            [Packet::Pubcomp(Ack::new(id(2), ReasonCode::Success))]
        );
        let got = publishes(rig.received(subscriber));
        assert_eq!(
            got.iter().map(|p| (&*p.topic, p.qos)).collect::<Vec<_>>(),
            [("a/0", Q0), ("a/1", Q1), ("a/2", Q2)]
        );
        let (one, two) = (got[1].packet_id.unwrap(), got[2].packet_id.unwrap());
        rig.send(
            subscriber,
            &Packet::Puback(Ack::new(one, ReasonCode::Success)),
        );
        rig.send(
            subscriber,
            &Packet::Pubrec(Ack::new(two, ReasonCode::Success)),
        );
        assert_eq!(
            rig.received(subscriber),
            [Packet::Pubrel(Ack::new(two, ReasonCode::Success))]
        );
        rig.send(
            subscriber,
            &Packet::Pubcomp(Ack::new(two, ReasonCode::Success)),
        );
        assert!(rig.received(subscriber).is_empty());
    }
}

#[test]
fn a_known_qos_2_identifier_is_answered_but_not_delivered_again() {
    let mut rig = rig();
    let subscriber = join(&mut rig, Version::V5, "s");
    let publisher = join(&mut rig, Version::V5, "p");
    subscribed(&mut rig, subscriber, "t", Q0);
    let mut packet = publish("t", "x", Q2, 7);
    for round in 0..3 {
        packet.dup = round > 0;
        rig.send(publisher, &Packet::Publish(Box::new(packet.clone())));
        assert_eq!(
            rig.received(publisher),
            [Packet::Pubrec(Ack::new(id(7), ReasonCode::Success))]
        ); // [MQTT-4.3.3-10]
    }
    assert_eq!(payloads(&mut rig, subscriber), ["x"]);
    rig.send(
        publisher,
        &Packet::Pubrel(Ack::new(id(7), ReasonCode::Success)),
    );
    rig.send(
        publisher,
        &Packet::Pubrel(Ack::new(id(7), ReasonCode::Success)),
    );
    let codes: Vec<_> = rig.received(publisher);
    assert_eq!(
        codes[0],
        Packet::Pubcomp(Ack::new(id(7), ReasonCode::Success))
    );
    assert_eq!(
        codes[1],
        Packet::Pubcomp(Ack::new(id(7), ReasonCode::PacketIdNotFound))
    );
    rig.send(publisher, &Packet::Publish(Box::new(packet))); // DUP set, yet new
    assert_eq!(payloads(&mut rig, subscriber), ["x"]);
}

#[test]
fn receive_maximum_of_the_client_is_never_exceeded() {
    let mut rig = rig();
    let mut wanted = connect(Version::V5, "s");
    wanted.properties.receive_maximum = Some(2);
    let (subscriber, _) = join_with(&mut rig, wanted);
    let publisher = join(&mut rig, Version::V5, "p");
    subscribed(&mut rig, subscriber, "t", Q1);
    for n in 1..=5 {
        rig.send(
            publisher,
            &Packet::Publish(Box::new(publish("t", &n.to_string(), Q1, n))),
        );
    }
    let mut seen = Vec::new();
    for acknowledged in 0..=5 {
        seen.extend(publishes(rig.received(subscriber)));
        assert_eq!(seen.len(), (acknowledged + 2).min(5)); // [MQTT-3.3.4-9]
        if let Some(oldest) = seen.get(acknowledged) {
            let packet_id = oldest.packet_id.unwrap();
            rig.send(
                subscriber,
                &Packet::Puback(Ack::new(packet_id, ReasonCode::Success)),
            );
        }
    }
    let texts: Vec<_> = seen.iter().map(|p| p.payload.clone()).collect();
    assert_eq!(texts, ["1", "2", "3", "4", "5"]);
}

#[test]
fn a_client_beyond_the_receive_maximum_is_disconnected_with_0x93() {
    let mut limits = Limits::default();
    limits.settings.receive_maximum = 2;
    let mut rig = Rig::new(1, limits);
    let publisher = join(&mut rig, Version::V5, "p");
    for n in 1..=2 {
        rig.send(
            publisher,
            &Packet::Publish(Box::new(publish("t", "x", Q2, n))),
        );
    }
    assert!(rig.is_open(publisher));
    rig.send(
        publisher,
        &Packet::Publish(Box::new(publish("t", "x", Q2, 3))),
    );
    let last = rig.received(publisher).pop();
    let Some(Packet::Disconnect(disconnect)) = last else {
        panic!("{last:?}")
    };
    assert_eq!(disconnect.reason, ReasonCode::ReceiveMaximumExceeded);
    assert!(!rig.is_open(publisher));
}

#[test]
fn overlapping_subscriptions_give_one_copy_with_all_identifiers() {
    let mut rig = rig();
    let subscriber = join(&mut rig, Version::V5, "s");
    let publisher = join(&mut rig, Version::V5, "p");
    rig.send(subscriber, &subscribe(&[("a/#", options(Q0))], Some(1)));
    rig.send(subscriber, &subscribe(&[("a/+", options(Q2))], Some(2)));
    rig.send(subscriber, &subscribe(&[("a/b", options(Q1))], None));
    rig.received(subscriber);
    rig.send(
        publisher,
        &Packet::Publish(Box::new(publish("a/b", "x", Q2, 1))),
    );
    let got = publishes(rig.received(subscriber));
    assert_eq!((got.len(), got[0].qos), (1, Q2));
    let mut ids = got[0].properties.subscription_ids.clone();
    ids.sort_unstable();
    assert_eq!(ids, [1, 2]); // [MQTT-3.3.4-4]
}

#[test]
fn no_local_and_retain_as_published_are_obeyed() {
    let mut rig = rig();
    let peer = join(&mut rig, Version::V5, "s");
    let other = join(&mut rig, Version::V5, "p");
    let wanted = SubscribeOptions {
        no_local: true,
        retain_as_published: true,
        ..options(Q0)
    };
    rig.send(peer, &subscribe(&[("t", wanted)], None));
    rig.received(peer);
    let mut packet = publish("t", "own", Q0, 0);
    packet.retain = true;
    rig.send(peer, &Packet::Publish(Box::new(packet.clone())));
    assert!(rig.received(peer).is_empty()); // [MQTT-3.8.3-3]
    packet.payload = Bytes::from_static(b"other");
    rig.send(other, &Packet::Publish(Box::new(packet)));
    let got = publishes(rig.received(peer));
    assert_eq!((got.len(), got[0].retain), (1, true));
}

#[test]
fn retained_messages_follow_retain_handling_and_carry_the_identifier() {
    let mut rig = rig();
    let publisher = join(&mut rig, Version::V5, "p");
    for n in 0..200 {
        let mut packet = publish(&format!("r/{n}"), "x", Q1, 1);
        packet.retain = true;
        rig.send(publisher, &Packet::Publish(Box::new(packet)));
    }
    let peer = join(&mut rig, Version::V5, "s");
    let with = |retain_handling| SubscribeOptions {
        retain_handling,
        ..options(Q0)
    };
    for (handling, expected) in [
        (RetainHandling::DoNotSend, 0),
        (RetainHandling::SendIfNew, 0),
        (RetainHandling::Send, 200),
        (RetainHandling::SendIfNew, 0),
    ] {
        rig.send(peer, &subscribe(&[("r/+", with(handling))], Some(5)));
        let got = publishes(rig.received(peer));
        assert_eq!(got.len(), expected, "{handling:?}");
        assert!(
            got.iter()
                .all(|p| p.retain && p.qos == Q0 && p.properties.subscription_ids == [5])
        );
    }
    rig.send(
        peer,
        &subscribe(&[("$share/g/r/+", with(RetainHandling::Send))], None),
    );
    assert!(publishes(rig.received(peer)).is_empty());
}

#[test]
fn bad_filters_fail_alone_and_limits_hold() {
    let mut rig = Rig::new(
        1,
        Limits {
            subscriptions: 2,
            ..Limits::default()
        },
    );
    let peer = join(&mut rig, Version::V5, "c");
    let filters = [
        ("a/#/b", options(Q0)),
        ("a", options(Q1)),
        ("b", options(Q2)),
        ("c", options(Q0)),
        ("a", options(Q0)),
    ];
    rig.send(peer, &subscribe(&filters, None));
    let packets = rig.received(peer);
    let [Packet::Suback(suback)] = &packets[..] else {
        panic!("{packets:?}")
    };
    assert_eq!(
        suback.reasons,
        [
            ReasonCode::TopicFilterInvalid,
            ReasonCode::GrantedQos1,
            ReasonCode::GrantedQos2,
            ReasonCode::QuotaExceeded,
            ReasonCode::Success,
        ]
    );
    assert_eq!(rig.counters().subscriptions_refused, 1);
    assert_eq!(
        subscription_events(&rig),
        ["+a 1", "+b 2", "+a 0"],
        "of what was granted"
    );
    let filters = vec![ByteString::from("a"), ByteString::from("zzz")];
    rig.send(
        peer,
        &Packet::Unsubscribe(Box::new(Unsubscribe {
            packet_id: id(1),
            user: Vec::new(),
            filters,
        })),
    );
    let packets = rig.received(peer);
    let [Packet::Unsuback(unsuback)] = &packets[..] else {
        panic!("{packets:?}")
    };
    assert_eq!(
        unsuback.reasons,
        [ReasonCode::Success, ReasonCode::NoSubscriptionExisted]
    );
    assert_eq!(rig.counters().subscriptions, 1);
    assert_eq!(subscription_events(&rig), ["-a"]);
}

/// Subscriptions made (`+`) and given up (`-`) since the last look.
fn subscription_events(rig: &Rig) -> Vec<String> {
    let event = |event| match event {
        BrokerEvent::Subscribed { filter, qos, .. } => Some(format!("+{filter} {}", qos as u8)),
        BrokerEvent::Unsubscribed { filter, .. } => Some(format!("-{filter}")),
        _ => None,
    };
    rig.events.take().into_iter().filter_map(event).collect()
}

#[test]
fn refusals_reach_the_client_in_the_form_of_its_version() {
    let mut rig = rig();
    rig.authenticator = Box::new(|_| AuthStep::Deny {
        reason: ReasonCode::BadUserNameOrPassword,
        text: Some("wrong password".to_owned()),
        server_reference: None,
    });
    for version in [Version::V31, Version::V311, Version::V5] {
        let (peer, connack) = join_with(&mut rig, connect(version, "c"));
        assert_eq!(connack.reason, ReasonCode::BadUserNameOrPassword);
        assert_eq!(connack.properties.reason_string.is_some(), version.is_v5());
        assert!(!rig.is_open(peer));
    }
    assert_eq!(rig.counters().sessions, 0);
}

#[test]
fn denied_publishes_and_subscriptions_are_told_with_0x87() {
    let mut rig = rig();
    rig.authenticator = Box::new(|_| {
        let AuthStep::Allow(mut grant) = allow_all() else {
            panic!("allow_all denies")
        };
        let rule = AclRule {
            allow: false,
            publish: true,
            subscribe: true,
            filter: "secret/#".to_owned(),
        };
        grant.acl.insert(0, rule);
        AuthStep::Allow(grant)
    });
    let peer = join(&mut rig, Version::V5, "c");
    rig.send(
        peer,
        &Packet::Publish(Box::new(publish("secret/x", "x", Q1, 1))),
    );
    rig.send(
        peer,
        &Packet::Publish(Box::new(publish("$SYS/x", "x", Q2, 2))),
    );
    rig.send(
        peer,
        &subscribe(&[("secret/#", options(Q0)), ("open", options(Q0))], None),
    );
    let got = rig.received(peer);
    assert_eq!(
        got[0],
        Packet::Puback(Ack::new(id(1), ReasonCode::NotAuthorized))
    );
    assert_eq!(
        got[1],
        Packet::Pubrec(Ack::new(id(2), ReasonCode::NotAuthorized))
    );
    let Packet::Suback(suback) = &got[2] else {
        panic!("{got:?}")
    };
    assert_eq!(
        suback.reasons,
        [ReasonCode::NotAuthorized, ReasonCode::Success]
    );
    assert_eq!(rig.counters().denied, 3);
}

#[test]
fn hostile_bytes_end_one_connection_and_no_other() {
    let mut rig = rig();
    let peer = join(&mut rig, Version::V5, "good");
    for bytes in [
        &[0x00, 0x00][..],
        &[0xFF; 32],
        &[0x30, 0xFF, 0xFF, 0xFF, 0xFF],
        &[0x82, 0x00],
        &[0x10, 0x00],
    ] {
        let bad = join(&mut rig, Version::V5, "bad");
        rig.send_bytes(bad, bytes);
        assert!(!rig.is_open(bad), "{bytes:?}");
        let last = rig.received(bad).pop();
        assert!(matches!(last, Some(Packet::Disconnect(d)) if d.reason.is_failure()));
    }
    rig.send(peer, &Packet::Pingreq);
    assert_eq!(rig.received(peer), [Packet::Pingresp]);
    assert_eq!(rig.counters().protocol_errors, 5);
}
