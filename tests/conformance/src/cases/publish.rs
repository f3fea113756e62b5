//! Section 3.3: what becomes of a PUBLISH.

use super::{Case, EVERY, V5, case};
use crate::peer::{Hello, Peer, Verdict, check, kind, unique};
use crate::stream::Target;
use crate::wire::{Body, prop_text, prop_u8, prop_u16, prop_u32, user, varint};

pub(super) const CASES: &[Case] = &[
    case("qos_of_three", EVERY, qos_of_three),
    case("dup_with_qos_0", EVERY, dup_with_qos_0),
    case("dup_is_not_forwarded", EVERY, dup_is_not_forwarded),
    case("packet_id_of_zero", EVERY, packet_id_of_zero),
    case("topic_name_rules", EVERY, topic_name_rules),
    case("delivered_topic_matches", EVERY, delivered_topic_matches),
    case("properties_are_forwarded", V5, properties_are_forwarded),
    case("property_texts", V5, property_texts),
    case("message_expiry", V5, message_expiry),
    case("topic_alias", V5, topic_alias),
    case("topic_alias_bounds", V5, topic_alias_bounds),
    case("alias_towards_client", V5, alias_towards_client),
    case(
        "client_sends_subscription_id",
        V5,
        client_sends_subscription_id,
    ),
];

fn qos_of_three(target: &Target, level: u8) -> Verdict {
    let mut peer = Peer::join(target, level)?;
    peer.publish("t", b"x", 6, 1)?;
    peer.expect_closed(&[0x81])
}

fn dup_with_qos_0(target: &Target, level: u8) -> Verdict {
    let mut peer = Peer::join(target, level)?;
    peer.publish("t", b"x", 8, 0)?;
    peer.expect_closed(&[0x81, 0x82])
}

fn dup_is_not_forwarded(target: &Target, level: u8) -> Verdict {
    let topic = unique("dup/");
    let mut peer = Peer::join(target, level)?;
    peer.subscribe(&topic, 1)?;
    peer.publish(&topic, b"x", 2 | 8, 5)?;
    let message = match peer.packet()? {
        Some(got) if got.kind == kind::PUBACK => peer.message()?,
        Some(got) => got.message(level).ok_or("no PUBLISH")?,
        None => return Err("closed".to_owned()),
    };
    check(!message.dup, "DUP of the publisher was forwarded")
}

fn packet_id_of_zero(target: &Target, level: u8) -> Verdict {
    for flags in [2, 4] {
        let mut peer = Peer::join(target, level)?;
        peer.publish("t", b"x", flags, 0)?;
        peer.expect_closed(&[0x81, 0x82])?;
    }
    let subscribe = Body::new()
        .u16(0)
        .props(level, &[])
        .text("t")
        .u8(0)
        .packet(0x82);
    let unsubscribe = Body::new().u16(0).props(level, &[]).text("t").packet(0xA2);
    for packet in [subscribe, unsubscribe] {
        let mut peer = Peer::join(target, level)?;
        peer.send(&packet)?;
        peer.expect_closed(&[0x81, 0x82])?;
    }
    Ok(())
}

fn topic_name_rules(target: &Target, level: u8) -> Verdict {
    let bad: [&[u8]; 6] = [b"a/+", b"#", b"a/#", b"", &[0xFF], b"a\0b"];
    for topic in bad {
        let mut peer = Peer::join(target, level)?;
        peer.send(
            &Body::new()
                .text(topic)
                .props(level, &[])
                .raw(b"x")
                .packet(0x30),
        )?;
        peer.expect_closed(&[0x81, 0x82, 0x90])?;
    }
    Ok(())
}

fn delivered_topic_matches(target: &Target, level: u8) -> Verdict {
    let root = unique("match");
    let mut peer = Peer::join(target, level)?;
    peer.subscribe(&format!("{root}/+/x"), 0)?;
    for topic in ["a/y", "x", "a/x/y"] {
        peer.publish(&format!("{root}/{topic}"), b"no", 0, 0)?;
    }
    peer.publish(&format!("{root}/a/x"), b"yes", 0, 0)?;
    let message = peer.message_of(b"yes")?;
    check(message.topic == format!("{root}/a/x"), "the topic changed")
}

fn properties_are_forwarded(target: &Target, level: u8) -> Verdict {
    let topic = unique("props/");
    let props = [
        prop_u8(0x01, 1),
        prop_text(0x08, "a/answer"),
        prop_text(0x09, [0, 1, 255]),
        prop_text(0x03, "application/x"),
        user("z", "1"),
        user("a", "2"),
        user("z", "1"),
    ]
    .concat();
    let mut one = Peer::join(target, level)?;
    let mut two = Peer::join(target, level)?;
    one.subscribe(&topic, 0)?;
    two.subscribe(&topic, 1)?;
    one.publish_with(&topic, b"text", 0, 0, &props)?;
    for peer in [&mut one, &mut two] {
        let message = peer.message_of(b"text")?;
        check(
            message.prop(0x01) == [&[1]],
            "Payload Format Indicator changed",
        )?;
        check(
            message.prop(0x08) == [b"a/answer"],
            "Response Topic changed",
        )?;
        check(
            message.prop(0x09) == [&[0, 1, 255]],
            "Correlation Data changed",
        )?;
        check(
            message.prop(0x03) == [b"application/x"],
            "Content Type changed",
        )?;
        check(
            message.prop(0x26) == [b"z=1", b"a=2", b"z=1"],
            "User Properties changed",
        )?;
    }
    Ok(())
}

fn property_texts(target: &Target, level: u8) -> Verdict {
    for props in [
        prop_text(0x08, "a/+"),
        prop_text(0x08, [0xFF]),
        prop_text(0x03, [0xFF]),
        Body::new().u8(0x26).text([0xFF]).text("v").0,
        Body::new().u8(0x26).text("k").text([0xED, 0xA0, 0x80]).0,
        [prop_u8(0x01, 0), prop_u8(0x01, 0)].concat(),
        prop_u8(0x01, 2),
        prop_u32(0x11, 5), // belongs to CONNECT
    ] {
        let mut peer = Peer::join(target, level)?;
        peer.publish_with("t", b"x", 0, 0, &props)?;
        peer.expect_closed(&[0x81, 0x82, 0x90, 0x99])
            .map_err(|error| format!("properties {props:02x?}: {error}"))?;
    }
    Ok(())
}

/// Waits a second and a half without a clock of its own: a silent client is closed then.
pub(super) fn pass_time(target: &Target, level: u8) -> Verdict {
    let mut hello = Hello::new(level, &unique("clock"));
    hello.keep_alive = 1;
    hello.connect(target)?.expect_closed(&[])
}

fn message_expiry(target: &Target, level: u8) -> Verdict {
    let topic = unique("expiry/");
    let hello = Hello::new(level, &unique("e")).lasting(60);
    let mut peer = hello.connect(target)?;
    peer.subscribe(&topic, 1)?;
    peer.leave()?;
    let mut publisher = Peer::join(target, level)?;
    for (payload, seconds) in [(&b"short"[..], 1), (b"long", 100)] {
        publisher.publish_with(&topic, payload, 2, 9, &prop_u32(0x02, seconds))?;
        publisher.expect(kind::PUBACK)?;
    }
    pass_time(target, level)?;
    let mut peer = hello.connect(target)?;
    let message = peer.message_of(b"long")?;
    let left = message.prop(0x02).first().map(|bytes| bytes.to_vec());
    let left = left
        .and_then(|bytes| bytes.try_into().ok())
        .map(u32::from_be_bytes);
    check(
        left.is_some_and(|left| (90..100).contains(&left)),
        &format!("Message Expiry Interval {left:?} where less than 100 was expected"),
    )
}

fn topic_alias(target: &Target, level: u8) -> Verdict {
    let topic = unique("alias/");
    let (mut peer, connack) = Hello::new(level, &unique("a")).connect_with_connack(target)?;
    let maximum = connack.props_at(2).into_iter().find(|(id, _)| *id == 0x22);
    let maximum = maximum.map_or(0, |(_, value)| u16::from_be_bytes([value[0], value[1]]));
    if maximum == 0 {
        return Ok(()); // the broker offers none
    }
    peer.subscribe(&topic, 0)?;
    for alias in [1, maximum] {
        peer.publish_with(&topic, b"set", 0, 0, &prop_u16(0x23, alias))?;
        peer.message_of(b"set")?;
        let props = [prop_u16(0x23, alias), user("k", "v")].concat();
        peer.publish_with("", b"used", 0, 0, &props)?;
        let message = peer.message_of(b"used")?;
        check(message.topic == topic, "the alias stands for another topic")?;
        check(
            message.prop(0x23).is_empty(),
            "the Topic Alias of the publisher was forwarded",
        )?;
        check(
            message.prop(0x26) == [b"k=v"],
            "another property went with the alias",
        )?;
    }
    // Not carried to the next connection.
    let mut other = Peer::join(target, level)?;
    other.publish_with("", b"x", 0, 0, &prop_u16(0x23, 1))?;
    other.expect_closed(&[0x82, 0x94])
}

fn topic_alias_bounds(target: &Target, level: u8) -> Verdict {
    for alias in [0, u16::MAX] {
        let mut peer = Peer::join(target, level)?;
        peer.publish_with("t", b"x", 0, 0, &prop_u16(0x23, alias))?;
        peer.expect_closed(&[0x94, 0x82])?;
    }
    Ok(())
}

fn alias_towards_client(target: &Target, level: u8) -> Verdict {
    for most in [0u16, 2] {
        let topic = unique("out/");
        let hello = Hello::new(level, &unique("o")).with(&prop_u16(0x22, most));
        let mut peer = hello.connect(target)?;
        peer.subscribe(&format!("{topic}/#"), 0)?;
        let mut known = std::collections::BTreeMap::new();
        for number in 0..12 {
            let name = format!("{topic}/{}", number % 4);
            peer.publish(&name, b"x", 0, 0)?;
            let message = peer.message()?;
            let alias = message
                .prop(0x23)
                .first()
                .map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]));
            if let Some(alias) = alias {
                check(
                    (1..=most).contains(&alias),
                    &format!("alias {alias} where {most} is the maximum"),
                )?;
                if !message.topic.is_empty() {
                    known.insert(alias, message.topic.clone());
                }
            }
            let topic = match alias.filter(|_| message.topic.is_empty()) {
                Some(alias) => known.get(&alias).cloned().unwrap_or_default(),
                None => message.topic,
            };
            check(topic == name, &format!("{topic} where {name} was expected"))?;
        }
    }
    Ok(())
}

fn client_sends_subscription_id(target: &Target, level: u8) -> Verdict {
    let mut peer = Peer::join(target, level)?;
    let props = [vec![0x0B], varint(5)].concat();
    peer.publish_with("t", b"x", 0, 0, &props)?;
    peer.expect_closed(&[0x81, 0x82])
}
