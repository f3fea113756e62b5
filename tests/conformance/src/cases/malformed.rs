//! Sections 1.5, 2.1 and 4.13: what is no MQTT.

use super::{Case, EVERY, NUMBERED, V5, case};
use crate::peer::{Hello, Peer, Verdict, kind, unique};
use crate::stream::Target;
use crate::wire::Body;

pub(super) const CASES: &[Case] = &[
    case("texts_are_utf8", EVERY, texts_are_utf8),
    case("length_is_minimal", V5, length_is_minimal),
    case("length_is_bounded", EVERY, length_is_bounded),
    case("reserved_flags", NUMBERED, reserved_flags),
    case("packets_of_servers", EVERY, packets_of_servers),
    case("truncated_packets", EVERY, truncated_packets),
    case("trailing_bytes", EVERY, trailing_bytes),
    case("others_are_not_disturbed", EVERY, others_are_not_disturbed),
];

fn closes(target: &Target, level: u8, packet: &[u8], codes: &[u8]) -> Verdict {
    let mut peer = Peer::join(target, level)?;
    peer.send(packet)?;
    peer.expect_closed(codes)
        .map_err(|error| format!("{packet:02x?}: {error}"))
}

fn texts_are_utf8(target: &Target, level: u8) -> Verdict {
    let bad: [&[u8]; 6] = [
        &[0xC3],                   // cut
        &[0xED, 0xA0, 0x80],       // a surrogate
        &[0xC0, 0x80],             // overlong
        &[0xF5, 0x80, 0x80, 0x80], // beyond Unicode
        &[0x00],
        &[b'a', 0x00, b'b'],
    ];
    for text in bad {
        let publish = Body::new()
            .text(text)
            .props(level, &[])
            .raw(b"x")
            .packet(0x30);
        closes(target, level, &publish, &[0x81, 0x82, 0x90])?;
    }
    Ok(())
}

fn length_is_minimal(target: &Target, level: u8) -> Verdict {
    // Properties of length 0, written in two bytes.
    let publish = Body::new().text("t").raw(&[0x80, 0]).raw(b"x").packet(0x30);
    closes(target, level, &publish, &[0x81])
}

fn length_is_bounded(target: &Target, level: u8) -> Verdict {
    closes(
        target,
        level,
        &[0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01],
        &[0x81, 0x82],
    )
}

fn reserved_flags(target: &Target, level: u8) -> Verdict {
    let id = [0, 1];
    for first in [0x41u8, 0x51, 0x60, 0x61, 0x63, 0x72, 0xC1, 0xC8] {
        let body: &[u8] = if first >> 4 == 0xC { &[] } else { &id };
        closes(target, level, &Body::new().raw(body).packet(first), &[0x81])?;
    }
    closes(target, level, &[0x00, 0], &[0x81, 0x82])?;
    if level < 5 {
        closes(target, level, &[0xF0, 0], &[])?; // AUTH came with MQTT 5
    }
    Ok(())
}

fn packets_of_servers(target: &Target, level: u8) -> Verdict {
    for packet in [
        Body::new().u8(0).u8(0).props(level, &[]).packet(0x20),
        Body::new().u16(1).props(level, &[]).u8(0).packet(0x90),
        Body::new().u16(1).props(level, &[]).packet(0xB0),
        vec![0xD0, 0],
    ] {
        closes(target, level, &packet, &[0x81, 0x82])?;
    }
    Ok(())
}

fn truncated_packets(target: &Target, level: u8) -> Verdict {
    for packet in [
        vec![0x32, 3, 0, 1, b'a'], // PUBLISH without identifier
        vec![0x30, 3, 0, 9, b'a'], // a topic longer than its packet
        vec![0x40, 1, 0],          // PUBACK with half an identifier
        vec![0x62, 0],             // PUBREL with none
        vec![0x82, 4, 0, 1, 0, 9], // SUBSCRIBE that ends in its filter
        vec![0xA2, 2, 0, 1],       // UNSUBSCRIBE that ends
    ] {
        closes(target, level, &packet, &[0x81, 0x82])?;
    }
    Ok(())
}

fn trailing_bytes(target: &Target, level: u8) -> Verdict {
    closes(target, level, &[0xC0, 1, 0], &[0x81, 0x82])?;
    if level >= 5 {
        let puback = Body::new()
            .u16(1)
            .u8(0)
            .props(level, &[])
            .u8(9)
            .packet(0x40);
        return closes(target, level, &puback, &[0x81, 0x82]);
    }
    closes(target, level, &Body::new().u16(1).u8(0).packet(0x40), &[])
}

/// One connection that breaks every rule leaves its neighbours alone.
fn others_are_not_disturbed(target: &Target, level: u8) -> Verdict {
    let topic = unique("calm/");
    let mut calm = Peer::join(target, level)?;
    calm.subscribe(&topic, 1)?;
    for seed in 0..20u8 {
        let mut peer = Hello::new(level, &unique("wild")).connect(target)?;
        let bytes: Vec<u8> = (0..200u8)
            .map(|place| place.wrapping_mul(31).wrapping_add(seed.wrapping_mul(97)) ^ 0xF0)
            .collect();
        peer.send(&bytes)?;
        peer.cut();
    }
    calm.publish(&topic, b"here", 2, 1)?;
    let mut is_there = false;
    for _ in 0..2 {
        is_there |= calm.packet()?.ok_or("closed")?.kind == kind::PUBLISH;
    }
    crate::peer::check(is_there, "the message did not come")
}
