//! A journal: batches one behind the other, then zeros up to the size it was made with.
//!
//! ```text
//! batch   1 items:u32 sequence:u64, items, 3 checksum:u64 "FJL" 3        little-endian, xxh3 of the items
//! item    2 type:u8 compression:u8 table:u64 key-length:u16 length:u32 stored-length:u32 key value
//!         4 table:u64                                                    the table was emptied
//! ```
//! No checksum covers a batch's sequence number: a byte of it that changes is not found.

use super::{Input, position};
use xxhash_rust::xxh3::xxh3_64;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: [u8; 4] = *b"FJL\x03";

/// What a journal holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Journal {
    /// End of the whole batches from the beginning on.
    pub(crate) valid: u64,
    /// End of what was written: only zeros follow.
    pub(crate) used: u64,
    /// Where a whole batch begins behind the first damage.
    pub(crate) next: Option<u64>,
}

impl Journal {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let mut valid = 0;
        while let Some(end) = batch(bytes, valid) {
            valid = end;
        }
        let last = bytes.iter().rposition(|byte| *byte != 0);
        let used = last.map_or(0, |last| last + 1).max(valid);
        let starts = bytes.get(valid..used).unwrap_or_default().iter();
        let mut starts = starts.enumerate().filter(|(_, byte)| **byte == START);
        let next = starts.find_map(|(at, _)| batch(bytes, valid + at).map(|_| valid + at));
        Self {
            valid: position(valid),
            used: position(used),
            next: next.map(position),
        }
    }
}

/// The end of a whole batch that begins there.
fn batch(bytes: &[u8], at: usize) -> Option<usize> {
    let mut input = Input::new(bytes, at);
    if input.u8()? != START {
        return None;
    }
    let (count, _sequence) = (input.u32()?, input.u64()?);
    let first = input.at;
    for _ in 0..count {
        item(&mut input)?;
    }
    let items = bytes.get(first..input.at)?;
    if input.u8()? != END {
        return None;
    }
    // The trailer first: it is cheap, and most of what is tried is none.
    let checksum = input.u64()?;
    let is_whole = input.array()? == TRAILER && xxh3_64(items) == checksum;
    is_whole.then_some(input.at)
}

fn item(input: &mut Input<'_>) -> Option<()> {
    match input.u8()? {
        ITEM => {
            let (_type, _compression, _table) = (input.u8()?, input.u8()?, input.u64()?);
            let key = usize::from(input.u16()?);
            let (_length, stored) = (input.u32()?, input.u32()?);
            input.take(key)?;
            input.take(usize::try_from(stored).ok()?).map(drop)
        }
        CLEAR => input.u64().map(drop),
        _ => None,
    }
}
