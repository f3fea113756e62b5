//! The second half of the way of a PUBLISH: retain, find who gets it, hand it out or mail it.

use super::Shard;
use super::client::{Membership, Subscription};
use crate::ports::Record;
use crate::retained::RetainedError;
use crate::router::ShardId;
use crate::router::interest::{GroupKey, GroupMatch};
use std::sync::Arc;
use std::time::Instant;
use witmq_proto::packet::QoS;
use witmq_proto::{Delivery, LogPlace, Message, TopicFilter};

/// One client that matched, all its overlapping subscriptions merged.
#[derive(Debug)]
pub(super) struct Hit {
    client: u32,
    qos: QoS,
    retain_as_published: bool,
    ids: Vec<u32>,
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
    pub(super) fn retain(&mut self, message: &Arc<Message>) -> Result<(), RetainedError> {
        if !message.retain {
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
        let matches = self
            .shared
            .interest
            .lookup(&message.topic, &mut self.interest);
        message.qos > QoS::AtMostOnce
            && (matches.durable != 0 || matches.groups.iter().any(|group| group.durable > 0))
    }

    /// Delivers here, mails other shards; whether anybody wanted it.
    pub(super) fn route(&mut self, now: Instant, message: &Arc<Message>) -> bool {
        self.epoch += 1;
        let turn = self.epoch;
        let matches = self
            .shared
            .interest
            .lookup(&message.topic, &mut self.interest);
        let (shards, durable) = (matches.shards, matches.durable);
        let mut targets = durable;
        let picks: Vec<(ShardId, Arc<GroupKey>)> = matches
            .groups
            .iter()
            .filter_map(|group| {
                let (shard, key) = pick(group, turn)?;
                if group.durable > 0 {
                    targets |= bit(shard);
                }
                Some((shard, key))
            })
            .collect();
        let mut is_wanted = shards != 0;
        let here = self.id;
        let mut remote = shards & !bit(here);
        for (shard, _) in &picks {
            if *shard != here {
                remote |= bit(*shard);
            }
        }
        // Written once, before anybody refers to it; shards elsewhere owe it from then on.
        let kept = (message.qos > QoS::AtMostOnce && targets != 0)
            .then(|| self.log(message, targets & !bit(here), &picks));
        for to in (0..self.shards)
            .map(ShardId)
            .filter(|shard| remote & bit(*shard) != 0)
        {
            let groups = picks.iter().filter(|(shard, _)| *shard == to);
            let groups = groups.map(|(_, key)| key.clone()).collect();
            let kept = kept.filter(|_| targets & bit(to) != 0);
            self.mail(to, message, groups, shards & bit(to) != 0, kept);
        }
        if shards & bit(here) != 0 {
            self.deliver_local(now, message, kept);
        }
        for (shard, key) in picks {
            is_wanted = true;
            if shard == here {
                self.deliver_group(now, &key, message, kept);
            }
        }
        is_wanted
    }

    /// Hands the message to this shard's ordinary subscribers.
    pub(super) fn deliver_local(
        &mut self,
        now: Instant,
        message: &Arc<Message>,
        kept: Option<LogPlace>,
    ) {
        self.epoch += 1;
        let epoch = self.epoch;
        let mut hits = std::mem::take(&mut self.hits);
        let clients = &mut self.clients;
        self.trie
            .for_each_match(&message.topic, &mut self.walk, |key, subscription| {
                let Some(client) = usize::try_from(key)
                    .ok()
                    .and_then(|index| clients.get_mut(index))
                else {
                    return;
                };
                if subscription.options.no_local && client.id == message.publisher {
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

    /// Hands the message to one member of a shared group: one that is online and has room, else one
    /// whose session keeps it, else one that is online [MQTT-4.8.2-4].
    pub(super) fn deliver_group(
        &mut self,
        now: Instant,
        key: &GroupKey,
        message: &Arc<Message>,
        kept: Option<LogPlace>,
    ) {
        let clients = &self.clients;
        let limits = &self.limits;
        let find = |member: u32| {
            usize::try_from(member)
                .ok()
                .and_then(|index| clients.get(index))
        };
        let has_room = |member: u32| {
            find(member).is_some_and(|client| client.outbox.len() < limits.outbox_messages)
        };
        let is_online =
            |member: u32| find(member).is_some_and(|client| client.connection.is_some());
        let keeps = |member: u32| {
            message.qos > QoS::AtMostOnce && find(member).is_some_and(|c| c.expiry > 0)
        };
        let chosen = self
            .groups
            .next(key, |member| is_online(member) && has_room(member))
            .or_else(|| {
                self.groups
                    .next(key, |member| keeps(member) && has_room(member))
            })
            .or_else(|| self.groups.next(key, is_online));
        let Some(member) = chosen else {
            self.counters.dropped_offline += 1;
            return;
        };
        let Some(part) = self
            .client(member)
            .and_then(|client| client.shared.iter().find(|part| *part.key == *key))
        else {
            return;
        };
        let delivery = group_delivery(part, message, kept);
        self.push(now, member, delivery);
    }

    /// A message that a member of a shared group can no longer take goes to another member.
    pub(super) fn redeliver(&mut self, now: Instant, delivery: &Delivery) {
        let Some(name) = &delivery.group else { return };
        let Ok(filter) = TopicFilter::new(name.1.clone()) else {
            return;
        };
        let key = GroupKey {
            group: name.0.clone(),
            filter,
        };
        self.epoch += 1;
        let turn = self.epoch;
        let matches = self
            .shared
            .interest
            .lookup(&delivery.message.topic, &mut self.interest);
        let group = matches.groups.iter().find(|group| *group.key == key);
        let is_durable = group.is_some_and(|group| group.durable > 0);
        let Some((shard, key)) = group.and_then(|group| pick(group, turn)) else {
            return;
        };
        let message = &delivery.message;
        if shard == self.id {
            return self.deliver_group(now, &key, message, None);
        }
        let kept = (is_durable && message.qos > QoS::AtMostOnce)
            .then(|| self.log(message, bit(shard), &[(shard, key.clone())]));
        self.mail(shard, message, vec![key], false, kept);
    }
}

fn group_delivery(part: &Membership, message: &Arc<Message>, kept: Option<LogPlace>) -> Delivery {
    let options = &part.subscription.options;
    Delivery {
        message: message.clone(),
        qos: message.qos.min(options.qos),
        retain: message.retain && options.retain_as_published,
        subscription_ids: part.subscription.id.into_iter().collect(),
        group: Some(part.name.clone()),
        number: 0,
        kept,
    }
}

/// The shard whose turn it is in a group, weighted by members online (by all members if none is).
fn pick(group: &GroupMatch, turn: u64) -> Option<(ShardId, Arc<GroupKey>)> {
    let online: u64 = group
        .members
        .iter()
        .map(|(_, online, _)| u64::from(*online))
        .sum();
    let weight = |online_here: u32, all_here: u32| {
        u64::from(if online > 0 { online_here } else { all_here })
    };
    let total: u64 = group
        .members
        .iter()
        .map(|(_, online, all)| weight(*online, *all))
        .sum();
    let mut place = turn.checked_rem(total)?;
    for (shard, online, all) in &group.members {
        let weight = weight(*online, *all);
        if place < weight {
            return Some((*shard, group.key.clone()));
        }
        place -= weight;
    }
    None
}

fn bit(shard: ShardId) -> u64 {
    1 << (shard.0 & 63)
}
