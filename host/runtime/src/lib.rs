//! The plugin host: components in, hooks out.
//!
//! Owns: wasmtime, installed plugins and their versions, instances, the swap, deadlines, memory limits, failure
//! counters. Alone knows wasmtime. Must not: know listeners, chains or sessions; block a shard.
//! Called by the binary (control side) and by shards through `witmq_broker::ports`.
//!
//! | module | owns |
//! |---|---|
//! | `abi` | generated bindings of the WIT package |
//! | `engine` | the engine, the epoch ticker, the linker |
//! | `wasi` | what std guests import: answered at once, or refused |
//! | `imports`, `state` | the capabilities of `witmq:plugin`, and what a store carries for them |
//! | `http` | requests of plugins to other services: grants, addresses, limits |
//! | `manifest` | what a component says of itself without being run |
//! | `package` | bytes to a checked, compiled component |
//! | `compiled` | compiled components, in memory and on disk |
//! | `desk` | memory that a guest lends for messages |
//! | `relay` | a module put into a component, so that the engine finds `on-message` at once |
//! | `capability`, `vetting` | what has to be granted, and what a version has to pass before it serves |
//! | `vectors`, `expect` | the tests that a component brings with it |
//! | `signature` | who made a component |
//! | `instance` | one store: calls, deadline, failures |
//! | `seat` | one thread's instances: shards and authenticator threads |
//! | `mailbox` | from who makes instances to the seats |
//! | `shadow` | a version that sees the traffic of the one that serves, and is compared with it |
//! | `lane` | instances beside the shards: what waits, sinks, events, timers |
//! | `pump` | the queue, retries and dead letters of a sink |
//! | `directory`, `timers` | who finds a plugin by its name: events and timers |
//! | `limited`, `pool` | how often each bound was hit; the memory of all instances together |
//! | `breaker`, `wear`, `log` | when a plugin rests or is taken back, when an instance retires; what it logs |
//! | `tally`, `sampling`, `numbers` | what calls came to and how long they took; metrics that plugins count |
//! | `offline` | a component without a broker, for the tools of its author |
//! | `registry` | what is installed: install, configure, roll back, restore |
//! | `authenticator` | threads that run `authenticate` |

mod abi;
mod authenticator;
mod breaker;
mod capability;
mod compiled;
mod config;
mod convert;
mod desk;
mod directory;
mod engine;
mod expect;
mod files;
mod http;
mod imports;
mod instance;
mod jobs;
mod lane;
mod limited;
mod log;
mod mailbox;
mod manifest;
mod numbers;
mod offline;
mod package;
mod plugin;
mod pool;
mod pulse;
mod pump;
mod registry;
mod relay;
mod sampling;
mod seat;
mod shadow;
mod signature;
mod state;
mod strikes;
mod tally;
mod template;
mod timers;
mod trap;
mod vectors;
mod vetting;
mod wasi;
mod wear;

pub use authenticator::Authenticator;
pub use config::{Grants, HttpLimits, Outside, Publish, RuntimeConfig, Secret, Tell};
pub use directory::Observers;
pub use http::{HttpGrant, NoHost};
pub use limited::BOUNDS;
pub use manifest::{ManifestError, with_manifest};
pub use offline::{About, Offline, Opened, TestRun, Trial};
pub use package::digest;
pub use pulse::coarse_ms;
pub use registry::{Runtime, StartError};
pub use seat::ShardPlugins;
pub use signature::{NoKey, SigningKey};
