//! What is known of the topics of late, so that a topic that comes again is looked up once and walks through nothing.
//!
//! Owns: [`Known`], one per shard, bounded in topics and in what it remembers of each. Exact: what is remembered
//! carries the version of the index that said it, and is asked for again when that has changed. A topic is remembered
//! when it comes a second time before many others have: where there are more topics than fit, to remember each for
//! once costs more than the walk.

use super::interest::{Interest, Matches};
use super::trie::{Trie, Walk};
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use std::hash::BuildHasher as _;

/// Matches of one topic that are remembered; with more of them the walk is the smaller part of the work.
const MATCHES: usize = 16;

/// Of nothing that was said so far.
const NEVER: u64 = u64::MAX;

/// Marks of topics that came once: at this many topics between two of the same it is not remembered.
const SEEN: usize = 16_384;

/// The place of a topic that is not remembered.
const PASSING: usize = usize::MAX;

/// A topic's place. It holds until the next topic is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place(usize);

/// The topics of late.
#[derive(Debug)]
pub struct Known<V> {
    capacity: usize,
    table: HashTable<u32>,
    hasher: RandomState,
    topics: Vec<Topic<V>>,
    /// The topic that came last: messages of one publisher come together.
    last: usize,
    /// Of a hash, who came last: whether a topic comes again soon.
    seen: Box<[u32]>,
    /// The topic of [`PASSING`].
    passing: Topic<V>,
    /// Filled during a walk.
    walked: Vec<(u32, V)>,
    walk: Walk,
    none: Matches,
}

#[derive(Debug)]
struct Topic<V> {
    name: String,
    /// Of the interest that said `wanted`.
    wanted_at: u64,
    wanted: Matches,
    /// Of the trie that said `matched`.
    matched_at: u64,
    matched: Matched<V>,
    /// Of the chains that said whether they name it.
    chained_at: u64,
    is_chained: bool,
}

/// Subscriptions of this shard. One takes no allocation.
#[derive(Debug)]
enum Matched<V> {
    Few(Option<(u32, V)>),
    Several(Box<[(u32, V)]>),
    /// More than are remembered.
    Many,
}

impl<V> Topic<V> {
    fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            wanted_at: NEVER,
            wanted: Matches::default(),
            matched_at: NEVER,
            matched: Matched::Many,
            chained_at: NEVER,
            is_chained: true,
        }
    }

    /// Is another topic from here on.
    fn become_another(&mut self, name: &str) {
        self.name.clear();
        self.name.push_str(name);
        (self.wanted_at, self.matched_at, self.chained_at) = (NEVER, NEVER, NEVER);
    }
}

impl<V: Copy> Known<V> {
    /// Remembers at most `capacity` topics, and one at least.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            capacity: capacity.max(1),
            table: HashTable::new(),
            hasher: RandomState::default(),
            topics: Vec::new(),
            last: 0,
            seen: vec![0; SEEN].into_boxed_slice(),
            passing: Topic::new(""),
            walked: Vec::new(),
            walk: Walk::default(),
            none: Matches::default(),
        }
    }

    /// The place of a topic, which is known from here on.
    #[inline]
    pub fn place(&mut self, topic: &str) -> Place {
        match self.at(Place(self.last)) {
            Some(last) if *last.name == *topic => {}
            _ => self.last = self.find_or_add(topic),
        }
        Place(self.last)
    }

    #[inline]
    fn at(&self, place: Place) -> Option<&Topic<V>> {
        match place.0 {
            PASSING => Some(&self.passing),
            place => self.topics.get(place),
        }
    }

    #[inline]
    fn at_mut(&mut self, place: Place) -> Option<&mut Topic<V>> {
        match place.0 {
            PASSING => Some(&mut self.passing),
            place => self.topics.get_mut(place),
        }
    }

    /// Whether the topic of a hash came lately; it did from here on.
    fn came_lately(&mut self, hash: u64) -> bool {
        let place = usize::try_from(hash >> 32).unwrap_or(0) % SEEN;
        let mark = u32::try_from(hash & 0xFFFF_FFFF).unwrap_or(0);
        let seen = self.seen.get_mut(place);
        seen.is_some_and(|seen| std::mem::replace(seen, mark) == mark)
    }

    fn find_or_add(&mut self, topic: &str) -> usize {
        let hash = self.hasher.hash_one(topic);
        let index = |place: &u32| usize::try_from(*place).unwrap_or(usize::MAX);
        let name_of = |place: &u32| self.topics.get(index(place)).map(|topic| &*topic.name);
        let found = self.table.find(hash, |place| name_of(place) == Some(topic));
        if let Some(place) = found {
            return index(place);
        }
        if !self.came_lately(hash) {
            self.passing.become_another(topic);
            return PASSING;
        }
        if self.topics.len() >= self.capacity {
            self.topics.clear();
            self.table.clear();
        }
        let place = self.topics.len();
        self.topics.push(Topic::new(topic));
        let Self {
            topics,
            hasher,
            table,
            ..
        } = self;
        let hash_of = |place: &u32| {
            let topic = topics.get(index(place));
            topic.map_or(0, |topic| hasher.hash_one(&*topic.name))
        };
        table.insert_unique(hash, u32::try_from(place).unwrap_or(u32::MAX), hash_of);
        place
    }

    /// Who wants it: as [`Interest::find`] says, which is the same one at every call.
    #[inline]
    pub fn wanted(&mut self, interest: &Interest, place: Place) -> &Matches {
        let version = interest.version();
        let topic = match place.0 {
            PASSING => &mut self.passing,
            place => match self.topics.get_mut(place) {
                Some(topic) => topic,
                None => return &self.none,
            },
        };
        if topic.wanted_at != version {
            interest.find_into(&topic.name, &mut self.walk, &mut topic.wanted);
            topic.wanted_at = version;
        }
        &topic.wanted
    }

    /// Whether chains name it, as `names` says, which says the same of a topic while `version` is the same.
    #[inline]
    pub fn is_chained(
        &mut self,
        place: Place,
        version: u64,
        names: impl FnOnce(&str) -> bool,
    ) -> bool {
        let Some(topic) = self.at_mut(place) else {
            return true;
        };
        if topic.chained_at != version {
            topic.is_chained = names(&topic.name);
            topic.chained_at = version;
        }
        topic.is_chained
    }

    /// The one match of a topic that has no more; `None` if it has, or if [`Self::for_each_match`] was not asked yet.
    #[inline]
    pub fn single(&self, trie: &Trie<V>, place: Place) -> Option<(u32, V)> {
        let topic = self.at(place)?;
        match topic.matched {
            Matched::Few(one) if topic.matched_at == trie.version() => one,
            _ => None,
        }
    }

    /// As [`Trie::for_each_match`] of `trie`, which is the same one at every call.
    #[inline]
    pub fn for_each_match(
        &mut self,
        trie: &Trie<V>,
        place: Place,
        walk: &mut Walk,
        mut found: impl FnMut(u32, &V),
    ) {
        let topic = match place.0 {
            PASSING => &mut self.passing,
            place => match self.topics.get_mut(place) {
                Some(topic) => topic,
                None => return,
            },
        };
        if topic.matched_at != trie.version() {
            topic.matched = walked(trie, &topic.name, walk, &mut self.walked);
            topic.matched_at = trie.version();
        }
        match &topic.matched {
            Matched::Few(one) => {
                if let Some((key, value)) = one {
                    found(*key, value);
                }
            }
            Matched::Several(all) => all.iter().for_each(|(key, value)| found(*key, value)),
            Matched::Many => trie.for_each_match(&topic.name, walk, found),
        }
    }
}

/// What the trie says of a topic; `list` is scratch.
fn walked<V: Copy>(
    trie: &Trie<V>,
    topic: &str,
    walk: &mut Walk,
    list: &mut Vec<(u32, V)>,
) -> Matched<V> {
    list.clear();
    let mut count = 0;
    trie.for_each_match(topic, walk, |key, value| {
        count += 1;
        if count <= MATCHES {
            list.push((key, *value));
        }
    });
    match count {
        0 | 1 => Matched::Few(list.first().copied()),
        2..=MATCHES => Matched::Several(list.as_slice().into()),
        _ => Matched::Many,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::router::ShardId;
    use crate::router::groups::Strategies;
    use proptest::prelude::*;
    use witmq_proto::TopicFilter;

    fn found(known: &mut Known<u8>, trie: &Trie<u8>, topic: &str) -> Vec<(u32, u8)> {
        let (mut all, mut walk) = (Vec::new(), Walk::default());
        let place = known.place(topic);
        known.for_each_match(trie, place, &mut walk, |key, value| all.push((key, *value)));
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
        fn it_says_what_trie_and_interest_say_through_every_change(
            steps in proptest::collection::vec((0usize..5, 0u32..20, 0u8..9), 1..40),
        ) {
            let (mut trie, mut known) = (Trie::new(), Known::new(3));
            let interest = Interest::new(2, Strategies::default());
            for (filter, key, value) in steps {
                let filter = TopicFilter::new(["a/b", "a/+", "a/#", "#", "c"][filter]).unwrap();
                let shard = ShardId(u16::try_from(key % 2).unwrap());
                if value == 0 {
                    if trie.remove(&filter, key).is_some() {
                        interest.unsubscribe(shard, &filter, false);
                    }
                } else if trie.insert(&filter, key, value).is_none() {
                    interest.subscribe(shard, &filter, false);
                }
                for topic in ["a/b", "a", "c", "d/e", "a/b"] {
                    prop_assert_eq!(found(&mut known, &trie, topic), walked(&trie, topic));
                    let place = known.place(topic);
                    let wanted = known.wanted(&interest, place).shards;
                    prop_assert_eq!(wanted, interest.find(topic).shards, "{}", topic);
                }
            }
        }
    }

    #[test]
    fn chains_are_asked_once_for_each_topic_and_version() {
        let mut known = Known::<u8>::new(10);
        for topic in ["a", "b", "a", "b"] {
            known.place(topic); // remembered from here on
        }
        let mut asked = Vec::new();
        for (topic, version, says, expected) in [
            ("a", 1, true, true),
            ("b", 1, false, false),
            ("a", 1, false, true),
            ("b", 1, true, false),
            ("b", 2, true, true),
            ("a", 2, false, false),
        ] {
            let place = known.place(topic);
            let said = known.is_chained(place, version, |name| {
                asked.push((name.to_owned(), version));
                says
            });
            assert_eq!(said, expected, "{topic} at {version}");
        }
        let asked: Vec<_> = asked.iter().map(|(name, at)| (&**name, *at)).collect();
        assert_eq!(asked, [("a", 1), ("b", 1), ("b", 2), ("a", 2)]);
    }

    #[test]
    fn topics_are_bounded_and_many_matches_are_not_remembered() {
        let (mut trie, mut known) = (Trie::new(), Known::new(10));
        let filter = TopicFilter::new("many").unwrap();
        let few = TopicFilter::new("few").unwrap();
        for key in 0..17 {
            trie.insert(&filter, key, 1);
            if key < 16 {
                trie.insert(&few, key, 1);
            }
        }
        for _ in 0..2 {
            assert_eq!(found(&mut known, &trie, "many").len(), 17);
            assert_eq!(found(&mut known, &trie, "few").len(), 16);
        }
        assert!(matches!(known.topics[0].matched, Matched::Many));
        assert!(matches!(&known.topics[1].matched, Matched::Several(all) if all.len() == 16));
        let mut most = 0;
        for number in 0..100 {
            for topic in [number, number + 2] {
                found(&mut known, &trie, &topic.to_string());
            }
            assert!(known.topics.len() <= 10 && known.table.len() == known.topics.len());
            most = most.max(known.topics.len());
        }
        assert_eq!(most, 10, "each came twice");
        assert_eq!(found(&mut known, &trie, "few").len(), 16);
    }

    #[test]
    fn a_topic_is_remembered_when_it_comes_again_soon() {
        let mut known = Known::<u8>::new(10);
        known.place("a");
        known.place("b");
        assert!(known.topics.is_empty(), "each came once");
        known.place("a");
        assert_eq!(known.topics.len(), 1);
        known.place("late");
        for number in 0..40 * SEEN {
            known.passing.name.clear();
            known.came_lately(known.hasher.hash_one(number));
        }
        known.place("late");
        assert_eq!(known.topics.len(), 1, "too many came between");
        known.place("a");
        known.place("late");
        assert_eq!(known.topics.len(), 2);
    }
}
