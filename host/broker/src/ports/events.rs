//! The one typed list of what happens in the broker: log, `$SYS`, metrics, console and tests read it.

use crate::ports::Transport;
use bytestring::ByteString;
use std::net::SocketAddr;
use witmq_proto::ReasonCode;
use witmq_proto::packet::{QoS, Version};

/// Something happened. At most one per stop of a message's way, and only where somebody may care:
/// plain deliveries are counted in [`crate::shard::Counters`], not emitted.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum BrokerEvent {
    /// A client is in.
    Connected {
        /// Client id.
        client_id: ByteString,
        /// User name.
        username: Option<ByteString>,
        /// Peer address.
        peer: SocketAddr,
        /// Transport.
        transport: Transport,
        /// Protocol version.
        version: Version,
        /// Whether a session was resumed.
        session_present: bool,
    },
    /// A CONNECT was refused.
    Refused {
        /// Client id, may be empty.
        client_id: ByteString,
        /// Peer address.
        peer: SocketAddr,
        /// Why.
        reason: ReasonCode,
        /// Words.
        text: String,
    },
    /// A connection ended.
    Disconnected {
        /// Client id.
        client_id: ByteString,
        /// Why.
        reason: ReasonCode,
        /// Words (the protocol error, `connection closed by peer`, …).
        text: String,
    },
    /// A subscription was made or replaced.
    Subscribed {
        /// Client id.
        client_id: ByteString,
        /// Topic filter, as it is in force.
        filter: ByteString,
        /// Granted quality of service.
        qos: QoS,
    },
    /// A client gave a subscription up. Those that end with their session are not told of one by one.
    Unsubscribed {
        /// Client id.
        client_id: ByteString,
        /// Topic filter.
        filter: ByteString,
    },
    /// A publish or subscription was denied.
    Denied {
        /// Client id.
        client_id: ByteString,
        /// `publish` or `subscribe`.
        action: &'static str,
        /// Topic or filter.
        topic: ByteString,
    },
    /// A message was dropped; `cause` is a metric label (`queue-full`, `too-old`, `expired`, `too-large`, `loop`, `no-quota`).
    Dropped {
        /// The receiver.
        client_id: ByteString,
        /// Label.
        cause: &'static str,
    },
    /// A client breaks a rule that this broker is told not to insist on.
    Tolerated {
        /// Client id.
        client_id: ByteString,
        /// Which rule.
        rule: &'static str,
    },
    /// A session ended for good.
    SessionEnded {
        /// Client id.
        client_id: ByteString,
    },
}

/// Receives events, on the shard's thread. Must not block.
pub trait Events {
    /// One event.
    fn emit(&mut self, event: BrokerEvent);
}
