//! Who gets what: shards, sessions, routing, retained messages, wills. Sans-IO like the protocol.
//!
//! Owns: [`shard::Shard`], a single-threaded broker that takes bytes, mail and `now`, and yields
//! [`shard::Action`]s; the router; the retained store; and [`ports`], the traits its siblings implement.
//! Must not: open sockets or files, know wasmtime, HTTP, TOML or CEL, spawn, read a clock, log.
//! Driven by `witmq-net` (one driver per shard thread), wired by the binary.
#![forbid(unsafe_code)]

pub mod acl;
pub mod auto_subscribe;
mod blocks;
pub mod delayed;
pub mod exclusive;
pub mod kv;
pub mod limits;
pub mod memory;
pub mod ports;
pub mod redirect;
pub mod retained;
pub mod rewrite;
pub mod router;
pub mod shard;
pub mod shared;
pub mod short;
pub mod spread;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use limits::{Limits, Overflow};
pub use router::ShardId;
pub use shared::Shared;
