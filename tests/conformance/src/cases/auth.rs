//! Section 4.12: enhanced authentication.

use super::{Case, Needs, V5, case};
use crate::peer::{Hello, Peer, Verdict, check, kind, unique};
use crate::stream::Target;
use crate::wire::{Body, Got, prop_text, prop_u8};
use witmq_e2e::scram::answer;

pub(super) const CASES: &[Case] = &[
    case("unknown_method", V5, unknown_method),
    case("no_auth_without_method", V5, no_auth_without_method),
    case("auth_flags", V5, auth_flags),
    case("response_information", V5, response_information),
    case("problem_information", V5, problem_information),
    scram("auth_rounds", auth_rounds),
    scram("auth_rounds_end", auth_rounds_end),
    scram("re_authentication", re_authentication),
    scram("re_authentication_fails", re_authentication_fails),
    scram("auth_method_stays", auth_method_stays),
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

const METHOD: &str = "SCRAM-SHA-256";
const CONTINUE: u8 = 0x18;
const AGAIN: u8 = 0x19;

const fn scram(name: &'static str, run: fn(&Target, u8) -> Verdict) -> Case {
    Case {
        name,
        levels: V5,
        needs: Needs::Scram,
        run,
    }
}

/// The user of the target; cases that need one are not run without.
fn user(target: &Target) -> Verdict<(&str, &str)> {
    let user = target.scram.as_ref().ok_or("the target has no such user")?;
    Ok((&user.0, &user.1))
}

fn auth(code: u8, method: &str, data: &str) -> Vec<u8> {
    let props = [prop_text(0x15, method), prop_text(0x16, data)].concat();
    Body::new().u8(code).props(5, &props).packet(0xF0)
}

/// Method and data behind a reason code; the method must be the one of CONNECT [MQTT-4.12.0-5].
fn data_of(got: &Got, at: usize) -> Verdict<String> {
    let props = got.props_at(at);
    let prop = |wanted| {
        let found = props.iter().find(|(id, _)| *id == wanted);
        found.map(|(_, value)| String::from_utf8_lossy(value).into_owned())
    };
    check(
        prop(0x15).as_deref() == Some(METHOD),
        "the Authentication Method is not that of CONNECT",
    )?;
    prop(0x16).ok_or_else(|| "no Authentication Data".to_owned())
}

/// The server's challenge: AUTH 0x18 [MQTT-4.12.0-2].
fn challenge(peer: &mut Peer) -> Verdict<String> {
    let got = peer.expect(kind::AUTH)?;
    check(got.byte(0) == CONTINUE, "AUTH without 0x18")?;
    data_of(&got, 1)
}

/// CONNECT up to the challenge; the server's message and a nonce of ours.
fn begun(target: &Target, level: u8) -> Verdict<(Peer, String, String)> {
    let (name, _) = user(target)?;
    let nonce = unique("nonce");
    let first = format!("n,,n={name},r={nonce}");
    let props = [prop_text(0x15, METHOD), prop_text(0x16, first)].concat();
    let mut peer = Peer::open(target, level)?;
    let hello = Hello::new(level, &unique("scram")).with(&props);
    peer.send(&hello.packet(None))?;
    let asked = challenge(&mut peer)?;
    Ok((peer, asked, nonce))
}

/// A whole login: AUTH 0x18 both ways, CONNACK with the server's proof.
fn logged_in(target: &Target, level: u8) -> Verdict<Peer> {
    let (name, password) = user(target)?;
    let (mut peer, asked, nonce) = begun(target, level)?;
    let (last, expected) = answer(name, &nonce, password, &asked);
    peer.send(&auth(CONTINUE, METHOD, &last))?; // [MQTT-4.12.0-3]
    let connack = peer.expect(kind::CONNACK)?;
    check(connack.byte(1) == 0, "the right password was refused")?;
    check(
        data_of(&connack, 2)? == expected,
        "the server has not proved that it knows the user",
    )?;
    Ok(peer)
}

fn auth_rounds(target: &Target, level: u8) -> Verdict {
    logged_in(target, level)?.expect_quiet()
}

/// What ends the rounds before CONNACK: a wrong answer, another packet, an AUTH that does not fit.
fn auth_rounds_end(target: &Target, level: u8) -> Verdict {
    let (name, _) = user(target)?;
    let (mut peer, asked, nonce) = begun(target, level)?;
    let (wrong, _) = answer(name, &nonce, "not the password", &asked);
    peer.send(&auth(CONTINUE, METHOD, &wrong))?;
    let connack = peer.expect(kind::CONNACK)?;
    check(
        connack.byte(1) >= 0x80,
        "a wrong password was taken [MQTT-4.12.0-4]",
    )?;
    peer.expect_closed(&[])?;
    for (code, method) in [(AGAIN, METHOD), (0, METHOD), (CONTINUE, "OTHER")] {
        let (mut peer, ..) = begun(target, level)?;
        peer.send(&auth(code, method, "x"))?;
        peer.expect_closed(&[0x82, 0x87, 0x8C])?;
    }
    // Nothing but AUTH and DISCONNECT before CONNACK [MQTT-3.1.2-30]: neither answered nor done.
    let topic = unique("early/");
    let mut watcher = Peer::join(target, level)?;
    watcher.subscribe(&topic, 0)?;
    let (mut peer, ..) = begun(target, level)?;
    peer.publish(&topic, b"early", 0, 0)?;
    peer.cut();
    watcher.publish(&topic, b"marker", 0, 0)?;
    watcher.message_of(b"marker").map(drop)
}

/// AUTH 0x19 begins it again, AUTH 0x00 ends it; messages go on meanwhile [MQTT-4.12.1-1].
fn re_authentication(target: &Target, level: u8) -> Verdict {
    let (name, password) = user(target)?;
    let topic = unique("reauth/");
    let mut peer = logged_in(target, level)?;
    for _ in 0..2 {
        let nonce = unique("again");
        peer.send(&auth(AGAIN, METHOD, &format!("n,,n={name},r={nonce}")))?;
        let asked = challenge(&mut peer)?;
        peer.publish(&topic, b"meanwhile", 2, 7)?;
        peer.expect(kind::PUBACK)?;
        let (last, expected) = answer(name, &nonce, password, &asked);
        peer.send(&auth(CONTINUE, METHOD, &last))?;
        let done = peer.expect(kind::AUTH)?;
        check(done.byte(0) == 0, "AUTH without 0x00")?;
        check(data_of(&done, 1)? == expected, "no proof of the server")?;
        peer.expect_quiet()?;
    }
    Ok(())
}

/// DISCONNECT with a reason, and the connection is over [MQTT-4.12.1-2].
fn re_authentication_fails(target: &Target, level: u8) -> Verdict {
    let (name, _) = user(target)?;
    let mut peer = logged_in(target, level)?;
    let nonce = unique("again");
    peer.send(&auth(AGAIN, METHOD, &format!("n,,n={name},r={nonce}")))?;
    let asked = challenge(&mut peer)?;
    let (wrong, _) = answer(name, &nonce, "not the password", &asked);
    peer.send(&auth(CONTINUE, METHOD, &wrong))?;
    let end = peer.expect(kind::DISCONNECT)?;
    check(end.byte(0) >= 0x80, "DISCONNECT without a reason")?;
    peer.expect_closed(&[])
}

/// The method of CONNECT is the method of every AUTH [MQTT-4.12.0-5] [MQTT-4.12.1-1].
fn auth_method_stays(target: &Target, level: u8) -> Verdict {
    let (name, _) = user(target)?;
    let mut peer = logged_in(target, level)?;
    peer.send(&auth(AGAIN, "OTHER", &format!("n,,n={name},r=x")))?;
    peer.expect_closed(&[0x82, 0x8C])?;
    let mut peer = logged_in(target, level)?;
    peer.send(&[0xF0, 0])?; // AUTH 0x00 without a method
    peer.expect_closed(&[0x81, 0x82, 0x8C])
}
