//! Brokers that offer less, keep-alive beyond the maximum, payload formats, Response Information, reasons.

use super::*;
use witmq_proto::packet::{ConnackProperties, Will};
use witmq_proto::topic::TopicError;
use witmq_proto::{TopicName, endpoint::Abilities};

fn less(change: impl FnOnce(&mut Limits)) -> Rig {
    let mut limits = Limits {
        sys_interval: Duration::ZERO,
        ..Limits::default()
    };
    change(&mut limits);
    Rig::new(3, limits)
}

fn nothing() -> Abilities {
    Abilities {
        maximum_qos: Q0,
        retain: false,
        wildcards: false,
        subscription_ids: false,
        shared: false,
        checks_payload_format: true,
    }
}

fn refused(rig: &mut Rig, connect: Connect) -> ReasonCode {
    let peer = rig.connect(connect);
    assert!(!rig.is_open(peer));
    match &rig.received(peer)[..] {
        [Packet::Connack(connack)] => connack.reason,
        other => panic!("{other:?}"),
    }
}

/// The code of the DISCONNECT that ends the connection (none before MQTT 5).
fn ends_with(rig: &mut Rig, version: Version, packet: &Packet) -> Option<ReasonCode> {
    let peer = join(rig, version, "asks-for-more");
    rig.send(peer, packet);
    assert!(!rig.is_open(peer), "{packet:?}");
    match &rig.received(peer)[..] {
        [] => None,
        [Packet::Disconnect(disconnect)] => Some(disconnect.reason),
        other => panic!("{other:?}"),
    }
}

fn will(qos: QoS, retain: bool) -> Result<Will, TopicError> {
    Ok(Will {
        topic: TopicName::new("w")?,
        payload: Bytes::from_static(b"\xFF"),
        qos,
        retain,
        delay: 0,
        properties: witmq_proto::packet::PublishProperties::default(),
    })
}

#[test]
fn connack_tells_what_is_missing_and_nothing_when_nothing_is() {
    for (abilities, told) in [
        (Abilities::default(), (None, None, None, None, None)),
        (
            nothing(),
            (Some(0), Some(false), Some(false), Some(false), Some(false)),
        ),
    ] {
        let mut rig = less(|limits| limits.settings.abilities = abilities);
        let (_, connack) = join_with(&mut rig, connect(Version::V5, "c"));
        let ConnackProperties {
            maximum_qos,
            retain_available,
            wildcard_available,
            subscription_ids_available,
            shared_available,
            ..
        } = connack.properties;
        let said = (
            maximum_qos,
            retain_available,
            wildcard_available,
            subscription_ids_available,
            shared_available,
        );
        assert_eq!(said, told); // [MQTT-3.2.2-9]
    }
}

#[test]
fn wills_beyond_the_abilities_are_refused_with_their_code() {
    for version in [Version::V311, Version::V5] {
        let mut rig = less(|limits| limits.settings.abilities = nothing());
        let mut with = |qos, retain| {
            let mut connect = connect(version, "c");
            connect.will = Some(will(qos, retain).unwrap());
            refused(&mut rig, connect)
        };
        let (qos, retain) = match version {
            Version::V5 => (
                ReasonCode::QosNotSupported,    // [MQTT-3.2.2-12]
                ReasonCode::RetainNotSupported, // [MQTT-3.2.2-13]
            ),
            _ => (ReasonCode::ServerUnavailable, ReasonCode::ServerUnavailable),
        };
        assert_eq!(with(Q1, false), qos);
        assert_eq!(with(Q0, true), retain);
        let mut fits = connect(version, "c");
        fits.will = Some(will(Q0, false).unwrap());
        join_with(&mut rig, fits);
    }
}

#[test]
fn who_asks_for_more_than_connack_said_is_disconnected_with_its_code() {
    let mut rig = less(|limits| limits.settings.abilities = nothing());
    let mut retained = publish("t", "x", Q0, 0);
    retained.retain = true;
    let packets = [
        (
            Packet::Publish(Box::new(publish("t", "x", Q1, 1))),
            ReasonCode::QosNotSupported,
        ),
        (
            Packet::Publish(Box::new(retained)),
            ReasonCode::RetainNotSupported,
        ),
        (
            subscribe(&[("a/+", options(Q0))], None),
            ReasonCode::WildcardSubscriptionsNotSupported,
        ),
        (
            subscribe(&[("$share/g/a", options(Q0))], None),
            ReasonCode::SharedSubscriptionsNotSupported,
        ),
        (
            subscribe(&[("a", options(Q0))], Some(1)),
            ReasonCode::SubscriptionIdsNotSupported,
        ),
    ];
    for (packet, reason) in &packets {
        assert_eq!(ends_with(&mut rig, Version::V5, packet), Some(*reason));
    }
    for (packet, _) in &packets[..2] {
        assert_eq!(ends_with(&mut rig, Version::V311, packet), None);
    }
    let old = join(&mut rig, Version::V311, "old");
    let wanted = [
        ("a/+", options(Q2)),
        ("$share/g/a", options(Q2)),
        ("a", options(Q2)),
    ];
    rig.send(old, &subscribe(&wanted, None));
    let answers = rig.received(old);
    let [Packet::Suback(suback)] = &answers[..] else {
        panic!("{answers:?}")
    };
    let codes: Vec<_> = suback.reasons.iter().map(|reason| reason.to_u8()).collect();
    assert_eq!(codes, [0x80, 0x80, 0], "MQTT 3 could not be told before");
}

#[test]
fn a_higher_qos_may_be_asked_for_and_less_is_granted() {
    let mut rig = less(|limits| limits.settings.abilities.maximum_qos = Q1);
    let peer = join(&mut rig, Version::V5, "s");
    let wanted = [("a", options(Q0)), ("b", options(Q1)), ("c", options(Q2))];
    rig.send(peer, &subscribe(&wanted, None));
    let answers = rig.received(peer);
    let [Packet::Suback(suback)] = &answers[..] else {
        panic!("{answers:?}")
    };
    let granted = [
        ReasonCode::Success,
        ReasonCode::GrantedQos1,
        ReasonCode::GrantedQos1,
    ];
    assert_eq!(suback.reasons, granted); // [MQTT-3.2.2-10]
}

#[test]
fn keep_alive_beyond_the_maximum_or_none_becomes_the_maximum_for_mqtt_5() {
    for (asked, told, ends_after) in [
        (30, None, 45),
        (60, None, 90),
        (61, Some(60), 90),
        (0, Some(60), 90),
    ] {
        let mut rig = less(|limits| limits.settings.maximum_keep_alive = 60);
        let mut hello = connect(Version::V5, "c");
        hello.keep_alive = asked;
        let (peer, connack) = join_with(&mut rig, hello);
        assert_eq!(connack.properties.server_keep_alive, told, "{asked}");
        rig.advance(Duration::from_millis(ends_after * 1000 - 1));
        assert!(rig.is_open(peer), "{asked}");
        rig.advance(Duration::from_millis(1));
        assert!(!rig.is_open(peer), "{asked}"); // [MQTT-3.1.2-22]
        let last = rig.received(peer).pop();
        assert!(
            matches!(last, Some(Packet::Disconnect(d)) if d.reason == ReasonCode::KeepAliveTimeout)
        );
    }
    // Before MQTT 5 the client's own value holds: it cannot be told another.
    let mut rig = less(|limits| limits.settings.maximum_keep_alive = 60);
    let silent = join(&mut rig, Version::V311, "silent");
    let mut hello = connect(Version::V311, "slow");
    hello.keep_alive = 600;
    let (slow, _) = join_with(&mut rig, hello);
    rig.advance(Duration::from_secs(899));
    assert!(rig.is_open(silent) && rig.is_open(slow));
    rig.advance(Duration::from_secs(1));
    assert!(rig.is_open(silent) && !rig.is_open(slow));
}

#[test]
fn a_payload_that_is_not_the_text_it_says_is_answered_with_0x99() {
    let said = |payload: &'static [u8], qos, format| {
        let mut message = publish("t", "", qos, if qos == Q0 { 0 } else { 7 });
        message.payload = Bytes::from_static(payload);
        message.properties.payload_format = Some(format);
        Packet::Publish(Box::new(message))
    };
    let bad = ReasonCode::PayloadFormatInvalid;
    let mut rig = rig();
    let subscriber = join(&mut rig, Version::V5, "s");
    subscribed(&mut rig, subscriber, "t", Q0);
    let publisher = join(&mut rig, Version::V5, "p");
    rig.send(publisher, &said(b"\xC3", Q1, 1));
    rig.send(publisher, &said(b"\xC3", Q2, 1));
    let answers = rig.received(publisher);
    assert!(
        matches!(&answers[..], [Packet::Puback(a), Packet::Pubrec(b)] if a.reason == bad && b.reason == bad)
    );
    rig.send(publisher, &said(b"\xC3", Q2, 0)); // the exchange was over: the identifier is free
    rig.send(publisher, &said("\u{e9}".as_bytes(), Q0, 1));
    assert_eq!(publishes(rig.received(subscriber)).len(), 2);
    assert_eq!(
        ends_with(&mut rig, Version::V5, &said(b"\xC3", Q0, 1)),
        Some(bad)
    );
    assert_eq!(rig.counters().format_refused, 2);
    let mut hello = connect(Version::V5, "w");
    let mut text = will(Q0, false).unwrap();
    text.properties.payload_format = Some(1);
    hello.will = Some(text);
    assert_eq!(refused(&mut rig, hello.clone()), bad);

    let mut lax = less(|limits| limits.settings.abilities.checks_payload_format = false);
    join_with(&mut lax, hello);
    let publisher = join(&mut lax, Version::V5, "p");
    lax.send(publisher, &said(b"\xC3", Q0, 1));
    assert!(lax.is_open(publisher));
}

#[test]
fn response_information_is_told_to_whom_asks() {
    let template = "response/{client}";
    for (client_id, asks, told) in [
        ("c1", Some(true), Some("response/c1")),
        ("c1", Some(false), None), // [MQTT-3.1.2-28]
        ("c1", None, None),
        ("a/b", Some(true), None),
        ("#", Some(true), None),
    ] {
        let mut rig = less(|limits| template.clone_into(&mut limits.response_information));
        let mut hello = connect(Version::V5, client_id);
        hello.properties.request_response_information = asks;
        let (_, connack) = join_with(&mut rig, hello);
        let information = connack.properties.response_information;
        assert_eq!(information.as_deref(), told, "{client_id} {asks:?}");
    }
    let mut rig = rig();
    let mut hello = connect(Version::V5, "c1");
    hello.properties.request_response_information = Some(true);
    let (_, connack) = join_with(&mut rig, hello);
    assert_eq!(connack.properties.response_information, None, "it is off");
    // CONNACK with it would be larger than the client takes.
    let mut rig = less(|limits| limits.response_information = "r".repeat(100));
    let mut hello = connect(Version::V5, "c1");
    hello.properties.request_response_information = Some(true);
    hello.properties.maximum_packet_size = Some(60);
    let (_, connack) = join_with(&mut rig, hello);
    assert_eq!(connack.properties.response_information, None);
}

#[test]
fn reasons_are_left_out_where_they_are_not_wanted() {
    for (wanted, has_text) in [(None, true), (Some(true), true), (Some(false), false)] {
        let mut rig = rig();
        let mut hello = connect(Version::V5, "c1");
        hello.properties.request_problem_information = wanted;
        let (peer, _) = join_with(&mut rig, hello);
        let mut message = publish("t", "", Q1, 7);
        message.payload = Bytes::from_static(b"\xC3");
        message.properties.payload_format = Some(1);
        rig.send(peer, &Packet::Publish(Box::new(message)));
        let answers = rig.received(peer);
        let [Packet::Puback(ack)] = &answers[..] else {
            panic!("{answers:?}")
        };
        assert_eq!(ack.reason_string.is_some(), has_text); // [MQTT-3.1.2-29]
    }
}
