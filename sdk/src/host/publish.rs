//! Messages of the plugin's own.

use super::broker;
use crate::message::Emit;
use std::fmt;

/// Why a message was not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// Outside of the granted filters, in words.
    Denied(String),
    /// Not a topic name, malformed properties, or too large, in words.
    Invalid(String),
    /// The broker's queue is full: later it may be taken.
    Busy,
    /// Anything else, in words: more than 16 in one call of a hook, or more host calls than it may make.
    Other(String),
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(text) => write!(f, "the publish was denied: {text}"),
            Self::Invalid(text) => write!(f, "the publish is not valid: {text}"),
            Self::Busy => f.write_str("the broker is too busy for a publish"),
            Self::Other(text) => write!(f, "the publish was not taken: {text}"),
        }
    }
}

impl std::error::Error for PublishError {}

/// Publishes a message within the filters that the operator granted (`publish:FILTER`). It is retained and routed, and
/// goes through no chain.
///
/// # Errors
/// Denied, not valid, or too many.
pub fn publish(message: &Emit) -> Result<(), PublishError> {
    broker::publish(message)
}
