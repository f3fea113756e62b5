//! The `Store` that keeps nothing beyond the process: every record is "stored" at once.
//!
//! Owns: [`Memory`]. Sessions and retained messages live in the shard; they end with the process.

use crate::ports::{Position, Record, Store};

/// Counts records and promises nothing.
#[derive(Debug, Default)]
pub struct Memory {
    position: Position,
}

impl Store for Memory {
    fn append(&mut self, _record: Record<'_>) -> Position {
        self.position.0 += 1;
        self.position
    }

    fn stored(&self) -> Position {
        self.position
    }
}
