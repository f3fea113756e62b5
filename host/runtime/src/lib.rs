//! The plugin host: components in, hooks out.
//!
//! Owns: wasmtime, installed plugins and their versions, instances, the swap, deadlines, memory limits, failure
//! counters. Alone knows wasmtime. Must not: know sockets, HTTP, chains or sessions; block a shard.
//! Called by the binary (control side) and by shards through `witmq_broker::ports`.
//!
//! | module | owns |
//! |---|---|
//! | `abi` | generated bindings of the WIT package |
//! | `engine` | the engine, the epoch ticker, the linker |
//! | `wasi` | what std guests import: answered at once, or refused |
//! | `imports` | the capabilities of `witmq:plugin` |
//! | `package` | bytes to a checked, compiled component |
//! | `instance` | one store: calls, deadline, failures |
//! | `seat` | one thread's instances: shards and authenticator threads |
//! | `registry` | what is installed: install, configure, roll back, restore |
//! | `authenticator` | threads that run `authenticate` |

mod abi;
mod authenticator;
mod config;
mod convert;
mod engine;
mod files;
mod imports;
mod instance;
mod kv;
mod package;
mod plugin;
mod registry;
mod seat;
mod wasi;

pub use authenticator::Authenticator;
pub use config::RuntimeConfig;
pub use package::digest;
pub use registry::{Runtime, StartError};
pub use seat::ShardPlugins;
