//! The application message inside the broker, and one receiver's claim to it.
//!
//! Owns: [`Message`] (immutable, shared by all receivers) and [`Delivery`].
//! Must not: know sessions, connections or routing.

use crate::TopicName;
use crate::packet::{Publish, PublishProperties, QoS};
use bytes::Bytes;
use bytestring::ByteString;
use std::sync::Arc;
use std::time::Instant;

/// An application message after it was accepted from its publisher. Never changed: a
/// transformation makes a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Where it was published.
    pub topic: TopicName,
    /// The payload; shared, never copied per receiver.
    pub payload: Bytes,
    /// QoS it was published with.
    pub qos: QoS,
    /// RETAIN flag as published.
    pub retain: bool,
    /// What travels with it. `subscription_ids` is empty here: they belong to a [`Delivery`].
    pub properties: PublishProperties,
    /// When `message_expiry` runs out; `None` if it has none.
    pub expires_at: Option<Instant>,
    /// Client id of the publisher; empty for the broker's own messages.
    pub publisher: ByteString,
    /// Milliseconds since 1970 when the broker took it; when it fell due, if it was delayed.
    pub received_ms: u64,
    /// How many rule chains it has come through; cut at a limit.
    pub hops: u8,
}

impl Message {
    /// Whole seconds left at `now`, rounded up so that it is never 0 while alive;
    /// `Some(0)` means expired; `None` means it never expires [MQTT-3.3.2-6].
    #[must_use]
    pub fn remaining_expiry(&self, now: Instant) -> Option<u32> {
        let left = self.expires_at?.saturating_duration_since(now);
        let whole = left.as_secs() + u64::from(left.subsec_nanos() > 0);
        Some(u32::try_from(whole).unwrap_or(u32::MAX))
    }

    /// Builds the message of a PUBLISH whose alias is already resolved to `topic`.
    #[must_use]
    #[inline]
    pub fn from_publish(
        publish: Publish,
        topic: TopicName,
        publisher: ByteString,
        now: Instant,
        received_ms: u64,
    ) -> Self {
        let expires_at = publish
            .properties
            .message_expiry
            .and_then(|s| now.checked_add(std::time::Duration::from_secs(u64::from(s))));
        Self {
            topic,
            payload: publish.payload,
            qos: publish.qos,
            retain: publish.retain,
            properties: publish.properties,
            expires_at,
            publisher,
            received_ms,
            hops: 0,
        }
    }
}

/// A message owed to one receiver, with that receiver's options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// The shared message.
    pub message: Arc<Message>,
    /// min(published, granted) [MQTT-3.8.4-8].
    pub qos: QoS,
    /// RETAIN flag towards this receiver.
    pub retain: bool,
    /// Identifiers of all matching subscriptions [MQTT-3.3.4-4]; empty before MQTT 5.
    pub subscription_ids: Box<[u32]>,
    /// The shared group it was sent through, so that it can go to another member if this one's
    /// session ends: `(group, filter)`.
    pub group: Option<Arc<(ByteString, ByteString)>>,
    /// QoS 1 and 2: its place in the order of the session. The packet identifier follows from it, so that
    /// it is the same after a restart.
    pub number: u64,
    /// Where the message is kept, if it is.
    pub kept: Option<LogPlace>,
}

/// A message in the durable log: the shard that wrote it, and its count there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPlace {
    /// Which shard wrote it.
    pub shard: u16,
    /// Count of that shard.
    pub number: u64,
}
