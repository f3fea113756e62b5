//! From the outbox of a client to its connection, as the client takes it.

use super::client::Feed;
use super::counters::bytes;
use super::outbox::{Front, Waiting};
use super::queue::is_too_old;
use super::{ConnectionId, Shard};
use crate::ports::raised::EventKind;
use crate::retained::LOOKS;
use bytes::{Bytes, BytesMut};
use std::time::Instant;
use witmq_proto::Delivery;
use witmq_proto::endpoint::Delivered;
use witmq_proto::packet::QoS;

/// Bytes per call of [`Shard::transmit`]: one batch for one connection.
const TRANSMIT_BYTES: usize = 64 * 1024;
/// From this size on a copy costs more than a write of its own.
const LARGE_BYTES: usize = 8 * 1024;
/// Retained messages fetched at a time for a new subscription, and their bytes. Never more than an empty outbox
/// takes: what is retained is paced by its receiver, not dropped.
const FEED_PAGE: usize = 64;
const FEED_BYTES: usize = 256 * 1024;

impl Shard {
    /// Appends what the connection may be told now to `out`: acknowledgements first, then messages, a
    /// batch of about 64 KiB. Afterwards [`Self::has_more`] tells whether to call again.
    pub fn transmit(&mut self, now: Instant, id: ConnectionId, out: &mut BytesMut) {
        self.look_at_wanted();
        let before = out.len();
        self.transmit_batch(now, id, out);
        self.counters.bytes_sent += bytes(out.len().saturating_sub(before));
    }

    fn transmit_batch(&mut self, now: Instant, id: ConnectionId, out: &mut BytesMut) {
        let stored = self.ports.store.stored();
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        connection.woken = false;
        if connection.gate > stored {
            return; // what CONNACK says of the session is not durable yet
        }
        connection.endpoint.transmit(now, out);
        let discarded = connection.endpoint.take_discarded();
        let Some(key) = connection.client else { return };
        for (number, kept) in discarded {
            self.done(key, number, kept);
            self.dropped(key, "too-large", None);
        }
        let enough = out.len() + TRANSMIT_BYTES;
        let oldest = self.oldest_waiting(now);
        let mut looks = LOOKS;
        while out.len() < enough {
            let (Some(connection), Some(client)) = (
                self.connections.get_mut(id.index()),
                usize::try_from(key)
                    .ok()
                    .and_then(|k| self.clients.get_mut(k)),
            ) else {
                return;
            };
            let waiting = match client.outbox.front() {
                Some(Front::One(waiting)) => waiting,
                Some(Front::Burst(burst, first)) => {
                    let is_told = burst.packets().qos() > QoS::AtMostOnce;
                    let is_young = burst.received_ms >= oldest;
                    if is_told && is_young && !connection.endpoint.has_quota(first) {
                        break;
                    }
                    match self.take_burst((id, key), oldest) {
                        Some((burst, first)) => self.write_burst(id, &burst, first, out),
                        None => self.unfold(key),
                    }
                    continue;
                }
                None => {
                    // What is retained comes behind the SUBACK of all filters of a SUBSCRIBE.
                    let may_feed = client.outbox.spilled() == 0 && connection.changing.is_none();
                    if may_feed && looks > 0 && self.refill(now, key, &mut looks) {
                        continue;
                    }
                    break; // what is left to be looked at is, when others were heard: see `has_more`
                }
            };
            if waiting.position > stored {
                break; // sent when it is durable: its identifier must outlive us
            }
            let cause = if is_too_old(&waiting.delivery, oldest) {
                Some("too-old")
            } else {
                match connection.endpoint.deliver(now, &waiting.delivery, out) {
                    Delivered::NoQuota => break,
                    Delivered::Sent(_) => None,
                    Delivered::TooLarge => Some("too-large"),
                    Delivered::Expired => Some("expired"),
                }
            };
            let Some(delivery) = client.outbox.pop() else {
                break;
            };
            self.delivered(key, &delivery, cause);
        }
        self.note_presence(key);
        self.want_page(now, key);
    }

    /// Counts what became of a delivery. `cause`: why it was not sent.
    #[inline]
    fn delivered(&mut self, key: u32, delivery: &Delivery, cause: Option<&'static str>) {
        if let Some(cause) = cause {
            self.done(key, delivery.number, delivery.kept);
            return self.dropped(key, cause, Some(delivery));
        }
        self.counters.sent += 1;
        self.counters.payload_sent += bytes(delivery.message.payload.len());
        if self.wants(EventKind::Delivered) {
            let what = (&delivery.message, delivery.qos);
            self.raise_message(EventKind::Delivered, key, what, None, None);
        }
    }

    /// Takes what is large and comes first, to be written as it is, without a copy; `None`: see [`Self::transmit`].
    pub fn transmit_large(&mut self, now: Instant, id: ConnectionId) -> Option<Bytes> {
        self.look_at_wanted();
        let (stored, oldest) = (self.ports.store.stored(), self.oldest_waiting(now));
        let connection = self.connection(id)?;
        let key = connection.client?;
        if connection.gate > stored || connection.endpoint.has_pending() {
            return None;
        }
        let Some(Front::Burst(burst, _)) = self.client(key)?.outbox.front() else {
            return None;
        };
        let packets = burst.packets();
        if packets.qos() > QoS::AtMostOnce || packets.bytes().len() < LARGE_BYTES {
            return None; // with identifiers it is not what was read
        }
        let (burst, _) = self.take_burst((id, key), oldest)?;
        let whole = burst.packets().bytes().clone();
        self.counters.bytes_sent += bytes(whole.len());
        if let Some(connection) = self.connection_mut(id) {
            connection.woken = false;
        }
        self.note_presence(key);
        self.want_page(now, key);
        Some(whole)
    }

    /// Whether [`Self::transmit`] has something to write.
    #[must_use]
    pub fn has_more(&self, id: ConnectionId) -> bool {
        let Some(connection) = self.connection(id) else {
            return false;
        };
        let stored = self.ports.store.stored();
        if connection.gate > stored {
            return false;
        }
        if connection.endpoint.has_pending() {
            return true;
        }
        let Some(client) = connection.client.and_then(|key| self.client(key)) else {
            return false;
        };
        match client.outbox.front() {
            Some(Front::Burst(burst, first)) => {
                let qos = burst.packets().qos();
                qos == QoS::AtMostOnce || connection.endpoint.has_quota(first)
            }
            Some(Front::One(Waiting { delivery, position })) => {
                *position <= stored
                    && (delivery.qos == QoS::AtMostOnce
                        || connection.endpoint.has_quota(delivery.number))
            }
            None => {
                let may_feed = client.outbox.spilled() == 0 && connection.changing.is_none();
                may_feed && !client.feeds.is_empty()
            }
        }
    }

    /// Fetches the next retained messages of a new subscription; false if none are left.
    fn refill(&mut self, now: Instant, key: u32, looks: &mut usize) -> bool {
        let Some(client) = usize::try_from(key)
            .ok()
            .and_then(|index| self.clients.get_mut(index))
        else {
            return false;
        };
        let Some(feed) = client.feeds.front_mut() else {
            return false;
        };
        let limit = FEED_PAGE.min(self.limits.outbox_messages).max(1);
        let bytes = FEED_BYTES.min(self.limits.outbox_bytes);
        let retained = &self.shared.retained;
        let after = feed.after.as_ref();
        let page = retained.page(now, &feed.filter, after, (limit, bytes), looks);
        let (subscription, client_id) = (feed.subscription, client.id.clone());
        feed.after = page.after;
        if feed.after.is_none() {
            client.feeds.pop_front();
        }
        for message in page.messages {
            if subscription.options.no_local && client_id == message.publisher {
                continue;
            }
            let delivery = Delivery {
                qos: message.qos.min(subscription.options.qos), // [MQTT-3.3.1-9] bounded as ever
                retain: true,                                   // [MQTT-3.3.1-8]
                subscription_ids: subscription.id.into_iter().collect(),
                message,
                group: None,
                number: 0,
                kept: None,
            };
            self.push(now, key, delivery);
        }
        true
    }

    /// Queues the retained messages that match a new subscription.
    pub(super) fn feed(&mut self, key: u32, feed: Feed) {
        let Some(client) = self.client_mut(key) else {
            return;
        };
        client.feeds.retain(|waiting| waiting.filter != feed.filter);
        client.feeds.push_back(feed);
    }
}
