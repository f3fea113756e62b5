//! The committer: everything all shards recorded, as one batch, synced once.
//!
//! Owns: the thread that alone writes, the retry when the disk takes nothing, and the tending of the log.
//! Nothing is acknowledged, and nothing forgotten, before its batch is committed.

use crate::format::{Pointer, queue_key};
use crate::inner::Inner;
use crate::kv;
use crate::slices::LogState;
use crate::tables::Tables;
use crate::turn::{Op, Table, Turn, key_of};
use crate::wire::Writer;
use crate::{Durability, OpenError};
use fjall::{Keyspace, OwnedWriteBatch, PersistMode, Slice as Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;
use witmq_broker::kv::Change;

/// Topics whose last retained version is remembered: more than two turns of all shards can touch.
const VERSIONS: usize = 65_536;
/// Entries of an ended session removed in one batch.
const CLEAN_BATCH: usize = 10_000;

/// The key of how far `target` has queued what `source` logged.
pub(crate) fn applied_key(target: u16, source: u16) -> Vec<u8> {
    Writer::default()
        .raw(b"applied")
        .u16(target)
        .u16(source)
        .finish()
}

/// Writes for everybody.
pub(crate) struct Committer {
    inner: Arc<Inner>,
    log: LogState,
    versions: [HashMap<Value, u64>; 2],
}

impl Committer {
    pub(crate) fn new(inner: Arc<Inner>, log: LogState) -> Self {
        Self {
            inner,
            log,
            versions: Default::default(),
        }
    }

    /// Until the storage closes and everything is committed, or cannot be.
    pub(crate) fn run(mut self) {
        while let Some(turns) = self.inner.next_turns() {
            // After the turns: what was changed before they were handed over is among it.
            let changes = self.inner.kv.take_changes();
            if !turns.is_empty() || !changes.is_empty() {
                if !self.commit_at_last(&turns, &changes) {
                    return tracing::error!("what was not acknowledged yet is not stored");
                }
                self.inner.committed(&turns);
            }
            if let Some(tables) = self.inner.tables() {
                let tended = self
                    .clean_up(&tables, &turns)
                    .and_then(|()| self.tend(&tables));
                if let Err(error) = tended {
                    tracing::warn!(%error, "the storage could not be tidied; it is tried again later");
                }
            }
        }
    }

    /// Commits; as long as that fails, opens the database again and tries once more. False: closing.
    fn commit_at_last(&mut self, turns: &[Turn], changes: &[Change]) -> bool {
        let mut has_failed = false;
        loop {
            match self.commit(turns, changes) {
                Ok(()) => {
                    if has_failed {
                        self.inner.set_refusing(false);
                        tracing::info!("the storage takes records again");
                    }
                    return true;
                }
                Err(error) => {
                    self.inner.metrics.failures.fetch_add(1, Ordering::Relaxed);
                    if !has_failed {
                        self.inner.set_refusing(true); // before it is said: whoever reads it is refused
                        tracing::error!(%error, dir = %self.inner.config.dir.display(), hint = "free space on the disk or make it writable; the broker goes on by itself", "the storage takes nothing: what would have to be kept is refused");
                    }
                    has_failed = true;
                }
            }
            // A failed engine takes nothing more: it is opened again, which reads its journal.
            self.inner.set_tables(None);
            loop {
                std::thread::sleep(self.inner.config.retry);
                if self.inner.is_closing() {
                    return false;
                }
                match Tables::open(&self.inner.config) {
                    Ok(tables) => {
                        // Of the batch that failed, which is tried again.
                        for damage in &tables.cut {
                            tracing::info!("{damage}");
                        }
                        self.inner.count_cut(&tables.cut);
                        break self.inner.set_tables(Some(Arc::new(tables)));
                    }
                    Err(OpenError::Locked { .. }) => {} // a page is still being read
                    Err(error) => tracing::debug!(%error, "the storage cannot be opened yet"),
                }
            }
        }
    }

    fn commit(&mut self, turns: &[Turn], changes: &[Change]) -> Result<(), fjall::Error> {
        let Some(tables) = self.inner.tables() else {
            return Err(fjall::Error::Poisoned);
        };
        self.begin_slice_if_due(&tables)?;
        if self.versions[0].len() > VERSIONS {
            self.versions.swap(0, 1);
            self.versions[0].clear();
        }
        let mode = match self.inner.config.durability {
            Durability::Fsync => PersistMode::SyncData,
            Durability::Os => PersistMode::Buffer,
        };
        let mut batch = tables.db.batch().durability(Some(mode));
        let mut applied = BTreeMap::new();
        let log = tables.slices().last().map(|slice| slice.log.clone());
        let Some(log) = log else {
            return Err(fjall::Error::Poisoned);
        };
        for op in turns.iter().flat_map(|turn| &turn.ops) {
            if let Op::Applied { target, place } = op {
                applied.insert((*target, place.shard), place.number + 1);
            } else {
                self.stage(&tables, &log, &mut batch, op);
            }
        }
        for ((target, source), next) in applied {
            batch.insert(
                &tables.meta,
                applied_key(target, source),
                next.to_be_bytes(),
            );
        }
        kv::stage(&tables, &mut batch, changes);
        let count = batch.len();
        batch.commit()?;
        let metrics = &self.inner.metrics;
        metrics.commits.fetch_add(1, Ordering::Relaxed);
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        metrics.operations.fetch_add(count, Ordering::Relaxed);
        let slices = tables.slices();
        for op in turns.iter().flat_map(|turn| &turn.ops) {
            self.log.note(&slices, op);
        }
        Ok(())
    }

    fn stage(&mut self, tables: &Tables, log: &Keyspace, batch: &mut OwnedWriteBatch, op: &Op) {
        match op {
            Op::Put(table, key, value) => {
                batch.insert(keyspace(tables, *table), key.clone(), value.clone());
            }
            Op::Remove(table, key) => batch.remove(keyspace(tables, *table), key.clone()),
            Op::Log { place, value, .. } => batch.insert(log, key_of(*place), value.clone()),
            Op::Queued { key, value, .. } => {
                batch.insert(&tables.queue, key.clone(), value.clone());
            }
            Op::Done { key, .. } => batch.remove(&tables.queue, key.clone()),
            // What is under its number is orphaned by this, and removed afterwards.
            Op::SessionEnded { session } => {
                batch.remove(&tables.sessions, session.to_be_bytes());
            }
            Op::Retained {
                topic,
                version,
                value,
            } => {
                let known = self.versions.iter().filter_map(|known| known.get(topic));
                if known.max().is_some_and(|known| known > version) {
                    return;
                }
                self.versions[0].insert(topic.clone(), *version);
                match value {
                    Some(value) => batch.insert(&tables.retained, topic.clone(), value.clone()),
                    None => batch.remove(&tables.retained, topic.clone()),
                }
            }
            Op::Applied { .. } | Op::Trimmed { .. } | Op::PluginKv => {}
        }
    }

    fn begin_slice_if_due(&self, tables: &Tables) -> Result<(), fjall::Error> {
        let config = &self.inner.config;
        let now = self.inner.clock.unix_ms(Instant::now());
        let last = tables
            .slices()
            .last()
            .map(|slice| (slice.id, slice.created));
        if let Some((id, created)) = last {
            let bytes = self.log.weights.get(&id).map_or(0, |weight| weight.bytes);
            let age = u128::from(now.saturating_sub(created));
            if bytes < config.slice_bytes && (bytes == 0 || age < config.slice_age.as_millis()) {
                return Ok(());
            }
        }
        // Every shard has a place where it begins, also those that have not logged anything yet.
        let mut first = self.log.next.clone();
        for shard in 0..self.inner.shards() {
            first.entry(shard).or_insert(0);
        }
        let mut batch = tables.db.batch();
        for (target, source, next) in self.log.settled(self.inner.shards()) {
            batch.insert(
                &tables.meta,
                applied_key(target, source),
                next.to_be_bytes(),
            );
        }
        batch.commit()?;
        tables.begin_slice(now, first)
    }

    /// Removes what ended sessions left, and what made room.
    fn clean_up(&mut self, tables: &Tables, turns: &[Turn]) -> Result<(), fjall::Error> {
        for op in turns.iter().flat_map(|turn| &turn.ops) {
            match op {
                Op::SessionEnded { session } => {
                    self.remove_queue(tables, *session, 0, usize::MAX)?;
                    for table in [&tables.subscriptions, &tables.received] {
                        let mut batch = tables.db.batch();
                        for item in table.prefix(session.to_be_bytes()) {
                            batch.remove(table, item.key()?);
                        }
                        batch.commit()?;
                    }
                }
                Op::Trimmed { session, from } => self.remove_queue(tables, *session, *from, 1)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// Removes at most `count` entries of a queue, from a number on.
    fn remove_queue(
        &mut self,
        tables: &Tables,
        session: u64,
        from: u64,
        count: usize,
    ) -> Result<(), fjall::Error> {
        let range = queue_key(session, from)..=queue_key(session, u64::MAX);
        let mut batch = tables.db.batch();
        for item in tables.queue.range(range).take(count) {
            let (key, value) = item.into_inner()?;
            if let Ok(pointer) = Pointer::read(&value) {
                self.log.unpoint(&tables.slices(), pointer.kept);
            }
            batch.remove(&tables.queue, key);
            if batch.len() >= CLEAN_BATCH {
                std::mem::replace(&mut batch, tables.db.batch()).commit()?;
            }
        }
        batch.commit()
    }

    /// Forgets slices nobody needs, and those beyond the bounds of the log.
    fn tend(&mut self, tables: &Tables) -> Result<(), fjall::Error> {
        let config = &self.inner.config;
        let metrics = &self.inner.metrics;
        let now = self.inner.clock.unix_ms(Instant::now());
        self.inner.kv.sweep(now);
        loop {
            let slices = tables.slices();
            let count = u64::try_from(slices.len()).unwrap_or(u64::MAX);
            metrics.slices.store(count, Ordering::Relaxed);
            metrics.log_bytes.store(self.log.bytes(), Ordering::Relaxed);
            let [oldest, next, ..] = &slices[..] else {
                return Ok(());
            };
            // Its last message is as old as the slice behind it.
            let age = u128::from(now.saturating_sub(next.created));
            let is_over = self.log.bytes() > config.log_bytes || age > config.log_age.as_millis();
            let is_free = self.log.is_oldest_free(&slices);
            if !is_free && !is_over {
                return Ok(());
            }
            let id = oldest.id;
            drop(slices);
            let pointers = self.log.weights.get(&id).map_or(0, |w| w.pointers);
            if !is_free {
                metrics.slices_given_up.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    slice = id,
                    messages = pointers,
                    "the log is at its bound: the oldest messages still owed to sessions are given up (storage.log_bytes, storage.log_age_s)"
                );
            }
            tables.drop_oldest_slice()?;
            self.log.weights.remove(&id);
        }
    }
}

fn keyspace(tables: &Tables, table: Table) -> &Keyspace {
    match table {
        Table::Sessions => &tables.sessions,
        Table::Subscriptions => &tables.subscriptions,
        Table::Queue => &tables.queue,
        Table::Received => &tables.received,
        Table::Wills => &tables.wills,
        Table::Delayed => &tables.delayed,
    }
}
