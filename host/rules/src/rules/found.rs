//! Which chains match the topics of late: what was found out of a topic is not found out again for its next message.
//!
//! Owns: [`Found`], one per shard, of 64 places for topics whatever there are. Must not: know chains; they are places in a table.

use foldhash::fast::RandomState;
use std::hash::BuildHasher as _;
use witmq_broker::router::trie::{Trie, Walk};

/// Topics that are remembered: about as many as publish at once on a shard. A power of two.
const TOPICS: usize = 64;
/// Longer topics are looked up again each time: what is remembered stays small.
const TOPIC_BYTES: usize = 256;

/// What was found of each of them. Of the last one, [`Self::last`] says it.
#[derive(Default)]
pub(super) struct Found {
    walk: Walk,
    hasher: RandomState,
    /// None before the first topic: a shard without chains needs none.
    topics: Vec<Topic>,
    last: Last,
}

/// Where what was found last is.
enum Last {
    Topic(usize),
    /// One chain, that was found before.
    One([u32; 1]),
}

impl Default for Last {
    fn default() -> Self {
        Self::Topic(0)
    }
}

/// A topic and places of chains in running order.
#[derive(Default)]
struct Topic {
    name: String,
    /// The version of the table that they are of; 0: none.
    at: u64,
    places: Vec<u32>,
}

impl Found {
    /// The places of `index`, which has this version, that match a topic; whether there are any.
    pub(super) fn find(&mut self, topic: &str, index: &Trie<()>, version: u64) -> bool {
        let is_there = |known: &Topic| known.at == version && known.name == topic;
        if let Last::Topic(last) = self.last
            && let Some(known) = self.topics.get(last).filter(|known| is_there(known))
        {
            return !known.places.is_empty();
        }
        if self.topics.is_empty() {
            self.topics.resize_with(TOPICS, Topic::default);
        }
        let hash = usize::try_from(self.hasher.hash_one(topic) % TOPICS as u64);
        let last = hash.unwrap_or_default();
        self.last = Last::Topic(last);
        let Some(known) = self.topics.get_mut(last) else {
            return false;
        };
        if is_there(known) {
            return !known.places.is_empty();
        }
        let is_short = topic.len() <= TOPIC_BYTES;
        known.at = if is_short { version } else { 0 };
        known.name.clear();
        known.name.push_str(if is_short { topic } else { "" });
        let places = &mut known.places;
        places.clear();
        index.for_each_match(topic, &mut self.walk, |place, ()| places.push(place));
        places.sort_unstable();
        places.dedup(); // several of its templates match
        !places.is_empty()
    }

    /// One place is what is found now: somebody else remembered it.
    pub(super) fn only(&mut self, place: u32) {
        self.last = Last::One([place]);
    }

    /// Those of the topic that was asked for last.
    pub(super) fn last(&self) -> &[u32] {
        match &self.last {
            Last::Topic(last) => self.topics.get(*last).map_or(&[], |known| &known.places),
            Last::One(one) => one,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use witmq_proto::TopicFilter;

    fn index(filters: &[&str]) -> Trie<()> {
        let mut index = Trie::new();
        for (place, filter) in (0..).zip(filters) {
            index.insert(&TopicFilter::new(*filter).unwrap(), place, ());
        }
        index
    }

    #[test]
    fn it_says_of_every_topic_what_a_walk_says_whatever_it_remembers() {
        let (one, other) = (index(&["a/+", "a/#", "b"]), index(&["#"]));
        let long = format!("a/{}", "x".repeat(TOPIC_BYTES));
        let mut found = Found::default();
        assert!(found.last().is_empty());
        for round in 0..3 {
            for n in 0..3 * TOPICS {
                let topic = format!("a/{n}");
                assert!(found.find(&topic, &one, 1), "{round} {topic}");
                assert_eq!(found.last(), [0, 1], "{round} {topic}");
                assert!(!found.find(&format!("c/{n}"), &one, 1));
                assert!(found.last().is_empty());
            }
            assert!(found.find(&long, &one, 1) && found.find(&long, &one, 1));
            assert_eq!(found.last(), [0, 1]);
        }
        found.only(7);
        assert_eq!(found.last(), [7]);
        assert!(found.find("b", &one, 1));
        assert_eq!(found.last(), [2]);
        assert!(found.find("b", &other, 2), "of another table");
        assert_eq!(found.last(), [0]);
    }
}
