//! Reads pages of queues, away from shards and from the committer.
//!
//! Owns: the reader thread. What cannot be read is reported and answered as lost; the rest goes on.

use crate::format::{Pointer, log_key, queue_key, read_message, read_queue_key, read_targets};
use crate::inner::Inner;
use crate::tables::Tables;
use crate::wire::Reader;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use witmq_broker::ports::store::{Entry, Fetch, Fetched};
use witmq_proto::{Delivery, LogPlace, Message};

/// Answers questions until the storage closes.
pub(crate) fn run(inner: &Inner) {
    while let Some((shard, fetch)) = inner.next_fetch() {
        let page = match inner.tables() {
            Some(tables) => page(inner, &tables, fetch),
            // Being opened again: the shard asks once more when something was committed.
            None => Fetched {
                fetch,
                entries: Vec::new(),
                is_last: false,
            },
        };
        inner.answer(shard, page);
    }
}

fn page(inner: &Inner, tables: &Tables, fetch: Fetch) -> Fetched {
    let session = fetch.session.0;
    let range = queue_key(session, fetch.from)..=queue_key(session, u64::MAX);
    let (mut entries, mut bytes, mut is_last) = (Vec::new(), 0, true);
    for item in tables.queue.range(range) {
        if entries.len() >= fetch.limit || bytes >= fetch.bytes {
            is_last = false;
            break;
        }
        let read = item.into_inner().map_err(|error| error.to_string());
        let (key, value) = match read {
            Ok(pair) => pair,
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
        let entry = read_entry(inner, tables, number, &value);
        if let Entry::Queued(delivery) = &entry {
            bytes += delivery.message.payload.len();
        }
        entries.push((number, entry));
    }
    Fetched {
        fetch,
        entries,
        is_last,
    }
}

fn report(inner: &Inner, what: &str) {
    inner.metrics.damaged.fetch_add(1, Ordering::Relaxed);
    tracing::error!(dir = %inner.config.dir.display(), "cannot be read and is given up: {what}");
}

fn read_entry(inner: &Inner, tables: &Tables, number: u64, value: &[u8]) -> Entry {
    let pointer = match Pointer::read(value) {
        Ok(pointer) => pointer,
        Err(error) => {
            report(inner, &format!("queue entry {number}: {error}"));
            return Entry::Lost(Some(LogPlace::default()));
        }
    };
    let kept = pointer.kept;
    if pointer.is_released {
        return Entry::Released(Some(kept));
    }
    match read_log(inner, tables, kept) {
        Ok(Some(message)) => Entry::Queued(delivery(pointer, number, message)),
        Ok(None) => Entry::Lost(Some(kept)), // given up with its slice
        Err(error) => {
            report(inner, &error);
            Entry::Lost(Some(kept))
        }
    }
}

/// The message at a place; `None` if its slice is gone.
fn read_log(inner: &Inner, tables: &Tables, place: LogPlace) -> Result<Option<Message>, String> {
    let Some(slice) = tables.slice_of(place) else {
        return Ok(None);
    };
    let name = slice.log.name();
    let failed = |error: &dyn std::fmt::Display| {
        format!(
            "{name}, message {} of shard {}: {error}",
            place.number, place.shard
        )
    };
    let value = slice.log.get(log_key(place));
    let value = value.map_err(|error| failed(&error) + &inner.whereabouts(&slice.log))?;
    let Some(value) = value else { return Ok(None) };
    let mut input = Reader::new(&value);
    let message = read_targets(&mut input)
        .and_then(|_| read_message(&mut input, &inner.clock))
        .map_err(|e| failed(&e))?;
    Ok(Some(message))
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
