//! The test vectors of a manifest, run as the broker runs them before a version serves.

use super::broker::{Setup, TestBroker};
use super::outcome::same_payload;
use crate::auth::{Attempt, Grant, Step};
use crate::failure::Failure;
use crate::message::{Delivered, Emit, Message, Outcome, Patch, QoS};
use crate::register::Registered;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// One vector.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    /// For people; what does not hold is named by it.
    #[serde(rename = "name")]
    _name: String,
    #[serde(default)]
    hook: Hook,
    #[serde(default = "empty")]
    config: Value,
    given: Given,
    #[serde(default)]
    answers: Vec<Answer>,
    #[serde(default)]
    secrets: BTreeMap<String, String>,
    expect: Expect,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Hook {
    #[default]
    Transform,
    Sink,
    Authenticate,
}

/// What another service answers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(
    not(feature = "http"),
    allow(dead_code, reason = "there are no requests")
)]
struct Answer {
    #[serde(default = "get")]
    method: String,
    url: String,
    #[serde(default = "fine")]
    status: u16,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    #[serde(default)]
    body: Value,
    #[serde(default)]
    silent: bool,
}

fn get() -> String {
    "GET".to_owned()
}

fn fine() -> u16 {
    200
}

fn empty() -> Value {
    json!({})
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Given {
    #[serde(default)]
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
    username: Option<String>,
    password: Option<String>,
    method: Option<String>,
    data: Option<String>,
    state: Option<String>,
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
    Done,
    /// After so many milliseconds; 0: as the broker likes.
    Again(u32),
    /// With these words somewhere.
    Never(String),
    Ignore,
    Allow(Allowed),
    Deny(u8),
    /// With this in its data.
    Challenge(String),
}

/// Fields of a grant; those that are left out are not compared.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Allowed {
    username: Option<String>,
    superuser: Option<bool>,
    data: Option<String>,
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
    let mut broker = setup::<P>(&vector).start(&vector.config)?;
    let Vector {
        hook,
        given,
        expect,
        ..
    } = vector;
    let none = |hook: &str| Failure::failed(format!("the plugin has no hook `{hook}`"));
    let (is_same, came) = match hook {
        Hook::Transform => {
            let outcome = broker.transform(given.message()?, |plugin, message| {
                let outcome = plugin.transform(message);
                outcome.unwrap_or_else(|| Err(none("transform")))
            });
            (expect.fits(&outcome), format!("{outcome:?}"))
        }
        Hook::Sink => {
            let delivered = broker.sink(vec![given.message()?], |plugin, batch| {
                let delivered = plugin.sink(batch);
                delivered.unwrap_or_else(|| Err(none("sink")))
            });
            (expect.fits_delivered(&delivered), format!("{delivered:?}"))
        }
        Hook::Authenticate => {
            let (attempt, round) = given.attempt();
            let round = round.as_ref();
            let round = round.map(|(state, data)| (state.as_bytes(), data.as_bytes()));
            let step = broker.with(|plugin| plugin.authenticate(&attempt, round));
            let step = step.unwrap_or_else(|| Err(none("authenticate")));
            (expect.fits_step(&step), format!("{step:?}"))
        }
    };
    match is_same {
        true => Ok(()),
        false => Err(format!("the outcome was {came}")),
    }
}

/// The secrets and answers of a vector are there, and granted.
fn setup<P: Registered>(vector: &Vector) -> Setup<P> {
    let mut setup = TestBroker::<P>::setup();
    for (name, text) in &vector.secrets {
        let text = text.clone().into_bytes();
        setup = setup.secret(name, text).grant(&format!("secret:{name}"));
    }
    for answer in &vector.answers {
        setup = answer.given(setup);
    }
    setup
}

impl Answer {
    #[cfg(feature = "http")]
    fn given<P: Registered>(&self, setup: Setup<P>) -> Setup<P> {
        let (method, url) = (&self.method, &self.url);
        let rest = url.split_once("://").map_or(&**url, |(_, rest)| rest);
        let host = rest.split(['/', '?']).next().unwrap_or_default();
        let setup = setup.grant(&format!("http:{host}"));
        if self.silent {
            return setup.silent(method, url);
        }
        let body = match &self.body {
            Value::Null => Vec::new(),
            body => bytes(body),
        };
        let mut response = crate::host::http::Response::new(self.status, body);
        let headers = self.headers.iter();
        let headers = headers.map(|(name, value)| (name.to_ascii_lowercase(), value.clone()));
        response.headers.extend(headers);
        setup.answers(method, url, response)
    }

    #[cfg(not(feature = "http"))]
    fn given<P: Registered>(&self, setup: Setup<P>) -> Setup<P> {
        setup
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
        message.username = self.username.unwrap_or_default();
        message.properties.user = self.user_properties;
        Ok(message)
    }

    /// What a client asks, and with the state of an exchange what it says next.
    fn attempt(self) -> (Attempt, Option<(String, String)>) {
        let data = self.data.unwrap_or_default();
        let (data, round) = match self.state {
            Some(state) => (String::new(), Some((state, data))),
            None => (data, None),
        };
        let attempt = Attempt {
            client_id: self.client_id,
            username: self.username,
            password: self.password.map(String::into_bytes),
            method: self.method,
            data: data.into_bytes(),
            peer: "127.0.0.1:1".to_owned(),
            listener: "test".to_owned(),
            transport: "tcp".to_owned(),
            protocol: 5,
            certificate: None,
        };
        (attempt, round)
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

impl Expect {
    fn fits_delivered(&self, delivered: &Result<Vec<Delivered>, Failure>) -> bool {
        let delivered = match (self, delivered) {
            (Self::Failure(words), Err(failure)) => return failure.to_string().contains(words),
            (_, Ok(all)) => all.first(),
            _ => None,
        };
        match (self, delivered) {
            (Self::Done, Some(Delivered::Done)) => true,
            (Self::Again(expected), Some(Delivered::Again { after_ms })) => expected == after_ms,
            (Self::Never(words), Some(Delivered::Never(text))) => text.contains(words),
            _ => false,
        }
    }

    fn fits_step(&self, step: &Result<Step, Failure>) -> bool {
        match (self, step) {
            (Self::Ignore, Ok(Step::Ignore)) => true,
            (Self::Allow(expected), Ok(Step::Allow(grant))) => expected.fits(grant),
            (Self::Deny(expected), Ok(Step::Deny(denial))) => *expected == denial.reason_code,
            (Self::Challenge(words), Ok(Step::Challenge { data, .. })) => {
                String::from_utf8_lossy(data).contains(words)
            }
            (Self::Failure(words), Err(failure)) => failure.to_string().contains(words),
            _ => false,
        }
    }
}

impl Allowed {
    fn fits(&self, grant: &Grant) -> bool {
        let is_data = |data: &String| grant.data.as_deref() == Some(data.as_bytes());
        let is_name = |name: &String| grant.username.as_ref() == Some(name);
        self.username.as_ref().is_none_or(is_name)
            && self.superuser.is_none_or(|is| is == grant.superuser)
            && self.data.as_ref().is_none_or(is_data)
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
