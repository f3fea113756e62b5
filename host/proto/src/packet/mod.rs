//! One struct per control packet, serving MQTT 3.1, 3.1.1 and 5.0 alike.
//!
//! Owns: the shapes. Properties of MQTT 5 are plain fields that stay empty on older versions.
//! Must not: encode or decode (that is [`crate::codec`]) or judge protocol state.

mod ack;
mod connect;
mod publish;
mod subscribe;

pub use ack::{Ack, Auth, Disconnect};
pub use connect::{Connack, ConnackProperties, Connect, ConnectProperties, Will};
pub use publish::{MessageProperties, Publish, PublishProperties};
pub use subscribe::{
    RetainHandling, Suback, Subscribe, SubscribeFilter, SubscribeOptions, Unsuback, Unsubscribe,
};

use bytestring::ByteString;

/// A packet identifier; never zero on the wire [MQTT-2.2.1-2].
pub type PacketId = std::num::NonZeroU16;

/// The user properties of one packet, in wire order [MQTT-3.1.3-10].
pub type UserProperties = Vec<(ByteString, ByteString)>;

/// The protocol version a connection speaks, from its CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Version {
    /// MQTT 3.1: protocol name `MQIsdp`, level 3.
    V31,
    /// MQTT 3.1.1: protocol name `MQTT`, level 4.
    V311,
    /// MQTT 5.0: protocol name `MQTT`, level 5.
    V5,
}

impl Version {
    /// Whether packets carry properties and reason codes.
    #[must_use]
    pub fn is_v5(self) -> bool {
        self == Self::V5
    }

    /// The protocol level byte of CONNECT (3, 4 or 5).
    #[must_use]
    pub fn level(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }
}

/// Quality of service of a message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum QoS {
    /// At most once.
    #[default]
    AtMostOnce = 0,
    /// At least once.
    AtLeastOnce = 1,
    /// Exactly once.
    ExactlyOnce = 2,
}

impl QoS {
    /// The level for wire bits `0..=2`; `None` for the reserved value 3 [MQTT-3.3.1-4].
    #[must_use]
    pub fn from_bits(bits: u8) -> Option<Self> {
        match bits {
            0 => Some(Self::AtMostOnce),
            1 => Some(Self::AtLeastOnce),
            2 => Some(Self::ExactlyOnce),
            _ => None,
        }
    }
}

/// Any control packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// Client requests a connection.
    Connect(Box<Connect>),
    /// Server acknowledges CONNECT.
    Connack(Box<Connack>),
    /// An application message.
    Publish(Box<Publish>),
    /// QoS 1 acknowledgement.
    Puback(Ack),
    /// QoS 2, first answer.
    Pubrec(Ack),
    /// QoS 2, release.
    Pubrel(Ack),
    /// QoS 2, completion.
    Pubcomp(Ack),
    /// Subscribe request.
    Subscribe(Box<Subscribe>),
    /// Answer to SUBSCRIBE.
    Suback(Box<Suback>),
    /// Unsubscribe request.
    Unsubscribe(Box<Unsubscribe>),
    /// Answer to UNSUBSCRIBE.
    Unsuback(Box<Unsuback>),
    /// Keep-alive probe.
    Pingreq,
    /// Answer to PINGREQ.
    Pingresp,
    /// Orderly end of the connection.
    Disconnect(Box<Disconnect>),
    /// Enhanced authentication exchange (MQTT 5).
    Auth(Box<Auth>),
}
