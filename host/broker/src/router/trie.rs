//! Subscriptions by filter, level by level: matching costs what matches, not what is subscribed.
//!
//! Owns: [`Trie`]. Matching walks a breadth of nodes level by level, one visit per node, so that no filter or topic
//! makes it exponential or deep in the stack; the two lists it needs are the caller's and reused.

mod level;
mod nodes;
mod subscribers;

use nodes::{Node, Nodes, ROOT};
use subscribers::Subscribers;
use witmq_proto::TopicFilter;

/// Values of subscribers, by filter.
#[derive(Debug)]
pub struct Trie<V> {
    nodes: Nodes<V>,
    len: usize,
    version: u64,
}

/// The two lists a walk needs; kept by whoever matches often.
#[derive(Debug, Default)]
pub struct Walk {
    level: Vec<u32>,
    next: Vec<u32>,
}

impl<V> Default for Trie<V> {
    fn default() -> Self {
        Self::new()
    }
}

impl<V> Trie<V> {
    /// Without subscriptions.
    #[must_use]
    pub fn new() -> Self {
        Self {
            nodes: Nodes::new(),
            len: 0,
            version: 0,
        }
    }

    /// Subscriptions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Grows with every change that may alter what matches.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Sets the value of a subscriber for a filter; the old one.
    pub fn insert(&mut self, filter: &TopicFilter, key: u32, value: V) -> Option<V> {
        self.version += 1;
        let (levels, is_below) = split(filter);
        let mut at = ROOT;
        for level in levels {
            at = self.nodes.child_or_insert(at, level);
        }
        let old = self.subscribers(at, is_below)?.insert(key, value);
        self.len += usize::from(old.is_none());
        old
    }

    /// Takes a subscriber's value for a filter out.
    pub fn remove(&mut self, filter: &TopicFilter, key: u32) -> Option<V> {
        let (at, is_below) = self.find(filter)?;
        let old = self.subscribers(at, is_below)?.remove(key)?;
        self.len -= 1;
        self.version += 1;
        self.nodes.prune(at);
        Some(old)
    }

    /// A subscriber's value for a filter.
    #[must_use]
    pub fn get(&self, filter: &TopicFilter, key: u32) -> Option<&V> {
        let (at, is_below) = self.find(filter)?;
        let node = self.nodes.get(at)?;
        let subscribers = if is_below { &node.below } else { &node.here };
        subscribers.get(key)
    }

    fn subscribers(&mut self, at: u32, is_below: bool) -> Option<&mut Subscribers<V>> {
        let node = self.nodes.get_mut(at)?;
        Some(if is_below {
            &mut node.below
        } else {
            &mut node.here
        })
    }

    fn find(&self, filter: &TopicFilter) -> Option<(u32, bool)> {
        let (levels, is_below) = split(filter);
        let mut at = ROOT;
        for level in levels {
            at = self.nodes.child(at, level)?;
        }
        Some((at, is_below))
    }

    /// Calls `found` for each subscriber of each filter that matches `topic` (section 4.7).
    pub fn for_each_match(&self, topic: &str, walk: &mut Walk, mut found: impl FnMut(u32, &V)) {
        let Walk {
            level: level_nodes,
            next: next_nodes,
        } = walk;
        level_nodes.clear();
        level_nodes.push(ROOT);
        let mut call = |subscribers: &Subscribers<V>| {
            let list = subscribers.list().iter();
            list.for_each(|(key, value)| found(*key, value));
        };
        for (depth, level) in topic.split('/').enumerate() {
            // Wildcards in the first level do not match topics that begin with $ [MQTT-4.7.2-1].
            let is_dollar = depth == 0 && topic.starts_with('$');
            next_nodes.clear();
            for at in level_nodes.iter() {
                let Some(node) = self.nodes.get(*at) else {
                    continue;
                };
                if !is_dollar {
                    call(&node.below);
                    next_nodes.extend(node.plus());
                }
                next_nodes.extend(self.nodes.edge(*at, level));
            }
            std::mem::swap(level_nodes, next_nodes);
            if level_nodes.is_empty() {
                return;
            }
        }
        let last = level_nodes.iter().filter_map(|at| self.nodes.get(*at));
        last.for_each(|node: &Node<V>| {
            call(&node.here);
            call(&node.below); // `#` matches its parent too (section 4.7.1.2)
        });
    }
}

/// The levels of a filter without a last `#`, and whether there was one.
fn split(filter: &TopicFilter) -> (impl Iterator<Item = &str>, bool) {
    let is_below = filter.as_str() == "#" || filter.ends_with("/#");
    let end = if is_below {
        filter.len().saturating_sub(2)
    } else {
        filter.len()
    };
    let text = filter.get(..end).unwrap_or_default();
    let levels = (filter.as_str() != "#").then(|| text.split('/'));
    (levels.into_iter().flatten(), is_below)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn filter() -> impl Strategy<Value = TopicFilter> {
        let level = prop_oneof![Just("a"), Just("b"), Just("+"), Just(""), Just("$s")];
        (vec(level, 1..4), any::<bool>()).prop_map(|(levels, has_hash)| {
            let text = levels.join("/");
            let text = if text.is_empty() {
                "#".to_owned()
            } else if has_hash {
                format!("{text}/#")
            } else {
                text
            };
            TopicFilter::new(text).unwrap()
        })
    }

    fn topic() -> impl Strategy<Value = String> {
        let level = prop_oneof![Just("a"), Just("b"), Just("c"), Just(""), Just("$s")];
        vec(level, 1..5)
            .prop_map(|levels| levels.join("/"))
            .prop_filter("empty", |text| !text.is_empty())
    }

    fn found(trie: &Trie<usize>, topic: &str) -> Vec<(u32, usize)> {
        let mut all = Vec::new();
        trie.for_each_match(topic, &mut Walk::default(), |key, value| {
            all.push((key, *value))
        });
        all.sort_unstable();
        all
    }

    proptest! {
        #[test]
        fn it_matches_as_the_plain_definition_does(
            steps in vec((filter(), 0u32..4, any::<bool>()), 0..40),
            topics in vec(topic(), 1..10),
        ) {
            let mut trie = Trie::new();
            let mut plain: Vec<(TopicFilter, u32, usize)> = Vec::new();
            for (place, (filter, key, is_removal)) in steps.into_iter().enumerate() {
                let known = plain.iter().position(|(f, k, _)| *f == filter && *k == key);
                let old = known.map(|at| plain.swap_remove(at).2);
                if is_removal {
                    prop_assert_eq!(trie.remove(&filter, key), old);
                } else {
                    prop_assert_eq!(trie.insert(&filter, key, place), old);
                    plain.push((filter, key, place));
                }
                prop_assert_eq!(trie.len(), plain.len());
            }
            for topic in &topics {
                let matching = plain.iter().filter(|(filter, _, _)| filter.matches(topic));
                let mut expected: Vec<_> = matching.map(|(_, key, value)| (*key, *value)).collect();
                expected.sort_unstable();
                prop_assert_eq!(found(&trie, topic), expected, "{}", topic);
            }
            for (filter, key, _) in &plain {
                prop_assert!(trie.remove(filter, *key).is_some());
            }
            prop_assert_eq!(trie.nodes.edges(), 0, "nothing is left behind");
        }
    }

    #[test]
    fn many_subscribers_of_one_filter_come_and_go() {
        let mut trie = Trie::new();
        let filter = TopicFilter::new("a/+").unwrap();
        (0..100).for_each(|key| assert!(trie.insert(&filter, key, 0).is_none()));
        (0..100)
            .step_by(3)
            .for_each(|key| assert!(trie.remove(&filter, key).is_some()));
        assert_eq!(found(&trie, "a/x").len(), trie.len());
        assert!(trie.get(&filter, 1).is_some() && trie.get(&filter, 3).is_none());
    }

    #[test]
    fn the_longest_topic_there_is_does_no_harm() {
        let mut trie = Trie::new();
        trie.insert(
            &TopicFilter::new(format!("{}#", "+/".repeat(30_000))).unwrap(),
            1,
            0,
        );
        assert_eq!(found(&trie, &"/".repeat(65_535)).len(), 1);
    }
}
