//! Write WitMQ plugins in Rust: a struct with [`macro@plugin`], [`Plugin`] and the traits of its hooks.
//!
//! ```
//! use witmq_sdk::{Failure, Message, NoConfig, Outcome, Place, Plugin, Transform};
//!
//! /// Puts every payload in capitals.
//! #[witmq_sdk::plugin(transform)]
//! struct Shout;
//!
//! impl Plugin for Shout {
//!     type Config = NoConfig;
//!     fn new(_config: NoConfig, _place: &Place) -> Result<Self, String> {
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
//! let mut broker = witmq_sdk::testing::TestBroker::<Shout>::start("{}").unwrap();
//! assert_eq!(broker.send(("greeting", "hello")), Ok(Outcome::payload("HELLO")));
//! ```
//!
//! A plugin is built as a component with `cargo build --release --target wasm32-wasip2`, and tested with plain
//! `cargo test`: outside of WebAssembly the calls of [`host`] go to a [`testing::TestBroker`].
//!
//! Owns: the traits, the types of hooks, host access, the test broker. Must not: know the broker's insides; the only
//! thing it shares with it is the WIT package in `wit/`.

// The macros name this crate from outside, and are used within it.
extern crate self as witmq_sdk;

mod abi;
mod acl;
#[doc(hidden)]
pub mod answering;
mod auth;
mod config;
mod convert;
mod desk;
mod failure;
pub mod host;
mod memory;
mod message;
mod plugin;
mod properties;
#[doc(hidden)]
pub mod register;
pub mod testing;
pub mod topic;

pub use acl::{AclAction, AclEntry};
pub use auth::{Action, Attempt, Certificate, Decision, Denial, Grant, Query, Rule, Step, Verdict};
pub use config::{Config, Schema};
pub use failure::Failure;
pub use memory::Memory;
pub use message::{Delivered, Emit, Event, Message, Outcome, Patch, QoS};
pub use plugin::{
    Applied, Authenticate, Authorize, Events, Health, NoConfig, Place, Plugin, Sink, Timer,
    Transform,
};
pub use properties::Properties;
pub use witmq_sdk_macros::{Config, plugin};

/// The examples of the README are tested.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[doc(hidden)]
pub use abi::{
    authenticating, authorizing, base, lending, observing, sinking, timing, transforming,
};
