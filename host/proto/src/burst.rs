//! PUBLISH packets of one client to one topic that came together, kept as the bytes they came in.
//!
//! Owns: [`Burst`], and which packets may be part of one: the same QoS, neither RETAIN nor DUP, no properties, the topic in
//! full. What of them would be written to a subscriber is what was read, with identifiers of its own. Must not: judge a
//! topic; it is compared with one that was judged before. Everything else is decoded by [`crate::codec`], errors included.

mod gathered;

pub use gathered::Gathered;

use crate::codec::SHARED_FROM;
use crate::packet::{PacketId, PublishProperties, QoS};
use crate::{Delivery, Message, TopicName};
use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;
use std::sync::Arc;

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
    qos: QoS,
    /// Bytes of the topic, with those of its length.
    topic_bytes: usize,
    count: usize,
    payload_bytes: usize,
    /// Size of the largest packet.
    largest: usize,
}

/// Where a packet of a burst is in its bytes. Its identifier, if it has one, is given as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: usize,
    id: u16,
    payload: usize,
    end: usize,
}

/// One message of a burst, for as long as somebody has to acknowledge it.
#[derive(Clone, Debug)]
pub struct Part {
    burst: Arc<Burst>,
    /// Where its packet begins.
    at: usize,
}

/// Where the payload of a packet begins, and where the packet ends. Its identifier, if it has one, is given as a number.
#[derive(Clone, Copy)]
struct Extent {
    id: u16,
    payload: usize,
    end: usize,
}

/// Where the body of a packet begins and ends; `None` if its length is not in the shortest form or not whole.
#[inline]
fn body(input: &[u8]) -> Option<(usize, usize)> {
    let [_, first, rest @ ..] = input else {
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
            return None;
        }
    }
    Some((start, start + length))
}

/// The first packet of `input`, if it is whole and may be part of a burst of `qos` to `topic`. `has_properties`: as MQTT 5.
#[inline]
fn extent(
    input: &[u8],
    (topic, qos): (&[u8], QoS),
    has_properties: bool,
    maximum: usize,
) -> Option<Extent> {
    if *input.first()? != PLAIN | (qos as u8) << 1 {
        return None;
    }
    let (start, end) = body(input)?;
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
    let (id, rest) = if qos == QoS::AtMostOnce {
        (0, rest)
    } else {
        let (id, rest) = rest.split_first_chunk::<2>()?;
        payload += 2;
        (u16::from_be_bytes(*id), rest)
    };
    if has_properties {
        if rest.first() != Some(&0) {
            return None;
        }
        payload += 1;
    }
    if qos > QoS::AtMostOnce && id == 0 {
        return None; // [MQTT-2.2.1-3]
    }
    Some(Extent { id, payload, end })
}

/// The last packet: the next one is mostly of the same size, and begins in the same bytes.
struct Like<'a> {
    /// All before its identifier.
    head: &'a [u8],
    has_id: bool,
    has_properties: bool,
    payload: usize,
    end: usize,
}

impl<'a> Like<'a> {
    #[inline]
    fn new(packet: &'a [u8], extent: Extent, qos: QoS, has_properties: bool) -> Option<Self> {
        let has_id = qos > QoS::AtMostOnce;
        let behind = 2 * usize::from(has_id) + usize::from(has_properties);
        Some(Self {
            head: packet.get(..extent.payload.checked_sub(behind)?)?,
            has_id,
            has_properties,
            payload: extent.payload,
            end: extent.end,
        })
    }

    /// What [`extent`] says of the first packet of `input`, if it is one like this.
    #[inline]
    fn extent(&self, input: &[u8]) -> Option<Extent> {
        let rest = input.get(..self.end)?.strip_prefix(self.head)?;
        let (id, rest) = if self.has_id {
            let (id, rest) = rest.split_first_chunk::<2>()?;
            (u16::from_be_bytes(*id), rest)
        } else {
            (0, rest)
        };
        if self.has_id && id == 0 || self.has_properties && rest.first() != Some(&0) {
            return None;
        }
        let (payload, end) = (self.payload, self.end);
        Some(Extent { id, payload, end })
    }
}

/// The QoS of a packet that may be part of a burst.
#[inline]
fn qos_of(input: &[u8]) -> Option<QoS> {
    match *input.first()? {
        PLAIN => Some(QoS::AtMostOnce),
        0x32 => Some(QoS::AtLeastOnce),
        0x34 => Some(QoS::ExactlyOnce),
        _ => None,
    }
}

/// Whether a burst may begin here: the first look.
#[must_use]
#[inline]
pub fn may_begin(input: &[u8]) -> bool {
    qos_of(input).is_some()
}

/// The QoS of a burst that may begin here.
#[must_use]
#[inline]
pub fn qos(input: &[u8]) -> QoS {
    qos_of(input).unwrap_or(QoS::AtMostOnce)
}

/// Whether an acknowledgement begins here: the first look.
#[must_use]
#[inline]
pub fn may_acknowledge(input: &[u8]) -> bool {
    matches!(input.first(), Some(0x40 | 0x50 | 0x62 | 0x70))
}

/// Whether a burst to `topic` begins here.
#[inline]
pub(crate) fn begins(
    input: &[u8],
    topic: &[u8],
    has_properties: bool,
    maximum_packet_size: usize,
) -> bool {
    qos_of(input).is_some_and(|qos| {
        extent(input, (topic, qos), has_properties, maximum_packet_size).is_some()
    })
}

impl Packets {
    /// Takes what can be part of one burst to `topic` off `input`; `None` (and nothing taken) if its first packet cannot.
    /// `admit` is asked for each identifier, in order, and the first that it refuses is no part.
    #[inline]
    pub(crate) fn take(
        input: &mut BytesMut,
        topic: &[u8],
        has_properties: bool,
        maximum_packet_size: usize,
        mut admit: impl FnMut(QoS, PacketId) -> bool,
    ) -> Option<Self> {
        let qos = qos_of(input)?;
        let (mut count, mut payload_bytes, mut largest, mut whole) = (0, 0, 0, 0);
        let mut like: Option<Like<'_>> = None;
        while count < PACKETS && whole < BYTES {
            let rest = input.get(whole..).unwrap_or_default();
            let extent = match like.as_ref().and_then(|like| like.extent(rest)) {
                Some(extent) => extent,
                None => {
                    let found = extent(rest, (topic, qos), has_properties, maximum_packet_size);
                    let Some(extent) = found else { break };
                    like = Like::new(rest, extent, qos, has_properties);
                    extent
                }
            };
            if PacketId::new(extent.id).is_some_and(|id| !admit(qos, id)) {
                break;
            }
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
            qos,
            topic_bytes: 2 + topic.len(),
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

    /// The QoS of each.
    #[must_use]
    #[inline]
    pub fn qos(&self) -> QoS {
        self.qos
    }

    /// As they were read.
    #[must_use]
    #[inline]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Whether a receiver is told in the same bytes, identifiers aside. `has_properties`: it speaks MQTT 5.
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

    /// Where each packet begins and where its identifier is, in order. None at QoS 0.
    #[inline]
    pub(crate) fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let (start, end) = body(self.bytes.get(at..)?)?;
            let place = (at, at + start + self.topic_bytes);
            at += end;
            Some(place)
        })
        .take(if self.qos == QoS::AtMostOnce {
            0
        } else {
            self.count
        })
    }

    /// The identifiers of their publisher, in order. None at QoS 0.
    #[inline]
    pub fn ids(&self) -> impl Iterator<Item = PacketId> {
        self.places().filter_map(|(_, id)| {
            let id = self.bytes.get(id..)?.first_chunk::<2>()?;
            PacketId::new(u16::from_be_bytes(*id))
        })
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
    pub fn spans(&self) -> impl Iterator<Item = Span> {
        let mut at = 0;
        std::iter::from_fn(move || {
            let span = self.span(at)?;
            at = span.end;
            Some(span)
        })
    }

    /// Where the packet is that begins at `start`.
    #[inline]
    fn span(&self, start: usize) -> Option<Span> {
        let packets = &self.packets;
        let rest = packets.bytes.get(start..)?;
        let (head, end) = body(rest)?;
        let mut payload = head + packets.topic_bytes;
        let mut id = 0;
        if packets.qos > QoS::AtMostOnce {
            id = u16::from_be_bytes(*rest.get(payload..)?.first_chunk()?);
            payload += 2;
        }
        Some(Span {
            start,
            id,
            payload: start + payload + usize::from(packets.has_properties),
            end: start + end,
        })
    }

    /// The payload of one of them. What is small does not pin what is large.
    #[must_use]
    #[inline]
    pub fn payload(&self, span: Span) -> Bytes {
        match span.payload_bytes() < SHARED_FROM {
            true => {
                let payload = self.packets.bytes.get(span.payload..span.end);
                Bytes::copy_from_slice(payload.unwrap_or_default())
            }
            false => self.packets.bytes.slice(span.payload..span.end),
        }
    }

    /// The packets behind this one.
    #[must_use]
    pub fn behind(&self, span: Span) -> Bytes {
        self.packets.bytes.slice(span.end..)
    }

    /// One of its messages, or one that differs in the payload alone.
    #[must_use]
    pub fn with_payload(&self, payload: Bytes) -> Message {
        Message {
            topic: self.topic.clone(),
            payload,
            qos: self.packets.qos,
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
        self.spans()
            .map(|span| self.with_payload(self.payload(span)))
    }
}

impl Span {
    /// Bytes of its payload.
    #[must_use]
    #[inline]
    pub fn payload_bytes(self) -> usize {
        self.end - self.payload
    }

    /// The identifier that its publisher gave it, above QoS 0.
    #[must_use]
    #[inline]
    pub fn id(self) -> Option<PacketId> {
        PacketId::new(self.id)
    }
}

impl Part {
    /// The message whose packet begins at `at`.
    #[inline]
    pub(crate) fn new(burst: Arc<Burst>, at: usize) -> Self {
        Self { burst, at }
    }

    /// Its QoS.
    #[inline]
    pub(crate) fn qos(&self) -> QoS {
        self.burst.packets.qos
    }

    /// By itself.
    pub(crate) fn message(&self) -> Option<Arc<Message>> {
        let span = self.burst.span(self.at)?;
        let payload = self.burst.payload(span);
        Some(Arc::new(self.burst.with_payload(payload)))
    }

    /// What was owed of it: nothing was said of it, and nothing kept.
    pub(crate) fn delivery(&self, number: u64) -> Option<Delivery> {
        Some(Delivery {
            message: self.message()?,
            qos: self.qos(),
            retain: false,
            subscription_ids: Box::default(),
            group: None,
            number,
            kept: None,
        })
    }
}

#[cfg(test)]
mod tests;
