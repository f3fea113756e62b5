//! MQTT 3.1, 3.1.1 and 5.0 on the wire and as a state machine, without I/O.
//!
//! Owns: control packets, their encoding, topic names and filters, reason codes, and the server side
//! of one Network Connection ([`endpoint::Endpoint`]) with what outlives it ([`session::Session`]).
//! Must not: read a clock, open a socket or a file, spawn, log. `now` is always passed in.
//! Called by `witmq-broker` (state) and `witmq-net` (the first packet of a connection).
#![forbid(unsafe_code)]

pub mod burst;
pub mod codec;
pub mod endpoint;
pub mod error;
pub mod message;
pub mod packet;
pub mod reason;
pub mod session;
pub mod topic;

pub use burst::Burst;
pub use error::{DecodeError, EncodeError, ProtocolError};
pub use message::{Delivery, LogPlace, Message};
pub use packet::Packet;
pub use reason::ReasonCode;
pub use topic::{TopicFilter, TopicName};

pub use bytes::{Bytes, BytesMut};
pub use bytestring::ByteString;
