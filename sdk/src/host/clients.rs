//! Clients of this broker, granted as `clients`. A plugin that asks for them waits, so the broker runs it beside the
//! shards, and it cannot have the hook `authorize`.

use super::broker;
use std::fmt;

/// A client that has a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// User name; empty without.
    pub username: String,
    /// Whether it is connected.
    pub connected: bool,
    /// Address of the peer, `ip:port`; empty while it is not connected.
    pub peer: String,
    /// Protocol level: 3, 4 or 5; 0 while it is not connected.
    pub protocol: u8,
    /// Messages that wait for it.
    pub queued: u32,
    /// Filters it is subscribed to, at most 1,000.
    pub subscriptions: Vec<String>,
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientsError {
    /// Not granted, in words.
    Denied(String),
    /// The broker is too busy; try again later.
    Busy,
    /// Anything else, in words: more host calls than one call of a hook may make.
    Other(String),
}

impl fmt::Display for ClientsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Denied(text) => write!(f, "asking about clients is denied: {text}"),
            Self::Busy => f.write_str("the broker is too busy to look clients up"),
            Self::Other(text) => write!(f, "the clients: {text}"),
        }
    }
}

impl std::error::Error for ClientsError {}

/// Looks a client up.
///
/// # Errors
/// Not granted, or the broker is busy.
pub fn find(client_id: &str) -> Result<Option<Client>, ClientsError> {
    broker::client(client_id)
}

/// Disconnects a client with an MQTT 5 reason code (0x80 or above; anything else becomes 0x98); true if it was connected.
///
/// # Errors
/// Not granted, or the broker is busy.
pub fn disconnect(client_id: &str, reason_code: u8) -> Result<bool, ClientsError> {
    broker::disconnect(client_id, reason_code)
}
