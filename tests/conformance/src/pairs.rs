//! Two clients that share neither version nor transport: what one publishes, the other is given in its own terms.

use crate::peer::{Peer, Verdict, check, unique};
use crate::stream::Target;
use crate::wire::{Message, prop_text, prop_u8, prop_u16, prop_u32, user};

/// One end.
#[derive(Clone, Copy)]
pub struct End<'t> {
    /// Where it connects.
    pub target: &'t Target,
    /// 3, 4 or 5.
    pub level: u8,
}

impl End<'_> {
    fn join(self) -> Verdict<Peer> {
        Peer::join(self.target, self.level)
    }
}

/// QoS, RETAIN and properties on the way from one to the other.
///
/// # Errors
/// The first thing that is lost or added on the way.
pub fn meet(publisher: End<'_>, subscriber: End<'_>) -> Verdict {
    let mut from = publisher.join()?;
    qos(&mut from, subscriber)?;
    retained(&mut from, subscriber)?;
    properties(&mut from, publisher, subscriber)
}

/// The lower QoS of the two [MQTT-3.8.4-8].
fn qos(from: &mut Peer, subscriber: End<'_>) -> Verdict {
    for granted in 0..3 {
        let topic = unique("meet/");
        let mut to = subscriber.join()?;
        to.subscribe(&topic, granted)?;
        for published in 0..3 {
            from.deliver(&topic, &[published], published)?;
            let message = to.message_of(&[published])?;
            check(
                message.qos == published.min(granted),
                "the QoS is not the lower of the two",
            )?;
            match message.qos {
                1 => to.acknowledge(0x40, message.id)?,
                2 => {
                    to.acknowledge(0x50, message.id)?;
                    to.expect(crate::peer::kind::PUBREL)?;
                    to.acknowledge(0x70, message.id)?;
                }
                _ => {}
            }
        }
        to.expect_quiet()?;
        to.leave()?;
    }
    Ok(())
}

/// RETAIN is 0 for who was there and 1 for who comes later; an empty payload clears it.
fn retained(from: &mut Peer, subscriber: End<'_>) -> Verdict {
    let topic = unique("meet/kept/");
    let mut live = subscriber.join()?;
    live.subscribe(&topic, 1)?;
    from.publish_acknowledged(&topic, b"kept", 1)?;
    check(!live.message_of(b"kept")?.retain, "RETAIN is set too early")?;
    let mut late = subscriber.join()?;
    late.subscribe(&topic, 0)?;
    check(late.message_of(b"kept")?.retain, "RETAIN is not set")?;
    from.publish_acknowledged(&topic, b"", 1)?;
    late.message_of(b"")?;
    let mut last = subscriber.join()?;
    last.subscribe(&topic, 0)?;
    last.expect_quiet()
}

/// Properties pass between clients of MQTT 5; others see neither them nor a trace of them.
fn properties(from: &mut Peer, publisher: End<'_>, subscriber: End<'_>) -> Verdict {
    let topic = unique("meet/props/");
    let mut to = subscriber.join()?;
    to.subscribe(&topic, 0)?;
    let sent = [
        prop_u8(0x01, 1),
        prop_u32(0x02, 1000),
        prop_text(0x03, "text/plain"),
        prop_text(0x08, "answers"),
        prop_text(0x09, [0, 255]),
        prop_u16(0x23, 1),
        user("b", "1"),
        user("a", "2"),
    ]
    .concat();
    for name in [topic.as_str(), ""] {
        let is_by_alias = name.is_empty();
        if is_by_alias && publisher.level < 5 {
            break; // an empty topic is an alias used, and that came with MQTT 5
        }
        let props = if publisher.level >= 5 { &sent[..] } else { &[] };
        from.publish_with(name, b"payload", 0, 0, props)?;
        let message = to.message_of(b"payload")?;
        check(message.topic == topic, "the topic changed")?;
        if subscriber.level >= 5 {
            as_sent(&message, publisher.level >= 5)?;
        }
    }
    to.expect_quiet()
}

fn as_sent(message: &Message, has_properties: bool) -> Verdict {
    if !has_properties {
        return check(message.props.is_empty(), "properties nobody sent");
    }
    check(
        message.prop(0x01) == [&[1]]
            && message.prop(0x03) == [b"text/plain"]
            && message.prop(0x08) == [b"answers"]
            && message.prop(0x09) == [&[0, 255]]
            && message.prop(0x26) == [b"b=1", b"a=2"]
            && message.prop(0x02).len() == 1,
        "a property is missing or changed",
    )?;
    check(
        message.prop(0x23).is_empty(),
        "the Topic Alias of the publisher was forwarded",
    )
}
