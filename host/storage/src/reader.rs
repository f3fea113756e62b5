//! Reads pages of queues, away from shards and from the committer.
//!
//! Owns: the reader thread. What cannot be read is reported and answered as lost; the rest goes on.

use crate::format::{Pointer, log_key, queue_key, read_message, read_queue_key, read_targets};
use crate::inner::Inner;
use crate::tables::{Slice, Tables};
use crate::wire::Reader;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use witmq_broker::ports::store::{Entry, Fetch, Fetched};
use witmq_proto::{Delivery, LogPlace, Message};

/// Answers questions until the storage closes.
pub(crate) fn run(inner: &Inner) {
    while let Some((shard, fetch)) = inner.next_fetch() {
        let Some(page) = page_at_last(inner, fetch) else {
            return;
        };
        inner.answer(shard, page);
    }
}

/// Reads a page; as long as the disk gives nothing, tries again: what it cannot give now is not lost. `None`:
/// closing.
fn page_at_last(inner: &Inner, fetch: Fetch) -> Option<Fetched> {
    let mut has_failed = false;
    loop {
        let Some(tables) = inner.tables() else {
            // Being opened again: the shard asks once more when something was committed.
            return Some(Fetched {
                fetch,
                entries: Vec::new(),
                is_last: false,
            });
        };
        match page(inner, &tables, fetch) {
            Ok(page) => {
                if has_failed {
                    tracing::info!("the storage can be read again");
                }
                return Some(page);
            }
            Err(error) if !has_failed => {
                tracing::error!(%error, dir = %inner.config.dir.display(), "the storage cannot be read; it is tried again");
                has_failed = true;
            }
            Err(_) => {}
        }
        inner.metrics.failures.fetch_add(1, Ordering::Relaxed);
        drop(tables); // or it could not be opened again meanwhile
        std::thread::sleep(inner.config.retry);
        if inner.is_closing() {
            return None;
        }
    }
}

/// Whether it is the disk that failed, not what is on it.
fn is_of_disk(error: &fjall::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<std::io::Error>() {
            return error.kind() != std::io::ErrorKind::UnexpectedEof; // a file that was cut
        }
        cause = error.source();
    }
    false
}

fn page(inner: &Inner, tables: &Tables, fetch: Fetch) -> Result<Fetched, fjall::Error> {
    let session = fetch.session.0;
    let range = queue_key(session, fetch.from)..=queue_key(session, u64::MAX);
    let (mut entries, mut bytes, mut is_last) = (Vec::new(), 0, true);
    for item in tables.queue.range(range) {
        if entries.len() >= fetch.limit || bytes >= fetch.bytes {
            is_last = false;
            break;
        }
        let (key, value) = match item.into_inner() {
            Ok(pair) => pair,
            Err(error) if is_of_disk(&error) => return Err(error),
            Err(error) => {
                let place = inner.whereabouts(&tables.queue);
                report(
                    inner,
                    &format!("queue of session {session}: {error}{place}"),
                );
                break;
            }
        };
        let Ok((_, number)) = read_queue_key(&key) else {
            report(inner, &format!("queue key {key:?}"));
            continue;
        };
        let entry = read_entry(inner, tables, number, &value)?;
        if let Entry::Queued(delivery) = &entry {
            bytes += delivery.message.payload.len();
        }
        entries.push((number, entry));
    }
    Ok(Fetched {
        fetch,
        entries,
        is_last,
    })
}

fn report(inner: &Inner, what: &str) {
    inner.metrics.damaged.fetch_add(1, Ordering::Relaxed);
    tracing::error!(dir = %inner.config.dir.display(), "cannot be read and is given up: {what}");
}

fn read_entry(
    inner: &Inner,
    tables: &Tables,
    number: u64,
    value: &[u8],
) -> Result<Entry, fjall::Error> {
    let pointer = match Pointer::read(value) {
        Ok(pointer) => pointer,
        Err(error) => {
            report(inner, &format!("queue entry {number}: {error}"));
            return Ok(Entry::Lost(Some(LogPlace::default())));
        }
    };
    let kept = pointer.kept;
    if pointer.is_released {
        return Ok(Entry::Released(Some(kept)));
    }
    let Some(slice) = tables.slice_of(kept) else {
        return Ok(Entry::Lost(Some(kept))); // given up with its slice
    };
    let value = match slice.log.get(log_key(kept)) {
        Ok(value) => value,
        Err(error) if is_of_disk(&error) => return Err(error),
        Err(error) => {
            let place = inner.whereabouts(&slice.log);
            return Ok(lost(inner, &slice, kept, &format!("{error}{place}")));
        }
    };
    let Some(value) = value else {
        return Ok(Entry::Lost(Some(kept)));
    };
    let mut input = Reader::new(&value);
    let read = read_targets(&mut input).and_then(|_| read_message(&mut input, &inner.clock));
    Ok(match read {
        Ok(message) => Entry::Queued(delivery(pointer, number, message)),
        Err(error) => lost(inner, &slice, kept, &error.to_string()),
    })
}

fn lost(inner: &Inner, slice: &Slice, kept: LogPlace, cause: &str) -> Entry {
    let name = slice.log.name();
    let LogPlace { shard, number } = kept;
    report(
        inner,
        &format!("{name}, message {number} of shard {shard}: {cause}"),
    );
    Entry::Lost(Some(kept))
}

fn delivery(pointer: Pointer, number: u64, message: Message) -> Delivery {
    Delivery {
        message: Arc::new(message),
        qos: pointer.qos,
        retain: pointer.retain,
        subscription_ids: pointer.subscription_ids.into(),
        group: pointer.group.map(Arc::new),
        number,
        kept: Some(pointer.kept),
    }
}
