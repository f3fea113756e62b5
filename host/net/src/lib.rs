//! Client sockets, TLS, WebSocket, and the threads that drive shards.
//!
//! Owns: listeners, connections, admission limits, one thread with one runtime per shard, mail between
//! them. Must not: know MQTT beyond the first packet (that is `witmq-proto`), sessions or routing (that is
//! the shard), or configuration files. Called by the binary.
//!
//! ```text
//! accept -> [TLS] -> [WebSocket] -> CONNECT read -> (other shard?) -> Shard::connect
//!                                                                        |
//!           read -> Shard::receive -> actions -> wake, mail, authenticate
//!                   Shard::transmit -> write
//! ```
#![forbid(unsafe_code)]

mod admission;
mod certificate;
mod config;
mod connection;
mod driver;
mod handshake;
mod listen;
mod node;
mod post;
mod socket;
mod stream;
mod tls;
mod ws;

pub use admission::NetCounters;
pub use config::{ListenerConfig, NodeConfig};
pub use listen::StartError;
pub use node::{HandedIn, MakeShard, Node};
pub use tls::{ClientCertificates, TlsError, TlsFiles, TlsSlot};
