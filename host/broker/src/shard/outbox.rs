//! Messages waiting for one client, bounded in number and bytes.

use std::collections::VecDeque;
use witmq_proto::Delivery;
use witmq_proto::packet::QoS;

/// What a waiting message costs beyond its topic and payload.
const OVERHEAD_BYTES: usize = 64;

/// A queue of deliveries.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    queue: VecDeque<Delivery>,
    bytes: usize,
}

fn cost(delivery: &Delivery) -> usize {
    delivery.message.payload.len() + delivery.message.topic.len() + OVERHEAD_BYTES
}

impl Outbox {
    /// Whether one more of this size fits.
    pub(super) fn has_room(&self, delivery: &Delivery, messages: usize, bytes: usize) -> bool {
        self.queue.len() < messages
            && (self.queue.is_empty() || self.bytes + cost(delivery) <= bytes)
    }

    pub(super) fn push(&mut self, delivery: Delivery) {
        self.bytes += cost(&delivery);
        self.queue.push_back(delivery);
    }

    pub(super) fn front(&self) -> Option<&Delivery> {
        self.queue.front()
    }

    pub(super) fn pop(&mut self) -> Option<Delivery> {
        let delivery = self.queue.pop_front()?;
        self.bytes -= cost(&delivery);
        if self.queue.is_empty() && self.queue.capacity() > 64 {
            self.queue = VecDeque::new(); // an idle client owns no queue
        }
        Some(delivery)
    }

    /// Drops QoS 0 messages: the client went away. How many.
    pub(super) fn drop_qos0(&mut self) -> u64 {
        let before = self.queue.len();
        self.queue.retain(|delivery| delivery.qos > QoS::AtMostOnce);
        self.bytes = self.queue.iter().map(cost).sum();
        u64::try_from(before - self.queue.len()).unwrap_or(u64::MAX)
    }

    pub(super) fn drain(&mut self) -> impl Iterator<Item = Delivery> + use<> {
        self.bytes = 0;
        std::mem::take(&mut self.queue).into_iter()
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }
}
