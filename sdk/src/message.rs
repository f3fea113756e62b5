//! Messages, and what a transformation makes of them.

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

/// One application message. What the plugin does not need (see `Plugin::NEEDS`) is empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Message {
    /// Topic name.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// Bytes of the payload, always filled in.
    pub payload_len: u32,
    /// MQTT 5 properties.
    pub properties: Properties,
    /// Client id of the publisher; empty for the broker's own messages.
    pub client_id: String,
    /// Stable number of the publishing connection.
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
        serde_json::from_slice(&self.payload)
            .map_err(|error| Failure::BadInput(format!("payload on {}: {error}", self.topic)))
    }

    /// The payload as text.
    ///
    /// # Errors
    /// [`Failure::BadInput`] if it is not UTF-8.
    pub fn text(&self) -> Result<&str, Failure> {
        std::str::from_utf8(&self.payload)
            .map_err(|error| Failure::BadInput(format!("payload on {}: {error}", self.topic)))
    }
}

/// Why a hook could not do its work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The message is not what the plugin expects.
    BadInput(String),
    /// Something else went wrong.
    Failed(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::BadInput(text) => write!(f, "bad input: {text}"),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for Failure {}

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
    /// Not acknowledged: the client sends it again.
    Withhold,
    /// The chain ends here; the message goes on as it is.
    Stop,
    /// Goes on in this chain of the same file.
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
