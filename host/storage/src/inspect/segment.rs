//! A table file: sections of blocks, each block with a checksum, then a table of contents and a trailer.
//!
//! ```text
//! block     "LSM" 3 type:u8 checksum:u128 length:u32 plain-length:u32 checksum:u32 bytes
//! contents  "TOC!" count:u32, (position:u64 length:u64 name-length:u16 name) …
//! trailer   "SFA!" 1 0 checksum-of-contents:u128 position:u64 length:u64       the last 38 bytes
//! ```
//! Little-endian; checksums are xxh3 of 128 bits, the header's is the lower 32 of its own.

use super::{Input, position};
use xxhash_rust::xxh3::xxh3_128;

const BLOCK: [u8; 4] = *b"LSM\x03";
const CONTENTS: [u8; 4] = *b"TOC!";
const TRAILER: [u8; 4] = *b"SFA!";
const TRAILER_BYTES: usize = 38;
const HEADER_BYTES: usize = 29;
/// Sections that are not made of blocks.
const PLAIN: [&[u8]; 2] = [b"table_version", b"linked_blob_files"];

/// Offset and length of everything that fails its checksum.
pub(super) fn damages(bytes: &[u8]) -> Vec<(u64, u64)> {
    let mut found = Vec::new();
    match contents(bytes) {
        Ok(sections) => {
            for (at, end) in sections {
                blocks(bytes, at, end, &mut found);
            }
        }
        // Without its contents the file is looked through from the beginning.
        Err(at) => {
            let end = blocks_from_start(bytes, &mut found);
            let at = at.max(end);
            found.push((position(at), position(bytes.len().saturating_sub(at))));
        }
    }
    found
}

/// Sections of blocks; where the contents are damaged.
fn contents(bytes: &[u8]) -> Result<Vec<(usize, usize)>, usize> {
    let at = bytes.len().saturating_sub(TRAILER_BYTES);
    let (checksum, toc) = trailer(bytes, at).ok_or(at)?;
    let whole = bytes.get(toc..at).ok_or(at)?;
    if xxh3_128(whole) != checksum {
        return Err(toc);
    }
    sections(whole).ok_or(toc)
}

fn trailer(bytes: &[u8], at: usize) -> Option<(u128, usize)> {
    let mut input = Input::new(bytes, at);
    let is_trailer = input.array()? == TRAILER && input.array()? == [1, 0];
    let (checksum, toc) = (input.u128()?, input.u64()?);
    let is_whole = toc.checked_add(input.u64()?)? == position(at);
    let toc = usize::try_from(toc).ok()?;
    (is_trailer && is_whole).then_some((checksum, toc))
}

fn sections(contents: &[u8]) -> Option<Vec<(usize, usize)>> {
    let mut input = Input::new(contents, 0);
    if input.array()? != CONTENTS {
        return None;
    }
    let mut sections = Vec::new();
    for _ in 0..input.u32()? {
        let (at, length) = (input.u64()?, input.u64()?);
        let name = usize::from(input.u16()?);
        if !PLAIN.contains(&input.take(name)?) {
            let at = usize::try_from(at).ok()?;
            sections.push((at, at.checked_add(usize::try_from(length).ok()?)?));
        }
    }
    Some(sections)
}

/// Looks at the blocks of a section; behind a damaged one goes on with the next that is whole.
fn blocks(bytes: &[u8], mut at: usize, end: usize, found: &mut Vec<(u64, u64)>) {
    while at < end {
        if let Some(next) = whole_block(bytes, at) {
            at = next;
            continue;
        }
        let next = next_block(bytes, at + 1, end).unwrap_or(end);
        found.push((position(at), position(next - at)));
        at = next;
    }
}

fn blocks_from_start(bytes: &[u8], found: &mut Vec<(u64, u64)>) -> usize {
    let mut last = 0;
    let mut at = 0;
    while let Some(next) = next_block(bytes, at, bytes.len()) {
        blocks(bytes, last, next, found);
        at = whole_block(bytes, next).unwrap_or(next + 1);
        last = at;
    }
    last
}

fn next_block(bytes: &[u8], from: usize, end: usize) -> Option<usize> {
    let rest = bytes.get(from..end)?;
    let starts = rest.windows(BLOCK.len()).enumerate();
    let mut starts = starts.filter(|(_, window)| **window == BLOCK);
    starts.find_map(|(at, _)| whole_block(bytes, from + at).map(|_| from + at))
}

/// The end of a whole block that begins there.
fn whole_block(bytes: &[u8], at: usize) -> Option<usize> {
    let mut input = Input::new(bytes, at);
    if input.array()? != BLOCK {
        return None;
    }
    let (_type, checksum) = (input.u8()?, input.u128()?);
    let (length, _plain) = (input.u32()?, input.u32()?);
    let header = xxh3_128(bytes.get(at..at + HEADER_BYTES)?).to_le_bytes();
    if !header.starts_with(&input.array::<4>()?) {
        return None;
    }
    let data = input.take(usize::try_from(length).ok()?)?;
    (xxh3_128(data) == checksum).then_some(input.at)
}
