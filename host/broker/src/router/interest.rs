//! Which shards of the node want a topic, and which shared groups: read by all, written on subscribe.
//!
//! Owns: [`Interest`], behind a lock that the message path takes only when a topic is new or the
//! interest changed; [`super::known::Known`], one per shard, answers the rest.

use super::ShardId;
use super::groups::{Member, Presence, Strategies, Strategy};
use super::members::{Members, Roll};
use super::trie::{Trie, Walk};
use bytestring::ByteString;
use foldhash::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use witmq_proto::TopicFilter;
use witmq_proto::topic::SharedFilter;

/// Most shards of a node: one bit each.
pub const SHARDS: u16 = 64;

/// A shared group: several groups on one filter are independent [MQTT-4.8.2-4].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct GroupKey {
    /// ShareName.
    pub group: ByteString,
    /// The filter its members share.
    pub filter: TopicFilter,
}

impl From<&SharedFilter> for GroupKey {
    fn from(shared: &SharedFilter) -> Self {
        Self {
            group: shared.group.clone(),
            filter: shared.filter.clone(),
        }
    }
}

/// A group that wants a topic.
#[derive(Clone, Debug)]
pub struct GroupMatch {
    /// Which.
    pub key: Arc<GroupKey>,
    /// Small and dense; free for another group once this one has no member.
    pub number: usize,
    /// How it chooses.
    pub strategy: Strategy,
    /// Its members; the same list for everybody who looks.
    pub members: Members,
    /// Some of them must not lose QoS 1 and 2.
    pub is_durable: bool,
}

/// A group as the table keeps it.
#[derive(Debug)]
struct Group {
    key: Arc<GroupKey>,
    roll: Roll,
}

/// Who wants a topic.
#[derive(Clone, Debug, Default)]
pub struct Matches {
    /// Shards with ordinary subscriptions, one bit each.
    pub shards: u64,
    /// Those among them with a subscription that must not lose QoS 1 and 2.
    pub durable: u64,
    /// Shared groups.
    pub groups: Vec<GroupMatch>,
}

/// Subscriptions of one filter on one shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Count {
    all: u32,
    durable: u32,
}

#[derive(Debug, Default)]
struct Table {
    /// Subscriptions per shard of each filter; the key is the shard.
    plain: Trie<Count>,
    /// The key is the place in `groups`.
    shared: Trie<()>,
    groups: slab::Slab<Group>,
    places: HashMap<Arc<GroupKey>, usize>,
}

/// The interest of a node.
#[derive(Debug)]
pub struct Interest {
    version: AtomicU64,
    strategies: Strategies,
    table: RwLock<Table>,
}

impl Interest {
    /// For a node of `shards` shards whose groups choose by `strategies`.
    ///
    /// # Panics
    /// More shards than [`SHARDS`].
    #[must_use]
    pub fn new(shards: u16, strategies: Strategies) -> Self {
        assert!(shards <= SHARDS, "a node has at most {SHARDS} shards");
        Self {
            version: AtomicU64::new(0),
            strategies,
            table: RwLock::default(),
        }
    }

    /// Grows with every change that may alter an answer.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    fn read(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Table> {
        self.table.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed(&self) {
        self.version.fetch_add(1, Ordering::AcqRel);
    }

    /// A shard has one more subscription of this filter; `is_durable`: it must not lose QoS 1 and 2.
    pub fn subscribe(&self, shard: ShardId, filter: &TopicFilter, is_durable: bool) {
        self.change(shard, filter, 1, i64::from(is_durable));
    }

    /// A shard has one less.
    pub fn unsubscribe(&self, shard: ShardId, filter: &TopicFilter, is_durable: bool) {
        self.change(shard, filter, -1, -i64::from(is_durable));
    }

    /// A subscription became durable, or no longer is.
    pub fn set_durable(&self, shard: ShardId, filter: &TopicFilter, is_durable: bool) {
        self.change(shard, filter, 0, if is_durable { 1 } else { -1 });
    }

    fn change(&self, shard: ShardId, filter: &TopicFilter, all: i64, durable: i64) {
        let mut table = self.write();
        let mut is_changed = false;
        table.plain.update(filter, u32::from(shard.0), |old| {
            let old = old.copied().unwrap_or_default();
            debug_assert!(
                i64::from(old.all) + all >= 0,
                "unsubscribed what was not subscribed"
            );
            let new = Count {
                all: moved(old.all, all),
                durable: moved(old.durable, durable),
            };
            is_changed =
                (old.all == 0) != (new.all == 0) || (old.durable == 0) != (new.durable == 0);
            (new.all > 0).then_some(new)
        });
        if is_changed {
            self.changed(); // within the lock: whoever sees the new version reads the new table
        }
    }

    /// A group has one more member, or one that changed.
    pub fn join(&self, key: &Arc<GroupKey>, member: Member) {
        let mut table = self.write();
        let place = match table.places.get(&**key) {
            Some(place) => *place,
            None => {
                let place = table.groups.insert(Group {
                    key: key.clone(),
                    roll: Roll::default(),
                });
                let number = u32::try_from(place).unwrap_or(u32::MAX);
                table.shared.insert(&key.filter, number, ());
                table.places.insert(key.clone(), place);
                place
            }
        };
        let Some(group) = table.groups.get_mut(place) else {
            return;
        };
        group.roll.join(member);
        self.changed();
    }

    /// A member left its group: the one with this presence, for its client may have come back with another session.
    pub fn leave(&self, key: &GroupKey, client_id: &str, presence: &Arc<Presence>) {
        let mut table = self.write();
        let Some(place) = table.places.get(key).copied() else {
            return;
        };
        let Some(group) = table.groups.get_mut(place) else {
            return;
        };
        group.roll.leave(client_id, presence);
        if group.roll.seen().is_empty() {
            let number = u32::try_from(place).unwrap_or(u32::MAX);
            table.groups.remove(place);
            table.shared.remove(&key.filter, number);
            table.places.remove(key);
        }
        self.changed();
    }

    /// Who wants `topic`. [`super::known::Known`] remembers the answer.
    #[must_use]
    pub fn find(&self, topic: &str) -> Matches {
        let mut matches = Matches::default();
        self.find_into(topic, &mut Walk::default(), &mut matches);
        matches
    }

    /// The same into `matches`, of which nothing stays.
    pub fn find_into(&self, topic: &str, walk: &mut Walk, matches: &mut Matches) {
        (matches.shards, matches.durable) = (0, 0);
        matches.groups.clear();
        let table = self.read();
        table.plain.for_each_match(topic, walk, |shard, count| {
            let bit = 1 << (shard & 63);
            matches.shards |= bit;
            if count.durable > 0 {
                matches.durable |= bit;
            }
        });
        if table.shared.is_empty() {
            return;
        }
        table.shared.for_each_match(topic, walk, |place, ()| {
            let group = usize::try_from(place)
                .ok()
                .and_then(|place| table.groups.get(place));
            let seen = |group: &Group| GroupMatch {
                key: group.key.clone(),
                number: usize::try_from(place).unwrap_or(0),
                strategy: self.strategies.of(&group.key.group),
                members: group.roll.seen().clone(),
                is_durable: group.roll.is_durable(),
            };
            matches.groups.extend(group.map(seen));
        });
    }
}

fn moved(value: u32, by: i64) -> u32 {
    u32::try_from((i64::from(value) + by).max(0)).unwrap_or(u32::MAX)
}
