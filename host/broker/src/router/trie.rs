//! Subscriptions by filter, level by level: matching costs what matches, not what is subscribed.
//!
//! Owns: [`Trie`]. Matching walks a breadth of nodes level by level, one visit per node, so that no filter or topic
//! makes it exponential or deep in the stack; the two lists it needs are the caller's and reused.

mod nodes;
mod subscribers;

use nodes::{Node, Nodes, ROOT, cut};
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
        let at = self.nodes.find_or_insert(levels);
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

    /// Makes a subscriber's value for a filter what `change` makes of the one there is; `None`: there is none.
    pub fn update(
        &mut self,
        filter: &TopicFilter,
        key: u32,
        change: impl FnOnce(Option<&V>) -> Option<V>,
    ) {
        self.version += 1;
        let (levels, is_below) = split(filter);
        let at = self.nodes.find_or_insert(levels);
        let Some(subscribers) = self.subscribers(at, is_below) else {
            return;
        };
        let (was, is) = match change(subscribers.get(key)) {
            Some(value) => (subscribers.insert(key, value).is_some(), true),
            None => (subscribers.remove(key).is_some(), false),
        };
        self.len = self.len + usize::from(is) - usize::from(was);
        if !is {
            self.nodes.prune(at);
        }
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
        Some((self.nodes.find(levels)?, is_below))
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
        // Wildcards in the first level do not match topics that begin with $ [MQTT-4.7.2-1].
        let mut is_dollar = topic.starts_with('$');
        let mut rest = Some(topic.as_bytes());
        while let Some(text) = rest {
            let (level, behind) = cut(text);
            next_nodes.clear();
            for at in level_nodes.iter() {
                let Some(node) = self.nodes.get(*at) else {
                    continue;
                };
                let mut plus = None;
                if !is_dollar {
                    call(&node.below);
                    plus = node.plus();
                }
                for child in plus.into_iter().chain(self.nodes.edge(*at, level)) {
                    let Some(node) = self.nodes.get(child) else {
                        continue;
                    };
                    let Some(tail) = node.tail() else {
                        next_nodes.push(child);
                        continue;
                    };
                    let Some(is_whole) = covers(tail, behind) else {
                        continue;
                    };
                    if is_whole {
                        call(&node.here);
                    }
                    call(&node.below);
                }
            }
            std::mem::swap(level_nodes, next_nodes);
            if level_nodes.is_empty() {
                return;
            }
            is_dollar = false;
            rest = behind;
        }
        let last = level_nodes.iter().filter_map(|at| self.nodes.get(*at));
        last.for_each(|node: &Node<V>| {
            call(&node.here);
            call(&node.below); // `#` matches its parent too (section 4.7.1.2)
        });
    }
}

/// Whether the levels of a tail match a topic's from its first on, and if so whether they are all of the topic's.
fn covers(tail: &[u8], topic: Option<&[u8]>) -> Option<bool> {
    let (mut tail, mut topic) = (Some(tail), topic);
    while let Some(wanted) = tail {
        let ((wanted, left), (level, behind)) = (cut(wanted), cut(topic?));
        if wanted != b"+" && wanted != level {
            return None;
        }
        (tail, topic) = (left, behind);
    }
    Some(topic.is_none())
}

/// The levels of a filter without a last `#`, and whether there was one.
fn split(filter: &TopicFilter) -> (Option<&[u8]>, bool) {
    let text = filter.as_str().as_bytes();
    match text.strip_suffix(b"/#") {
        Some(levels) => (Some(levels), true),
        None if text == b"#" => (None, true),
        None => (Some(text), false),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    fn filter() -> impl Strategy<Value = TopicFilter> {
        let level = prop_oneof![Just("a"), Just("b"), Just("+"), Just(""), Just("$s")];
        (vec(level, 1..6), any::<bool>()).prop_map(|(levels, has_hash)| {
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
        vec(level, 1..7)
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
    fn a_value_is_changed_where_it_is() {
        let (mut trie, filter) = (Trie::new(), TopicFilter::new("a/b/c").unwrap());
        let add = |by: usize| move |old: Option<&usize>| Some(old.copied().unwrap_or(0) + by);
        trie.update(&filter, 7, add(1));
        trie.update(&filter, 7, add(2));
        assert_eq!((found(&trie, "a/b/c"), trie.len()), (vec![(7, 3)], 1));
        trie.update(&filter, 8, |_| None);
        trie.update(&filter, 7, |_| None);
        assert_eq!((found(&trie, "a/b/c"), trie.len()), (vec![], 0));
        assert_eq!(trie.nodes.edges(), 0, "nothing is left behind");
    }

    #[test]
    fn filters_that_part_late_are_all_found() {
        let mut trie = Trie::new();
        let long = "x/".repeat(1000);
        let ends = ["a", "b/c", "b", "+", "b/c/d/e", ""];
        for (place, end) in ends.iter().enumerate() {
            trie.insert(&TopicFilter::new(format!("{long}{end}")).unwrap(), 0, place);
        }
        trie.insert(&TopicFilter::new(format!("{long}b/#")).unwrap(), 1, 9);
        assert_eq!(found(&trie, &format!("{long}b")), [(0, 2), (0, 3), (1, 9)]);
        assert_eq!(found(&trie, &format!("{long}b/c")), [(0, 1), (1, 9)]);
        assert_eq!(found(&trie, &long), [(0, 3), (0, 5)]);
        assert_eq!(found(&trie, &format!("{long}b/c/d")), [(1, 9)]);
        assert!(found(&trie, long.trim_end_matches("/x/")).is_empty());
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
