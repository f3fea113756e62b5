//! Flow control and packet size: sections 4.9, 3.1.2.11.

use super::{Case, V5, case};
use crate::peer::{Hello, Peer, Verdict, check, kind, unique};
use crate::stream::Target;
use crate::wire::{prop_u16, prop_u32};

pub(super) const CASES: &[Case] = &[
    case(
        "receive_maximum_of_the_client",
        V5,
        receive_maximum_of_the_client,
    ),
    case(
        "receive_maximum_of_the_broker",
        V5,
        receive_maximum_of_the_broker,
    ),
    case(
        "maximum_packet_size_of_the_client",
        V5,
        maximum_packet_size_of_the_client,
    ),
    case("receive_maximum_of_zero", V5, receive_maximum_of_zero),
];

fn receive_maximum_of_the_client(target: &Target, level: u8) -> Verdict {
    let topic = unique("rm/");
    let hello = Hello::new(level, &unique("rm")).with(&prop_u16(0x21, 2));
    let mut peer = hello.connect(target)?;
    peer.subscribe(&topic, 1)?;
    let mut publisher = Peer::join(target, level)?;
    for number in 0..4u8 {
        publisher.publish_acknowledged(&topic, &[number], 0)?;
    }
    let first = peer.message_of(&[0])?;
    let second = peer.message_of(&[1])?;
    peer.expect_quiet()?; // no third, and other packets are not delayed
    peer.acknowledge(0x40, first.id)?;
    let third = peer.message_of(&[2])?;
    peer.expect_quiet()?;
    peer.acknowledge(0x40, second.id)?;
    peer.acknowledge(0x40, third.id)?;
    peer.message_of(&[3]).map(drop)
}

fn receive_maximum_of_the_broker(target: &Target, level: u8) -> Verdict {
    let (mut peer, connack) = Hello::new(level, &unique("flood")).connect_with_connack(target)?;
    let maximum = connack.props_at(2).into_iter().find(|(id, _)| *id == 0x21);
    let maximum = maximum.map_or(u16::MAX, |(_, value)| {
        u16::from_be_bytes([value[0], value[1]])
    });
    if maximum > 5_000 {
        return Ok(()); // it takes all there are
    }
    // QoS 2 without PUBREL: none of them is over.
    for id in 1..=maximum {
        peer.publish("t/flood", b"", 4, id)?;
    }
    for _ in 1..=maximum {
        peer.expect(kind::PUBREC)?;
    }
    peer.expect_quiet()?;
    peer.publish("t/flood", b"", 4, maximum + 1)?;
    peer.expect_closed(&[0x93])
}

fn maximum_packet_size_of_the_client(target: &Target, level: u8) -> Verdict {
    let topic = unique("s/");
    let hello = Hello::new(level, &unique("size")).with(&prop_u32(0x27, 100));
    let mut peer = hello.connect(target)?;
    peer.subscribe(&topic, 1)?;
    let mut publisher = Peer::join(target, level)?;
    publisher.publish_acknowledged(&topic, &[b'x'; 200], 0)?;
    publisher.publish_acknowledged(&topic, b"fits", 0)?;
    let message = peer.message_of(b"fits")?;
    peer.acknowledge(0x40, message.id)?;
    peer.expect_quiet()
}

fn receive_maximum_of_zero(target: &Target, level: u8) -> Verdict {
    for props in [prop_u16(0x21, 0), prop_u32(0x27, 0)] {
        let hello = Hello::new(level, &unique("zero")).with(&props);
        let mut peer = Peer::open(target, level)?;
        peer.send(&hello.packet(target.login.as_ref()))?;
        match peer.packet()? {
            None => {}
            Some(got) => check(
                got.kind == kind::CONNACK && got.byte(1) >= 0x80,
                "it was accepted",
            )?,
        }
    }
    Ok(())
}
