//! Events that chains begin with: their kinds, which of them somebody waits for, and what one carries.
//!
//! Owns: [`EventKind`], [`Wanted`], [`Raised`]. Must not: know how a chain is shown one.

use super::Transport;
use bytestring::ByteString;
use std::net::SocketAddr;
use std::sync::Arc;
use witmq_proto::packet::{QoS, Version};
use witmq_proto::{Message, ReasonCode};

/// What an event's topic begins with. Clients publish nothing there, and nothing is delivered from there.
pub const EVENTS: &str = "$events/";

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// A client is in.
    Connected,
    /// A connection ended.
    Disconnected,
    /// A subscription was made or replaced.
    Subscribed,
    /// A client gave a subscription up.
    Unsubscribed,
    /// A session ended for good.
    SessionExpired,
    /// A message was written to a client.
    Delivered,
    /// A client acknowledged a message.
    Acked,
    /// A message will not be delivered to a client.
    Dropped,
    /// A plugin does not do well, or does again.
    PluginAlarm,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Connected,
        Self::Disconnected,
        Self::Subscribed,
        Self::Unsubscribed,
        Self::SessionExpired,
        Self::Delivered,
        Self::Acked,
        Self::Dropped,
        Self::PluginAlarm,
    ];

    /// The topic that chains name.
    #[must_use]
    pub fn topic(self) -> &'static str {
        match self {
            Self::Connected => "$events/client/connected",
            Self::Disconnected => "$events/client/disconnected",
            Self::Subscribed => "$events/session/subscribed",
            Self::Unsubscribed => "$events/session/unsubscribed",
            Self::SessionExpired => "$events/session/expired",
            Self::Delivered => "$events/message/delivered",
            Self::Acked => "$events/message/acked",
            Self::Dropped => "$events/message/dropped",
            Self::PluginAlarm => "$events/plugin/alarm",
        }
    }
}

/// Kinds of events that chains ask for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wanted(u16);

impl Wanted {
    /// One more.
    pub fn add(&mut self, kind: EventKind) {
        self.0 |= 1 << kind as u16;
    }

    /// Whether somebody asks for it.
    #[must_use]
    pub fn has(self, kind: EventKind) -> bool {
        self.0 & (1 << kind as u16) != 0
    }
}

/// What an event carries besides whom it is about.
#[derive(Clone, Debug)]
pub enum Detail {
    /// Of a connection that began.
    Connection {
        /// Peer address.
        peer: SocketAddr,
        /// Transport.
        transport: Transport,
        /// Protocol version.
        version: Version,
        /// Whether a session was resumed.
        session_present: bool,
    },
    /// Of one that ended.
    End {
        /// Why.
        reason: ReasonCode,
        /// Words.
        text: String,
    },
    /// Of a subscription.
    Subscription {
        /// Topic filter.
        filter: ByteString,
        /// Granted quality of service; `None` where it ends.
        qos: Option<QoS>,
    },
    /// Of a message.
    Message {
        /// Which.
        message: Arc<Message>,
        /// Towards this receiver.
        qos: QoS,
        /// What the receiver said to it.
        reason: Option<ReasonCode>,
        /// Why it was dropped.
        cause: Option<&'static str>,
    },
    /// Of a plugin.
    Alarm(PluginAlarm),
    /// Nothing more.
    Nothing,
}

/// What a plugin's host tells the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginAlarm {
    /// Its name.
    pub plugin: String,
    /// The version that serves.
    pub version: u64,
    /// What it is: `breaker-open`, `breaker-closed`, `rolled-back`, `not-rolled-back`.
    pub kind: &'static str,
    /// Words.
    pub text: String,
}

/// Something happened that a chain asks for.
#[derive(Clone, Debug)]
pub struct Raised {
    /// What.
    pub kind: EventKind,
    /// Whom it is about; empty where it is no client.
    pub client_id: ByteString,
    /// Its user name.
    pub username: Option<ByteString>,
    /// More.
    pub detail: Detail,
}
