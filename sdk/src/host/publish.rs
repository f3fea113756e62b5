//! Messages of the plugin's own.

use super::broker;
use crate::message::Emit;
use std::fmt;

/// Why a message was not published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// Outside of the granted filters, in words.
    Denied(String),
    /// Not a valid topic name, or properties that are none.
    BadTopic,
    /// More than 16 in one call of a hook, or the broker's queue is full.
    Busy,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(text) => write!(f, "the publish was denied: {text}"),
            Self::BadTopic => f.write_str("the publish has no valid topic name"),
            Self::Busy => f.write_str("too many publishes in one call, or the broker is busy"),
        }
    }
}

impl std::error::Error for PublishError {}

/// Publishes a message within the filters that the operator granted (`publish:FILTER`). It is retained and routed, and
/// goes through no chain.
///
/// # Errors
/// Denied, a bad topic, or too many.
pub fn publish(message: &Emit) -> Result<(), PublishError> {
    broker::publish(message)
}
