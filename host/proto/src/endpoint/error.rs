//! What a peer can do wrong beyond bytes, and the reason code each answer carries.

use crate::{DecodeError, ReasonCode};

/// A peer that broke the protocol. The connection ends with [`ProtocolError::reason`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The packet itself is bad.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// [MQTT-3.1.0-2]
    #[error("a second CONNECT on one connection [MQTT-3.1.0-2]")]
    SecondConnect,
    /// A packet only servers send.
    #[error("{0} is sent by servers only")]
    ServerPacket(&'static str),
    /// [MQTT-3.3.4-9]
    #[error(
        "more QoS 1 and 2 publishes outstanding than the receive maximum of {maximum} [MQTT-3.3.4-9]"
    )]
    ReceiveMaximum {
        /// What CONNACK said.
        maximum: u16,
    },
    /// [MQTT-3.3.2-8], [MQTT-3.3.2-9]
    #[error("topic alias {alias} is above the maximum of {maximum} [MQTT-3.3.2-9]")]
    TopicAlias {
        /// As sent.
        alias: u16,
        /// What CONNACK said.
        maximum: u16,
    },
    /// Section 3.3.4: an empty topic needs an alias that was set on this connection.
    #[error("topic alias {0} was never set on this connection (section 3.3.4)")]
    UnknownAlias(u16),
    /// An empty topic and no alias.
    #[error("a PUBLISH without topic and without alias (section 3.3.2.1)")]
    NoTopic,
    /// [MQTT-3.3.4-6]
    #[error("a client must not send subscription identifiers [MQTT-3.3.4-6]")]
    SubscriptionId,
    /// A PUBACK for QoS 2, or a PUBREC or PUBCOMP for QoS 1.
    #[error("{packet} does not fit the QoS of packet {packet_id} (section 4.3)")]
    WrongAcknowledgement {
        /// Which.
        packet: &'static str,
        /// Of the exchange.
        packet_id: u16,
    },
    /// [MQTT-4.12.0-6], [MQTT-4.12.0-7]
    #[error("AUTH without an authentication method in CONNECT [MQTT-4.12.0-6]")]
    UnexpectedAuth,
    /// [MQTT-4.12.0-5]
    #[error("the authentication method changed within one connection [MQTT-4.12.0-5]")]
    AuthMethodChanged,
    /// Section 3.15.2.1
    #[error("AUTH with a reason code that does not fit here (section 3.15.2.1)")]
    AuthReason,
    /// [MQTT-3.14.2-2]
    #[error("DISCONNECT raises a session expiry that CONNECT set to 0 [MQTT-3.14.2-2]")]
    SessionExpiryRaised,
    /// Section 3.2.2.3.4
    #[error("a QoS above the maximum of {maximum} (section 3.2.2.3.4)")]
    QosNotSupported {
        /// What CONNACK said.
        maximum: u8,
    },
    /// Section 3.2.2.3.5
    #[error("RETAIN, and this server keeps no retained message (section 3.2.2.3.5)")]
    RetainNotSupported,
    /// Section 3.3.2.3.2
    #[error("a payload that is not UTF-8, as its format indicator says (section 3.3.2.3.2)")]
    PayloadFormat,
    /// Sections 3.2.2.3.11 to 3.2.2.3.13
    #[error("SUBSCRIBE asks for what CONNACK excluded: {0}")]
    NotSupported(ReasonCode),
    /// [MQTT-3.1.2-22]
    #[error("nothing came for one and a half times the keep alive of {seconds} s [MQTT-3.1.2-22]")]
    KeepAlive {
        /// The keep alive in force.
        seconds: u16,
    },
}

impl ProtocolError {
    /// The code of the DISCONNECT that ends the connection.
    #[must_use]
    pub fn reason(&self) -> ReasonCode {
        match self {
            Self::Decode(error) => error.reason(),
            Self::ReceiveMaximum { .. } => ReasonCode::ReceiveMaximumExceeded,
            Self::TopicAlias { .. } => ReasonCode::TopicAliasInvalid,
            Self::KeepAlive { .. } => ReasonCode::KeepAliveTimeout,
            Self::QosNotSupported { .. } => ReasonCode::QosNotSupported,
            Self::RetainNotSupported => ReasonCode::RetainNotSupported,
            Self::PayloadFormat => ReasonCode::PayloadFormatInvalid,
            Self::NotSupported(reason) => *reason,
            Self::AuthMethodChanged => ReasonCode::BadAuthenticationMethod,
            Self::SecondConnect
            | Self::ServerPacket(_)
            | Self::UnknownAlias(_)
            | Self::NoTopic
            | Self::SubscriptionId
            | Self::WrongAcknowledgement { .. }
            | Self::UnexpectedAuth
            | Self::AuthReason
            | Self::SessionExpiryRaised => ReasonCode::ProtocolError,
        }
    }
}
