//! Who wants a topic: pure data structures, no sessions, no messages.
//!
//! Owns: [`trie::Trie`] (subscriptions of one shard), [`interest::Interest`] (which shards want a topic,
//! node-wide), [`members::Members`] (who is in a shared group), [`groups::Picker`] (which of them a message goes to), [`known::Known`] (what trie
//! and interest said of the topics of late).

pub mod groups;
pub mod interest;
pub mod known;
pub mod members;
pub mod trie;

/// A shard of this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ShardId(pub u16);
