//! What matched the topics of late, so that a topic that comes again does not walk through the trie again.
//!
//! Owns: [`Recent`], bounded in topics and in what it remembers of each. Exact: a change of any subscription of the
//! trie forgets all of it. While subscriptions change all the time it remembers nothing, and costs a comparison.

use super::trie::{Trie, Walk};
use bytestring::ByteString;
use foldhash::HashMap;

/// Matches of one topic that are remembered; with more of them the walk is the smaller part of the work.
const MATCHES: usize = 16;
/// Topics looked up since the last change of the trie before any is remembered.
const CALM: u32 = 64;

/// Matches of the topics of late, for one trie.
#[derive(Debug)]
pub struct Recent<V> {
    /// Of the trie when the first of them was remembered.
    version: u64,
    lookups: u32,
    capacity: usize,
    /// Places in `matches`.
    topics: HashMap<ByteString, usize>,
    matches: Vec<Box<[(u32, V)]>>,
    /// The topic that came last: messages of one publisher come together.
    last: Option<(ByteString, usize)>,
    /// Filled during a walk.
    walked: Vec<(u32, V)>,
}

impl<V: Copy> Recent<V> {
    /// Remembers at most `capacity` topics.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            version: 0,
            lookups: 0,
            capacity,
            topics: HashMap::default(),
            matches: Vec::new(),
            last: None,
            walked: Vec::new(),
        }
    }

    /// As [`Trie::for_each_match`] of `trie`, which is the same one at every call.
    pub fn for_each_match(
        &mut self,
        trie: &Trie<V>,
        topic: &ByteString,
        walk: &mut Walk,
        mut found: impl FnMut(u32, &V),
    ) {
        if self.version != trie.version() || self.topics.len() >= self.capacity {
            self.forget(trie.version());
        }
        if let Some(matches) = self.find(topic).and_then(|place| self.matches.get(place)) {
            matches.iter().for_each(|(key, value)| found(*key, value));
            return;
        }
        self.lookups = self.lookups.saturating_add(1);
        if self.lookups <= CALM {
            return trie.for_each_match(topic, walk, found);
        }
        let walked = &mut self.walked;
        walked.clear();
        let mut count = 0;
        trie.for_each_match(topic, walk, |key, value| {
            count += 1;
            if count <= MATCHES {
                walked.push((key, *value));
            }
            found(key, value);
        });
        if count <= MATCHES {
            let place = self.matches.len();
            self.matches.push(walked.as_slice().into());
            // A text of its own: that of the message may be a part of something large.
            self.topics.insert(ByteString::from(&**topic), place);
        }
    }

    fn find(&mut self, topic: &ByteString) -> Option<usize> {
        if let Some((last, place)) = &self.last
            && last == topic
        {
            return Some(*place);
        }
        let (known, place) = self.topics.get_key_value(&**topic)?;
        self.last = Some((known.clone(), *place));
        Some(*place)
    }

    fn forget(&mut self, version: u64) {
        self.version = version;
        self.lookups = 0;
        self.last = None;
        if !self.topics.is_empty() {
            self.topics.clear();
            self.matches.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use witmq_proto::TopicFilter;

    fn found(recent: &mut Recent<u8>, trie: &Trie<u8>, topic: &str) -> Vec<(u32, u8)> {
        let (mut all, mut walk) = (Vec::new(), Walk::default());
        let topic = ByteString::from(topic);
        recent.for_each_match(trie, &topic, &mut walk, |key, value| {
            all.push((key, *value));
        });
        all
    }

    fn walked(trie: &Trie<u8>, topic: &str) -> Vec<(u32, u8)> {
        let mut all = Vec::new();
        trie.for_each_match(topic, &mut Walk::default(), |key, value| {
            all.push((key, *value));
        });
        all
    }

    proptest! {
        #[test]
        fn it_says_what_the_trie_says_through_every_change(
            steps in proptest::collection::vec((0usize..5, 0u32..20, 0u8..9), 1..40),
        ) {
            let (mut trie, mut recent) = (Trie::new(), Recent::new(3));
            for (filter, key, value) in steps {
                let filter = TopicFilter::new(["a/b", "a/+", "a/#", "#", "c"][filter]).unwrap();
                if value == 0 {
                    trie.remove(&filter, key);
                } else {
                    trie.insert(&filter, key, value);
                }
                for _ in 0..=CALM / 2 {
                    for topic in ["a/b", "a", "c", "d/e"] {
                        prop_assert_eq!(found(&mut recent, &trie, topic), walked(&trie, topic));
                    }
                }
            }
        }
    }

    #[test]
    fn many_topics_and_many_matches_are_not_remembered() {
        let (mut trie, mut recent) = (Trie::new(), Recent::new(10));
        let filter = TopicFilter::new("many").unwrap();
        let few = TopicFilter::new("few").unwrap();
        for key in 0..17 {
            trie.insert(&filter, key, 1);
            if key < 16 {
                trie.insert(&few, key, 1);
            }
        }
        for _ in 0..=CALM {
            assert_eq!(found(&mut recent, &trie, "many").len(), 17);
        }
        assert!(recent.topics.is_empty());
        assert_eq!(found(&mut recent, &trie, "few").len(), 16);
        assert_eq!(recent.topics.len(), 1);
        for number in 0..100 {
            found(&mut recent, &trie, &number.to_string());
            assert!(recent.topics.len() <= 10 && recent.matches.len() <= 10);
        }
    }
}
