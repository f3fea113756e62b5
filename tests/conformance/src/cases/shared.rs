//! Section 4.8: shared subscriptions.

use super::{Case, V5, case};
use crate::peer::{Hello, Peer, Verdict, check, kind, unique};
use crate::stream::Target;
use crate::wire::Body;

/// How often members are asked whether a message has come.
const ROUNDS: usize = 200;

pub(super) const CASES: &[Case] = &[
    case("share_names", V5, share_names),
    case("shared_once", V5, shared_once),
    case("shared_qos", V5, shared_qos),
    case("shared_qos_2_stays", V5, shared_qos_2_stays),
    case("shared_refusal_is_final", V5, shared_refusal_is_final),
    case("shared_no_local", V5, shared_no_local),
];

fn share_names(target: &Target, level: u8) -> Verdict {
    for filter in [
        "$share//a",
        "$share/g",
        "$share/g/",
        "$share/+/a",
        "$share/a#/a",
        "$share/",
    ] {
        let mut peer = Peer::join(target, level)?;
        peer.send(
            &Body::new()
                .u16(1)
                .props(level, &[])
                .text(filter)
                .u8(0)
                .packet(0x82),
        )?;
        match peer.packet()? {
            None => {}
            Some(got) if got.kind == kind::SUBACK => {
                check(
                    got.codes(level)[0] >= 0x80,
                    &format!("{filter} was accepted"),
                )?;
            }
            Some(got) => check(got.kind == kind::DISCONNECT, "an unexpected packet")?,
        }
    }
    Ok(())
}

/// Each message to one member; another group has its own copies.
fn shared_once(target: &Target, level: u8) -> Verdict {
    let topic = unique("sh/");
    let mut members = Vec::new();
    for group in ["g", "g", "h"] {
        let mut peer = Peer::join(target, level)?;
        peer.subscribe(&format!("$share/{group}/{topic}"), 0)?;
        members.push(peer);
    }
    let mut publisher = Peer::join(target, level)?;
    for number in 0..10u8 {
        publisher.publish_acknowledged(&topic, &[number], 0)?;
    }
    let mut counts = [0; 3];
    // What is on its way between the parts of a broker may come behind a PINGRESP.
    for _ in 0..ROUNDS {
        for (peer, count) in members.iter_mut().zip(&mut counts) {
            peer.send(&[0xC0, 0])?;
            while peer.packet()?.is_some_and(|got| got.kind == kind::PUBLISH) {
                *count += 1;
            }
        }
        if counts.iter().sum::<usize>() >= 20 {
            break;
        }
    }
    members.iter_mut().try_for_each(Peer::expect_quiet)?;
    check(
        counts[0] + counts[1] == 10 && counts[2] == 10,
        &format!("counts {counts:?}"),
    )
}

fn shared_qos(target: &Target, level: u8) -> Verdict {
    let topic = unique("sq/");
    let mut peer = Peer::join(target, level)?;
    peer.subscribe(&format!("$share/g/{topic}"), 1)?;
    Peer::join(target, level)?.deliver(&topic, b"x", 2)?;
    check(
        peer.message_of(b"x")?.qos == 1,
        "the granted QoS is not obeyed",
    )
}

/// Begun with one member, a QoS 2 message is finished there, or not at all.
fn shared_qos_2_stays(target: &Target, level: u8) -> Verdict {
    let topic = unique("s2/");
    let filter = format!("$share/g/{topic}");
    let hello = Hello::new(level, &unique("member")).lasting(60);
    let mut first = hello.connect(target)?;
    first.subscribe(&filter, 2)?;
    Peer::join(target, level)?.deliver(&topic, b"x", 2)?;
    let message = first.message_of(b"x")?;
    let mut second = Peer::join(target, level)?;
    second.subscribe(&filter, 2)?;
    first.cut();
    let mut first = hello.connect(target)?;
    let again = first.message_of(b"x")?;
    check(
        again.id == message.id && again.dup,
        "it was not sent again to the same client",
    )?;
    first.cut();
    // Its session ends: nobody else is given the message.
    Hello::new(level, &hello.id).connect(target)?.leave()?;
    second.expect_quiet()
}

fn shared_refusal_is_final(target: &Target, level: u8) -> Verdict {
    let topic = unique("sr/");
    let mut members = Vec::new();
    for _ in 0..2 {
        let mut peer = Peer::join(target, level)?;
        peer.subscribe(&format!("$share/g/{topic}"), 1)?;
        members.push(peer);
    }
    Peer::join(target, level)?.publish_acknowledged(&topic, b"x", 0)?;
    let mut refusals = 0;
    for _ in 0..ROUNDS {
        for peer in &mut members {
            peer.send(&[0xC0, 0])?;
            let got = peer.packet()?.ok_or("closed")?;
            if let Some(message) = got.message(level) {
                peer.send(&Body::new().u16(message.id).u8(0x80).packet(0x40))?;
                peer.expect(kind::PINGRESP)?;
                refusals += 1;
            }
        }
        if refusals > 0 {
            break;
        }
    }
    check(refusals == 1, "not delivered to one member")?;
    members.iter_mut().try_for_each(Peer::expect_quiet)
}

fn shared_no_local(target: &Target, level: u8) -> Verdict {
    let mut peer = Peer::join(target, level)?;
    let body = Body::new()
        .u16(1)
        .props(level, &[])
        .text("$share/g/a")
        .u8(4);
    peer.send(&body.packet(0x82))?;
    peer.expect_closed(&[0x82])
}
