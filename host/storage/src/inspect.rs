//! Reads the engine's files without the engine: where they are damaged, by file and offset.
//!
//! Owns: what is known of the layout of a journal (`journal.rs`) and of a table file (`segment.rs`), the finding
//! and the cutting of a torn tail. The engine would cut a journal at its first damaged byte, whatever is behind
//! it, and say nothing; here only what nothing follows is cut, and it is said.
//! Must not: change a file, but for [`cut`]; run while somebody has the folder open ([`lock`]).

mod journal;
mod segment;

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

pub(crate) use journal::Journal;

/// Damages named of one file; more are not looked for.
const MOST: usize = 100;

/// A part of a file that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Its first byte.
    pub offset: u64,
    /// Bytes that cannot be used for it.
    pub bytes: u64,
    /// What it is.
    pub kind: DamageKind,
}

/// Kinds of damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DamageKind {
    /// The last batch of the last journal was not written whole: it is cut, nobody was told that it is stored.
    Torn,
    /// Whole batches follow, or another journal.
    Journal,
    /// A block, an index or the end of a table file.
    Block,
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            file,
            offset,
            bytes,
            kind,
        } = self;
        let file = file.display();
        match kind {
            DamageKind::Torn => write!(
                f,
                "{file}: {bytes} bytes from offset {offset} cut (torn write of the last batch)"
            ),
            DamageKind::Journal => write!(
                f,
                "{file}: damaged at offset {offset}, {bytes} bytes from there on cannot be read, and what follows them was stored"
            ),
            DamageKind::Block => write!(
                f,
                "{file}: the block at offset {offset} ({bytes} bytes) fails its checksum"
            ),
        }
    }
}

/// Holds the engine's lock of a folder; `None` if another process has it. A folder without one is new.
pub(crate) fn lock(dir: &Path) -> io::Result<Option<Option<File>>> {
    let file = match OpenOptions::new()
        .read(true)
        .write(true)
        .open(dir.join("lock"))
    {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(None)),
        Err(error) => return Err(error),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(Some(file))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// What is damaged in the journals, oldest first.
pub(crate) fn journals(dir: &Path) -> io::Result<Vec<Damage>> {
    let mut files: Vec<(u64, PathBuf)> = Vec::new();
    for item in std::fs::read_dir(dir)? {
        let path = item?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let number = name.and_then(|name| name.strip_suffix(".jnl")?.parse().ok());
        files.extend(number.map(|number| (number, path)));
    }
    files.sort();
    let mut damages = Vec::new();
    let last = files.last().map(|(number, _)| *number);
    for (number, file) in files {
        let bytes = std::fs::read(&file)?;
        let Journal { valid, used, next } = Journal::read(&bytes);
        if valid == used {
            continue;
        }
        let is_torn = next.is_none() && Some(number) == last;
        damages.push(Damage {
            file,
            offset: valid,
            bytes: next.unwrap_or(used) - valid,
            kind: match is_torn {
                true => DamageKind::Torn,
                false => DamageKind::Journal,
            },
        });
    }
    Ok(damages)
}

/// What is damaged in the table files. Reads all of them.
pub(crate) fn segments(dir: &Path) -> io::Result<Vec<Damage>> {
    let mut damages = Vec::new();
    let folder = dir.join("keyspaces");
    if !folder.is_dir() {
        return Ok(damages);
    }
    for keyspace in std::fs::read_dir(folder)? {
        damages.extend(tables_of(&keyspace?.path())?);
    }
    Ok(damages)
}

/// What is damaged in the table files of one table.
pub(crate) fn tables_of(keyspace: &Path) -> io::Result<Vec<Damage>> {
    let mut damages = Vec::new();
    let folder = keyspace.join("tables");
    if !folder.is_dir() {
        return Ok(damages);
    }
    for item in std::fs::read_dir(folder)? {
        let file = item?.path();
        let bytes = std::fs::read(&file)?;
        for (offset, length) in segment::damages(&bytes).into_iter().take(MOST) {
            damages.push(Damage {
                file: file.clone(),
                offset,
                bytes: length,
                kind: DamageKind::Block,
            });
        }
    }
    damages.sort_by(|a, b| (&a.file, a.offset).cmp(&(&b.file, b.offset)));
    Ok(damages)
}

/// Cuts a torn tail.
pub(crate) fn cut(damage: &Damage) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(&damage.file)?;
    file.set_len(damage.offset)?;
    file.sync_all()
}

/// Numbers as the engine writes them.
pub(crate) struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn new(bytes: &'a [u8], at: usize) -> Self {
        Self { bytes, at }
    }

    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let part = self.bytes.get(self.at..end)?;
        self.at = end;
        Some(part)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }
}

fn position(at: usize) -> u64 {
    u64::try_from(at).unwrap_or(u64::MAX)
}
