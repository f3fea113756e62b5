//! From the outbox of a client to its connection, as the client takes it.

use super::client::Feed;
use super::{ConnectionId, Shard};
use crate::limits::Overflow;
use crate::ports::{BrokerEvent, Record};
use bytes::BytesMut;
use std::time::Instant;
use witmq_proto::endpoint::Delivered;
use witmq_proto::packet::QoS;
use witmq_proto::{Delivery, ReasonCode};

/// Bytes per call of [`Shard::transmit`]: one batch for one connection.
const TRANSMIT_BYTES: usize = 64 * 1024;
/// Retained messages fetched at a time for a new subscription.
const FEED_PAGE: usize = 64;

impl Shard {
    /// Owes `delivery` to a client, within the bounds of its outbox.
    pub(super) fn push(&mut self, now: Instant, key: u32, delivery: Delivery) {
        let (messages, bytes, overflow) = (
            self.limits.outbox_messages,
            self.limits.outbox_bytes,
            self.limits.overflow,
        );
        let Some(client) = self.client_mut(key) else {
            return;
        };
        let is_kept = delivery.qos > QoS::AtMostOnce && client.expiry > 0;
        if client.connection.is_none() && !is_kept {
            self.counters.dropped_offline += 1;
            return;
        }
        if !client.outbox.has_room(&delivery, messages, bytes) {
            if delivery.qos == QoS::AtMostOnce || overflow == Overflow::DropNewest {
                return self.dropped(key, "queue-full");
            }
            if overflow == Overflow::Disconnect {
                let connection = client.connection;
                self.dropped(key, "queue-full");
                if let Some(id) = connection {
                    self.end_connection(
                        now,
                        id,
                        ReasonCode::QuotaExceeded,
                        "the client reads too slowly",
                    );
                }
                return;
            }
            client.outbox.pop();
            self.dropped(key, "queue-full");
        }
        if is_kept {
            let Some(client) = self.client(key) else {
                return;
            };
            let client_id = client.id.clone();
            self.append(Record::Queued {
                client_id: &client_id,
                delivery: &delivery,
            });
        }
        let Some(client) = self.client_mut(key) else {
            return;
        };
        client.outbox.push(delivery);
        if let Some(id) = client.connection {
            self.wake(id);
        }
    }

    fn dropped(&mut self, key: u32, cause: &'static str) {
        match cause {
            "expired" => self.counters.dropped_expired += 1,
            "too-large" => self.counters.dropped_too_large += 1,
            _ => self.counters.dropped_full += 1,
        }
        let Some(client_id) = self.client(key).map(|client| client.id.clone()) else {
            return;
        };
        self.ports
            .events
            .emit(BrokerEvent::Dropped { client_id, cause });
    }

    /// Appends what the connection may be told now to `out`: acknowledgements first, then messages, a
    /// batch of about 64 KiB. Afterwards [`Self::has_more`] tells whether to call again.
    pub fn transmit(&mut self, now: Instant, id: ConnectionId, out: &mut BytesMut) {
        let Some(connection) = self.connection_mut(id) else {
            return;
        };
        connection.woken = false;
        connection.endpoint.transmit(now, out);
        let Some(key) = connection.client else { return };
        let enough = out.len() + TRANSMIT_BYTES;
        while out.len() < enough {
            let (Some(connection), Some(client)) = (
                self.connections.get_mut(id.index()),
                usize::try_from(key)
                    .ok()
                    .and_then(|k| self.clients.get_mut(k)),
            ) else {
                return;
            };
            let Some(delivery) = client.outbox.front() else {
                if self.refill(now, key) {
                    continue;
                }
                return;
            };
            let outcome = connection.endpoint.deliver(now, delivery, out);
            if outcome == Delivered::NoQuota {
                return;
            }
            client.outbox.pop();
            match outcome {
                Delivered::Sent(_) => self.counters.sent += 1,
                Delivered::TooLarge => self.dropped(key, "too-large"),
                Delivered::Expired => self.dropped(key, "expired"),
                Delivered::NoQuota => {}
            }
        }
    }

    /// Whether [`Self::transmit`] has something to write.
    #[must_use]
    pub fn has_more(&self, id: ConnectionId) -> bool {
        let Some(connection) = self.connection(id) else {
            return false;
        };
        if connection.endpoint.has_pending() {
            return true;
        }
        let Some(client) = connection.client.and_then(|key| self.client(key)) else {
            return false;
        };
        match client.outbox.front() {
            Some(delivery) => delivery.qos == QoS::AtMostOnce || connection.endpoint.has_quota(),
            None => !client.feeds.is_empty(),
        }
    }

    /// Fetches the next retained messages of a new subscription; false if none are left.
    fn refill(&mut self, now: Instant, key: u32) -> bool {
        let Some(client) = usize::try_from(key)
            .ok()
            .and_then(|index| self.clients.get_mut(index))
        else {
            return false;
        };
        let Some(feed) = client.feeds.front_mut() else {
            return false;
        };
        let page = self
            .shared
            .retained
            .page(now, &feed.filter, feed.after.as_ref(), FEED_PAGE);
        let is_last = page.len() < FEED_PAGE;
        for message in &page {
            if feed.subscription.options.no_local && client.id == message.publisher {
                continue;
            }
            client.outbox.push(Delivery {
                qos: message.qos.min(feed.subscription.options.qos), // [MQTT-3.3.1-9] bounded as ever
                retain: true,                                        // [MQTT-3.3.1-8]
                subscription_ids: feed.subscription.id.into_iter().collect(),
                message: message.clone(),
                group: None,
            });
        }
        feed.after = page
            .last()
            .map(|message| message.topic.clone())
            .or_else(|| feed.after.take());
        if is_last {
            client.feeds.pop_front();
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
