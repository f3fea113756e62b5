//! The HTTP origin: the admin API, health and metrics, the example page, and the upgrade to MQTT.
//!
//! Owns: everything that speaks HTTP, on one thread of its own.
//! Must not: know MQTT beyond handing an upgraded socket over, know wasmtime or CEL, touch shards. What it
//! changes goes through [`Ports`]; what it shows comes from them. Called by the binary.
#![forbid(unsafe_code)]

mod api;
mod pages;
mod problem;
mod serve;
mod token;
mod upgrade;

pub use pages::Page;
pub use serve::{Admin, AdminConfig, StartError};
pub use token::Token;
pub use upgrade::Upgrade;

use std::sync::Arc;
use witmq_broker::ports::{ControlError, PluginControl, RuleControl, SinkControl, TableControl};

/// What the HTTP origin may ask of the rest of the broker.
#[derive(Clone)]
pub struct Ports {
    /// Plugins.
    pub plugins: Arc<dyn PluginControl>,
    /// Chains.
    pub rules: Arc<dyn RuleControl>,
    /// Tables of chains.
    pub tables: Arc<dyn TableControl>,
    /// Connectors.
    pub sinks: Arc<dyn SinkControl>,
    /// Users of the bundled authenticator.
    pub users: Arc<dyn UserControl>,
    /// Delayed messages.
    pub delayed: Arc<dyn DelayedControl>,
    /// Clients sent elsewhere.
    pub drain: Arc<dyn DrainControl>,
    /// Numbers about the node.
    pub node: Arc<dyn NodeStatus>,
    /// Takes a socket that was upgraded to WebSocket at `/mqtt`.
    pub mqtt: Arc<dyn Fn(Upgrade) + Send + Sync>,
}

/// Users of the bundled `auth-file` plugin. Blocking calls.
pub trait UserControl: Send + Sync {
    /// Adds or replaces a user. `entry` is one element of `users` in the plugin's configuration.
    ///
    /// # Errors
    /// The plugin refused the new configuration; the old one stays.
    fn put(&self, entry: serde_json::Value) -> Result<(), ControlError>;
    /// Removes a user.
    ///
    /// # Errors
    /// No such user, or the plugin refused.
    fn remove(&self, name: &str) -> Result<(), ControlError>;
    /// Names, sorted.
    ///
    /// # Errors
    /// The configuration cannot be read.
    fn list(&self) -> Result<Vec<String>, ControlError>;
}

/// Delayed messages. Blocking calls.
pub trait DelayedControl: Send + Sync {
    /// At most `limit` of them behind the one named `after`, in the order in which they fall due:
    /// `{"messages", "bytes", "delayed": [{"id", "due_ms", …}], "next"}`, the first two of all that wait.
    ///
    /// # Errors
    /// `after` is no identifier, or a shard does not answer.
    fn list(&self, after: Option<&str>, limit: usize) -> Result<serde_json::Value, ControlError>;
    /// Takes one back before it is published.
    ///
    /// # Errors
    /// There is none of that name (any more).
    fn cancel(&self, id: &str) -> Result<(), ControlError>;
}

/// Sends the node's clients to another server. Blocking calls.
pub trait DrainControl: Send + Sync {
    /// `{"server", "permanent", "connections"}`; `server` is null while clients are served.
    fn status(&self) -> serde_json::Value;
    /// Refuses who connects from now on, and disconnects who is connected, so many a second.
    ///
    /// # Errors
    /// No server, no pace, or the configuration sends clients elsewhere already.
    fn start(&self, server: &str, permanent: bool, per_second: u32) -> Result<(), ControlError>;
    /// Serves clients again.
    ///
    /// # Errors
    /// The configuration sends clients elsewhere.
    fn stop(&self) -> Result<(), ControlError>;
}

/// Numbers about the node. Blocking calls.
pub trait NodeStatus: Send + Sync {
    /// As JSON, for `GET /api/v1/status`.
    fn status(&self) -> serde_json::Value;
    /// In the Prometheus text format, for `GET /metrics`.
    fn metrics(&self) -> String;
}
