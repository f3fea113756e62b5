//! CONTRACT SKETCH for router: pure data structures.
//!
//! router::Trie<S>       subscriptions of one shard: insert(filter: &TopicFilter, subscriber key, value) -> Option<old>, remove, for_each_match(topic, FnMut(&key,&value)).
//!                       + and # and $-rule [MQTT-4.7.2-1]; cost independent of unrelated subscriptions; no allocation while matching.
//! router::Interest      node-wide, shared by all shards (`Arc`): which shards have a match, and which shared groups exist with how many online/offline members
//!                       per shard. Readers: `version()` is one atomic load; each shard keeps a bounded topic cache `InterestCache` keyed by topic and
//!                       invalidated by version; a miss takes the read lock. Writers (subscribe, unsubscribe, member goes online/offline) take the write lock.
//!                       `subscribe(shard, &Filter)`, `unsubscribe(shard, &Filter)`, `member_online(shard, &SharedFilter, online: bool)`,
//!                       `lookup(topic, &mut InterestCache) -> &Matches { shards: ShardSet (u64 bitmask), groups: Vec<GroupMatch{ key: Arc<(ByteString,ByteString)>, per-shard (online,total) }> }`
//! router::SharedGroups  one shard's members of each group with round robin among those online with room: `next(key, |member| has_room) -> Option<member>`
//! retained::Retained    node-wide behind a lock: `set(&Arc<Message>)` (empty payload clears [MQTT-3.3.1-6]), `matching(&TopicFilter, after: Option<&str>, limit) -> page` so that
//!                       delivery is paced by the receiver and never truncated; bounds in messages and bytes with an error when hit; expired ones skipped and removed.
