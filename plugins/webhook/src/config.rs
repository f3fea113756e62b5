//! The form of the configuration: what an operator writes.
//!
//! Owns: names, shapes and bounds. Must not: judge what only the whole can tell; `Webhook::new` does.

use serde::Deserialize;
use witmq_sdk::host::http::Endpoint;

/// The whole configuration.
#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where messages go. Path and query of its `url` may hold `{topic}`, one level of the topic by its number (`{1}` …),
    /// `{client}` and `{user}`.
    pub(crate) endpoint: Endpoint,
    /// How they go there.
    #[serde(default)]
    pub(crate) method: Method,
    /// What a request holds.
    #[serde(default)]
    pub(crate) body: Body,
    /// How payloads are written.
    #[serde(default)]
    pub(crate) payload: Form,
    /// Messages of one request at most, with `"body": "batch"`.
    #[serde(default = "batch_messages")]
    #[config(minimum = 1, maximum = 256)]
    pub(crate) batch_messages: usize,
    /// Bytes of a request's body at most; a message that needs more by itself is a dead letter.
    #[serde(default = "body_bytes")]
    #[config(minimum = 1024, maximum = 67_108_864)]
    pub(crate) body_bytes: usize,
    /// The longest pause in milliseconds that `Retry-After` may ask for.
    #[serde(default = "retry_after_ms")]
    #[config(maximum = 3_600_000)]
    pub(crate) retry_after_ms: u32,
    /// Milliseconds that one batch of the broker may take; below the broker's `limits.plugin_timeout_ms`.
    #[serde(default = "call_ms")]
    #[config(minimum = 1, maximum = 600_000)]
    pub(crate) call_ms: u64,
}

/// The method of requests.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Method {
    #[default]
    Post,
    Put,
    Patch,
}

impl Method {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Patch => "PATCH",
        }
    }
}

/// What a request holds.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Body {
    /// One message: an object.
    #[default]
    Message,
    /// Several: an array of objects.
    Batch,
}

/// How payloads are written.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Form {
    /// JSON as it is, other text as a string, the rest in base64.
    #[default]
    Auto,
    /// Text as a string, JSON too; the rest in base64.
    Text,
    /// All in base64.
    Base64,
}

fn batch_messages() -> usize {
    100
}

fn body_bytes() -> usize {
    4 * 1024 * 1024
}

fn retry_after_ms() -> u32 {
    300_000
}

fn call_ms() -> u64 {
    4500
}
