//! A client id is claimed: the connection that had it ends, its session stays or a new one is made.
//!
//! Owns: the way into the table of clients. Must not: answer a CONNECT (`connect` does).

use super::Shard;
use super::client::Client;
use bytestring::ByteString;
use std::time::Instant;
use witmq_proto::ReasonCode;

impl Shard {
    /// Ends an older connection of the same client [MQTT-3.1.4-3]; the session that remains.
    pub(super) fn take_over(
        &mut self,
        now: Instant,
        client_id: &ByteString,
        clean_start: bool,
    ) -> Option<u32> {
        let key = self.key_of(client_id)?;
        if let Some(older) = self.client(key)?.connection {
            self.counters.takeovers += 1;
            self.end_connection(
                now,
                older,
                ReasonCode::SessionTakenOver,
                "another connection uses this client id",
            );
        }
        if clean_start && self.key_of(client_id).is_some() {
            self.end_session(now, key); // [MQTT-3.1.2-4]
        }
        self.key_of(client_id)
    }

    pub(super) fn add_client(&mut self, client_id: &ByteString, is_kept: bool) -> u32 {
        let mut client = Client::new(client_id.clone());
        client.kept = is_kept.then(|| self.ports.store.new_session());
        self.insert_client(client)
    }

    pub(super) fn insert_client(&mut self, client: Client) -> u32 {
        let kept = client.kept;
        let key = u32::try_from(self.clients.insert(client)).unwrap_or(u32::MAX);
        self.names.insert(key, &self.clients);
        if let Some(session) = kept {
            self.kept.insert(session, key);
        }
        key
    }
}
