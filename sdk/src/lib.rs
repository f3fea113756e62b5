//! Write WitMQ plugins in Rust: implement [`Plugin`] and the hooks you need, then register them.
//!
//! ```
//! use witmq_sdk::{Failure, Message, Outcome, Place, Plugin, Transform};
//!
//! struct Shout;
//!
//! impl Plugin for Shout {
//!     type Config = witmq_sdk::NoConfig;
//!     fn new(_config: Self::Config, _place: &Place) -> Result<Self, String> {
//!         Ok(Self)
//!     }
//! }
//!
//! impl Transform for Shout {
//!     fn on_message(&mut self, message: &Message) -> Result<Outcome, Failure> {
//!         Ok(Outcome::payload(message.payload.to_ascii_uppercase()))
//!     }
//! }
//!
//! witmq_sdk::plugin!(Shout: transform);
//! # fn main() {
//! let mut plugin = witmq_sdk::testing::start::<Shout>("{}").unwrap();
//! let outcome = plugin.on_message(&Message::new("greeting", "hello")).unwrap();
//! assert_eq!(outcome, Outcome::payload("HELLO"));
//! # }
//! ```
//!
//! A plugin is built as a component with `cargo build --release --target wasm32-wasip2`, and tested with plain
//! `cargo test`: outside of WebAssembly the capabilities in [`host`] go to an in-process stand-in.
//!
//! Owns: the traits, the registration macro, the types of hooks. Must not: know the broker's insides; the only
//! thing it shares with it is the WIT package in `wit/`.

mod abi;
mod auth;
pub mod host;
mod message;
mod plugin;
mod properties;
#[doc(hidden)]
pub mod register;
pub mod testing;

pub use auth::{Action, Attempt, Decision, Grant, Query, Rule, Step, Verdict};
pub use message::{Emit, Failure, Message, Outcome, Patch, QoS};
pub use plugin::{Authenticate, Authorize, Needs, NoConfig, Place, Plugin, Transform};
pub use properties::Properties;

#[doc(hidden)]
pub use abi::{authenticating, authorizing, base, transforming};
