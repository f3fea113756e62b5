//! What plugins may ask about clients of the node.

use std::future::Future;
use std::pin::Pin;
use witmq_proto::ReasonCode;

/// A client that has a session.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// User name.
    pub username: Option<String>,
    /// Address of the peer; `None` while it is not connected.
    pub peer: Option<std::net::SocketAddr>,
    /// Protocol level; 0 while it is not connected.
    pub protocol: u8,
    /// Messages that wait for it.
    pub queued: usize,
    /// Filters as subscribed, at most [`SUBSCRIPTIONS`].
    pub subscriptions: Vec<String>,
}

/// Subscriptions named in one [`ClientInfo`].
pub const SUBSCRIPTIONS: usize = 1000;

/// The client's shard takes no question at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard of this client is too busy to answer")]
pub struct Busy;

/// An answer that comes when the client's shard has given it.
pub type Answered<T> = Pin<Box<dyn Future<Output = Result<T, Busy>> + Send>>;

/// Clients of the node. Implemented by the binary, called by the plugin runtime.
pub trait Clients: Send + Sync {
    /// Looks a client up.
    fn find(&self, client_id: &str) -> Answered<Option<ClientInfo>>;
    /// Disconnects a client; false if it was not connected.
    fn disconnect(&self, client_id: &str, reason: ReasonCode) -> Answered<bool>;
}
