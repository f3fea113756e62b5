//! Who was subscribed when the node ended: what was logged and not queued is owed to them.
//!
//! Owns: [`Index`], the durable subscriptions of the old life by shard.

use crate::format::Picks;
use bytestring::ByteString;
use std::collections::BTreeMap;
use witmq_broker::ports::store::Restored;
use witmq_broker::router::trie::{Trie, Walk};
use witmq_broker::shard::shard_of;
use witmq_proto::packet::{QoS, SubscribeOptions};
use witmq_proto::topic::Filter;
use witmq_proto::{Message, TopicFilter};

/// A session a message is owed to.
pub(super) struct Hit {
    pub(super) session: u64,
    pub(super) options: SubscribeOptions,
    pub(super) ids: Vec<u32>,
    pub(super) group: Option<(ByteString, ByteString)>,
}

#[derive(Clone, Copy)]
struct Subscription {
    session: u64,
    options: SubscribeOptions,
    id: Option<u32>,
}

/// Durable subscriptions of the old life, by shard.
pub(super) struct Index {
    plain: Vec<Trie<Subscription>>,
    shared: BTreeMap<(u16, ByteString, ByteString), Subscription>,
    names: BTreeMap<u64, ByteString>,
}

impl Index {
    pub(super) fn new(sessions: &BTreeMap<u64, Restored>, shards: u16) -> Self {
        let mut index = Self {
            plain: (0..shards).map(|_| Trie::new()).collect(),
            shared: BTreeMap::new(),
            names: BTreeMap::new(),
        };
        for (place, (session, restored)) in (0u32..).zip(sessions) {
            let shard = shard_of(&restored.state.client_id, shards).0;
            index
                .names
                .insert(*session, restored.state.client_id.clone());
            for (text, options, id) in &restored.subscriptions {
                if options.qos == QoS::AtMostOnce {
                    continue;
                }
                let subscription = Subscription {
                    session: *session,
                    options: *options,
                    id: *id,
                };
                index.add(shard, place, text, subscription);
            }
        }
        index
    }

    fn add(&mut self, shard: u16, place: u32, text: &ByteString, subscription: Subscription) {
        match Filter::parse(text) {
            Ok(Filter::Plain(filter)) => {
                if let Some(trie) = self.plain.get_mut(usize::from(shard)) {
                    trie.insert(&filter, place, subscription);
                }
            }
            Ok(Filter::Exclusive(filter)) => {
                if let Some(trie) = self.plain.get_mut(usize::from(shard)) {
                    // Beside the session's plain subscription to the same filter.
                    trie.insert(&filter, place | 1 << 31, subscription);
                }
            }
            Ok(Filter::Shared(shared)) => {
                let filter: &TopicFilter = &shared.filter;
                let key = (shard, shared.group.clone(), filter.as_byte_string().clone());
                self.shared.entry(key).or_insert(subscription);
            }
            Err(_) => {} // it was checked when it was made
        }
    }

    /// Whom `target` owes a message: ordinary subscribers if it is one of `targets`, and its picks.
    pub(super) fn find(
        &self,
        target: u16,
        targets: u64,
        message: &Message,
        picks: &Picks,
    ) -> Vec<Hit> {
        let mut hits: Vec<Hit> = Vec::new();
        let plain = self.plain.get(usize::from(target));
        if let Some(trie) = plain.filter(|_| targets & 1 << target != 0) {
            trie.for_each_match(&message.topic, &mut Walk::default(), |_, subscription| {
                let is_own = self.names.get(&subscription.session) == Some(&message.publisher);
                if subscription.options.no_local && is_own {
                    return;
                }
                let known = hits
                    .iter_mut()
                    .find(|hit| hit.session == subscription.session);
                match known {
                    Some(hit) => {
                        let options = &mut hit.options;
                        options.qos = options.qos.max(subscription.options.qos);
                        options.retain_as_published |= subscription.options.retain_as_published;
                        hit.ids.extend(subscription.id);
                    }
                    None => hits.push(hit_of(subscription, None)),
                }
            });
        }
        for (shard, group, filter) in picks.iter().filter(|(shard, _, _)| *shard == target) {
            let key = (*shard, group.clone(), filter.clone());
            if let Some(subscription) = self.shared.get(&key) {
                hits.push(hit_of(subscription, Some((group.clone(), filter.clone()))));
            }
        }
        hits
    }
}

fn hit_of(subscription: &Subscription, group: Option<(ByteString, ByteString)>) -> Hit {
    Hit {
        session: subscription.session,
        options: subscription.options,
        ids: subscription.id.into_iter().collect(),
        group,
    }
}
