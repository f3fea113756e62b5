//! The test vectors of a manifest, run as the broker runs them before a version serves.

use super::broker::TestBroker;
use super::outcome::same_payload;
use crate::failure::Failure;
use crate::message::{Emit, Message, Outcome, Patch, QoS};
use crate::register::Registered;
use serde::Deserialize;
use serde_json::{Value, json};

/// One vector.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    /// For people; what does not hold is named by it.
    #[serde(rename = "name")]
    _name: String,
    #[serde(default = "empty")]
    config: Value,
    given: Given,
    expect: Expect,
}

fn empty() -> Value {
    json!({})
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    topic: String,
    payload: Option<Value>,
    payload_base64: Option<String>,
    #[serde(default)]
    qos: u8,
    #[serde(default)]
    retain: bool,
    #[serde(default)]
    client_id: String,
    #[serde(default)]
    user_properties: Vec<(String, String)>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Expect {
    Pass,
    Consume,
    Withhold,
    Stop,
    Modify(Change),
    Split(Vec<Change>),
    Refuse(u8),
    Jump(String),
    Failure(String),
}

/// Fields of a message; those that are left out are not compared.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    topic: Option<String>,
    payload: Option<Value>,
    qos: Option<u8>,
    retain: Option<bool>,
}

impl<P: Registered> TestBroker<P> {
    /// Runs the test vectors of the manifest, each on an instance of its own, and says how many there are.
    ///
    /// # Panics
    /// With all that do not hold.
    #[track_caller]
    pub fn run_vectors() -> usize {
        let (count, wrong) = run::<P>();
        assert!(
            wrong.is_empty(),
            "{} of {count} test vectors do not hold:\n{}",
            wrong.len(),
            wrong.join("\n")
        );
        count
    }
}

/// How many vectors there are, and those that do not hold, in words.
fn run<P: Registered>() -> (usize, Vec<String>) {
    let manifest: Value = match serde_json::from_str(P::MANIFEST) {
        Ok(manifest) => manifest,
        Err(error) => return (1, vec![format!("the file of tests is no JSON: {error}")]),
    };
    let vectors = manifest["tests"].as_array().cloned().unwrap_or_default();
    let wrong = |vector: &Value| {
        let name = vector["name"].as_str().unwrap_or("a vector without a name");
        let held = serde_json::from_value(vector.clone())
            .map_err(|error| error.to_string())
            .and_then(one::<P>);
        held.err().map(|text| format!("  {name}: {text}"))
    };
    (vectors.len(), vectors.iter().filter_map(wrong).collect())
}

fn one<P: Registered>(vector: Vector) -> Result<(), String> {
    let mut broker = TestBroker::<P>::start(vector.config)?;
    let message = vector.given.message()?;
    let none = || Err(Failure::failed("the plugin has no hook `transform`"));
    let outcome = broker.transform(message, |plugin, message| {
        plugin.transform(message).unwrap_or_else(none)
    });
    match vector.expect.fits(&outcome) {
        true => Ok(()),
        false => Err(format!("the outcome was {outcome:?}")),
    }
}

impl Given {
    fn message(self) -> Result<Message, String> {
        let payload = match (self.payload, self.payload_base64) {
            (Some(_), Some(_)) => return Err("has both `payload` and `payload_base64`".to_owned()),
            (Some(payload), None) => bytes(&payload),
            (None, Some(text)) => base64(&text).ok_or("`payload_base64` is no base64")?,
            (None, None) => Vec::new(),
        };
        let mut message = Message::new(self.topic, payload);
        message.qos = qos(self.qos).ok_or("`qos` is 0, 1 or 2")?;
        message.retain = self.retain;
        message.client_id = self.client_id;
        message.properties.user = self.user_properties;
        Ok(message)
    }
}

fn qos(number: u8) -> Option<QoS> {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce]
        .get(usize::from(number))
        .copied()
}

/// A text stands for itself, everything else for its JSON.
fn bytes(payload: &Value) -> Vec<u8> {
    match payload {
        Value::String(text) => text.clone().into_bytes(),
        json => json.to_string().into_bytes(),
    }
}

/// Base64 with its padding (RFC 4648 section 4).
fn base64(text: &str) -> Option<Vec<u8>> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if !text.len().is_multiple_of(4) {
        return None;
    }
    let digits = text.trim_end_matches('=');
    if text.len() - digits.len() > 2 {
        return None;
    }
    let mut bytes = Vec::new();
    let (mut bits, mut count) = (0_u32, 0);
    for letter in digits.bytes() {
        let value = LETTERS.iter().position(|known| *known == letter)?;
        bits = bits << 6 | u32::try_from(value).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xFF).ok()?);
        }
    }
    Some(bytes)
}

impl Expect {
    fn fits(&self, outcome: &Result<Outcome, Failure>) -> bool {
        match (self, outcome) {
            (Self::Pass, Ok(Outcome::Pass))
            | (Self::Consume, Ok(Outcome::Consume))
            | (Self::Withhold, Ok(Outcome::Withhold))
            | (Self::Stop, Ok(Outcome::Stop)) => true,
            (Self::Modify(change), Ok(Outcome::Modify(patch))) => change.fits_patch(patch),
            (Self::Split(changes), Ok(Outcome::Split(parts))) => {
                let mut pairs = changes.iter().zip(parts);
                changes.len() == parts.len() && pairs.all(|(change, part)| change.fits_part(part))
            }
            (Self::Refuse(expected), Ok(Outcome::Refuse { reason_code, .. })) => {
                expected == reason_code
            }
            (Self::Jump(expected), Ok(Outcome::Jump(chain))) => expected == chain,
            (Self::Failure(words), Err(failure)) => failure.to_string().contains(words),
            _ => false,
        }
    }
}

impl Change {
    fn fits_patch(&self, patch: &Patch) -> bool {
        let payload = |expected: &Value| {
            let payload = patch.payload.as_deref();
            payload.is_some_and(|payload| same_payload(payload, &bytes(expected)))
        };
        self.topic
            .as_ref()
            .is_none_or(|topic| patch.topic.as_ref() == Some(topic))
            && self.payload.as_ref().is_none_or(payload)
            && self.qos.is_none_or(|number| patch.qos == qos(number))
            && self
                .retain
                .is_none_or(|retain| patch.retain == Some(retain))
    }

    fn fits_part(&self, part: &Emit) -> bool {
        self.fits_patch(&Patch {
            topic: Some(part.topic.clone()),
            payload: Some(part.payload.clone()),
            qos: Some(part.qos),
            retain: Some(part.retain),
            properties: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_decoded_or_refused() {
        for (text, expected) in [
            ("", Some("")),
            ("aA==", Some("h")),
            ("aGU=", Some("he")),
            ("aGVs", Some("hel")),
            ("aGVsbG8=", Some("hello")),
            ("a", None),
            ("a===", None),
            ("aG=s", None),
            ("aG\u{e9}s", None),
        ] {
            let decoded = base64(text);
            assert_eq!(decoded.as_deref(), expected.map(str::as_bytes), "{text}");
        }
    }

    #[test]
    fn an_expectation_fits_only_what_it_says() {
        let expect = |value: Value| serde_json::from_value::<Expect>(value).unwrap();
        let json = Ok(Outcome::payload(r#"{"b":1,"a":[2]}"#));
        for (value, outcome, expected) in [
            (json!("pass"), Ok(Outcome::Pass), true),
            (json!("pass"), Ok(Outcome::Stop), false),
            (
                json!({"modify": {"payload": {"a": [2], "b": 1}}}),
                json.clone(),
                true,
            ),
            (
                json!({"modify": {"payload": {"a": [2], "b": 2}}}),
                json.clone(),
                false,
            ),
            (json!({"modify": {"topic": "t"}}), json, false),
            (
                json!({"split": [{"topic": "a"}]}),
                Ok(Outcome::Split(vec![Emit::new("a", "x")])),
                true,
            ),
            (
                json!({"split": []}),
                Ok(Outcome::Split(vec![Emit::new("a", "x")])),
                false,
            ),
            (json!({"refuse": 135}), Ok(Outcome::refuse(135, "no")), true),
            (
                json!({"refuse": 135}),
                Ok(Outcome::refuse(131, "no")),
                false,
            ),
            (json!({"jump": "b"}), Ok(Outcome::Jump("b".into())), true),
            (
                json!({"failure": "no num"}),
                Err(Failure::bad_input("no number")),
                true,
            ),
            (json!({"failure": "no num"}), Ok(Outcome::Pass), false),
        ] {
            assert_eq!(
                expect(value.clone()).fits(&outcome),
                expected,
                "{value} {outcome:?}"
            );
        }
    }
}
