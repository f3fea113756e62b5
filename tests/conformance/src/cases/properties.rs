//! Section 2.2.2: which properties a packet may have, and how often.

use super::{Case, V5, case};
use crate::peer::{Hello, Peer, Verdict, check, kind, unique};
use crate::stream::Target;
use crate::wire::{Body, prop_text, prop_u8, prop_u16, prop_u32, user};

pub(super) const CASES: &[Case] = &[
    case("duplicate_properties", V5, duplicate_properties),
    case(
        "properties_of_other_packets",
        V5,
        properties_of_other_packets,
    ),
    case("unknown_properties", V5, unknown_properties),
    case("property_lengths", V5, property_lengths),
    case("user_properties_repeat", V5, user_properties_repeat),
    case("payload_format", V5, payload_format),
];

/// A packet of a connected client with these properties.
type Make = fn(&[u8]) -> Vec<u8>;

fn publish(props: &[u8]) -> Vec<u8> {
    Body::new().text("t").props(5, props).packet(0x30)
}

fn subscribe(props: &[u8]) -> Vec<u8> {
    let body = Body::new().u16(1).props(5, props);
    body.text("t").u8(0).packet(0x82)
}

fn unsubscribe(props: &[u8]) -> Vec<u8> {
    Body::new().u16(1).props(5, props).text("t").packet(0xA2)
}

fn puback(props: &[u8]) -> Vec<u8> {
    Body::new().u16(1).u8(0).props(5, props).packet(0x40)
}

fn pubrec(props: &[u8]) -> Vec<u8> {
    Body::new().u16(1).u8(0).props(5, props).packet(0x50)
}

fn pubrel(props: &[u8]) -> Vec<u8> {
    Body::new().u16(1).u8(0).props(5, props).packet(0x62)
}

fn pubcomp(props: &[u8]) -> Vec<u8> {
    Body::new().u16(1).u8(0).props(5, props).packet(0x70)
}

fn disconnect(props: &[u8]) -> Vec<u8> {
    Body::new().u8(0).props(5, props).packet(0xE0)
}

const PACKETS: [Make; 8] = [
    publish,
    subscribe,
    unsubscribe,
    puback,
    pubrec,
    pubrel,
    pubcomp,
    disconnect,
];

fn closes(target: &Target, level: u8, packet: &[u8]) -> Verdict {
    let mut peer = Peer::join(target, level)?;
    peer.send(packet)?;
    peer.expect_closed(&[0x81, 0x82])
        .map_err(|error| format!("{packet:02x?}: {error}"))
}

/// A CONNECT, or its will, with these properties is refused.
fn connect_fails(target: &Target, level: u8, props: &[u8], of_will: bool) -> Verdict {
    let hello = Hello::new(level, &unique("props"));
    let hello = if of_will {
        hello.will("t", b"x", 0, false, props)
    } else {
        hello.with(props)
    };
    let mut peer = Peer::open(target, level)?;
    peer.send(&hello.packet(target.login.as_ref()))?;
    match peer.packet()? {
        None => Ok(()),
        Some(got) => check(
            got.kind == kind::CONNACK && [0x81, 0x82].contains(&got.byte(1)),
            &format!("properties {props:02x?}: CONNACK with {:#04x}", got.byte(1)),
        ),
    }
}

fn duplicate_properties(target: &Target, level: u8) -> Verdict {
    for prop in [
        prop_u32(0x11, 1),
        prop_u16(0x21, 1),
        prop_u32(0x27, 100),
        prop_u16(0x22, 1),
        prop_u8(0x19, 1),
        prop_u8(0x17, 1),
        prop_text(0x15, "X"),
    ] {
        connect_fails(target, level, &prop.repeat(2), false)?;
    }
    for prop in [
        prop_u32(0x18, 1),
        prop_u8(0x01, 0),
        prop_u32(0x02, 1),
        prop_text(0x03, "a"),
        prop_text(0x08, "a"),
        prop_text(0x09, "a"),
    ] {
        connect_fails(target, level, &prop.repeat(2), true)?;
    }
    for prop in [
        prop_u8(0x01, 0),
        prop_u32(0x02, 1),
        prop_text(0x03, "a"),
        prop_text(0x08, "a"),
        prop_text(0x09, "a"),
        prop_u16(0x23, 1),
    ] {
        closes(target, level, &publish(&prop.repeat(2)))?;
    }
    closes(target, level, &subscribe(&[0x0B, 1, 0x0B, 2]))?;
    closes(target, level, &disconnect(&prop_u32(0x11, 0).repeat(2)))?;
    for packet in [puback, pubrec, pubrel, pubcomp, disconnect] {
        closes(target, level, &packet(&prop_text(0x1F, "a").repeat(2)))?;
    }
    Ok(())
}

fn properties_of_other_packets(target: &Target, level: u8) -> Verdict {
    for packet in PACKETS {
        // Server Keep Alive belongs to CONNACK alone, Will Delay Interval to a will.
        closes(target, level, &packet(&prop_u16(0x13, 1)))?;
        closes(target, level, &packet(&prop_u32(0x18, 1)))?;
    }
    closes(target, level, &unsubscribe(&[0x0B, 1]))?;
    closes(target, level, &subscribe(&prop_text(0x1F, "why")))?;
    connect_fails(target, level, &prop_u16(0x13, 1), false)?;
    connect_fails(target, level, &prop_u32(0x18, 1), false)?;
    connect_fails(target, level, &prop_u32(0x11, 1), true)?;
    connect_fails(target, level, &prop_u16(0x23, 1), true)
}

fn unknown_properties(target: &Target, level: u8) -> Verdict {
    for id in [0x00, 0x04, 0x2B, 0x7F] {
        for packet in PACKETS {
            closes(target, level, &packet(&prop_u8(id, 1)))?;
        }
        connect_fails(target, level, &prop_u8(id, 1), false)?;
    }
    Ok(())
}

/// A length that ends within a property, or beyond the packet.
fn property_lengths(target: &Target, level: u8) -> Verdict {
    for packet in PACKETS {
        let mut cut = user("k", "v");
        cut.pop();
        closes(target, level, &packet(&cut))?;
        closes(target, level, &packet(&[0x26, 0, 9, b'k']))?;
    }
    let beyond = Body::new().text("t").u8(20).raw(b"x").packet(0x30);
    closes(target, level, &beyond)
}

fn user_properties_repeat(target: &Target, level: u8) -> Verdict {
    let props = [user("k", "v"), user("k", "v"), user("", "")].concat();
    let hello = Hello::new(level, &unique("users")).with(&props);
    let mut peer = hello.connect(target)?;
    peer.send(&publish(&props))?;
    peer.send(&subscribe(&props))?;
    peer.expect(kind::SUBACK)?;
    peer.send(&unsubscribe(&props))?;
    peer.expect(kind::UNSUBACK)?;
    peer.expect_quiet()
}

/// A payload that is no text although its Payload Format Indicator says so is refused with 0x99, or let through
/// as it is: a broker may check.
fn payload_format(target: &Target, level: u8) -> Verdict {
    let topic = unique("format/");
    let mut watcher = Peer::join(target, level)?;
    watcher.subscribe(&topic, 0)?;
    let mut peer = Peer::join(target, level)?;
    peer.publish_with(&topic, "caf\u{e9}".as_bytes(), 2, 1, &prop_u8(0x01, 1))?;
    check(
        peer.expect(kind::PUBACK)?.byte(2) < 0x80,
        "a text was refused",
    )?;
    watcher.message_of("caf\u{e9}".as_bytes())?;
    for (flags, answer) in [(2, kind::PUBACK), (4, kind::PUBREC)] {
        peer.publish_with(&topic, &[0xFF], flags, 2, &prop_u8(0x01, 1))?;
        let refused = peer.expect(answer)?.byte(2) >= 0x80;
        if !refused && answer == kind::PUBREC {
            peer.acknowledge(0x62, 2)?;
            peer.expect(kind::PUBCOMP)?;
        }
        watcher.publish(&topic, b"marker", 0, 0)?;
        if !refused {
            watcher.message_of(&[0xFF])?;
        }
        watcher.message_of(b"marker")?;
    }
    Ok(())
}
