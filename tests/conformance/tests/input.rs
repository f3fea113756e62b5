//! What is no MQTT, class by class: the exact answer, in time, and nobody else notices.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::time::Duration;
use witmq_conformance::own;
use witmq_conformance::peer::{Hello, Peer, Verdict, check, kind, protocol, unique};
use witmq_conformance::stream::Target;
use witmq_conformance::wire::{Body, prop_text, prop_u8, prop_u16, prop_u32, varint};

/// An answer takes no longer.
const PATIENCE: Duration = Duration::from_secs(2);

const MALFORMED: u8 = 0x81;
const PROTOCOL_ERROR: u8 = 0x82;
const TOPIC_NAME_INVALID: u8 = 0x90;
const TOPIC_ALIAS_INVALID: u8 = 0x94;
const PACKET_TOO_LARGE: u8 = 0x95;
const PAYLOAD_FORMAT_INVALID: u8 = 0x99;

/// Name, bytes, and the reason code of MQTT 5.
type Class = (&'static str, Vec<u8>, u8);

fn publish(level: u8, first: u8, topic: impl AsRef<[u8]>, id: Option<u16>) -> Vec<u8> {
    let body = Body::new().text(topic);
    let body = id.into_iter().fold(body, Body::u16);
    body.props(level, &[]).raw(b"x").packet(first)
}

fn subscribe(level: u8, first: u8, id: u16, filter: &[u8], options: u8) -> Vec<u8> {
    let body = Body::new().u16(id).props(level, &[]).text(filter);
    body.u8(options).packet(first)
}

fn unsubscribe(level: u8, first: u8, id: u16) -> Vec<u8> {
    let body = Body::new().u16(id).props(level, &[]).text("t");
    body.packet(first)
}

/// Bytes that are no packet, in every version.
fn bytes(level: u8) -> Vec<Class> {
    vec![
        ("type 0", vec![0, 0], MALFORMED),
        ("truncated topic", vec![0x30, 3, 0, 9, b'a'], MALFORMED),
        (
            "truncated identifier",
            vec![0x32, 4, 0, 1, b'a', 0],
            MALFORMED,
        ),
        ("truncated PUBACK", vec![0x40, 1, 0], MALFORMED),
        ("empty PUBREC", vec![0x50, 0], MALFORMED),
        ("empty PUBREL", vec![0x62, 0], MALFORMED),
        ("empty PUBCOMP", vec![0x70, 0], MALFORMED),
        ("truncated filter", vec![0x82, 5, 0, 1, 0, 0, 9], MALFORMED),
        ("PINGREQ with a body", vec![0xC0, 1, 0], MALFORMED),
        (
            "topic not UTF-8",
            publish(level, 0x30, [0xFF], None),
            MALFORMED,
        ),
        (
            "surrogate in a topic",
            publish(level, 0x30, [0xED, 0xA0, 0x80], None),
            MALFORMED,
        ),
        (
            "U+0000 in a topic",
            publish(level, 0x30, b"a\0b", None),
            MALFORMED,
        ),
        (
            "filter not UTF-8",
            subscribe(level, 0x82, 1, &[0xC3], 0),
            MALFORMED,
        ),
        (
            "length of five bytes",
            vec![0x30, 0xFF, 0xFF, 0xFF, 0xFF, 1],
            MALFORMED,
        ),
    ]
}

/// Flags of the fixed header, in every version.
fn flags(level: u8) -> Vec<Class> {
    let ack = |first: u8| Body::new().u16(1).packet(first);
    vec![
        ("QoS 3", publish(level, 0x36, "t", Some(1)), MALFORMED),
        ("DUP with QoS 0", publish(level, 0x38, "t", None), MALFORMED),
        ("flags of PUBACK", ack(0x41), MALFORMED),
        ("flags of PUBREC", ack(0x51), MALFORMED),
        ("flags of PUBREL", ack(0x63), MALFORMED),
        ("flags of PUBCOMP", ack(0x71), MALFORMED),
        (
            "flags of SUBSCRIBE",
            subscribe(level, 0x83, 1, b"t", 0),
            MALFORMED,
        ),
        (
            "flags of UNSUBSCRIBE",
            unsubscribe(level, 0xA3, 1),
            MALFORMED,
        ),
        ("flags of PINGREQ", vec![0xC1, 0], MALFORMED),
        ("flags of DISCONNECT", vec![0xE1, 0], MALFORMED),
    ]
}

/// Packets that break a rule, in every version.
fn rules(level: u8) -> Vec<Class> {
    vec![
        (
            "wildcard in a topic",
            publish(level, 0x30, "a/#", None),
            TOPIC_NAME_INVALID,
        ),
        (
            "PUBLISH of identifier 0",
            publish(level, 0x32, "t", Some(0)),
            MALFORMED,
        ),
        (
            "SUBSCRIBE of identifier 0",
            subscribe(level, 0x82, 0, b"t", 0),
            MALFORMED,
        ),
        (
            "UNSUBSCRIBE of identifier 0",
            unsubscribe(level, 0xA2, 0),
            MALFORMED,
        ),
        (
            "SUBSCRIBE to QoS 3",
            subscribe(level, 0x82, 1, b"t", 3),
            PROTOCOL_ERROR,
        ),
        (
            "SUBSCRIBE to nothing",
            Body::new().u16(1).props(level, &[]).packet(0x82),
            PROTOCOL_ERROR,
        ),
        (
            "UNSUBSCRIBE of nothing",
            Body::new().u16(1).props(level, &[]).packet(0xA2),
            PROTOCOL_ERROR,
        ),
        (
            "a second CONNECT",
            Hello::new(level, "twice").packet(None),
            PROTOCOL_ERROR,
        ),
        (
            "CONNACK",
            Body::new().u8(0).u8(0).props(level, &[]).packet(0x20),
            PROTOCOL_ERROR,
        ),
        (
            "SUBACK",
            Body::new().u16(1).props(level, &[]).u8(0).packet(0x90),
            PROTOCOL_ERROR,
        ),
        ("PINGRESP", vec![0xD0, 0], PROTOCOL_ERROR),
        (
            "too large",
            [&[0x30][..], &varint(2 * 1024 * 1024)].concat(),
            PACKET_TOO_LARGE,
        ),
    ]
}

fn publish_with(topic: &str, props: &[u8]) -> Vec<u8> {
    Body::new().text(topic).props(5, props).packet(0x30)
}

/// Properties, of MQTT 5 alone.
fn properties() -> Vec<Class> {
    vec![
        (
            "padded length",
            Body::new().text("t").raw(&[0x80, 0]).packet(0x30),
            MALFORMED,
        ),
        (
            "property of CONNECT",
            publish_with("t", &prop_u32(0x11, 1)),
            MALFORMED,
        ),
        (
            "unknown property",
            publish_with("t", &prop_u8(0x7F, 1)),
            MALFORMED,
        ),
        (
            "property cut short",
            publish_with("t", &[0x02, 0, 0]),
            MALFORMED,
        ),
        (
            "duplicate property",
            publish_with("t", &prop_u8(0x01, 0).repeat(2)),
            PROTOCOL_ERROR,
        ),
        (
            "payload format 2",
            publish_with("t", &prop_u8(0x01, 2)),
            PROTOCOL_ERROR,
        ),
        (
            "payload not UTF-8",
            Body::new()
                .text("t")
                .props(5, &prop_u8(0x01, 1))
                .raw(&[0xFF])
                .packet(0x30),
            PAYLOAD_FORMAT_INVALID,
        ),
    ]
}

/// Rules of MQTT 5 alone.
fn rules_of_5() -> Vec<Class> {
    let id_of_zero = Body::new().u16(1).props(5, &[0x0B, 0]).text("t").u8(0);
    let no_local = Body::new().u16(1).props(5, &[]).text("$share/g/t").u8(4);
    let raise = Body::new().u8(0).props(5, &prop_u32(0x11, 9));
    vec![
        (
            "subscription identifier",
            publish_with("t", &[0x0B, 1]),
            PROTOCOL_ERROR,
        ),
        (
            "subscription identifier 0",
            id_of_zero.packet(0x82),
            PROTOCOL_ERROR,
        ),
        (
            "wildcard in a response topic",
            publish_with("t", &prop_text(0x08, "a/+")),
            PROTOCOL_ERROR,
        ),
        (
            "alias 0",
            publish_with("t", &prop_u16(0x23, 0)),
            TOPIC_ALIAS_INVALID,
        ),
        (
            "alias above the maximum",
            publish_with("t", &prop_u16(0x23, u16::MAX)),
            TOPIC_ALIAS_INVALID,
        ),
        (
            "alias never set",
            publish_with("", &prop_u16(0x23, 1)),
            PROTOCOL_ERROR,
        ),
        (
            "no topic and no alias",
            publish_with("", &[]),
            PROTOCOL_ERROR,
        ),
        (
            "No Local on a shared subscription",
            no_local.packet(0x82),
            PROTOCOL_ERROR,
        ),
        (
            "reserved subscription option",
            subscribe(5, 0x82, 1, b"t", 0x40),
            MALFORMED,
        ),
        (
            "retain handling 3",
            subscribe(5, 0x82, 1, b"t", 0x30),
            PROTOCOL_ERROR,
        ),
        (
            "trailing bytes",
            Body::new().u16(1).u8(0).u8(0).u8(9).packet(0x40),
            MALFORMED,
        ),
        (
            "unknown reason code",
            Body::new().u16(1).u8(0x7F).packet(0x40),
            MALFORMED,
        ),
        ("AUTH without a method", vec![0xF0, 0], PROTOCOL_ERROR),
        ("raised session expiry", raise.packet(0xE0), PROTOCOL_ERROR),
    ]
}

fn classes(level: u8) -> Vec<Class> {
    let mut all = [bytes(level), flags(level), rules(level)].concat();
    if level >= 5 {
        all.extend(properties());
        all.extend(rules_of_5());
    } else {
        all.push(("AUTH", vec![0xF0, 0], 0));
        all.push(("trailing bytes", vec![0x40, 3, 0, 1, 0], 0));
        all.push(("no topic", publish(level, 0x30, "", None), 0));
    }
    all
}

/// Who was there before, and stays.
struct Bystander {
    peer: Peer,
    topic: String,
}

impl Bystander {
    fn join(target: &Target, level: u8) -> Verdict<Self> {
        let topic = unique("calm/");
        let mut peer = Peer::join(target, level)?;
        peer.subscribe(&topic, 1)?;
        Ok(Self { peer, topic })
    }

    /// It is served as before and was sent nothing it did not ask for.
    fn notices_nothing(&mut self) -> Verdict {
        self.peer.publish(&self.topic, b"here", 0, 0)?;
        self.peer.message_of(b"here")?;
        self.peer.expect_quiet()
    }
}

fn each_target(of: impl Fn(&Target, u8) -> Vec<String>) {
    let broker = own::broker();
    let mut wrong = Vec::new();
    for target in own::targets(&broker, PATIENCE) {
        for level in [3, 4, 5] {
            let mut calm = Bystander::join(&target, level).unwrap();
            for words in of(&target, level) {
                wrong.push(format!("{} level {level}: {words}", target.name()));
            }
            if let Err(error) = calm.notices_nothing() {
                wrong.push(format!(
                    "{} level {level}: bystander: {error}",
                    target.name()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_class_of_bad_packets_is_answered_with_its_code_and_nobody_else_notices() {
    each_target(|target, level| {
        let mut wrong = Vec::new();
        for (class, bytes, code) in classes(level) {
            let told = Peer::join(target, level).and_then(|mut peer| {
                peer.send(&bytes)?;
                peer.expect_told(code)
            });
            wrong.extend(told.err().map(|error| format!("{class}: {error}")));
        }
        wrong
    });
}

/// What stands where CONNECT has to be: the code of CONNACK, or `None` where there is no word at all.
fn openings(level: u8) -> Vec<(&'static str, Vec<u8>, Option<u8>)> {
    let connect = |name: &str, claimed: u8, flags: u8| {
        let body = Body::new().text(name).u8(claimed).u8(flags).u16(0);
        body.props(level, &[]).text(unique("o")).packet(0x10)
    };
    let (name, is_5) = (protocol(level), level >= 5);
    let malformed = is_5.then_some(MALFORMED);
    let cut = Hello::new(level, "cut").packet(None);
    let cut = [&[0x10, 8][..], &cut[2..10]].concat();
    let bad_id = Body::new().text(name).u8(level).u8(2).u16(0);
    let bad_id = bad_id.props(level, &[]).text([0xFF]).packet(0x10);
    let mut trailing = connect(name, level, 2);
    trailing[1] += 1;
    trailing.push(0);
    let mut flagged = connect(name, level, 2);
    flagged[0] |= 1;
    vec![
        ("PINGREQ first", vec![0xC0, 0], None),
        ("PUBLISH first", publish(level, 0x30, "t", None), None),
        ("SUBSCRIBE first", subscribe(level, 0x82, 1, b"t", 0), None),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(), None),
        ("unknown protocol name", connect("MQTX", level, 2), None),
        ("unknown level", connect("MQTT", 6, 2), Some(0x84)),
        ("old level", connect("MQTT", 2, 2), Some(1)),
        ("reserved connect flag", connect(name, level, 3), malformed),
        (
            "will QoS without will",
            connect(name, level, 2 | 8),
            malformed,
        ),
        (
            "will without its fields",
            connect(name, level, 2 | 4),
            malformed,
        ),
        ("truncated CONNECT", cut, malformed),
        ("client id not UTF-8", bad_id, malformed),
        ("trailing bytes", trailing, malformed),
        ("flags of CONNECT", flagged, malformed),
    ]
}

#[test]
fn what_stands_where_connect_has_to_be_gets_no_session() {
    each_target(|target, level| {
        let mut wrong = Vec::new();
        for (class, bytes, code) in openings(level) {
            let told = opening(target, level, &bytes, code);
            wrong.extend(told.err().map(|error| format!("{class}: {error}")));
        }
        wrong
    });
}

fn opening(target: &Target, level: u8, bytes: &[u8], code: Option<u8>) -> Verdict {
    let mut peer = Peer::open(target, level)?;
    peer.send(bytes)?;
    let said = peer.packet()?;
    let said_code = said.as_ref().map(|got| got.byte(1));
    check(
        said_code == code && said.is_none_or(|got| got.kind == kind::CONNACK),
        &format!("{said_code:02x?} where {code:02x?} was expected"),
    )?;
    if code.is_some() {
        check(peer.packet()?.is_none(), "the connection stays open")?;
    }
    Ok(())
}

/// A packet that never ends holds its own connection and no more.
#[test]
fn a_packet_that_never_ends_disturbs_nobody() {
    each_target(|target, level| {
        let held = Peer::join(target, level).and_then(|mut peer| {
            peer.send(&[0x30, 0xFF, 0x7F, 0, 1])?;
            Ok(peer)
        });
        let calm = Bystander::join(target, level).and_then(|mut calm| calm.notices_nothing());
        let results = [held.map(drop), calm];
        results.into_iter().filter_map(Result::err).collect()
    });
}
