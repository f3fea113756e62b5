//! Sections 3.1 and 3.2: CONNECT, CONNACK, PINGREQ, DISCONNECT.

use super::{Case, EVERY, NUMBERED, V4, V5, case};
use crate::peer::{Hello, Peer, Verdict, check, kind, protocol, unique};
use crate::stream::Target;
use crate::wire::{Body, prop_text, prop_u8, prop_u16, prop_u32};

pub(super) const CASES: &[Case] = &[
    case("first_packet_is_connect", EVERY, first_packet_is_connect),
    case("second_connect_closes", EVERY, second_connect_closes),
    case("wrong_protocol_name", EVERY, wrong_protocol_name),
    case("unknown_level", EVERY, unknown_level),
    case("reserved_connect_flag", EVERY, reserved_connect_flag),
    case("will_flags_agree", EVERY, will_flags_agree),
    case("login_flags_agree", EVERY, login_flags_agree),
    case("password_without_user_name", V4, password_without_user_name),
    case("truncated_connect", EVERY, truncated_connect),
    case("keep_alive", EVERY, keep_alive),
    case("client_ids", EVERY, client_ids),
    case("empty_client_id", NUMBERED, empty_client_id),
    case("empty_client_id_unclean", V4, empty_client_id_unclean),
    case("client_id_not_utf8", EVERY, client_id_not_utf8),
    case("takeover", EVERY, takeover),
    case("connack_comes_first", EVERY, connack_comes_first),
    case(
        "after_refusal_nothing_is_done",
        EVERY,
        after_refusal_nothing_is_done,
    ),
    case("ping", EVERY, ping),
    case("disconnect_closes", EVERY, disconnect_closes),
    case("disconnect_flags", EVERY, disconnect_flags),
    case("raised_session_expiry", V5, raised_session_expiry),
    case("small_packets_only", V5, small_packets_only),
];

fn first_packet_is_connect(target: &Target, level: u8) -> Verdict {
    for packet in [
        vec![0xC0, 0],
        Body::new()
            .text("t")
            .props(level, &[])
            .raw(b"x")
            .packet(0x30),
        Body::new()
            .u16(1)
            .props(level, &[])
            .text("t")
            .u8(0)
            .packet(0x82),
    ] {
        let mut peer = Peer::open(target, level)?;
        peer.send(&packet)?;
        peer.expect_closed(&[])?;
    }
    Ok(())
}

fn second_connect_closes(target: &Target, level: u8) -> Verdict {
    let hello = Hello::new(level, &unique("twice"));
    let mut peer = hello.connect(target)?;
    peer.send(&hello.packet(target.login.as_ref()))?;
    peer.expect_closed(&[0x82])
}

fn connect_bytes(name: &str, level: u8, flags: u8, payload: &Body) -> Vec<u8> {
    Body::new()
        .text(name)
        .u8(level)
        .u8(flags)
        .u16(0)
        .props(level, &[])
        .raw(&payload.0)
        .packet(0x10)
}

/// Sends a CONNECT that must not be accepted.
fn refused(target: &Target, level: u8, packet: &[u8]) -> Verdict {
    let mut peer = Peer::open(target, level)?;
    peer.send(packet)?;
    match peer.packet()? {
        None => Ok(()),
        Some(got) if got.kind == kind::CONNACK && got.byte(1) == 0 => {
            Err("it was accepted".to_owned())
        }
        Some(got) => {
            check(
                got.kind == kind::CONNACK,
                "something else than CONNACK came",
            )?;
            check(
                got.byte(0) == 0,
                "a refusal says that a session is present [MQTT-3.2.2-6]",
            )?;
            peer.expect_closed(&[])
        }
    }
}

fn wrong_protocol_name(target: &Target, level: u8) -> Verdict {
    for name in ["MQTX", "mqtt", "", "MQTTT"] {
        let id = Body::new().text(unique("n"));
        refused(target, level, &connect_bytes(name, level, 2, &id))?;
    }
    Ok(())
}

fn unknown_level(target: &Target, _: u8) -> Verdict {
    for level in [0, 2, 6, 127] {
        let id = Body::new().text(unique("l"));
        refused(target, 4, &connect_bytes("MQTT", level, 2, &id))?;
    }
    Ok(())
}

fn reserved_connect_flag(target: &Target, level: u8) -> Verdict {
    let id = Body::new().text(unique("r"));
    refused(
        target,
        level,
        &connect_bytes(protocol(level), level, 3, &id),
    )
}

fn will_flags_agree(target: &Target, level: u8) -> Verdict {
    let id = Body::new().text(unique("w"));
    let full = id.clone().props(level, &[]).text("t").text("p");
    for (flags, payload) in [
        (2 | 8, &id),        // will QoS without will
        (2 | 32, &id),       // will retain without will
        (2 | 4 | 24, &full), // will QoS 3
        (2 | 4, &id),        // will without its fields
    ] {
        refused(
            target,
            level,
            &connect_bytes(protocol(level), level, flags, payload),
        )?;
    }
    Ok(())
}

fn login_flags_agree(target: &Target, level: u8) -> Verdict {
    let id = Body::new().text(unique("u"));
    for (flags, payload) in [
        (2 | 0x80, id.clone()),                 // a name that is not there
        (2, id.clone().text("name")),           // a name without its flag
        (2 | 0xC0, id.clone().text("name")),    // a password that is not there
        (2 | 0x80, id.text("name").text("pw")), // a password without its flag
    ] {
        refused(
            target,
            level,
            &connect_bytes(protocol(level), level, flags, &payload),
        )?;
    }
    Ok(())
}

fn password_without_user_name(target: &Target, level: u8) -> Verdict {
    let payload = Body::new().text(unique("p")).text("pw");
    refused(
        target,
        level,
        &connect_bytes(protocol(level), level, 2 | 0x40, &payload),
    )
}

fn truncated_connect(target: &Target, level: u8) -> Verdict {
    let whole = Hello::new(level, &unique("t")).packet(None);
    for cut in 2..whole.len() {
        let mut packet = whole[..cut].to_vec();
        packet[1] = u8::try_from(cut - 2).unwrap_or(0);
        refused(target, level, &packet)?;
    }
    Ok(())
}

fn keep_alive(target: &Target, level: u8) -> Verdict {
    let mut hello = Hello::new(level, &unique("k"));
    hello.keep_alive = 1;
    let start = std::time::Instant::now();
    let mut peer = hello.connect(target)?;
    peer.expect_closed(&[0x8D])?;
    let waited = start.elapsed().as_secs_f64();
    check(
        (1.4..4.0).contains(&waited),
        &format!("closed after {waited:.2} s, 1.5 were due"),
    )
}

fn client_ids(target: &Target, level: u8) -> Verdict {
    const ALL: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let all: Vec<char> = ALL.chars().collect();
    for part in all.chunks(23) {
        let id: String = part.iter().collect();
        Hello::new(level, &id).connect(target)?.leave()?;
    }
    Hello::new(level, "Q").connect(target)?.leave()
}

fn empty_client_id(target: &Target, level: u8) -> Verdict {
    let (first, connack) = Hello::new(level, "").connect_with_connack(target)?;
    let (second, other) = Hello::new(level, "").connect_with_connack(target)?;
    if level >= 5 {
        let assigned = |got: &crate::wire::Got| {
            got.props_at(2)
                .into_iter()
                .find(|(id, _)| *id == 0x12)
                .map(|(_, id)| id)
        };
        let (one, two) = (assigned(&connack), assigned(&other));
        check(
            one.as_ref().is_some_and(|id| !id.is_empty()),
            "no Assigned Client Identifier",
        )?;
        check(one != two, "two clients were given one identifier")?;
    }
    first.leave()?;
    second.leave()
}

fn empty_client_id_unclean(target: &Target, level: u8) -> Verdict {
    let (mut peer, connack) = Hello::new(level, "").lasting(9).try_connect(target)?;
    check(
        connack.byte(1) == 2,
        &format!("CONNACK with {} where 2 was expected", connack.byte(1)),
    )?;
    peer.expect_closed(&[])
}

fn client_id_not_utf8(target: &Target, level: u8) -> Verdict {
    for bad in [&[0xFFu8, 0xFE][..], &[0xED, 0xA0, 0x80], &[b'a', 0]] {
        let id = Body::new().text(bad);
        refused(
            target,
            level,
            &connect_bytes(protocol(level), level, 2, &id),
        )?;
    }
    Ok(())
}

fn takeover(target: &Target, level: u8) -> Verdict {
    let id = unique("over");
    let mut older = Hello::new(level, &id).connect(target)?;
    let mut newer = Hello::new(level, &id).connect(target)?;
    older.expect_closed(&[0x8E])?;
    newer.expect_quiet()
}

fn connack_comes_first(target: &Target, level: u8) -> Verdict {
    let mut peer = Peer::open(target, level)?;
    let mut bytes = Hello::new(level, &unique("first")).packet(target.login.as_ref());
    bytes.extend(
        Body::new()
            .u16(5)
            .props(level, &[])
            .text("t/first")
            .u8(0)
            .packet(0x82),
    );
    bytes.extend([0xC0, 0]);
    peer.send(&bytes)?;
    let connack = peer.expect(kind::CONNACK)?;
    check(
        connack.flags == 0 && connack.byte(0) & 0xFE == 0,
        "reserved bits of CONNACK are set",
    )?;
    check(connack.byte(1) == 0, "CONNECT was refused")?;
    peer.expect(kind::SUBACK)?;
    peer.expect(kind::PINGRESP)?;
    peer.expect_quiet() // and no second CONNACK
}

fn after_refusal_nothing_is_done(target: &Target, level: u8) -> Verdict {
    let topic = unique("refused/");
    let mut watcher = Peer::join(target, level)?;
    watcher.subscribe(&topic, 0)?;
    let mut peer = Peer::open(target, level)?;
    let mut bytes = connect_bytes(protocol(level), level, 3, &Body::new().text(unique("x")));
    bytes.extend(
        Body::new()
            .text(&topic)
            .props(level, &[])
            .raw(b"no")
            .packet(0x30),
    );
    peer.send(&bytes)?;
    peer.expect_closed(&[])?;
    watcher.publish(&topic, b"marker", 0, 0)?;
    watcher.message_of(b"marker").map(drop)
}

fn ping(target: &Target, level: u8) -> Verdict {
    let mut peer = Peer::join(target, level)?;
    (0..3).try_for_each(|_| peer.expect_quiet())
}

fn disconnect_closes(target: &Target, level: u8) -> Verdict {
    Peer::join(target, level)?.leave()
}

fn disconnect_flags(target: &Target, level: u8) -> Verdict {
    let mut peer = Peer::join(target, level)?;
    peer.send(&[0xE1, 0])?;
    peer.expect_closed(&[0x81])
}

fn raised_session_expiry(target: &Target, level: u8) -> Verdict {
    let mut peer = Peer::join(target, level)?;
    let body = Body::new().u8(0).props(level, &prop_u32(0x11, 60));
    peer.send(&body.packet(0xE0))?;
    peer.expect_closed(&[0x82])
}

/// A client that takes 24 bytes at most is sent nothing longer, whatever happens.
fn small_packets_only(target: &Target, level: u8) -> Verdict {
    const MOST: usize = 24;
    let small = |extra: &[u8]| {
        Hello::new(level, &unique("s"))
            .with(&prop_u32(0x27, 24))
            .with(extra)
    };
    let fits = |size: usize| check(size <= MOST, &format!("a packet of {size} bytes"));
    let (mut peer, connack) = small(&prop_u8(0x17, 1)).connect_with_connack(target)?;
    fits(connack.size)?;
    peer.send(
        &Body::new()
            .u16(1)
            .props(level, &[])
            .text("a/#/b")
            .u8(0)
            .packet(0x82),
    )?;
    fits(peer.expect(kind::SUBACK)?.size)?;
    peer.send(
        &Body::new()
            .u16(2)
            .props(level, &[])
            .text("nobody")
            .packet(0xA2),
    )?;
    fits(peer.expect(kind::UNSUBACK)?.size)?;
    peer.publish("x", b"", 2, 3)?;
    fits(peer.expect(kind::PUBACK)?.size)?;
    peer.publish("x", b"", 4, 4)?;
    fits(peer.expect(kind::PUBREC)?.size)?;
    peer.acknowledge(0x62, 4)?;
    fits(peer.expect(kind::PUBCOMP)?.size)?;
    peer.acknowledge(0x62, 4)?;
    fits(peer.expect(kind::PUBCOMP)?.size)?;
    peer.send(&[0xE1, 0])?;
    while let Some(got) = peer.packet()? {
        fits(got.size)?;
    }
    // A refusal with a reason of its own.
    let method = prop_text(0x15, "NO-SUCH-METHOD-ANYWHERE");
    let (_, connack) = small(&prop_u16(0x21, 5))
        .with(&method)
        .try_connect(target)?;
    fits(connack.size)
}
