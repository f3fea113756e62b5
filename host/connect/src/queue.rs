//! The queue of one sink: an append-only log on disk in segments, written by shards and read by the sink's own thread.
//!
//! Owns: [`Queue`] (the writing end and the bounds); `reader` takes from it, `files` is what lies on disk. A message is
//! in the hands of the kernel when [`Queue::push`] returns, so it outlives kill -9 of the broker; a loss of power may
//! take what was pushed since the last [`Queue::sync`].
//! Must not: know where messages go.

mod files;
mod reader;

pub(crate) use files::Position;
pub(crate) use reader::Reader;

use crate::record::{Frame, frame};
use files::{Cursor, HEADER_BYTES, Segment};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Bytes after which a segment is followed by another one.
const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    pub(crate) messages: u64,
    pub(crate) bytes: u64,
}

/// Why a message is not in the queue.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotKept {
    #[error("the queue is full")]
    Full,
    #[error("{0}")]
    Disk(#[from] io::Error),
}

/// What is to be written next.
struct Tail {
    segment: u64,
    file: Arc<File>,
    length: u64,
    /// Something half written could not be cut off: the segment is not written to any more.
    is_broken: bool,
    /// Written since the last sync, oldest first; the last one is `file`.
    unsynced: Vec<Arc<File>>,
}

/// One sink's queue.
pub(crate) struct Queue {
    folder: PathBuf,
    segment_bytes: u64,
    tail: Mutex<Tail>,
    max_messages: AtomicU64,
    max_bytes: AtomicU64,
    messages: AtomicU64,
    bytes: AtomicU64,
    /// Something is there to read.
    pub(crate) ready: Notify,
    /// There is a reader.
    is_read: AtomicBool,
}

impl Queue {
    /// Opens the queue in a folder, made if it is not there. What was repaired is given back in words.
    pub(crate) fn open(folder: &Path, bounds: Bounds) -> io::Result<(Self, Vec<String>)> {
        Self::open_with(folder, bounds, SEGMENT_BYTES)
    }

    pub(crate) fn open_with(
        folder: &Path,
        bounds: Bounds,
        segment_bytes: u64,
    ) -> io::Result<(Self, Vec<String>)> {
        std::fs::create_dir_all(folder)?;
        let mut notes = Vec::new();
        let cursor = Cursor::read(folder)?;
        let segments = files::segments(folder)?;
        let start = cursor.unwrap_or(Position {
            segment: segments.first().copied().unwrap_or(1),
            offset: HEADER_BYTES,
        });
        let (mut messages, mut bytes) = (0, 0);
        let last = segments.last().copied();
        for number in segments.iter().copied() {
            if number < start.segment {
                files::remove(folder, number)?;
                continue;
            }
            let content = std::fs::read(files::path(folder, number))?;
            let from = match number == start.segment {
                true => start.offset,
                false => HEADER_BYTES,
            };
            let end = count(&content, from, &mut messages, &mut bytes);
            if end == content.len() && u64::try_from(end).is_ok_and(|end| end == from) {
                files::remove(folder, number)?; // nothing is left in it
            } else if end < content.len() && Some(number) == last {
                notes.push(files::cut(folder, number, &content, end)?);
            } else if end < content.len() {
                notes.push(format!(
                    "{} is damaged at byte {end}: what is behind it in this file is passed over, and the file is kept",
                    files::path(folder, number).display()
                ));
            }
        }
        // What is written from here on is in a segment of its own: nothing that was read is written to again.
        let next = last.max(cursor.map(|at| at.segment)).unwrap_or(0) + 1;
        let file = Arc::new(Segment::create(folder, next)?);
        let queue = Self {
            folder: folder.to_owned(),
            segment_bytes,
            tail: Mutex::new(Tail {
                segment: next,
                unsynced: vec![file.clone()],
                file,
                length: HEADER_BYTES,
                is_broken: false,
            }),
            max_messages: AtomicU64::new(bounds.messages),
            max_bytes: AtomicU64::new(bounds.bytes),
            messages: AtomicU64::new(messages),
            bytes: AtomicU64::new(bytes),
            ready: Notify::new(),
            is_read: AtomicBool::new(false),
        };
        Ok((queue, notes))
    }

    /// Other bounds from now on.
    pub(crate) fn bound(&self, bounds: Bounds) {
        self.max_messages.store(bounds.messages, Ordering::Relaxed);
        self.max_bytes.store(bounds.bytes, Ordering::Relaxed);
    }

    /// Messages that wait.
    pub(crate) fn messages(&self) -> u64 {
        self.messages.load(Ordering::Relaxed)
    }

    /// Their bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn tail(&self) -> MutexGuard<'_, Tail> {
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a record. Returns when it is written, which is one call of the kernel.
    pub(crate) fn push(&self, record: &[u8]) -> Result<(), NotKept> {
        let length = u64::try_from(record.len()).unwrap_or(u64::MAX);
        let mut tail = self.tail();
        // Only the holder of the lock adds, so what fits now fits.
        if self.messages() >= self.max_messages.load(Ordering::Relaxed)
            || self.bytes().saturating_add(length) > self.max_bytes.load(Ordering::Relaxed)
        {
            return Err(NotKept::Full);
        }
        let is_full = tail.length > HEADER_BYTES && tail.length + length > self.segment_bytes;
        if is_full || tail.is_broken {
            self.follow(&mut tail)?;
        }
        if let Err(error) = (&*tail.file).write_all(record) {
            tail.is_broken = tail.file.set_len(tail.length).is_err();
            return Err(error.into());
        }
        tail.length += length;
        if tail.unsynced.is_empty() {
            let file = tail.file.clone();
            tail.unsynced.push(file);
        }
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(length, Ordering::Relaxed);
        drop(tail);
        self.ready.notify_one();
        Ok(())
    }

    /// Whatever is pushed from now on is in another segment than this one.
    fn leave(&self, segment: u64) -> io::Result<()> {
        let mut tail = self.tail();
        match tail.segment == segment {
            true => self.follow(&mut tail),
            false => Ok(()),
        }
    }

    fn follow(&self, tail: &mut Tail) -> io::Result<()> {
        let next = tail.segment + 1;
        let file = Arc::new(Segment::create(&self.folder, next)?);
        (tail.segment, tail.length, tail.is_broken) = (next, HEADER_BYTES, false);
        tail.unsynced.push(file.clone());
        tail.file = file;
        Ok(())
    }

    /// Makes what was pushed so far outlive a loss of power. Waits for the disk; shards do not.
    pub(crate) fn sync(&self) -> io::Result<()> {
        let files = std::mem::take(&mut self.tail().unsynced);
        let is_empty = files.is_empty();
        for file in files {
            file.sync_data()?;
        }
        match is_empty {
            true => Ok(()),
            false => File::open(&self.folder)?.sync_all(), // names of new segments
        }
    }

    /// Up to where can be read.
    fn end(&self) -> Position {
        let tail = self.tail();
        Position {
            segment: tail.segment,
            offset: tail.length,
        }
    }

    /// What was taken and is done with: it does not come again.
    fn forget(&self, messages: u64, bytes: u64) {
        self.messages.fetch_sub(messages, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// Counts the whole records from a byte on; where they end.
fn count(content: &[u8], from: u64, messages: &mut u64, bytes: &mut u64) -> usize {
    let mut at = usize::try_from(from).unwrap_or(usize::MAX);
    if !files::is_segment(content) {
        return 0;
    }
    while let Some(rest) = content.get(at..)
        && let Frame::Whole(length) = frame(rest)
    {
        at += length;
        *messages += 1;
        *bytes += u64::try_from(length).unwrap_or(0);
    }
    at
}

#[cfg(test)]
mod tests;
