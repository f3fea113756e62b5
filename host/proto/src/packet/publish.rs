//! PUBLISH.

use super::{PacketId, QoS, UserProperties};
use bytes::Bytes;
use bytestring::ByteString;
use std::fmt;
use std::ops::{Deref, DerefMut};

/// PUBLISH (MQTT 5 section 3.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    /// Redelivery flag [MQTT-3.3.1-1].
    pub dup: bool,
    /// Quality of service.
    pub qos: QoS,
    /// Retain flag.
    pub retain: bool,
    /// As on the wire: UTF-8, no wildcard, empty only with an alias (MQTT 5).
    pub topic: ByteString,
    /// Present exactly when `qos` is above 0 [MQTT-2.2.1-2].
    pub packet_id: Option<PacketId>,
    /// The application message.
    pub payload: Bytes,
    /// MQTT 5: Topic Alias. Per connection, never forwarded, so not among the properties.
    pub topic_alias: Option<u16>,
    /// MQTT 5 properties; default on older versions.
    pub properties: PublishProperties,
}

/// The properties that travel with an application message to its receivers. One pointer, and none on most messages:
/// a message is moved several times on its way, and each field here would be moved with it.
#[derive(Clone, Default)]
pub struct PublishProperties(Option<Box<MessageProperties>>);

impl PublishProperties {
    /// Surely none; `false` says nothing.
    #[must_use]
    #[inline]
    pub fn are_none(&self) -> bool {
        self.0.is_none()
    }
}

impl From<MessageProperties> for PublishProperties {
    fn from(properties: MessageProperties) -> Self {
        Self((properties != NONE).then(|| Box::new(properties)))
    }
}

impl Deref for PublishProperties {
    type Target = MessageProperties;
    fn deref(&self) -> &MessageProperties {
        self.0.as_deref().unwrap_or(&NONE)
    }
}

impl DerefMut for PublishProperties {
    fn deref_mut(&mut self) -> &mut MessageProperties {
        self.0.get_or_insert_default()
    }
}

impl PartialEq for PublishProperties {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for PublishProperties {}

impl fmt::Debug for PublishProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// Those of a message without any.
static NONE: MessageProperties = MessageProperties {
    payload_format: None,
    message_expiry: None,
    response_topic: None,
    correlation_data: None,
    subscription_ids: Vec::new(),
    content_type: None,
    user: Vec::new(),
};

/// What [`PublishProperties`] hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MessageProperties {
    /// 0 bytes, 1 UTF-8 text.
    pub payload_format: Option<u8>,
    /// Message Expiry Interval in seconds.
    pub message_expiry: Option<u32>,
    /// Where the answer to a request goes.
    pub response_topic: Option<ByteString>,
    /// Ties an answer to its request.
    pub correlation_data: Option<Bytes>,
    /// Server to client only: every matching subscription's identifier.
    pub subscription_ids: Vec<u32>,
    /// Describes the payload.
    pub content_type: Option<ByteString>,
    /// User properties, order kept [MQTT-3.3.2-18].
    pub user: UserProperties,
}

impl MessageProperties {
    /// Whether a payload is what the Payload Format Indicator says of it (section 3.3.2.3.2).
    #[must_use]
    pub fn fits_format(&self, payload: &[u8]) -> bool {
        self.payload_format != Some(1) || std::str::from_utf8(payload).is_ok()
    }
}
