//! The keys of plugins on disk: one table, written behind by the committer, read whole at the start.
//!
//! Owns: keys and values of the table `kv`. What they mean and their bounds are the broker's
//! ([`witmq_broker::kv`]).
//!
//! ```text
//! kv    length plugin key       version, until, value
//! ```

use crate::tables::Tables;
use crate::wire::{Damaged, Reader, Writer};
use fjall::OwnedWriteBatch;
use witmq_broker::kv::{Change, Entry};

fn key_of(plugin: &str, key: &str) -> Vec<u8> {
    // Names of plugins are at most 64 bytes.
    let length = u16::try_from(plugin.len()).unwrap_or(u16::MAX);
    Writer::default()
        .u16(length)
        .raw(plugin.as_bytes())
        .raw(key.as_bytes())
        .finish()
}

fn write_entry(entry: &Entry) -> Vec<u8> {
    let mut out = Writer::default();
    out.u64(entry.version);
    out.option(entry.until, |out, until| {
        out.u64(until);
    });
    out.raw(&entry.value).finish()
}

/// A key and what it holds.
pub(crate) fn read<'a>(key: &'a [u8], value: &[u8]) -> Result<(&'a str, &'a str, Entry), Damaged> {
    let mut input = Reader::new(key);
    let length = usize::from(input.u16()?);
    let at = input.damaged();
    let rest = std::str::from_utf8(input.rest()).map_err(|_| at)?;
    let (plugin, key) = rest.split_at_checked(length).ok_or(at)?;
    let mut input = Reader::new(value);
    let version = input.u64()?;
    let until = input.option(Reader::u64)?;
    let value = bytes::Bytes::copy_from_slice(input.rest());
    let entry = Entry {
        value,
        version,
        until,
    };
    Ok((plugin, key, entry))
}

/// Adds changes to what is committed next.
pub(crate) fn stage(tables: &Tables, batch: &mut OwnedWriteBatch, changes: &[Change]) {
    for change in changes {
        let key = key_of(&change.plugin, &change.key);
        match &change.entry {
            Some(entry) => batch.insert(&tables.kv, key, write_entry(entry)),
            None => batch.remove(&tables.kv, key),
        }
    }
}
