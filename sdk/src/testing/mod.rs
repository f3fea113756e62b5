//! Plugins in plain `cargo test`: a broker around the same code, with a clock that the test moves.
//!
//! ```
//! # use witmq_sdk::{Failure, Message, NoConfig, Outcome, Place, Plugin, Transform};
//! # /// Puts every payload in capitals.
//! # #[witmq_sdk::plugin(transform)]
//! # struct Shout;
//! # impl Plugin for Shout {
//! #     type Config = NoConfig;
//! #     fn new(_config: NoConfig, _place: &Place) -> Result<Self, String> { Ok(Self) }
//! # }
//! # impl Transform for Shout {
//! #     fn on_message(&mut self, message: &Message) -> Result<Outcome, Failure> {
//! #         Ok(Outcome::payload(message.text()?.to_uppercase()))
//! #     }
//! # }
//! use witmq_sdk::testing::TestBroker;
//!
//! let mut broker = TestBroker::<Shout>::start("{}").unwrap();
//! witmq_sdk::assert_outcome!(broker,
//!     ("t", "hello") => Outcome::payload("HELLO"),
//!     ("t", b"\xFF") => Err("invalid utf-8"),
//! );
//! ```

mod answers;
mod broker;
#[cfg(feature = "http")]
pub(crate) mod http;
mod outcome;
mod schema;
pub(crate) mod stand_in;
mod vectors;

pub use broker::{Setup, TestBroker};
pub use outcome::Expected;
pub use stand_in::Line;
