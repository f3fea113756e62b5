//! RETAIN: sections 3.3.1.3 and 3.8.3.1.

use super::{BOTH, Case, V5, case};
use crate::peer::{Peer, Verdict, check, unique};
use crate::stream::Target;

pub(super) const CASES: &[Case] = &[
    case("retained_is_kept", BOTH, retained_is_kept),
    case("retained_is_cleared", BOTH, retained_is_cleared),
    case(
        "not_retained_changes_nothing",
        BOTH,
        not_retained_changes_nothing,
    ),
    case("retained_qos", BOTH, retained_qos),
    case(
        "retain_flag_of_live_messages",
        BOTH,
        retain_flag_of_live_messages,
    ),
    case("retain_handling", V5, retain_handling),
    case("retain_as_published", V5, retain_as_published),
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
