//! CONNECT and CONNACK, and the Will they carry.

use super::{PublishProperties, QoS, UserProperties, Version};
use crate::{ReasonCode, TopicName};
use bytes::Bytes;
use bytestring::ByteString;

/// CONNECT (MQTT 5 section 3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// What this connection speaks from here on.
    pub version: Version,
    /// Clean Start (MQTT 5) or Clean Session (before).
    pub clean_start: bool,
    /// Seconds; 0 turns the mechanism off.
    pub keep_alive: u16,
    /// May be empty: the server then assigns one where the version allows.
    pub client_id: ByteString,
    /// The message to publish if the connection ends without a DISCONNECT.
    pub will: Option<Will>,
    /// User name.
    pub username: Option<ByteString>,
    /// Password: any bytes.
    pub password: Option<Bytes>,
    /// MQTT 5 properties; default on older versions.
    pub properties: ConnectProperties,
}

/// Properties of CONNECT; `None` means absent on the wire.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnectProperties {
    /// Seconds the session outlives the connection; `u32::MAX` is for ever.
    pub session_expiry: Option<u32>,
    /// How many QoS 1 and 2 messages the client takes unacknowledged; never 0.
    pub receive_maximum: Option<u16>,
    /// Bytes of the largest packet the client takes; never 0.
    pub maximum_packet_size: Option<u32>,
    /// Highest alias the server may use towards this client.
    pub topic_alias_maximum: Option<u16>,
    /// Whether the client wants response information in CONNACK.
    pub request_response_information: Option<bool>,
    /// `Some(false)`: no reason strings or user properties on acknowledgements.
    pub request_problem_information: Option<bool>,
    /// Enhanced authentication method.
    pub authentication_method: Option<ByteString>,
    /// Enhanced authentication data.
    pub authentication_data: Option<Bytes>,
    /// User properties.
    pub user: UserProperties,
}

/// The Will Message of a CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Where it will be published.
    pub topic: TopicName,
    /// Its payload.
    pub payload: Bytes,
    /// Its QoS.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
    /// Will Delay Interval in seconds (MQTT 5; 0 before).
    pub delay: u32,
    /// The properties that travel with the message.
    pub properties: PublishProperties,
}

/// CONNACK (MQTT 5 section 3.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connack {
    /// The server resumed a stored session; always false on refusal [MQTT-3.2.2-6].
    pub session_present: bool,
    /// `Success` or why not; the codec maps it for MQTT 3 (see [`ReasonCode::connack_v3`]).
    pub reason: ReasonCode,
    /// MQTT 5 properties; ignored on older versions.
    pub properties: ConnackProperties,
}

/// Properties of CONNACK; `None` means absent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnackProperties {
    /// Seconds, when the server uses another value than asked.
    pub session_expiry: Option<u32>,
    /// How many QoS 1 and 2 publishes the server takes unacknowledged.
    pub receive_maximum: Option<u16>,
    /// Only ever 0 or 1: lower than QoS 2.
    pub maximum_qos: Option<u8>,
    /// `Some(false)` if retained messages are refused.
    pub retain_available: Option<bool>,
    /// Bytes of the largest packet the server takes.
    pub maximum_packet_size: Option<u32>,
    /// The client id the server chose.
    pub assigned_client_id: Option<ByteString>,
    /// Highest alias the client may use.
    pub topic_alias_maximum: Option<u16>,
    /// Text for people.
    pub reason_string: Option<ByteString>,
    /// `Some(false)` if wildcards are refused.
    pub wildcard_available: Option<bool>,
    /// `Some(false)` if subscription identifiers are refused.
    pub subscription_ids_available: Option<bool>,
    /// `Some(false)` if shared subscriptions are refused.
    pub shared_available: Option<bool>,
    /// Seconds the client must use instead of its own.
    pub server_keep_alive: Option<u16>,
    /// Basis for response topics.
    pub response_information: Option<ByteString>,
    /// Another server to use.
    pub server_reference: Option<ByteString>,
    /// Enhanced authentication method.
    pub authentication_method: Option<ByteString>,
    /// Enhanced authentication data.
    pub authentication_data: Option<Bytes>,
    /// User properties.
    pub user: UserProperties,
}
