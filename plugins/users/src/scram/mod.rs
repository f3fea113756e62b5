//! SCRAM as its server sees it (RFC 5802, RFC 7677), with SHA-256 or SHA-512 and without channel binding.
//!
//! Owns: the exchange, what is kept of a password, the made-up salts of names that are not there. Must not: know what
//! a user may do.
//!
//! The broker keeps the state between two rounds: the two messages said so far. So any instance can go on, and a
//! configuration that changed in between makes the proof wrong, not the answer.

mod exchange;
mod keys;
mod mechanism;
mod message;
#[cfg(test)]
mod tests;

pub use exchange::{Proven, begin, proceed};
pub use keys::{Decoys, Keys, KeysError, USUAL_ITERATIONS};
pub use mechanism::Mechanism;

use witmq_sdk::Step;

/// Bytes of a message of the client.
const MESSAGE_BYTES: usize = 2048;
/// Bytes of the client's part of the nonce.
const CLIENT_NONCE_BYTES: usize = 256;

/// MQTT 5: bad user name or password.
const BAD_CREDENTIALS: u8 = 0x86;
/// MQTT 5: not authorized.
const NOT_AUTHORIZED: u8 = 0x87;
/// MQTT 5: bad authentication method.
const BAD_METHOD: u8 = 0x8C;

/// Why an exchange ends without a grant. The words are for the client too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScramError {
    /// More than it can be.
    #[error("a scram message is longer than {MESSAGE_BYTES} bytes")]
    TooLong,
    /// What is wrong with it.
    #[error("not a scram message: {0}")]
    Malformed(&'static str),
    /// `p=` in the GS2 header.
    #[error("channel binding is not offered here; begin the exchange with `n,,`")]
    ChannelBinding,
    /// `m=`.
    #[error("the scram message needs an extension that is not known here")]
    Extension,
    /// Another name in `a=`.
    #[error("nobody can act for another user here; leave the authorization identity out")]
    AnotherIdentity,
    /// Something else than what was said before.
    #[error("the nonce or the channel binding is not that of this exchange")]
    AnotherExchange,
    /// The password is another, or nobody has that name.
    #[error("bad user name or password")]
    Proof,
}

impl ScramError {
    /// The end of the attempt.
    #[must_use]
    pub fn denial(self) -> Step {
        let code = match self {
            Self::Proof => BAD_CREDENTIALS,
            Self::ChannelBinding => BAD_METHOD, // it asks for a mechanism that ends in -PLUS
            _ => NOT_AUTHORIZED,
        };
        Step::deny(code, self.to_string())
    }
}
