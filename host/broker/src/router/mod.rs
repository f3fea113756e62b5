//! Who wants a topic: pure data structures, no sessions, no messages.
//!
//! Owns: [`trie::Trie`] (subscriptions of one shard), [`interest::Interest`] (which shards want a topic,
//! node-wide), [`known::Known`] (what both said of the topics of late), [`groups::Picker`] (which member of a shared group).

pub mod groups;
pub mod interest;
pub mod known;
pub mod trie;

/// A shard of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);
