//! One message as JSON.
//!
//! Owns: the form that receivers read; a change of it is a change for them. Must not: know requests.

use crate::config::Form;
use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::Serialize;
use serde_json::value::RawValue;
use witmq_sdk::{Failure, Message, QoS};

/// Arrays and objects within each other that JSON may have to stay JSON; what is deeper goes as text, so that nobody who
/// parses by recursion is led too deep.
const DEPTH: usize = 64;

#[derive(Serialize)]
struct Envelope<'m> {
    topic: &'m str,
    payload: Payload<'m>,
    /// `json`, `text` or `base64`: how to read `payload`.
    encoding: &'static str,
    qos: u8,
    retain: bool,
    received_ms: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    client_id: &'m str,
    #[serde(skip_serializing_if = "str::is_empty")]
    username: &'m str,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_topic: Option<&'m str>,
    /// Base64.
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    message_expiry_s: Option<u32>,
    /// Pairs, for a name may be there more than once.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    user_properties: &'m [(String, String)],
}

#[derive(Serialize)]
#[serde(untagged)]
enum Payload<'m> {
    Json(&'m RawValue),
    Text(&'m str),
    Base64(String),
}

/// The message as one JSON object.
pub(crate) fn write(message: &Message, form: Form) -> Result<Vec<u8>, Failure> {
    let (payload, encoding) = payload(&message.payload, form);
    let properties = &message.properties;
    let data = properties.correlation_data.as_ref();
    let envelope = Envelope {
        topic: &message.topic,
        payload,
        encoding,
        qos: match message.qos {
            QoS::AtMostOnce => 0,
            QoS::AtLeastOnce => 1,
            QoS::ExactlyOnce => 2,
        },
        retain: message.retain,
        received_ms: message.received_ms,
        client_id: &message.client_id,
        username: &message.username,
        content_type: properties.content_type.as_deref(),
        response_topic: properties.response_topic.as_deref(),
        correlation_data: data.map(|data| BASE64_STANDARD.encode(data)),
        message_expiry_s: properties.message_expiry,
        user_properties: &properties.user,
    };
    Ok(serde_json::to_vec(&envelope)?)
}

fn payload(bytes: &[u8], form: Form) -> (Payload<'_>, &'static str) {
    let text = match form {
        Form::Auto | Form::Text => std::str::from_utf8(bytes).ok(),
        Form::Base64 => None,
    };
    let Some(text) = text else {
        return (Payload::Base64(BASE64_STANDARD.encode(bytes)), "base64");
    };
    let json = matches!(form, Form::Auto)
        .then(|| serde_json::from_str::<&RawValue>(text).ok())
        .flatten()
        .filter(|json| is_shallow(json.get()));
    match json {
        Some(json) => (Payload::Json(json), "json"),
        None => (Payload::Text(text), "text"),
    }
}

/// Whether valid JSON is at most [`DEPTH`] deep.
fn is_shallow(json: &str) -> bool {
    let (mut depth, mut is_text, mut is_escaped) = (0_usize, false, false);
    for byte in json.bytes() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            b'[' | b'{' if !is_text => depth += 1,
            b']' | b'}' if !is_text => depth -= 1,
            _ => {}
        }
        if depth > DEPTH {
            return false;
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use witmq_sdk::Properties;

    fn written(message: &Message, form: Form) -> Value {
        serde_json::from_slice(&write(message, form).unwrap()).unwrap()
    }

    fn form(payload: &[u8], form: Form) -> (Value, String) {
        let written = written(&Message::new("t", payload), form);
        let encoding = written["encoding"].as_str().unwrap().to_owned();
        (written["payload"].clone(), encoding)
    }

    #[test]
    fn a_payload_is_written_as_what_it_is() {
        for (payload, how, expected, encoding) in [
            (
                &b"{\"a\":[1,2]}"[..],
                Form::Auto,
                json!({"a": [1, 2]}),
                "json",
            ),
            (b" 20.5\n", Form::Auto, json!(20.5), "json"),
            (b"\"x\"", Form::Auto, json!("x"), "json"),
            (b"hello", Form::Auto, json!("hello"), "text"),
            (b"", Form::Auto, json!(""), "text"),
            (b"{\"a\":1} x", Form::Auto, json!("{\"a\":1} x"), "text"),
            (b"\xFF\x00", Form::Auto, json!("/wA="), "base64"),
            (b"{}", Form::Text, json!("{}"), "text"),
            (b"\xFF", Form::Text, json!("/w=="), "base64"),
            (b"{}", Form::Base64, json!("e30="), "base64"),
        ] {
            assert_eq!(form(payload, how), (expected, encoding.to_owned()));
        }
    }

    #[test]
    fn numbers_keep_their_digits() {
        let digits = "123456789012345678901234567890.10";
        let written = write(&Message::new("t", digits), Form::Auto).unwrap();
        let text = String::from_utf8(written).unwrap();
        assert!(text.contains(&format!("\"payload\":{digits},")), "{text}");
    }

    #[test]
    fn json_beyond_its_depth_goes_as_text() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        let encoding = |json: &str| form(json.as_bytes(), Form::Auto).1;
        assert_eq!(encoding(&nested(DEPTH)), "json");
        assert_eq!(encoding(&nested(DEPTH + 1)), "text");
        assert_eq!(encoding(&format!("\"{}\\\"[\"", nested(DEPTH + 1))), "json");
        assert_eq!(encoding(&nested(500_000)), "text");
    }

    #[test]
    fn everything_of_a_message_is_there_and_nothing_that_it_has_not() {
        let bare = written(&Message::new("a/b", "x"), Form::Auto);
        assert_eq!(
            bare,
            json!({ "topic": "a/b", "payload": "x", "encoding": "text", "qos": 0, "retain": false, "received_ms": 0 })
        );
        let full = Message {
            client_id: "c".to_owned(),
            username: "u".to_owned(),
            received_ms: 7,
            qos: QoS::ExactlyOnce,
            retain: true,
            properties: Properties {
                content_type: Some("text/plain".to_owned()),
                response_topic: Some("answer".to_owned()),
                correlation_data: Some(vec![0xFF]),
                message_expiry: Some(9),
                user: vec![("n".into(), "1".into()), ("n".into(), "2".into())],
                ..Properties::default()
            },
            ..Message::new("a/b", "x")
        };
        assert_eq!(
            written(&full, Form::Auto),
            json!({
                "topic": "a/b", "payload": "x", "encoding": "text", "qos": 2, "retain": true, "received_ms": 7,
                "client_id": "c", "username": "u", "content_type": "text/plain", "response_topic": "answer",
                "correlation_data": "/w==", "message_expiry_s": 9, "user_properties": [["n", "1"], ["n", "2"]]
            })
        );
    }
}
