//! SUBSCRIBE and UNSUBSCRIBE, filter by filter: one verdict each. When, and the answer: `turn.rs`.

use super::Shard;
use super::client::{Feed, Membership, Subscription};
use crate::ports::raised::{Detail, EventKind};
use crate::ports::store::Health;
use crate::ports::{BrokerEvent, Record};
use crate::router::groups::Member;
use crate::router::interest::GroupKey;
use bytestring::ByteString;
use std::sync::Arc;
use std::time::Instant;
use witmq_proto::packet::{QoS, RetainHandling, SubscribeFilter, SubscribeOptions};
use witmq_proto::topic::{EXCLUSIVE, Filter, SharedFilter};
use witmq_proto::{ReasonCode, TopicFilter};

impl Shard {
    pub(super) fn subscribe_one(
        &mut self,
        now: Instant,
        key: u32,
        wanted: &SubscribeFilter,
        id: Option<u32>,
    ) -> ReasonCode {
        let rewritten;
        let wanted = match self.rewrite_filter(key, &wanted.filter) {
            None => wanted,
            Some(Err(_)) => return ReasonCode::TopicFilterInvalid,
            Some(Ok(filter)) => {
                let options = wanted.options;
                rewritten = SubscribeFilter { filter, options };
                &rewritten
            }
        };
        let Ok(filter) = Filter::parse(&wanted.filter) else {
            return ReasonCode::TopicFilterInvalid; // it fails alone, the others go on
        };
        if !self.may_subscribe(now, key, filter.topic_filter(), wanted.options.qos) {
            self.denied(key, "subscribe", &wanted.filter);
            return ReasonCode::NotAuthorized;
        }
        self.add_subscription(key, filter, wanted, id)
    }

    /// Whether the client has a subscription with exactly these options.
    pub(super) fn has_subscription(
        &self,
        key: u32,
        filter: &Filter,
        options: SubscribeOptions,
    ) -> bool {
        let Some(client) = self.client(key) else {
            return false;
        };
        let known = match filter {
            Filter::Plain(filter) => self.trie.get(filter, key),
            Filter::Exclusive(filter) => self.trie.get(filter, key | ALONE),
            Filter::Shared(shared) => {
                let part = client.membership(&shared.into());
                part.map(|part| &part.subscription)
            }
        };
        known.is_some_and(|known| known.options == options)
    }

    /// Makes or replaces a subscription that is allowed, within the bounds.
    pub(super) fn add_subscription(
        &mut self,
        key: u32,
        filter: Filter,
        wanted: &SubscribeFilter,
        id: Option<u32>,
    ) -> ReasonCode {
        let abilities = self.limits.settings.abilities;
        if let Some(reason) = abilities.refusal(&wanted.filter) {
            return reason;
        }
        let mut options = wanted.options;
        options.qos = options.qos.min(abilities.maximum_qos); // asked for, and granted less [MQTT-3.2.2-10]
        let subscriptions = self.limits.subscriptions;
        let Some(client) = self.client(key) else {
            return ReasonCode::UnspecifiedError;
        };
        let is_known = match &filter {
            Filter::Plain(_) | Filter::Exclusive(_) => client.plain.contains(&*wanted.filter),
            Filter::Shared(shared) => client.membership(&shared.into()).is_some(),
        };
        if !is_known && client.subscriptions() >= subscriptions {
            self.counters.subscriptions_refused += 1;
            return ReasonCode::QuotaExceeded;
        }
        let session = client.kept;
        if session.is_some() && self.ports.store.health() == Health::Refusing {
            self.counters.refused_unstored += 1;
            return ReasonCode::QuotaExceeded;
        }
        let subscription = Subscription { options, id };
        if let Filter::Exclusive(filter) = &filter
            && self.shared.exclusive.claim(filter, &client.id).is_err()
        {
            self.counters.exclusive_refused += 1;
            return ReasonCode::QuotaExceeded;
        }
        match filter {
            Filter::Plain(filter) | Filter::Exclusive(filter) => {
                self.subscribe_plain(key, &wanted.filter, filter, subscription, is_known)
            }
            Filter::Shared(shared) => self.subscribe_shared(key, &shared, subscription),
        }
        if !is_known {
            self.counters.subscriptions += 1;
        }
        if let Some(session) = session {
            self.append(Record::Subscribed {
                session,
                filter: &wanted.filter,
                options,
                id,
            });
        }
        if let Some(client) = self.client(key) {
            let event = BrokerEvent::Subscribed {
                client_id: client.id.clone(),
                filter: wanted.filter.clone(),
                qos: options.qos,
            };
            self.ports.events.emit(event);
        }
        self.raise(EventKind::Subscribed, key, || Detail::Subscription {
            filter: wanted.filter.clone(),
            qos: Some(options.qos),
        });
        ReasonCode::granted(options.qos)
    }

    pub(super) fn subscribe_plain(
        &mut self,
        key: u32,
        text: &ByteString,
        filter: TopicFilter,
        subscription: Subscription,
        is_known: bool,
    ) {
        let place = place(key, text);
        let old = self.trie.insert(&filter, place, subscription); // replaces an older one [MQTT-3.8.4-3]
        let was_durable = self.is_durable(key, old);
        let is_durable = self.is_durable(key, Some(subscription));
        if !is_known {
            self.shared.interest.subscribe(self.id, &filter, is_durable);
        } else if was_durable != is_durable {
            self.shared
                .interest
                .set_durable(self.id, &filter, is_durable);
        }
        let wants_retained = match subscription.options.retain_handling {
            RetainHandling::Send => true,           // [MQTT-3.3.1-9]
            RetainHandling::SendIfNew => !is_known, // [MQTT-3.3.1-10]
            RetainHandling::DoNotSend => false,     // [MQTT-3.3.1-11]
        };
        if let Some(client) = self.client_mut(key) {
            client.has_exclusive |= place != key;
            client.plain.insert(Box::from(&**text));
        }
        if wants_retained && self.limits.settings.abilities.retain {
            self.feed(
                key,
                Feed {
                    filter,
                    after: None,
                    subscription,
                },
            );
        }
    }

    /// Whether a subscription of a client must not lose QoS 1 and 2.
    pub(super) fn is_durable(&self, key: u32, subscription: Option<Subscription>) -> bool {
        let is_kept = (self.client(key)).is_some_and(|client| client.kept.is_some());
        is_kept && subscription.is_some_and(|known| known.options.qos > QoS::AtMostOnce)
    }

    /// Retained messages are not sent to shared subscriptions (section 4.8.2).
    pub(super) fn subscribe_shared(
        &mut self,
        key: u32,
        shared: &SharedFilter,
        subscription: Subscription,
    ) {
        let here = self.id;
        let Some(client) = self.client_mut(key) else {
            return;
        };
        let is_kept = client.kept.is_some();
        let presence = client.presence.get_or_insert_default().clone();
        let client_id = client.id.clone();
        let key_of_group = Arc::new(GroupKey::from(shared));
        let memberships = client.shared.get_or_insert_default();
        let (was_durable, is_durable) = match memberships.get_mut(&*key_of_group) {
            Some(part) => {
                let was_durable = part.is_durable(is_kept);
                part.subscription = subscription;
                (Some(was_durable), part.is_durable(is_kept))
            }
            None => {
                let part = Membership {
                    key: key_of_group.clone(),
                    name: Arc::new((shared.group.clone(), shared.filter.as_byte_string().clone())),
                    subscription,
                };
                let is_durable = part.is_durable(is_kept);
                memberships.insert(key_of_group.clone(), part);
                (None, is_durable)
            }
        };
        if was_durable != Some(is_durable) {
            self.note_presence(key);
            let member = Member::new(client_id, here, presence, is_durable);
            self.shared.interest.join(&key_of_group, member);
        }
    }

    pub(super) fn unsubscribe_rewritten(&mut self, key: u32, filter: &ByteString) -> ReasonCode {
        match self.rewrite_filter(key, filter) {
            None | Some(Err(_)) => self.unsubscribe_one(key, filter),
            Some(Ok(rewritten)) => match self.unsubscribe_one(key, &rewritten) {
                // Made before there was the rule.
                ReasonCode::NoSubscriptionExisted => self.unsubscribe_one(key, filter),
                reason => reason,
            },
        }
    }

    fn unsubscribe_one(&mut self, key: u32, text: &ByteString) -> ReasonCode {
        let Ok(filter) = Filter::parse(text) else {
            return ReasonCode::TopicFilterInvalid;
        };
        let Some(client) = self.client_mut(key) else {
            return ReasonCode::UnspecifiedError;
        };
        let is_removed = match &filter {
            Filter::Plain(filter) | Filter::Exclusive(filter) => {
                let is_known = client.plain.remove(&**text);
                client.feeds.retain(|feed| feed.filter != *filter);
                if is_known {
                    self.remove_plain(key, text, filter);
                }
                is_known
            }
            Filter::Shared(shared) => {
                let group = GroupKey::from(shared);
                let memberships = client.shared.as_mut();
                let part = memberships.and_then(|memberships| memberships.remove(&group));
                let presence = client.presence.clone().filter(|_| part.is_some());
                if let Some(presence) = presence {
                    let client_id = client.id.clone();
                    self.shared.interest.leave(&group, &client_id, &presence);
                    self.counters.subscriptions -= 1;
                }
                part.is_some()
            }
        };
        if !is_removed {
            return ReasonCode::NoSubscriptionExisted; // [MQTT-3.10.4-5]
        }
        if let Some(session) = self.client(key).and_then(|client| client.kept) {
            self.append(Record::Unsubscribed {
                session,
                filter: text,
            });
        }
        if let Some(client) = self.client(key) {
            let event = BrokerEvent::Unsubscribed {
                client_id: client.id.clone(),
                filter: text.clone(),
            };
            self.ports.events.emit(event);
        }
        self.raise(EventKind::Unsubscribed, key, || Detail::Subscription {
            filter: text.clone(),
            qos: None,
        });
        ReasonCode::Success
    }

    fn remove_plain(&mut self, key: u32, text: &str, filter: &TopicFilter) {
        let place = place(key, text);
        let client = self.client(key);
        if let (true, Some(client)) = (place != key, client) {
            self.shared.exclusive.release(filter, &client.id);
        }
        let is_kept = client.is_some_and(|client| client.kept.is_some());
        self.take_out(place, filter, is_kept);
        self.counters.subscriptions -= 1;
    }

    /// Takes a subscription out of the trie and of what all shards see. `is_kept`: its session outlives a connection.
    pub(super) fn take_out(&mut self, place: u32, filter: &TopicFilter, is_kept: bool) {
        let old = self.trie.remove(filter, place);
        let is_durable = is_kept && old.is_some_and(|old| old.options.qos > QoS::AtMostOnce);
        self.shared
            .interest
            .unsubscribe(self.id, filter, is_durable);
    }

    /// Tells all shards how ready a member of shared groups is; nothing to do for other clients.
    pub(super) fn note_presence(&self, key: u32) {
        let Some(client) = self.client(key) else {
            return;
        };
        let Some(presence) = &client.presence else {
            return;
        };
        let (messages, bytes) = (self.limits.outbox_messages, self.limits.outbox_bytes);
        let connection = client.connection.and_then(|id| self.connection(id));
        let inflight = connection.map_or(0, |connection| connection.endpoint.inflight());
        presence.set(
            connection.is_some(),
            client.outbox.is_full(messages, bytes),
            client.outbox.len() + inflight,
        );
    }
}

/// Set in the trie's key of an exclusive subscription: a client may have FILTER and `$exclusive/FILTER` at once.
const ALONE: u32 = 1 << 31;

/// The trie's key of a client's subscription; `text`: as it was subscribed.
pub(super) fn place(key: u32, text: &str) -> u32 {
    if text.starts_with(EXCLUSIVE) {
        key | ALONE
    } else {
        key
    }
}

/// Whose subscription is at a place of the trie.
pub(super) fn subscriber(place: u32) -> u32 {
    place & !ALONE
}
