//! What a plugin may ask of the broker. Each use becomes an import of the component: the imports are the
//! capabilities an operator sees, and what is not called is not imported.
//!
//! | | needs a grant | |
//! |---|---|---|
//! | [`log`](mod@log), [`crate::info!`] … | | lines in the plugin's log |
//! | [`metrics`] | | counters and gauges of the plugin's own |
//! | [`clock`] | | time |
//! | [`kv`] | | a store of the plugin's own, kept across updates and restarts |
//! | [`timers`] | | calls of [`crate::Timer`] later |
//! | [`payload`] | | parts of a payload that was not asked for |
//! | [`publish`] | `publish:FILTER` | messages of the plugin's own |
//! | [`secrets`] | `secret:NAME` | what an operator keeps outside of the configuration |
//! | [`clients`] | `clients` | look clients up, disconnect them |
//! | `http` (a feature) | `http:HOST` | requests to other services |
//!
//! Outside of WebAssembly these calls go to the stand-in of [`crate::testing::TestBroker`].

pub mod clients;
pub mod clock;
#[cfg(feature = "http")]
pub mod http;
pub mod kv;
pub mod log;
pub mod metrics;
pub mod payload;
mod publish;
pub mod secrets;
pub mod timers;
#[cfg(target_family = "wasm")]
mod wasm;

pub use clients::ClientsError;
pub use kv::KvError;
pub use publish::{PublishError, publish};
pub use secrets::SecretError;
pub use timers::TimerError;

/// The broker: the real one's imports, or its stand-in.
#[cfg(not(target_family = "wasm"))]
use crate::testing::stand_in as broker;
#[cfg(target_family = "wasm")]
use wasm as broker;
