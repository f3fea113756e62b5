//! What a burst takes is what the codec reads.

use super::*;
use crate::codec::{self, Limits};
use crate::packet::{Packet, Publish, Version};
use proptest::prelude::*;

const TOPICS: [&str; 3] = ["a/b", "a/c", "a/bc"];

prop_compose! {
    /// Three of eight are as the others of `base`.
    fn packet(base: u8)(
        topic in 0usize..3, qos in 0u8..3, flags in 0u8..8, length in 0usize..400, alias in 0u16..4, id in 1u16..9,
    ) -> Publish {
        let plain = flags != 0;
        let qos = if plain { base } else { qos };
        Publish {
            topic: TOPICS[if plain { 0 } else { topic }].into(),
            qos: QoS::from_bits(qos).unwrap(),
            retain: flags == 1,
            dup: flags == 3 && qos > 0,
            packet_id: (qos > 0).then(|| PacketId::new(id).unwrap()),
            topic_alias: (flags == 2).then_some(alias + 1),
            payload: vec![b'x'; length].into(),
            ..Publish::default()
        }
    }
}

fn any(_: QoS, _: PacketId) -> bool {
    true
}

fn decoded(mut input: BytesMut, version: Version) -> Vec<Publish> {
    let mut all = Vec::new();
    while let Ok(Some(Packet::Publish(publish))) =
        codec::decode(&mut input, version, &Limits::default())
    {
        all.push(*publish);
    }
    all
}

proptest! {
    /// What is taken as a burst, and what is left, is what the codec reads; whatever the bytes are.
    #[test]
    fn a_burst_is_what_the_codec_reads(
        (base, packets) in (0u8..3)
            .prop_flat_map(|base| (Just(base), proptest::collection::vec(packet(base), 1..20))),
        is_v5: bool,
        cut in 0usize..2000,
        damage in proptest::option::of((0usize..200, proptest::num::u8::ANY)),
        refused in 1u16..20,
    ) {
        let version = if is_v5 { Version::V5 } else { Version::V311 };
        let mut input = BytesMut::new();
        for mut packet in packets {
            packet.topic_alias = packet.topic_alias.filter(|_| is_v5);
            codec::encode(&Packet::Publish(Box::new(packet)), version, &mut input).unwrap();
        }
        input.truncate(cut);
        if let Some((at, byte)) = damage && let Some(place) = input.get_mut(at) {
            *place = byte;
        }
        let expected = decoded(input.clone(), version);
        let before = input.clone();
        let topic = TopicName::new("a/b").unwrap();
        let begins = begins(&input, topic.as_bytes(), is_v5, 1 << 20);
        let admit = |_, id: PacketId| id.get() != refused;
        let taken = Packets::take(&mut input, topic.as_bytes(), is_v5, 1 << 20, admit);
        let first = expected.first().and_then(|publish| publish.packet_id);
        let is_refused = first.is_some_and(|id| id.get() == refused);
        prop_assert_eq!(begins && !is_refused, taken.is_some(), "{}", base);
        let qos = expected.first().map(|publish| publish.qos);
        let plain = |publish: &&Publish| Some(publish.qos) == qos && !publish.dup
            && publish.packet_id.is_none_or(|id| id.get() != refused)
            && !publish.retain && &*publish.topic == "a/b" && publish.topic_alias.is_none()
            && publish.properties.are_none();
        let count = expected.iter().take_while(plain).count();
        let Some(packets) = taken else {
            prop_assert_eq!(count, 0);
            prop_assert_eq!(input, before);
            return Ok(());
        };
        prop_assert_eq!(packets.count(), count);
        let ids: Vec<_> = packets.ids().collect();
        let published: Vec<_> = expected[..count].iter().filter_map(|p| p.packet_id).collect();
        prop_assert_eq!(ids, published);
        let burst = Burst::new(topic, "p".into(), 5, packets);
        let messages: Vec<_> = burst.messages().collect();
        prop_assert_eq!(messages.len(), count);
        let mut payload_bytes = 0;
        for (message, publish) in messages.iter().zip(&expected) {
            prop_assert_eq!(&message.payload, &publish.payload);
            prop_assert_eq!(message.qos, publish.qos);
            payload_bytes += message.payload.len();
        }
        prop_assert_eq!(burst.packets().payload_bytes(), payload_bytes);
        prop_assert_eq!(decoded(input.clone(), version), &expected[count..]);
        let packets = burst.packets();
        prop_assert_eq!([packets.bytes(), &input[..]].concat(), before.to_vec());
        prop_assert!(!packets.fit(!is_v5, 1 << 20));
        prop_assert!(packets.fit(is_v5, packets.largest));
        prop_assert!(!packets.fit(is_v5, packets.largest - 1));
    }
}

#[test]
fn a_burst_is_bounded_in_packets_and_bytes() {
    for (length, expected) in [(0, PACKETS), (1000, BYTES.div_ceil(1000 + 8))] {
        let publish = Publish {
            topic: "a/b".into(),
            payload: vec![0; length].into(),
            ..Publish::default()
        };
        let mut input = BytesMut::new();
        for _ in 0..3000 {
            let packet = Packet::Publish(Box::new(publish.clone()));
            codec::encode(&packet, Version::V311, &mut input).unwrap();
        }
        let packets = Packets::take(&mut input, b"a/b", false, 1 << 20, any).unwrap();
        assert_eq!(packets.count(), expected, "{length}");
    }
}

#[test]
fn what_is_larger_than_the_server_takes_is_no_burst() {
    let publish = Publish {
        topic: "a/b".into(),
        payload: vec![0; 100].into(),
        ..Publish::default()
    };
    let mut input = BytesMut::new();
    codec::encode(
        &Packet::Publish(Box::new(publish)),
        Version::V311,
        &mut input,
    )
    .unwrap();
    assert!(begins(&input, b"a/b", false, input.len()));
    assert!(!begins(&input, b"a/b", false, input.len() - 1));
}
