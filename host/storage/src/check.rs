//! A look at a storage that nobody has open: what is in it, and what is damaged.
//!
//! Owns: [`check`]. Files are read first without the engine; the engine opens them only if none is damaged,
//! because that would cut.

use crate::inspect::{self, Damage};
use crate::recover;
use crate::tables::Tables;
use crate::{OpenError, StorageConfig};
use std::path::{Path, PathBuf};
use witmq_broker::shard::ClockBase;

/// What is in a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableReport {
    /// Its name.
    pub name: String,
    /// Entries.
    pub entries: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// What is in a slice of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SliceReport {
    /// Its name.
    pub name: String,
    /// Messages.
    pub messages: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// When it was begun, milliseconds since 1970.
    pub created: u64,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The folder.
    pub dir: PathBuf,
    /// Version of the format; `None` if the files are damaged.
    pub format: Option<u32>,
    /// Tables, but for the log.
    pub tables: Vec<TableReport>,
    /// Slices of the log, oldest first.
    pub slices: Vec<SliceReport>,
    /// Damaged places in files.
    pub damages: Vec<Damage>,
    /// Entries that are not what this version writes: table, key, cause.
    pub records: Vec<String>,
}

impl Report {
    /// Nothing is damaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damages.is_empty() && self.records.is_empty()
    }
}

/// Looks at the storage in a folder.
///
/// # Errors
/// See [`OpenError`]; damage is no error but part of the report.
pub fn check(dir: &Path, clock: &ClockBase) -> Result<Report, OpenError> {
    let failed = |error: std::io::Error| OpenError::of(dir, error.into());
    let lock = inspect::lock(dir).map_err(failed)?;
    let Some(lock) = lock else {
        let dir = dir.to_owned();
        return Err(OpenError::Locked { dir });
    };
    let mut damages = inspect::journals(dir).map_err(failed)?;
    damages.extend(inspect::segments(dir).map_err(failed)?);
    drop(lock);
    let mut report = Report {
        dir: dir.to_owned(),
        damages,
        ..Report::default()
    };
    if !report.damages.is_empty() {
        return Ok(report);
    }
    let config = StorageConfig {
        dir: dir.to_owned(),
        ..StorageConfig::default()
    };
    let tables = Tables::open(&config)?;
    fill(&mut report, &tables, clock).map_err(|error| OpenError::of(dir, error))?;
    Ok(report)
}

fn fill(report: &mut Report, tables: &Tables, clock: &ClockBase) -> Result<(), fjall::Error> {
    report.format = tables.format()?;
    for table in tables.all() {
        let (entries, bytes) = size(table)?;
        report.tables.push(TableReport {
            name: table.name().to_string(),
            entries,
            bytes,
        });
    }
    for slice in tables.slices().iter() {
        let (messages, bytes) = size(&slice.log)?;
        report.slices.push(SliceReport {
            name: slice.log.name().to_string(),
            messages,
            bytes,
            created: slice.created,
        });
    }
    report.records = recover::unreadable(tables, clock)?;
    Ok(())
}

fn size(table: &fjall::Keyspace) -> Result<(u64, u64), fjall::Error> {
    let (mut entries, mut bytes) = (0, 0);
    for item in table.iter() {
        let (key, value) = item.into_inner()?;
        entries += 1;
        bytes += u64::try_from(key.len() + value.len()).unwrap_or(0);
    }
    Ok((entries, bytes))
}
