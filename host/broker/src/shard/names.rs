//! Clients by their id.
//!
//! Owns: [`Names`], a table of keys: the id itself is in the client, and hashed and compared there. With ids of its own the
//! table would be ten times as large.

use super::Shard;
use super::client::Client;
use crate::blocks::Blocks;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// Keys of clients, by the clients' ids.
#[derive(Default)]
pub(super) struct Names {
    table: HashTable<u32>,
    hasher: RandomState,
}

fn id(clients: &Blocks<Client>, key: u32) -> &str {
    let client = usize::try_from(key).ok().and_then(|key| clients.get(key));
    client.map_or("", |client| &client.id)
}

impl Names {
    /// Adds a client that is in `clients`; its id is not among the names yet.
    pub(super) fn insert(&mut self, key: u32, clients: &Blocks<Client>) {
        let hash = |key: u32| self.hasher.hash_one(id(clients, key));
        self.table.insert_unique(hash(key), key, |key| hash(*key));
    }

    /// Forgets the client of this id and key.
    pub(super) fn remove(&mut self, client_id: &str, key: u32) {
        let hash = self.hasher.hash_one(client_id);
        if let Ok(entry) = self.table.find_entry(hash, |known| *known == key) {
            entry.remove();
        }
    }

    fn find(&self, client_id: &str, clients: &Blocks<Client>) -> Option<u32> {
        let hash = self.hasher.hash_one(client_id);
        let is_it = |key: &u32| id(clients, *key) == client_id;
        self.table.find(hash, is_it).copied()
    }
}

impl Shard {
    /// The client of this id, connected or not.
    pub(super) fn key_of(&self, client_id: &str) -> Option<u32> {
        self.names.find(client_id, &self.clients)
    }
}
