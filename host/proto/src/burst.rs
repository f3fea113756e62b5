//! PUBLISH packets of one client to one topic that came together, kept as the bytes they came in.
//!
//! Owns: [`Burst`], and which packets may be part of one: QoS 0, neither RETAIN nor DUP, no properties, the topic in full.
//! What of them would be written to a subscriber is what was read. Must not: judge a topic; it is compared with one
//! that was judged before. Everything else is decoded by [`crate::codec`], errors included.

mod gathered;

pub use gathered::Gathered;

use crate::codec::{MAXIMUM_LENGTH, SHARED_FROM};
use crate::packet::{PublishProperties, QoS};
use crate::{Message, TopicName};
use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;

/// First byte of a PUBLISH with QoS 0 and no flag.
const PLAIN: u8 = 0x30;
/// Packets of one burst at most.
const PACKETS: usize = 1024;
/// Bytes of one burst beyond which no packet is added.
const BYTES: usize = 32 * 1024;
/// A burst of small packets shares the read buffer from this size on.
const SHARED_BYTES: usize = 16 * 1024;

/// Packets of one client to one topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Burst {
    /// Where they were published.
    pub topic: TopicName,
    /// Client id of the publisher.
    pub publisher: ByteString,
    /// Milliseconds since 1970 when the broker took them.
    pub received_ms: u64,
    packets: Packets,
}

/// Whole packets, and what they have in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packets {
    bytes: Bytes,
    has_properties: bool,
    count: usize,
    payload_bytes: usize,
    /// Size of the largest packet.
    largest: usize,
}

/// Where a packet of a burst is in its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    start: usize,
    payload: usize,
    end: usize,
}

/// Where the payload of a packet begins, and where the packet ends.
#[derive(Clone, Copy)]
struct Extent {
    payload: usize,
    end: usize,
}

/// The first packet of `input`, if it is whole and may be part of a burst to `topic`. `has_properties`: as MQTT 5.
#[inline]
fn extent(input: &[u8], topic: &[u8], has_properties: bool, maximum: usize) -> Option<Extent> {
    let [PLAIN, first, rest @ ..] = input else {
        return None;
    };
    let (mut length, mut start) = (usize::from(*first), 2);
    if length >= 128 {
        length &= 0x7F;
        for byte in rest.iter().take(3) {
            length |= usize::from(byte & 0x7F) << (7 * (start - 1));
            start += 1;
            if byte & 0x80 == 0 {
                break;
            }
        }
        let last = input.get(start - 1)?;
        if *last == 0 || *last & 0x80 != 0 {
            return None; // not the shortest form, or not whole
        }
    }
    let end = start + length;
    if end > maximum {
        return None;
    }
    let body = input.get(start..end)?;
    let (name_length, rest) = body.split_first_chunk::<2>()?;
    if usize::from(u16::from_be_bytes(*name_length)) != topic.len() {
        return None;
    }
    let rest = rest.strip_prefix(topic)?;
    let mut payload = end - rest.len();
    if has_properties {
        if rest.first() != Some(&0) {
            return None;
        }
        payload += 1;
    }
    Some(Extent { payload, end })
}

/// Whether a burst may begin here: the first look.
#[must_use]
#[inline]
pub fn may_begin(input: &[u8]) -> bool {
    input.first() == Some(&PLAIN)
}

/// Whether a burst to `topic` begins here.
#[inline]
pub(crate) fn begins(
    input: &[u8],
    topic: &[u8],
    has_properties: bool,
    maximum_packet_size: usize,
) -> bool {
    extent(input, topic, has_properties, maximum_packet_size).is_some()
}

impl Packets {
    /// Takes what can be part of one burst to `topic` off `input`; `None` (and nothing taken) if its first packet cannot.
    #[inline]
    pub(crate) fn take(
        input: &mut BytesMut,
        topic: &[u8],
        has_properties: bool,
        maximum_packet_size: usize,
    ) -> Option<Self> {
        let (mut count, mut payload_bytes, mut largest, mut whole) = (0, 0, 0, 0);
        while count < PACKETS && whole < BYTES {
            let rest = input.get(whole..).unwrap_or_default();
            let Some(extent) = extent(rest, topic, has_properties, maximum_packet_size) else {
                break;
            };
            count += 1;
            payload_bytes += extent.end - extent.payload;
            largest = largest.max(extent.end);
            whole += extent.end;
        }
        if count == 0 {
            return None;
        }
        // What is small does not pin a large buffer, as in the codec.
        let bytes = if whole < SHARED_BYTES && whole < count * SHARED_FROM {
            let bytes = Bytes::copy_from_slice(input.get(..whole).unwrap_or_default());
            input.advance(whole);
            bytes
        } else {
            input.split_to(whole).freeze()
        };
        Some(Self {
            bytes,
            has_properties,
            count,
            payload_bytes,
            largest,
        })
    }

    /// How many they are.
    #[must_use]
    #[inline]
    pub fn count(&self) -> usize {
        self.count
    }

    /// As they were read.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether a receiver is told in the same bytes. `has_properties`: it speaks MQTT 5.
    #[inline]
    pub(crate) fn fit(&self, has_properties: bool, maximum_packet_size: usize) -> bool {
        self.has_properties == has_properties && self.largest <= maximum_packet_size
    }

    /// Bytes of their payloads together.
    #[must_use]
    #[inline]
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }
}

impl Burst {
    /// Of packets that were taken from `publisher`.
    #[must_use]
    #[inline]
    pub fn new(
        topic: TopicName,
        publisher: ByteString,
        received_ms: u64,
        packets: Packets,
    ) -> Self {
        Self {
            topic,
            publisher,
            received_ms,
            packets,
        }
    }

    /// The packets.
    #[must_use]
    #[inline]
    pub fn packets(&self) -> &Packets {
        &self.packets
    }

    /// Where its packets are, one by one.
    #[inline]
    pub fn parts(&self) -> impl Iterator<Item = Part> {
        let (mut start, packets) = (0, &self.packets);
        std::iter::from_fn(move || {
            let rest = packets.bytes.get(start..)?;
            let topic = self.topic.as_bytes();
            let extent = extent(rest, topic, packets.has_properties, MAXIMUM_LENGTH + 5)?;
            let part = Part {
                start,
                payload: start + extent.payload,
                end: start + extent.end,
            };
            start = part.end;
            Some(part)
        })
    }

    /// The payload of one of them. What is small does not pin what is large.
    #[must_use]
    #[inline]
    pub fn payload(&self, part: Part) -> Bytes {
        match part.payload_bytes() < SHARED_FROM {
            true => {
                let payload = self.packets.bytes.get(part.payload..part.end);
                Bytes::copy_from_slice(payload.unwrap_or_default())
            }
            false => self.packets.bytes.slice(part.payload..part.end),
        }
    }

    /// The packets behind this one.
    #[must_use]
    pub fn behind(&self, part: Part) -> Bytes {
        self.packets.bytes.slice(part.end..)
    }

    /// One of its messages, or one that differs in the payload alone.
    #[must_use]
    pub fn message(&self, payload: Bytes) -> Message {
        Message {
            topic: self.topic.clone(),
            payload,
            qos: QoS::AtMostOnce,
            retain: false,
            properties: PublishProperties::default(),
            expires_at: None,
            publisher: self.publisher.clone(),
            received_ms: self.received_ms,
            hops: 0,
        }
    }

    /// What it stands for, message by message.
    pub fn messages(&self) -> impl Iterator<Item = Message> {
        (self.parts()).map(|part| self.message(self.payload(part)))
    }
}

impl Part {
    /// Bytes of its payload.
    #[must_use]
    #[inline]
    pub fn payload_bytes(self) -> usize {
        self.end - self.payload
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{self, Limits};
    use crate::packet::{Packet, Publish, Version};
    use proptest::prelude::*;

    const TOPICS: [&str; 3] = ["a/b", "a/c", "a/bc"];

    prop_compose! {
        fn packet()(
            topic in 0usize..3, qos in 0u8..3, flags in 0u8..8, length in 0usize..400, alias in 0u16..4,
        ) -> Publish {
            let plain = flags != 0;
            Publish {
                topic: TOPICS[if plain { 0 } else { topic }].into(),
                qos: if plain { QoS::AtMostOnce } else { QoS::from_bits(qos).unwrap() },
                retain: flags == 1,
                packet_id: (!plain && qos > 0).then(|| crate::packet::PacketId::new(7).unwrap()),
                topic_alias: (flags == 2).then_some(alias + 1),
                payload: vec![b'x'; length].into(),
                ..Publish::default()
            }
        }
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
            packets in proptest::collection::vec(packet(), 1..20),
            is_v5: bool,
            cut in 0usize..2000,
            damage in proptest::option::of((0usize..200, any::<u8>())),
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
            let taken = Packets::take(&mut input, topic.as_bytes(), is_v5, 1 << 20);
            prop_assert_eq!(begins, taken.is_some());
            let plain = |publish: &&Publish| publish.qos == QoS::AtMostOnce
                && !publish.retain && &*publish.topic == "a/b" && publish.topic_alias.is_none()
                && publish.properties.are_none();
            let count = expected.iter().take_while(plain).count();
            let Some(packets) = taken else {
                prop_assert_eq!(count, 0);
                prop_assert_eq!(input, before);
                return Ok(());
            };
            prop_assert_eq!(packets.count(), count);
            let burst = Burst::new(topic, "p".into(), 5, packets);
            let messages: Vec<_> = burst.messages().collect();
            prop_assert_eq!(messages.len(), count);
            let mut payload_bytes = 0;
            for (message, publish) in messages.iter().zip(&expected) {
                prop_assert_eq!(&message.payload, &publish.payload);
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
            let packets = Packets::take(&mut input, b"a/b", false, 1 << 20).unwrap();
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
}
