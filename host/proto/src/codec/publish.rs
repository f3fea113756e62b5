//! PUBLISH, the hot path: decoded into slices of one allocation, encoded without any.

use super::properties::{self, MESSAGE, SUBSCRIPTION_ID, TOPIC_ALIAS, set, take_message};
use super::read::Reader;
use super::write::{Count, Sink, variable_len};
use crate::error::DecodeError;
use crate::packet::{PacketId, Publish, PublishProperties, QoS, Version};
use crate::topic::TopicError;
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

/// Longer topics are not remembered: an idle connection stays small.
const KNOWN_BYTES: usize = 256;

/// A PUBLISH to be written, all borrowed.
#[derive(Clone, Copy, Debug)]
pub struct PublishHead<'a> {
    /// Sent before.
    pub dup: bool,
    /// QoS towards this receiver.
    pub qos: QoS,
    /// RETAIN flag towards this receiver.
    pub retain: bool,
    /// Empty if the alias stands for it.
    pub topic: &'a str,
    /// Present exactly for QoS 1 and 2.
    pub packet_id: Option<PacketId>,
    /// MQTT 5.
    pub topic_alias: Option<u16>,
    /// What is left of the expiry, seconds; instead of the one in `properties`.
    pub message_expiry: Option<u32>,
    /// Instead of those in `properties`.
    pub subscription_ids: &'a [u32],
    /// MQTT 5; not written before.
    pub properties: &'a PublishProperties,
    /// The application message.
    pub payload: &'a [u8],
}

impl PublishHead<'_> {
    /// Whether there is no property to write.
    fn is_bare(&self) -> bool {
        self.topic_alias.is_none()
            && self.message_expiry.is_none()
            && self.subscription_ids.is_empty()
            && self.properties.are_none()
    }
}

/// A packet as its head.
pub(super) fn head(publish: &Publish) -> PublishHead<'_> {
    PublishHead {
        dup: publish.dup,
        qos: publish.qos,
        retain: publish.retain,
        topic: &publish.topic,
        packet_id: publish.packet_id,
        topic_alias: publish.topic_alias,
        message_expiry: publish.properties.message_expiry,
        subscription_ids: &publish.properties.subscription_ids,
        properties: &publish.properties,
        payload: &publish.payload,
    }
}

#[inline]
pub(super) fn first_byte(dup: bool, qos: QoS, retain: bool) -> u8 {
    0x30 | u8::from(dup) << 3 | (qos as u8) << 1 | u8::from(retain)
}

/// QoS 3 and DUP on QoS 0 are malformed.
#[inline]
pub(super) fn check_flags(flags: u8) -> Result<(), DecodeError> {
    let qos = QoS::from_bits(flags >> 1 & 3).ok_or(DecodeError::QoS)?; // [MQTT-3.3.1-4]
    if qos == QoS::AtMostOnce && flags & 8 != 0 {
        return Err(DecodeError::DupOnQos0); // [MQTT-3.3.1-2]
    }
    Ok(())
}

pub(super) fn decode(
    reader: &mut Reader,
    flags: u8,
    version: Version,
) -> Result<Publish, DecodeError> {
    let qos = QoS::from_bits(flags >> 1 & 3).ok_or(DecodeError::QoS)?;
    let topic = reader.text("topic name")?;
    if topic.contains(['+', '#']) {
        return Err(TopicError::Wildcard.into()); // [MQTT-3.3.2-2]
    }
    if topic.is_empty() && !version.is_v5() {
        return Err(TopicError::Empty.into()); // [MQTT-4.7.3-1]
    }
    let packet_id = if qos > QoS::AtMostOnce {
        Some(reader.packet_id()?)
    } else {
        None
    };
    let mut properties = PublishProperties::default();
    let mut topic_alias = None;
    if version.is_v5() {
        let allowed = MESSAGE | set(&[TOPIC_ALIAS, SUBSCRIPTION_ID]);
        properties::read(
            reader,
            "PUBLISH",
            allowed,
            set(&[SUBSCRIPTION_ID]),
            |id, value| {
                if id == TOPIC_ALIAS {
                    topic_alias = value.short();
                } else {
                    take_message(&mut properties, id, value);
                }
            },
        )?;
    }
    Ok(Publish {
        dup: flags & 8 != 0,
        qos,
        retain: flags & 1 != 0,
        topic,
        packet_id,
        payload: reader.rest(),
        topic_alias,
        properties,
    })
}

/// A PUBLISH without properties and with a topic of its own; `None` for any other: [`decode`] says what it is.
#[inline]
pub(super) fn decode_small(
    body: &[u8],
    flags: u8,
    version: Version,
    known: &mut ByteString,
) -> Result<Option<Publish>, DecodeError> {
    let qos = QoS::from_bits(flags >> 1 & 3).ok_or(DecodeError::QoS)?;
    let Some((topic, rest)) = body
        .split_first_chunk::<2>()
        .and_then(|(length, rest)| rest.split_at_checked(u16::from_be_bytes(*length).into()))
    else {
        return Ok(None);
    };
    let (packet_id, rest) = if qos > QoS::AtMostOnce {
        let Some((id, rest)) = rest.split_first_chunk::<2>() else {
            return Ok(None);
        };
        let id = PacketId::new(u16::from_be_bytes(*id)).ok_or(DecodeError::PacketIdZero)?;
        (Some(id), rest)
    } else {
        (None, rest)
    };
    let ((false, payload) | (true, [0, payload @ ..])) = (version.is_v5(), rest) else {
        return Ok(None);
    };
    if topic.is_empty() {
        return Ok(None);
    }
    let topic = if known.as_bytes() == topic {
        known.clone()
    } else {
        let topic = topic_of(topic)?;
        if topic.len() <= KNOWN_BYTES {
            known.clone_from(&topic);
        }
        topic
    };
    Ok(Some(Publish {
        dup: flags & 8 != 0,
        qos,
        retain: flags & 1 != 0,
        topic,
        packet_id,
        payload: Bytes::copy_from_slice(payload),
        topic_alias: None,
        properties: PublishProperties::default(),
    }))
}

/// A topic name as [`decode`] judges it.
fn topic_of(bytes: &[u8]) -> Result<ByteString, DecodeError> {
    let field = "topic name";
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError::Utf8(field))?;
    if text.contains('\0') {
        return Err(DecodeError::Utf8(field)); // [MQTT-1.5.4-2]
    }
    if text.contains(['+', '#']) {
        return Err(TopicError::Wildcard.into()); // [MQTT-3.3.2-2]
    }
    Ok(ByteString::from(text))
}

fn write_properties(head: &PublishHead<'_>, out: &mut dyn Sink) {
    properties::write_message(head.properties, head.message_expiry, out);
    properties::short(out, TOPIC_ALIAS, head.topic_alias);
    for id in head.subscription_ids {
        out.u8(SUBSCRIPTION_ID);
        out.variable(usize::try_from(*id).unwrap_or(0));
    }
}

/// Bytes of the properties, and of the whole body.
#[inline]
fn lengths(head: &PublishHead<'_>, version: Version) -> (usize, usize) {
    let id = if head.packet_id.is_some() { 2 } else { 0 };
    let rest = 2 + head.topic.len() + id + head.payload.len();
    if !version.is_v5() {
        return (0, rest);
    }
    if head.is_bare() {
        return (0, rest + 1);
    }
    let mut count = Count::default();
    write_properties(head, &mut count);
    (count.0, rest + variable_len(count.0) + count.0)
}

pub(super) fn write(head: &PublishHead<'_>, version: Version, out: &mut impl Sink) {
    let (properties, _) = lengths(head, version);
    out.text(head.topic);
    if let Some(id) = head.packet_id {
        out.u16(id.get());
    }
    if version.is_v5() {
        out.variable(properties);
        if properties > 0 {
            write_properties(head, out);
        }
    }
    out.put(head.payload);
}

/// Bytes of the whole packet on the wire.
#[must_use]
pub fn publish_len(head: &PublishHead<'_>, version: Version) -> usize {
    let (_, body) = lengths(head, version);
    1 + variable_len(body) + body
}

/// Appends a PUBLISH to `out`; nothing but `out` is allocated. The topic is at most 65,535 bytes and the
/// packet at most 268,435,460 bytes long, as everything is that was accepted here.
#[inline]
pub fn encode_publish(head: &PublishHead<'_>, version: Version, out: &mut BytesMut) {
    let (properties, body) = lengths(head, version);
    out.reserve(body + 5);
    let first = first_byte(head.dup, head.qos, head.retain);
    if let (0, Ok(length @ 0..128), Ok(topic)) = (
        properties,
        u8::try_from(body),
        u8::try_from(head.topic.len()),
    ) {
        // The lengths of a small one are a byte each: one copy for all that stands before the topic.
        out.extend_from_slice(&[first, length, 0, topic]);
        out.extend_from_slice(head.topic.as_bytes());
        if let Some(id) = head.packet_id {
            out.extend_from_slice(&id.get().to_be_bytes());
        }
        if version.is_v5() {
            out.extend_from_slice(&[0]);
        }
        out.extend_from_slice(head.payload);
        return;
    }
    out.u8(first);
    out.variable(body);
    write(head, version, out);
}
