//! The database: its tables, the slices of its log, and its version.
//!
//! Owns: [`Tables`], opened and opened again after a failure. Must not: decide what is written (that is
//! `commit.rs`) or what it means (that is `format.rs`).

use crate::format::FORMAT;
use crate::inspect::{self, Damage, DamageKind};
use crate::wire::{Reader, Writer};
use crate::{OpenError, StorageConfig};
use fjall::{Database, Keyspace, KeyspaceCreateOptions};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use witmq_proto::LogPlace;

/// Written to a table before it goes to disk on its own; bounds memory.
const MEMTABLE_BYTES: u64 = 16 * 1024 * 1024;
/// Threads of the engine for flushing and compaction.
const WORKERS: usize = 1;
const FORMAT_KEY: &str = "format";

/// A slice of the log: everything written in some stretch of time; forgotten as a whole.
#[derive(Clone)]
pub(crate) struct Slice {
    pub(crate) id: u32,
    /// Unix milliseconds.
    pub(crate) created: u64,
    /// The first count of each shard that belongs here.
    pub(crate) first: BTreeMap<u16, u64>,
    pub(crate) log: Keyspace,
}

/// An open database.
pub(crate) struct Tables {
    pub(crate) db: Database,
    pub(crate) meta: Keyspace,
    pub(crate) sessions: Keyspace,
    pub(crate) subscriptions: Keyspace,
    pub(crate) queue: Keyspace,
    pub(crate) received: Keyspace,
    pub(crate) retained: Keyspace,
    pub(crate) wills: Keyspace,
    pub(crate) delayed: Keyspace,
    pub(crate) kv: Keyspace,
    /// Torn tails that were cut when it was opened.
    pub(crate) cut: Vec<Damage>,
    /// Oldest first; the last one is being written.
    slices: RwLock<Vec<Slice>>,
}

fn options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().max_memtable_size(MEMTABLE_BYTES)
}

fn slice_name(id: u32) -> String {
    format!("log.{id:08x}")
}

fn slice_key(id: u32) -> Vec<u8> {
    Writer::default().raw(b"slice").u32(id).finish()
}

/// Cuts what was not written whole, before the engine does it without a word, or refuses to open.
fn cut_torn_tail(dir: &Path) -> Result<Vec<Damage>, OpenError> {
    let failed = |error: std::io::Error| OpenError::of(dir, error.into());
    let Some(_lock) = inspect::lock(dir).map_err(failed)? else {
        let dir = dir.to_owned();
        return Err(OpenError::Locked { dir });
    };
    let damages = inspect::journals(dir).map_err(failed)?;
    for damage in &damages {
        if damage.kind != DamageKind::Torn {
            let damage = damage.clone();
            return Err(OpenError::Journal { damage });
        }
    }
    for damage in &damages {
        inspect::cut(damage).map_err(failed)?;
    }
    Ok(damages)
}

impl Tables {
    /// Opens the database, or makes it.
    pub(crate) fn open(config: &StorageConfig) -> Result<Self, OpenError> {
        let dir = &config.dir;
        let failed = |error| OpenError::of(dir, error);
        std::fs::create_dir_all(dir).map_err(|error| failed(error.into()))?;
        let cut = cut_torn_tail(dir)?;
        let db = Database::builder(dir)
            .worker_threads(WORKERS)
            .cache_size(config.cache_bytes)
            .open()
            .map_err(failed)?;
        let table = |name: &str| db.keyspace(name, options);
        let tables = Self {
            meta: table("meta").map_err(failed)?,
            sessions: table("sessions").map_err(failed)?,
            subscriptions: table("subscriptions").map_err(failed)?,
            queue: table("queue").map_err(failed)?,
            received: table("received").map_err(failed)?,
            retained: table("retained").map_err(failed)?,
            wills: table("wills").map_err(failed)?,
            delayed: table("delayed").map_err(failed)?,
            kv: table("kv").map_err(failed)?,
            cut,
            slices: RwLock::default(),
            db,
        };
        tables.check_format(dir)?;
        tables.find_slices(dir)?;
        Ok(tables)
    }

    fn check_format(&self, dir: &Path) -> Result<(), OpenError> {
        let failed = |error| OpenError::of(dir, error);
        let Some(value) = self.meta.get(FORMAT_KEY).map_err(failed)? else {
            let value = FORMAT.to_be_bytes();
            return self.meta.insert(FORMAT_KEY, value).map_err(failed);
        };
        let found = Reader::new(&value).u32();
        match found {
            Ok(FORMAT) => Ok(()),
            // What older versions wrote is read as it is; from now on they must not read what we write.
            Ok(found) if found < FORMAT => {
                let value = FORMAT.to_be_bytes();
                self.meta.insert(FORMAT_KEY, value).map_err(failed)
            }
            Ok(found) => Err(OpenError::Newer {
                dir: dir.to_owned(),
                found,
                known: FORMAT,
            }),
            Err(damaged) => Err(OpenError::Damaged {
                dir: dir.to_owned(),
                what: "the version of the format".to_owned(),
                damaged: damaged.to_string(),
            }),
        }
    }

    /// The version of the format.
    pub(crate) fn format(&self) -> Result<Option<u32>, fjall::Error> {
        let value = self.meta.get(FORMAT_KEY)?;
        Ok(value.and_then(|value| Reader::new(&value).u32().ok()))
    }

    /// Every table but the slices of the log.
    pub(crate) fn all(&self) -> [&Keyspace; 9] {
        [
            &self.meta,
            &self.sessions,
            &self.subscriptions,
            &self.queue,
            &self.received,
            &self.retained,
            &self.wills,
            &self.delayed,
            &self.kv,
        ]
    }

    fn find_slices(&self, dir: &Path) -> Result<(), OpenError> {
        let failed = |error| OpenError::of(dir, error);
        let mut slices = Vec::new();
        for item in self.meta.prefix("slice") {
            let (key, value) = item.into_inner().map_err(failed)?;
            let damaged = |error: crate::wire::Damaged| OpenError::Damaged {
                dir: dir.to_owned(),
                what: format!("meta {key:?}"),
                damaged: error.to_string(),
            };
            let id = Reader::new(key.get(5..).unwrap_or_default())
                .u32()
                .map_err(damaged)?;
            let mut input = Reader::new(&value);
            let created = input.u64().map_err(damaged)?;
            let first = input
                .list(|input| Ok((input.u16()?, input.u64()?)))
                .map_err(damaged)?;
            slices.push(Slice {
                id,
                created,
                first: first.into_iter().collect(),
                log: self.db.keyspace(&slice_name(id), options).map_err(failed)?,
            });
        }
        // A slice whose end was cut short by a crash: nothing refers to it any more.
        for name in self.db.list_keyspace_names() {
            let is_known = slices.iter().any(|slice| slice_name(slice.id) == *name);
            if name.starts_with("log.") && !is_known {
                let log = self.db.keyspace(&name, options).map_err(failed)?;
                self.db.delete_keyspace(log).map_err(failed)?;
            }
        }
        *self.write_slices() = slices;
        Ok(())
    }

    pub(crate) fn slices(&self) -> RwLockReadGuard<'_, Vec<Slice>> {
        self.slices.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_slices(&self) -> RwLockWriteGuard<'_, Vec<Slice>> {
        self.slices.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a new slice: what is logged from now on goes there.
    pub(crate) fn begin_slice(
        &self,
        created: u64,
        first: BTreeMap<u16, u64>,
    ) -> Result<(), fjall::Error> {
        let id = self.slices().last().map_or(1, |slice| slice.id + 1);
        let mut value = Writer::default();
        value.u64(created).count(first.len());
        for (shard, number) in &first {
            value.u16(*shard).u64(*number);
        }
        let log = self.db.keyspace(&slice_name(id), options)?;
        self.meta.insert(slice_key(id), value.finish())?;
        self.write_slices().push(Slice {
            id,
            created,
            first,
            log,
        });
        Ok(())
    }

    /// Forgets the oldest slice as a whole.
    pub(crate) fn drop_oldest_slice(&self) -> Result<(), fjall::Error> {
        let Some(slice) = self.slices().first().cloned() else {
            return Ok(());
        };
        self.meta.remove(slice_key(slice.id))?;
        self.write_slices().retain(|other| other.id != slice.id);
        self.db.delete_keyspace(slice.log)
    }

    /// The slice a place belongs to, if it is still there.
    pub(crate) fn slice_of(&self, place: LogPlace) -> Option<Slice> {
        slice_of(&self.slices(), place).cloned()
    }
}

/// The last slice that begins at or before the place.
pub(crate) fn slice_of(slices: &[Slice], place: LogPlace) -> Option<&Slice> {
    slices.iter().rev().find(|slice| {
        let first = slice.first.get(&place.shard);
        first.is_some_and(|first| *first <= place.number)
    })
}
