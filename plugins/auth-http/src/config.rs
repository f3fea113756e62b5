//! The form of the configuration: what an operator writes.
//!
//! Owns: names, shapes and bounds. Must not: judge what only the whole can tell; `AuthHttp::new` does.

use serde::Deserialize;
use witmq_sdk::AclEntry;
use witmq_sdk::host::http::Endpoint;

/// The whole configuration.
#[derive(Debug, Deserialize, witmq_sdk::Config)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The service that is asked, by POST.
    pub(crate) endpoint: Endpoint,
    /// How it is asked.
    #[serde(default)]
    pub(crate) format: Format,
    /// What a client is told while the service gives no answer that can be used.
    #[serde(default)]
    pub(crate) on_failure: OnFailure,
    /// Access rules for everybody who is let in, after those of the answer. What no rule decides is denied.
    #[serde(default)]
    pub(crate) acl: Vec<AclEntry>,
    /// Answers that are remembered, at most; as many again for denials. 0: none.
    #[serde(default = "cache_entries")]
    #[config(maximum = 100_000)]
    pub(crate) cache_entries: usize,
    /// Seconds that a yes is remembered.
    #[serde(default = "allow_s")]
    #[config(maximum = 86_400)]
    pub(crate) cache_allow_s: u32,
    /// Seconds that a no is remembered.
    #[serde(default = "deny_s")]
    #[config(maximum = 3600)]
    pub(crate) cache_deny_s: u32,
}

/// How the service is asked.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// A JSON object.
    #[default]
    Json,
    /// `application/x-www-form-urlencoded`.
    Form,
}

/// What becomes of a client without a usable answer. Never: let in.
#[derive(Clone, Copy, Debug, Default, Deserialize, witmq_sdk::Config)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnFailure {
    /// Denied.
    #[default]
    Deny,
    /// The next authenticator decides.
    Ignore,
}

fn cache_entries() -> usize {
    10_000
}

fn allow_s() -> u32 {
    60
}

fn deny_s() -> u32 {
    5
}
