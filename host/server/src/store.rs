//! The storage of this node: opened before anything listens, handed to the shards, closed last.

use crate::config::{Config, Durability};
use anyhow::Result;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use witmq_broker::kv::{KvBounds, Spaces};
use witmq_broker::memory::Memory;
use witmq_broker::ports::{Past, Store};
use witmq_broker::shard::ClockBase;
use witmq_broker::{ShardId, Shared};
use witmq_storage::{Metrics, Storage, StorageConfig};

/// What a shard is made with.
pub(crate) struct Part {
    pub(crate) store: Box<dyn Store + Send>,
    pub(crate) past: Past,
    pub(crate) news: Arc<Notify>,
}

/// The parts of all shards; each is taken once, by the thread of its shard.
pub(crate) struct Parts(Mutex<Vec<Option<Part>>>);

impl Parts {
    pub(crate) fn take(&self, id: ShardId) -> Part {
        let mut parts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let part = parts.get_mut(usize::from(id.0)).and_then(Option::take);
        part.unwrap_or_else(in_memory)
    }
}

fn in_memory() -> Part {
    Part {
        store: Box::new(Memory::default()),
        past: Past::default(),
        news: Arc::default(),
    }
}

/// The open storage; `None` inside with `durability = "none"`.
pub(crate) struct Opened {
    storage: Option<Storage>,
    pub(crate) parts: Arc<Parts>,
    /// The keys of plugins.
    pub(crate) kv: Arc<Spaces>,
}

impl Opened {
    /// Opens the storage in the data folder and takes the retained messages back.
    ///
    /// # Errors
    /// In use, damaged, of a newer version, or the disk refuses.
    pub(crate) fn open(
        config: &Config,
        shards: u16,
        clock: ClockBase,
        shared: &Shared,
    ) -> Result<Self> {
        let settings = &config.storage;
        let kv = KvBounds {
            bytes: config.limits.plugin_kv_bytes,
            keys: config.limits.plugin_kv_keys,
            table_bytes: config.limits.table_bytes,
            table_keys: config.limits.table_keys,
            table_total_bytes: config.limits.table_total_bytes,
        };
        let durability = match settings.durability {
            Durability::Fsync => witmq_storage::Durability::Fsync,
            Durability::Os => witmq_storage::Durability::Os,
            Durability::None => {
                let parts = (0..shards).map(|_| Some(in_memory())).collect();
                return Ok(Self {
                    storage: None,
                    parts: Arc::new(Parts(Mutex::new(parts))),
                    kv: Arc::new(Spaces::new(kv)),
                });
            }
        };
        let storage = StorageConfig {
            dir: config.data_dir.join("storage"),
            durability,
            log_bytes: settings.log_bytes,
            log_age: Duration::from_secs(settings.log_age_s),
            kv,
            ..StorageConfig::default()
        };
        let news: Vec<Arc<Notify>> = (0..shards).map(|_| Arc::default()).collect();
        let (storage, found) = Storage::open(storage, shards, clock, news.clone())?;
        for cut in &found.cut {
            tracing::warn!("{cut}");
        }
        for damaged in &found.damaged {
            tracing::error!("an entry of the storage cannot be read and is left out: {damaged}");
        }
        if found.caught_up > 0 {
            tracing::info!(
                messages = found.caught_up,
                "queued what the last life of this node had accepted"
            );
        }
        shared.retained.restore(found.retained);
        let parts = found.pasts.into_iter().zip(news).zip(0..);
        let parts = parts.map(|((past, news), shard)| {
            Some(Part {
                store: Box::new(storage.shard_store(shard)),
                past,
                news,
            })
        });
        Ok(Self {
            parts: Arc::new(Parts(Mutex::new(parts.collect()))),
            kv: storage.kv(),
            storage: Some(storage),
        })
    }

    /// Numbers for metrics; `None` without a storage.
    pub(crate) fn metrics(&self) -> Option<Arc<Metrics>> {
        self.storage.as_ref().map(Storage::metrics)
    }

    /// Commits the rest. After the shards have ended.
    pub(crate) fn close(self) {
        if let Some(storage) = self.storage {
            storage.close();
        }
    }
}
