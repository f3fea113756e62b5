//! Sections 3.8 to 3.11: SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK.

use super::{Case, EVERY, NUMBERED, V4, V5, case};
use crate::peer::{Hello, Peer, Verdict, check, kind, unique};
use crate::stream::Target;
use crate::wire::{Body, Message, varint};

pub(super) const CASES: &[Case] = &[
    case("suback", EVERY, suback),
    case("many_filters", EVERY, many_filters),
    case("bad_filter_fails_alone", NUMBERED, bad_filter_fails_alone),
    case("suback_means_live", EVERY, suback_means_live),
    case("no_filter", EVERY, no_filter),
    case("subscribe_flags", NUMBERED, subscribe_flags),
    case("subscription_options", EVERY, subscription_options),
    case("filter_not_utf8", EVERY, filter_not_utf8),
    case("subscription_is_replaced", EVERY, subscription_is_replaced),
    case("granted_qos_is_obeyed", EVERY, granted_qos_is_obeyed),
    case(
        "overlapping_subscriptions",
        EVERY,
        overlapping_subscriptions,
    ),
    case("overlapping_v4", V4, overlapping_v4),
    case("subscription_ids", V5, subscription_ids),
    case("subscription_id_of_zero", V5, subscription_id_of_zero),
    case("no_local", V5, no_local),
    case("unsubscribe", EVERY, unsubscribe),
    case("unsubscribe_many", EVERY, unsubscribe_many),
    case("unsubscribe_nothing", EVERY, unsubscribe_nothing),
    case("unsubscribe_flags", NUMBERED, unsubscribe_flags),
    case("unsubscribe_completes", EVERY, unsubscribe_completes),
];

fn subscribe_packet(level: u8, id: u16, filters: &[(&str, u8)]) -> Vec<u8> {
    let body = Body::new().u16(id).props(level, &[]);
    let add = |body: Body, (filter, options): &(&str, u8)| body.text(filter).u8(*options);
    filters.iter().fold(body, add).packet(0x82)
}

fn unsubscribe_packet(level: u8, id: u16, filters: &[&str]) -> Vec<u8> {
    let body = Body::new().u16(id).props(level, &[]);
    filters.iter().fold(body, Body::text).packet(0xA2)
}

fn suback(target: &Target, level: u8) -> Verdict {
    let mut peer = Peer::join(target, level)?;
    for (id, qos) in [(1u16, 0u8), (500, 1), (65_535, 2)] {
        peer.send(&subscribe_packet(level, id, &[(&unique("sa/"), qos)]))?;
        let suback = peer.expect(kind::SUBACK)?;
        check(
            suback.id() == id && suback.flags == 0,
            "SUBACK does not fit",
        )?;
        check(
            suback.codes(level) == [qos],
            "another code than the QoS asked for",
        )?;
    }
    Ok(())
}

/// One code per filter, in order; a bad one fails alone or ends the connection.
fn many_filters(target: &Target, level: u8) -> Verdict {
    let mut peer = Peer::join(target, level)?;
    let root = unique("many/");
    let names: Vec<String> = (0..9).map(|number| format!("{root}/{number}")).collect();
    let filters: Vec<(&str, u8)> = (0u8..)
        .zip(&names)
        .map(|(n, name)| (name.as_str(), n % 3))
        .collect();
    peer.send(&subscribe_packet(level, 8, &filters))?;
    let codes = peer.expect(kind::SUBACK)?.codes(level);
    check(
        codes == [0, 1, 2, 0, 1, 2, 0, 1, 2],
        &format!("codes {codes:02x?}"),
    )?;
    for name in &names {
        peer.publish(name, name.as_bytes(), 0, 0)?;
        peer.message_of(name.as_bytes())?;
    }
    Ok(())
}

/// 0x8F (0x80 before MQTT 5) for that filter; its neighbours and the connection stay.
fn bad_filter_fails_alone(target: &Target, level: u8) -> Verdict {
    let root = unique("alone");
    let (one, two) = (format!("{root}/1"), format!("{root}/2"));
    let mut peer = Peer::join(target, level)?;
    let filters = [(one.as_str(), 0), ("a/#/b", 0), (two.as_str(), 1)];
    peer.send(&subscribe_packet(level, 3, &filters))?;
    let codes = peer.expect(kind::SUBACK)?.codes(level);
    let bad = if level >= 5 { 0x8F } else { 0x80 };
    check(codes == [0, bad, 1], &format!("codes {codes:02x?}"))?;
    for topic in [&one, &two] {
        peer.publish(topic, b"x", 0, 0)?;
        peer.message_of(b"x")?;
    }
    Ok(())
}

/// From SUBACK on nothing is missed, wherever in the broker the two clients are.
fn suback_means_live(target: &Target, level: u8) -> Verdict {
    for _ in 0..20 {
        let topic = unique("now/");
        let mut peer = Peer::join(target, level)?;
        let mut publisher = Peer::join(target, level)?;
        peer.subscribe(&topic, 1)?;
        publisher.publish(&topic, b"x", 0, 0)?;
        peer.message_of(b"x")?;
    }
    Ok(())
}

fn closed_by(target: &Target, level: u8, packet: &[u8], codes: &[u8]) -> Verdict {
    let mut peer = Peer::join(target, level)?;
    peer.send(packet)?;
    peer.expect_closed(codes)
        .map_err(|error| format!("{packet:02x?}: {error}"))
}

fn no_filter(target: &Target, level: u8) -> Verdict {
    closed_by(
        target,
        level,
        &subscribe_packet(level, 1, &[]),
        &[0x81, 0x82],
    )?;
    closed_by(
        target,
        level,
        &unsubscribe_packet(level, 1, &[]),
        &[0x81, 0x82],
    )
}

fn subscribe_flags(target: &Target, level: u8) -> Verdict {
    for flags in [0u8, 1, 3, 10] {
        let mut packet = subscribe_packet(level, 1, &[("a", 0)]);
        packet[0] = 0x80 | flags;
        closed_by(target, level, &packet, &[0x81])?;
    }
    Ok(())
}

fn subscription_options(target: &Target, level: u8) -> Verdict {
    let bad: &[u8] = if level >= 5 {
        &[3, 0x30, 0x40, 0x80]
    } else {
        &[3, 4, 0x10, 0x80]
    };
    for options in bad {
        closed_by(
            target,
            level,
            &subscribe_packet(level, 1, &[("a", *options)]),
            &[0x81, 0x82],
        )?;
    }
    Ok(())
}

fn filter_not_utf8(target: &Target, level: u8) -> Verdict {
    for bad in [&[0xFFu8][..], &[0xED, 0xA0, 0x80], b"a\0"] {
        let subscribe = Body::new()
            .u16(1)
            .props(level, &[])
            .text(bad)
            .u8(0)
            .packet(0x82);
        closed_by(target, level, &subscribe, &[0x81, 0x82])?;
        let unsubscribe = Body::new().u16(1).props(level, &[]).text(bad).packet(0xA2);
        closed_by(target, level, &unsubscribe, &[0x81, 0x82])?;
    }
    Ok(())
}

fn subscription_is_replaced(target: &Target, level: u8) -> Verdict {
    let topic = unique("repl/");
    let mut publisher = Peer::join(target, level)?;
    publisher.publish_acknowledged(&topic, b"kept", 1)?;
    let mut peer = Peer::join(target, level)?;
    for qos in [0, 1] {
        peer.subscribe(&topic, qos)?;
        let message = peer.message_of(b"kept")?; // sent again each time
        check(message.retain, "RETAIN is not set")?;
    }
    publisher.publish_acknowledged(&topic, b"live", 0)?;
    let message = peer.message_of(b"live")?;
    check(message.qos == 1, "the older subscription is still there")?;
    peer.expect_quiet()?; // one copy
    publisher.publish_acknowledged(&topic, b"", 1)
}

fn granted_qos_is_obeyed(target: &Target, level: u8) -> Verdict {
    for granted in 0..3u8 {
        let topic = unique("min/");
        let mut peer = Peer::join(target, level)?;
        peer.subscribe(&topic, granted)?;
        for published in 0..3u8 {
            Peer::join(target, level)?.deliver(&topic, &[published], published)?;
            let message = peer.message_of(&[published])?;
            check(
                message.qos == published.min(granted),
                "the QoS is not the lower of the two",
            )?;
        }
    }
    Ok(())
}

/// Every message that comes before some pings are answered.
fn drain(peer: &mut Peer) -> Verdict<Vec<Message>> {
    let mut messages = Vec::new();
    for _ in 0..20 {
        peer.send(&[0xC0, 0])?;
        while let Some(message) = peer.packet()?.ok_or("closed")?.message(peer.level) {
            messages.push(message);
        }
        if !messages.is_empty() {
            break;
        }
    }
    Ok(messages)
}

/// One copy at the highest QoS, or one for each at its own; never more than the highest.
fn overlapping_subscriptions(target: &Target, level: u8) -> Verdict {
    let root = unique("over");
    let mut peer = Peer::join(target, level)?;
    peer.subscribe(&format!("{root}/#"), 0)?;
    peer.subscribe(&format!("{root}/+"), 1)?;
    Peer::join(target, level)?.deliver(&format!("{root}/a"), b"x", 2)?;
    let (mut highest, mut copies) = (0, 0);
    for message in drain(&mut peer)? {
        copies += 1;
        highest = highest.max(message.qos);
    }
    check(
        (1..=2).contains(&copies) && highest == 1,
        "not delivered at the highest QoS",
    )
}

fn overlapping_v4(target: &Target, level: u8) -> Verdict {
    overlapping_subscriptions(target, level)
}

fn with_id(id: usize) -> Vec<u8> {
    [vec![0x0B], varint(id)].concat()
}

fn subscription_ids(target: &Target, level: u8) -> Verdict {
    let root = unique("sid");
    let mut peer = Peer::join(target, level)?;
    peer.subscribe_with(&format!("{root}/#"), 0, &with_id(7))?;
    peer.subscribe_with(&format!("{root}/+"), 0, &with_id(268_435_455))?;
    peer.subscribe(&format!("{root}/a"), 0)?;
    peer.publish(&format!("{root}/a"), b"x", 0, 0)?;
    let messages = drain(&mut peer)?;
    let ids = messages.iter().flat_map(|message| message.prop(0x0B));
    let mut ids: Vec<Vec<u8>> = ids.map(<[u8]>::to_vec).collect();
    ids.sort();
    check(
        ids == [b"268435455".to_vec(), b"7".to_vec()],
        &format!("identifiers {ids:?}"),
    )
}

fn subscription_id_of_zero(target: &Target, level: u8) -> Verdict {
    let body = Body::new().u16(1).props(level, &with_id(0)).text("a").u8(0);
    closed_by(target, level, &body.packet(0x82), &[0x81, 0x82])
}

fn no_local(target: &Target, level: u8) -> Verdict {
    let topic = unique("nl/");
    let mut peer = Peer::join(target, level)?;
    peer.subscribe(&topic, 4)?;
    peer.publish(&topic, b"own", 0, 0)?;
    peer.expect_quiet()?;
    Peer::join(target, level)?.publish(&topic, b"other", 0, 0)?;
    peer.message_of(b"other").map(drop)
}

fn unsubscribe(target: &Target, level: u8) -> Verdict {
    let root = unique("un");
    let (plus, hash) = (format!("{root}/+"), format!("{root}/#"));
    let mut peer = Peer::join(target, level)?;
    peer.subscribe(&plus, 0)?;
    peer.subscribe(&hash, 0)?;
    for (filter, code) in [
        (plus.as_str(), 0u8),
        (&hash, 0),
        (&hash, 0x11),
        ("un/other", 0x11),
    ] {
        peer.send(&unsubscribe_packet(level, 33, &[filter]))?;
        let unsuback = peer.expect(kind::UNSUBACK)?;
        check(
            unsuback.id() == 33 && unsuback.flags == 0,
            "UNSUBACK does not fit",
        )?;
        check(
            level < 5 || unsuback.codes(level) == [code],
            "another Reason Code",
        )?;
    }
    peer.publish(&format!("{root}/a"), b"x", 0, 0)?;
    peer.expect_quiet()
}

fn unsubscribe_many(target: &Target, level: u8) -> Verdict {
    let root = unique("um");
    let (one, two) = (format!("{root}/1"), format!("{root}/2"));
    let mut peer = Peer::join(target, level)?;
    peer.subscribe(&one, 0)?;
    peer.subscribe(&two, 0)?;
    peer.send(&unsubscribe_packet(level, 4, &[&one, "um/none", &two]))?;
    let unsuback = peer.expect(kind::UNSUBACK)?;
    check(
        level < 5 || unsuback.codes(level) == [0, 0x11, 0],
        "the codes are not in order",
    )?;
    peer.publish(&one, b"x", 0, 0)?;
    peer.publish(&two, b"x", 0, 0)?;
    peer.expect_quiet()
}

fn unsubscribe_nothing(target: &Target, level: u8) -> Verdict {
    let mut peer = Peer::join(target, level)?;
    peer.send(&unsubscribe_packet(level, 9, &[&unique("never/")]))?;
    check(
        peer.expect(kind::UNSUBACK)?.id() == 9,
        "UNSUBACK has another identifier",
    )
}

fn unsubscribe_flags(target: &Target, level: u8) -> Verdict {
    for flags in [0u8, 1, 3] {
        let mut packet = unsubscribe_packet(level, 1, &["a"]);
        packet[0] = 0xA0 | flags;
        closed_by(target, level, &packet, &[0x81])?;
    }
    Ok(())
}

/// What was begun is finished.
fn unsubscribe_completes(target: &Target, level: u8) -> Verdict {
    let topic = unique("fin/");
    let mut peer = Hello::new(level, &unique("fin")).connect(target)?;
    peer.subscribe(&topic, 2)?;
    Peer::join(target, level)?.deliver(&topic, b"x", 2)?;
    let message = peer.message_of(b"x")?;
    peer.send(&unsubscribe_packet(level, 2, &[&topic]))?;
    peer.expect(kind::UNSUBACK)?;
    peer.acknowledge(0x50, message.id)?;
    peer.expect(kind::PUBREL)?;
    peer.acknowledge(0x70, message.id)?;
    peer.expect_quiet()
}
