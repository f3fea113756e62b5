//! Section 4.7: topic names and filters.

use super::{Case, EVERY, case};
use crate::peer::{Peer, Verdict, check, kind, unique};
use crate::stream::Target;
use crate::wire::Body;

pub(super) const CASES: &[Case] = &[
    case("wildcard_places", EVERY, wildcard_places),
    case("wildcards_match", EVERY, wildcards_match),
    case("dollar_topics", EVERY, dollar_topics),
    case("empty_filter", EVERY, empty_filter),
    case("no_normalization", EVERY, no_normalization),
    case("long_topics", EVERY, long_topics),
];

/// A wildcard in a wrong place fails the filter or the connection.
fn wildcard_places(target: &Target, level: u8) -> Verdict {
    for filter in ["a#", "a/#/b", "#/a", "a+", "+a", "a/b+/c", "a/+b"] {
        let mut peer = Peer::join(target, level)?;
        let body = Body::new().u16(1).props(level, &[]).text(filter).u8(0);
        peer.send(&body.packet(0x82))?;
        match peer.packet()? {
            None => {}
            Some(got) if got.kind == kind::SUBACK => {
                let codes = got.codes(level);
                check(codes[0] >= 0x80, &format!("{filter} was accepted"))?;
            }
            Some(got) => check(got.kind == kind::DISCONNECT, "an unexpected packet")?,
        }
    }
    Ok(())
}

fn wildcards_match(target: &Target, level: u8) -> Verdict {
    let root = unique("wild");
    for (filter, topic, expected) in [
        ("a/#", "a", true),
        ("a/#", "a/b/c", true),
        ("a/#", "b", false),
        ("+/x", "y/x", true),
        ("+/x", "x", false),
        ("+", "", true),
        ("a/+", "a/", true),
        ("a/+/c", "a//c", true),
        ("a/+", "a/b/c", false),
    ] {
        let mut peer = Peer::join(target, level)?;
        peer.subscribe(&format!("{root}/{filter}"), 0)?;
        peer.publish(&format!("{root}/{topic}"), b"x", 0, 0)?;
        let found = if expected {
            peer.message_of(b"x").map(drop)
        } else {
            peer.expect_quiet()
        };
        found.map_err(|error| format!("{filter} and {topic}: {error}"))?;
    }
    Ok(())
}

fn dollar_topics(target: &Target, level: u8) -> Verdict {
    let topic = unique("$conformance/");
    let mut peer = Peer::join(target, level)?;
    let live_only = if level >= 5 { 0x20 } else { 0 };
    let body = Body::new().u16(1).props(level, &[]);
    let body = body.text("#").u8(live_only).text("+/+").u8(live_only);
    peer.send(&body.packet(0x82))?;
    // Others publish meanwhile, and all of it comes here.
    while peer.packet()?.ok_or("closed")?.kind != kind::SUBACK {}
    peer.publish(&topic, b"x", 0, 0)?;
    let marker = unique("marker");
    peer.publish(&format!("{marker}/a"), marker.as_bytes(), 0, 0)?;
    loop {
        let message = peer.message()?;
        check(
            !message.topic.starts_with('$'),
            "a wildcard matched a topic that begins with $",
        )?;
        if message.payload == marker.as_bytes() {
            return Ok(());
        }
    }
}

fn empty_filter(target: &Target, level: u8) -> Verdict {
    let mut peer = Peer::join(target, level)?;
    peer.send(
        &Body::new()
            .u16(1)
            .props(level, &[])
            .text("")
            .u8(0)
            .packet(0x82),
    )?;
    match peer.packet()? {
        None => Ok(()),
        Some(got) if got.kind == kind::SUBACK => {
            check(got.codes(level)[0] >= 0x80, "it was accepted")
        }
        Some(got) => check(got.kind == kind::DISCONNECT, "an unexpected packet"),
    }
}

fn no_normalization(target: &Target, level: u8) -> Verdict {
    let root = unique("norm");
    let mut peer = Peer::join(target, level)?;
    peer.subscribe(&format!("{root}/Caf\u{e9}"), 0)?;
    for other in [
        "caf\u{e9}",
        "Cafe\u{301}",
        "Caf\u{e9}/",
        " Caf\u{e9}",
        "Caf\u{c9}",
    ] {
        peer.publish(&format!("{root}/{other}"), b"no", 0, 0)?;
    }
    peer.publish(&format!("{root}/Caf\u{e9}"), b"yes", 0, 0)?;
    peer.message_of(b"yes")?;
    // A byte order mark is a character like any other.
    let marked = format!("{root}/\u{feff}x");
    peer.subscribe(&marked, 0)?;
    peer.publish(&format!("{root}/x"), b"no", 0, 0)?;
    peer.publish(&marked, b"marked", 0, 0)?;
    let message = peer.message_of(b"marked")?;
    check(message.topic == marked, "U+FEFF was dropped")
}

fn long_topics(target: &Target, level: u8) -> Verdict {
    let topic = format!("{}/{}", unique("long"), "x".repeat(60_000));
    let mut peer = Peer::join(target, level)?;
    let body = Body::new().u16(1).props(level, &[]).text(&topic).u8(0);
    peer.send(&body.packet(0x82))?;
    match peer.packet()? {
        Some(got) if got.kind == kind::SUBACK && got.codes(level)[0] < 0x80 => {
            peer.publish(&topic, b"x", 0, 0)?;
            check(peer.message_of(b"x")?.topic == topic, "the topic changed")
        }
        _ => Ok(()), // a broker may bound them
    }
}
