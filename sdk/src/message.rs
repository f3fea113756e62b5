//! Messages and events, and what hooks make of them.

use crate::failure::Failure;
use crate::properties::Properties;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Quality of service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum QoS {
    /// At most once.
    #[default]
    AtMostOnce,
    /// At least once.
    AtLeastOnce,
    /// Exactly once.
    ExactlyOnce,
}

/// One application message. What the plugin does not ask for (`needs` of [`macro@crate::plugin`]) is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Topic name.
    pub topic: String,
    /// Payload; empty unless it `needs(payload)`, which is the default.
    pub payload: Vec<u8>,
    /// Bytes of the payload, always filled in.
    pub payload_len: u32,
    /// MQTT 5 properties; empty unless it `needs(properties)`.
    pub properties: Properties,
    /// Client id of the publisher; empty unless it `needs(client)`, and for the broker's own messages.
    pub client_id: String,
    /// User name of the publisher; empty unless it `needs(client)`, and where there is none.
    pub username: String,
    /// Stable number of the publishing connection; 0 for the broker's own messages.
    pub session: u64,
    /// Milliseconds since 1970 when the broker took it.
    pub received_ms: u64,
    /// Quality of service.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
}

impl Message {
    /// A message for tests.
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        let payload = payload.into();
        let payload_len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        Self {
            topic: topic.into(),
            payload,
            payload_len,
            ..Self::default()
        }
    }

    /// The payload as JSON.
    ///
    /// # Errors
    /// [`Failure::BadInput`] with place and reason, ready for `?`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.payload).map_err(|error| self.bad_payload(error))
    }

    /// The payload as CBOR.
    ///
    /// # Errors
    /// [`Failure::BadInput`] with place and reason, ready for `?`.
    #[cfg(feature = "cbor")]
    pub fn cbor<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        ciborium::from_reader(&*self.payload).map_err(|error| self.bad_payload(error))
    }

    /// The payload as text.
    ///
    /// # Errors
    /// [`Failure::BadInput`] if it is not UTF-8.
    pub fn text(&self) -> Result<&str, Failure> {
        std::str::from_utf8(&self.payload).map_err(|error| self.bad_payload(error))
    }

    fn bad_payload(&self, error: impl std::fmt::Display) -> Failure {
        Failure::BadInput(format!("payload on {}: {error}", self.topic))
    }
}

/// Topic and payload.
impl<T: Into<String>, P: Into<Vec<u8>>> From<(T, P)> for Message {
    fn from((topic, payload): (T, P)) -> Self {
        Self::new(topic, payload)
    }
}

/// Changed fields; `None` keeps the old value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patch {
    /// New topic name.
    pub topic: Option<String>,
    /// New payload.
    pub payload: Option<Vec<u8>>,
    /// New properties, all of them.
    pub properties: Option<Properties>,
    /// New quality of service.
    pub qos: Option<QoS>,
    /// New RETAIN flag.
    pub retain: Option<bool>,
}

/// A message the plugin made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emit {
    /// Topic name.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// MQTT 5 properties.
    pub properties: Properties,
    /// Quality of service.
    pub qos: QoS,
    /// RETAIN flag.
    pub retain: bool,
}

impl Emit {
    /// A QoS 0 message.
    pub fn new(topic: impl Into<String>, payload: impl Into<Vec<u8>>) -> Self {
        Self {
            topic: topic.into(),
            payload: payload.into(),
            ..Self::default()
        }
    }

    /// A QoS 0 message with a value as JSON.
    ///
    /// # Errors
    /// The value has no JSON form.
    pub fn json(topic: impl Into<String>, value: &impl Serialize) -> Result<Self, Failure> {
        let payload =
            serde_json::to_vec(value).map_err(|error| Failure::Failed(error.to_string()))?;
        Ok(Self::new(topic, payload))
    }

    /// The same with RETAIN set.
    #[must_use]
    pub fn retained(mut self) -> Self {
        self.retain = true;
        self
    }

    /// The same with another quality of service.
    #[must_use]
    pub fn qos(mut self, qos: QoS) -> Self {
        self.qos = qos;
        self
    }
}

/// What became of one message of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// It is where it belongs.
    Done,
    /// Not yet: it comes again.
    Again {
        /// Milliseconds until then; 0 for the broker's own backoff, 1 s doubled up to 30 s.
        after_ms: u32,
    },
    /// Never: it goes to the dead-letter topic with these words.
    Never(String),
}

/// Something that happened in the broker. Fields that do not apply are empty or 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Which; later versions of the broker add names, so ignore those that you do not know.
    ///
    /// | name | |
    /// |---|---|
    /// | `connected` | with `username`; details `peer`, `transport`, `protocol`, `session-present` |
    /// | `refused` | a CONNECT, with `reason_code` and `text`; detail `peer` |
    /// | `disconnected` | with `reason_code` and `text` |
    /// | `subscribed` | `topic` is the filter, `reason_code` the granted quality of service |
    /// | `unsubscribed` | `topic` is the filter |
    /// | `denied` | `text` is `publish` or `subscribe`, `topic` the topic or filter |
    /// | `dropped` | a message for this client; `text` is the cause as metrics name it |
    /// | `session-ended` | for good |
    pub name: String,
    /// Milliseconds since 1970.
    pub at_ms: u64,
    /// Client id.
    pub client_id: String,
    /// User name.
    pub username: String,
    /// Topic name or filter.
    pub topic: String,
    /// MQTT 5 reason code.
    pub reason_code: u8,
    /// Text for people, or a word as said above.
    pub text: String,
    /// What else is known, by name; later versions of the broker add some.
    pub details: Vec<(String, String)>,
}

impl Event {
    /// An event for tests.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            ..Self::default()
        }
    }

    /// A detail by its name: `peer` (`ip:port`), `transport` (`tcp`, `tls`, `ws` or `wss`), `protocol` (`3`, `4` or `5`),
    /// `session-present` (`true` or `false`).
    #[must_use]
    pub fn detail(&self, name: &str) -> Option<&str> {
        let known = self.details.iter().find(|(known, _)| known == name);
        known.map(|(_, value)| value.as_str())
    }
}

/// What becomes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Unchanged.
    Pass,
    /// With these fields changed.
    Modify(Patch),
    /// These messages instead of it.
    Split(Vec<Emit>),
    /// Refused: the publisher is told.
    Refuse {
        /// MQTT 5 reason code, 0x80 or above.
        reason_code: u8,
        /// Text for people.
        text: Option<String>,
    },
    /// Acknowledged, and goes nowhere.
    Consume,
    /// Not acknowledged: the client sends it again once it has connected anew. With QoS 0 as `Consume`.
    Withhold,
    /// The chain ends here; the message goes on as it is.
    Stop,
    /// Goes on in this chain of the same file. No broker so far has named chains: the step fails.
    Jump(String),
}

impl Outcome {
    /// Another payload, the rest unchanged.
    pub fn payload(payload: impl Into<Vec<u8>>) -> Self {
        Self::Modify(Patch {
            payload: Some(payload.into()),
            ..Patch::default()
        })
    }

    /// Another payload, from a value as JSON.
    ///
    /// # Errors
    /// The value has no JSON form.
    pub fn json(value: &impl Serialize) -> Result<Self, Failure> {
        let payload =
            serde_json::to_vec(value).map_err(|error| Failure::Failed(error.to_string()))?;
        Ok(Self::payload(payload))
    }

    /// Another payload, from a value as CBOR.
    ///
    /// # Errors
    /// The value has no CBOR form.
    #[cfg(feature = "cbor")]
    pub fn cbor(value: &impl Serialize) -> Result<Self, Failure> {
        let mut payload = Vec::new();
        ciborium::into_writer(value, &mut payload)
            .map_err(|error| Failure::Failed(error.to_string()))?;
        Ok(Self::payload(payload))
    }

    /// Another topic, the rest unchanged.
    pub fn topic(topic: impl Into<String>) -> Self {
        Self::Modify(Patch {
            topic: Some(topic.into()),
            ..Patch::default()
        })
    }

    /// Refused with an MQTT 5 reason code (0x80 or above) and words.
    pub fn refuse(reason_code: u8, text: impl Into<String>) -> Self {
        Self::Refuse {
            reason_code,
            text: Some(text.into()),
        }
    }
}
