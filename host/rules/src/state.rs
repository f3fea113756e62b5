//! What steps remember from one message to the next: bounded, shared by all shards, in memory only.
//!
//! Owns: the tables of `dedup`, `rate`, `changed` and `window` (ADR 0016). A key can be fed by publishers on several shards, so
//! one table per step is shared and locked in stripes, for the time it takes to look at one key.
//! Must not: know messages' steps, expressions or a clock; the time is what the caller says, which is when the message was
//! received.

mod alarm;
mod change;
mod dedup;
mod pool;
mod rate;
mod table;
mod window;

pub(crate) use alarm::Alarm;
pub(crate) use change::{Change, Changes};
pub(crate) use dedup::Dedup;
pub(crate) use pool::{POOL_BYTES, Pool};
pub(crate) use rate::Rate;
pub(crate) use table::Bounds;
pub(crate) use window::{Closed, Kind as WindowKind, Sum, Summary, Window};

/// Bytes of the key of a step.
pub(crate) const KEY_BYTES: usize = 1024;
/// Values that a sliding window of one key holds, and the largest `count`.
pub(crate) const WINDOW_VALUES: usize = 10_000;
/// Parts that `every` divides a window's `time` into.
pub(crate) const WINDOW_PARTS: u64 = 60;
/// Names of a window's `values`.
pub(crate) const WINDOW_NAMES: usize = 16;
/// Keys whose windows end in one go by themselves; the next ones when the shard has looked after others.
pub(crate) const WINDOWS_AT_ONCE: usize = 256;
