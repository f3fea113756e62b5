//! What can be wrong with bytes and with a peer's behaviour, and the reason code each maps to.
//! STUB: filled in by the codec and endpoint authors.

use crate::ReasonCode;

/// A packet that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Stub.
    #[error("malformed packet")]
    Malformed,
}

/// A peer that broke the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The packet itself is bad.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl ProtocolError {
    /// The code for DISCONNECT.
    #[must_use]
    pub fn reason(&self) -> ReasonCode {
        ReasonCode::MalformedPacket
    }
}
