//! What a queue is on disk: numbered segments, and the place up to which they are done with.
//!
//! Owns: names, headers, the cursor's format, what is done about a torn end.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Every segment begins with this.
const MAGIC: [u8; 8] = *b"WMQSINK1";
/// Where the first record of a segment is.
pub(super) const HEADER_BYTES: u64 = 8;
/// Segment, offset, checksum of both.
const CURSOR_BYTES: usize = 20;

/// A place in a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Position {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
}

pub(super) fn path(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("{number:020}.log"))
}

/// Numbers of the segments there are, in order.
pub(super) fn segments(folder: &Path) -> io::Result<Vec<u64>> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "log")
            && let Some(stem) = path.file_stem().and_then(|stem| stem.to_str())
            && let Ok(number) = stem.parse()
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

pub(super) fn is_segment(content: &[u8]) -> bool {
    content.starts_with(&MAGIC)
}

pub(super) fn remove(folder: &Path, number: u64) -> io::Result<()> {
    match std::fs::remove_file(path(folder, number)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Sets a damaged segment aside, where nothing reads or removes it.
pub(super) fn set_aside(folder: &Path, number: u64) -> io::Result<()> {
    let path = path(folder, number);
    std::fs::rename(&path, path.with_extension("damaged"))
}

/// Cuts off what is no record at the end of the last segment; what is cut off is kept beside it.
pub(super) fn cut(folder: &Path, number: u64, content: &[u8], end: usize) -> io::Result<String> {
    let path = path(folder, number);
    let rest = content.get(end..).unwrap_or_default();
    let aside = path.with_extension("cut");
    std::fs::write(&aside, rest)?;
    let file = OpenOptions::new().write(true).open(&path)?;
    file.set_len(u64::try_from(end).unwrap_or(0))?;
    if end == 0 {
        (&file).write_all(&MAGIC)?;
    }
    file.sync_data()?;
    Ok(format!(
        "{} had {} bytes behind byte {end} that are no record: they are cut off and kept in {}",
        path.display(),
        rest.len(),
        aside.display()
    ))
}

/// A segment that is written.
pub(super) struct Segment;

impl Segment {
    pub(super) fn create(folder: &Path, number: u64) -> io::Result<File> {
        let path = path(folder, number);
        let open = || {
            let mut options = OpenOptions::new();
            let options = options.append(true).create_new(true).mode(0o600);
            options.open(&path)
        };
        let mut file = match open() {
            // A header that could not be written the last time: nothing can be in it.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                std::fs::remove_file(&path)?;
                open()?
            }
            file => file?,
        };
        file.write_all(&MAGIC)?;
        Ok(file)
    }
}

/// The file that says up to where a queue is done with.
pub(super) struct Cursor(File);

impl Cursor {
    fn path(folder: &Path) -> PathBuf {
        folder.join("cursor")
    }

    /// `None` if there is none, or none that is whole: everything comes once more then.
    pub(super) fn read(folder: &Path) -> io::Result<Option<Position>> {
        let bytes = match std::fs::read(Self::path(folder)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            bytes => bytes?,
        };
        let word = |at: usize| {
            let bytes = bytes.get(at..at + 8)?;
            bytes.try_into().ok().map(u64::from_le_bytes)
        };
        let sum = bytes.get(16..20).and_then(|sum| sum.try_into().ok());
        let is_whole = sum.map(u32::from_le_bytes) == bytes.get(..16).map(crc32fast::hash);
        Ok(match (word(0), word(8)) {
            (Some(segment), Some(offset)) if is_whole => Some(Position { segment, offset }),
            _ => None,
        })
    }

    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(false).mode(0o600);
        options.open(Self::path(folder)).map(Self)
    }

    /// One call of the kernel: a killed broker leaves the old place or the new one.
    pub(super) fn write(&self, at: Position) -> io::Result<()> {
        let mut bytes = [0; CURSOR_BYTES];
        let (place, sum) = bytes.split_at_mut(16);
        let (segment, offset) = place.split_at_mut(8);
        segment.copy_from_slice(&at.segment.to_le_bytes());
        offset.copy_from_slice(&at.offset.to_le_bytes());
        sum.copy_from_slice(&crc32fast::hash(place).to_le_bytes());
        self.0.write_all_at(&bytes, 0)
    }
}
