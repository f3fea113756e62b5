//! What the versions have between them, and what MQTT 3.1 has for itself.

use super::{Case, EVERY, V3, case};
use crate::pairs::{End, meet};
use crate::peer::{Hello, Peer, Verdict, check, kind, unique};
use crate::stream::Target;
use crate::wire::Body;

pub(super) const CASES: &[Case] = &[
    case("versions_meet", EVERY, versions_meet),
    case("dup_of_3_1", V3, dup_of_3_1),
    case("empty_client_id_of_3_1", V3, empty_client_id_of_3_1),
    case("name_and_level_agree", EVERY, name_and_level_agree),
];

fn versions_meet(target: &Target, level: u8) -> Verdict {
    for other in [3, 4, 5] {
        let end = |level| End { target, level };
        meet(end(level), end(other)).map_err(|error| format!("to level {other}: {error}"))?;
    }
    Ok(())
}

/// MQTT 3.1 lets a client set DUP on SUBSCRIBE, UNSUBSCRIBE and PUBREL that it sends again.
fn dup_of_3_1(target: &Target, level: u8) -> Verdict {
    let topic = unique("dup31/");
    let mut peer = Peer::join(target, level)?;
    peer.send(&Body::new().u16(1).text(&topic).u8(0).packet(0x8A))?;
    peer.expect(kind::SUBACK)?;
    peer.publish(&topic, b"x", 4, 2)?;
    peer.acknowledge(0x6A, 2)?;
    for _ in 0..3 {
        peer.packet()?; // PUBREC, PUBCOMP and the message, which has its own place
    }
    peer.send(&Body::new().u16(3).text(&topic).packet(0xAA))?;
    peer.expect(kind::UNSUBACK).map(drop)
}

/// MQTT 3.1 wants at least one character: return code 2.
fn empty_client_id_of_3_1(target: &Target, level: u8) -> Verdict {
    let (mut peer, connack) = Hello::new(level, "").try_connect(target)?;
    check(connack.byte(1) == 2, "the Return Code is not 2")?;
    peer.expect_closed(&[])
}

/// `MQIsdp` goes with level 3 and `MQTT` with the others.
fn name_and_level_agree(target: &Target, level: u8) -> Verdict {
    let wrong = if level == 3 { "MQTT" } else { "MQIsdp" };
    let mut peer = Peer::open(target, level)?;
    let body = Body::new().text(wrong).u8(level).u8(2).u16(0);
    let body = body.props(level, &[]).text(unique("n"));
    peer.send(&body.packet(0x10))?;
    match peer.packet()? {
        None => Ok(()),
        Some(got) => check(
            got.kind == kind::CONNACK && got.byte(1) != 0,
            "it was accepted",
        ),
    }
}
