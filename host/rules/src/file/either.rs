//! A value, or an expression in quotes that gives it.

use serde::Deserialize;

/// `qos = 1` or `qos = "payload.qos"`.
#[derive(Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "a value of its kind, or an expression in quotes"
)]
pub(crate) enum Either<T> {
    Known(T),
    Cel(String),
}
