//! The second half of the way of a PUBLISH: retain, find who gets it, hand it out or mail it. What a member of a
//! shared group gets is in `group.rs`.

use super::Shard;
use super::client::{Client, Subscription};
use super::subscribe::subscriber;
use crate::ports::Record;
use crate::retained::RetainedError;
use crate::router::ShardId;
use crate::router::known::Place;
use bytestring::ByteString;
use std::sync::Arc;
use std::time::Instant;
use witmq_proto::packet::QoS;
use witmq_proto::{Delivery, LogPlace, Message};

/// One client that matched, all its overlapping subscriptions merged.
#[derive(Debug)]
pub(super) struct Hit {
    pub(super) client: u32,
    pub(super) qos: QoS,
    retain_as_published: bool,
    pub(super) ids: Vec<u32>,
}

impl Hit {
    fn new(client: u32, subscription: &Subscription) -> Self {
        let mut hit = Self {
            client,
            qos: QoS::AtMostOnce,
            retain_as_published: false,
            ids: Vec::new(),
        };
        hit.merge(subscription);
        hit
    }

    /// One copy at the highest QoS, with every matching identifier [MQTT-3.3.4-2] [MQTT-3.3.4-4].
    fn merge(&mut self, subscription: &Subscription) {
        self.qos = self.qos.max(subscription.options.qos);
        self.retain_as_published |= subscription.options.retain_as_published;
        self.ids.extend(subscription.id);
    }
}

impl Shard {
    /// Keeps or clears the retained message of the topic, if RETAIN is set.
    #[inline]
    pub(super) fn retain(&mut self, message: &Arc<Message>) -> Result<(), RetainedError> {
        if !message.retain || !self.limits.settings.abilities.retain {
            return Ok(());
        }
        let version = self.shared.retained.set(message).inspect_err(|_| {
            self.counters.retained_refused += 1;
        })?;
        if message.topic.starts_with("$SYS/") {
            return Ok(()); // the broker's own: made anew at every start
        }
        let kept = (!message.payload.is_empty()).then_some(message); // [MQTT-3.3.1-6]
        self.append(Record::Retained {
            topic: &message.topic,
            version,
            message: kept,
        });
        Ok(())
    }

    /// Whether somebody must not lose this message.
    pub(super) fn is_kept(&mut self, message: &Message) -> bool {
        let place = self.known.place(&message.topic);
        let matches = self.known.wanted(&self.shared.interest, place);
        message.qos > QoS::AtMostOnce
            && (matches.durable != 0 || matches.groups.iter().any(|group| group.is_durable))
    }

    /// Delivers here, mails other shards; whether anybody wanted it.
    #[inline]
    pub(super) fn route(&mut self, now: Instant, message: &Arc<Message>) -> bool {
        let place = self.known.place(&message.topic);
        let matches = self.known.wanted(&self.shared.interest, place);
        let (shards, durable) = (matches.shards, matches.durable);
        let mut targets = durable;
        let mut picks = Vec::new();
        for group in &matches.groups {
            let Some(pick) = self.picker.pick(group, message) else {
                self.counters.dropped_offline += 1;
                continue;
            };
            if pick.is_durable {
                targets |= bit(pick.shard);
            }
            picks.push(pick);
        }
        let is_wanted = shards != 0 || !matches.groups.is_empty();
        let here = self.id;
        let mut remote = shards & !bit(here);
        for pick in &picks {
            remote |= bit(pick.shard) & !bit(here);
        }
        // Written once, before anybody refers to it; shards elsewhere owe it from then on.
        let kept = (message.qos > QoS::AtMostOnce && targets != 0)
            .then(|| self.log(message, durable & !bit(here), &picks));
        while remote != 0 {
            let to = ShardId(u16::try_from(remote.trailing_zeros()).unwrap_or(0));
            remote &= remote - 1;
            let there = picks.iter().filter(|pick| pick.shard == to).cloned();
            let kept = kept.filter(|_| targets & bit(to) != 0);
            self.mail(to, message, there.collect(), shards & bit(to) != 0, kept);
        }
        if shards & bit(here) != 0 {
            self.deliver_at(now, message, place, kept);
        }
        for pick in picks.iter().filter(|pick| pick.shard == here) {
            self.deliver_group(now, pick, message, kept);
        }
        is_wanted
    }

    /// Hands the message to this shard's ordinary subscribers.
    #[inline]
    pub(super) fn deliver_local(
        &mut self,
        now: Instant,
        message: &Arc<Message>,
        kept: Option<LogPlace>,
    ) {
        let place = self.known.place(&message.topic);
        self.deliver_at(now, message, place, kept);
    }

    /// The same for a message whose topic's place is known.
    #[inline]
    fn deliver_at(
        &mut self,
        now: Instant,
        message: &Arc<Message>,
        place: Place,
        kept: Option<LogPlace>,
    ) {
        if let Some((key, subscription)) = self.known.single(&self.trie, place) {
            return self.deliver_one(now, message, subscriber(key), &subscription, kept);
        }
        let mut hits = self.matched(place, &message.publisher);
        for hit in hits.drain(..) {
            let delivery = Delivery {
                message: message.clone(),
                qos: message.qos.min(hit.qos), // [MQTT-3.8.4-8]
                retain: message.retain && hit.retain_as_published, // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
                subscription_ids: hit.ids.into_boxed_slice(),
                group: None,
                number: 0,
                kept,
            };
            self.push(now, hit.client, delivery);
        }
        self.hits = hits;
    }

    /// Clients of this shard that match, each once; the list is to be put back into `hits`.
    #[inline]
    pub(super) fn matched(&mut self, place: Place, publisher: &ByteString) -> Vec<Hit> {
        self.epoch += 1;
        let epoch = self.epoch;
        let mut hits = std::mem::take(&mut self.hits);
        let clients = &mut self.clients;
        self.known
            .for_each_match(&self.trie, place, &mut self.walk, |key, subscription| {
                let key = subscriber(key);
                let Some(client) = usize::try_from(key)
                    .ok()
                    .and_then(|index| clients.get_mut(index))
                else {
                    return;
                };
                if subscription.options.no_local && client.id == *publisher {
                    return; // [MQTT-3.8.3-3]
                }
                let (seen, index) = client.mark;
                match hits.get_mut(index) {
                    Some(hit) if seen == epoch => hit.merge(subscription),
                    _ => {
                        client.mark = (epoch, hits.len());
                        hits.push(Hit::new(key, subscription));
                    }
                }
            });
        hits
    }
}

impl Shard {
    /// Most topics have one subscriber: there is nothing to merge.
    #[inline]
    fn deliver_one(
        &mut self,
        now: Instant,
        message: &Arc<Message>,
        key: u32,
        subscription: &Subscription,
        kept: Option<LogPlace>,
    ) {
        let options = subscription.options;
        let is_own = |client: &Client| client.id == message.publisher;
        if options.no_local && self.client(key).is_some_and(is_own) {
            return; // [MQTT-3.8.3-3]
        }
        let delivery = Delivery {
            message: message.clone(),
            qos: message.qos.min(options.qos), // [MQTT-3.8.4-8]
            retain: message.retain && options.retain_as_published, // [MQTT-3.3.1-12] [MQTT-3.3.1-13]
            subscription_ids: subscription.id.into_iter().collect(), // [MQTT-3.3.4-2]
            group: None,
            number: 0,
            kept,
        };
        self.push(now, key, delivery);
    }
}

pub(super) fn bit(shard: ShardId) -> u64 {
    1 << (shard.0 & 63)
}
