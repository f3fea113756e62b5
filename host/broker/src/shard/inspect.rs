//! What the control plane and plugins may know of this shard and its clients.

use super::{Counters, Shard};
use crate::ports::clients::{ClientInfo, SUBSCRIPTIONS};
use bytestring::ByteString;

impl Shard {
    /// What this shard counted, gauges filled in.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        Counters {
            sessions: count(self.clients.len()),
            subscriptions_left: count(self.leftovers.len()),
            bursts: self.bursts,
            sticky_forgotten: self.picker.forgotten(),
            topics_known: count(self.known.len()),
            topics_forgotten: self.known.forgotten(),
            ..self.counters
        }
    }

    /// Client ids of this shard with whether each is connected, for the control plane.
    pub fn clients(&self) -> impl Iterator<Item = (&ByteString, bool)> {
        self.clients
            .iter()
            .map(|client| (&client.id, client.connection.is_some()))
    }

    /// The longest queue of a client, in messages: what waits and what an absent one had in flight.
    #[must_use]
    pub fn longest_queue(&self) -> usize {
        let lengths = self.clients.iter().map(|client| client.outbox.len());
        lengths.max().unwrap_or(0)
    }

    /// A client of this shard that has a session.
    #[must_use]
    pub fn client_info(&self, client_id: &str) -> Option<ClientInfo> {
        let client = self.client(self.key_of(client_id)?)?;
        let connection = client.connection.and_then(|id| self.connection(id));
        let shared = client.memberships();
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
