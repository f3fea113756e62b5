//! The server side of one Network Connection: bytes in, events out, `now` passed in.
//!
//! Owns: [`Endpoint`] with the handshake, timers, quotas and topic aliases of a connection, and the
//! [`Session`] while the connection lasts.
//! Must not: know subscriptions, other clients, sockets, or read a clock.
//! Called by the broker's shard: `inbound.rs` is what the peer did, `outbound.rs` what it is told, `bursts.rs` both for
//! many of a kind at once.

mod abilities;
mod alias;
mod bursts;
mod error;
mod inbound;
mod outbound;

pub use abilities::Abilities;
pub use bursts::Acknowledged;
pub use error::ProtocolError;

use crate::ByteString;
use crate::codec;
use crate::packet::{
    Auth, Connect, Disconnect, PacketId, Publish, QoS, Subscribe, Unsubscribe, Version,
};
use crate::{LogPlace, Message, ReasonCode, session::Session};
use alias::{InboundAliases, OutboundAliases};
use bytes::BytesMut;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What this server allows one connection. From the configuration, the same for all.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Largest packet the server takes, bytes (default 1 MiB).
    pub maximum_packet_size: u32,
    /// QoS 1 and 2 publishes a client may have unacknowledged (default 1024).
    pub receive_maximum: u16,
    /// Highest alias a client may use (default 32).
    pub topic_alias_maximum: u16,
    /// Highest alias the server itself uses, below what the client allows (default 16).
    pub outbound_topic_alias_maximum: u16,
    /// QoS 1 and 2 messages outstanding towards a client: the value before MQTT 5, the bound of what
    /// an MQTT 5 client may ask for (default 1024).
    pub outbound_receive_maximum: u16,
    /// Longest keep-alive accepted, seconds; an MQTT 5 client that asks for more, or for none, is told
    /// this one; 0 = no bound (default 0).
    pub maximum_keep_alive: u16,
    /// Do not disconnect a client that exceeds the receive maximum, only tell who asks
    /// ([`Endpoint::has_just_exceeded`]; default false).
    pub lenient_receive_maximum: bool,
    /// What the server can do (default: everything).
    pub abilities: Abilities,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            maximum_packet_size: 1024 * 1024,
            receive_maximum: 1024,
            topic_alias_maximum: 32,
            outbound_topic_alias_maximum: 16,
            outbound_receive_maximum: 1024,
            maximum_keep_alive: 0,
            lenient_receive_maximum: false,
            abilities: Abilities::default(),
        }
    }
}

impl Settings {
    /// The bounds the codec applies.
    #[must_use]
    pub fn codec_limits(&self) -> codec::Limits {
        codec_limits(self.maximum_packet_size)
    }
}

#[inline]
fn codec_limits(maximum_packet_size: u32) -> codec::Limits {
    codec::Limits {
        maximum_packet_size,
        ..codec::Limits::default()
    }
}

/// What the peer did, after the protocol's own rules were applied.
#[derive(Debug)]
pub enum Event {
    /// A new application message, alias resolved, `topic` valid and never empty. QoS 2 duplicates are
    /// answered inside and not reported. For QoS > 0 the broker must call `acknowledge` or `withhold` once.
    Publish(Publish),
    /// An outbound QoS 1 or 2 delivery is over (PUBACK, PUBCOMP, or a PUBREC >= 0x80); quota is free again.
    Delivered {
        /// Of the exchange.
        packet_id: PacketId,
        /// 1 or 2.
        qos: QoS,
        /// What the client said.
        reason: ReasonCode,
        /// [`crate::Delivery::number`].
        number: u64,
        /// [`crate::Delivery::kept`].
        kept: Option<LogPlace>,
        /// What was delivered; `None` if [`Event::Released`] had it.
        message: Option<Arc<Message>>,
    },
    /// The client took over a QoS 2 message (PUBREC); its delivery need not be kept any more. Answer with
    /// [`Endpoint::release`] once that is stored.
    Released {
        /// Of the exchange.
        packet_id: PacketId,
        /// [`crate::Delivery::number`].
        number: u64,
        /// [`crate::Delivery::kept`].
        kept: Option<LogPlace>,
        /// What was delivered; `None` after a restart.
        message: Option<Arc<Message>>,
    },
    /// The publisher released a QoS 2 identifier (PUBREL). Answer with [`Endpoint::complete`] once that is
    /// stored: afterwards the identifier may mean a new message.
    Forgotten {
        /// Of the exchange.
        packet_id: PacketId,
    },
    /// SUBSCRIBE; answer with `suback`.
    Subscribe(Box<Subscribe>),
    /// UNSUBSCRIBE; answer with `unsuback`.
    Unsubscribe(Box<Unsubscribe>),
    /// AUTH (v5): re-authentication or the next round.
    Auth(Box<Auth>),
    /// The client says goodbye; the connection is over.
    Disconnect(Box<Disconnect>),
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// Written; QoS 0 carries no id.
    Sent(Option<PacketId>),
    /// Receive maximum or packet ids used up: keep it and try after the next `Event::Delivered`.
    NoQuota,
    /// Larger than the receiver takes: drop it, the session goes on [MQTT-3.1.2-24].
    TooLarge,
    /// Its expiry has passed: drop it [MQTT-3.3.2-5].
    Expired,
}

/// Where the connection is.
#[derive(Debug)]
enum Phase {
    /// CONNECT is read, CONNACK outstanding.
    Connecting,
    /// CONNACK 0 is queued.
    Connected,
    /// DISCONNECT or a refusal is queued or was received: nothing more in or out.
    Closed,
}

/// What the CONNECT asked for and the rest of the connection depends on.
#[derive(Debug)]
struct Terms {
    version: Version,
    /// Seconds, as in force (after Server Keep Alive).
    keep_alive: u16,
    /// Told to the client where it differs from what it asked.
    server_keep_alive: Option<u16>,
    /// Largest packet the client takes.
    maximum_packet_size: u32,
    /// Outbound QoS 1 and 2 quota.
    quota: usize,
    problem_information: bool,
    response_information: bool,
    session_expiry: u32,
    auth_method: Option<Box<ByteString>>,
}

impl Terms {
    fn new(connect: &Connect, settings: &Settings) -> Self {
        let properties = &connect.properties;
        let v5 = connect.version.is_v5();
        let bound = settings.maximum_keep_alive;
        let too_long = bound > 0 && (connect.keep_alive == 0 || connect.keep_alive > bound);
        // Before MQTT 5 the client cannot be told another value, so its own counts [MQTT-3.1.2-21].
        let server_keep_alive = (v5 && too_long).then_some(bound);
        let asked = properties.receive_maximum.unwrap_or(u16::MAX);
        let quota = if v5 {
            asked.min(settings.outbound_receive_maximum)
        } else {
            settings.outbound_receive_maximum
        };
        Self {
            version: connect.version,
            keep_alive: server_keep_alive.unwrap_or(connect.keep_alive),
            server_keep_alive,
            maximum_packet_size: properties.maximum_packet_size.unwrap_or(u32::MAX),
            quota: usize::from(quota.max(1)),
            problem_information: properties.request_problem_information != Some(false),
            response_information: properties.request_response_information == Some(true),
            session_expiry: properties.session_expiry.unwrap_or(0),
            auth_method: properties.authentication_method.clone().map(Box::new),
        }
    }
}

/// Whether a client went beyond the receive maximum and was let.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Excess {
    #[default]
    None,
    New,
    Told,
}

/// Numbers of what was given up, and where it is kept.
#[derive(Debug, Default)]
struct Discarded(Vec<(u64, Option<LogPlace>)>);

/// The server side of one Network Connection. There is one for each, most of them idle: what few need is boxed.
#[derive(Debug)]
pub struct Endpoint {
    terms: Terms,
    phase: Phase,
    session: Option<Session>,
    /// Largest packet the server takes.
    maximum_packet_size: u32,
    receive_maximum: u16,
    lenient_receive_maximum: bool,
    excess: Excess,
    abilities: Abilities,
    /// Control packets waiting to be written.
    out: BytesMut,
    /// Position in the session's outbound list up to which this connection has sent it; the rest is
    /// sent again as quota allows [MQTT-4.4.0-1].
    resent: usize,
    /// QoS 1 publishes taken and not yet acknowledged.
    unacknowledged: usize,
    /// QoS 2 publishes taken and not yet answered with PUBREC.
    unanswered: Vec<PacketId>,
    inbound_aliases: InboundAliases,
    outbound_aliases: OutboundAliases,
    authenticating: bool,
    last_packet: Instant,
    /// Of the last PUBLISH, if it is short: most clients publish to the same one again.
    last_topic: ByteString,
    /// What was too large to be sent again: seldom anything.
    discarded: Option<Box<Discarded>>,
}

impl Endpoint {
    /// A connection whose CONNECT was read; nothing is sent until [`Self::accept`] or [`Self::refuse`].
    ///
    /// Until then only AUTH is taken from the peer; other packets stay undecoded in the input.
    #[must_use]
    pub fn new(now: Instant, connect: &Connect, settings: &Settings) -> Self {
        let aliases = connect.properties.topic_alias_maximum.unwrap_or(0);
        let v5 = connect.version.is_v5();
        Self {
            terms: Terms::new(connect, settings),
            phase: Phase::Connecting,
            session: None,
            maximum_packet_size: settings.maximum_packet_size,
            receive_maximum: settings.receive_maximum.max(1),
            lenient_receive_maximum: settings.lenient_receive_maximum || !v5,
            excess: Excess::default(),
            abilities: settings.abilities,
            out: BytesMut::new(),
            resent: 0,
            unacknowledged: 0,
            unanswered: Vec::new(),
            inbound_aliases: InboundAliases::new(if v5 { settings.topic_alias_maximum } else { 0 }),
            outbound_aliases: OutboundAliases::new(
                aliases.min(settings.outbound_topic_alias_maximum),
            ),
            authenticating: false,
            last_packet: now,
            last_topic: ByteString::new(),
            discarded: None,
        }
    }

    /// Whether an MQTT 5 client has gone beyond the receive maximum where that is tolerated; true once.
    pub fn has_just_exceeded(&mut self) -> bool {
        let is_new = self.excess == Excess::New;
        if is_new {
            self.excess = Excess::Told;
        }
        is_new
    }

    /// How long the client may be silent: one and a half times the keep alive [MQTT-3.1.2-22]; `None`: for ever.
    #[must_use]
    pub fn keep_alive(&self) -> Option<Duration> {
        let seconds = Some(self.terms.keep_alive).filter(|seconds| *seconds > 0)?;
        Some(Duration::from_millis(u64::from(seconds) * 1500))
    }

    /// When [`Self::handle_timeout`] wants to be called (keep-alive).
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !matches!(self.phase, Phase::Connected) {
            return None;
        }
        self.last_packet.checked_add(self.keep_alive()?)
    }

    /// Checks the keep-alive.
    ///
    /// # Errors
    /// [`ProtocolError::KeepAlive`] when one and a half times it passed without a packet [MQTT-3.1.2-22].
    pub fn handle_timeout(&mut self, now: Instant) -> Result<(), ProtocolError> {
        match self.poll_timeout() {
            Some(deadline) if now >= deadline => Err(ProtocolError::KeepAlive {
                seconds: self.terms.keep_alive,
            }),
            _ => Ok(()),
        }
    }

    /// What this connection speaks.
    #[must_use]
    pub fn version(&self) -> Version {
        self.terms.version
    }

    /// The method of an enhanced authentication, from CONNECT.
    #[must_use]
    pub fn auth_method(&self) -> Option<&ByteString> {
        self.terms.auth_method.as_deref()
    }

    /// Whether CONNECT asked for Response Information.
    #[must_use]
    pub fn wants_response_information(&self) -> bool {
        self.terms.response_information
    }

    /// The session while this connection has it.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Outstanding QoS 1 and 2 deliveries.
    #[must_use]
    pub fn inflight(&self) -> usize {
        self.session.as_ref().map_or(0, Session::inflight)
    }

    /// Whether the connection is accepted and not over.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        matches!(self.phase, Phase::Connected)
    }

    /// Takes the session at the end of the connection; `None` if it never was accepted. What is queued
    /// can still be transmitted, nothing more is taken or sent.
    #[must_use]
    pub fn take_session(&mut self) -> Option<Session> {
        self.phase = Phase::Closed;
        self.session.take()
    }
}
