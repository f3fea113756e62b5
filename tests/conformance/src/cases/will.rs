//! Wills: sections 3.1.2.5 and 3.1.3.2.

use super::{Case, EVERY, V5, case};
use crate::peer::{Hello, Peer, Verdict, check, protocol, unique};
use crate::stream::Target;
use crate::wire::{Body, prop_text, prop_u8, prop_u32, user};

pub(super) const CASES: &[Case] = &[
    case("will_is_published", EVERY, will_is_published),
    case("will_is_published_once", EVERY, will_is_published_once),
    case("will_is_forgotten", EVERY, will_is_forgotten),
    case("will_kept_by_0x04", V5, will_kept_by_0x04),
    case("will_retain", EVERY, will_retain),
    case("will_delay", V5, will_delay),
    case("will_delay_is_cancelled", V5, will_delay_is_cancelled),
    case("will_of_a_takeover", EVERY, will_of_a_takeover),
    case("delayed_will_of_a_takeover", V5, delayed_will_of_a_takeover),
    case("will_delay_without_expiry", V5, will_delay_without_expiry),
    case("will_properties", V5, will_properties),
    case("will_topic_not_utf8", EVERY, will_topic_not_utf8),
];

fn watch(target: &Target, level: u8, topic: &str) -> Verdict<Peer> {
    let mut watcher = Peer::join(target, level)?;
    watcher.subscribe(topic, 2)?;
    Ok(watcher)
}

fn will_is_published(target: &Target, level: u8) -> Verdict {
    for qos in 0..3 {
        let topic = unique("will/");
        let mut watcher = watch(target, level, &topic)?;
        let hello = Hello::new(level, &unique("w")).will(&topic, b"last", qos, false, &[]);
        hello.connect(target)?.cut();
        let message = watcher.message_of(b"last")?;
        check(
            message.topic == topic && message.qos == qos,
            "another topic or QoS",
        )?;
    }
    Ok(())
}

fn will_is_published_once(target: &Target, level: u8) -> Verdict {
    let topic = unique("once/");
    let mut watcher = watch(target, level, &topic)?;
    let id = unique("o");
    let hello = Hello::new(level, &id).will(&topic, b"last", 0, false, &[]);
    hello.connect(target)?.cut();
    watcher.message_of(b"last")?;
    Hello::new(level, &id).connect(target)?.cut();
    watcher.publish(&topic, b"marker", 0, 0)?;
    watcher.message_of(b"marker").map(drop)
}

fn will_is_forgotten(target: &Target, level: u8) -> Verdict {
    let topic = unique("forgotten/");
    let mut watcher = watch(target, level, &topic)?;
    let hello = Hello::new(level, &unique("f")).will(&topic, b"last", 0, false, &[]);
    hello.connect(target)?.leave()?;
    watcher.publish(&topic, b"marker", 0, 0)?;
    watcher.message_of(b"marker").map(drop)
}

fn will_kept_by_0x04(target: &Target, level: u8) -> Verdict {
    let topic = unique("kept/");
    let mut watcher = watch(target, level, &topic)?;
    let hello = Hello::new(level, &unique("k")).will(&topic, b"last", 0, false, &[]);
    let mut peer = hello.connect(target)?;
    peer.send(&Body::new().u8(4).packet(0xE0))?;
    watcher.message_of(b"last").map(drop)
}

fn will_retain(target: &Target, level: u8) -> Verdict {
    for retain in [false, true] {
        let topic = unique("wr/");
        let mut watcher = watch(target, level, &topic)?;
        let hello = Hello::new(level, &unique("r")).will(&topic, b"last", 0, retain, &[]);
        hello.connect(target)?.cut();
        watcher.message_of(b"last")?;
        let mut late = watch(target, level, &topic)?;
        if retain {
            let message = late.message_of(b"last")?;
            check(message.retain, "RETAIN is not set")?;
            late.publish(&topic, b"", 1, 0)?;
        } else {
            late.expect_quiet()?;
        }
    }
    Ok(())
}

fn will_delay(target: &Target, level: u8) -> Verdict {
    let topic = unique("delay/");
    let mut watcher = watch(target, level, &topic)?;
    let hello = Hello::new(level, &unique("d")).lasting(60);
    let peer = hello
        .will(&topic, b"last", 0, false, &prop_u32(0x18, 1))
        .connect(target)?;
    let start = std::time::Instant::now();
    peer.cut();
    watcher.message_of(b"last")?;
    let waited = start.elapsed().as_secs_f64();
    check(
        (0.9..3.5).contains(&waited),
        &format!("published after {waited:.2} s, 1 was due"),
    )
}

fn will_delay_is_cancelled(target: &Target, level: u8) -> Verdict {
    let topic = unique("cancel/");
    let mut watcher = watch(target, level, &topic)?;
    let hello = Hello::new(level, &unique("x")).lasting(60);
    let delay = prop_u32(0x18, 1);
    hello
        .clone()
        .will(&topic, b"last", 0, false, &delay)
        .connect(target)?
        .cut();
    let again = hello.connect(target)?;
    // A will that is due later than the first one was.
    let later = Hello::new(level, &unique("y")).lasting(60);
    later
        .will(&topic, b"later", 0, false, &prop_u32(0x18, 2))
        .connect(target)?
        .cut();
    watcher.message_of(b"later")?;
    again.leave()
}

fn will_of_a_takeover(target: &Target, level: u8) -> Verdict {
    for is_clean in [true, false] {
        let topic = unique("tw/");
        let mut watcher = watch(target, level, &topic)?;
        let id = unique("t");
        let mut older = Hello::new(level, &id)
            .lasting(60)
            .will(&topic, b"last", 0, false, &[])
            .connect(target)?;
        let mut newer = Hello::new(level, &id).lasting(60);
        newer.clean = is_clean;
        let _newer = newer.connect(target)?;
        older.expect_closed(&[0x8E])?;
        watcher.message_of(b"last")?;
    }
    Ok(())
}

/// A delay lets the new connection cancel the will, unless the session ended before it or with it.
fn delayed_will_of_a_takeover(target: &Target, level: u8) -> Verdict {
    for (expiry, is_clean, expected) in [
        (60, false, false),
        (60, true, true),
        (0, false, true),
        (0, true, true),
    ] {
        let topic = unique("dt/");
        let mut watcher = watch(target, level, &topic)?;
        let id = unique("t");
        let mut older = Hello::new(level, &id)
            .lasting(expiry)
            .will(&topic, b"last", 0, false, &prop_u32(0x18, 600))
            .connect(target)?;
        let mut newer = Hello::new(level, &id).lasting(60);
        newer.clean = is_clean;
        let _newer = newer.connect(target)?;
        older.expect_closed(&[0x8E])?;
        if expected {
            watcher.message_of(b"last").map_err(|error| {
                format!("session expiry {expiry}, clean start {is_clean}: {error}")
            })?;
        }
        watcher.publish(&topic, b"marker", 0, 0)?;
        watcher.message_of(b"marker")?;
    }
    Ok(())
}

/// A session that ends with its connection takes the delay with it.
fn will_delay_without_expiry(target: &Target, level: u8) -> Verdict {
    let topic = unique("dz/");
    let mut watcher = watch(target, level, &topic)?;
    let hello = Hello::new(level, &unique("d"));
    hello
        .will(&topic, b"last", 0, false, &prop_u32(0x18, 600))
        .connect(target)?
        .cut();
    watcher.message_of(b"last").map(drop)
}

fn will_properties(target: &Target, level: u8) -> Verdict {
    let topic = unique("wp/");
    let mut watcher = watch(target, level, &topic)?;
    let props = [
        prop_u8(0x01, 1),
        prop_text(0x03, "text/plain"),
        prop_text(0x08, "answers"),
        prop_text(0x09, [1, 2, 3]),
        user("b", "1"),
        user("a", "2"),
        user("b", "3"),
    ]
    .concat();
    let hello = Hello::new(level, &unique("p")).will(&topic, b"last", 1, false, &props);
    hello.connect(target)?.cut();
    let message = watcher.message_of(b"last")?;
    check(
        message.prop(0x26) == [b"b=1", b"a=2", b"b=3"],
        "the order of User Properties changed",
    )?;
    check(
        message.prop(0x03) == [b"text/plain"]
            && message.prop(0x08) == [b"answers"]
            && message.prop(0x09) == [&[1, 2, 3]]
            && message.prop(0x01) == [&[1]],
        "a property of the will is missing or changed",
    )
}

fn will_topic_not_utf8(target: &Target, level: u8) -> Verdict {
    let body = Body::new()
        .text(protocol(level))
        .u8(level)
        .u8(6)
        .u16(0)
        .props(level, &[])
        .text(unique("u"))
        .props(level, &[])
        .text([0xFF, 0xFE])
        .text("p");
    let mut peer = Peer::open(target, level)?;
    peer.send(&body.packet(0x10))?;
    peer.expect_closed(&[0x81, 0x82, 0x90])
}
