//! Subscriptions by filter, level by level: matching costs what matches, not what is subscribed.
//!
//! Owns: [`Trie`], an arena of nodes with one hash table of edges. Matching walks a breadth of nodes level
//! by level, one visit per node, so that no filter or topic makes it exponential or deep in the stack; the
//! two lists it needs are the caller's and reused.

use bytestring::ByteString;
use foldhash::HashMap;
use witmq_proto::TopicFilter;

/// The root's place in the arena.
const ROOT: u32 = 0;

/// Values of subscribers, by filter.
#[derive(Debug)]
pub struct Trie<V> {
    nodes: Vec<Node<V>>,
    free: Vec<u32>,
    /// Where a level leads from a node.
    edges: HashMap<(u32, ByteString), u32>,
    len: usize,
    version: u64,
}

/// The two lists a walk needs; kept by whoever matches often.
#[derive(Debug, Default)]
pub struct Walk {
    level: Vec<u32>,
    next: Vec<u32>,
}

#[derive(Debug)]
struct Node<V> {
    parent: u32,
    /// The level that leads here.
    level: ByteString,
    children: u32,
    plus: Option<u32>,
    /// Subscribers whose filter ends here.
    here: Subscribers<V>,
    /// Subscribers whose filter ends here with `#`.
    below: Subscribers<V>,
}

/// Subscribers of one filter, dense for the walk, indexed once they are many.
#[derive(Debug)]
struct Subscribers<V> {
    list: Vec<(u32, V)>,
    places: HashMap<u32, u32>,
}

/// From so many subscribers of one filter on they are indexed.
const INDEX_FROM: usize = 16;

impl<V> Default for Subscribers<V> {
    fn default() -> Self {
        Self {
            list: Vec::new(),
            places: HashMap::default(),
        }
    }
}

impl<V> Subscribers<V> {
    fn find(&self, key: u32) -> Option<usize> {
        if self.places.is_empty() {
            return self.list.iter().position(|(known, _)| *known == key);
        }
        self.places
            .get(&key)
            .and_then(|place| usize::try_from(*place).ok())
    }

    fn insert(&mut self, key: u32, value: V) -> Option<V> {
        if let Some(slot) = self.find(key).and_then(|place| self.list.get_mut(place)) {
            return Some(std::mem::replace(&mut slot.1, value));
        }
        self.list.push((key, value));
        if self.list.len() == INDEX_FROM {
            self.places = (0u32..)
                .zip(&self.list)
                .map(|(place, (key, _))| (*key, place))
                .collect();
        } else if self.list.len() > INDEX_FROM {
            self.places
                .insert(key, u32::try_from(self.list.len() - 1).unwrap_or(u32::MAX));
        }
        None
    }

    fn remove(&mut self, key: u32) -> Option<V> {
        let place = self.find(key)?;
        let (_, value) = self.list.swap_remove(place);
        if self.list.len() < INDEX_FROM {
            self.places = HashMap::default();
        } else {
            self.places.remove(&key);
            if let Some((moved, _)) = self.list.get(place) {
                self.places
                    .insert(*moved, u32::try_from(place).unwrap_or(u32::MAX));
            }
        }
        Some(value)
    }
}

impl<V> Node<V> {
    fn new(parent: u32, level: ByteString) -> Self {
        Self {
            parent,
            level,
            children: 0,
            plus: None,
            here: Subscribers::default(),
            below: Subscribers::default(),
        }
    }

    fn is_unused(&self) -> bool {
        self.children == 0 && self.here.list.is_empty() && self.below.list.is_empty()
    }
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
            nodes: vec![Node::new(ROOT, ByteString::new())],
            free: Vec::new(),
            edges: HashMap::default(),
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

    fn node(&self, at: u32) -> Option<&Node<V>> {
        self.nodes.get(usize::try_from(at).ok()?)
    }

    fn node_mut(&mut self, at: u32) -> Option<&mut Node<V>> {
        self.nodes.get_mut(usize::try_from(at).ok()?)
    }

    /// Sets the value of a subscriber for a filter; the old one.
    pub fn insert(&mut self, filter: &TopicFilter, key: u32, value: V) -> Option<V> {
        self.version += 1;
        let (levels, is_below) = split(filter);
        let mut at = ROOT;
        for level in levels {
            at = self.child_or_insert(at, level);
        }
        let node = self.node_mut(at)?;
        let subscribers = if is_below {
            &mut node.below
        } else {
            &mut node.here
        };
        let old = subscribers.insert(key, value);
        self.len += usize::from(old.is_none());
        old
    }

    /// Takes a subscriber's value for a filter out.
    pub fn remove(&mut self, filter: &TopicFilter, key: u32) -> Option<V> {
        let (at, is_below) = self.find(filter)?;
        let node = self.node_mut(at)?;
        let subscribers = if is_below {
            &mut node.below
        } else {
            &mut node.here
        };
        let old = subscribers.remove(key)?;
        self.len -= 1;
        self.version += 1;
        self.prune(at);
        Some(old)
    }

    /// A subscriber's value for a filter.
    #[must_use]
    pub fn get(&self, filter: &TopicFilter, key: u32) -> Option<&V> {
        let (at, is_below) = self.find(filter)?;
        let node = self.node(at)?;
        let subscribers = if is_below { &node.below } else { &node.here };
        subscribers
            .list
            .get(subscribers.find(key)?)
            .map(|(_, value)| value)
    }

    fn find(&self, filter: &TopicFilter) -> Option<(u32, bool)> {
        let (levels, is_below) = split(filter);
        let mut at = ROOT;
        for level in levels {
            at = self.child(at, level)?;
        }
        Some((at, is_below))
    }

    fn child(&self, at: u32, level: &str) -> Option<u32> {
        if level == "+" {
            return self.node(at)?.plus;
        }
        self.edges.get(&(at, level) as &dyn EdgeKey).copied()
    }

    fn child_or_insert(&mut self, at: u32, level: &str) -> u32 {
        if let Some(child) = self.child(at, level) {
            return child;
        }
        let node = Node::new(at, ByteString::from(level));
        let child = match self.free.pop() {
            Some(place) => {
                if let Some(slot) = self.node_mut(place) {
                    *slot = node;
                }
                place
            }
            None => {
                self.nodes.push(node);
                u32::try_from(self.nodes.len() - 1).unwrap_or(u32::MAX)
            }
        };
        if let Some(parent) = self.node_mut(at) {
            parent.children += 1;
            if level == "+" {
                parent.plus = Some(child);
            }
        }
        if level != "+" {
            self.edges.insert((at, ByteString::from(level)), child);
        }
        child
    }

    /// Gives back nodes nobody uses any more.
    fn prune(&mut self, mut at: u32) {
        while at != ROOT {
            let Some(node) = self.node_mut(at).filter(|node| node.is_unused()) else {
                return;
            };
            let parent = node.parent;
            let level = std::mem::take(&mut node.level);
            self.free.push(at);
            let is_plus = level == "+";
            if !is_plus {
                self.edges.remove(&(parent, &*level) as &dyn EdgeKey);
            }
            if let Some(node) = self.node_mut(parent) {
                node.children -= 1;
                if is_plus {
                    node.plus = None;
                }
            }
            at = parent;
        }
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
            subscribers
                .list
                .iter()
                .for_each(|(key, value)| found(*key, value));
        };
        for (depth, level) in topic.split('/').enumerate() {
            // Wildcards in the first level do not match topics that begin with $ [MQTT-4.7.2-1].
            let is_dollar = depth == 0 && topic.starts_with('$');
            next_nodes.clear();
            for at in level_nodes.iter() {
                let Some(node) = self.node(*at) else { continue };
                if !is_dollar {
                    call(&node.below);
                    next_nodes.extend(node.plus);
                }
                next_nodes.extend(self.edges.get(&(*at, level) as &dyn EdgeKey));
            }
            std::mem::swap(level_nodes, next_nodes);
            if level_nodes.is_empty() {
                return;
            }
        }
        for node in level_nodes.iter().filter_map(|at| self.node(*at)) {
            call(&node.here);
            call(&node.below); // `#` matches its parent too (section 4.7.1.2)
        }
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

/// Looks edges up without making a key of its own.
trait EdgeKey {
    fn parts(&self) -> (u32, &str);
}

impl EdgeKey for (u32, ByteString) {
    fn parts(&self) -> (u32, &str) {
        (self.0, &self.1)
    }
}

impl EdgeKey for (u32, &str) {
    fn parts(&self) -> (u32, &str) {
        (self.0, self.1)
    }
}

impl<'a> std::borrow::Borrow<dyn EdgeKey + 'a> for (u32, ByteString) {
    fn borrow(&self) -> &(dyn EdgeKey + 'a) {
        self
    }
}

impl std::hash::Hash for dyn EdgeKey + '_ {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl PartialEq for dyn EdgeKey + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for dyn EdgeKey + '_ {}

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
            prop_assert!(trie.edges.is_empty(), "nothing is left behind");
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
