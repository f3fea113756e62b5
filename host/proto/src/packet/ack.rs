//! The four acknowledgements of PUBLISH as one shape, DISCONNECT and AUTH.

use super::{PacketId, UserProperties};
use crate::ReasonCode;
use bytes::Bytes;
use bytestring::ByteString;

/// PUBACK, PUBREC, PUBREL or PUBCOMP (MQTT 5 sections 3.4 to 3.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Of the PUBLISH it answers.
    pub packet_id: PacketId,
    /// `Success` on versions before 5.
    pub reason: ReasonCode,
    /// Text for people.
    pub reason_string: Option<ByteString>,
    /// User properties.
    pub user: UserProperties,
}

impl Ack {
    /// An acknowledgement with nothing but its code.
    #[must_use]
    pub fn new(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self {
            packet_id,
            reason,
            reason_string: None,
            user: Vec::new(),
        }
    }
}

/// DISCONNECT (MQTT 5 section 3.14). From a server only on MQTT 5.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Disconnect {
    /// `Success` (0x00, normal disconnection) on versions before 5.
    pub reason: ReasonCode,
    /// Client only: a new session expiry in seconds.
    pub session_expiry: Option<u32>,
    /// Text for people.
    pub reason_string: Option<ByteString>,
    /// Server only: another server to use.
    pub server_reference: Option<ByteString>,
    /// User properties.
    pub user: UserProperties,
}

impl Disconnect {
    /// A DISCONNECT with nothing but its code.
    #[must_use]
    pub fn new(reason: ReasonCode) -> Self {
        Self {
            reason,
            session_expiry: None,
            reason_string: None,
            server_reference: None,
            user: Vec::new(),
        }
    }
}

/// AUTH (MQTT 5 section 3.15).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Auth {
    /// `Success`, `ContinueAuthentication` or `ReAuthenticate`.
    pub reason: ReasonCode,
    /// Authentication Method.
    pub method: Option<ByteString>,
    /// Authentication Data.
    pub data: Option<Bytes>,
    /// Text for people.
    pub reason_string: Option<ByteString>,
    /// User properties.
    pub user: UserProperties,
}
