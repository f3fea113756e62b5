//! What a node listens on, and the bounds of its sockets.

use crate::tls::TlsSlot;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use witmq_broker::ports::Transport;

/// One listener.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// For logs, metrics and the `authenticate` hook.
    pub name: Arc<str>,
    /// What it speaks.
    pub transport: Transport,
    /// Where; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Path of WebSocket requests.
    pub path: String,
    /// Certificate; needed for TLS and WSS.
    pub tls: Option<TlsSlot>,
    /// Connections beyond this are closed at once.
    pub max_connections: usize,
}

/// Bounds of all sockets of a node.
#[derive(Clone, Debug)]
pub struct NodeConfig {
    /// Listeners.
    pub listeners: Vec<ListenerConfig>,
    /// Shard threads, 1 to 64.
    pub shards: u16,
    /// Connections of the whole node (default 100,000).
    pub max_connections: usize,
    /// Connections that wait to be taken at each listening socket, of which every shard has one for a listener (default 4,096, as many
    /// as Linux gives by default).
    pub backlog: u32,
    /// TLS, WebSocket and CONNECT must be there within this (default 10 s).
    pub connect_timeout: Duration,
    /// A peer that takes no byte for this long is closed (default 30 s).
    pub write_timeout: Duration,
    /// Largest packet, bytes; bounds WebSocket frames too (default 1 MiB).
    pub maximum_packet_size: u32,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            shards: 1,
            max_connections: 100_000,
            backlog: 4096,
            connect_timeout: Duration::from_secs(10),
            write_timeout: Duration::from_secs(30),
            maximum_packet_size: 1024 * 1024,
        }
    }
}
