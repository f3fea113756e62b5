//! Converts payloads between JSON, CBOR, MessagePack and Protocol Buffers.
//!
//! ```json
//! { "from": "cbor", "to": "json" }
//! { "from": "protobuf", "to": "json", "protobuf": { "descriptor": "CqMB…", "message": "plant.v1.Reading" } }
//! ```
//!
//! Owns: the way from bytes to bytes, and what becomes of those that cannot go it. Must not: guess what a payload is.
//!
//! Every form is read into the values of CBOR, which has all that the others have, and written from them.

mod config;
mod json;
mod msgpack;
mod protobuf;
#[cfg(test)]
mod tests;

use ciborium::Value;
use config::{Format, OnError};
use protobuf::Protobuf;
use std::collections::BTreeSet;
use witmq_sdk::host::metrics;
use witmq_sdk::{Failure, Message, Outcome, Patch, Place, Plugin, Properties, Transform};

pub use config::Config;

/// MQTT 5: payload format invalid.
const PAYLOAD_FORMAT_INVALID: u8 = 0x99;
/// The user property with the reason of a failure.
const TAG: &str = "codec-error";
/// Bytes of a reason; the rest is cut.
const REASON_BYTES: usize = 500;
/// Bytes of what goes on. Names of fields, which are not on the wire of protobuf, make much of little.
const OUTPUT_BYTES: usize = 512 * 1024;

/// Converts payloads between JSON, CBOR, MessagePack and Protocol Buffers.
#[witmq_sdk::plugin(
    transform,
    name = "codec",
    needs(payload, properties),
    tests = "tests.json"
)]
pub struct Codec {
    config: Config,
    /// There if either side is protobuf.
    protobuf: Option<Protobuf>,
}

impl Plugin for Codec {
    type Config = Config;

    fn new(config: Config, _place: &Place) -> Result<Self, String> {
        if config.from == config.to {
            return Err("`from` and `to` are the same: there is nothing to convert".to_owned());
        }
        let is_used = [config.from, config.to].contains(&Format::Protobuf);
        let protobuf = match (&config.protobuf, is_used) {
            (Some(protobuf), true) => Some(Protobuf::new(protobuf)?),
            (None, true) => {
                return Err(
                    "protobuf: a descriptor and the name of a message are needed".to_owned(),
                );
            }
            (Some(_), false) => {
                return Err(
                    "protobuf: neither `from` nor `to` is protobuf; leave it out".to_owned(),
                );
            }
            (None, false) => None,
        };
        Ok(Self { config, protobuf })
    }
}

impl Transform for Codec {
    fn on_message(&mut self, message: &Message) -> Result<Outcome, Failure> {
        // An empty retained message takes the retained one away; it says nothing itself.
        if message.retain && message.payload.is_empty() {
            return Ok(Outcome::Pass);
        }
        Ok(match self.convert(&message.payload) {
            Ok(payload) => {
                metrics::count("converted", 1);
                Outcome::Modify(Patch {
                    payload: Some(payload),
                    properties: Some(self.properties(message)),
                    ..Patch::default()
                })
            }
            Err(reason) => {
                metrics::count("not_converted", 1);
                self.failed(message, &reason)
            }
        })
    }
}

impl Codec {
    /// The payload in its other form, or why it has none.
    fn convert(&self, payload: &[u8]) -> Result<Vec<u8>, String> {
        let (max_bytes, max_depth) = (self.config.max_bytes, usize::from(self.config.max_depth));
        if u32::try_from(payload.len()).is_ok_and(|bytes| bytes > max_bytes) {
            return Err(format!(
                "it has {} bytes, allowed are {max_bytes}",
                payload.len()
            ));
        }
        let value = match (self.config.from, &self.protobuf) {
            (Format::Json, _) => {
                serde_json::from_slice(payload).map_err(|error| error.to_string())?
            }
            (Format::Cbor, _) => cbor(payload, max_depth)?,
            (Format::Msgpack, _) => msgpack::read(payload, max_depth)?,
            (Format::Protobuf, Some(protobuf)) => protobuf.read(payload)?,
            (Format::Protobuf, None) => return Err("it has no descriptor".to_owned()),
        };
        check(&value, max_depth)?;
        let payload = match (self.config.to, &self.protobuf) {
            (Format::Json, _) => json::write(&value, self.config.integers)?,
            (Format::Cbor, _) => write_cbor(&value)?,
            (Format::Msgpack, _) => msgpack::write(&value)?,
            (Format::Protobuf, Some(protobuf)) => protobuf.write(value)?,
            (Format::Protobuf, None) => return Err("it has no descriptor".to_owned()),
        };
        match payload.len() {
            ..=OUTPUT_BYTES => Ok(payload),
            _ => Err(too_much()),
        }
    }

    /// What describes the payload that goes on.
    fn properties(&self, message: &Message) -> Properties {
        let to = self.config.to;
        let own = self.config.content_type.clone();
        let mut properties = without_tag(message);
        properties.content_type = Some(own.unwrap_or_else(|| to.content_type().to_owned()));
        properties.payload_format = (to == Format::Json).then_some(1);
        properties
    }

    fn failed(&self, message: &Message, reason: &str) -> Outcome {
        // Names of a payload are in it; a null is not allowed in a text of MQTT.
        let reason = reason[..reason.floor_char_boundary(REASON_BYTES)].replace('\0', " ");
        match self.config.on_error {
            OnError::Refuse => {
                let text = format!("payload on {}: {reason}", message.topic);
                Outcome::refuse(PAYLOAD_FORMAT_INVALID, text)
            }
            OnError::Tag => {
                let mut properties = without_tag(message);
                properties.user.push((TAG.to_owned(), reason));
                Outcome::Modify(Patch {
                    properties: Some(properties),
                    ..Patch::default()
                })
            }
        }
    }
}

/// The tag is ours alone: whoever reads it may trust it.
fn without_tag(message: &Message) -> Properties {
    let mut properties = message.properties.clone();
    properties.user.retain(|(name, _)| name != TAG);
    properties
}

fn cbor(payload: &[u8], max_depth: usize) -> Result<Value, String> {
    let mut rest = payload;
    // Tags count as levels here, so there is room for one around each.
    let value = ciborium::de::from_reader_with_recursion_limit(&mut rest, 2 * max_depth + 2);
    let value = value.map_err(|error| match error {
        ciborium::de::Error::Io(_) => "it ends too early".to_owned(),
        ciborium::de::Error::Syntax(place) => format!("no cbor at byte {place}"),
        ciborium::de::Error::Semantic(_, text) => text,
        ciborium::de::Error::RecursionLimitExceeded => {
            format!("it has more than {max_depth} levels")
        }
    })?;
    match rest {
        [] => Ok(value),
        _ => Err(format!("{} bytes are left behind its end", rest.len())),
    }
}

fn write_cbor(value: &Value) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).map_err(|error| error.to_string())?;
    Ok(bytes)
}

fn too_much() -> String {
    format!("it would become more than {OUTPUT_BYTES} bytes")
}

/// Levels, and names that are there twice: what they would mean depends on who reads them.
fn check(value: &Value, levels: usize) -> Result<(), String> {
    match value {
        Value::Tag(_, inner) => check(inner, levels),
        Value::Array(_) | Value::Map(_) if levels == 0 => Err("it has too many levels".to_owned()),
        Value::Array(items) => items.iter().try_for_each(|item| check(item, levels - 1)),
        Value::Map(members) => {
            let (mut texts, mut others) = (BTreeSet::new(), BTreeSet::new());
            for (name, member) in members {
                let is_new = match untagged(name) {
                    Value::Text(text) => texts.insert(text),
                    other => others.insert(write_cbor(other)?),
                };
                if !is_new {
                    return Err(format!("the name {} is there twice", words(name)));
                }
                check(name, levels - 1)?;
                check(member, levels - 1)?;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn untagged(mut value: &Value) -> &Value {
    while let Value::Tag(_, inner) = value {
        value = inner;
    }
    value
}

/// A name, for people.
fn words(name: &Value) -> String {
    json::text(name).map_or_else(|_| "that is no text".to_owned(), |text| format!("`{text}`"))
}
