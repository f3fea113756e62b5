//! The properties of MQTT 5 (section 2.2.2): one table of numbers, types and the packets they belong to.

use super::Limits;
use super::read::Reader;
use super::write::{Sink, prefixed};
use crate::error::DecodeError;
use crate::packet::{PublishProperties, UserProperties};
use bytes::{Bytes, BytesMut};
use bytestring::ByteString;

pub(super) const PAYLOAD_FORMAT: u8 = 0x01;
pub(super) const MESSAGE_EXPIRY: u8 = 0x02;
pub(super) const CONTENT_TYPE: u8 = 0x03;
pub(super) const RESPONSE_TOPIC: u8 = 0x08;
pub(super) const CORRELATION_DATA: u8 = 0x09;
pub(super) const SUBSCRIPTION_ID: u8 = 0x0B;
pub(super) const SESSION_EXPIRY: u8 = 0x11;
pub(super) const ASSIGNED_CLIENT_ID: u8 = 0x12;
pub(super) const SERVER_KEEP_ALIVE: u8 = 0x13;
pub(super) const AUTH_METHOD: u8 = 0x15;
pub(super) const AUTH_DATA: u8 = 0x16;
pub(super) const REQUEST_PROBLEM: u8 = 0x17;
pub(super) const WILL_DELAY: u8 = 0x18;
pub(super) const REQUEST_RESPONSE: u8 = 0x19;
pub(super) const RESPONSE_INFORMATION: u8 = 0x1A;
pub(super) const SERVER_REFERENCE: u8 = 0x1C;
pub(super) const REASON_STRING: u8 = 0x1F;
pub(super) const RECEIVE_MAXIMUM: u8 = 0x21;
pub(super) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
pub(super) const TOPIC_ALIAS: u8 = 0x23;
pub(super) const MAXIMUM_QOS: u8 = 0x24;
pub(super) const RETAIN_AVAILABLE: u8 = 0x25;
pub(super) const USER: u8 = 0x26;
pub(super) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
pub(super) const WILDCARD_AVAILABLE: u8 = 0x28;
pub(super) const SUBSCRIPTION_IDS_AVAILABLE: u8 = 0x29;
pub(super) const SHARED_AVAILABLE: u8 = 0x2A;

/// Highest number there is.
const LAST: u8 = SHARED_AVAILABLE;

/// A set of properties as a bit mask by number.
pub(super) type Set = u64;

pub(super) const fn set(ids: &[u8]) -> Set {
    let mut mask = 0;
    let mut index = 0;
    while index < ids.len() {
        mask |= 1 << ids[index];
        index += 1;
    }
    mask
}

/// What travels with a message.
pub(super) const MESSAGE: Set = set(&[
    PAYLOAD_FORMAT,
    MESSAGE_EXPIRY,
    CONTENT_TYPE,
    RESPONSE_TOPIC,
    CORRELATION_DATA,
    USER,
]);

/// The value of one property.
#[derive(Debug)]
pub(super) enum Value {
    Number(u32),
    Text(ByteString),
    Binary(Bytes),
    Pair(ByteString, ByteString),
}

impl Value {
    pub(super) fn number(&self) -> Option<u32> {
        if let Self::Number(number) = self {
            Some(*number)
        } else {
            None
        }
    }

    /// A two-byte integer.
    pub(super) fn short(&self) -> Option<u16> {
        self.number().and_then(|number| u16::try_from(number).ok())
    }

    pub(super) fn byte(&self) -> Option<u8> {
        self.number().and_then(|number| u8::try_from(number).ok())
    }

    pub(super) fn flag(&self) -> Option<bool> {
        self.number().map(|number| number == 1)
    }

    pub(super) fn text(self) -> Option<ByteString> {
        if let Self::Text(text) = self {
            Some(text)
        } else {
            None
        }
    }

    pub(super) fn binary(self) -> Option<Bytes> {
        if let Self::Binary(bytes) = self {
            Some(bytes)
        } else {
            None
        }
    }

    pub(super) fn push_to(self, user: &mut UserProperties) {
        if let Self::Pair(name, value) = self {
            user.push((name, value));
        }
    }
}

/// Reads a property length and the properties behind it.
pub(super) fn read(
    reader: &mut Reader,
    packet: &'static str,
    allowed: Set,
    repeatable: Set,
    take: impl FnMut(u8, Value),
) -> Result<(), DecodeError> {
    let length = reader.variable("property length")?;
    let mut part = reader.part(length, "properties")?;
    read_all(&mut part, packet, allowed, repeatable, take)
}

/// Reads properties to the end of `part`.
fn read_all(
    part: &mut Reader,
    packet: &'static str,
    allowed: Set,
    repeatable: Set,
    mut take: impl FnMut(u8, Value),
) -> Result<(), DecodeError> {
    let mut seen: Set = 0;
    let mut users = 0usize;
    while !part.is_empty() {
        // Section 2.2.2.2 makes the number a variable byte integer, but all of them are one byte long.
        let id = part.u8("property identifier")?;
        if id > LAST || id == 0 {
            return Err(DecodeError::UnknownProperty(id));
        }
        let value = read_value(part, id)?;
        let bit = 1 << id;
        if allowed & bit == 0 {
            return Err(DecodeError::MisplacedProperty { id, packet });
        }
        if seen & bit != 0 && (repeatable | set(&[USER])) & bit == 0 {
            return Err(DecodeError::DuplicateProperty(id));
        }
        if id == USER {
            users += 1;
            let maximum = part.limits().user_properties;
            if users > maximum {
                return Err(DecodeError::TooMany {
                    what: "user properties",
                    maximum,
                });
            }
        }
        seen |= bit;
        take(id, value);
    }
    if seen & set(&[AUTH_DATA]) != 0 && seen & set(&[AUTH_METHOD]) == 0 {
        return Err(DecodeError::DataWithoutMethod);
    }
    Ok(())
}

fn read_value(part: &mut Reader, id: u8) -> Result<Value, DecodeError> {
    let field = "a property";
    let value = match id {
        PAYLOAD_FORMAT
        | REQUEST_PROBLEM
        | REQUEST_RESPONSE
        | MAXIMUM_QOS
        | RETAIN_AVAILABLE
        | WILDCARD_AVAILABLE
        | SUBSCRIPTION_IDS_AVAILABLE
        | SHARED_AVAILABLE => {
            let byte = part.u8(field)?;
            if byte > 1 {
                return Err(DecodeError::PropertyValue {
                    id,
                    rule: "its value is 0 or 1",
                });
            }
            Value::Number(u32::from(byte))
        }
        SERVER_KEEP_ALIVE | RECEIVE_MAXIMUM | TOPIC_ALIAS_MAXIMUM | TOPIC_ALIAS => {
            Value::Number(u32::from(part.u16(field)?))
        }
        MESSAGE_EXPIRY | SESSION_EXPIRY | WILL_DELAY | MAXIMUM_PACKET_SIZE => {
            Value::Number(part.u32(field)?)
        }
        SUBSCRIPTION_ID => Value::Number(part.variable(field)?),
        CORRELATION_DATA | AUTH_DATA => Value::Binary(part.binary(field)?),
        USER => Value::Pair(part.text("a user property")?, part.text("a user property")?),
        CONTENT_TYPE | RESPONSE_TOPIC | ASSIGNED_CLIENT_ID | AUTH_METHOD | RESPONSE_INFORMATION
        | SERVER_REFERENCE | REASON_STRING => Value::Text(part.text(field)?),
        _ => return Err(DecodeError::UnknownProperty(id)),
    };
    check_value(id, &value)?;
    Ok(value)
}

fn check_value(id: u8, value: &Value) -> Result<(), DecodeError> {
    let rule = match (id, value) {
        (RECEIVE_MAXIMUM, Value::Number(0)) => "a receive maximum is not 0 (section 3.1.2.11.3)",
        (MAXIMUM_PACKET_SIZE, Value::Number(0)) => {
            "a maximum packet size is not 0 (section 3.1.2.11.4)"
        }
        (SUBSCRIPTION_ID, Value::Number(0)) => {
            "a subscription identifier is not 0 (section 3.8.2.1.2)"
        }
        (RESPONSE_TOPIC, Value::Text(topic)) if topic.contains(['+', '#']) => {
            "a response topic has no wildcard [MQTT-3.3.2-14]"
        }
        _ => return Ok(()),
    };
    Err(DecodeError::PropertyValue { id, rule })
}

/// Puts a property where it belongs; gives back what is none of a message's.
pub(super) fn take_message(properties: &mut PublishProperties, id: u8, value: Value) {
    match id {
        PAYLOAD_FORMAT => properties.payload_format = value.byte(),
        MESSAGE_EXPIRY => properties.message_expiry = value.number(),
        CONTENT_TYPE => properties.content_type = value.text(),
        RESPONSE_TOPIC => properties.response_topic = value.text(),
        CORRELATION_DATA => properties.correlation_data = value.binary(),
        SUBSCRIPTION_ID => properties.subscription_ids.extend(value.number()),
        USER => value.push_to(&mut properties.user),
        _ => {}
    }
}

/// Writes what travels with a message, with another expiry than it came with.
pub(super) fn write_message(
    properties: &PublishProperties,
    expiry: Option<u32>,
    out: &mut dyn Sink,
) {
    if let Some(format) = properties.payload_format {
        out.u8(PAYLOAD_FORMAT);
        out.u8(format);
    }
    number(out, MESSAGE_EXPIRY, expiry);
    text(out, CONTENT_TYPE, properties.content_type.as_ref());
    text(out, RESPONSE_TOPIC, properties.response_topic.as_ref());
    binary(out, CORRELATION_DATA, properties.correlation_data.as_ref());
    users(out, &properties.user);
}

pub(super) fn flag(out: &mut dyn Sink, id: u8, value: Option<bool>) {
    if let Some(value) = value {
        out.u8(id);
        out.u8(u8::from(value));
    }
}

pub(super) fn short(out: &mut dyn Sink, id: u8, value: Option<u16>) {
    if let Some(value) = value {
        out.u8(id);
        out.u16(value);
    }
}

pub(super) fn number(out: &mut dyn Sink, id: u8, value: Option<u32>) {
    if let Some(value) = value {
        out.u8(id);
        out.u32(value);
    }
}

pub(super) fn text(out: &mut dyn Sink, id: u8, value: Option<&ByteString>) {
    if let Some(value) = value {
        out.u8(id);
        out.text(value);
    }
}

pub(super) fn binary(out: &mut dyn Sink, id: u8, value: Option<&Bytes>) {
    if let Some(value) = value {
        out.u8(id);
        out.binary(value);
    }
}

pub(super) fn users(out: &mut dyn Sink, user: &UserProperties) {
    for (name, value) in user {
        out.u8(USER);
        out.text(name);
        out.text(value);
    }
}

/// Writes a reason string and user properties behind their length.
pub(super) fn write_reason<S: Sink>(
    out: &mut S,
    reason_string: Option<&ByteString>,
    user: &UserProperties,
) {
    prefixed(out, |out| {
        text(out, REASON_STRING, reason_string);
        users(out, user);
    });
}

/// The properties that travel with a message, as on the wire without their length: what plugins see.
pub fn encode_properties(properties: &PublishProperties, out: &mut BytesMut) {
    write_message(properties, properties.message_expiry, out);
}

/// The reverse of [`encode_properties`].
///
/// # Errors
/// Anything that may not travel with a PUBLISH, or is malformed.
pub fn decode_properties(blob: &[u8], limits: &Limits) -> Result<PublishProperties, DecodeError> {
    let mut properties = PublishProperties::default();
    let mut reader = Reader::new(Bytes::copy_from_slice(blob), limits);
    read_all(&mut reader, "PUBLISH", MESSAGE, 0, |id, value| {
        take_message(&mut properties, id, value)
    })?;
    Ok(properties)
}
