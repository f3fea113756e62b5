//! Servers of fewer abilities: what CONNACK says is missing must be refused with its code, and what it does not name
//! must work. Against a server that offers everything only the second half is seen.

use super::{Case, V5, case};
use crate::peer::{Hello, Peer, Verdict, check, kind, unique};
use crate::stream::Target;
use crate::wire::Body;

pub(super) const CASES: &[Case] = &[
    case("fewer_qos", V5, fewer_qos),
    case("fewer_retained", V5, fewer_retained),
    case("fewer_wildcards", V5, fewer_wildcards),
    case("fewer_identifiers", V5, fewer_identifiers),
    case("fewer_shared", V5, fewer_shared),
];

/// The value of a property of CONNACK that is one byte.
fn told(target: &Target, level: u8, id: u8) -> Verdict<Option<u8>> {
    let (_, connack) = Hello::new(level, &unique("f")).connect_with_connack(target)?;
    let found = connack
        .props_at(2)
        .into_iter()
        .find(|(known, _)| *known == id);
    Ok(found.and_then(|(_, value)| value.first().copied()))
}

fn refused(target: &Target, hello: &Hello, code: u8) -> Verdict {
    let (mut peer, connack) = hello.try_connect(target)?;
    check(
        connack.byte(1) == code,
        &format!("CONNACK {:#04x} instead of {code:#04x}", connack.byte(1)),
    )?;
    peer.expect_closed(&[])
}

fn fewer_qos(target: &Target, level: u8) -> Verdict {
    let maximum = told(target, level, 0x24)?.unwrap_or(2);
    for qos in 0..=2 {
        let topic = unique("fq/");
        let hello = Hello::new(level, &unique("f")).will(&topic, b"x", qos, false, &[]);
        let mut peer = Peer::join(target, level)?;
        let granted = peer.subscribe(&topic, qos)?;
        check(
            granted == qos.min(maximum),
            &format!("QoS {qos} was granted as {granted}"),
        )?;
        let mut publisher = Peer::join(target, level)?;
        if qos <= maximum {
            hello.connect(target)?.leave()?;
            publisher.deliver(&topic, b"x", qos)?;
        } else {
            refused(target, &hello, 0x9B)?;
            publisher.publish(&topic, b"x", qos << 1, 5)?;
            publisher.expect_closed(&[0x9B])?;
        }
    }
    Ok(())
}

fn fewer_retained(target: &Target, level: u8) -> Verdict {
    let topic = unique("fr/");
    let hello = Hello::new(level, &unique("f")).will(&topic, b"x", 0, true, &[]);
    let mut publisher = Peer::join(target, level)?;
    if told(target, level, 0x25)? == Some(0) {
        refused(target, &hello, 0x9A)?;
        publisher.publish(&topic, b"x", 1, 0)?;
        return publisher.expect_closed(&[0x9A]);
    }
    hello.connect(target)?.leave()?;
    publisher.publish(&topic, b"x", 1, 0)?;
    publisher.expect_quiet()
}

/// SUBSCRIBE, and DISCONNECT with this code if there is one.
fn subscribe(target: &Target, level: u8, filter: &str, props: &[u8], code: Option<u8>) -> Verdict {
    let mut peer = Peer::join(target, level)?;
    let body = Body::new().u16(1).props(level, props).text(filter).u8(0);
    peer.send(&body.packet(0x82))?;
    match code {
        Some(code) => peer.expect_closed(&[code]),
        None => {
            let suback = peer.expect(kind::SUBACK)?;
            check(suback.codes(level) == [0], "it was refused")
        }
    }
}

fn fewer_wildcards(target: &Target, level: u8) -> Verdict {
    let code = (told(target, level, 0x28)? == Some(0)).then_some(0xA2);
    subscribe(target, level, &format!("{}/+", unique("fw")), &[], code)?;
    subscribe(target, level, &format!("{}/#", unique("fw")), &[], code)?;
    subscribe(target, level, &unique("fw"), &[], None)
}

fn fewer_identifiers(target: &Target, level: u8) -> Verdict {
    let code = (told(target, level, 0x29)? == Some(0)).then_some(0xA1);
    subscribe(target, level, &unique("fi"), &[0x0B, 7], code)
}

fn fewer_shared(target: &Target, level: u8) -> Verdict {
    let code = (told(target, level, 0x2A)? == Some(0)).then_some(0x9E);
    let filter = format!("$share/g/{}", unique("fs"));
    subscribe(target, level, &filter, &[], code)
}
