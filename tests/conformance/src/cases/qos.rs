//! Sections 4.3, 4.4 and 4.6: delivery, re-delivery, order.

use super::{Case, EVERY, V5, case};
use crate::peer::{Hello, Peer, Verdict, check, kind, unique};
use crate::stream::Target;
use crate::wire::{Body, prop_u16, prop_u32};

pub(super) const CASES: &[Case] = &[
    case("qos_0_delivery", EVERY, qos_0_delivery),
    case("qos_1_from_client", EVERY, qos_1_from_client),
    case("qos_2_from_client", EVERY, qos_2_from_client),
    case("qos_2_duplicate", EVERY, qos_2_duplicate),
    case(
        "qos_2_first_sight_with_dup",
        EVERY,
        qos_2_first_sight_with_dup,
    ),
    case("qos_1_to_client", EVERY, qos_1_to_client),
    case("qos_2_to_client", EVERY, qos_2_to_client),
    case(
        "unacknowledged_is_sent_again",
        EVERY,
        unacknowledged_is_sent_again,
    ),
    case("pubrel_is_sent_again", EVERY, pubrel_is_sent_again),
    case("refused_delivery_is_over", V5, refused_delivery_is_over),
    case(
        "nothing_is_sent_again_meanwhile",
        EVERY,
        nothing_is_sent_again_meanwhile,
    ),
    case("unknown_pubrel", EVERY, unknown_pubrel),
    case("order_is_kept", EVERY, order_is_kept),
    case(
        "acknowledgements_in_order",
        EVERY,
        acknowledgements_in_order,
    ),
    case("qos_2_goes_on_after_expiry", V5, qos_2_goes_on_after_expiry),
    case("identifiers_are_unused", EVERY, identifiers_are_unused),
    case(
        "identifiers_stay_reserved",
        EVERY,
        identifiers_stay_reserved,
    ),
    case(
        "refusal_frees_its_identifier",
        V5,
        refusal_frees_its_identifier,
    ),
];

fn qos_0_delivery(target: &Target, level: u8) -> Verdict {
    let topic = unique("q0/");
    let mut peer = Peer::join(target, level)?;
    peer.subscribe(&topic, 2)?;
    peer.publish(&topic, b"x", 0, 0)?;
    let message = peer.message_of(b"x")?;
    check(message.qos == 0 && !message.dup, "QoS or DUP is set")?;
    peer.expect_quiet()
}

/// PUBACK with the same identifier; then the identifier means a new message, DUP or not.
fn qos_1_from_client(target: &Target, level: u8) -> Verdict {
    let topic = unique("q1/");
    let mut watcher = Peer::join(target, level)?;
    watcher.subscribe(&topic, 0)?;
    let mut peer = Peer::join(target, level)?;
    for (payload, dup) in [(b"a", 0), (b"b", 8), (b"c", 0)] {
        peer.publish(&topic, payload, 2 | dup, 7)?;
        let puback = peer.expect(kind::PUBACK)?;
        check(puback.id() == 7 && puback.flags == 0, "PUBACK does not fit")?;
        check(
            level < 5 || puback.body.len() < 3 || [0, 0x10].contains(&puback.byte(2)),
            "another Reason Code",
        )?;
        watcher.message_of(payload)?;
    }
    Ok(())
}

fn qos_2_from_client(target: &Target, level: u8) -> Verdict {
    let topic = unique("q2/");
    let mut watcher = Peer::join(target, level)?;
    watcher.subscribe(&topic, 0)?;
    let mut peer = Peer::join(target, level)?;
    for payload in [b"a", b"b"] {
        peer.publish(&topic, payload, 4, 9)?;
        let pubrec = peer.expect(kind::PUBREC)?;
        check(pubrec.id() == 9 && pubrec.flags == 0, "PUBREC does not fit")?;
        peer.acknowledge(0x62, 9)?;
        let pubcomp = peer.expect(kind::PUBCOMP)?;
        check(
            pubcomp.id() == 9 && pubcomp.flags == 0,
            "PUBCOMP does not fit",
        )?;
        watcher.message_of(payload)?;
    }
    Ok(())
}

fn qos_2_duplicate(target: &Target, level: u8) -> Verdict {
    let topic = unique("q2d/");
    let mut watcher = Peer::join(target, level)?;
    watcher.subscribe(&topic, 0)?;
    let hello = Hello::new(level, &unique("dup")).lasting(60);
    let mut peer = hello.connect(target)?;
    peer.publish(&topic, b"once", 4, 3)?;
    peer.expect(kind::PUBREC)?;
    peer.publish(&topic, b"once", 4 | 8, 3)?;
    received(&mut peer)?;
    peer.cut();
    let mut peer = hello.connect(target)?;
    peer.publish(&topic, b"once", 4 | 8, 3)?;
    received(&mut peer)?;
    peer.acknowledge(0x62, 3)?;
    peer.expect(kind::PUBCOMP)?;
    peer.publish(&topic, b"new", 4, 3)?;
    peer.expect(kind::PUBREC)?;
    peer.acknowledge(0x62, 3)?;
    peer.expect(kind::PUBCOMP)?;
    watcher.message_of(b"once")?;
    watcher.message_of(b"new").map(drop)
}

/// A PUBREC of success: an identifier in use is no error for who sends it again.
fn received(peer: &mut Peer) -> Verdict {
    let pubrec = peer.expect(kind::PUBREC)?;
    let code = pubrec.byte(2);
    check(
        [0, 0x10].contains(&code),
        &format!("PUBREC with {code:#04x}"),
    )
}

/// The first PUBLISH was lost on the way: DUP alone makes no duplicate.
fn qos_2_first_sight_with_dup(target: &Target, level: u8) -> Verdict {
    let topic = unique("q2f/");
    let mut watcher = Peer::join(target, level)?;
    watcher.subscribe(&topic, 2)?;
    let mut peer = Peer::join(target, level)?;
    peer.publish(&topic, b"first", 4 | 8, 5)?;
    received(&mut peer)?;
    peer.acknowledge(0x62, 5)?;
    peer.expect(kind::PUBCOMP)?;
    let message = watcher.message_of(b"first")?;
    check(!message.dup, "DUP of the publisher was forwarded")
}

/// What is resumed keeps its identifiers, and what is new takes others.
fn identifiers_stay_reserved(target: &Target, level: u8) -> Verdict {
    let topic = unique("res/");
    let hello = Hello::new(level, &unique("res")).lasting(60);
    let mut peer = hello.connect(target)?;
    peer.subscribe(&topic, 2)?;
    let mut publisher = Peer::join(target, level)?;
    let mut open = std::collections::BTreeSet::new();
    for number in 0..4u8 {
        publisher.deliver(&topic, &[number], 1 + number % 2)?;
        let message = peer.message_of(&[number])?;
        open.insert(message.id);
        if number == 3 {
            peer.acknowledge(0x50, message.id)?;
            peer.expect(kind::PUBREL)?;
        }
    }
    peer.cut();
    let mut peer = hello.connect(target)?;
    for number in 0..3u8 {
        let again = peer.message_of(&[number])?;
        check(
            open.contains(&again.id),
            "sent again with another identifier",
        )?;
    }
    let pubrel = peer.expect(kind::PUBREL)?;
    check(open.contains(&pubrel.id()), "PUBREL has another identifier")?;
    for number in 10..20u8 {
        publisher.publish_acknowledged(&topic, &[number], 0)?;
        let message = peer.message_of(&[number])?;
        check(open.insert(message.id), "an identifier in use")?;
    }
    Ok(())
}

/// A PUBREC or PUBACK that refuses makes room for the next message.
fn refusal_frees_its_identifier(target: &Target, level: u8) -> Verdict {
    for (qos, first) in [(1u8, 0x40u8), (2, 0x50)] {
        let topic = unique("free/");
        let hello = Hello::new(level, &unique("free")).with(&prop_u16(0x21, 1));
        let mut peer = hello.connect(target)?;
        peer.subscribe(&topic, qos)?;
        let mut publisher = Peer::join(target, level)?;
        for number in 0..3u8 {
            publisher.deliver(&topic, &[number], qos)?;
        }
        for number in 0..3u8 {
            let message = peer.message_of(&[number])?;
            peer.expect_quiet()?; // Receive Maximum is 1
            peer.send(&Body::new().u16(message.id).u8(0x83).packet(first))?;
        }
        peer.expect_quiet()?;
    }
    Ok(())
}

fn qos_1_to_client(target: &Target, level: u8) -> Verdict {
    let topic = unique("d1/");
    let mut peer = Peer::join(target, level)?;
    peer.subscribe(&topic, 1)?;
    let mut publisher = Peer::join(target, level)?;
    publisher.publish_acknowledged(&topic, b"x", 0)?;
    let message = peer.message_of(b"x")?;
    check(
        message.qos == 1 && message.id != 0 && !message.dup,
        "QoS, identifier or DUP is wrong",
    )?;
    peer.acknowledge(0x40, message.id)?;
    peer.expect_quiet()
}

fn qos_2_to_client(target: &Target, level: u8) -> Verdict {
    let topic = unique("d2/");
    let mut peer = Peer::join(target, level)?;
    peer.subscribe(&topic, 2)?;
    let mut publisher = Peer::join(target, level)?;
    publisher.deliver(&topic, b"x", 2)?;
    let message = peer.message_of(b"x")?;
    check(
        message.qos == 2 && message.id != 0 && !message.dup,
        "QoS, identifier or DUP is wrong",
    )?;
    peer.acknowledge(0x50, message.id)?;
    let pubrel = peer.expect(kind::PUBREL)?;
    check(
        pubrel.id() == message.id && pubrel.flags == 2,
        "PUBREL does not fit",
    )?;
    peer.acknowledge(0x70, message.id)?;
    peer.expect_quiet()
}

fn unacknowledged_is_sent_again(target: &Target, level: u8) -> Verdict {
    let topic = unique("again/");
    let hello = Hello::new(level, &unique("un")).lasting(60);
    let mut peer = hello.connect(target)?;
    peer.subscribe(&topic, 2)?;
    let mut publisher = Peer::join(target, level)?;
    publisher.publish_acknowledged(&topic, b"one", 0)?;
    publisher.deliver(&topic, b"two", 2)?;
    let (one, two) = (peer.message_of(b"one")?, peer.message_of(b"two")?);
    peer.cut();
    let mut peer = hello.connect(target)?;
    for (before, payload) in [(&one, &b"one"[..]), (&two, b"two")] {
        let again = peer.message_of(payload)?;
        check(again.dup, "DUP is not set")?;
        check(
            again.id == before.id && again.qos == before.qos,
            "another identifier or QoS",
        )?;
    }
    peer.acknowledge(0x40, one.id)?;
    peer.acknowledge(0x50, two.id)?;
    let pubrel = peer.expect(kind::PUBREL)?;
    check(pubrel.id() == two.id, "PUBREL does not fit")
}

fn pubrel_is_sent_again(target: &Target, level: u8) -> Verdict {
    let topic = unique("rel/");
    let hello = Hello::new(level, &unique("rel")).lasting(60);
    let mut peer = hello.connect(target)?;
    peer.subscribe(&topic, 2)?;
    Peer::join(target, level)?.deliver(&topic, b"x", 2)?;
    let message = peer.message_of(b"x")?;
    peer.acknowledge(0x50, message.id)?;
    peer.expect(kind::PUBREL)?;
    peer.cut();
    let mut peer = hello.connect(target)?;
    let pubrel = peer.expect(kind::PUBREL)?; // and not the PUBLISH
    check(pubrel.id() == message.id, "PUBREL has another identifier")?;
    peer.acknowledge(0x70, message.id)?;
    peer.expect_quiet()
}

fn refused_delivery_is_over(target: &Target, level: u8) -> Verdict {
    for (qos, first) in [(1u8, 0x40u8), (2, 0x50)] {
        let topic = unique("no/");
        let hello = Hello::new(level, &unique("no")).lasting(60);
        let mut peer = hello.connect(target)?;
        peer.subscribe(&topic, qos)?;
        Peer::join(target, level)?.deliver(&topic, b"x", qos)?;
        let message = peer.message_of(b"x")?;
        peer.send(&Body::new().u16(message.id).u8(0x80).packet(first))?;
        peer.expect_quiet()?; // no PUBREL
        peer.cut();
        hello.connect(target)?.expect_quiet()?; // and not again
    }
    Ok(())
}

fn nothing_is_sent_again_meanwhile(target: &Target, level: u8) -> Verdict {
    let topic = unique("calm/");
    let mut peer = Peer::join(target, level)?;
    peer.subscribe(&topic, 1)?;
    Peer::join(target, level)?.publish_acknowledged(&topic, b"x", 0)?;
    peer.message_of(b"x")?;
    super::publish::pass_time(target, level)?;
    peer.expect_quiet()
}

fn unknown_pubrel(target: &Target, level: u8) -> Verdict {
    let mut peer = Peer::join(target, level)?;
    peer.acknowledge(0x62, 4711)?;
    let pubcomp = peer.expect(kind::PUBCOMP)?;
    check(pubcomp.id() == 4711, "PUBCOMP has another identifier")?;
    check(
        level < 5 || pubcomp.byte(2) == 0x92,
        "the Reason Code is not 0x92",
    )
}

fn order_is_kept(target: &Target, level: u8) -> Verdict {
    for qos in 0..3u8 {
        let topic = unique("order/");
        let mut peer = Peer::join(target, level)?;
        peer.subscribe(&topic, qos)?;
        let mut publisher = Peer::join(target, level)?;
        for number in 0..100u8 {
            publisher.deliver(&topic, &[number], qos)?;
        }
        let (mut expected, mut received) = (0u8, std::collections::VecDeque::new());
        while expected < 100 || !received.is_empty() {
            let got = peer.packet()?.ok_or("closed")?;
            if got.kind == kind::PUBREL {
                let first = received.pop_front();
                check(first == Some(got.id()), "PUBREL out of order")?;
                peer.acknowledge(0x70, got.id())?;
                continue;
            }
            let message = got.message(level).ok_or("neither PUBLISH nor PUBREL")?;
            check(
                message.payload == [expected],
                &format!("out of order at {expected}"),
            )?;
            expected += 1;
            match qos {
                1 => peer.acknowledge(0x40, message.id)?,
                2 => {
                    peer.acknowledge(0x50, message.id)?;
                    received.push_back(message.id);
                }
                _ => {}
            }
        }
    }
    Ok(())
}

fn acknowledgements_in_order(target: &Target, level: u8) -> Verdict {
    let topic = unique("acks/");
    let hello = Hello::new(level, &unique("acks")).lasting(60);
    let mut keeper = hello.connect(target)?;
    keeper.subscribe(&topic, 2)?; // so that some have to be kept
    let mut peer = Peer::join(target, level)?;
    for id in 1..=20u16 {
        let other = unique("nobody/");
        let to = if id % 2 == 0 { &topic } else { &other };
        peer.publish(to, b"x", 2, id)?;
    }
    for id in 1..=20 {
        let puback = peer.expect(kind::PUBACK)?;
        check(
            puback.id() == id,
            &format!("PUBACK {} where {id} was expected", puback.id()),
        )?;
    }
    for id in 1..=20u16 {
        peer.publish(&topic, b"x", 4, id)?;
    }
    for id in 1..=20 {
        check(peer.expect(kind::PUBREC)?.id() == id, "PUBREC out of order")?;
    }
    for id in 1..=20u16 {
        peer.acknowledge(0x62, id)?;
    }
    for id in 1..=20 {
        check(
            peer.expect(kind::PUBCOMP)?.id() == id,
            "PUBCOMP out of order",
        )?;
    }
    Ok(())
}

fn qos_2_goes_on_after_expiry(target: &Target, level: u8) -> Verdict {
    let topic = unique("late/");
    let hello = Hello::new(level, &unique("late")).lasting(60);
    let mut peer = hello.connect(target)?;
    peer.subscribe(&topic, 2)?;
    let mut publisher = Peer::join(target, level)?;
    publisher.publish_with(&topic, b"x", 4, 2, &prop_u32(0x02, 1))?;
    publisher.expect(kind::PUBREC)?;
    publisher.acknowledge(0x62, 2)?;
    publisher.expect(kind::PUBCOMP)?;
    let message = peer.message_of(b"x")?;
    super::publish::pass_time(target, level)?;
    peer.acknowledge(0x50, message.id)?;
    let pubrel = peer.expect(kind::PUBREL)?;
    check(pubrel.id() == message.id, "PUBREL has another identifier")
}

fn identifiers_are_unused(target: &Target, level: u8) -> Verdict {
    let topic = unique("ids/");
    let mut peer = Peer::join(target, level)?;
    peer.subscribe(&topic, 1)?;
    let mut publisher = Peer::join(target, level)?;
    let mut used = std::collections::BTreeSet::new();
    for number in 0..20u8 {
        publisher.publish_acknowledged(&topic, &[number], 0)?;
        let message = peer.message_of(&[number])?;
        check(
            message.id != 0 && used.insert(message.id),
            "an identifier in use",
        )?;
    }
    Ok(())
}
