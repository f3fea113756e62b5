//! What the load generator, the floors and the matrix share: packets, sockets, time, what the kernel says of a process.
//!
//! Owns: [`wire`] (just enough MQTT 3.1.1 to play a client), [`io`] (many connections on one thread), [`websocket`],
//! [`floor`], [`histogram`], [`probe`]. Must not: use the broker's own protocol code, which is what it measures (but in
//! [`workloads`], which are that code); leave loopback.
//! Called by: the binaries of this package, which `cargo xtask bench` runs.

pub mod floor;
pub mod histogram;
pub mod io;
pub mod probe;
pub mod websocket;
pub mod wire;
pub mod workloads;
