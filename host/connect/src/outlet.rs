//! One kind's way out: what a worker asks of it.
//!
//! Owns: [`Outlet`], [`Answer`], [`Trouble`], and a message as JSON. Must not: retry; that is the worker's.

use crate::record::Record;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::pin::Pin;
use std::time::Duration;

/// What became of one message of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// It is where it belongs.
    Done,
    /// It is not to go there, for it runs in a circle: counted.
    Looped,
    /// Never, with words: a dead letter.
    Never(String),
}

/// A batch was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The service is not there, or not well: all come again, after this long if it says so.
    Away {
        text: String,
        after: Option<Duration>,
    },
    /// The service refuses something of it: each is sent alone, and what is refused alone is a dead letter.
    Refused(String),
}

impl Trouble {
    pub(crate) fn away(text: impl std::fmt::Display) -> Self {
        Self::Away {
            text: text.to_string(),
            after: None,
        }
    }
}

/// An answer that comes later.
pub(crate) type Later<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A way out. One worker calls it, one call at a time. A call may be given up in its middle.
pub(crate) trait Outlet {
    /// Whether the service is there and takes messages, without giving it one: what it says, in words.
    fn check(&mut self) -> Later<'_, Result<String, String>>;
    /// Gives it a batch: one answer for each message, in order. Fewer answers: the rest was not tried.
    fn send<'a>(&'a mut self, batch: &'a [Record]) -> Later<'a, Result<Vec<Answer>, Trouble>>;
    /// Called now and then while there is nothing to send.
    fn idle(&mut self) -> Later<'_, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
    /// There will be no other call.
    fn close(&mut self) -> Later<'_, ()> {
        Box::pin(async {})
    }
}

/// A message as JSON. The payload is what it is: JSON, else text, else `payload_base64`.
pub(crate) fn envelope(record: &Record) -> Value {
    let mut fields = Map::new();
    fields.insert("topic".into(), (*record.topic).into());
    match payload(record) {
        Ok(value) => fields.insert("payload".into(), value),
        Err(text) => fields.insert("payload_base64".into(), text.into()),
    };
    fields.insert("qos".into(), (record.qos as u8).into());
    fields.insert("retain".into(), record.retain.into());
    fields.insert("client".into(), (*record.client).into());
    if let Some(name) = &record.username {
        fields.insert("username".into(), (**name).into());
    }
    fields.insert("received_ms".into(), record.received_ms.into());
    let properties = &record.properties;
    if let Some(text) = &properties.content_type {
        fields.insert("content_type".into(), (**text).into());
    }
    if !properties.user.is_empty() {
        let user = properties.user.iter();
        let user: Vec<Value> = user.map(|(name, value)| json!([**name, **value])).collect();
        fields.insert("user".into(), user.into());
    }
    Value::Object(fields)
}

/// The payload as JSON; `Err`: it is neither JSON nor text, in base64.
pub(crate) fn payload(record: &Record) -> Result<Value, String> {
    if let Ok(value) = serde_json::from_slice(&record.payload) {
        return Ok(value);
    }
    match std::str::from_utf8(&record.payload) {
        Ok(text) => Ok(text.into()),
        Err(_) => Err(STANDARD.encode(&record.payload)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::{message, publisher};
    use crate::record::{HEAD_BYTES, decode, encode};
    use bytes::{Bytes, BytesMut};

    #[test]
    fn a_payload_is_json_or_text_or_base64() {
        for (payload, field, wanted) in [
            (&b"{\"c\":20}"[..], "payload", json!({"c": 20})),
            (b"hot", "payload", json!("hot")),
            (b"\xff\x00", "payload_base64", json!("/wA=")),
        ] {
            let mut given = message("a/b", "");
            given.payload = Bytes::copy_from_slice(payload);
            let mut out = BytesMut::new();
            assert!(encode(publisher(), &given, &mut out));
            let record = decode(out.freeze().slice(HEAD_BYTES..)).expect("readable");
            let envelope = envelope(&record);
            assert_eq!(envelope[field], wanted);
            assert_eq!(
                (&envelope["topic"], &envelope["client"]),
                (&json!("a/b"), &json!("c"))
            );
            assert_eq!(envelope["user"], json!([["a", "b"]]));
        }
    }
}
