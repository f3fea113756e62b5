//! What can be wrong with bytes, and the reason code each maps to. Judgements about a connection's
//! state are [`crate::endpoint::ProtocolError`].

use crate::ReasonCode;
use crate::topic::TopicError;

pub use crate::endpoint::ProtocolError;

/// Bytes that are no packet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The first packet of a connection was another one.
    #[error("the first packet must be CONNECT, this has type {0} [MQTT-3.1.0-1]")]
    NotConnect(u8),
    /// Type 0, or AUTH before MQTT 5.
    #[error("packet type {0} does not exist in this version (section 2.1.2)")]
    UnknownType(u8),
    /// Reserved flags of the fixed header.
    #[error("{0} with wrong flags in its fixed header [MQTT-2.1.3-1]")]
    Flags(&'static str),
    /// More than four bytes, or more than needed.
    #[error("the length is no valid variable byte integer [MQTT-1.5.5-1]")]
    Length,
    /// Above the maximum packet size, judged by its fixed header alone.
    #[error("a packet of {size} bytes, the maximum here is {maximum} [MQTT-3.1.2-24]")]
    TooLarge {
        /// Whole packet.
        size: usize,
        /// The bound.
        maximum: u32,
    },
    /// The packet ends within a field.
    #[error("the packet ends within {0}")]
    Truncated(&'static str),
    /// The packet goes on after its last field.
    #[error("{packet} has {count} bytes too many")]
    Trailing {
        /// Which.
        packet: &'static str,
        /// How many.
        count: usize,
    },
    /// Not UTF-8, a surrogate, or U+0000.
    #[error("{0} is not well-formed UTF-8, or contains U+0000 [MQTT-1.5.4-1] [MQTT-1.5.4-2]")]
    Utf8(&'static str),
    /// Packet identifier 0.
    #[error("packet identifier 0 [MQTT-2.2.1-3]")]
    PacketIdZero,
    /// QoS 3.
    #[error("QoS 3 [MQTT-3.3.1-4]")]
    QoS,
    /// DUP on QoS 0.
    #[error("DUP on QoS 0 [MQTT-3.3.1-2]")]
    DupOnQos0,
    /// A topic name that is none.
    #[error("bad topic name: {0}")]
    Topic(#[from] TopicError),
    /// Neither `MQTT` nor `MQIsdp`.
    #[error("the protocol name is not MQTT [MQTT-3.1.2-1]")]
    ProtocolName,
    /// A level nobody here speaks.
    #[error("protocol level {0} is not spoken here: 3, 4 and 5 are [MQTT-3.1.2-2]")]
    UnsupportedVersion(u8),
    /// Connect flags that contradict each other.
    #[error("connect flags: {0}")]
    ConnectFlags(&'static str),
    /// A property MQTT 5 does not know.
    #[error("property 0x{0:02X} does not exist (section 2.2.2.2)")]
    UnknownProperty(u8),
    /// A property in a packet it does not belong to.
    #[error("property 0x{id:02X} does not belong into {packet} (section 2.2.2.2)")]
    MisplacedProperty {
        /// Its number.
        id: u8,
        /// Where it was.
        packet: &'static str,
    },
    /// A property twice.
    #[error("property 0x{0:02X} is there twice (section 2.2.2.2)")]
    DuplicateProperty(u8),
    /// A property with a forbidden value.
    #[error("property 0x{id:02X}: {rule}")]
    PropertyValue {
        /// Its number.
        id: u8,
        /// What the standard says.
        rule: &'static str,
    },
    /// Enhanced authentication data without a method.
    #[error("authentication data without a method (section 3.1.2.11.10)")]
    DataWithoutMethod,
    /// SUBSCRIBE or UNSUBSCRIBE without a filter.
    #[error("{0} without a topic filter [MQTT-3.8.3-2] [MQTT-3.10.3-2]")]
    NoFilters(&'static str),
    /// A value of the subscription options that does not exist: a protocol error, says section 3.8.3.1.
    #[error("subscription options: {0} (section 3.8.3.1)")]
    OptionValue(&'static str),
    /// Reserved bits of the subscription options.
    #[error("subscription options: {0}")]
    Options(&'static str),
    /// No Local on a shared subscription.
    #[error("No Local on a shared subscription [MQTT-3.8.3-4]")]
    NoLocalShared,
    /// A reason code the packet does not have.
    #[error("{packet} with reason code 0x{code:02X}, which it does not have")]
    Reason {
        /// Which packet.
        packet: &'static str,
        /// The byte.
        code: u8,
    },
    /// More of something than this server takes.
    #[error("more than {maximum} {what} in one packet")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The bound.
        maximum: usize,
    },
}

impl DecodeError {
    /// The code a server answers with (section 4.13).
    #[must_use]
    pub fn reason(&self) -> ReasonCode {
        match self {
            Self::TooLarge { .. } => ReasonCode::PacketTooLarge,
            Self::Topic(_) => ReasonCode::TopicNameInvalid,
            Self::UnsupportedVersion(_) | Self::ProtocolName => ReasonCode::UnsupportedVersion,
            Self::TooMany { .. } => ReasonCode::QuotaExceeded,
            Self::NotConnect(_)
            | Self::DuplicateProperty(_)
            | Self::PropertyValue { .. }
            | Self::DataWithoutMethod
            | Self::NoFilters(_)
            | Self::OptionValue(_)
            | Self::NoLocalShared => ReasonCode::ProtocolError,
            Self::UnknownType(_)
            | Self::Flags(_)
            | Self::Length
            | Self::Truncated(_)
            | Self::Trailing { .. }
            | Self::Utf8(_)
            | Self::PacketIdZero
            | Self::QoS
            | Self::DupOnQos0
            | Self::ConnectFlags(_)
            | Self::UnknownProperty(_)
            | Self::MisplacedProperty { .. }
            | Self::Options(_)
            | Self::Reason { .. } => ReasonCode::MalformedPacket,
        }
    }
}

/// A packet that cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// AUTH, or DISCONNECT with properties, before MQTT 5.
    #[error("{0} does not exist in this version")]
    NotInVersion(&'static str),
    /// Longer than the remaining length can say.
    #[error("a packet of {0} bytes cannot be encoded, at most 268,435,455 can")]
    TooLarge(usize),
}
