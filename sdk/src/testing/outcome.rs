//! Outcomes compared with what a test expects.

use super::broker::TestBroker;
use crate::failure::Failure;
use crate::message::{Message, Outcome};
use crate::plugin::Transform;
use crate::register::Registered;
use serde_json::Value;

/// What a test expects of a message: an [`Outcome`], a [`Failure`], or `Err("words that the failure contains")`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// This outcome. Payloads that are JSON are compared as JSON.
    Outcome(Outcome),
    /// Exactly this failure.
    Failure(Failure),
    /// A failure with these words.
    Words(String),
}

impl From<Outcome> for Expected {
    fn from(outcome: Outcome) -> Self {
        Self::Outcome(outcome)
    }
}

impl From<Failure> for Expected {
    fn from(failure: Failure) -> Self {
        Self::Failure(failure)
    }
}

impl From<Result<Outcome, Failure>> for Expected {
    fn from(result: Result<Outcome, Failure>) -> Self {
        result.map_or_else(Self::Failure, Self::Outcome)
    }
}

impl From<Result<Outcome, &str>> for Expected {
    fn from(result: Result<Outcome, &str>) -> Self {
        result.map_or_else(|words| Self::Words(words.to_owned()), Self::Outcome)
    }
}

impl Expected {
    fn fits(&self, result: &Result<Outcome, Failure>) -> bool {
        match (self, result) {
            (Self::Outcome(expected), Ok(outcome)) => same(expected, outcome),
            (Self::Failure(expected), Err(failure)) => expected == failure,
            (Self::Words(words), Err(failure)) => failure.to_string().contains(words),
            _ => false,
        }
    }
}

/// Whether two payloads are the same bytes or the same JSON.
pub(super) fn same_payload(one: &[u8], other: &[u8]) -> bool {
    let json = |bytes| serde_json::from_slice::<Value>(bytes).ok();
    one == other || json(one).is_some_and(|one| json(other) == Some(one))
}

fn same(one: &Outcome, other: &Outcome) -> bool {
    match (one, other) {
        (Outcome::Modify(one), Outcome::Modify(other)) => {
            let payloads = match (&one.payload, &other.payload) {
                (Some(one), Some(other)) => same_payload(one, other),
                (one, other) => one == other,
            };
            let mut one = one.clone();
            one.payload.clone_from(&other.payload);
            payloads && one == *other
        }
        (one, other) => one == other,
    }
}

#[doc(hidden)]
impl<P: Registered + Transform> TestBroker<P> {
    /// One row of `assert_outcome!`.
    #[track_caller]
    pub fn expect_outcome(&mut self, message: impl Into<Message>, expected: impl Into<Expected>) {
        let (message, expected) = (message.into(), expected.into());
        let given = format!(
            "{} {}",
            message.topic,
            String::from_utf8_lossy(&message.payload)
        );
        let outcome = self.send(message);
        assert!(
            expected.fits(&outcome),
            "of the message `{given}`\n  expected: {expected:?}\n   outcome: {outcome:?}"
        );
    }
}

/// Sends messages to a [`TestBroker`] and compares the outcomes, one row each: `message => expected`. A message is
/// anything that becomes one, so a pair of topic and payload; see [`Expected`] for the other side.
#[macro_export]
macro_rules! assert_outcome {
    ($broker:expr, $($message:expr => $expected:expr),+ $(,)?) => {
        $($broker.expect_outcome($message, $expected);)+
    };
}
