//! Control packets to bytes and back, for every version and both directions.
//!
//! Owns: framing, field by field reading with a bound before every read, and writing.
//! Must not: know the state of a connection; that is [`crate::endpoint`].
//!
//! A packet below [`SHARED_FROM`] bytes is copied into an allocation of its own, so that a small message
//! never pins a large read buffer; a larger one is split off without a copy. Topic, payload and the
//! other fields are slices of that one allocation.

mod acks;
mod connect;
mod glance;
mod properties;
mod publish;
mod read;
mod subscribe;
#[cfg(test)]
mod tests;
mod write;

pub use connect::encode_refusal;
pub use glance::topics;
pub use properties::{decode_properties, encode_properties};
pub use publish::{PublishHead, encode_publish, publish_len};

use crate::error::{DecodeError, EncodeError};
use crate::packet::{Connect, Packet, Publish, Version};
use bytes::{Buf, Bytes, BytesMut};
use bytestring::ByteString;
use read::Reader;
use write::{Count, Sink};

/// Packets from this size on share the read buffer instead of being copied.
pub const SHARED_FROM: usize = 4096;
/// Largest value of a variable byte integer.
pub const MAXIMUM_LENGTH: usize = 268_435_455;

/// Bounds of what is decoded.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of a whole packet (default 1 MiB).
    pub maximum_packet_size: u32,
    /// User properties of one packet (default 128).
    pub user_properties: usize,
    /// Topic filters of one SUBSCRIBE or UNSUBSCRIBE (default 256).
    pub filters: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            maximum_packet_size: 1024 * 1024,
            user_properties: 128,
            filters: 256,
        }
    }
}

/// The fixed header: type, flags, and where the body is.
struct Header {
    kind: u8,
    flags: u8,
    start: usize,
    end: usize,
}

/// Reads the fixed header; `None` while bytes are missing. Judges the size before the body is there.
#[inline]
fn header(input: &[u8], limits: &Limits) -> Result<Option<Header>, DecodeError> {
    let Some(&first) = input.first() else {
        return Ok(None);
    };
    let mut length = 0usize;
    for index in 0..4usize {
        let Some(&byte) = input.get(index + 1) else {
            return Ok(None);
        };
        length |= usize::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            if index > 0 && byte == 0 {
                return Err(DecodeError::Length); // [MQTT-1.5.5-1]: the shortest form
            }
            let start = index + 2;
            let end = start + length;
            let maximum = limits.maximum_packet_size;
            if u32::try_from(end).map_or(true, |size| size > maximum) {
                return Err(DecodeError::TooLarge { size: end, maximum });
            }
            return Ok(Some(Header {
                kind: first >> 4,
                flags: first & 0x0F,
                start,
                end,
            }));
        }
    }
    Err(DecodeError::Length)
}

/// Takes the body of a whole packet off `input`.
fn body(input: &mut BytesMut, header: &Header) -> Bytes {
    if header.end < SHARED_FROM {
        let body = Bytes::copy_from_slice(input.get(header.start..header.end).unwrap_or_default());
        input.advance(header.end);
        return body;
    }
    let mut frame = input.split_to(header.end);
    frame.advance(header.start);
    frame.freeze()
}

/// Takes one packet off `input`; `None` (and nothing taken) while it is not there in full.
///
/// # Errors
/// What is wrong with it. `input` is then of no further use.
pub fn decode(
    input: &mut BytesMut,
    version: Version,
    limits: &Limits,
) -> Result<Option<Packet>, DecodeError> {
    let Some(header) = header(input, limits)? else {
        return Ok(None);
    };
    if input.len() < header.end {
        check_kind(&header, version)?; // do not wait for the rest of what is wrong already
        return Ok(None);
    }
    check_kind(&header, version)?;
    if let Some(packet) = acks::decode_short(
        input.get(header.start..header.end).unwrap_or_default(),
        header.kind,
    ) {
        input.advance(header.end);
        return packet.map(Some);
    }
    let mut reader = Reader::new(body(input, &header), limits);
    let packet = match header.kind {
        1 => Packet::Connect(Box::new(connect::decode(&mut reader)?)),
        2 => Packet::Connack(Box::new(connect::decode_connack(&mut reader, version)?)),
        3 => Packet::Publish(Box::new(publish::decode(
            &mut reader,
            header.flags,
            version,
        )?)),
        4 => Packet::Puback(acks::decode(&mut reader, "PUBACK", version)?),
        5 => Packet::Pubrec(acks::decode(&mut reader, "PUBREC", version)?),
        6 => Packet::Pubrel(acks::decode(&mut reader, "PUBREL", version)?),
        7 => Packet::Pubcomp(acks::decode(&mut reader, "PUBCOMP", version)?),
        8 => Packet::Subscribe(Box::new(subscribe::decode(&mut reader, version)?)),
        9 => Packet::Suback(Box::new(subscribe::decode_suback(&mut reader, version)?)),
        10 => Packet::Unsubscribe(Box::new(subscribe::decode_unsubscribe(
            &mut reader,
            version,
        )?)),
        11 => Packet::Unsuback(Box::new(subscribe::decode_unsuback(&mut reader, version)?)),
        12 => Packet::Pingreq,
        13 => Packet::Pingresp,
        14 => Packet::Disconnect(Box::new(acks::decode_disconnect(&mut reader, version)?)),
        15 => Packet::Auth(Box::new(acks::decode_auth(&mut reader)?)),
        kind => return Err(DecodeError::UnknownType(kind)),
    };
    reader.finish(name(header.kind))?;
    Ok(Some(packet))
}

/// Takes a small PUBLISH without properties off `input`, the packet that comes most often: its payload is copied into an
/// allocation of its own, and its topic is `known` where it is the same again. `None` (and nothing taken): look at
/// the packet with [`decode`].
///
/// # Errors
/// As [`decode`].
#[inline]
pub fn decode_publish(
    input: &mut BytesMut,
    version: Version,
    limits: &Limits,
    known: &mut ByteString,
) -> Result<Option<Publish>, DecodeError> {
    if input.first().is_none_or(|first| first >> 4 != 3) {
        return Ok(None);
    }
    let Some(header) = header(input, limits)?.filter(|header| header.end < SHARED_FROM) else {
        return Ok(None);
    };
    let Some(body) = input.get(header.start..header.end) else {
        return Ok(None);
    };
    publish::check_flags(header.flags)?;
    let publish = publish::decode_small(body, header.flags, version, known)?;
    if publish.is_some() {
        input.advance(header.end);
    }
    Ok(publish)
}

/// Takes the first packet of a connection off `input` and learns the version from it.
///
/// # Errors
/// Anything but a CONNECT [MQTT-3.1.0-1], or what is wrong with it. [`claimed_level`] tells in which
/// form to refuse it.
pub fn decode_connect(
    input: &mut BytesMut,
    limits: &Limits,
) -> Result<Option<Connect>, DecodeError> {
    if let Some(&first) = input.first() {
        if first >> 4 != 1 {
            return Err(DecodeError::NotConnect(first >> 4));
        }
        if first & 0x0F != 0 {
            return Err(DecodeError::Flags("CONNECT"));
        }
    }
    let Some(header) = header(input, limits)? else {
        return Ok(None);
    };
    if input.len() < header.end {
        return Ok(None);
    }
    let mut reader = Reader::new(body(input, &header), limits);
    let connect = connect::decode(&mut reader)?;
    reader.finish("CONNECT")?;
    Ok(Some(connect))
}

/// The protocol level a CONNECT claims, however bad the rest of it is; `None` if it is no CONNECT.
#[must_use]
pub fn claimed_level(input: &[u8]) -> Option<u8> {
    let header = header(
        input,
        &Limits {
            maximum_packet_size: u32::MAX,
            ..Limits::default()
        },
    )
    .ok()??;
    let body = input.get(header.start..)?;
    match (header.kind, body) {
        (1, [0, 4, b'M', b'Q', b'T', b'T', level, ..]) => Some(*level),
        (1, [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', level, ..]) => Some(*level),
        _ => None,
    }
}

fn check_kind(header: &Header, version: Version) -> Result<(), DecodeError> {
    let expected = match header.kind {
        0 => return Err(DecodeError::UnknownType(0)),
        15 if !version.is_v5() => return Err(DecodeError::UnknownType(15)),
        3 => return publish::check_flags(header.flags),
        6 | 8 | 10 => 0b0010, // [MQTT-3.6.1-1] [MQTT-3.8.1-1] [MQTT-3.10.1-1]
        _ => 0,
    };
    // MQTT 3.1 used DUP and QoS bits of these packets; only 3.1.1 reserved them.
    let mask = if version == Version::V31 {
        0b0001
    } else {
        0b1111
    };
    if header.flags & mask == expected & mask {
        Ok(())
    } else {
        Err(DecodeError::Flags(name(header.kind)))
    }
}

fn name(kind: u8) -> &'static str {
    match kind {
        1 => "CONNECT",
        2 => "CONNACK",
        3 => "PUBLISH",
        4 => "PUBACK",
        5 => "PUBREC",
        6 => "PUBREL",
        7 => "PUBCOMP",
        8 => "SUBSCRIBE",
        9 => "SUBACK",
        10 => "UNSUBSCRIBE",
        11 => "UNSUBACK",
        12 => "PINGREQ",
        13 => "PINGRESP",
        14 => "DISCONNECT",
        _ => "AUTH",
    }
}

/// First byte of a packet: type and flags.
fn first_byte(packet: &Packet) -> u8 {
    match packet {
        Packet::Connect(_) => 0x10,
        Packet::Connack(_) => 0x20,
        Packet::Publish(publish) => publish::first_byte(publish.dup, publish.qos, publish.retain),
        Packet::Puback(_) => 0x40,
        Packet::Pubrec(_) => 0x50,
        Packet::Pubrel(_) => 0x62,
        Packet::Pubcomp(_) => 0x70,
        Packet::Subscribe(_) => 0x82,
        Packet::Suback(_) => 0x90,
        Packet::Unsubscribe(_) => 0xA2,
        Packet::Unsuback(_) => 0xB0,
        Packet::Pingreq => 0xC0,
        Packet::Pingresp => 0xD0,
        Packet::Disconnect(_) => 0xE0,
        Packet::Auth(_) => 0xF0,
    }
}

fn write_body(packet: &Packet, version: Version, out: &mut impl Sink) {
    match packet {
        Packet::Connect(connect) => connect::write(connect, out),
        Packet::Connack(connack) => connect::write_connack(connack, version, out),
        Packet::Publish(publish) => publish::write(&publish::head(publish), version, out),
        Packet::Puback(ack) | Packet::Pubrec(ack) | Packet::Pubrel(ack) | Packet::Pubcomp(ack) => {
            acks::write(ack, version, out);
        }
        Packet::Subscribe(subscribe) => subscribe::write(subscribe, version, out),
        Packet::Suback(suback) => subscribe::write_suback(suback, version, out),
        Packet::Unsubscribe(unsubscribe) => subscribe::write_unsubscribe(unsubscribe, version, out),
        Packet::Unsuback(unsuback) => subscribe::write_unsuback(unsuback, version, out),
        Packet::Pingreq | Packet::Pingresp => {}
        Packet::Disconnect(disconnect) => acks::write_disconnect(disconnect, version, out),
        Packet::Auth(auth) => acks::write_auth(auth, out),
    }
}

/// Appends a packet to `out`. Texts and binary data longer than 65,535 bytes are cut there.
///
/// # Errors
/// AUTH before MQTT 5, or a packet longer than a remaining length can say; `out` is then unchanged.
pub fn encode(packet: &Packet, version: Version, out: &mut BytesMut) -> Result<(), EncodeError> {
    if matches!(packet, Packet::Auth(_)) && !version.is_v5() {
        return Err(EncodeError::NotInVersion("AUTH"));
    }
    let mut count = Count::default();
    write_body(packet, version, &mut count);
    if count.0 > MAXIMUM_LENGTH {
        return Err(EncodeError::TooLarge(count.0));
    }
    out.reserve(count.0 + 5);
    out.u8(first_byte(packet));
    out.variable(count.0);
    write_body(packet, version, out);
    Ok(())
}

/// Bytes of the whole packet on the wire.
#[must_use]
pub fn packet_len(packet: &Packet, version: Version) -> usize {
    let mut count = Count::default();
    write_body(packet, version, &mut count);
    1 + write::variable_len(count.0) + count.0
}
