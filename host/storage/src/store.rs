//! One shard's end of the storage.
//!
//! Owns: [`ShardStore`], the turn being recorded. Never waits.

use crate::inner::Inner;
use crate::turn::Turn;
use std::sync::Arc;
use witmq_broker::ports::store::{Fetch, Fetched, Health, SessionNumber};
use witmq_broker::ports::{Position, Record, Store};

/// What a shard writes to and reads from.
pub struct ShardStore {
    inner: Arc<Inner>,
    shard: u16,
    position: u64,
    turn: Turn,
}

impl ShardStore {
    pub(crate) fn new(inner: Arc<Inner>, shard: u16) -> Self {
        Self {
            inner,
            shard,
            position: 0,
            turn: Turn::default(),
        }
    }
}

impl Store for ShardStore {
    fn append(&mut self, record: Record<'_>) -> Position {
        self.turn.add(record, self.shard, &self.inner.clock);
        self.position += 1;
        Position(self.position)
    }

    fn stored(&self) -> Position {
        Position(self.inner.stored(self.shard))
    }

    fn flush(&mut self) {
        if self.turn.ops.is_empty() {
            return;
        }
        let mut turn = std::mem::take(&mut self.turn);
        turn.shard = self.shard;
        turn.position = self.position;
        self.inner.submit(turn);
    }

    fn health(&self) -> Health {
        self.inner.health()
    }

    fn kv_changes(&self) -> u64 {
        self.inner.kv.changes()
    }

    fn new_session(&mut self) -> SessionNumber {
        SessionNumber(self.inner.new_session())
    }

    fn fetch(&mut self, fetch: Fetch) {
        self.inner.ask(self.shard, fetch);
    }

    fn poll_fetched(&mut self) -> Option<Fetched> {
        self.inner.next_answer(self.shard)
    }
}

impl std::fmt::Debug for ShardStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardStore")
            .field("shard", &self.shard)
            .field("position", &self.position)
            .finish_non_exhaustive()
    }
}
