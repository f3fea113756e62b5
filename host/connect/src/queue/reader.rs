//! The reading end of a queue.
//!
//! Owns: [`Reader`], of which there is one at a time. Reads ahead; what is done with is written to the cursor, and
//! segments that are done with are removed.

use super::Queue;
use super::files::{self, Cursor, HEADER_BYTES, Position};
use crate::record::{Frame, HEAD_BYTES, Record, decode, frame};
use bytes::{Bytes, BytesMut};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Bytes read at a time.
const READ_BYTES: usize = 256 * 1024;

/// A record, and where the next one begins.
#[derive(Debug)]
pub(crate) struct Taken {
    /// `None`: it is of a format that this version does not know.
    pub(crate) record: Option<Record>,
    pub(crate) end: Position,
    pub(crate) bytes: u64,
}

/// Takes records in order.
pub(crate) struct Reader {
    queue: Arc<Queue>,
    cursor: Cursor,
    file: Option<File>,
    /// Where `ahead` begins.
    at: Position,
    ahead: BytesMut,
    /// Up to where it is done.
    done: Position,
    damaged: Vec<u64>,
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.queue.is_read.store(false, Ordering::Release);
    }
}

impl Reader {
    /// `None` while there is another one.
    pub(crate) fn open(queue: &Arc<Queue>) -> io::Result<Option<Self>> {
        if queue.is_read.swap(true, Ordering::Acquire) {
            return Ok(None);
        }
        let open = || {
            let first = files::segments(&queue.folder)?.first().copied();
            let first = Position {
                segment: first.unwrap_or(1),
                offset: HEADER_BYTES,
            };
            let kept = Cursor::read(&queue.folder)?;
            Ok((
                Cursor::open(&queue.folder)?,
                kept.unwrap_or(first).max(first),
            ))
        };
        let opened: io::Result<_> = open();
        let (cursor, at) = opened.inspect_err(|_| queue.is_read.store(false, Ordering::Release))?;
        Ok(Some(Self {
            queue: queue.clone(),
            cursor,
            file: None,
            at,
            ahead: BytesMut::new(),
            done: at,
            damaged: Vec::new(),
        }))
    }

    /// The next record, if there is one.
    pub(crate) fn next(&mut self) -> io::Result<Option<Taken>> {
        loop {
            let wanted = match frame(&self.ahead) {
                Frame::Whole(length) => return Ok(Some(self.take(length))),
                Frame::Short(wanted) => wanted,
                Frame::Damaged => {
                    self.skip("a checksum is wrong")?;
                    continue;
                }
            };
            // Looked at before reading: a segment that is not the last one by now is complete.
            let end = self.queue.end();
            if self.read(wanted, end)? {
                continue;
            }
            if self.at.segment >= end.segment {
                return Ok(None);
            }
            match self.ahead.is_empty() {
                true => self.follow(),
                false => self.skip("a record is cut off")?,
            }
        }
    }

    fn take(&mut self, length: usize) -> Taken {
        let body: Bytes = self.ahead.split_to(length).freeze().slice(HEAD_BYTES..);
        let bytes = u64::try_from(length).unwrap_or(0);
        self.at.offset += bytes;
        let record = decode(body);
        if record.is_none() {
            tracing::error!(folder = %self.queue.folder.display(), offset = self.at.offset, "a record of another version is passed over");
        }
        Taken {
            record,
            end: self.at,
            bytes,
        }
    }

    /// At least `wanted` bytes ahead, or more than now; false: there is nothing more in this segment.
    fn read(&mut self, wanted: usize, end: Position) -> io::Result<bool> {
        let file = match &mut self.file {
            Some(file) => file,
            none => match File::open(files::path(&self.queue.folder, self.at.segment)) {
                Ok(file) => none.insert(file),
                // It is done with, or was set aside.
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            },
        };
        let have = self.ahead.len();
        let from = self.at.offset + u64::try_from(have).unwrap_or(0);
        let limit = match self.at.segment == end.segment {
            true => end.offset,
            false => file.metadata()?.len(),
        };
        let left = usize::try_from(limit.saturating_sub(from)).unwrap_or(usize::MAX);
        let size = left.min(READ_BYTES.max(wanted.saturating_sub(have)));
        if size == 0 {
            return Ok(false);
        }
        self.ahead.resize(have + size, 0);
        let place = self.ahead.get_mut(have..).unwrap_or_default();
        let read = file.read_at(place, from);
        let length = *read.as_ref().unwrap_or(&0);
        self.ahead.truncate(have + length);
        read.map(|length| length > 0)
    }

    /// To the next segment.
    fn follow(&mut self) {
        self.file = None;
        self.ahead.clear();
        self.at = Position {
            segment: self.at.segment + 1,
            offset: HEADER_BYTES,
        };
    }

    fn skip(&mut self, cause: &str) -> io::Result<()> {
        let path = files::path(&self.queue.folder, self.at.segment);
        tracing::error!(file = %path.display(), offset = self.at.offset, "{cause}: what is behind it in this file is passed over, and the file is kept");
        self.queue.leave(self.at.segment)?;
        self.damaged.push(self.at.segment);
        self.follow();
        Ok(())
    }

    /// Everything before this place is done with and does not come again.
    pub(crate) fn finish(&mut self, end: Position, messages: u64, bytes: u64) -> io::Result<()> {
        self.queue.forget(messages, bytes);
        self.cursor.write(end)?;
        while self.done.segment < end.segment {
            let number = self.done.segment;
            match self.damaged.contains(&number) {
                true => files::set_aside(&self.queue.folder, number)?,
                false => files::remove(&self.queue.folder, number)?,
            }
            self.done.segment += 1;
        }
        self.done = end;
        Ok(())
    }
}
