//! Section 4.12: enhanced authentication.

use super::{Case, V5, case};
use crate::peer::{Hello, Peer, Verdict, check, kind, unique};
use crate::stream::Target;
use crate::wire::{Body, prop_text, prop_u8};

pub(super) const CASES: &[Case] = &[
    case("unknown_method", V5, unknown_method),
    case("no_auth_without_method", V5, no_auth_without_method),
    case("auth_flags", V5, auth_flags),
    case("response_information", V5, response_information),
    case("problem_information", V5, problem_information),
];

fn unknown_method(target: &Target, level: u8) -> Verdict {
    let hello = Hello::new(level, &unique("auth")).with(&prop_text(0x15, "NO-SUCH-METHOD"));
    let mut peer = Peer::open(target, level)?;
    peer.send(&hello.packet(target.login.as_ref()))?;
    match peer.packet()? {
        None => Ok(()),
        Some(got) => {
            check(
                got.kind == kind::CONNACK,
                "something else than CONNACK came",
            )?;
            let code = got.byte(1);
            check(
                [0x8C, 0x87].contains(&code),
                &format!("CONNACK with {code:#04x}"),
            )?;
            peer.expect_closed(&[])
        }
    }
}

fn no_auth_without_method(target: &Target, level: u8) -> Verdict {
    let (mut peer, connack) = Hello::new(level, &unique("none")).connect_with_connack(target)?;
    let method = connack.props_at(2).into_iter().any(|(id, _)| id == 0x15);
    check(!method, "CONNACK has an Authentication Method")?;
    peer.send(
        &Body::new()
            .u8(0x19)
            .props(level, &prop_text(0x15, "X"))
            .packet(0xF0),
    )?;
    peer.expect_closed(&[0x82])
}

fn auth_flags(target: &Target, level: u8) -> Verdict {
    let mut peer = Peer::join(target, level)?;
    peer.send(&[0xF1, 0])?;
    peer.expect_closed(&[0x81])
}

fn response_information(target: &Target, level: u8) -> Verdict {
    for props in [vec![], prop_u8(0x19, 0)] {
        let hello = Hello::new(level, &unique("ri")).with(&props);
        let (_, connack) = hello.connect_with_connack(target)?;
        let has = connack.props_at(2).into_iter().any(|(id, _)| id == 0x1A);
        check(!has, "Response Information nobody asked for")?;
    }
    Ok(())
}

/// Without Request Problem Information no reason is given but in CONNACK and DISCONNECT.
fn problem_information(target: &Target, level: u8) -> Verdict {
    let hello = Hello::new(level, &unique("pi")).with(&prop_u8(0x17, 0));
    let mut peer = hello.connect(target)?;
    let plain = |props: Vec<(u8, Vec<u8>)>| {
        let has = props.iter().any(|(id, _)| [0x1F, 0x26].contains(id));
        check(!has, "a Reason String or User Property")
    };
    peer.send(
        &Body::new()
            .u16(1)
            .props(level, &[])
            .text("a/#/b")
            .u8(0)
            .packet(0x82),
    )?;
    plain(peer.expect(kind::SUBACK)?.props_at(2))?;
    peer.send(
        &Body::new()
            .u16(2)
            .props(level, &[])
            .text("none")
            .packet(0xA2),
    )?;
    plain(peer.expect(kind::UNSUBACK)?.props_at(2))?;
    peer.publish("$SYS/none", b"x", 2, 3)?;
    plain(peer.expect(kind::PUBACK)?.props_at(3))?;
    peer.publish("$SYS/none", b"x", 4, 4)?;
    plain(peer.expect(kind::PUBREC)?.props_at(3))?;
    peer.acknowledge(0x62, 999)?;
    plain(peer.expect(kind::PUBCOMP)?.props_at(3))
}
