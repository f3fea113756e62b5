//! Retained messages of the node, ordered by topic, handed out page by page so that nothing is truncated.
//!
//! Owns: [`Retained`], behind a lock: written by publishes with RETAIN, read on subscribe.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;
use witmq_proto::{Message, TopicFilter, TopicName};

/// What a retained message costs beyond its topic and payload.
const OVERHEAD_BYTES: usize = 256;

/// Messages looked at in one go for those that match a filter: an unlucky filter matches none of very many.
pub(crate) const LOOKS: usize = 1024;

/// Some of what is retained.
#[derive(Debug, Default)]
pub struct Page {
    /// In the order of their topics.
    pub messages: Vec<Arc<Message>>,
    /// Behind which topic it goes on; `None`: there is no more.
    pub after: Option<TopicName>,
}

/// A message could not be retained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RetainedError {
    /// The bound in messages.
    #[error("there are {0} retained messages, which is the limit (limits.retained_messages)")]
    Messages(usize),
    /// The bound in bytes.
    #[error("retained messages use {0} bytes, which is the limit (limits.retained_bytes)")]
    Bytes(usize),
}

/// The retained messages.
#[derive(Debug)]
pub struct Retained {
    maximum: usize,
    maximum_bytes: usize,
    refused: AtomicU64,
    table: RwLock<Table>,
}

#[derive(Debug, Default)]
struct Table {
    messages: BTreeMap<TopicName, Arc<Message>>,
    bytes: usize,
    /// Counts changes, so that the store can tell which of two is the later one.
    version: u64,
    /// Where the next sweep goes on.
    swept: Option<TopicName>,
}

impl Table {
    fn remove(&mut self, topic: &TopicName) {
        if let Some(old) = self.messages.remove(topic) {
            self.bytes -= cost(&old);
        }
    }
}

fn cost(message: &Message) -> usize {
    message.topic.len() + message.payload.len() + OVERHEAD_BYTES
}

fn is_expired(message: &Message, now: Instant) -> bool {
    message.remaining_expiry(now) == Some(0)
}

impl Retained {
    /// Empty, with its bounds.
    #[must_use]
    pub fn new(maximum: usize, maximum_bytes: usize) -> Self {
        Self {
            maximum,
            maximum_bytes,
            refused: AtomicU64::new(0),
            table: RwLock::default(),
        }
    }

    /// Replaces the message of the topic; an empty payload clears it and is not kept [MQTT-3.3.1-5]
    /// [MQTT-3.3.1-6] [MQTT-3.3.1-7]. Gives the version of the change.
    ///
    /// # Errors
    /// A bound is hit; the old message stays.
    pub fn set(&self, message: &Arc<Message>) -> Result<u64, RetainedError> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.version += 1;
        if message.payload.is_empty() {
            table.remove(&message.topic);
            return Ok(table.version);
        }
        let old = table.messages.get(&message.topic).map(|old| cost(old));
        let bytes = table.bytes - old.unwrap_or(0) + cost(message);
        let is_full = old.is_none() && table.messages.len() >= self.maximum;
        if is_full || bytes > self.maximum_bytes {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return Err(if is_full {
                RetainedError::Messages(table.messages.len())
            } else {
                RetainedError::Bytes(table.bytes)
            });
        }
        table.bytes = bytes;
        table
            .messages
            .insert(message.topic.clone(), message.clone());
        Ok(table.version)
    }

    /// Takes back what was retained before the node started.
    pub fn restore(&self, messages: impl IntoIterator<Item = Message>) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        for message in messages {
            table.bytes += cost(&message);
            table
                .messages
                .insert(message.topic.clone(), Arc::new(message));
        }
    }

    /// At most `limit` messages and about `bytes` of them that match `filter`, in the order of their topics, behind topic
    /// `after`: a match at least, if one is among the next `looks` messages. What was looked at is taken off that.
    #[must_use]
    pub fn page(
        &self,
        now: Instant,
        filter: &TopicFilter,
        after: Option<&TopicName>,
        (limit, bytes): (usize, usize),
        looks: &mut usize,
    ) -> Page {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner);
        let mut page = Page::default();
        if !filter.has_wildcard() {
            *looks = looks.saturating_sub(1);
            let found = TopicName::new(filter.as_byte_string().clone()).ok();
            let message = found
                .filter(|_| after.is_none())
                .and_then(|topic| table.messages.get(&topic));
            let message = message.filter(|message| !is_expired(message, now));
            page.messages.extend(message.cloned());
            return page;
        }
        let prefix = literal_prefix(filter);
        let start = match after {
            Some(topic) => Bound::Excluded(topic.clone()),
            None => TopicName::new(prefix).map_or(Bound::Unbounded, Bound::Included),
        };
        let (mut used, mut last) = (0, None);
        let rest = table.messages.range((start, Bound::Unbounded));
        for (topic, message) in rest.take_while(|(topic, _)| topic.starts_with(prefix)) {
            let is_match = filter.matches(topic) && !is_expired(message, now);
            let is_full = page.messages.len() >= limit
                || !page.messages.is_empty() && used + cost(message) > bytes;
            if *looks == 0 || is_match && is_full {
                page.after = last.or(after).cloned();
                return page;
            }
            *looks -= 1;
            if is_match {
                used += cost(message);
                page.messages.push(message.clone());
            }
            last = Some(topic);
        }
        page
    }

    /// Removes expired messages among the next `limit`; the sweep goes round. Which, with the version of the
    /// change.
    pub fn sweep(&self, now: Instant, limit: usize) -> Vec<(TopicName, u64)> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let start = table.swept.take().map_or(Bound::Unbounded, Bound::Excluded);
        let mut looked = 0;
        let mut expired = Vec::new();
        let mut last = None;
        for (topic, message) in table.messages.range((start, Bound::Unbounded)).take(limit) {
            looked += 1;
            if is_expired(message, now) {
                expired.push(topic.clone());
            } else {
                last = Some(topic);
            }
        }
        let last = last.cloned();
        table.swept = if looked == limit { last } else { None };
        let remove = |topic: TopicName| {
            table.remove(&topic);
            table.version += 1;
            (topic, table.version)
        };
        expired.into_iter().map(remove).collect()
    }

    /// Messages kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.table
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .messages
            .len()
    }

    /// Whether none is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes they count for.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.table
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .bytes
    }

    /// How many were refused.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// What every match begins with: the levels before the first wildcard. Without the last `/`, because `a/#`
/// matches `a` too.
fn literal_prefix(filter: &str) -> &str {
    let end = filter.find(['+', '#']).unwrap_or(filter.len());
    filter.get(..end).unwrap_or_default().trim_end_matches('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn message(topic: &str, payload: &str, expires_at: Option<Instant>) -> Arc<Message> {
        Arc::new(Message {
            topic: TopicName::new(topic).unwrap(),
            payload: bytes::Bytes::copy_from_slice(payload.as_bytes()),
            qos: witmq_proto::packet::QoS::AtLeastOnce,
            retain: true,
            properties: witmq_proto::packet::PublishProperties::default(),
            expires_at,
            publisher: bytestring::ByteString::new(),
            received_ms: 0,
            hops: 0,
        })
    }

    fn topics(retained: &Retained, now: Instant, filter: &str, page: usize) -> Vec<String> {
        let filter = TopicFilter::new(filter).unwrap();
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let bounds = (page, usize::MAX);
            let part = retained.page(now, &filter, after.as_ref(), bounds, &mut { page });
            let messages = part.messages.iter();
            found.extend(messages.map(|message| message.topic.to_string()));
            if part.after.is_none() {
                return found;
            }
            after = part.after;
        }
    }

    #[test]
    fn every_match_is_handed_out_whatever_the_page() {
        let now = Instant::now();
        let retained = Retained::new(1000, 1 << 20);
        let all = [
            "a", "a/b", "a/b/c", "a+", "ab/c", "b/b", "/", "/a", "$SYS/x",
        ];
        for topic in all.iter().filter(|topic| !topic.contains('+')) {
            retained.set(&message(topic, "x", None)).unwrap();
        }
        for filter in ["#", "a/#", "+/b", "a/+", "/#", "/+", "$SYS/#", "+", "a/b"] {
            let parsed = TopicFilter::new(filter).unwrap();
            let mut expected: Vec<_> = all
                .iter()
                .filter(|topic| !topic.contains('+') && parsed.matches(topic))
                .copied()
                .collect();
            expected.sort_unstable();
            for page in [1, 2, 100] {
                assert_eq!(
                    topics(&retained, now, filter, page),
                    expected,
                    "{filter} by {page}"
                );
            }
        }
    }

    #[test]
    fn a_page_is_bounded_in_bytes_but_never_empty() {
        let now = Instant::now();
        let retained = Retained::new(10, 1 << 20);
        for topic in ["a", "b", "c"] {
            retained.set(&message(topic, "x", None)).unwrap();
        }
        let each = 2 + OVERHEAD_BYTES;
        let all = TopicFilter::new("#").unwrap();
        for (bytes, count) in [(0, 1), (2 * each - 1, 1), (2 * each, 2), (3 * each, 3)] {
            let page = retained.page(now, &all, None, (9, bytes), &mut LOOKS.clone());
            let is_last = page.after.is_none();
            assert_eq!(
                (page.messages.len(), is_last),
                (count, count == 3),
                "{bytes}"
            );
        }
    }

    #[test]
    fn so_many_are_looked_at_and_it_goes_on_behind_them() {
        let now = Instant::now();
        let retained = Retained::new(10, 1 << 20);
        for topic in ["a/x", "b/x", "c/y", "d/x"] {
            retained.set(&message(topic, "x", None)).unwrap();
        }
        let filter = TopicFilter::new("+/y").unwrap();
        let mut seen = Vec::new();
        for (looks, after) in [(2, None), (1, Some("b/x")), (9, Some("c/y"))] {
            let after = after.map(|topic| TopicName::new(topic).unwrap());
            let mut left = looks;
            let page = retained.page(now, &filter, after.as_ref(), (9, 9_999), &mut left);
            let after = page.after.map(|topic| topic.to_string());
            seen.push((page.messages.len(), after, looks - left));
        }
        let text = |text: &str| Some(text.to_owned());
        let expected = [(0, text("b/x"), 2), (1, text("c/y"), 1), (0, None, 1)];
        assert_eq!(seen, expected);
        // Where nothing was left to look at it begins anew: nobody asks for that.
        let page = retained.page(now, &filter, None, (9, 9_999), &mut 0);
        assert!(page.messages.is_empty());
    }

    #[test]
    fn an_empty_payload_clears_and_is_not_kept() {
        let retained = Retained::new(10, 1 << 20);
        retained.set(&message("a", "x", None)).unwrap();
        retained.set(&message("a", "", None)).unwrap();
        retained.set(&message("b", "", None)).unwrap();
        assert_eq!((retained.len(), retained.bytes()), (0, 0));
    }

    #[test]
    fn bounds_hold_on_both_sides_and_replacing_needs_no_room() {
        let now = Instant::now();
        let retained = Retained::new(2, 2 * (OVERHEAD_BYTES + 2));
        retained.set(&message("a", "x", None)).unwrap();
        retained.set(&message("b", "x", None)).unwrap();
        assert_eq!(
            retained.set(&message("c", "x", None)),
            Err(RetainedError::Messages(2))
        );
        retained.set(&message("a", "y", None)).unwrap();
        let error = retained.set(&message("a", "yy", None));
        assert_eq!(error, Err(RetainedError::Bytes(2 * (OVERHEAD_BYTES + 2))));
        assert_eq!(retained.refused(), 2);
        let filter = TopicFilter::new("a").unwrap();
        let kept = retained.page(now, &filter, None, (1, 1), &mut LOOKS.clone());
        assert_eq!(&kept.messages[0].payload[..], b"y");
    }

    #[test]
    fn expired_messages_are_skipped_and_swept() {
        let now = Instant::now();
        let retained = Retained::new(10, 1 << 20);
        let soon = now + Duration::from_secs(1);
        retained.set(&message("a", "x", Some(soon))).unwrap();
        retained.set(&message("b", "x", None)).unwrap();
        assert_eq!(topics(&retained, now, "+", 10), ["a", "b"]);
        assert_eq!(topics(&retained, soon, "+", 10), ["b"]);
        let swept: usize = (0..3).map(|_| retained.sweep(soon, 1).len()).sum();
        assert_eq!(swept, 1);
        assert_eq!(retained.len(), 1);
    }
}
