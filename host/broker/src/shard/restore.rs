//! What a shard begins with: sessions, subscriptions and wills of an earlier life of the node.
//!
//! Owns: the order of it: sessions and their routes first; what ran out in the meantime becomes due, and happens
//! with [`Shard::handle_timeout`], when every shard has its sessions and routes again.

use super::client::{Client, Subscription};
use super::outbox::Outbox;
use super::subscribe::place;
use super::{Shard, Timer};
use crate::ports::Record;
use crate::ports::store::{Past, Restored};
use bytestring::ByteString;
use std::time::{Duration, Instant};
use witmq_proto::packet::Will;
use witmq_proto::session::Session;
use witmq_proto::topic::Filter;

impl Shard {
    /// Takes over what the store kept. Before anything else is called. Publishes nothing: other shards may not
    /// have their subscriptions yet.
    pub fn restore(&mut self, now: Instant, past: Past) {
        self.next_log_number = past.next_log_number;
        let mut ends = Vec::new();
        for restored in past.sessions {
            let (key, end) = self.restore_session(now, restored);
            ends.extend(end.map(|at| (key, at)));
        }
        for (client_id, will, due) in past.wills {
            self.restore_will(now, client_id, will, due);
        }
        let next = past.next_delayed_number;
        self.delayed
            .restore(&self.shared.delayed, past.delayed, next);
        self.arm_delayed(now, Duration::ZERO); // what is due goes out when every shard has its routes again
        for (client, at) in ends {
            let absence = self.client(client).map_or(0, |client| client.absence);
            self.timers.set(at, Timer::SessionEnd { client, absence });
        }
    }

    /// Adds the client; its key and when its session ends.
    fn restore_session(&mut self, now: Instant, restored: Restored) -> (u32, Option<Instant>) {
        let state = restored.state;
        let (from, last, count, bytes) = restored.queue.unwrap_or_default();
        let next = state.next_number.unwrap_or(0);
        self.absences += 1;
        let mut client = Client::new(state.client_id.clone());
        client.absence = self.absences;
        client.expiry = state.expiry;
        client.kept = Some(restored.session);
        let session = Session::resumed(next, restored.received.iter().copied());
        client.session = Some(Box::new(session));
        client.received = restored.received.into_iter().collect();
        client.next_number = if count > 0 { next.max(last + 1) } else { next };
        client.sent.maybe = match state.next_number {
            Some(_) => 0,
            None => usize::from(self.limits.settings.outbound_receive_maximum),
        };
        client.sent.maybe_below = client.next_number;
        client.outbox = Outbox::restored(from, count, bytes);
        let key = self.insert_client(client);
        let maximum_qos = self.limits.settings.abilities.maximum_qos;
        for (text, mut options, id) in restored.subscriptions {
            options.qos = options.qos.min(maximum_qos);
            let subscription = Subscription { options, id };
            match Filter::parse(&text) {
                Ok(Filter::Plain(filter)) => self.restore_plain(key, text, filter, subscription),
                Ok(Filter::Shared(shared)) => self.subscribe_shared(key, &shared, subscription),
                Ok(Filter::Exclusive(filter)) => {
                    let claimed = self.shared.exclusive.claim(&filter, &state.client_id);
                    if claimed.is_err() {
                        // A client of another shard was faster, or fewer are allowed now.
                        let (session, filter) = (restored.session, &text);
                        self.counters.exclusive_refused += 1;
                        self.append(Record::Unsubscribed { session, filter });
                        continue;
                    }
                    self.restore_plain(key, text, filter, subscription);
                }
                Err(_) => continue, // it was checked when it was made
            }
            self.counters.subscriptions += 1;
        }
        let end = (state.expiry < u32::MAX).then(|| {
            // A client that was connected has been away since the node ended: since now.
            let unix = self.clock.unix_ms(now);
            let gone = unix.saturating_sub(state.absent_since.unwrap_or(unix));
            let left = (u64::from(state.expiry) * 1000).saturating_sub(gone);
            now + Duration::from_millis(left)
        });
        (key, end)
    }

    fn restore_plain(
        &mut self,
        key: u32,
        text: ByteString,
        filter: witmq_proto::TopicFilter,
        subscription: Subscription,
    ) {
        let place = place(key, &text);
        self.trie.insert(&filter, place, subscription);
        let is_durable = self.is_durable(key, Some(subscription));
        self.shared.interest.subscribe(self.id, &filter, is_durable);
        if let Some(client) = self.client_mut(key) {
            client.has_exclusive |= place != key;
            client.plain.insert(Box::from(&*text));
        }
    }

    /// The will of a client that is away now, whatever it was when the node ended [MQTT-3.1.2-8].
    fn restore_will(&mut self, now: Instant, client_id: ByteString, will: Will, due: Option<u64>) {
        let unix = self.clock.unix_ms(now);
        let due = due.unwrap_or_else(|| unix + u64::from(will.delay) * 1000);
        let known = self.key_of(&client_id);
        let key = known.unwrap_or_else(|| self.insert_client(Client::new(client_id)));
        self.absences += 1;
        let absences = self.absences;
        let Some(client) = self.client_mut(key) else {
            return;
        };
        client.will = Some(Box::new(will));
        client.is_will_kept = true;
        client.is_will_allowed = true;
        if known.is_some() {
            let absence = client.absence;
            let at = now + Duration::from_millis(due.saturating_sub(unix));
            self.timers.set(
                at,
                Timer::Will {
                    client: key,
                    absence,
                },
            );
        } else {
            // Its session was as long as its connection, and ends with it.
            client.absence = absences;
            let absence = client.absence;
            self.timers.set(
                now,
                Timer::SessionEnd {
                    client: key,
                    absence,
                },
            );
        }
    }
}
