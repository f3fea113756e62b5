//! `$delayed/SECONDS/topic`: taken, acknowledged and kept now, published as if it came when it falls due.
//!
//! Owns: the life of a delayed message. Its record goes in the turn in which what it becomes is recorded, so a
//! crash leaves one of the two. One wake-up a shard, for the next one that falls due.

use super::Shard;
use super::inbound::{Answer, Origin};
use crate::delayed::DelayedId;
use crate::ports::store::Health;
use crate::ports::{BrokerEvent, Record};
use std::sync::Arc;
use std::time::{Duration, Instant};
use witmq_proto::{Message, ReasonCode};

/// Published in one go at most; between two of them the shard serves its clients.
const BATCH: usize = 256;
/// Pause between two of these.
const PAUSE: Duration = Duration::from_millis(1);
/// Pause before another attempt while the store or another shard takes nothing.
const RETRY: Duration = Duration::from_millis(100);

impl Shard {
    /// Keeps an authorized message until `seconds` from now; what its publisher is told.
    pub(super) fn delay(&mut self, now: Instant, seconds: u64, message: Arc<Message>) -> Answer {
        if seconds > u64::from(self.limits.delayed_max_s) {
            let text = format!(
                "a message is delayed by at most {} s here (limits.delayed_max_s)",
                self.limits.delayed_max_s
            );
            return self.refuse_delayed(text);
        }
        if self.ports.store.health() == Health::Refusing {
            self.counters.refused_unstored += 1;
            return Answer::code(ReasonCode::QuotaExceeded);
        }
        let (messages, bytes) = (self.limits.delayed_messages, self.limits.delayed_bytes);
        if !self.shared.delayed.take(&message, messages, bytes) {
            let text = "there is no room for another delayed message (limits.delayed_messages, \
                        limits.delayed_bytes)";
            return self.refuse_delayed(text.to_owned());
        }
        let due_ms = self.clock.unix_ms(now).saturating_add(seconds * 1000);
        let id = self.delayed.insert(due_ms, self.id.0, message.clone());
        self.append(Record::Delayed {
            id,
            message: &message,
        });
        self.counters.delayed += 1;
        self.arm_delayed(now, Duration::ZERO);
        Answer::code(ReasonCode::Success)
    }

    fn refuse_delayed(&mut self, text: String) -> Answer {
        self.counters.delayed_refused += 1;
        Answer {
            reason: Some(ReasonCode::QuotaExceeded),
            text: Some(text),
        }
    }

    /// Publishes what is due, in the order of time. While the store takes nothing they wait: they were
    /// acknowledged, so nobody would send them again.
    pub(super) fn delayed_due(&mut self, now: Instant) {
        let unix_ms = self.clock.unix_ms(now);
        for _ in 0..BATCH {
            if self.is_congested() || self.ports.store.health() != Health::Well {
                return self.arm_delayed(now, RETRY);
            }
            let Some((id, message)) = self.delayed.pop_due(&self.shared.delayed, unix_ms) else {
                return self.arm_delayed(now, Duration::ZERO);
            };
            self.append(Record::DelayedGone { id });
            if message.remaining_expiry(now) == Some(0) {
                self.counters.dropped_expired += 1;
                let client_id = message.publisher.clone();
                let cause = "expired";
                self.ports
                    .events
                    .emit(BrokerEvent::Dropped { client_id, cause });
                continue;
            }
            self.counters.delayed_published += 1;
            // It begins to wait for its receivers now.
            let message = Arc::new(Message {
                received_ms: unix_ms,
                ..(*message).clone()
            });
            let client = self.key_of(&message.publisher);
            let origin = Origin {
                client,
                connection: None,
                packet_id: None,
            };
            self.ingest(now, origin, message);
        }
        self.arm_delayed(now, PAUSE);
    }

    /// Wakes up for the next one, not before `pause` is over.
    pub(super) fn arm_delayed(&mut self, now: Instant, pause: Duration) {
        let next = self.delayed.next_due().and_then(|due_ms| {
            let left = due_ms.saturating_sub(self.clock.unix_ms(now));
            now.checked_add(Duration::from_millis(left).max(pause))
        });
        self.timers.set_delayed(next);
    }

    /// At most `limit` delayed messages of this shard behind `after`, in the order in which they fall due.
    #[must_use]
    pub fn delayed(
        &self,
        after: Option<DelayedId>,
        limit: usize,
    ) -> Vec<(DelayedId, Arc<Message>)> {
        self.delayed.page(after, limit)
    }

    /// Takes a delayed message back before it falls due; false if this shard has none of that name. It may
    /// come back until that is stored ([`Shard::when_stored`]).
    pub fn cancel_delayed(&mut self, now: Instant, id: DelayedId) -> bool {
        if self.delayed.remove(&self.shared.delayed, id).is_none() {
            return false;
        }
        self.append(Record::DelayedGone { id });
        self.arm_delayed(now, Duration::ZERO);
        true
    }

    /// Keys of plugins and tables are to be stored as they are now.
    pub fn keep_keys(&mut self) {
        self.append(Record::PluginKv);
    }
}
