//! Delayed messages: `$delayed/SECONDS/topic` taken apart, the queue of what is not due yet, and its bounds.
//!
//! Owns: [`DelayedId`], the queue of one shard and the room all shards share. Must not: publish (that is
//! `shard/delayed.rs`).

use bytestring::ByteString;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use witmq_proto::{Message, TopicName};

/// What a publish must begin with to be delayed.
pub const PREFIX: &str = "$delayed/";
/// What a delayed message costs beyond its topic and payload.
const OVERHEAD_BYTES: usize = 256;

/// A delayed message. The order of identifiers is the order in which messages fall due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DelayedId {
    /// Unix milliseconds at which it falls due.
    pub due_ms: u64,
    /// The shard that took it.
    pub shard: u16,
    /// Count of that shard.
    pub number: u64,
}

impl std::fmt::Display for DelayedId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}-{}", self.due_ms, self.shard, self.number)
    }
}

/// A text that is no [`DelayedId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the identifier of a delayed message is DUE-SHARD-NUMBER")]
pub struct NotAnId;

impl FromStr for DelayedId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        let mut parts = text.splitn(3, '-');
        let mut part = || parts.next().and_then(|part| part.parse::<u64>().ok());
        let (Some(due_ms), Some(shard), Some(number)) = (part(), part(), part()) else {
            return Err(NotAnId);
        };
        let shard = u16::try_from(shard).map_err(|_| NotAnId)?;
        Ok(Self {
            due_ms,
            shard,
            number,
        })
    }
}

/// A topic under `$delayed/` that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelayedError {
    /// Not `$delayed/SECONDS/TOPIC`.
    #[error("a delayed message is published to $delayed/SECONDS/TOPIC, SECONDS a whole number")]
    Seconds,
    /// Nothing, or a delayed topic, behind the seconds.
    #[error(
        "behind $delayed/SECONDS/ comes the topic the message is for, which is not delayed itself"
    )]
    Topic,
}

/// Takes `$delayed/SECONDS/TOPIC` apart; `None` if the topic is an ordinary one.
///
/// # Errors
/// It begins with `$delayed/` and does not go on as it should.
pub fn parse(topic: &str) -> Result<Option<(u64, TopicName)>, DelayedError> {
    let Some(rest) = topic.strip_prefix(PREFIX) else {
        return Ok(None);
    };
    let (seconds, topic) = rest.split_once('/').ok_or(DelayedError::Seconds)?;
    if seconds.is_empty() || !seconds.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DelayedError::Seconds);
    }
    // So many digits that they do not fit are a delay beyond every bound.
    let seconds = seconds.parse().unwrap_or(u64::MAX);
    let topic = TopicName::new(ByteString::from(topic)).map_err(|_| DelayedError::Topic)?;
    if topic.starts_with(PREFIX) {
        return Err(DelayedError::Topic);
    }
    Ok(Some((seconds, topic)))
}

/// What a message counts for.
fn cost(message: &Message) -> usize {
    message.topic.len() + message.payload.len() + OVERHEAD_BYTES
}

/// Delayed messages of all shards, counted.
#[derive(Debug, Default)]
pub struct Room {
    messages: AtomicUsize,
    bytes: AtomicUsize,
}

impl Room {
    /// Messages that wait.
    #[must_use]
    pub fn messages(&self) -> usize {
        self.messages.load(Ordering::Relaxed)
    }

    /// Bytes they count for.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Counts a message in; false if there is no room for it.
    pub(crate) fn take(&self, message: &Message, messages: usize, bytes: usize) -> bool {
        let up_to = |counter: &AtomicUsize, more: usize, maximum: usize| {
            counter
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
                    now.checked_add(more).filter(|sum| *sum <= maximum)
                })
                .is_ok()
        };
        if !up_to(&self.messages, 1, messages) {
            return false;
        }
        if up_to(&self.bytes, cost(message), bytes) {
            return true;
        }
        self.messages.fetch_sub(1, Ordering::Relaxed);
        false
    }

    /// Counts in what was there before the node started, bound or not.
    fn add(&self, message: &Message) {
        self.messages.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(cost(message), Ordering::Relaxed);
    }

    fn give_back(&self, message: &Message) {
        self.messages.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(cost(message), Ordering::Relaxed);
    }
}

/// What one shard has to publish later, in the order of time.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    messages: BTreeMap<DelayedId, Arc<Message>>,
    next: u64,
}

impl Queue {
    /// Takes back what was waiting when the node ended; `next` is the count to go on from.
    pub(crate) fn restore(
        &mut self,
        room: &Room,
        messages: impl IntoIterator<Item = (DelayedId, Message)>,
        next: u64,
    ) {
        for (id, message) in messages {
            room.add(&message);
            self.messages.insert(id, Arc::new(message));
        }
        self.next = next;
    }

    /// Adds a message that was counted in already.
    pub(crate) fn insert(&mut self, due_ms: u64, shard: u16, message: Arc<Message>) -> DelayedId {
        let id = DelayedId {
            due_ms,
            shard,
            number: self.next,
        };
        self.next += 1;
        self.messages.insert(id, message);
        id
    }

    pub(crate) fn remove(&mut self, room: &Room, id: DelayedId) -> Option<Arc<Message>> {
        let message = self.messages.remove(&id)?;
        room.give_back(&message);
        Some(message)
    }

    /// When the next one falls due, Unix milliseconds.
    pub(crate) fn next_due(&self) -> Option<u64> {
        self.messages.first_key_value().map(|(id, _)| id.due_ms)
    }

    /// The next one that is due at `unix_ms`.
    pub(crate) fn pop_due(
        &mut self,
        room: &Room,
        unix_ms: u64,
    ) -> Option<(DelayedId, Arc<Message>)> {
        let first = self.messages.first_entry()?;
        if first.key().due_ms > unix_ms {
            return None;
        }
        let (id, message) = first.remove_entry();
        room.give_back(&message);
        Some((id, message))
    }

    /// At most `limit` of them behind `after`.
    pub(crate) fn page(
        &self,
        after: Option<DelayedId>,
        limit: usize,
    ) -> Vec<(DelayedId, Arc<Message>)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.messages.range((start, Bound::Unbounded));
        range
            .take(limit)
            .map(|(id, message)| (*id, message.clone()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_taken_apart_or_refused_with_the_reason() {
        let topic = |text: &str| Some(TopicName::new(text.to_owned()).unwrap());
        let parsed =
            |text| parse(text).map(|found| (found.clone().map(|(s, _)| s), found.map(|(_, t)| t)));
        assert_eq!(parsed("a/b"), Ok((None, None)));
        assert_eq!(parsed("$delayedX/1/a"), Ok((None, None)));
        assert_eq!(parsed("$delayed/15/a/b"), Ok((Some(15), topic("a/b"))));
        assert_eq!(parsed("$delayed/0//"), Ok((Some(0), topic("/"))));
        let beyond = "$delayed/99999999999999999999999/a";
        assert_eq!(parsed(beyond), Ok((Some(u64::MAX), topic("a"))));
        for bad in [
            "$delayed/",
            "$delayed/5",
            "$delayed//a",
            "$delayed/x/a",
            "$delayed/-1/a",
            "$delayed/+1/a",
            "$delayed/1.5/a",
            "$delayed/ 1/a",
        ] {
            assert_eq!(parse(bad), Err(DelayedError::Seconds), "{bad}");
        }
        for bad in ["$delayed/5/", "$delayed/5/$delayed/5/a"] {
            assert_eq!(parse(bad), Err(DelayedError::Topic), "{bad}");
        }
    }

    #[test]
    fn an_identifier_is_read_as_it_is_written() {
        let id = DelayedId {
            due_ms: 1_700_000_000_000,
            shard: 3,
            number: u64::MAX,
        };
        assert_eq!(id.to_string().parse(), Ok(id));
        for bad in ["", "1", "1-2", "1-65536-3", "1-2-3-4", "a-b-c", "-1-2-3"] {
            assert_eq!(bad.parse::<DelayedId>(), Err(NotAnId), "{bad}");
        }
    }
}
