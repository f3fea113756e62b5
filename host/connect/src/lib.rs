//! Connectors: what chains hand over waits here, on disk, until another service has taken it.
//!
//! Owns: sink files, their queues, one thread for each sink, and the protocols of other services. It alone talks to
//! other services on behalf of chains. Must not: know chains, plugins, shards or clients beyond `broker::ports`.
//! Called by the binary.
#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        reason = "tests"
    )
)]

mod hooks;
mod keys;
mod kinds;
mod outlet;
mod place;
mod queue;
mod record;
mod secret;
mod settings;
mod sinks;
mod state;
mod worker;

pub use hooks::Connected;
pub use secret::Secret;
pub use sinks::{Sinks, SinksConfig};
