//! Section 4.1 and what CONNECT says of sessions.

use super::{Case, EVERY, NUMBERED, V5, case};
use crate::peer::{Hello, Peer, Verdict, check, unique};
use crate::stream::Target;

pub(super) const CASES: &[Case] = &[
    case("session_is_resumed", EVERY, session_is_resumed),
    case("session_is_new", NUMBERED, session_is_new),
    case("clean_start_discards", EVERY, clean_start_discards),
    case("session_expires", V5, session_expires),
    case("session_of_zero_ends", V5, session_of_zero_ends),
    case(
        "offline_messages_are_kept",
        EVERY,
        offline_messages_are_kept,
    ),
    case(
        "state_stays_while_connected",
        EVERY,
        state_stays_while_connected,
    ),
];

fn present(target: &Target, hello: &Hello) -> Verdict<bool> {
    let (peer, connack) = hello.connect_with_connack(target)?;
    peer.leave()?;
    Ok(connack.byte(0) == 1)
}

fn session_is_resumed(target: &Target, level: u8) -> Verdict {
    let hello = Hello::new(level, &unique("again")).lasting(60);
    let topic = unique("again/");
    let mut peer = hello.connect(target)?;
    peer.subscribe(&topic, 1)?;
    peer.leave()?;
    let (mut peer, connack) = hello.connect_with_connack(target)?;
    // MQTT 3.1 had no Session Present.
    check(level == 3 || connack.byte(0) == 1, "Session Present is 0")?;
    peer.publish(&topic, b"still", 0, 0)?;
    peer.message_of(b"still")?;
    Ok(())
}

fn session_is_new(target: &Target, level: u8) -> Verdict {
    let hello = Hello::new(level, &unique("new")).lasting(60);
    check(
        !present(target, &hello)?,
        "a session nobody made is present",
    )?;
    check(present(target, &hello)?, "the session was not kept")
}

fn clean_start_discards(target: &Target, level: u8) -> Verdict {
    let id = unique("wipe");
    let topic = unique("wipe/");
    let lasting = Hello::new(level, &id).lasting(60);
    let mut peer = lasting.connect(target)?;
    peer.subscribe(&topic, 1)?;
    peer.leave()?;
    let (mut peer, connack) = Hello::new(level, &id).connect_with_connack(target)?;
    check(
        connack.byte(0) == 0,
        "Session Present is 1 after Clean Start",
    )?;
    peer.publish(&topic, b"x", 0, 0)?;
    peer.expect_quiet()?;
    peer.leave()?;
    check(!present(target, &lasting)?, "the old session is back")
}

fn session_expires(target: &Target, level: u8) -> Verdict {
    let topic = unique("gone/");
    let mut watcher = Peer::join(target, level)?;
    watcher.subscribe(&topic, 0)?;
    let id = unique("expires");
    // Its will is due long after the session; the end of the session brings it.
    let delay = crate::wire::prop_u32(0x18, 600);
    let hello = Hello::new(level, &id).lasting(1);
    let peer = hello
        .clone()
        .will(&topic, b"ended", 0, false, &delay)
        .connect(target)?;
    let start = std::time::Instant::now();
    peer.cut();
    watcher.message_of(b"ended")?;
    check(
        start.elapsed().as_secs_f64() > 0.9,
        "the session ended early",
    )?;
    check(!present(target, &hello)?, "the session outlived its expiry")
}

fn session_of_zero_ends(target: &Target, level: u8) -> Verdict {
    let id = unique("zero");
    let mut hello = Hello::new(level, &id);
    hello.clean = false;
    hello.connect(target)?.leave()?;
    check(
        !present(target, &hello)?,
        "a session without expiry was kept",
    )
}

fn offline_messages_are_kept(target: &Target, level: u8) -> Verdict {
    let topic = unique("offline/");
    let hello = Hello::new(level, &unique("away")).lasting(60);
    let mut peer = hello.connect(target)?;
    peer.subscribe(&topic, 2)?;
    peer.leave()?;
    let mut publisher = Peer::join(target, level)?;
    for number in 0..10u8 {
        publisher.publish_acknowledged(&topic, &[number], 0)?;
    }
    let mut peer = hello.connect(target)?;
    for number in 0..10u8 {
        let message = peer.message_of(&[number])?;
        check(message.qos == 1, "another QoS")?;
        peer.acknowledge(0x40, message.id)?;
    }
    peer.expect_quiet()
}

fn state_stays_while_connected(target: &Target, level: u8) -> Verdict {
    let topic = unique("stays/");
    let mut peer = Peer::join(target, level)?;
    peer.subscribe(&topic, 0)?;
    for _ in 0..3 {
        peer.expect_quiet()?;
        peer.publish(&topic, b"here", 0, 0)?;
        peer.message_of(b"here")?;
    }
    Ok(())
}
