//! What outlives the process: sessions, subscriptions, queues, retained messages, wills, keys of plugins.
//!
//! Owns: the database folder, one committer thread and one reader thread. Shards append to their
//! [`ShardStore`] and never wait; the committer writes what all shards appended as one batch, syncs it once
//! (group commit), and moves each shard's watermark. A message is written once, to the log; sessions hold
//! pointers to it. The log is cut into slices, which are forgotten as a whole.
//! Must not: know MQTT rules, sockets or configuration files. Wired by the binary.
//!
//! ```text
//! shard ─ append ─► turn ─ flush ─► queue (bounded) ─► committer ─► batch + sync ─► watermark, news
//!       ─ fetch ──────────────────► reader ─► page, news
//! ```
#![forbid(unsafe_code)]

mod check;
mod commit;
mod format;
mod inner;
mod inspect;
mod kv;
mod reader;
mod recover;
mod slices;
mod store;
mod tables;
mod turn;
mod wire;

pub use check::{Report, SliceReport, TableReport, check};
pub use inner::Metrics;
pub use inspect::{Damage, DamageKind};
pub use store::ShardStore;

use inner::Inner;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::Notify;
use witmq_broker::kv::{KvBounds, Spaces};
use witmq_broker::ports::Past;
use witmq_broker::shard::ClockBase;
use witmq_proto::Message;

/// What an acknowledgement promises.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// It is on the disk: survives a loss of power.
    #[default]
    Fsync,
    /// The operating system has it: survives the end of the process, not of the machine.
    Os,
}

/// Settings of the storage.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// Its folder; made if missing.
    pub dir: PathBuf,
    /// What is waited for.
    pub durability: Durability,
    /// Bytes of the log, all slices together; beyond this the oldest slice is given up (default 8 GiB).
    pub log_bytes: u64,
    /// Older slices are given up (default 7 days).
    pub log_age: Duration,
    /// A slice is closed at this size (default 64 MiB) …
    pub slice_bytes: u64,
    /// … or age (default one hour).
    pub slice_age: Duration,
    /// Bytes waiting to be committed; beyond this publishers wait (default 64 MiB).
    pub pending_bytes: usize,
    /// Bytes of blocks cached for reading (default 32 MiB).
    pub cache_bytes: u64,
    /// Pause between attempts while the disk takes nothing (default 500 ms).
    pub retry: Duration,
    /// Bounds of each plugin's keys.
    pub kv: KvBounds,
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("storage"),
            durability: Durability::default(),
            log_bytes: 8 * 1024 * 1024 * 1024,
            log_age: Duration::from_secs(7 * 24 * 3600),
            slice_bytes: 64 * 1024 * 1024,
            slice_age: Duration::from_secs(3600),
            pending_bytes: 64 * 1024 * 1024,
            cache_bytes: 32 * 1024 * 1024,
            retry: Duration::from_millis(500),
            kv: KvBounds::default(),
        }
    }
}

/// The storage could not be opened. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{dir} is in use: another broker runs on this data folder")]
    Locked {
        /// The folder.
        dir: PathBuf,
    },
    /// A newer version wrote it.
    #[error(
        "{dir} was written by a newer version (format {found}, this one knows {known}): start that version \
         again, or choose another data folder"
    )]
    Newer {
        /// The folder.
        dir: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Something in it is not what was written.
    #[error(
        "{dir}: {what} cannot be read: {damaged}; restore the folder from a backup, or move it away"
    )]
    Damaged {
        /// The folder.
        dir: PathBuf,
        /// Table and key.
        what: String,
        /// Where.
        damaged: String,
    },
    /// A journal is damaged before its end: what is behind the damage was stored, and would be lost.
    #[error(
        "{damage}; restore the folder from a backup, or give up what is behind the damage: \
         truncate --size={} {}",
        damage.offset,
        damage.file.display()
    )]
    Journal {
        /// Where.
        damage: Damage,
    },
    /// The engine or the disk refused.
    #[error("{dir} cannot be opened: {cause}")]
    Engine {
        /// The folder.
        dir: PathBuf,
        /// In the engine's words.
        cause: String,
    },
}

impl OpenError {
    fn of(dir: &Path, error: fjall::Error) -> Self {
        let dir = dir.to_owned();
        match error {
            fjall::Error::Locked => Self::Locked { dir },
            fjall::Error::Io(error) => Self::Engine {
                dir,
                cause: error.to_string(),
            },
            other => {
                // The engine says which kind of thing is wrong: where it is has to be looked for.
                let found = inspect::segments(&dir).unwrap_or_default();
                let mut cause = other.to_string();
                for damage in found {
                    cause.push_str("; ");
                    cause.push_str(&damage.to_string());
                }
                Self::Engine { dir, cause }
            }
        }
    }
}

/// What was found when the storage was opened.
#[derive(Debug)]
pub struct Found {
    /// What each shard begins with.
    pub pasts: Vec<Past>,
    /// Retained messages.
    pub retained: Vec<Message>,
    /// Messages that were logged for other shards and not queued there yet: they are now.
    pub caught_up: u64,
    /// Entries that could not be read, in words: table, key, cause.
    pub damaged: Vec<String>,
    /// Torn tails that were cut.
    pub cut: Vec<Damage>,
}

/// An open storage.
pub struct Storage {
    inner: Arc<Inner>,
    threads: Vec<JoinHandle<()>>,
}

impl Storage {
    /// Opens it for a node of so many shards. `news` are told when the watermark of their shard moved or a
    /// page was read.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(
        config: StorageConfig,
        shards: u16,
        clock: ClockBase,
        news: Vec<Arc<Notify>>,
    ) -> Result<(Self, Found), OpenError> {
        let tables = tables::Tables::open(&config)?;
        let kv = Spaces::tracked(config.kv);
        let (found, state) = recover::recover(&tables, &config, shards, &clock, &kv)?;
        let found = Found {
            cut: tables.cut.clone(),
            ..found
        };
        let dir = config.dir.clone();
        let inner = Arc::new(Inner::new(
            config,
            shards,
            clock,
            news,
            tables,
            state.sessions,
            kv,
        ));
        let committer = Arc::downgrade(&inner);
        inner.kv.on_change(Box::new(move || {
            if let Some(inner) = committer.upgrade() {
                inner.kv_changed();
            }
        }));
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        inner
            .metrics
            .damaged
            .store(count(found.damaged.len()), Ordering::Relaxed);
        inner.count_cut(&found.cut);
        let spawn = |name: &str, run: Box<dyn FnOnce() + Send>| {
            std::thread::Builder::new()
                .name(name.to_owned())
                .spawn(run)
                .map_err(|error| OpenError::of(&dir, error.into()))
        };
        let for_commit = inner.clone();
        let commit = Box::new(move || commit::Committer::new(for_commit, state.log).run());
        let for_reader = inner.clone();
        let read = Box::new(move || reader::run(&for_reader));
        let threads = vec![
            spawn("storage-commit", commit)?,
            spawn("storage-read", read)?,
        ];
        Ok((Self { inner, threads }, found))
    }

    /// The store of one shard. Once per shard.
    #[must_use]
    pub fn shard_store(&self, shard: u16) -> ShardStore {
        ShardStore::new(self.inner.clone(), shard)
    }

    /// The keys of plugins.
    #[must_use]
    pub fn kv(&self) -> Arc<Spaces> {
        self.inner.kv.clone()
    }

    /// Numbers about it, for metrics.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        self.inner.metrics.clone()
    }

    /// Commits what was flushed and ends the threads.
    pub fn close(self) {
        self.inner.close();
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a storage thread ended by a panic");
            }
        }
    }
}

impl std::fmt::Debug for Storage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Storage").finish_non_exhaustive()
    }
}
