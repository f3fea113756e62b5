//! Messages of shared groups: to the member that was picked, or to another if that one cannot take it.
//!
//! Owns: that a message of a group reaches one member, whatever happened while it was on its way. The choice is
//! `router/groups.rs`.

use super::Shard;
use super::client::Membership;
use crate::router::groups::Pick;
use crate::router::interest::GroupKey;
use std::sync::Arc;
use std::time::Instant;
use witmq_proto::packet::QoS;
use witmq_proto::{Delivery, LogPlace, Message, TopicFilter};

/// How a member stands to a delivery.
enum Standing {
    /// It takes it.
    Ready(Delivery),
    /// It would have to drop something, by its policy.
    Full(Delivery),
    /// It is no member any more, or is away and keeps nothing.
    Gone,
}

impl Shard {
    /// Hands the message to the member picked, a client of this shard, or to whom it goes instead.
    pub(super) fn deliver_group(
        &mut self,
        now: Instant,
        pick: &Pick,
        message: &Arc<Message>,
        kept: Option<LogPlace>,
    ) {
        let key = self.key_of(&pick.client_id);
        let standing = key.map_or(Standing::Gone, |key| {
            self.standing(key, pick, message, kept)
        });
        match (key, standing) {
            (Some(key), Standing::Ready(delivery)) => self.push(now, key, delivery),
            (Some(key), Standing::Full(delivery)) => {
                let other = self.pick_again(&pick.key, message);
                match other.filter(|other| other.has_room && !pick.is_passed_on) {
                    Some(other) => self.pass_on(now, other, message, kept),
                    None => self.push(now, key, delivery),
                }
            }
            _ => match self.pick_again(&pick.key, message) {
                Some(other) => self.pass_on(now, other, message, kept),
                None => self.counters.dropped_offline += 1,
            },
        }
    }

    /// A message that a member can no longer take, because its session ended, goes to another member.
    pub(super) fn redeliver(&mut self, now: Instant, delivery: &Delivery) {
        let Some(name) = &delivery.group else { return };
        let Ok(filter) = TopicFilter::new(name.1.clone()) else {
            return;
        };
        let key = GroupKey {
            group: name.0.clone(),
            filter,
        };
        match self.pick_again(&key, &delivery.message) {
            Some(pick) => self.pass_on(now, pick, &delivery.message, None),
            None => self.counters.dropped_offline += 1,
        }
    }

    fn pick_again(&mut self, key: &GroupKey, message: &Message) -> Option<Pick> {
        let place = self.known.place(&message.topic);
        let matches = self.known.wanted(&self.shared.interest, place);
        let group = matches.groups.iter().find(|group| *group.key == *key)?;
        self.picker.pick(group, message)
    }

    /// `kept`: where the message is logged, if this shard is to give it to somebody.
    fn pass_on(
        &mut self,
        now: Instant,
        mut pick: Pick,
        message: &Arc<Message>,
        kept: Option<LogPlace>,
    ) {
        self.counters.passed_on += 1;
        pick.is_passed_on = true;
        if pick.shard != self.id {
            let is_kept = message.qos > QoS::AtMostOnce && pick.is_durable;
            // The other shard owes it from here on.
            let kept = is_kept.then(|| self.log(message, 0, std::slice::from_ref(&pick)));
            return self.mail(pick.shard, message, vec![pick], false, kept);
        }
        let Some(key) = self.key_of(&pick.client_id) else {
            return;
        };
        match self.standing(key, &pick, message, kept) {
            Standing::Ready(delivery) | Standing::Full(delivery) => self.push(now, key, delivery),
            Standing::Gone => self.counters.dropped_offline += 1,
        }
    }

    fn standing(
        &self,
        key: u32,
        pick: &Pick,
        message: &Arc<Message>,
        kept: Option<LogPlace>,
    ) -> Standing {
        let Some(client) = self.client(key) else {
            return Standing::Gone;
        };
        let Some(part) = client.membership(&pick.key) else {
            return Standing::Gone;
        };
        let delivery = delivery(part, message, kept);
        let keeps = client.kept.is_some() && delivery.qos > QoS::AtMostOnce;
        if client.connection.is_none() && !keeps {
            return Standing::Gone;
        }
        let (messages, bytes) = (self.limits.outbox_messages, self.limits.outbox_bytes);
        if client.outbox.has_room(&delivery, messages, bytes) {
            Standing::Ready(delivery)
        } else {
            Standing::Full(delivery)
        }
    }
}

fn delivery(part: &Membership, message: &Arc<Message>, kept: Option<LogPlace>) -> Delivery {
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
