//! Every bound of the broker, with its name and default.
//!
//! Owns: [`Limits`]. Must not: enforce them; whoever hits one counts it in [`crate::shard::Counters`].

use crate::router::groups::Strategies;
use std::time::Duration;
use witmq_proto::endpoint::Settings;

/// What happens to a QoS 1 or 2 message for a client whose outbox is full. QoS 0 is dropped always.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Overflow {
    /// The new message is dropped.
    #[default]
    DropNewest,
    /// The oldest waiting message makes room.
    DropOldest,
    /// The client is disconnected with 0x97; what waits stays in its session.
    Disconnect,
}

/// Bounds of one node; the per-client ones hold for every client.
#[derive(Clone, Debug)]
pub struct Limits {
    /// What one connection may do.
    pub settings: Settings,
    /// Bytes of a client id (default 1024).
    pub client_id_bytes: usize,
    /// Sessions of one shard, connected or not (default 1,000,000).
    pub sessions: usize,
    /// Longest session expiry granted, seconds (default `u32::MAX`: for ever).
    pub session_expiry: u32,
    /// Session expiry of MQTT 3 clients with clean session 0, seconds (default 7 days).
    pub session_expiry_v3: u32,
    /// Subscriptions of one session (default 1000).
    pub subscriptions: usize,
    /// Changes of subscriptions that a shard makes before others have their turn; a filter of 64 bytes or more counts
    /// as several (default 64).
    pub subscribe_turn: usize,
    /// Exclusive subscriptions of the node (default 100,000).
    pub exclusive: usize,
    /// Messages waiting for one client (default 1000).
    pub outbox_messages: usize,
    /// Bytes waiting for one client (default 8 MiB).
    pub outbox_bytes: usize,
    /// How long a message may wait for one client; zero is for ever (default). Retained messages and what is in
    /// flight are as old as they are.
    pub outbox_age: Duration,
    /// What happens beyond messages and bytes.
    pub overflow: Overflow,
    /// Retained messages of the node (default 1,000,000).
    pub retained_messages: usize,
    /// Bytes of retained messages of the node (default 1 GiB).
    pub retained_bytes: usize,
    /// Delayed messages of the node (default 1,000,000).
    pub delayed_messages: usize,
    /// Bytes of delayed messages of the node (default 1 GiB).
    pub delayed_bytes: usize,
    /// Longest delay of a message, seconds (default 4,294,967: almost 50 days).
    pub delayed_max_s: u32,
    /// Chains a message may come through (default 8).
    pub hops: u8,
    /// Events of one shard that wait for the chains they begin (default 8192).
    pub chain_events: usize,
    /// Cached `authorize` verdicts of one client (default 64).
    pub verdicts: usize,
    /// What an MQTT 5 client that asks is told as the basis of its response topics; `{client}` and `{user}` stand
    /// for its names. Empty: nothing (default).
    pub response_information: String,
    /// How shared groups choose their members (default: in turn).
    pub strategies: Strategies,
    /// Publishers, each in each group, whose member one shard remembers for `sticky` (default 65,536).
    pub sticky_publishers: usize,
    /// Topics of which one shard remembers who wants them and which chains name them (default 131,072).
    pub known_topics: usize,
    /// How long authentication may take (default 10 s).
    pub authentication: Duration,
    /// Rounds of one enhanced authentication (default 16).
    pub authentication_rounds: u8,
    /// How often `$SYS` is published; zero turns it off (default 10 s).
    pub sys_interval: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            settings: Settings::default(),
            client_id_bytes: 1024,
            sessions: 1_000_000,
            session_expiry: u32::MAX,
            session_expiry_v3: 7 * 24 * 3600,
            subscriptions: 1000,
            subscribe_turn: 64,
            exclusive: 100_000,
            outbox_messages: 1000,
            outbox_bytes: 8 * 1024 * 1024,
            outbox_age: Duration::ZERO,
            overflow: Overflow::default(),
            retained_messages: 1_000_000,
            retained_bytes: 1024 * 1024 * 1024,
            delayed_messages: 1_000_000,
            delayed_bytes: 1024 * 1024 * 1024,
            delayed_max_s: 4_294_967,
            hops: 8,
            chain_events: 8192,
            verdicts: 64,
            response_information: String::new(),
            strategies: Strategies::default(),
            sticky_publishers: 65_536,
            known_topics: 131_072,
            authentication: Duration::from_secs(10),
            authentication_rounds: 16,
            sys_interval: Duration::from_secs(10),
        }
    }
}
