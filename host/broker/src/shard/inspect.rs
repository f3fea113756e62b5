//! What the control plane and plugins may know of a client.

use super::Shard;
use crate::ports::clients::{ClientInfo, SUBSCRIPTIONS};

impl Shard {
    /// A client of this shard that has a session.
    #[must_use]
    pub fn client_info(&self, client_id: &str) -> Option<ClientInfo> {
        let client = self.client(self.key_of(client_id)?)?;
        let connection = client.connection.and_then(|id| self.connection(id));
        let shared = client.shared.iter();
        let shared = shared.map(|part| format!("$share/{}/{}", part.key.group, part.key.filter));
        let plain = client.plain.iter().map(ToString::to_string);
        Some(ClientInfo {
            username: client.identity.username.as_ref().map(ToString::to_string),
            peer: connection.map(|connection| connection.link.peer),
            protocol: connection.map_or(0, |connection| connection.endpoint.version().level()),
            queued: client.outbox.len(),
            subscriptions: plain.chain(shared).take(SUBSCRIPTIONS).collect(),
        })
    }
}
