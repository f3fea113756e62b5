//! RETAIN: sections 3.3.1.3 and 3.8.3.1.

use super::{Case, EVERY, V5, case};
use crate::peer::{Hello, Peer, Verdict, check, kind, unique};
use crate::stream::Target;
use crate::wire::{Body, prop_u32};

pub(super) const CASES: &[Case] = &[
    case("retained_is_kept", EVERY, retained_is_kept),
    case("retained_is_cleared", EVERY, retained_is_cleared),
    case(
        "not_retained_changes_nothing",
        EVERY,
        not_retained_changes_nothing,
    ),
    case("retained_qos", EVERY, retained_qos),
    case(
        "retain_flag_of_live_messages",
        EVERY,
        retain_flag_of_live_messages,
    ),
    case("retain_handling", V5, retain_handling),
    case("retain_as_published", V5, retain_as_published),
    case("retained_expires", V5, retained_expires),
    case(
        "retained_is_not_sent_at_resume",
        EVERY,
        retained_is_not_sent_at_resume,
    ),
    case(
        "subscription_id_of_retained",
        V5,
        subscription_id_of_retained,
    ),
];

/// What a new subscriber is given, then it clears the topic.
fn look(target: &Target, level: u8, topic: &str, qos: u8) -> Verdict<Peer> {
    let mut peer = Peer::join(target, level)?;
    peer.subscribe(topic, qos)?;
    Ok(peer)
}

fn retained_is_kept(target: &Target, level: u8) -> Verdict {
    let topic = unique("ret/");
    let mut peer = Peer::join(target, level)?;
    for payload in [b"one", b"two"] {
        peer.publish_acknowledged(&topic, payload, 1)?;
    }
    let message = look(target, level, &topic, 0)?.message_of(b"two")?;
    check(
        message.retain && message.topic == topic,
        "RETAIN is not set or the topic changed",
    )?;
    peer.publish_acknowledged(&topic, b"", 1)
}

fn retained_is_cleared(target: &Target, level: u8) -> Verdict {
    let topic = unique("clr/");
    let mut live = look(target, level, &topic, 0)?;
    let mut peer = Peer::join(target, level)?;
    peer.publish_acknowledged(&topic, b"one", 1)?;
    live.message_of(b"one")?;
    peer.publish_acknowledged(&topic, b"", 1)?;
    live.message_of(b"")?; // delivered like any other
    look(target, level, &topic, 0)?.expect_quiet()
}

fn not_retained_changes_nothing(target: &Target, level: u8) -> Verdict {
    let topic = unique("keep/");
    let mut peer = Peer::join(target, level)?;
    peer.publish_acknowledged(&topic, b"kept", 1)?;
    peer.publish_acknowledged(&topic, b"passing", 0)?;
    peer.publish_acknowledged(&topic, b"", 0)?;
    look(target, level, &topic, 0)?.message_of(b"kept")?;
    peer.publish_acknowledged(&topic, b"", 1)
}

fn retained_qos(target: &Target, level: u8) -> Verdict {
    let topic = unique("rq/");
    let mut peer = Peer::join(target, level)?;
    peer.publish_acknowledged(&topic, b"x", 1)?;
    for qos in 0..3 {
        let message = look(target, level, &topic, qos)?.message_of(b"x")?;
        check(
            message.qos == qos.min(1),
            "the QoS is not the lower of the two",
        )?;
    }
    peer.publish_acknowledged(&topic, b"", 1)
}

fn retain_flag_of_live_messages(target: &Target, level: u8) -> Verdict {
    let topic = unique("live/");
    let mut live = look(target, level, &topic, 0)?;
    let mut peer = Peer::join(target, level)?;
    peer.publish_acknowledged(&topic, b"x", 1)?;
    let message = live.message_of(b"x")?;
    check(
        !message.retain,
        "RETAIN is set for a subscription that was there",
    )?;
    peer.publish_acknowledged(&topic, b"", 1)
}

fn retain_handling(target: &Target, level: u8) -> Verdict {
    let topic = unique("rh/");
    let mut peer = Peer::join(target, level)?;
    peer.publish_acknowledged(&topic, b"x", 1)?;
    // 0: at every SUBSCRIBE; 1: if it is new; 2: never.
    for (handling, first, again) in [(0u8, true, true), (1, true, false), (2, false, false)] {
        let mut client = Peer::join(target, level)?;
        for expected in [first, again] {
            client.subscribe(&topic, handling << 4)?;
            if expected {
                let message = client.message_of(b"x")?;
                check(message.retain, "RETAIN is not set")?;
            }
            client
                .expect_quiet()
                .map_err(|error| format!("Retain Handling {handling}: {error}"))?;
        }
    }
    peer.publish_acknowledged(&topic, b"", 1)
}

fn retain_as_published(target: &Target, level: u8) -> Verdict {
    let topic = unique("rap/");
    for (options, flags, expected) in [
        (0u8, 1u8, false),
        (8, 1, true),
        (8, 0, false),
        (0, 0, false),
    ] {
        let mut client = Peer::join(target, level)?;
        client.subscribe(&topic, options | 0x20)?;
        client.publish(&topic, b"x", flags, 0)?;
        let message = client.message_of(b"x")?;
        check(
            message.retain == expected,
            "RETAIN is not as the subscription asks",
        )?;
    }
    Peer::join(target, level)?.publish_acknowledged(&topic, b"", 1)
}

/// The time it lay there counts, and what has expired is gone.
fn retained_expires(target: &Target, level: u8) -> Verdict {
    let root = unique("rx/");
    let (short, long) = (format!("{root}/short"), format!("{root}/long"));
    let mut peer = Peer::join(target, level)?;
    for (topic, seconds) in [(&short, 1), (&long, 100)] {
        peer.publish_with(topic, b"x", 3, 9, &prop_u32(0x02, seconds))?;
        peer.expect(kind::PUBACK)?;
    }
    super::publish::pass_time(target, level)?;
    let mut late = look(target, level, &format!("{root}/+"), 0)?;
    let message = late.message_of(b"x")?;
    check(message.topic == long, "an expired message was delivered")?;
    let left = message.prop(0x02).first().copied().map(<[u8]>::to_vec);
    let left = left.and_then(|bytes| bytes.try_into().ok());
    let left = left.map_or(0, u32::from_be_bytes);
    check(
        (90..100).contains(&left),
        &format!("Message Expiry Interval {left} where less than 100 was expected"),
    )?;
    late.expect_quiet()?;
    peer.publish_acknowledged(&long, b"", 1)
}

fn retained_is_not_sent_at_resume(target: &Target, level: u8) -> Verdict {
    let topic = unique("rr/");
    let mut peer = Peer::join(target, level)?;
    peer.publish_acknowledged(&topic, b"x", 1)?;
    let hello = Hello::new(level, &unique("rr")).lasting(60);
    let mut client = hello.connect(target)?;
    let subscribe = Body::new().u16(1).props(level, &[]).text(&topic).u8(0);
    client.send(&subscribe.packet(0x82))?;
    for _ in 0..2 {
        client.packet()?; // SUBACK and the message, whichever is first
    }
    client.leave()?;
    hello.connect(target)?.expect_quiet()?;
    peer.publish_acknowledged(&topic, b"", 1)
}

fn subscription_id_of_retained(target: &Target, level: u8) -> Verdict {
    let topic = unique("ri/");
    let mut peer = Peer::join(target, level)?;
    peer.publish_acknowledged(&topic, b"x", 1)?;
    let mut client = Peer::join(target, level)?;
    client.subscribe_with(&topic, 0, &[0x0B, 42])?;
    let message = client.message_of(b"x")?;
    check(
        message.prop(0x0B) == [b"42"],
        "the Subscription Identifier is missing",
    )?;
    peer.publish_acknowledged(&topic, b"", 1)
}
